// VirtioBlkQueue: one virtqueue of a disk with its I/O thread. Takes chains off the ring, makes
// requests of them, hands these to the disk, and gives the chains back with the answers. A request
// never leaves the thread.
//
//   doorbell, ─▶ pop, parse ──▶ disk ──▶ encode, push ──▶ end of turn: one interrupt at most
//   each turn          └── answered at once ──▲
//
// While its thread is awake the queue is looked at in every turn, and the driver need not ring.
//
//   idle ── Start ─▶ running ── StopDoorbell ─▶ draining ── Drain ─▶ idle
//
// Start, SetCapacity, RetryHeld, StopDoorbell and Drain are called by VirtioBlk, one at a time; all
// else runs on the I/O thread. What requests need is kept per chain slot and allocated here once,
// so that the hot path allocates nothing and takes no lock.
#ifndef MINIVMM_DEVICES_VIRTIO_BLK_QUEUE_H_
#define MINIVMM_DEVICES_VIRTIO_BLK_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>

#include "blockcore/block_node.h"
#include "blockcore/held_requests.h"
#include "blockcore/io_thread.h"
#include "devices/virtio_blk_request.h"
#include "devices/virtio_device.h"

namespace minivmm {

class VirtioBlkQueue final : private IoThread::Poller {
 public:
  // `name` stands in log lines. `disk` and `write_through` must outlive the queue. `write_through`
  // may change at any time; while it is set, all that a request changes is on stable storage before
  // the request is answered. `max_size`: of the rings that it will be given. `on_held` is called on
  // the I/O thread when requests begin to wait for RetryHeld (HeldRequests); it returns soon.
  VirtioBlkQueue(std::string name, BlockNode& disk, const std::atomic<bool>& write_through,
                 std::unique_ptr<IoThread> thread, uint16_t max_size,
                 std::function<void()> on_held);
  // The queue is idle.
  ~VirtioBlkQueue();

  // Begins to serve the ring, and what is in it already. `needs_reset` is raised at most once, when
  // the ring turns out broken; the queue then takes no more chains, and gives those in flight back
  // without touching the ring.
  void Start(ActiveQueue queue, const VirtioBlkRules& rules, NeedsReset* needs_reset);
  // For requests that are taken from now on. The queue is running.
  void SetCapacity(uint64_t capacity_sectors);
  // Any thread: whether requests wait for RetryHeld. It sends them to the disk again, once nothing
  // else of the queue is there, and before more is taken from the ring.
  bool HoldsRequests() const { return !held_.empty() && !retry_wanted_; }
  void RetryHeld();
  // Takes no more chains from the ring. Requests in flight go on, but none waits any more.
  void StopDoorbell();
  // After StopDoorbell: returns when no request is in flight and the ring has been dropped.
  void Drain();

 private:
  struct Slot;

  // IoThread::Poller.
  bool Poll() override;
  bool PrepareToSleep() override;

  bool RetryIfAlone();
  void StartRequest(DescriptorChain&& chain);
  void Submit(Slot& slot, BlockRequest::Done done);
  void SubmitReportSlice(Slot& slot);
  void OnDisk(Slot& slot);
  void OnReportSlice(Slot& slot);
  void Finish(Slot& slot, uint32_t written_bytes);
  void GiveBack(DescriptorChain&& chain, uint32_t written_bytes);
  void OnEndOfTurn();

  const std::string name_;
  BlockNode& disk_;
  const std::atomic<bool>& write_through_;

  // From Start to Drain.
  std::optional<ActiveQueue> queue_;
  VirtioBlkRules rules_;
  NeedsReset* needs_reset_ = nullptr;
  IoThread::Doorbell* doorbell_ = nullptr;  // the starting side's
  bool stopped_ = true;
  bool doorbell_wanted_ = false;  // the driver has been asked to ring
  bool broken_ = false;
  uint32_t in_flight_ = 0;
  uint64_t bytes_in_flight_ = 0;  // of their data
  std::binary_semaphore drained_{0};

  // Tasks with their owner. `armed`: in a list of the thread.
  struct QueueTask : Task {
    VirtioBlkQueue* queue = nullptr;
    bool armed = false;
  };
  void ArmEndOfTurn();
  QueueTask end_of_turn_;

  HeldRequests held_;
  std::atomic<bool> retry_wanted_ = false;
  std::unique_ptr<Slot[]> slots_;  // by DescriptorChain::slot()
  uint16_t max_size_;
  std::unique_ptr<IoThread> thread_;  // last: joined before all that its tasks touch goes
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_BLK_QUEUE_H_
