// What a BlockBackend does with requests that the host fails: report, ignore, hold until they are
// tried again or given up. The nodes below are the real ones, over files; the host's answers are
// the test's (FailingHost).
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/block_backend.h"
#include "blockcore/failing_host.h"
#include "blockcore/fake_block_node.h"
#include "blockcore/held_requests.h"
#include "blockcore/sync_request.h"
#include "blockcore/zoned/zoned_create.h"

namespace minivmm {
namespace {

using Kind = HostOperation::Kind;

constexpr uint64_t kZone = 1_MiB;

char ByteAt(const TemporaryFile& file, uint64_t offset_bytes) {
  const UniqueFd fd(::open(file.path().c_str(), O_RDONLY | O_CLOEXEC));
  char byte = 0;
  REQUIRE(::pread(fd.get(), &byte, 1, static_cast<off_t>(offset_bytes)) == 1);
  return byte;
}

std::string ZonedOver(const TemporaryFile& file) {
  REQUIRE(CreateZonedImage(file.path(),
                           {.capacity_bytes = 4 * kZone,
                            .zone_size_bytes = kZone,
                            .zone_capacity_bytes = kZone,
                            .max_append_bytes = 64_KiB},
                           /*overwrite=*/true)
              .has_value());
  return "driver=zoned,file.driver=file,file.filename=" + file.path();
}

// A request under way, and whether it has come back.
struct Sent {
  BlockRequest request;
  std::vector<char> memory;
  iovec buffer{};
  std::atomic<bool> is_back = false;
};

// An I/O thread that uses a disk as a queue of a device does.
class Queue {
 public:
  explicit Queue(BlockBackend& backend)
      : backend_(backend),
        thread_(std::move(*IoThread::Start("test"))),
        held_(*thread_, [this] { ++waves; }) {
    thread_->RunAndWait([this] { held_.Open(); });
  }

  // Returns when it is with the disk, all of it in one turn of the thread.
  std::vector<std::unique_ptr<Sent>> Send(std::vector<BlockRequest> requests, char fill = 'x') {
    std::vector<std::unique_ptr<Sent>> sent;
    for (BlockRequest& request : requests) {
      sent.push_back(std::make_unique<Sent>());
      Sent& one = *sent.back();
      one.request = request;
      const bool has_data = request.op == BlockOp::kRead || request.op == BlockOp::kWrite ||
                            request.op == BlockOp::kZoneAppend;
      one.memory.assign(has_data ? request.length_bytes : 0, fill++);
      one.buffer = {one.memory.data(), one.memory.size()};
      if (has_data) one.request.buffers = {&one.buffer, 1};
      one.request.held_in = &held_;
      one.request.PushCompletion(
          [](void* self, BlockRequest&) { static_cast<Sent*>(self)->is_back = true; }, &one);
    }
    thread_->RunAndWait([&] {
      for (auto& one : sent) backend_.Submit(*thread_, one->request);
    });
    return sent;
  }
  std::unique_ptr<Sent> Send(BlockOp op, uint64_t offset_bytes = 0, uint64_t length_bytes = 4096) {
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset_bytes;
    request.length_bytes = length_bytes;
    return std::move(Send(std::vector{request}).front());
  }
  BlockStatus Await(const Sent& sent) {
    while (!sent.is_back) std::this_thread::yield();
    return sent.request.status;
  }
  void AwaitHeld() {
    while (held_.empty()) std::this_thread::yield();
    thread_->RunAndWait([] {});  // on_held has returned
  }
  BlockStatus Do(BlockOp op, uint64_t offset_bytes = 0, uint64_t length_bytes = 4096) {
    return Await(*Send(op, offset_bytes, length_bytes));
  }
  void Retry() {
    thread_->RunAndWait([this] { held_.Retry(); });
  }
  void GiveUp() {
    thread_->RunAndWait([this] { held_.GiveUp(); });
  }
  bool HoldsSome() const { return !held_.empty(); }
  IoThread& thread() { return *thread_; }

  std::atomic<int> waves = 0;  // calls of on_held

 private:
  BlockBackend& backend_;
  std::unique_ptr<IoThread> thread_;
  HeldRequests held_;
};

struct Disk {
  explicit Disk(const ErrorPolicy& policy, bool zoned = false) {
    const std::string node =
        zoned ? ZonedOver(file) : "driver=file,discard=unmap,filename=" + file.path();
    auto added = graph.Add("node-name=d," + node);
    REQUIRE_MESSAGE(added.has_value(), (added ? "" : added.error().message));
    backend = std::move(*BlockBackend::Create(graph, "d", "device 'test'"));
    backend->SetErrorPolicy(policy);
    backend->SetErrorObserver([this](const BlockError& error) {
      std::lock_guard lock(mutex);
      errors.push_back(error);
    });
  }
  uint64_t Count(BlockOp op, BlockStatus status) const {
    return backend->Counters().Requests(op, status);
  }

  void AwaitErrors(size_t count) {
    for (;;) {
      {
        std::lock_guard lock(mutex);
        if (errors.size() >= count) return;
      }
      std::this_thread::yield();
    }
  }

  TemporaryFile file{1_MiB};
  BlockGraph graph;
  std::unique_ptr<BlockBackend> backend;
  std::mutex mutex;
  std::vector<BlockError> errors;
};

BlockRequest Make(BlockOp op, uint64_t offset_bytes, uint64_t length_bytes) {
  BlockRequest request;
  request.op = op;
  request.offset_bytes = offset_bytes;
  request.length_bytes = length_bytes;
  return request;
}

FailingHost::Judge Fails(Kind kind, int error) {
  return [kind, error](const HostOperation& operation) {
    return operation.kind == kind ? HostOutcome::Fail(error) : HostOutcome{};
  };
}

constexpr ErrorPolicy kStop{.reads = OnError::kStop, .writes = OnError::kStop};

TEST_CASE("each policy has its action for each error of the host") {
  const auto on_write = [](OnError on_error, BlockStatus status, BlockOp op = BlockOp::kWrite) {
    return ActionOn({.reads = OnError::kReport, .writes = on_error}, op, status);
  };
  for (BlockStatus status : {BlockStatus::kIoError, BlockStatus::kNoSpace}) {
    const bool no_space = status == BlockStatus::kNoSpace;
    CHECK(on_write(OnError::kReport, status) == ErrorAction::kReport);
    CHECK(on_write(OnError::kStop, status) == ErrorAction::kStop);
    CHECK(on_write(OnError::kEnospc, status) ==
          (no_space ? ErrorAction::kStop : ErrorAction::kReport));
    for (BlockOp op :
         {BlockOp::kWrite, BlockOp::kFlush, BlockOp::kDiscard, BlockOp::kWriteZeroes}) {
      CHECK(on_write(OnError::kIgnore, status, op) == ErrorAction::kIgnore);
      CHECK(on_write(OnError::kStop, status, op) == ErrorAction::kStop);
    }
    for (BlockOp op : {BlockOp::kZoneAppend, BlockOp::kZoneFinish, BlockOp::kZoneReset}) {
      CHECK(on_write(OnError::kIgnore, status, op) == ErrorAction::kReport);
      CHECK(on_write(OnError::kStop, status, op) == ErrorAction::kStop);
    }
    CHECK(on_write(OnError::kStop, status, BlockOp::kRead) == ErrorAction::kReport);
    CHECK(ActionOn({.reads = OnError::kStop}, BlockOp::kRead, status) == ErrorAction::kStop);
  }
}

TEST_CASE("a full host has a status of its own, and so has a quota that is used up") {
  for (int error : {ENOSPC, EDQUOT, EIO, EFBIG}) {
    CAPTURE(error);
    Disk disk({});
    Queue queue(*disk.backend);
    const BlockStatus expected =
        error == ENOSPC || error == EDQUOT ? BlockStatus::kNoSpace : BlockStatus::kIoError;
    FailingHost host(Fails(Kind::kWrite, error));
    CHECK(queue.Do(BlockOp::kWrite) == expected);
    REQUIRE(disk.errors.size() == 1);
    CHECK(disk.errors[0].status == expected);
    CHECK(disk.errors[0].action == ErrorAction::kReport);
    CHECK(disk.Count(BlockOp::kWrite, expected) == 1);
    CHECK(disk.backend->io_status() == BlockStatus::kOk);
  }
}

TEST_CASE("an ignored error is none to the sender, and is counted and observed") {
  Disk disk({.reads = OnError::kIgnore, .writes = OnError::kIgnore});
  Queue queue(*disk.backend);
  FailingHost host([](const HostOperation&) { return HostOutcome::Fail(EIO); });
  CHECK(queue.Do(BlockOp::kWrite) == BlockStatus::kOk);
  CHECK(queue.Do(BlockOp::kRead) == BlockStatus::kOk);
  CHECK(queue.Do(BlockOp::kDiscard) == BlockStatus::kOk);
  CHECK(queue.Do(BlockOp::kFlush) == BlockStatus::kOk);
  REQUIRE(disk.errors.size() == 4);
  for (const BlockError& error : disk.errors) CHECK(error.action == ErrorAction::kIgnore);
  CHECK(disk.Count(BlockOp::kWrite, BlockStatus::kIoError) == 1);
  CHECK(disk.Count(BlockOp::kWrite, BlockStatus::kOk) == 0);
  // An answer is no error.
  CHECK(queue.Do(BlockOp::kWrite, 2_MiB) == BlockStatus::kOutOfRange);
}

TEST_CASE("a request that stops the machine waits, is tried again, and counts once") {
  Disk disk({.writes = OnError::kEnospc});
  Queue queue(*disk.backend);
  std::unique_ptr<Sent> sent;
  {
    FailingHost host(Fails(Kind::kWrite, ENOSPC));
    sent = queue.Send(BlockOp::kWrite, 8192);
    queue.AwaitHeld();
    CHECK(queue.waves == 1);
    CHECK(disk.backend->io_status() == BlockStatus::kNoSpace);
    // Still full: it stops once more.
    disk.backend->ResetIoStatus();
    queue.Retry();
    queue.AwaitHeld();
    CHECK(queue.waves == 2);
    CHECK(disk.backend->io_status() == BlockStatus::kNoSpace);
    CHECK_FALSE(sent->is_back);
    // Those that the host does not fail go on.
    CHECK(queue.Do(BlockOp::kRead) == BlockStatus::kOk);
  }
  queue.Retry();
  CHECK(queue.Await(*sent) == BlockStatus::kOk);
  CHECK(ByteAt(disk.file, 8192) == 'x');
  CHECK_FALSE(queue.HoldsSome());
  CHECK(disk.Count(BlockOp::kWrite, BlockStatus::kOk) == 1);
  CHECK(disk.Count(BlockOp::kWrite, BlockStatus::kNoSpace) == 0);
  CHECK(disk.backend->Latency().Of(BlockOp::kWrite).count == 1);
  REQUIRE(disk.errors.size() == 2);
  for (const BlockError& error : disk.errors) CHECK(error.action == ErrorAction::kStop);

  FailingHost host(Fails(Kind::kWrite, EIO));
  CHECK(queue.Do(BlockOp::kWrite) == BlockStatus::kIoError);
}

TEST_CASE("reads and writes have policies of their own") {
  Disk disk({.reads = OnError::kStop});
  Queue queue(*disk.backend);
  std::unique_ptr<Sent> read;
  {
    FailingHost host([](const HostOperation&) { return HostOutcome::Fail(EIO); });
    CHECK(queue.Do(BlockOp::kWrite) == BlockStatus::kIoError);
    read = queue.Send(BlockOp::kRead);
    queue.AwaitHeld();
    CHECK(disk.backend->io_status() == BlockStatus::kIoError);
  }
  queue.Retry();
  CHECK(queue.Await(*read) == BlockStatus::kOk);
  CHECK(read->memory[0] == 0);
}

TEST_CASE(
    "what O_DIRECT cannot write does not wait for the host; what a page cache can write does") {
  for (bool direct : {true, false}) {
    CAPTURE(direct);
    const TemporaryFile file(1_MiB);
    BlockGraph graph;
    REQUIRE(graph.Add("node-name=d,driver=file,filename=" + file.path() +
                      (direct ? ",cache.direct=on" : "")));
    auto backend = std::move(*BlockBackend::Create(graph, "d", "device 'test'"));
    for (OnError on_error : {OnError::kStop, OnError::kIgnore}) {
      backend->SetErrorPolicy({.writes = on_error});
      Queue queue(*backend);
      std::unique_ptr<Sent> write;
      {
        FailingHost host(Fails(Kind::kWrite, EIO));
        write = queue.Send(BlockOp::kWrite, 100, 100);
        if (!direct && on_error == OnError::kStop) queue.AwaitHeld();
        if (direct) CHECK(queue.Await(*write) == BlockStatus::kIoError);
      }
      queue.Retry();
      if (!direct) CHECK(queue.Await(*write) == BlockStatus::kOk);
    }
  }
}

TEST_CASE("the status says why the first had to wait, whatever comes after it") {
  Disk disk({.reads = OnError::kStop, .writes = OnError::kStop});
  Queue queue(*disk.backend);
  std::unique_ptr<Sent> write, read;
  {
    FailingHost host([](const HostOperation& operation) {
      return HostOutcome::Fail(operation.kind == Kind::kWrite ? ENOSPC : EIO);
    });
    write = queue.Send(BlockOp::kWrite);
    disk.AwaitErrors(1);
    read = queue.Send(BlockOp::kRead);
    disk.AwaitErrors(2);
    CHECK(disk.backend->io_status() == BlockStatus::kNoSpace);
  }
  queue.Retry();
  CHECK(queue.Await(*write) == BlockStatus::kOk);
  CHECK(queue.Await(*read) == BlockStatus::kOk);
}

TEST_CASE("requests that wait are tried again in the order in which they were sent") {
  Disk disk(kStop);
  Queue queue(*disk.backend);
  std::vector<BlockRequest> requests;
  const std::vector<uint64_t> offsets = {7, 3, 3, 90, 0, 12, 3};
  for (uint64_t offset : offsets) requests.push_back(Make(BlockOp::kWrite, offset * 4096, 4096));
  std::vector<std::unique_ptr<Sent>> sent;
  {
    FailingHost host(Fails(Kind::kWrite, ENOSPC));
    sent = queue.Send(requests);
    disk.AwaitErrors(offsets.size());
  }
  std::vector<uint64_t> seen;
  {
    FailingHost host([&](const HostOperation& operation) {
      seen.push_back(operation.offset_bytes / 4096);
      return HostOutcome{};
    });
    queue.Retry();
    for (const auto& one : sent) CHECK(queue.Await(*one) == BlockStatus::kOk);
  }
  CHECK(seen == offsets);
  CHECK(queue.waves == 1);
}

TEST_CASE("who gives up gets the errors, and no more of his requests wait") {
  Disk disk(kStop);
  Queue queue(*disk.backend);
  FailingHost host(Fails(Kind::kWrite, ENOSPC));
  std::vector<std::unique_ptr<Sent>> sent =
      queue.Send({Make(BlockOp::kWrite, 0, 512), Make(BlockOp::kWrite, 512, 512)});
  queue.AwaitHeld();
  queue.GiveUp();
  for (const auto& one : sent) CHECK(queue.Await(*one) == BlockStatus::kNoSpace);
  CHECK(queue.Do(BlockOp::kWrite) == BlockStatus::kNoSpace);
  CHECK(disk.errors.back().action == ErrorAction::kReport);
  CHECK_FALSE(queue.HoldsSome());
  CHECK(disk.Count(BlockOp::kWrite, BlockStatus::kNoSpace) == 3);
}

TEST_CASE("a sender without a place to wait gets his errors whatever the policy is") {
  for (OnError on_error : {OnError::kStop, OnError::kIgnore}) {
    Disk disk({.writes = on_error});
    auto thread = std::move(*IoThread::Start("other"));
    FailingHost host(Fails(Kind::kSync, EIO));
    BlockRequest flush;
    flush.op = BlockOp::kFlush;
    CHECK(SubmitAndWait(*thread, *disk.backend, flush) == BlockStatus::kIoError);
    REQUIRE(disk.errors.size() == 1);
    CHECK(disk.errors[0].action == ErrorAction::kReport);
  }
}

TEST_CASE("a flush that failed waits, and fails again: what was lost stays lost") {
  Disk disk(kStop);
  Queue queue(*disk.backend);
  std::unique_ptr<Sent> flush;
  {
    FailingHost host(Fails(Kind::kSync, EIO));
    flush = queue.Send(BlockOp::kFlush);
    queue.AwaitHeld();
  }
  queue.Retry();
  queue.AwaitHeld();
  CHECK(queue.waves == 2);
  queue.GiveUp();
  CHECK(queue.Await(*flush) == BlockStatus::kIoError);
}

TEST_CASE("writes of one zone that wait behind each other end where they were meant to") {
  Disk disk(kStop, /*zoned=*/true);
  Queue queue(*disk.backend);
  CHECK(queue.Do(BlockOp::kWrite, 0, 4096) == BlockStatus::kOk);
  std::vector<std::unique_ptr<Sent>> sent;
  std::unique_ptr<Sent> late;
  {
    FailingHost host(Fails(Kind::kWrite, ENOSPC));
    // The first goes alone, the next ones are joined; all are for one zone but the last.
    sent = queue.Send({Make(BlockOp::kWrite, 4096, 4096), Make(BlockOp::kWrite, 8192, 4096),
                       Make(BlockOp::kWrite, 12288, 4096), Make(BlockOp::kWrite, kZone, 4096)},
                      'a');
    disk.AwaitErrors(2);  // the second and third write were refused by the zone
    Settle(queue.thread());
    for (const auto& one : sent) CHECK_FALSE(one->is_back);
    // Comes when the others wait already; the zone itself would refuse it.
    late = queue.Send(BlockOp::kWrite, 16384);
    Settle(queue.thread());
    CHECK_FALSE(late->is_back);
    // To another zone it is what it always was.
    CHECK(queue.Do(BlockOp::kWrite, 2 * kZone + 4096) == BlockStatus::kZoneUnaligned);
  }
  queue.Retry();
  for (const auto& one : sent) CHECK(queue.Await(*one) == BlockStatus::kOk);
  CHECK(queue.Await(*late) == BlockStatus::kOk);
  std::unique_ptr<Sent> read = queue.Send(BlockOp::kRead, 0, 20480);
  CHECK(queue.Await(*read) == BlockStatus::kOk);
  const std::string expected = std::string(4096, 'x') + std::string(4096, 'a') +
                               std::string(4096, 'b') + std::string(4096, 'c') +
                               std::string(4096, 'x');
  CHECK(std::string(read->memory.begin(), read->memory.end()) == expected);
  // Without one that waits, a write elsewhere than at the write pointer is refused as ever.
  CHECK(queue.Do(BlockOp::kWrite, 4096) == BlockStatus::kZoneUnaligned);
}

TEST_CASE("appends that waited lie one behind the other, none lost, none twice") {
  constexpr size_t kAppends = 16;
  Disk disk(kStop, /*zoned=*/true);
  Queue queue(*disk.backend);
  std::vector<std::unique_ptr<Sent>> sent;
  {
    std::atomic<int> writes = 0;
    FailingHost host([&](const HostOperation& operation) {
      const bool fails = operation.kind == Kind::kWrite && ++writes > 1;
      return fails ? HostOutcome::Fail(ENOSPC) : HostOutcome{};
    });
    for (size_t i = 0; i < kAppends; ++i) {
      sent.push_back(std::move(
          queue.Send({Make(BlockOp::kZoneAppend, 0, 4096)}, static_cast<char>('a' + i)).front()));
    }
    queue.AwaitHeld();
    Settle(queue.thread());
  }
  for (size_t i = 0; i < kAppends; ++i) {
    while (!sent[i]->is_back) {
      if (queue.HoldsSome()) queue.Retry();
    }
  }
  std::string expected(kAppends * 4096, '?');
  for (size_t i = 0; i < kAppends; ++i) {
    REQUIRE(queue.Await(*sent[i]) == BlockStatus::kOk);
    const uint64_t at = sent[i]->request.appended_at_bytes;
    REQUIRE(at + 4096 <= expected.size());
    CHECK(expected[at] == '?');
    std::memset(expected.data() + at, static_cast<char>('a' + i), 4096);
  }
  std::unique_ptr<Sent> read = queue.Send(BlockOp::kRead, 0, kAppends * 4096);
  CHECK(queue.Await(*read) == BlockStatus::kOk);
  CHECK(std::string(read->memory.begin(), read->memory.end()) == expected);
}

TEST_CASE("appends cannot be ignored: they have no position") {
  Disk disk({.writes = OnError::kIgnore}, /*zoned=*/true);
  Queue queue(*disk.backend);
  FailingHost host(Fails(Kind::kWrite, ENOSPC));
  CHECK(queue.Do(BlockOp::kZoneAppend) == BlockStatus::kNoSpace);
  CHECK(disk.errors.back().action == ErrorAction::kReport);
}

TEST_CASE("a table of zones that finds no room is written when there is some") {
  Disk disk({.writes = OnError::kEnospc}, /*zoned=*/true);
  Queue queue(*disk.backend);
  CHECK(queue.Do(BlockOp::kWrite, 0, 4096) == BlockStatus::kOk);
  std::unique_ptr<Sent> flush;
  {
    FailingHost host(Fails(Kind::kWrite, ENOSPC));
    flush = queue.Send(BlockOp::kFlush);
    queue.AwaitHeld();
  }
  queue.Retry();
  CHECK(queue.Await(*flush) == BlockStatus::kOk);
}

TEST_CASE("several queues wait, are tried again and give up at the same time") {
  constexpr int kQueues = 3;
  constexpr int kRounds = 100;
  constexpr int kPerRound = 8;
  Disk disk(kStop);
  std::atomic<uint32_t> turn = 0;
  FailingHost host([&](const HostOperation& operation) {
    const bool fails = operation.kind == Kind::kWrite && ++turn % 3 == 0;
    return fails ? HostOutcome::Fail(ENOSPC) : HostOutcome{};
  });
  std::vector<std::unique_ptr<Queue>> queues;
  for (int i = 0; i < kQueues; ++i) queues.push_back(std::make_unique<Queue>(*disk.backend));
  std::atomic<bool> ended = false;
  std::thread resumes([&] {
    while (!ended) {
      for (auto& queue : queues) {
        if (queue->HoldsSome()) queue->Retry();
      }
      disk.backend->ResetIoStatus();
    }
  });
  std::vector<std::thread> guests;
  for (auto& queue : queues) {
    guests.emplace_back([&queue = *queue] {
      for (int round = 0; round < kRounds; ++round) {
        auto sent =
            queue.Send(std::vector<BlockRequest>(kPerRound, Make(BlockOp::kWrite, 4096, 512)));
        for (const auto& one : sent) CHECK(queue.Await(*one) == BlockStatus::kOk);
      }
      queue.GiveUp();
      while (queue.Do(BlockOp::kWrite) == BlockStatus::kOk) {
      }
    });
  }
  for (std::thread& guest : guests) guest.join();
  ended = true;
  resumes.join();
  CHECK(disk.Count(BlockOp::kWrite, BlockStatus::kNoSpace) == kQueues);
  CHECK(disk.Count(BlockOp::kWrite, BlockStatus::kOk) >= kQueues * kRounds * kPerRound);
}

}  // namespace
}  // namespace minivmm
