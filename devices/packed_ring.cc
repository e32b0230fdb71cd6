#include "devices/packed_ring.h"

#include <atomic>
#include <cstddef>
#include <utility>

#include "devices/ring_parts.h"

namespace minivmm {
namespace {

// virtio 2.8.13.
struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t id;
  uint16_t flags;
};
constexpr uint16_t kAvailable = 1 << 7;
constexpr uint16_t kUsed = 1 << 15;

// virtio 2.8.14: an event suppression structure is two le16, read and written here as one le32.
constexpr uint32_t kEventBytes = 4;
constexpr uint32_t kEventEnable = 0;
constexpr uint32_t kEventDisable = 1;
constexpr uint32_t kEventDescriptor = 2;  // with EVENT_IDX: at the descriptor of the first le16
constexpr uint32_t EventWord(uint16_t index, bool wrap, uint32_t flags) {
  return index | uint32_t{wrap} << 15 | flags << 16;
}

bool IsAvailable(uint16_t flags, bool wrap) {
  return ((flags & kAvailable) != 0) == wrap && ((flags & kUsed) != 0) != wrap;
}

}  // namespace

Result<PackedRing> PackedRing::Create(const GuestMemory& memory, const QueueConfig& config,
                                      uint64_t features) {
  if (config.size == 0 || config.size > kMaxQueueSize) {
    return Fail("queue size {} is not from 1 to {}", config.size, kMaxQueueSize);
  }
  // virtio 2.8: alignment and size of each part.
  RingPart parts[] = {
      {"descriptor ring", config.descriptor_address, 16, kDescriptorBytes * config.size},
      {"driver's event suppression", config.driver_address, 4, kEventBytes},
      {"device's event suppression", config.device_address, 4, kEventBytes},
  };
  TRY_VOID(PlaceRingParts(memory, parts));
  PackedRing ring;
  ring.size_ = config.size;
  ring.event_idx_ = (features & kFeatureEventIdx) != 0;
  ring.indirect_ = (features & kFeatureIndirectDesc) != 0;
  ring.descriptors_ = parts[0].host;
  ring.driver_event_ = parts[1].host;
  ring.device_event_ = parts[2].host;
  return ring;
}

PackedRing::Position PackedRing::Advance(Position position, uint16_t descriptors) const {
  const uint32_t index = uint32_t{position.index} + descriptors;
  if (index < size_) return {static_cast<uint16_t>(index), position.wrap};
  return {static_cast<uint16_t>(index - size_), !position.wrap};
}

std::byte* PackedRing::DescriptorAt(Position position) const {
  return descriptors_ + kDescriptorBytes * position.index;
}

uint16_t PackedRing::LoadFlags(Position position) const {
  return SharedField<uint16_t>(DescriptorAt(position) + offsetof(Descriptor, flags))
      .load(std::memory_order_acquire);
}

Result<std::optional<DescriptorChain>> PackedRing::Pop(RingChains& chains) {
  // The driver writes the first flags of a list last (virtio 2.8.21.1): the whole list is visible
  // after this load.
  if (!IsAvailable(LoadFlags(next_avail_), next_avail_.wrap)) return std::nullopt;
  if (out_ == size_) return Fail("a descriptor is available in a ring whose {} are out", size_);
  chains.Begin();
  Position position = next_avail_;
  uint16_t count = 0;
  for (;;) {
    const auto descriptor = CopyDescriptor<Descriptor>(DescriptorAt(position));
    if (!IsAvailable(descriptor.flags, position.wrap)) {
      return Fail("list runs into descriptor {}, which is not available", position.index);
    }
    ++count;
    position = Advance(position, 1);
    const bool has_next = (descriptor.flags & kDescriptorNext) != 0;
    if (descriptor.flags & kDescriptorIndirect) {
      // virtio 2.8.7. kDescriptorWrite is ignored here.
      if (!indirect_ || has_next || count > 1) {
        return Fail("indirect descriptor with flags {:#x}{}{}", descriptor.flags,
                    indirect_ ? "" : ", not negotiated", count > 1 ? ", in a list" : "");
      }
      TRY(std::span<std::byte> table, chains.IndirectTable(descriptor.address, descriptor.length));
      for (size_t at = 0; at < table.size(); at += kDescriptorBytes) {
        const auto entry = CopyDescriptor<Descriptor>(&table[at]);
        TRY_VOID(
            chains.AddBuffer(entry.address, entry.length, (entry.flags & kDescriptorWrite) != 0));
      }
    } else {
      TRY_VOID(chains.AddBuffer(descriptor.address, descriptor.length,
                                (descriptor.flags & kDescriptorWrite) != 0));
    }
    if (!has_next) {
      next_avail_ = position;
      out_ = static_cast<uint16_t>(out_ + count);
      return chains.Finish(descriptor.id, count);
    }
    // A list that is longer than what is free runs into descriptors that are out.
    if (count == size_ - out_) {
      return Fail("list is longer than the {} descriptors that are not out", count);
    }
  }
}

void PackedRing::Push(const DescriptorChain& chain, uint32_t written_bytes) {
  std::byte* target = DescriptorAt(next_used_);
  SharedField<uint32_t>(target + offsetof(Descriptor, length))
      .store(written_bytes, std::memory_order_relaxed);
  SharedField<uint16_t>(target + offsetof(Descriptor, id))
      .store(chain.id_, std::memory_order_relaxed);
  const uint16_t lap = next_used_.wrap ? kAvailable | kUsed : 0;
  // Any part counts (virtio 2.8.4), also a status behind data that was not written: then
  // `written_bytes` is 0.
  const uint16_t written = chain.writable().empty() ? 0 : kDescriptorWrite;
  // Data and the rest of the descriptor are visible before the flags. Sequentially consistent for
  // NeedsInterrupt: the driver writes its event suppression, then looks at these flags again, with
  // a full barrier between.
  SharedField<uint16_t>(target + offsetof(Descriptor, flags))
      .store(static_cast<uint16_t>(lap | written), std::memory_order_seq_cst);
  next_used_ = Advance(next_used_, chain.descriptors_);
  out_ = static_cast<uint16_t>(out_ - chain.descriptors_);
  // More than a lap is as good as any number: see NeedsInterrupt.
  if (unsignalled_ < size_) unsignalled_ += chain.descriptors_;
}

bool PackedRing::EnableDoorbell() {
  const uint32_t event = event_idx_
                             ? EventWord(next_avail_.index, next_avail_.wrap, kEventDescriptor)
                             : EventWord(0, false, kEventEnable);
  // Sequentially consistent store and load: the driver writes flags, then reads our event
  // suppression, with a full barrier between (virtio 2.8.21.3.1). One of the two sides sees the
  // other's write, so that no chain is left without a notification.
  SharedField<uint32_t>(device_event_).store(event, std::memory_order_seq_cst);
  const uint16_t flags =
      SharedField<uint16_t>(DescriptorAt(next_avail_) + offsetof(Descriptor, flags))
          .load(std::memory_order_seq_cst);
  return IsAvailable(flags, next_avail_.wrap);
}

void PackedRing::DisableDoorbell() {
  SharedField<uint32_t>(device_event_)
      .store(EventWord(0, false, kEventDisable), std::memory_order_relaxed);
}

bool PackedRing::NeedsInterrupt() {
  const uint32_t passed = std::exchange(unsignalled_, 0);
  if (passed == 0) return false;
  const uint32_t event = SharedField<uint32_t>(driver_event_).load(std::memory_order_seq_cst);
  const uint32_t flags = event >> 16 & 3;
  if (flags == kEventDisable) return false;
  // What is reserved, or was not negotiated, interrupts too often rather than not at all; so does
  // a whole lap, after which the event's one bit cannot tell which lap it means.
  if (flags != kEventDescriptor || !event_idx_ || passed >= size_) return true;
  const int32_t index = static_cast<int32_t>(event & 0x7fff);
  const bool wrap = (event & 0x8000) != 0;
  // How far next_used_ is beyond the event's descriptor; that of another lap is of the last one.
  const int32_t beyond =
      next_used_.index - index + (wrap == next_used_.wrap ? 0 : static_cast<int32_t>(size_));
  return beyond > 0 && static_cast<uint32_t>(beyond) <= passed;
}

}  // namespace minivmm
