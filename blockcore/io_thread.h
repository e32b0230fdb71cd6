// IoThread: one OS thread with one io_uring, which is also its event loop. A virtqueue has one for itself; everything that happens
// to its requests happens here.
//
// One turn of the loop, in this order, with one system call at the end:
//
//   reap completions (disk I/O, doorbells, posted tasks)
//   run what became complete: frames of BlockRequests, posted tasks, doorbell handlers   (until nothing is left)
//   run the tasks of RunAtEndOfTurn                                                     (interrupt decisions)
//   io_uring_submit_and_wait(1)
//
// Functions marked [thread] may be called on the I/O thread only.
#ifndef MINIVMM_BLOCKCORE_IO_THREAD_H_
#define MINIVMM_BLOCKCORE_IO_THREAD_H_

#include <liburing.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/result.h"
#include "blockcore/block_request.h"

namespace minivmm {

// Something to do on an I/O thread. Intrusive: posting never allocates. One Task is in at most one list at a time; it may be posted
// again as soon as `run` has been entered.
struct Task {
  void (*run)(Task& task) = nullptr;
  Task* next = nullptr;
};

// One operation in the ring. Lives until `done` is called, on the I/O thread, with the completion's result (>= 0 or -errno).
struct IoOperation {
  void (*done)(IoOperation& operation, int32_t result) = nullptr;
};

class IoThread {
 public:
  // `name` (at most 15 bytes are shown by the system) names the OS thread. Fails when the kernel gives no io_uring: the message says
  // what to do (kernel.io_uring_disabled).
  static Result<std::unique_ptr<IoThread>> Start(std::string name);

  // Waits until all operations in the ring have completed and all posted tasks have run, then joins. Doorbells must be unwatched.
  ~IoThread();

  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // Any thread. Runs the task on the I/O thread, in the order of posting.
  void Post(Task& task);

  // Any thread but an I/O thread. Runs `work` on the I/O thread and returns when it is done.
  void RunAndWait(const std::function<void()>& work);

  // Calls `on_ring` on the I/O thread whenever the eventfd has been written to (its count is drained first). `doorbell` must outlive
  // the watch. Unwatch returns when no read of the eventfd is left in the ring and on_ring will not be called again; use it via
  // RunAndWait-free code on any thread but an I/O thread.
  class Doorbell;
  Doorbell* WatchDoorbell(const EventFd& doorbell, std::function<void()> on_ring);
  void Unwatch(Doorbell* watch);

  // [thread] A cleared sqe to be filled by io_uring_prep_*; it is submitted at the end of the turn (or earlier, when the ring
  // is full). `operation` is told of the completion.
  io_uring_sqe& Prepare(IoOperation& operation);

  // [thread] The request is done, its status is set: its frames run later in this turn, after the caller has returned.
  void Complete(BlockRequest& request);

  // [thread] Runs the task once, after everything else of this turn.
  void RunAtEndOfTurn(Task& task);

  // Whether the caller is this I/O thread.
  bool IsCurrent() const { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  struct State;

  IoThread() = default;

  std::unique_ptr<State> state_;
  std::thread thread_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_IO_THREAD_H_
