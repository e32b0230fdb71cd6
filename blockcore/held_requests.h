// HeldRequests: the requests of one I/O thread that the host has failed and that wait, while the
// machine stands still, until somebody has put the host in order (werror=stop).
//
//   disk fails ─▶ BlockBackend: policy says stop ─▶ Hold ─┬─ Retry ──▶ to the disk again
//                                                         └─ GiveUp ─▶ to the sender, as failed
//
// Requests go in the order in which they came. For one zone that is the order of their submission,
// because a zone fails them in that order; and whoever calls Retry sees to it that no other of his
// is with the disk then, which its zone would refuse for want of one that waits.
//
// A device has one for each queue, and names it in its requests. On its I/O thread, but for what
// says otherwise. BlockBackend decides what waits, and learns by its completion frame of both ways
// out.
#ifndef MINIVMM_BLOCKCORE_HELD_REQUESTS_H_
#define MINIVMM_BLOCKCORE_HELD_REQUESTS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <utility>

#include "blockcore/block_request.h"
#include "blockcore/io_thread.h"

namespace minivmm {

class HeldRequests {
 public:
  // `on_held` is called when a request has to wait and none did before; it returns soon.
  HeldRequests(IoThread& thread, std::function<void()> on_held)
      : thread_(thread), on_held_(std::move(on_held)) {}

  HeldRequests(const HeldRequests&) = delete;
  HeldRequests& operator=(const HeldRequests&) = delete;

  IoThread& thread() const { return thread_; }
  // Any thread.
  bool empty() const { return count() == 0; }
  uint32_t count() const { return count_.load(std::memory_order_acquire); }

  // Requests may wait from now on; at first they may not.
  void Open() { open_ = true; }
  bool is_open() const { return open_; }
  // Sends all that wait to the disk again.
  void Retry();
  // Gives back all that wait, with their errors. No more may wait.
  void GiveUp();

  // BlockBackend's. The request's next frame is one that looks at its status after Retry (kOk) or
  // GiveUp (what it was).
  void Hold(BlockRequest& request);
  // Whether a write waits to something in [begin_bytes, end_bytes).
  bool HasWriteIn(uint64_t begin_bytes, uint64_t end_bytes) const;

 private:
  BlockRequest* TakeAll();

  IoThread& thread_;
  const std::function<void()> on_held_;
  BlockRequest* first_ = nullptr;
  BlockRequest* last_ = nullptr;
  bool open_ = false;
  std::atomic<uint32_t> count_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_HELD_REQUESTS_H_
