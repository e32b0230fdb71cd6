// Flushes of one disk that come while one is under way share the next fsync. The host's part is
// counted, and failed, by FailingHost.
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/units.h"
#include "blockcore/failing_host.h"
#include "blockcore/file.h"
#include "blockcore/io_thread.h"

namespace minivmm {
namespace {

using Kind = HostOperation::Kind;

class TestFile : public TemporaryFile {
 public:
  TestFile() : TemporaryFile(1_MiB) {}
  std::unique_ptr<BlockNode> Open() const { return std::move(*OpenFile({.filename = path()})); }
};

// What the host was asked to do, in order; its flushes end with `sync_error` if that is not 0.
class Host {
 public:
  explicit Host(int sync_error = 0)
      : host_([this, sync_error](const HostOperation& operation) {
          std::lock_guard lock(mutex_);
          kinds_.push_back(operation.kind);
          const bool fails = operation.kind == Kind::kSync && sync_error != 0;
          return fails ? HostOutcome::Fail(sync_error) : HostOutcome{};
        }) {}

  std::vector<Kind> kinds() {
    std::lock_guard lock(mutex_);
    return kinds_;
  }

 private:
  std::mutex mutex_;
  std::vector<Kind> kinds_;
  FailingHost host_;
};

// Requests that are submitted in one turn, one to each of `nodes`.
std::vector<BlockStatus> FlushAtOnce(IoThread& thread, const std::vector<BlockNode*>& nodes) {
  std::vector<BlockRequest> requests(nodes.size());
  std::latch done(static_cast<std::ptrdiff_t>(nodes.size()));
  thread.RunAndWait([&] {
    for (size_t i = 0; i < nodes.size(); ++i) {
      requests[i].op = BlockOp::kFlush;
      requests[i].PushCompletion(
          [](void* self, BlockRequest&) { static_cast<std::latch*>(self)->count_down(); }, &done);
      nodes[i]->Submit(thread, requests[i]);
    }
  });
  done.wait();
  thread.RunAndWait([] {});
  std::vector<BlockStatus> statuses;
  for (const BlockRequest& request : requests) statuses.push_back(request.status);
  return statuses;
}

TEST_CASE("Flushes that wait for one under way are answered by the next fsync, all of them") {
  TestFile file;
  auto node = file.Open();
  auto thread = std::move(*IoThread::Start("test"));
  Host host;
  CHECK(FlushAtOnce(*thread, std::vector<BlockNode*>(10, node.get())) ==
        std::vector<BlockStatus>(10, BlockStatus::kOk));
  CHECK(host.kinds() == std::vector<Kind>(2, Kind::kSync));
  // And once more: nothing is left of the first ten.
  CHECK(FlushAtOnce(*thread, std::vector<BlockNode*>(1, node.get())) ==
        std::vector<BlockStatus>(1, BlockStatus::kOk));
  CHECK(host.kinds() == std::vector<Kind>(3, Kind::kSync));
}

TEST_CASE("Flushes of different disks do not wait for each other") {
  TestFile files[2];
  auto first = files[0].Open();
  auto second = files[1].Open();
  auto thread = std::move(*IoThread::Start("test"));
  Host host;
  CHECK(FlushAtOnce(*thread, {first.get(), second.get()}) ==
        std::vector<BlockStatus>(2, BlockStatus::kOk));
  CHECK(host.kinds() == std::vector<Kind>(2, Kind::kSync));
}

TEST_CASE("An fsync that fails, fails those that waited for it, too") {
  TestFile file;
  auto node = file.Open();
  auto thread = std::move(*IoThread::Start("test"));
  Host host(EIO);
  CHECK(FlushAtOnce(*thread, std::vector<BlockNode*>(5, node.get())) ==
        std::vector<BlockStatus>(5, BlockStatus::kIoError));
}

TEST_CASE("A flush is not answered by an fsync that began before it came") {
  TestFile file;
  auto node = file.Open();
  auto thread = std::move(*IoThread::Start("test"));
  Host host;
  // A flush and a write together; the write's completion sends another flush.
  struct Run {
    IoThread& thread;
    BlockNode& node;
    std::array<std::byte, 512> data{};
    iovec buffer{data.data(), data.size()};
    BlockRequest early{}, write{}, late{};
    std::latch done{2};
  } run{*thread, *node};
  auto count_down = [](void* self, BlockRequest&) { static_cast<Run*>(self)->done.count_down(); };
  run.early.op = run.late.op = BlockOp::kFlush;
  run.write.op = BlockOp::kWrite;
  run.write.length_bytes = run.data.size();
  run.write.buffers = {&run.buffer, 1};
  run.early.PushCompletion(count_down, &run);
  run.late.PushCompletion(count_down, &run);
  run.write.PushCompletion(
      [](void* self, BlockRequest&) {
        Run& running = *static_cast<Run*>(self);
        running.node.Submit(running.thread, running.late);
      },
      &run);
  thread->RunAndWait([&] {
    node->Submit(*thread, run.early);
    node->Submit(*thread, run.write);
  });
  run.done.wait();
  thread->RunAndWait([] {});
  CHECK(host.kinds() == std::vector<Kind>{Kind::kSync, Kind::kWrite, Kind::kSync});
}

// A flush that its own thread submits when it is told to.
struct ThreadFlush : Task {
  ThreadFlush(IoThread& thread_in, BlockNode& node_in) : thread(thread_in), node(node_in) {
    request.op = BlockOp::kFlush;
    request.PushCompletion(
        [](void* self, BlockRequest&) { static_cast<ThreadFlush*>(self)->done.count_down(); },
        this);
    run = [](Task& task) {
      auto& self = static_cast<ThreadFlush&>(task);
      self.node.Submit(self.thread, self.request);
      self.submitted.count_down();
    };
  }
  BlockStatus Wait() {
    done.wait();
    thread.RunAndWait([] {});
    return request.status;
  }
  IoThread& thread;
  BlockNode& node;
  BlockRequest request{};
  std::latch submitted{1};
  std::latch done{1};
};

TEST_CASE("Flushes of several threads share an fsync, too") {
  TestFile file;
  auto node = file.Open();
  auto first_thread = std::move(*IoThread::Start("first"));
  auto second_thread = std::move(*IoThread::Start("second"));
  Host host;
  ThreadFlush first(*first_thread, *node), second(*second_thread, *node),
      third(*second_thread, *node);
  // The fsync of the first is not looked at before the others have come.
  first_thread->RunAndWait([&] {
    first.run(first);
    second_thread->Post(second);
    second_thread->Post(third);
    second.submitted.wait();
    third.submitted.wait();
  });
  CHECK(first.Wait() == BlockStatus::kOk);
  CHECK(second.Wait() == BlockStatus::kOk);
  CHECK(third.Wait() == BlockStatus::kOk);
  CHECK(host.kinds() == std::vector<Kind>(2, Kind::kSync));
}

TEST_CASE("An error that one thread's fsync was told is not believed away by another's") {
  TestFile file;
  auto node = file.Open();
  auto first_thread = std::move(*IoThread::Start("first"));
  auto second_thread = std::move(*IoThread::Start("second"));
  std::atomic<int> syncs = 0;
  FailingHost host([&](const HostOperation& operation) {
    // As the kernel does: the first learns of the error, then it is forgotten.
    return operation.kind == Kind::kSync && ++syncs == 1 ? HostOutcome::Fail(EIO) : HostOutcome{};
  });
  ThreadFlush first(*first_thread, *node), second(*second_thread, *node);
  struct Filler : IoOperation {
    Filler() {
      done = [](IoOperation&, int32_t) {};
    }
  };
  std::vector<Filler> fillers(300);
  first_thread->RunAndWait([&] {
    first.run(first);
    // The ring is full: the fsync goes to the kernel in this turn, which handles no completion.
    for (Filler& filler : fillers) {
      ::io_uring_prep_cancel(&first_thread->Prepare(filler), nullptr, 0);
    }
    REQUIRE(syncs == 1);
    second_thread->Post(second);
    second.submitted.wait();
    // Time for an answer that should not come yet.
    for (int i = 0; i < 100 && !second.done.try_wait(); ++i) ::usleep(1000);
  });
  CHECK(first.Wait() == BlockStatus::kIoError);
  CHECK(second.Wait() == BlockStatus::kIoError);
}

TEST_CASE("A thread does not end before a flush that waits for another thread's fsync") {
  TestFile file;
  auto node = file.Open();
  auto first_thread = std::move(*IoThread::Start("first"));
  auto second_thread = std::move(*IoThread::Start("second"));
  ThreadFlush first(*first_thread, *node), second(*second_thread, *node);
  std::latch ending{1};
  std::thread end;
  first_thread->RunAndWait([&] {
    first.run(first);
    second_thread->Post(second);
    second.submitted.wait();
    // Nobody waits for the second flush, as for one that a node sends by itself.
    end = std::thread([&] {
      ending.count_down();
      second_thread.reset();
    });
    ending.wait();
    ::usleep(20'000);
  });
  end.join();
  CHECK(second.done.try_wait());
  CHECK(first.Wait() == BlockStatus::kOk);
}

}  // namespace
}  // namespace minivmm
