#include "devices/virtqueue.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

static_assert(std::endian::native == std::endian::little, "the ring is little-endian");

// virtio 2.7.5.
struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;  // meaningful with kNext only
};
static_assert(sizeof(Descriptor) == 16);

constexpr uint16_t kNext = 1;
constexpr uint16_t kWrite = 2;
constexpr uint16_t kIndirect = 4;

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

// A chain may be as long as the ring; rings shorter than this take longer chains all the same, by
// way of indirect tables.
constexpr uint32_t kMinChainLimit = 1024;

// Chains up to this many elements need nothing beyond what Create allocated.
constexpr size_t kSmallChain = 16;

// A field that the driver writes or reads at any time. The rings are aligned, see Create.
std::atomic_ref<uint16_t> Shared(std::byte* field) {
  return std::atomic_ref<uint16_t>(*reinterpret_cast<uint16_t*>(field));
}

// One copy, then checks on the copy: without the barrier the compiler might read guest memory again
// in place of the copy.
Descriptor CopyDescriptor(const std::byte* source) {
  Descriptor descriptor;
  std::memcpy(&descriptor, source, sizeof(descriptor));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return descriptor;
}

// virtio 2.7.10: whether `index` was passed on the way from `before` to `after`, modulo 2^16.
bool Crossed(uint16_t index, uint16_t before, uint16_t after) {
  return static_cast<uint16_t>(after - index - 1) < static_cast<uint16_t>(after - before);
}

}  // namespace

struct Virtqueue::State {
  const GuestMemory* memory;
  uint16_t size;
  bool event_idx;
  bool indirect;

  // Host addresses of the three parts.
  std::byte* descriptors;
  std::byte* avail;
  std::byte* used;

  uint16_t next_avail = 0;  // taken by Pop
  uint16_t next_used = 0;   // published by Push
  uint16_t signalled = 0;   // next_used at the last NeedsInterrupt
  bool broken = false;
  std::string broken_reason;

  uint32_t chain_limit;  // buffers of a chain, direct and indirect
  size_t element_limit;  // iovecs of a chain: buffers that do not overlap span each border between
                         // regions once

  // Elements of the chains that are out. A slot has room for a small chain; the first long one in a
  // slot brings room for any.
  struct Slot {
    std::unique_ptr<iovec[]> large;
  };
  std::unique_ptr<iovec[]> small_elements;  // size * kSmallChain
  std::vector<Slot> slots;
  std::vector<uint16_t> free_slots;

  Unexpected Break(std::string reason) {
    broken = true;
    broken_reason = std::move(reason);
    return Unexpected(Error{broken_reason});
  }

  std::byte* AvailEntry(uint16_t index) const {
    return avail + kEntriesOffset + 2 * (index & (size - 1));
  }
  std::byte* UsedEvent() const { return avail + kEntriesOffset + 2 * size; }
  std::byte* UsedEntry(uint16_t index) const {
    return used + kEntriesOffset + sizeof(UsedElement) * (index & (size - 1));
  }
  std::byte* AvailEvent() const { return used + kEntriesOffset + sizeof(UsedElement) * size; }
};

namespace {

// The elements of one chain while it is read, in the storage of its slot.
class ElementList {
 public:
  ElementList(std::span<iovec> small, std::unique_ptr<iovec[]>& large, size_t limit)
      : elements_(large ? std::span(large.get(), limit) : small), large_(large), limit_(limit) {}

  // False: more elements than the limit.
  bool Add(std::span<std::byte> bytes) {
    if (count_ == elements_.size()) {
      if (count_ == limit_) return false;
      large_ = std::make_unique_for_overwrite<iovec[]>(limit_);
      std::copy_n(elements_.begin(), count_, large_.get());
      elements_ = std::span(large_.get(), limit_);
    }
    elements_[count_++] = {bytes.data(), bytes.size()};
    return true;
  }

  size_t count() const { return count_; }
  std::span<iovec> elements() const { return elements_.first(count_); }

 private:
  std::span<iovec> elements_;
  std::unique_ptr<iovec[]>& large_;
  size_t limit_;
  size_t count_ = 0;
};

// Adds the host memory of [address, address + length), which may lie in several regions that touch.
// False: not all of it is guest memory, or too many elements.
bool AddBuffer(const GuestMemory& memory, uint64_t address, uint64_t length, ElementList& list) {
  while (length != 0) {
    uint64_t part = std::min(length, memory.ContiguousBytes(address));
    if (part == 0 || !list.Add(memory.Slice(address, part))) return false;
    address += part;
    length -= part;
  }
  return true;
}

}  // namespace

Virtqueue::Virtqueue(std::unique_ptr<State> state) : state_(std::move(state)) {}
Virtqueue::Virtqueue(Virtqueue&& other) noexcept = default;
Virtqueue& Virtqueue::operator=(Virtqueue&& other) noexcept {
  VMM_CHECK(!state_ || state_->free_slots.size() == state_->size);
  state_ = std::move(other.state_);
  return *this;
}
Virtqueue::~Virtqueue() { VMM_CHECK(!state_ || state_->free_slots.size() == state_->size); }

uint16_t Virtqueue::size() const { return state_->size; }

Result<Virtqueue> Virtqueue::Create(const GuestMemory& memory, const QueueConfig& config,
                                    uint64_t features) {
  const uint64_t size = config.size;
  if (!IsPowerOfTwo(size) || size > kMaxQueueSize) {
    return Fail("queue size {} is not a power of two from 1 to {}", size, kMaxQueueSize);
  }
  // virtio 2.7: alignment and size of each part. The last two bytes of both rings exist with
  // EVENT_IDX only (2.7.6, 2.7.8).
  const uint64_t event_bytes = features & kFeatureEventIdx ? 2 : 0;
  struct Part {
    const char* name;
    uint64_t address, alignment, bytes;
    std::byte* host;
  };
  Part parts[] = {
      {"descriptor table", config.descriptor_address, 16, sizeof(Descriptor) * size, nullptr},
      {"available ring", config.driver_address, 2, kEntriesOffset + 2 * size + event_bytes,
       nullptr},
      {"used ring", config.device_address, 4,
       kEntriesOffset + sizeof(UsedElement) * size + event_bytes, nullptr},
  };
  for (Part& part : parts) {
    if (!IsAligned(part.address, part.alignment)) {
      return Fail("{} at {:#x} is not aligned to {} bytes", part.name, part.address,
                  part.alignment);
    }
    part.host = memory.Slice(part.address, part.bytes).data();
    if (part.host == nullptr) {
      return Fail("{} at {:#x}, {} bytes, is not in guest memory", part.name, part.address,
                  part.bytes);
    }
    // Regions are mapped at page boundaries; atomic access depends on it.
    VMM_CHECK(IsAligned(reinterpret_cast<uintptr_t>(part.host), part.alignment));
  }

  auto state = std::make_unique<State>();
  state->memory = &memory;
  state->size = config.size;
  state->event_idx = features & kFeatureEventIdx;
  state->indirect = features & kFeatureIndirectDesc;
  state->descriptors = parts[0].host;
  state->avail = parts[1].host;
  state->used = parts[2].host;
  state->chain_limit = std::max<uint32_t>(config.size, kMinChainLimit);
  state->element_limit = state->chain_limit + memory.regions().size() - 1;
  state->small_elements = std::make_unique_for_overwrite<iovec[]>(size * kSmallChain);
  state->slots.resize(size);
  state->free_slots.reserve(size);
  // Taken from the back: the lowest slots are used most and stay in the cache.
  for (uint64_t slot = size; slot-- > 0;) state->free_slots.push_back(static_cast<uint16_t>(slot));
  return Virtqueue(std::move(state));
}

Result<std::optional<DescriptorChain>> Virtqueue::Pop() {
  State& state = *state_;
  if (state.broken) return Unexpected(Error{state.broken_reason});

  // Acquire pairs with the driver's write barrier between its entries and avail.idx
  // (virtio 2.7.13.3): what the index covers is visible after this load.
  const uint16_t avail_index = Shared(state.avail + kIndexOffset).load(std::memory_order_acquire);
  const uint16_t waiting = avail_index - state.next_avail;
  if (waiting == 0) return std::nullopt;
  // Each chain that waits or is out occupies at least one descriptor of the driver's.
  if (waiting > state.free_slots.size()) {
    return state.Break(fmt::format(
        "available index {} is {} ahead of {}, with {} of {} chains in use", avail_index, waiting,
        state.next_avail, state.size - state.free_slots.size(), state.size));
  }

  const uint16_t head = Shared(state.AvailEntry(state.next_avail)).load(std::memory_order_relaxed);
  if (head >= state.size) {
    return state.Break(fmt::format("head {} in a ring of {}", head, state.size));
  }

  const uint16_t slot = state.free_slots.back();
  ElementList list(std::span(&state.small_elements[slot * kSmallChain], kSmallChain),
                   state.slots[slot].large, state.element_limit);
  std::byte* table = state.descriptors;  // the ring's, then the indirect one
  uint64_t table_entries = state.size;
  bool in_indirect = false;
  uint16_t index = head;
  size_t readable_count = 0;
  bool writable_seen = false;
  uint64_t total_bytes = 0;

  // Ends by itself: a loop in the chain meets the limit, and the way into an indirect table is
  // taken once.
  for (uint32_t buffers = 0;;) {
    const Descriptor descriptor = CopyDescriptor(table + sizeof(Descriptor) * index);

    if (descriptor.flags & kIndirect) {
      // virtio 2.7.5.3.1. kWrite is ignored here (2.7.5.3.2).
      const uint64_t entries = descriptor.length / sizeof(Descriptor);
      if (!state.indirect || in_indirect || (descriptor.flags & kNext) || entries == 0 ||
          entries > state.chain_limit || !IsAligned(descriptor.length, sizeof(Descriptor))) {
        return state.Break(fmt::format("indirect descriptor with flags {:#x} and {} bytes{}{}",
                                       descriptor.flags, descriptor.length,
                                       state.indirect ? "" : ", not negotiated",
                                       in_indirect ? ", in an indirect table" : ""));
      }
      table = state.memory->Slice(descriptor.address, descriptor.length).data();
      if (table == nullptr) {
        return state.Break(fmt::format("indirect table at {:#x}, {} bytes, is not in guest memory",
                                       descriptor.address, descriptor.length));
      }
      table_entries = entries;
      in_indirect = true;
      index = 0;
      continue;
    }

    if (++buffers > state.chain_limit) {
      return state.Break(fmt::format("chain at head {} is longer than {} descriptors or a loop",
                                     head, state.chain_limit));
    }
    if (descriptor.flags & kWrite) {
      if (!writable_seen) readable_count = list.count();
      writable_seen = true;
    } else if (writable_seen) {
      return state.Break("device-readable descriptor after a device-writable one");
    }
    total_bytes += descriptor.length;
    if (total_bytes > UINT32_MAX) {
      return state.Break(fmt::format("chain at head {} is longer than 4 GiB", head));
    }
    if (!AddBuffer(*state.memory, descriptor.address, descriptor.length, list)) {
      return state.Break(fmt::format("buffer at {:#x}, {} bytes, is not in guest memory",
                                     descriptor.address, descriptor.length));
    }

    if (!(descriptor.flags & kNext)) break;
    index = descriptor.next;
    if (index >= table_entries) {
      return state.Break(fmt::format("next descriptor {} in a table of {}", index, table_entries));
    }
  }
  if (!writable_seen) readable_count = list.count();

  ++state.next_avail;
  state.free_slots.pop_back();
  return DescriptorChain(head, slot, list.elements().first(readable_count),
                         list.elements().subspan(readable_count));
}

void Virtqueue::Push(DescriptorChain chain, uint32_t written_bytes) {
  State& state = *state_;
  VMM_CHECK(chain.outstanding_);
  chain.outstanding_ = false;
  state.free_slots.push_back(chain.slot_);
  if (state.broken) return;

  const UsedElement element{chain.head_, written_bytes};
  std::memcpy(state.UsedEntry(state.next_used), &element, sizeof(element));
  // Release: data and entry are visible before the index. Pairs with the driver's read barrier
  // after it reads used.idx (virtio 2.7.14).
  Shared(state.used + kIndexOffset).store(++state.next_used, std::memory_order_release);
}

bool Virtqueue::EnableDoorbell() {
  State& state = *state_;
  if (state.broken) return false;
  // Sequentially consistent store and load: the driver writes avail.idx, then reads our field, with
  // a full barrier between (virtio 2.7.13.4.1). One of the two sides sees the other's write, so
  // that no chain is left without a notification.
  if (state.event_idx) {
    Shared(state.AvailEvent()).store(state.next_avail, std::memory_order_seq_cst);
  } else {
    Shared(state.used + kFlagsOffset).store(0, std::memory_order_seq_cst);
  }
  return Shared(state.avail + kIndexOffset).load(std::memory_order_seq_cst) != state.next_avail;
}

void Virtqueue::DisableDoorbell() {
  State& state = *state_;
  // With EVENT_IDX flags must stay 0 (virtio 2.7.10.2), and an avail_event that stays behind is
  // passed once in 2^16.
  if (state.event_idx || state.broken) return;
  Shared(state.used + kFlagsOffset).store(kUsedNoNotify, std::memory_order_relaxed);
}

bool Virtqueue::NeedsInterrupt() {
  State& state = *state_;
  const uint16_t before = std::exchange(state.signalled, state.next_used);
  if (before == state.next_used || state.broken) return false;
  // The driver writes used_event or flags, then looks at used.idx again, with a full barrier
  // between (virtio 2.7.7.1). Our half of the pair: used.idx is stored once more, sequentially
  // consistent, before its field is read.
  Shared(state.used + kIndexOffset).store(state.next_used, std::memory_order_seq_cst);
  if (!state.event_idx) {
    return !(Shared(state.avail + kFlagsOffset).load(std::memory_order_seq_cst) &
             kAvailNoInterrupt);
  }
  const uint16_t used_event = Shared(state.UsedEvent()).load(std::memory_order_seq_cst);
  return Crossed(used_event, before, state.next_used);
}

}  // namespace minivmm
