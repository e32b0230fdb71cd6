#include "pci/msix.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "blockcore/base/check.h"
#include "blockcore/base/log.h"

namespace minivmm {
namespace {

constexpr uint8_t kCapabilityId = 0x11;
constexpr uint32_t kVectorMasked = 1;

using EntryBytes = std::array<std::byte, kMsixEntryBytes>;

EntryBytes Encode(const MsiMessage& message, bool masked) {
  EntryBytes bytes{};
  uint32_t control = masked ? kVectorMasked : 0;
  std::memcpy(&bytes[0], &message.address, 8);
  std::memcpy(&bytes[8], &message.data, 4);
  std::memcpy(&bytes[12], &control, 4);
  return bytes;
}

}  // namespace

Msix::Msix(uint16_t vectors, MsiSink& sink) : sink_(sink), entries_(vectors) {
  VMM_CHECK(vectors >= 1 && vectors <= kMaxMsixVectors);
}

MsixCapability Msix::Capability(int bar, uint32_t table_offset, uint32_t pending_offset) const {
  VMM_CHECK(table_offset % 8 == 0 && pending_offset % 8 == 0);
  uint32_t bar_index = static_cast<uint32_t>(bar);
  return {.header = {.id = kCapabilityId},
          .control = static_cast<uint16_t>(vectors() - 1),
          .table = table_offset | bar_index,
          .pending = pending_offset | bar_index};
}

MsixCapability Msix::WritableBits() {
  return {.header = {.id = 0},
          .control = kMsixControlEnable | kMsixControlFunctionMask,
          .table = 0,
          .pending = 0};
}

void Msix::SetControl(bool enabled, bool function_masked) {
  if (enabled == enabled_ && function_masked == function_masked_) return;
  enabled_ = enabled;
  function_masked_ = function_masked;
  for (uint16_t vector = 0; vector < vectors(); ++vector) Update(vector);
}

void Msix::ReadTable(uint64_t offset, std::span<std::byte> data) const {
  std::ranges::fill(data, std::byte{0});
  uint64_t table_bytes = entries_.size() * kMsixEntryBytes;
  for (size_t i = 0; i < data.size() && offset < table_bytes && i < table_bytes - offset;) {
    uint64_t within = (offset + i) % kMsixEntryBytes;
    const Entry& entry = entries_[(offset + i) / kMsixEntryBytes];
    EntryBytes bytes = Encode(entry.message, entry.masked);
    size_t count = std::min(data.size() - i, kMsixEntryBytes - within);
    std::memcpy(&data[i], &bytes[within], count);
    i += count;
  }
}

void Msix::WriteTable(uint64_t offset, std::span<const std::byte> data) {
  uint64_t table_bytes = entries_.size() * kMsixEntryBytes;
  for (size_t i = 0; i < data.size() && offset < table_bytes && i < table_bytes - offset;) {
    uint64_t within = (offset + i) % kMsixEntryBytes;
    uint16_t vector = static_cast<uint16_t>((offset + i) / kMsixEntryBytes);
    Entry& entry = entries_[vector];
    EntryBytes bytes = Encode(entry.message, entry.masked);
    size_t count = std::min(data.size() - i, kMsixEntryBytes - within);
    std::memcpy(&bytes[within], &data[i], count);
    i += count;

    uint32_t control;
    std::memcpy(&entry.message.address, &bytes[0], 8);
    std::memcpy(&entry.message.data, &bytes[8], 4);
    std::memcpy(&control, &bytes[12], 4);
    // PCI 3.0, 6.8.2.7: messages are dwords, the two lowest bits of the address are always zero.
    entry.message.address &= ~uint64_t{3};
    entry.masked = (control & kVectorMasked) != 0;
    Update(vector);
  }
}

void Msix::ReadPending(uint64_t offset, std::span<std::byte> data) const {
  for (size_t i = 0; i < data.size(); ++i) {
    uint8_t bits = 0;
    if (offset < kMaxMsixVectors / 8 && i < kMaxMsixVectors / 8 - offset) {
      size_t first = (offset + i) * 8;
      for (size_t bit = 0; bit < 8 && first + bit < entries_.size(); ++bit) {
        uint16_t vector = static_cast<uint16_t>(first + bit);
        // While a vector is connected, what its eventfd holds has been delivered.
        bool pending = !entries_[vector].connected && sink_.interrupt(vector).IsSet();
        bits |= static_cast<uint8_t>(pending << bit);
      }
    }
    data[i] = std::byte{bits};
  }
}

void Msix::ClearPending() {
  for (uint16_t vector = 0; vector < vectors(); ++vector) sink_.interrupt(vector).Drain();
}

void Msix::Update(uint16_t vector) {
  Entry& entry = entries_[vector];
  bool connect = enabled_ && !function_masked_ && !entry.masked;
  if (!connect) {
    if (entry.connected) sink_.Disconnect(vector);
    entry.connected.reset();
    return;
  }
  if (entry.connected == entry.message) return;
  if (Result<void> connected = sink_.Connect(vector, entry.message); connected) {
    entry.connected = entry.message;
    return;
  } else {
    LOG_RATE_LIMITED("cannot route interrupt vector {}, it stays masked: {}", vector,
                     connected.error().message);
  }
  // The old route, if there is one, leads to a place that the guest has given up.
  if (entry.connected) sink_.Disconnect(vector);
  entry.connected.reset();
}

}  // namespace minivmm
