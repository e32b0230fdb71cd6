// IoThread: one OS thread with one io_uring, which is also its event loop. A virtqueue has one for
// itself; everything that happens to its requests happens here.
//
// One turn of the loop, in this order, with one system call at the end:
//
//   reap completions (disk I/O, doorbells, the wake-up for posted tasks)
//   run what became complete: operations, posted tasks, what the Poller finds, frames of
//     BlockRequests, the last until nothing is left or the turn's budget is used up
//   run the tasks of RunAtEndOfTurn                                    (interrupt decisions)
//   io_uring_enter: submit all, and wait for one completion if there is nothing left to run
//
// A turn is bounded: what exceeds its budget stays in its list and the next turn does not wait, so
// no source of work can starve another. Before the thread sleeps it may look for work busily, for
// as long as lately was worth it: a doorbell and waking up cost more than a short request.
// Functions marked [thread] may be called on the I/O thread only.
#ifndef MINIVMM_BLOCKCORE_IO_THREAD_H_
#define MINIVMM_BLOCKCORE_IO_THREAD_H_

#include <liburing.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/result.h"
#include "blockcore/block_request.h"

namespace minivmm {

// Something to do on an I/O thread. Intrusive: posting never allocates. One Task is in at most one
// list at a time; it may be posted again as soon as `run` has been entered.
struct Task {
  void (*run)(Task& task) = nullptr;
  Task* next = nullptr;
};

// One operation in the ring. Lives until `done` is called, on the I/O thread, with the completion's
// result (>= 0 or -errno); it may be freed or prepared again as soon as `done` has been entered.
struct IoOperation {
  void (*done)(IoOperation& operation, int32_t result) = nullptr;
  // The thread's own: a link and the result, between the reaping and the running of a completion.
  IoOperation* next = nullptr;
  int32_t reaped_result = 0;
};

class IoThread {
 public:
  // `name` (at most 15 bytes are shown by the system) names the OS thread. With a Poller, it looks
  // for work for `poll_max_ns` at most before it sleeps. Fails when the kernel gives no io_uring:
  // the message says what to do.
  static Result<std::unique_ptr<IoThread>> Start(std::string name, uint64_t poll_max_ns = 0);

  // Waits until all operations in the ring have completed, all posted tasks have run and nothing is
  // done elsewhere for this thread, then joins. Not on an I/O thread. Doorbells must be unwatched
  // before.
  ~IoThread();

  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // Any thread, and not after the destructor has begun but for tasks that run on this thread and
  // for what BeginElsewhere announced. Runs the task on the I/O thread, in the order of posting.
  void Post(Task& task);

  // Any thread but an I/O thread. Runs `work` on the I/O thread and returns when it is done.
  void RunAndWait(const std::function<void()>& work);

  // From here on, writing to the eventfd wakes the thread, whose next turn looks at its Poller; a
  // write from before counts. `doorbell` must outlive the watch. Unwatch returns when no read of
  // the eventfd is left in the ring; the watch is gone then. Both: any thread but an I/O thread.
  class Doorbell;
  Doorbell* WatchDoorbell(const EventFd& doorbell);
  void Unwatch(Doorbell* watch);

  // A source of work that can be looked at without a system call: a virtqueue. [thread]
  class Poller {
   public:
    // Takes what there is; whether there was anything. Cheap when not.
    virtual bool Poll() = 0;
    // Asks for the doorbell, because the thread is about to sleep; false: there is work already.
    virtual bool PrepareToSleep() = 0;

   protected:
    ~Poller() = default;
  };
  // [thread] One at most; nullptr: none.
  void SetPoller(Poller* poller);

  // [thread] A cleared sqe to be filled by io_uring_prep_*, at once: its user data is set already,
  // which those functions leave alone. It is submitted at the end of the turn (or earlier, when the
  // ring is full), in the order of the calls. `operation` is told of the completion.
  io_uring_sqe& Prepare(IoOperation& operation);

  // [thread] The request is done, its status is set: its frames run later in this turn (or, past
  // the turn's budget, in the next), after the caller has returned.
  void Complete(BlockRequest& request);

  // [thread] Runs the task once, after everything else of this turn. From within such a task: at
  // the end of the next turn, which follows without waiting.
  void RunAtEndOfTurn(Task& task);

  // The time of the calling I/O thread's turn (CLOCK_MONOTONIC): read once in each, at the first
  // call, so that requests may be timed at no cost of their own.
  static uint64_t TurnTimeNs();

  // [thread] Another thread begins to do something for this one and will Post; what it posted runs.
  // The destructor waits for the second.
  void BeginElsewhere();
  void EndElsewhere();

  // Whether the caller is this I/O thread.
  bool IsCurrent() const;

 private:
  struct State;

  IoThread();

  std::unique_ptr<State> state_;
  std::thread thread_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_IO_THREAD_H_
