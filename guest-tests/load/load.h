// Load: a small virtio-blk driver that keeps a disk busy with requests at random places, as fio
// does in a Linux guest. Its loop runs in user mode, for the sake of KVMs that emulate the rest.
//
//     ┌─ wait until half of `depth` is used ◀── used ring ───┐
//     │  look at each status, choose a new place             VMM
//     └─ make all that came back available ──▶ avail. ring ──┘   (doorbell if the VMM asks for it)
//
// Rings as in Linux: one indirect descriptor for each request, EVENT_IDX, and the doorbell only
// where the VMM wants it. Unlike Linux it polls: the processor that waits is the guest's, and no
// interrupt is asked for.
#ifndef MINIVMM_GUEST_TESTS_LOAD_LOAD_H_
#define MINIVMM_GUEST_TESTS_LOAD_LOAD_H_

#include <cstdint>

#include "guest-tests/bare-metal/virtio_pci.h"
#include "guest-tests/load/options.h"

namespace minivmm {

constexpr unsigned kMaxLoadQueues = 4;

class Load {
 public:
  // Starts the disk and builds the requests, with their data from `data` on. Null on success,
  // otherwise what is wrong.
  const char* Open(const PciFunction& function, const LoadOptions& options, uint64_t data,
                   uint64_t data_bytes);

  // In user mode: runs the load until there were `options.requests`, and until the timestamp
  // counter is at `end`.
  void Run(uint64_t end);

  // Afterwards: how many requests came back, and the first status that was not 0.
  uint64_t requests() const { return requests_; }
  uint8_t failure() const { return failure_; }

 private:
  struct Queue {
    RingMemory* ring;
    uint64_t doorbell;
    uint16_t available;  // the ring's index, as published
    uint16_t used;       // elements that were looked at
    uint16_t entered;    // in the available ring, not yet published
  };

  void Build(uint16_t index, uint64_t data);
  void Enter(Queue& queue, uint16_t head);
  void Publish(Queue& queue);
  // Takes what was used, and enters it again if `again`.
  void Take(Queue& queue, bool again);

  LoadOptions options_;
  VirtioPci pci_;
  Queue queues_[kMaxLoadQueues];
  uint64_t buffer_bytes_ = 0;
  uint64_t places_ = 0;  // on the disk
  uint64_t sectors_of_place_ = 0;
  uint64_t random_ = 0x9e37'79b9'7f4a'7c15;
  uint64_t requests_ = 0;
  uint8_t failure_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_LOAD_LOAD_H_
