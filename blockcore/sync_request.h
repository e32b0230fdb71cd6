// SubmitAndWait: one request from a thread that is no I/O thread, for tests and for tools that do
// one thing after another.
#ifndef MINIVMM_BLOCKCORE_SYNC_REQUEST_H_
#define MINIVMM_BLOCKCORE_SYNC_REQUEST_H_

#include <condition_variable>
#include <mutex>

#include "blockcore/base/check.h"
#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// Any thread but an I/O thread. Submits `request`, which the caller has filled, to `target` (a
// BlockNode or what has the same Submit) on `thread`, and returns its status when it has completed.
template <typename Target>
BlockStatus SubmitAndWait(IoThread& thread, Target& target, BlockRequest& request) {
  VMM_CHECK(!thread.IsCurrent());
  struct Submission : Task {
    IoThread* thread;
    Target* target;
    BlockRequest* request;
    std::mutex mutex;
    std::condition_variable condition;
    bool done = false;
  } submission;
  submission.thread = &thread;
  submission.target = &target;
  submission.request = &request;
  submission.run = [](Task& task) {
    auto& self = static_cast<Submission&>(task);
    self.request->PushCompletion(
        [](void* completed, BlockRequest&) {
          auto& waiting = *static_cast<Submission*>(completed);
          std::lock_guard lock(waiting.mutex);
          waiting.done = true;
          waiting.condition.notify_one();
        },
        &self);
    self.target->Submit(*self.thread, *self.request);
  };
  thread.Post(submission);
  std::unique_lock lock(submission.mutex);
  submission.condition.wait(lock, [&] { return submission.done; });
  return request.status;
}

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_SYNC_REQUEST_H_
