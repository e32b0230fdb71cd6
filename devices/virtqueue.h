// Virtqueue: the device's side of one ring in guest memory, split (virtio 2.7) or packed (2.8) by
// what was negotiated: direct and indirect descriptors, EVENT_IDX. Two types for before and after:
// QueueConfig is what the driver wrote into registers, a Virtqueue is a ring whose place was
// checked once. The layouts are in split_ring and packed_ring; users cannot tell them apart.
//
//   do {
//     ring.DisableDoorbell();
//     for (;;) {
//       auto chain = ring.Pop();
//       if (!chain) …;           // broken: DEVICE_NEEDS_RESET, the ring is of no use any more
//       if (!*chain) break;      // empty
//       … ring.Push(std::move(**chain), written);    // now or at any later time
//     }
//   } while (ring.EnableDoorbell());                 // true: more came meanwhile
//   if (ring.NeedsInterrupt()) …;                    // once for all that was pushed
//
// Create is called by the transport; all else by the one I/O thread that has the queue. Knows
// nothing of eventfds, of interrupts, or of what the bytes mean.
#ifndef MINIVMM_DEVICES_VIRTQUEUE_H_
#define MINIVMM_DEVICES_VIRTQUEUE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "blockcore/base/result.h"
#include "devices/descriptor_chain.h"
#include "devices/guest_memory.h"
#include "devices/queue_config.h"

namespace minivmm {

class Virtqueue {
 public:
  // `features` are the negotiated ones. Fails when the size is not one to 32768, or for a split
  // ring not a power of two, or when a part of the ring is misaligned or not within one region of
  // guest memory. `memory` must outlive the ring. Any thread.
  static Result<Virtqueue> Create(const GuestMemory& memory, const QueueConfig& config,
                                  uint64_t features);

  Virtqueue(Virtqueue&& other) noexcept;
  Virtqueue& operator=(Virtqueue&& other) noexcept;
  // All chains must have been given back.
  ~Virtqueue();

  uint16_t size() const;

  // The next available chain; nullopt: there is none. Error: the driver broke a rule after which
  // the ring cannot be trusted (virtio 2.7.5 to 2.7.8, 2.8); the text says which. It stays broken:
  // every later Pop fails as well and Push writes no more.
  Result<std::optional<DescriptorChain>> Pop();

  // Gives the chain back: the first `written_bytes` writable bytes of it were written
  // (virtio 2.7.8.2), and something of it if it has any, as a status at the end. The driver sees
  // the entry at once, but is interrupted only by the next NeedsInterrupt.
  void Push(DescriptorChain&& chain, uint32_t written_bytes);

  // Asks for a notification of the next chain; true: there is one already, go on popping.
  bool EnableDoorbell();
  // Tells the driver that notifications are not needed for now. Advice only: some may come all the
  // same.
  void DisableDoorbell();

  // Whether the driver wants an interrupt for what was pushed since the last call (virtio 2.7.7.2).
  bool NeedsInterrupt();

 private:
  struct State;
  explicit Virtqueue(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTQUEUE_H_
