// Flushes of one disk that come while one is under way share the next fsync. The host's part is
// counted, and failed, by FailingHost.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <latch>
#include <memory>
#include <mutex>
#include <string>
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

}  // namespace
}  // namespace minivmm
