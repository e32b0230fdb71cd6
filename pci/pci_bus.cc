#include "pci/pci_bus.h"

#include <algorithm>
#include <cstring>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

// A host bridge without registers of its own, which no system has a driver or a workaround for: the
// generic one of Red Hat's vendor id. Systems take a class 0x0600 function at 00:00.0 as the sign
// that configuration access works.
constexpr PciIdentity kHostBridge = {
    .vendor_id = 0x1b36, .device_id = 0x0008, .class_code = 0x06'00'00};

constexpr uint32_t kAddressEnable = 1u << 31;
constexpr uint64_t kDataPort = 4;  // 0xcfc

}  // namespace

PciBus::PciBus(uint64_t window_start, uint64_t window_end)
    : host_bridge_(kHostBridge),
      next_address_(window_start),
      window_end_(window_end),
      config_ports_(*this),
      ecam_(*this) {
  slots_[0] = &host_bridge_;
}

Result<void> PciBus::Add(int slot, PciDevice& device) {
  if (slot < 0 || slot >= kPciSlots) {
    return Fail("cannot put a device into PCI slot {}: slots go from 0 to {}", slot, kPciSlots - 1);
  }
  if (slots_[slot] != nullptr) {
    return Fail("cannot put a device into PCI slot {}: it is taken; choose another", slot);
  }
  std::vector<std::pair<int, uint64_t>> places;
  uint64_t next_address = next_address_;
  for (int index = 0; index < kPciBars; ++index) {
    uint64_t size_bytes = device.bar_size_bytes(index);
    if (size_bytes == 0) continue;
    uint64_t address = AlignUp(next_address, size_bytes);
    if (address < next_address || !RangeFits(address, size_bytes, window_end_)) {
      return Fail("cannot place a BAR of {} bytes for PCI slot {}: the window for BARs is full",
                  size_bytes, slot);
    }
    places.emplace_back(index, address);
    next_address = address + size_bytes;
  }
  for (auto [index, address] : places) {
    device.PlaceBar(index, address);
    bars_.push_back({address, device.bar_size_bytes(index), &device.bar_handler(index)});
  }
  next_address_ = next_address;
  slots_[slot] = &device;
  return {};
}

Result<void> PciBus::Add(PciDevice& device) {
  auto free_slot = std::ranges::find(slots_, nullptr);
  if (free_slot == slots_.end())
    return Fail("cannot add a PCI device: all {} slots are taken", kPciSlots);
  return Add(static_cast<int>(free_slot - slots_.begin()), device);
}

PciDevice* PciBus::Find(uint64_t bus_slot_function) const {
  bool is_on_bus_0 = bus_slot_function < kPciSlots * 8;
  bool is_function_0 = bus_slot_function % 8 == 0;
  return is_on_bus_0 && is_function_0 ? slots_[bus_slot_function / 8] : nullptr;
}

void PciBus::ConfigPorts::Read(uint64_t offset, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0xff});
  uint32_t address = address_.load(std::memory_order_relaxed);
  if (offset < kDataPort) {
    auto latch = std::as_bytes(std::span(&address, 1));
    for (size_t i = 0; i < data.size() && offset + i < latch.size(); ++i)
      data[i] = latch[offset + i];
    return;
  }
  if (!RangeFits(offset, data.size(), kPciConfigPortBytes) || (address & kAddressEnable) == 0)
    return;
  PciDevice* device = bus_.Find((address & ~kAddressEnable) >> 8);
  if (device != nullptr) device->ReadConfig((address & 0xfc) + offset - kDataPort, data);
}

void PciBus::ConfigPorts::Write(uint64_t offset, std::span<const std::byte> data) {
  if (offset < kDataPort) {
    // Only a whole dword reaches the address register. Bytes at these ports mean other things on
    // other machines (0xcf9 resets many, Linux's probe writes 0xcfb) and nothing here.
    uint32_t address;
    if (offset != 0 || data.size() != sizeof(address)) return;
    std::memcpy(&address, data.data(), sizeof(address));
    address_.store(address & 0x80ff'fffc, std::memory_order_relaxed);
    return;
  }
  uint32_t address = address_.load(std::memory_order_relaxed);
  if (!RangeFits(offset, data.size(), kPciConfigPortBytes) || (address & kAddressEnable) == 0)
    return;
  PciDevice* device = bus_.Find((address & ~kAddressEnable) >> 8);
  if (device != nullptr) device->WriteConfig((address & 0xfc) + offset - kDataPort, data);
}

void PciBus::Ecam::Read(uint64_t offset, std::span<std::byte> data) {
  // An access that crosses into the next function is two accesses.
  while (!data.empty()) {
    uint64_t within = offset % kPciEcamBytesPerFunction;
    auto part = data.first(std::min<uint64_t>(data.size(), kPciEcamBytesPerFunction - within));
    if (PciDevice* device = bus_.Find(offset / kPciEcamBytesPerFunction)) {
      device->ReadConfig(within, part);
    } else {
      std::ranges::fill(part, std::byte{0xff});
    }
    offset += part.size();
    data = data.subspan(part.size());
  }
}

void PciBus::Ecam::Write(uint64_t offset, std::span<const std::byte> data) {
  while (!data.empty()) {
    uint64_t within = offset % kPciEcamBytesPerFunction;
    auto part = data.first(std::min<uint64_t>(data.size(), kPciEcamBytesPerFunction - within));
    if (PciDevice* device = bus_.Find(offset / kPciEcamBytesPerFunction)) {
      device->WriteConfig(within, part);
    }
    offset += part.size();
    data = data.subspan(part.size());
  }
}

}  // namespace minivmm
