// SubmitAndWait: one request from a thread that is no I/O thread, for tests and for tools that do
// one thing after another.
#ifndef MINIVMM_BLOCKCORE_SYNC_REQUEST_H_
#define MINIVMM_BLOCKCORE_SYNC_REQUEST_H_

#include <condition_variable>
#include <mutex>

#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// Any thread but an I/O thread. Submits `request`, which the caller has filled, to `target` (a
// BlockNode or what has the same Submit) on `thread`, and returns its status when it has completed.
template <typename Target>
BlockStatus SubmitAndWait(IoThread& thread, Target& target, BlockRequest& request) {
  struct Waiter {
    std::mutex mutex;
    std::condition_variable condition;
    bool done = false;
  } waiter;
  thread.RunAndWait([&] {
    request.PushCompletion(
        [](void* self, BlockRequest&) {
          auto& completed = *static_cast<Waiter*>(self);
          std::lock_guard lock(completed.mutex);
          completed.done = true;
          completed.condition.notify_one();
        },
        &waiter);
    target.Submit(thread, request);
  });
  std::unique_lock lock(waiter.mutex);
  waiter.condition.wait(lock, [&] { return waiter.done; });
  return request.status;
}

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_SYNC_REQUEST_H_
