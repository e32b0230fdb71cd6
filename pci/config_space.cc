#include "pci/config_space.h"

#include <cstring>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr size_t kVendorId = 0x00;
constexpr size_t kDeviceId = 0x02;
constexpr size_t kCommand = 0x04;
constexpr size_t kStatus = 0x06;
constexpr size_t kRevision = 0x08;
constexpr size_t kClassCode = 0x09;
constexpr size_t kCacheLineSize = 0x0c;
constexpr size_t kFirstBar = 0x10;
constexpr size_t kBarsEnd = 0x28;
constexpr size_t kSubsystemVendorId = 0x2c;
constexpr size_t kSubsystemId = 0x2e;
constexpr size_t kCapabilitiesPointer = 0x34;
constexpr size_t kInterruptLine = 0x3c;
constexpr size_t kFirstCapability = 0x40;

constexpr uint16_t kCommandMemory = 1 << 1;
constexpr uint16_t kCommandBusMaster = 1 << 2;
constexpr uint16_t kCommandIntxDisable = 1 << 10;
constexpr uint16_t kStatusInterrupt = 1 << 3;
constexpr uint16_t kStatusCapabilities = 1 << 4;

constexpr uint64_t kBarIs64Bit = 0b100;
constexpr uint64_t kBarIsPrefetchable = 0b1000;

}  // namespace

ConfigSpace::ConfigSpace(const PciIdentity& identity)
    : capabilities_end_(kFirstCapability), last_next_pointer_(kCapabilitiesPointer) {
  Set<uint16_t>(kVendorId, identity.vendor_id);
  Set<uint16_t>(kDeviceId, identity.device_id);
  Set<uint8_t>(kRevision, identity.revision);
  for (size_t i = 0; i < 3; ++i) {
    Set<uint8_t>(kClassCode + i, static_cast<uint8_t>(identity.class_code >> (8 * i)));
  }
  Set<uint16_t>(kSubsystemVendorId, identity.subsystem_vendor_id);
  Set<uint16_t>(kSubsystemId, identity.subsystem_id);

  uint16_t command_mask = kCommandMemory | kCommandBusMaster | kCommandIntxDisable;
  std::memcpy(&writable_[kCommand], &command_mask, sizeof(command_mask));
  writable_[kCacheLineSize] = std::byte{0xff};
  writable_[kInterruptLine] = std::byte{0xff};
}

uint8_t ConfigSpace::AppendCapability(std::span<const std::byte> capability,
                                      std::span<const std::byte> writable) {
  size_t offset = capabilities_end_;
  VMM_CHECK(RangeFits(offset, capability.size(), kPciConfigBytes));
  CopyIn(offset, capability);
  // Id and next pointer are never the guest's.
  std::memcpy(&writable_[offset + 2], writable.data() + 2, writable.size() - 2);
  Set<uint8_t>(offset + 1, 0);
  Set<uint8_t>(last_next_pointer_, static_cast<uint8_t>(offset));
  Set<uint16_t>(kStatus, kStatusCapabilities);
  last_next_pointer_ = offset + 1;
  capabilities_end_ = AlignUp(offset + capability.size(), 4);
  return static_cast<uint8_t>(offset);
}

void ConfigSpace::AddMemoryBar(int index, uint64_t size_bytes, bool prefetchable) {
  VMM_CHECK(index >= 0 && index + 1 < kPciBars);
  VMM_CHECK(IsPowerOfTwo(size_bytes) && size_bytes >= 16);
  VMM_CHECK(bars_[index].size_bytes == 0 && bars_[index + 1].size_bytes == 0);
  VMM_CHECK(index == 0 || bars_[index - 1].size_bytes == 0);
  bars_[index].size_bytes = size_bytes;
  bars_[index].flags = kBarIs64Bit | (prefetchable ? kBarIsPrefetchable : 0);
}

void ConfigSpace::PlaceBar(int index, uint64_t address) {
  Bar& bar = bars_[index];
  VMM_CHECK(bar.size_bytes != 0 && IsAligned(address, bar.size_bytes));
  bar.address = address;
  bar.written = address;
}

// A dword of a BAR reads as its mask after all of its address bits were written as ones, and as the
// fixed address at any other time.
std::byte ConfigSpace::ReadBarByte(size_t offset) const {
  size_t slot = (offset - kFirstBar) / 4;
  bool upper = slot > 0 && bars_[slot - 1].size_bytes != 0;
  const Bar& bar = bars_[upper ? slot - 1 : slot];
  if (bar.size_bytes == 0) return std::byte{0};
  int shift = upper ? 32 : 0;
  uint32_t mask = static_cast<uint32_t>(~(bar.size_bytes - 1) >> shift);
  uint32_t written = static_cast<uint32_t>(bar.written >> shift);
  uint32_t address = static_cast<uint32_t>(bar.address >> shift);
  uint32_t value = (written & mask) == mask ? mask : address;
  if (!upper) value |= static_cast<uint32_t>(bar.flags);
  return static_cast<std::byte>(value >> (8 * (offset % 4)));
}

void ConfigSpace::WriteBarByte(size_t offset, std::byte value) {
  size_t slot = (offset - kFirstBar) / 4;
  bool upper = slot > 0 && bars_[slot - 1].size_bytes != 0;
  Bar& bar = bars_[upper ? slot - 1 : slot];
  if (bar.size_bytes == 0) return;
  size_t shift = 8 * (offset % 4) + (upper ? 32 : 0);
  bar.written &= ~(uint64_t{0xff} << shift);
  bar.written |= static_cast<uint64_t>(value) << shift;
}

void ConfigSpace::Read(uint64_t offset, std::span<std::byte> data) const {
  for (size_t i = 0; i < data.size(); ++i) {
    if (offset >= kPciConfigBytes || i >= kPciConfigBytes - offset) {
      data[i] = std::byte{0};
    } else if (size_t at = offset + i; at >= kFirstBar && at < kBarsEnd) {
      data[i] = ReadBarByte(at);
    } else {
      data[i] = bytes_[at];
    }
  }
}

void ConfigSpace::Write(uint64_t offset, std::span<const std::byte> data) {
  for (size_t i = 0; i < data.size(); ++i) {
    if (offset >= kPciConfigBytes || i >= kPciConfigBytes - offset) return;
    size_t at = offset + i;
    if (at >= kFirstBar && at < kBarsEnd) {
      WriteBarByte(at, data[i]);
    } else {
      bytes_[at] = (bytes_[at] & ~writable_[at]) | (data[i] & writable_[at]);
    }
  }
}

void ConfigSpace::CopyOut(size_t offset, std::span<std::byte> data) const {
  VMM_CHECK(RangeFits(offset, data.size(), kPciConfigBytes));
  std::memcpy(data.data(), &bytes_[offset], data.size());
}

void ConfigSpace::CopyIn(size_t offset, std::span<const std::byte> data) {
  VMM_CHECK(RangeFits(offset, data.size(), kPciConfigBytes));
  std::memcpy(&bytes_[offset], data.data(), data.size());
}

void ConfigSpace::SetInterruptStatus(bool pending) {
  const uint16_t others = Get<uint16_t>(kStatus) & ~kStatusInterrupt;
  Set<uint16_t>(kStatus, others | (pending ? kStatusInterrupt : 0));
}

bool ConfigSpace::memory_enabled() const { return (Get<uint16_t>(kCommand) & kCommandMemory) != 0; }

bool ConfigSpace::bus_master_enabled() const {
  return (Get<uint16_t>(kCommand) & kCommandBusMaster) != 0;
}

}  // namespace minivmm
