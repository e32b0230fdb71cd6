// The driver's side of one virtqueue, split or packed (virtio 1.3, 2.7, 2.8). In a split ring
// descriptors are handed out one after another and all come back together, when nothing is in
// flight: enough for tests, and every chain stays where a check can look at it. In a packed ring
// they follow each other around it, and a chain's buffer id is the index of its first descriptor;
// chains are pushed in the order in which they were placed.
//
// Place() writes a chain, Push() enters it in the available ring, Publish() shows it to the device.
// The ring's memory is public on purpose: checks put wrong things there.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_VIRTQUEUE_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_VIRTQUEUE_H_

#include <cstdint>

namespace minivmm {

constexpr uint16_t kDescriptorNext = 1;
constexpr uint16_t kDescriptorWrite = 2;
constexpr uint16_t kDescriptorIndirect = 4;
constexpr uint16_t kAvailableNoInterrupt = 1;
constexpr uint16_t kUsedNoNotify = 1;
constexpr uint16_t kMaxQueueSize = 256;

struct Descriptor {
  uint64_t address;
  uint32_t bytes;
  uint16_t flags;
  uint16_t next;
};
static_assert(sizeof(Descriptor) == 16);

// The same place in a packed ring.
struct PackedDescriptor {
  uint64_t address;
  uint32_t bytes;
  uint16_t id;
  uint16_t flags;
};
static_assert(sizeof(PackedDescriptor) == 16);
constexpr uint16_t kDescriptorAvailable = 1 << 7;
constexpr uint16_t kDescriptorUsed = 1 << 15;

// Event suppression of a packed ring: where `available` and `used` of a split ring begin.
struct EventSuppression {
  uint16_t descriptor;  // index, and the wrap counter in bit 15
  uint16_t flags;
};
constexpr uint16_t kEventEnable = 0;
constexpr uint16_t kEventDisable = 1;
constexpr uint16_t kEventDescriptor = 2;

struct UsedElement {
  uint32_t id;
  uint32_t bytes;
};

// The three parts of a ring at its full size. Field names follow the specification; used_event and
// avail_event come after `size` entries, which may be fewer than kMaxQueueSize.
struct RingMemory {
  alignas(4096) Descriptor descriptors[kMaxQueueSize];
  struct alignas(4096) {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[kMaxQueueSize + 1];
  } available;
  struct alignas(4096) {
    uint16_t flags;
    uint16_t index;
    UsedElement ring[kMaxQueueSize];
    uint16_t avail_event;
  } used;
};

struct Segment {
  uint64_t address;
  uint32_t bytes;
  bool device_writable;
};

inline Segment Readable(const void* data, uint32_t bytes) {
  return {reinterpret_cast<uint64_t>(data), bytes, false};
}
inline Segment Writable(void* data, uint32_t bytes) {
  return {reinterpret_cast<uint64_t>(data), bytes, true};
}

class Virtqueue {
 public:
  // Clears the memory and starts anew. `size` is a power of two up to kMaxQueueSize, or anything
  // from 1 on if `packed`.
  void Attach(RingMemory* memory, uint16_t size, bool event_idx, bool packed);

  // A chain of descriptors in the ring's own table; returns its head.
  uint16_t Place(const Segment* segments, uint16_t count);
  // The same, but all segments from `direct_count` on lie in `table`, which one indirect descriptor
  // refers to. In a packed ring `direct_count` is 0.
  uint16_t PlaceIndirect(const Segment* segments, uint16_t count, uint16_t direct_count,
                         Descriptor* table);

  void Push(uint16_t head);
  // Enters the next `count` heads that the available ring still holds from its last round, without
  // writing them. Split rings only.
  void PushAgain(uint16_t count) {
    next_available_ = static_cast<uint16_t>(next_available_ + count);
  }
  // Makes everything pushed visible and asks for one interrupt when all of it is used. Returns
  // whether the device wants to be notified.
  bool Publish();

  // How many used elements were not taken yet, and whether there is one.
  uint16_t UsedCount() const;
  bool HasUsed() const;
  UsedElement TakeUsed();
  // Takes all that is in flight without looking at it; the descriptors stay placed. Split rings
  // only.
  void SkipUsed() { next_used_ = next_available_; }
  uint16_t in_flight() const { return static_cast<uint16_t>(next_available_ - next_used_); }

  uint16_t size() const { return size_; }
  RingMemory& memory() { return *memory_; }
  volatile uint16_t& used_event() { return memory_->available.ring[size_]; }
  volatile uint16_t& avail_event();
  // Of a packed ring.
  volatile PackedDescriptor& packed_descriptor(uint16_t index) {
    return reinterpret_cast<volatile PackedDescriptor*>(memory_->descriptors)[index];
  }
  volatile EventSuppression& driver_event() {
    return *reinterpret_cast<volatile EventSuppression*>(&memory_->available);
  }
  volatile EventSuppression& device_event() {
    return *reinterpret_cast<volatile EventSuppression*>(&memory_->used);
  }

 private:
  struct Position {
    uint16_t index = 0;
    bool wrap = true;
  };
  Position After(Position place, uint16_t count) const;
  bool IsUsed(Position place) const;
  uint16_t PlacePacked(const PackedDescriptor* list, uint16_t count);
  bool PublishPacked();

  RingMemory* memory_ = nullptr;
  uint16_t size_ = 0;
  bool event_idx_ = false;
  uint16_t next_descriptor_ = 0;
  uint16_t next_available_ = 0;
  uint16_t published_ = 0;
  uint16_t next_used_ = 0;

  bool packed_ = false;
  Position placed_;                          // where the next list goes
  Position taken_;                           // where the next used descriptor appears
  uint16_t out_ = 0;                         // descriptors between the two
  uint16_t descriptors_published_ = 0;       // since the last time it was asked
  uint16_t heads_[kMaxQueueSize] = {};       // pushed, not yet published
  uint16_t lengths_[kMaxQueueSize] = {};     // of lists, by head
  uint16_t head_flags_[kMaxQueueSize] = {};  // what makes the list available
};

// Fills `table` with a chain of `count` entries that starts at its entry 0.
void FillTable(Descriptor* table, uint16_t first_index, const Segment* segments, uint16_t count);

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_VIRTQUEUE_H_
