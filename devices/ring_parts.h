// For the two ring layouts (split_ring, packed_ring) and nobody else: the flags of descriptors that
// they share, and access to guest memory that the driver changes at any time. Any thread.
#ifndef MINIVMM_DEVICES_RING_PARTS_H_
#define MINIVMM_DEVICES_RING_PARTS_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "blockcore/base/result.h"
#include "devices/guest_memory.h"

namespace minivmm {

static_assert(std::endian::native == std::endian::little, "rings are little-endian");

// virtio 2.7.5, 2.8.13: the same bits in both layouts.
constexpr uint16_t kDescriptorNext = 1;
constexpr uint16_t kDescriptorWrite = 2;
constexpr uint16_t kDescriptorIndirect = 4;
constexpr uint64_t kDescriptorBytes = 16;

// One of the three parts of a ring; `host` is filled in by PlaceRingPart.
struct RingPart {
  const char* name;
  uint64_t address, alignment, bytes;
  std::byte* host = nullptr;
};

// Finds the parts in guest memory. Fails when one is misaligned or not within one region.
Result<void> PlaceRingParts(const GuestMemory& memory, std::span<RingPart> parts);

// A field that both sides use at any time. Parts of rings are aligned, see PlaceRingParts.
template <typename T>
std::atomic_ref<T> SharedField(std::byte* field) {
  return std::atomic_ref<T>(*reinterpret_cast<T*>(field));
}

// One copy, then checks on the copy: without the barrier the compiler might read guest memory again
// in place of the copy.
template <typename Descriptor>
Descriptor CopyDescriptor(const std::byte* source) {
  static_assert(sizeof(Descriptor) == kDescriptorBytes);
  Descriptor descriptor;
  std::memcpy(&descriptor, source, sizeof(descriptor));
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return descriptor;
}

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_RING_PARTS_H_
