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

void Virtqueue::Attach(RingMemory* memory, uint16_t size, bool event_idx) {
  __builtin_memset(memory, 0, sizeof(*memory));
  *this = Virtqueue();
  memory_ = memory;
  size_ = size;
  event_idx_ = event_idx;
}

volatile uint16_t& Virtqueue::avail_event() {
  return *reinterpret_cast<volatile uint16_t*>(&memory_->used.ring[size_]);
}

uint16_t Virtqueue::Place(const Segment* segments, uint16_t count) {
  REQUIRE(next_descriptor_ + count <= size_);
  const uint16_t head = next_descriptor_;
  FillTable(memory_->descriptors, head, segments, count);
  next_descriptor_ = head + count;
  return head;
}

uint16_t Virtqueue::PlaceIndirect(const Segment* segments, uint16_t count, uint16_t direct_count,
                                  Descriptor* table) {
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
  memory_->available.ring[next_available_ & (size_ - 1)] = head;
  ++next_available_;
}

bool Virtqueue::Publish() {
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
  const volatile auto& used = memory_->used;
  return static_cast<uint16_t>(used.index - next_used_);
}

UsedElement Virtqueue::TakeUsed() {
  REQUIRE(UsedCount() > 0);
  CompilerBarrier();
  const UsedElement element = memory_->used.ring[next_used_ & (size_ - 1)];
  ++next_used_;
  if (in_flight() == 0) next_descriptor_ = 0;
  return element;
}

}  // namespace minivmm
