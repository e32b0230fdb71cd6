// SplitRing: the device's side of a split ring (virtio 2.7), what Virtqueue does for this layout.
//
//   driver:  descriptor table ◀─ heads in the available ring, avail.idx
//   device:  used ring: (head, written bytes), used.idx
//
// One thread: that of the queue. What is wrong with the ring is the text of an error; Virtqueue
// sees to it that a broken ring is not used any more.
#ifndef MINIVMM_DEVICES_SPLIT_RING_H_
#define MINIVMM_DEVICES_SPLIT_RING_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "blockcore/base/result.h"
#include "devices/descriptor_chain.h"
#include "devices/guest_memory.h"
#include "devices/queue_config.h"
#include "devices/ring_chains.h"

namespace minivmm {

class SplitRing {
 public:
  // Fails when the size is not a power of two up to 32768 or a part of the ring is misaligned or
  // not within one region of guest memory.
  static Result<SplitRing> Create(const GuestMemory& memory, const QueueConfig& config,
                                  uint64_t features);

  // As in Virtqueue.
  Result<std::optional<DescriptorChain>> Pop(RingChains& chains);
  void Push(const DescriptorChain& chain, uint32_t written_bytes);
  bool EnableDoorbell();
  void DisableDoorbell();
  bool NeedsInterrupt();

 private:
  SplitRing() = default;

  Result<void> ReadChain(uint16_t head, RingChains& chains) const;
  std::byte* AvailEntry(uint16_t index) const;
  std::byte* UsedEntry(uint16_t index) const;
  std::byte* UsedEvent() const;
  std::byte* AvailEvent() const;

  uint16_t size_ = 0;
  bool event_idx_ = false;
  bool indirect_ = false;

  // Host addresses of the three parts.
  std::byte* descriptors_ = nullptr;
  std::byte* avail_ = nullptr;
  std::byte* used_ = nullptr;

  uint16_t next_avail_ = 0;  // taken by Pop
  uint16_t next_used_ = 0;   // published by Push
  uint16_t signalled_ = 0;   // next_used_ at the last NeedsInterrupt
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_SPLIT_RING_H_
