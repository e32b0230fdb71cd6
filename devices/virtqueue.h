// Virtqueue: the device's side of one split ring (virtio 2.7) in guest memory: direct and indirect
// descriptors, EVENT_IDX. Two types for before and after: QueueConfig is what the driver wrote into
// registers, a Virtqueue is a ring whose place was checked once.
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
// nothing of eventfds, of interrupts, or of what the bytes mean. Packed rings are not offered.
#ifndef MINIVMM_DEVICES_VIRTQUEUE_H_
#define MINIVMM_DEVICES_VIRTQUEUE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "blockcore/base/result.h"
#include "devices/descriptor_chain.h"
#include "devices/guest_memory.h"

namespace minivmm {

// Reserved feature bits (virtio 6) that a ring obeys.
constexpr uint64_t kFeatureIndirectDesc = uint64_t{1} << 28;
constexpr uint64_t kFeatureEventIdx = uint64_t{1} << 29;

// virtio 2.7: the largest split ring.
constexpr uint16_t kMaxQueueSize = 32768;

// The registers of one queue as the driver left them (virtio 4.1.4.3). Nothing is checked yet.
struct QueueConfig {
  uint16_t size = 0;                // queue_size, in descriptors
  uint64_t descriptor_address = 0;  // queue_desc, guest addresses all three
  uint64_t driver_address = 0;      // queue_driver: the available ring
  uint64_t device_address = 0;      // queue_device: the used ring
};

class Virtqueue {
 public:
  // `features` are the negotiated ones. Fails when the size is not a power of two up to 32768 or a
  // part of the ring is misaligned or not within one region of guest memory. `memory` must outlive
  // the ring. Any thread.
  static Result<Virtqueue> Create(const GuestMemory& memory, const QueueConfig& config,
                                  uint64_t features);

  Virtqueue(Virtqueue&& other) noexcept;
  Virtqueue& operator=(Virtqueue&& other) noexcept;
  // All chains must have been given back.
  ~Virtqueue();

  uint16_t size() const;

  // The next available chain; nullopt: there is none. Error: the driver broke a rule after which
  // the ring cannot be trusted (virtio 2.7.5 to 2.7.8); the text says which. It stays broken: every
  // later Pop fails as well and Push writes no more.
  Result<std::optional<DescriptorChain>> Pop();

  // Gives the chain back: the first `written_bytes` writable bytes of it were written
  // (virtio 2.7.8.2). The driver sees the entry at once, but is interrupted only by the next
  // NeedsInterrupt.
  void Push(DescriptorChain chain, uint32_t written_bytes);

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
