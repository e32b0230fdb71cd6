#include "guest-tests/bare-metal/virtqueue.h"

#include "guest-tests/bare-metal/cpu.h"
#include "guest-tests/bare-metal/require.h"

namespace minivmm {

void FillTable(Descriptor* table, uint16_t first_index, const Segment* segments, uint16_t count) {
  for (uint16_t i = 0; i < count; ++i) {
    const uint16_t index = first_index + i;
    uint16_t flags = segments[i].device_writable ? kDescriptorWrite : 0;
    if (i + 1 < count) flags |= kDescriptorNext;
    // The last entry names a successor without the NEXT flag, as Linux leaves it: devices must not
    // look.
    table[index] = {segments[i].address, segments[i].bytes, flags,
                    static_cast<uint16_t>(index + 1)};
  }
}

void Virtqueue::Attach(RingMemory* memory, uint16_t size, bool event_idx, bool packed) {
  __builtin_memset(memory, 0, sizeof(*memory));
  *this = Virtqueue();
  memory_ = memory;
  size_ = size;
  event_idx_ = event_idx;
  packed_ = packed;
}

Virtqueue::Position Virtqueue::After(Position place, uint16_t count) const {
  const uint32_t index = uint32_t{place.index} + count;
  if (index < size_) return {static_cast<uint16_t>(index), place.wrap};
  return {static_cast<uint16_t>(index - size_), !place.wrap};
}

bool Virtqueue::IsUsed(Position place) const {
  const auto* ring = reinterpret_cast<volatile PackedDescriptor*>(memory_->descriptors);
  const uint16_t flags = ring[place.index].flags;
  return ((flags & kDescriptorAvailable) != 0) == place.wrap &&
         ((flags & kDescriptorUsed) != 0) == place.wrap;
}

// All but the flags of the first descriptor.
uint16_t Virtqueue::PlacePacked(const PackedDescriptor* list, uint16_t count) {
  REQUIRE(out_ + count <= size_);
  const uint16_t head = placed_.index;
  for (uint16_t i = 0; i < count; ++i) {
    volatile PackedDescriptor& target = packed_descriptor(placed_.index);
    target.address = list[i].address;
    target.bytes = list[i].bytes;
    target.id = head;
    uint16_t flags = list[i].flags | (placed_.wrap ? kDescriptorAvailable : kDescriptorUsed);
    if (i + 1 < count) flags |= kDescriptorNext;
    if (i == 0) {
      head_flags_[head] = flags;
    } else {
      target.flags = flags;
    }
    placed_ = After(placed_, 1);
  }
  lengths_[head] = count;
  out_ = static_cast<uint16_t>(out_ + count);
  descriptors_published_ = static_cast<uint16_t>(descriptors_published_ + count);
  return head;
}

volatile uint16_t& Virtqueue::avail_event() {
  return *reinterpret_cast<volatile uint16_t*>(&memory_->used.ring[size_]);
}

uint16_t Virtqueue::Place(const Segment* segments, uint16_t count) {
  if (packed_) {
    static PackedDescriptor list[kMaxQueueSize];
    REQUIRE(count <= kMaxQueueSize);
    for (uint16_t i = 0; i < count; ++i) {
      const uint16_t flags = segments[i].device_writable ? kDescriptorWrite : 0;
      list[i] = {segments[i].address, segments[i].bytes, 0, flags};
    }
    return PlacePacked(list, count);
  }
  REQUIRE(next_descriptor_ + count <= size_);
  const uint16_t head = next_descriptor_;
  FillTable(memory_->descriptors, head, segments, count);
  next_descriptor_ = head + count;
  return head;
}

uint16_t Virtqueue::PlaceIndirect(const Segment* segments, uint16_t count, uint16_t direct_count,
                                  Descriptor* table) {
  if (packed_) {
    REQUIRE_EQ(direct_count, 0);
    auto* entries = reinterpret_cast<PackedDescriptor*>(table);
    for (uint16_t i = 0; i < count; ++i) {
      // NEXT and ids mean nothing in a table (K-05).
      const uint16_t flags = segments[i].device_writable ? kDescriptorWrite : 0;
      entries[i] = {segments[i].address, segments[i].bytes, 0xbeef,
                    static_cast<uint16_t>(flags | kDescriptorNext)};
    }
    const PackedDescriptor descriptor = {reinterpret_cast<uint64_t>(table),
                                         count * uint32_t{sizeof(PackedDescriptor)}, 0,
                                         kDescriptorIndirect};
    return PlacePacked(&descriptor, 1);
  }
  REQUIRE(next_descriptor_ + direct_count + 1 <= size_);
  const uint16_t head = next_descriptor_;
  FillTable(memory_->descriptors, head, segments, direct_count);
  if (direct_count > 0) memory_->descriptors[head + direct_count - 1].flags |= kDescriptorNext;
  const uint16_t table_entries = count - direct_count;
  FillTable(table, 0, segments + direct_count, table_entries);
  memory_->descriptors[head + direct_count] = {reinterpret_cast<uint64_t>(table),
                                               table_entries * uint32_t{sizeof(Descriptor)},
                                               kDescriptorIndirect, 0xffff};
  next_descriptor_ = head + direct_count + 1;
  return head;
}

void Virtqueue::Push(uint16_t head) {
  if (packed_) {
    heads_[next_available_++ % kMaxQueueSize] = head;
    return;
  }
  memory_->available.ring[next_available_ & (size_ - 1)] = head;
  ++next_available_;
}

bool Virtqueue::PublishPacked() {
  // The interrupt comes when the last place that is out has been used.
  const bool last_wrap = placed_.index == 0 ? !placed_.wrap : placed_.wrap;
  const uint16_t last = placed_.index == 0 ? size_ - 1 : placed_.index - 1;
  driver_event().descriptor = static_cast<uint16_t>(last | (last_wrap ? 0x8000 : 0));
  driver_event().flags = event_idx_ ? kEventDescriptor : kEventEnable;
  CompilerBarrier();
  for (; published_ != next_available_; ++published_) {
    const uint16_t head = heads_[published_ % kMaxQueueSize];
    packed_descriptor(head).flags = head_flags_[head];
    CompilerBarrier();
  }
  const uint16_t added = descriptors_published_;
  descriptors_published_ = 0;
  // The flags must be visible before the device's wish is read, or both sides may sleep.
  FullBarrier();
  const uint16_t flags = device_event().flags;
  if (flags != kEventDescriptor) return flags != kEventDisable;
  const uint16_t event = device_event().descriptor;
  const int lap = ((event & 0x8000) != 0) == placed_.wrap ? 0 : size_;
  const int beyond = placed_.index - (event & 0x7fff) + lap;
  return beyond > 0 && beyond <= added;
}

bool Virtqueue::Publish() {
  if (packed_) return PublishPacked();
  volatile auto& available = memory_->available;
  volatile auto& used = memory_->used;
  used_event() = static_cast<uint16_t>(next_available_ - 1);
  CompilerBarrier();
  const uint16_t before = published_;
  available.index = published_ = next_available_;
  // The new index must be visible before the device's wish is read, or both sides may sleep.
  FullBarrier();
  if (!event_idx_) return (used.flags & kUsedNoNotify) == 0;
  const uint16_t added = published_ - before;
  return static_cast<uint16_t>(published_ - avail_event() - 1) < added;
}

uint16_t Virtqueue::UsedCount() const {
  if (packed_) {
    const auto* ring = reinterpret_cast<volatile PackedDescriptor*>(memory_->descriptors);
    uint16_t count = 0;
    for (Position place = taken_; count < in_flight() && IsUsed(place); ++count) {
      const uint16_t id = ring[place.index].id;
      if (id >= size_ || lengths_[id] == 0) return count + 1;  // TakeUsed complains
      place = After(place, lengths_[id]);
    }
    return count;
  }
  const volatile auto& used = memory_->used;
  return static_cast<uint16_t>(used.index - next_used_);
}

bool Virtqueue::HasUsed() const {
  return packed_ ? in_flight() > 0 && IsUsed(taken_) : UsedCount() > 0;
}

UsedElement Virtqueue::TakeUsed() {
  REQUIRE(HasUsed());
  CompilerBarrier();
  if (packed_) {
    const volatile PackedDescriptor& used = packed_descriptor(taken_.index);
    const UsedElement packed_element = {
        used.id, (used.flags & kDescriptorWrite) != 0 ? uint32_t{used.bytes} : 0};
    REQUIRE(packed_element.id < size_);
    const uint16_t length = lengths_[packed_element.id];
    REQUIRE(length > 0 && length <= out_);
    lengths_[packed_element.id] = 0;
    taken_ = After(taken_, length);
    out_ = static_cast<uint16_t>(out_ - length);
    ++next_used_;
    return packed_element;
  }
  const UsedElement element = memory_->used.ring[next_used_ & (size_ - 1)];
  ++next_used_;
  if (in_flight() == 0) next_descriptor_ = 0;
  return element;
}

}  // namespace minivmm
