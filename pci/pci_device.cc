#include "pci/pci_device.h"

#include <algorithm>

namespace minivmm {

PciDevice::PciDevice(const PciIdentity& identity)
    : config_(identity), bar_handlers_{BarHandler(*this, 0), BarHandler(*this, 1),
                                       BarHandler(*this, 2), BarHandler(*this, 3),
                                       BarHandler(*this, 4), BarHandler(*this, 5)} {}

void PciDevice::ReadConfig(uint64_t offset, std::span<std::byte> data) {
  std::lock_guard lock(mutex_);
  OnReadConfig(offset, data);
}

void PciDevice::WriteConfig(uint64_t offset, std::span<const std::byte> data) {
  std::lock_guard lock(mutex_);
  OnWriteConfig(offset, data);
}

void PciDevice::OnReadConfig(uint64_t offset, std::span<std::byte> data) {
  config_.Read(offset, data);
}

void PciDevice::OnWriteConfig(uint64_t offset, std::span<const std::byte> data) {
  config_.Write(offset, data);
}

void PciDevice::OnReadBar(int, uint64_t, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0});
}

void PciDevice::OnWriteBar(int, uint64_t, std::span<const std::byte>) {}

void PciDevice::BarHandler::Read(uint64_t offset, std::span<std::byte> data) {
  std::lock_guard lock(device_.mutex_);
  if (device_.config_.memory_enabled()) {
    device_.OnReadBar(index_, offset, data);
  } else {
    std::ranges::fill(data, std::byte{0xff});
  }
}

void PciDevice::BarHandler::Write(uint64_t offset, std::span<const std::byte> data) {
  std::lock_guard lock(device_.mutex_);
  if (device_.config_.memory_enabled()) device_.OnWriteBar(index_, offset, data);
}

}  // namespace minivmm
