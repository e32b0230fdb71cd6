// PackedRing: the device's side of a packed ring (virtio 2.8), what Virtqueue does for this layout.
// One ring of descriptors, written by both sides in turn. A wrap counter of one bit on each side,
// 1 at first, tells laps apart:
//
//      next_used                  next_avail
//          ▼                          ▼
//   | ... | chains that are out ...  | available, or not yet | ...
//
//   available:  AVAIL == wrap, USED != wrap        used:  AVAIL == USED == wrap
//
// A chain is a list of consecutive descriptors, or one that names an indirect table. It is given
// back as one used descriptor at next_used, which then moves on by the length of its list. Buffer
// ids mean nothing here. Size: any, not just powers of two.
//
// One thread: that of the queue. What is wrong with the ring is the text of an error; Virtqueue
// sees to it that a broken ring is not used any more.
#ifndef MINIVMM_DEVICES_PACKED_RING_H_
#define MINIVMM_DEVICES_PACKED_RING_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "blockcore/base/result.h"
#include "devices/descriptor_chain.h"
#include "devices/guest_memory.h"
#include "devices/queue_config.h"
#include "devices/ring_chains.h"

namespace minivmm {

class PackedRing {
 public:
  // Fails when the size is 0 or beyond 32768 or a part of the ring is misaligned or not within one
  // region of guest memory.
  static Result<PackedRing> Create(const GuestMemory& memory, const QueueConfig& config,
                                   uint64_t features);

  // As in Virtqueue.
  Result<std::optional<DescriptorChain>> Pop(RingChains& chains);
  void Push(const DescriptorChain& chain, uint32_t written_bytes);
  bool EnableDoorbell();
  void DisableDoorbell();
  bool NeedsInterrupt();

 private:
  // A place in the ring and the lap it belongs to.
  struct Position {
    uint16_t index = 0;
    bool wrap = true;
  };

  PackedRing() = default;

  Position Advance(Position position, uint16_t descriptors) const;
  std::byte* DescriptorAt(Position position) const;
  // Of the descriptor's flags; acquires all that the driver wrote before them.
  uint16_t LoadFlags(Position position) const;

  uint16_t size_ = 0;
  bool event_idx_ = false;
  bool indirect_ = false;

  // Host addresses of the three parts.
  std::byte* descriptors_ = nullptr;
  std::byte* driver_event_ = nullptr;
  std::byte* device_event_ = nullptr;

  Position next_avail_;       // taken by Pop
  Position next_used_;        // published by Push
  uint16_t out_ = 0;          // descriptors between the two
  uint32_t unsignalled_ = 0;  // descriptors that Push passed since the last NeedsInterrupt
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_PACKED_RING_H_
