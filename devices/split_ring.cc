#include "devices/split_ring.h"

#include <atomic>
#include <cstring>
#include <utility>

#include "blockcore/base/units.h"
#include "devices/ring_parts.h"

namespace minivmm {
namespace {

// virtio 2.7.5.
struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;  // meaningful with kDescriptorNext only
};

// virtio 2.7.8.
struct UsedElement {
  uint32_t id;
  uint32_t length;
};
static_assert(sizeof(UsedElement) == 8);

// Both rings begin with le16 flags, le16 idx (virtio 2.7.6, 2.7.8).
constexpr uint64_t kFlagsOffset = 0;
constexpr uint64_t kIndexOffset = 2;
constexpr uint64_t kEntriesOffset = 4;
constexpr uint16_t kAvailNoInterrupt = 1;
constexpr uint16_t kUsedNoNotify = 1;

std::atomic_ref<uint16_t> Shared(std::byte* field) { return SharedField<uint16_t>(field); }

// virtio 2.7.10: whether `index` was passed on the way from `before` to `after`, modulo 2^16.
bool Crossed(uint16_t index, uint16_t before, uint16_t after) {
  return static_cast<uint16_t>(after - index - 1) < static_cast<uint16_t>(after - before);
}

}  // namespace

Result<SplitRing> SplitRing::Create(const GuestMemory& memory, const QueueConfig& config,
                                    uint64_t features) {
  const uint64_t size = config.size;
  if (!IsPowerOfTwo(size) || size > kMaxQueueSize) {
    return Fail("queue size {} is not a power of two from 1 to {}", size, kMaxQueueSize);
  }
  // virtio 2.7: alignment and size of each part. The last two bytes of both rings exist with
  // EVENT_IDX only (2.7.6, 2.7.8).
  const uint64_t event_bytes = features & kFeatureEventIdx ? 2 : 0;
  RingPart parts[] = {
      {"descriptor table", config.descriptor_address, 16, kDescriptorBytes * size},
      {"available ring", config.driver_address, 2, kEntriesOffset + 2 * size + event_bytes},
      {"used ring", config.device_address, 4,
       kEntriesOffset + sizeof(UsedElement) * size + event_bytes},
  };
  TRY_VOID(PlaceRingParts(memory, parts));
  SplitRing ring;
  ring.size_ = config.size;
  ring.event_idx_ = (features & kFeatureEventIdx) != 0;
  ring.indirect_ = (features & kFeatureIndirectDesc) != 0;
  ring.descriptors_ = parts[0].host;
  ring.avail_ = parts[1].host;
  ring.used_ = parts[2].host;
  return ring;
}

std::byte* SplitRing::AvailEntry(uint16_t index) const {
  return avail_ + kEntriesOffset + 2 * (index & (size_ - 1));
}
std::byte* SplitRing::UsedEntry(uint16_t index) const {
  return used_ + kEntriesOffset + sizeof(UsedElement) * (index & (size_ - 1));
}
std::byte* SplitRing::UsedEvent() const { return avail_ + kEntriesOffset + 2 * size_; }
std::byte* SplitRing::AvailEvent() const {
  return used_ + kEntriesOffset + sizeof(UsedElement) * size_;
}

Result<std::optional<DescriptorChain>> SplitRing::Pop(RingChains& chains) {
  // Acquire pairs with the driver's write barrier between its entries and avail.idx
  // (virtio 2.7.13.3): what the index covers is visible after this load.
  const uint16_t avail_index = Shared(avail_ + kIndexOffset).load(std::memory_order_acquire);
  const uint16_t waiting = avail_index - next_avail_;
  if (waiting == 0) return std::nullopt;
  // Each chain that waits or is out occupies at least one descriptor of the driver's.
  if (waiting > chains.free_chains()) {
    return Fail("available index {} is {} ahead of {}, with {} of {} chains in use", avail_index,
                waiting, next_avail_, size_ - chains.free_chains(), size_);
  }
  const uint16_t head = Shared(AvailEntry(next_avail_)).load(std::memory_order_relaxed);
  if (head >= size_) return Fail("head {} in a ring of {}", head, size_);
  chains.Begin();
  TRY_VOID(ReadChain(head, chains));
  ++next_avail_;
  return chains.Finish(head, 1);
}

Result<void> SplitRing::ReadChain(uint16_t head, RingChains& chains) const {
  const std::byte* table = descriptors_;  // the ring's, then the indirect one
  uint64_t table_entries = size_;
  bool in_indirect = false;
  // Ends by itself: a loop in the chain meets the limit of its length, and the way into an indirect
  // table is taken once.
  for (uint16_t index = head;;) {
    const auto descriptor = CopyDescriptor<Descriptor>(table + kDescriptorBytes * index);
    if (descriptor.flags & kDescriptorIndirect) {
      // virtio 2.7.5.3.1. kDescriptorWrite is ignored here (2.7.5.3.2).
      if (!indirect_ || in_indirect || (descriptor.flags & kDescriptorNext)) {
        return Fail("indirect descriptor with flags {:#x}{}{}", descriptor.flags,
                    indirect_ ? "" : ", not negotiated",
                    in_indirect ? ", in an indirect table" : "");
      }
      TRY(std::span<std::byte> indirect,
          chains.IndirectTable(descriptor.address, descriptor.length));
      table = indirect.data();
      table_entries = indirect.size() / kDescriptorBytes;
      in_indirect = true;
      index = 0;
      continue;
    }
    TRY_VOID(chains.AddBuffer(descriptor.address, descriptor.length,
                              (descriptor.flags & kDescriptorWrite) != 0));
    if (!(descriptor.flags & kDescriptorNext)) return {};
    index = descriptor.next;
    if (index >= table_entries) {
      return Fail("next descriptor {} in a table of {}", index, table_entries);
    }
  }
}

void SplitRing::Push(const DescriptorChain& chain, uint32_t written_bytes) {
  const UsedElement element{chain.id_, written_bytes};
  std::memcpy(UsedEntry(next_used_), &element, sizeof(element));
  // Release: data and entry are visible before the index. Pairs with the driver's read barrier
  // after it reads used.idx (virtio 2.7.14).
  Shared(used_ + kIndexOffset).store(++next_used_, std::memory_order_release);
}

bool SplitRing::EnableDoorbell() {
  // Sequentially consistent store and load: the driver writes avail.idx, then reads our field, with
  // a full barrier between (virtio 2.7.13.4.1). One of the two sides sees the other's write, so
  // that no chain is left without a notification.
  if (event_idx_) {
    Shared(AvailEvent()).store(next_avail_, std::memory_order_seq_cst);
  } else {
    Shared(used_ + kFlagsOffset).store(0, std::memory_order_seq_cst);
  }
  return Shared(avail_ + kIndexOffset).load(std::memory_order_seq_cst) != next_avail_;
}

void SplitRing::DisableDoorbell() {
  // With EVENT_IDX flags must stay 0 (virtio 2.7.10.2), and an avail_event that stays behind is
  // passed once in 2^16.
  if (event_idx_) return;
  Shared(used_ + kFlagsOffset).store(kUsedNoNotify, std::memory_order_relaxed);
}

bool SplitRing::NeedsInterrupt() {
  const uint16_t before = std::exchange(signalled_, next_used_);
  if (before == next_used_) return false;
  // The driver writes used_event or flags, then looks at used.idx again, with a full barrier
  // between (virtio 2.7.7.1). Our half of the pair: used.idx is stored once more, sequentially
  // consistent, before its field is read.
  Shared(used_ + kIndexOffset).store(next_used_, std::memory_order_seq_cst);
  if (!event_idx_) {
    return !(Shared(avail_ + kFlagsOffset).load(std::memory_order_seq_cst) & kAvailNoInterrupt);
  }
  const uint16_t used_event = Shared(UsedEvent()).load(std::memory_order_seq_cst);
  return Crossed(used_event, before, next_used_);
}

}  // namespace minivmm
