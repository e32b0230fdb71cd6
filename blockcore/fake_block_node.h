// FakeBlockNode: a leaf for tests. It records what arrives, and completes it when, in which order
// and with which status the test says; or by itself. What a request does (fill a read, move a write
// pointer) is the test's `effect`, run at the moment of completion. Any number of I/O threads may
// submit. Nothing here checks that a caller keeps the rules: derive from it for that.
//
//   FakeBlockNode disk(limits);
//   ... on an I/O thread: node_under_test.Submit(thread, request) ...
//   CHECK(disk.held().size() == 1);
//   disk.Fail(0, BlockStatus::kIoError);    // on the test's own thread
//   Settle(thread);                         // now the completion has run
#ifndef MINIVMM_BLOCKCORE_FAKE_BLOCK_NODE_H_
#define MINIVMM_BLOCKCORE_FAKE_BLOCK_NODE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/block_node.h"
#include "blockcore/block_request.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// Returns when `thread` has come to the end of a turn that began after the call: what was ready to
// run on it has run. Not on an I/O thread.
inline void Settle(IoThread& thread) {
  struct EndOfTurn : Task {
    std::promise<void> reached;
  };
  EndOfTurn end;
  end.run = [](Task& task) { static_cast<EndOfTurn&>(task).reached.set_value(); };
  std::future<void> reached = end.reached.get_future();
  thread.RunAndWait([&] { thread.RunAtEndOfTurn(end); });
  reached.wait();
  // The promise is in use until set_value has returned.
  thread.RunAndWait([] {});
}

class FakeBlockNode : public BlockNode {
 public:
  // Returns the status of the request; called under the node's lock.
  using Effect = std::function<BlockStatus(BlockRequest& request)>;

  // A request as it arrived.
  struct Arrival {
    BlockOp op;
    uint64_t offset_bytes;
    uint64_t length_bytes;
    size_t buffer_count;
    IoThread* thread;

    bool operator==(const Arrival&) const = default;
  };

  enum class Mode {
    kHold,       // until Complete or Fail
    kImmediate,  // done as soon as it arrives
    kShuffle,    // done by itself, in a random order
  };

  explicit FakeBlockNode(const BlockLimits& limits, Effect effect = {})
      : limits_(limits), effect_(std::move(effect)) {}

  const BlockLimits& limits() const override { return limits_; }

  void Submit(IoThread& thread, BlockRequest& request) override {
    VMM_CHECK(thread.IsCurrent());
    std::lock_guard lock(mutex_);
    Arrival arrival{request.op, request.offset_bytes, request.length_bytes, request.buffers.size(),
                    &thread};
    log_.push_back(arrival);
    if (mode_ == Mode::kImmediate) {
      RunEffect(request);
      thread.Complete(request);
      return;
    }
    held_.push_back({arrival, &request});
    if (mode_ == Mode::kShuffle) {
      auto* pick = new PickTask;
      pick->node = this;
      pick->thread = &thread;
      pick->run = [](Task& task) {
        std::unique_ptr<PickTask> self(static_cast<PickTask*>(&task));
        self->node->CompleteAnyOf(*self->thread);
      };
      thread.Post(*pick);
    }
  }

  void set_mode(Mode mode) {
    std::lock_guard lock(mutex_);
    mode_ = mode;
  }

  // All that ever arrived, and what of it is held.
  std::vector<Arrival> log() const {
    std::lock_guard lock(mutex_);
    return log_;
  }
  std::vector<Arrival> held() const {
    std::lock_guard lock(mutex_);
    std::vector<Arrival> arrivals;
    for (const Held& held : held_) arrivals.push_back(held.arrival);
    return arrivals;
  }
  void ClearLog() {
    std::lock_guard lock(mutex_);
    log_.clear();
  }

  // Completes held()[index], with its effect or, failing, without. Not on an I/O thread.
  void Complete(size_t index = 0) { CompleteOn(Take(index), nullptr); }
  void Fail(size_t index, BlockStatus status) { CompleteOn(Take(index), &status); }

 protected:
  // Under the node's lock, for each request about to complete, however it ends.
  virtual void Completing(const BlockRequest&) {}

 private:
  struct Held {
    Arrival arrival;
    BlockRequest* request;
  };
  struct PickTask : Task {
    FakeBlockNode* node = nullptr;
    IoThread* thread = nullptr;
  };

  void RunEffect(BlockRequest& request) {
    Completing(request);
    request.status = effect_ ? effect_(request) : BlockStatus::kOk;
  }

  Held Take(size_t index) {
    std::lock_guard lock(mutex_);
    Held held = held_.at(index);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    return held;
  }

  void CompleteOn(Held held, const BlockStatus* status) {
    held.arrival.thread->RunAndWait([&] {
      std::lock_guard lock(mutex_);
      if (status == nullptr) {
        RunEffect(*held.request);
      } else {
        Completing(*held.request);
        held.request->status = *status;
      }
      held.arrival.thread->Complete(*held.request);
    });
  }

  void CompleteAnyOf(IoThread& thread) {
    std::lock_guard lock(mutex_);
    std::vector<size_t> own;
    for (size_t i = 0; i < held_.size(); ++i) {
      if (held_[i].arrival.thread == &thread) own.push_back(i);
    }
    size_t index = own.at(random_() % own.size());
    BlockRequest* request = held_[index].request;
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    RunEffect(*request);
    thread.Complete(*request);
  }

  const BlockLimits limits_;
  const Effect effect_;
  mutable std::mutex mutex_;
  Mode mode_ = Mode::kHold;
  std::vector<Arrival> log_;
  std::vector<Held> held_;
  std::minstd_rand random_{1};
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_FAKE_BLOCK_NODE_H_
