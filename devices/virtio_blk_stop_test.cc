// werror=stop as the guest's driver sees it: a request that the host fails is not answered until
// the host is in order again, and then as if nothing had been; a reset gives it up. The device, the
// block core and its nodes are the real ones; the host's errors are the test's (FailingHost) or
// those of a file system that is full.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/units.h"
#include "blockcore/block_backend.h"
#include "blockcore/block_graph.h"
#include "blockcore/failing_host.h"
#include "blockcore/small_file_system.h"
#include "blockcore/zoned/zoned_create.h"
#include "devices/virtio_blk_driver.h"

namespace minivmm {
namespace {

using Kind = HostOperation::Kind;
constexpr uint64_t kZone = 1_MiB;

void MakeSparse(const std::string& path, uint64_t bytes) {
  const UniqueFd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(bytes)) == 0);
}

struct Disk {
  Disk(const std::string& node, const ErrorPolicy& policy) {
    auto added = graph.Add("node-name=d," + node);
    REQUIRE_MESSAGE(added.has_value(), (added ? "" : added.error().message));
    backend = std::move(*BlockBackend::Create(graph, "d", "device 'd'"));
    backend->SetErrorPolicy(policy);
  }
  BlockGraph graph;
  std::unique_ptr<BlockBackend> backend;
};

// A machine that counts how often a disk has asked it to stand still.
class Machine : private Disk, public VirtioBlkDriver {
 public:
  Machine(const std::string& node, const ErrorPolicy& policy,
          VirtioBlkOptions options = {.name = "d"})
      : Disk(node, policy), VirtioBlkDriver(*backend, options, [this] { ++pauses; }) {
    Activate();
  }
  using Disk::backend;

  // The next one. Requests wait by then.
  void AwaitPause() {
    while (pauses == seen_pauses_) std::this_thread::yield();
    ++seen_pauses_;
  }
  void AwaitHeld() const {
    while (!device->HoldsRequests()) std::this_thread::yield();
  }
  bool HasAnswer(int queue = 0) { return queues[queue]->ring->TakeUsed().has_value(); }

  std::atomic<int> pauses = 0;

 private:
  int seen_pauses_ = 0;
};

constexpr ErrorPolicy kStop{.reads = OnError::kStop, .writes = OnError::kStop};

FailingHost::Judge Fails(Kind kind, int error) {
  return [kind, error](const HostOperation& operation) {
    return operation.kind == kind ? HostOutcome::Fail(error) : HostOutcome{};
  };
}

struct PlainFile {
  PlainFile() { MakeSparse(directory.File("disk.img"), 1_MiB); }
  std::string node() const { return "driver=file,filename=" + directory.File("disk.img"); }
  TemporaryDirectory directory;
};

TEST_CASE("a file system that was full and has room again: the guest noticed nothing") {
  for (bool zoned : {false, true}) {
    CAPTURE(zoned);
    SmallFileSystem host(2_MiB);
    if (!host.is_there()) return;
    const std::string path = host.Path("disk");
    std::string node = "driver=file,filename=" + path;
    if (zoned) {
      REQUIRE(CreateZonedImage(path,
                               {.capacity_bytes = 64 * kZone,
                                .zone_size_bytes = kZone,
                                .zone_capacity_bytes = kZone,
                                .max_append_bytes = 64_KiB},
                               /*overwrite=*/true)
                  .has_value());
      node = "driver=zoned,file.driver=file,file.filename=" + path;
    } else {
      MakeSparse(path, 64_MiB);
    }
    Machine machine(node, {.writes = OnError::kEnospc});
    const Bytes data = Data(64_KiB, 1);
    REQUIRE(machine.Write(0, data) == kBlkStatusOk);
    REQUIRE(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
    for (int round = 1; round <= 3; ++round) {
      host.Fill();
      const uint64_t offset_bytes = static_cast<uint64_t>(round) * 64_KiB;
      const uint64_t status =
          machine.Offer(Header(kBlkTypeOut, offset_bytes / kSectorBytes) + data, 1);
      machine.Ring();
      machine.AwaitPause();
      CHECK(machine.pauses == 2 * round - 1);
      CHECK(machine.backend->io_status() == BlockStatus::kNoSpace);
      // Nobody has made room: it stops again.
      machine.device->RetryHeld();
      machine.AwaitPause();
      CHECK(machine.pauses == 2 * round);
      CHECK_FALSE(machine.HasAnswer());
      host.Empty();
      machine.device->RetryHeld();
      machine.WaitUsed();
      CHECK(machine.guest.Load<uint8_t>(status) == kBlkStatusOk);
      CHECK_FALSE(machine.device->HoldsRequests());
      CHECK(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
      CHECK(machine.Read(offset_bytes, 64_KiB) == std::pair{kBlkStatusOk, data});
    }
    CHECK(machine.Read(0, 64_KiB) == std::pair{kBlkStatusOk, data});
  }
}

TEST_CASE("each request that the host can fail waits, and ends well when it is tried again") {
  struct Row {
    const char* name;
    Kind kind;
    Bytes request;
    size_t writable_bytes;
  };
  const VirtioBlkSegment segment{128, 16, 0};
  Bytes range(sizeof(segment));
  std::memcpy(range.data(), &segment, sizeof(segment));
  const Row rows[] = {
      {"read", Kind::kRead, Header(kBlkTypeIn, 8), 4097},
      {"write", Kind::kWrite, Header(kBlkTypeOut, 8) + Data(4096, 1), 1},
      {"discard", Kind::kAllocate, Header(kBlkTypeDiscard, 0) + range, 1},
      {"write zeroes", Kind::kAllocate, Header(kBlkTypeWriteZeroes, 0) + range, 1},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    PlainFile file;
    Machine machine(file.node() + ",discard=unmap", kStop);
    uint64_t target = 0;
    {
      FailingHost host(Fails(row.kind, EIO));
      target = machine.Offer(row.request, row.writable_bytes);
      machine.Ring();
      machine.AwaitPause();
      CHECK_FALSE(machine.HasAnswer());
    }
    machine.device->RetryHeld();
    machine.WaitUsed();
    CHECK(machine.guest.Load<uint8_t>(target + row.writable_bytes - 1) == kBlkStatusOk);
    CHECK(machine.pauses == 1);
  }
}

TEST_CASE("the flush behind a write-through write waits as the write does") {
  // The kernel's error of a flush is final for a node; one of the zone table's is not.
  SmallFileSystem host(2_MiB);
  if (!host.is_there()) return;
  REQUIRE(CreateZonedImage(host.Path("disk"),
                           {.capacity_bytes = 16 * kZone,
                            .zone_size_bytes = kZone,
                            .zone_capacity_bytes = kZone,
                            .max_append_bytes = 64_KiB},
                           /*overwrite=*/true)
              .has_value());
  Machine machine("driver=zoned,file.driver=file,file.filename=" + host.Path("disk"), kStop,
                  {.name = "d", .write_cache = false, .config_wce = false});
  uint64_t status = 0;
  {
    // The data is written; the table is the second write.
    std::atomic<int> writes = 0;
    FailingHost failing([&](const HostOperation& operation) {
      const bool fails = operation.kind == Kind::kWrite && ++writes > 1;
      return fails ? HostOutcome::Fail(ENOSPC) : HostOutcome{};
    });
    status = machine.Offer(Header(kBlkTypeOut, 0) + Data(4096, 1), 1);
    machine.Ring();
    machine.AwaitPause();
    CHECK(writes > 1);
  }
  machine.device->RetryHeld();
  machine.WaitUsed();
  CHECK(machine.guest.Load<uint8_t>(status) == kBlkStatusOk);
}

TEST_CASE("the reset of a queue gives up what waits in it, and leaves the other queues alone") {
  PlainFile file;
  Machine machine(file.node(), kStop, {.name = "d", .num_queues = 2});
  uint64_t other = 0;
  {
    FailingHost host(Fails(Kind::kWrite, ENOSPC));
    const uint64_t status = machine.Offer(Header(kBlkTypeOut, 0) + Data(4096, 1), 1, 0);
    machine.Ring(0);
    machine.AwaitPause();
    other = machine.Offer(Header(kBlkTypeOut, 64) + Data(4096, 2), 1, 1);
    machine.Ring(1);
    while (machine.pauses < 2) std::this_thread::yield();
    machine.device->StopQueue(0);
    CHECK(machine.guest.Load<uint8_t>(status) == kBlkStatusIoError);
    CHECK(machine.device->HoldsRequests());
    CHECK_FALSE(machine.HasAnswer(1));
  }
  machine.device->RetryHeld();
  machine.WaitUsed(1);
  CHECK(machine.guest.Load<uint8_t>(other) == kBlkStatusOk);
  CHECK_FALSE(machine.device->HoldsRequests());
}

TEST_CASE("a reset at any moment ends every request of a disk that fails, and hangs on none") {
  constexpr uint16_t kQueues = 3;
  constexpr int kPerQueue = 8;
  constexpr int kRounds = 200;
  PlainFile file;
  Machine machine(file.node(), kStop, {.name = "d", .num_queues = kQueues});
  std::minstd_rand random(1);
  int found_waiting = 0;
  for (int round = 0; round < kRounds; ++round) {
    CAPTURE(round);
    machine.device->Reset();
    machine.NewRings();
    FailingHost host(Fails(Kind::kWrite, round % 2 == 0 ? ENOSPC : EIO));
    machine.Activate();
    std::vector<uint64_t> statuses;
    for (int i = 0; i < kPerQueue * kQueues; ++i) {
      statuses.push_back(machine.Offer(Header(kBlkTypeOut, 0) + Data(512, 1), 1, i % kQueues));
    }
    for (int queue = 0; queue < kQueues; ++queue) machine.Ring(queue);
    // As soon as possible, in the middle, or when all wait; and sometimes after another try.
    for (unsigned yields = random() % 64; yields > 0; --yields) std::this_thread::yield();
    if (round % 4 == 0) machine.AwaitHeld();
    if (round % 8 == 0) machine.device->RetryHeld();
    found_waiting += machine.device->HoldsRequests();
    machine.device->Reset();
    CHECK_FALSE(machine.device->HoldsRequests());
    size_t answered = 0;
    for (auto& queue : machine.queues) answered += queue->ring->used_index();
    size_t failed = 0;
    for (uint64_t status : statuses) {
      const auto value = machine.guest.Load<uint8_t>(status);
      CHECK((value == kBlkStatusIoError || value == 0xee));
      failed += value == kBlkStatusIoError;
    }
    // What was still in the ring was never taken.
    CHECK(answered == failed);
  }
  CHECK(found_waiting > 0);
  machine.NewRings();
  machine.Activate();
  CHECK(machine.Write(0, Data(4096, 3)) == kBlkStatusOk);
}

// Lets the first request wait as one that the host has failed, and keeps the second.
class StoppingDisk : public BlockNode {
 public:
  StoppingDisk() { limits_.capacity_bytes = 1_MiB; }
  const BlockLimits& limits() const override { return limits_; }
  void Submit(IoThread& io_thread, BlockRequest& request) override {
    thread = &io_thread;
    order.push_back(static_cast<char>('0' + request.offset_bytes / 4096));
    if (order.size() == 1) return Fail(request);
    if (order.size() == 2) {
      kept = &request;
      return;
    }
    io_thread.Complete(request);
  }
  void Fail(BlockRequest& request) {
    request.PushCompletion(
        [](void* self, BlockRequest& again) {
          auto& disk = *static_cast<StoppingDisk*>(self);
          again.PushCompletion([](void*, BlockRequest&) {}, self);
          disk.Submit(*disk.thread, again);
        },
        this);
    request.held_in->Hold(request);
  }

  IoThread* thread = nullptr;
  std::string order;  // by block
  BlockRequest* kept = nullptr;

 private:
  BlockLimits limits_;
};

TEST_CASE("what waits goes to the disk again when all that was behind it has come back") {
  for (bool kept_waits_too : {false, true}) {
    CAPTURE(kept_waits_too);
    StoppingDisk disk;
    VirtioBlkDriver driver(disk, {.name = "d"});
    driver.Activate();
    std::vector<uint64_t> answers;
    auto offer = [&](uint64_t block) {
      answers.push_back(driver.Offer(Header(kBlkTypeOut, 8 * block) + Bytes(4096, 1), 1));
      driver.queues[0]->doorbell.Notify();
    };
    offer(0);
    offer(1);
    while (!driver.device->HoldsRequests()) std::this_thread::yield();
    auto on_thread = [&](auto function) { disk.thread->RunAndWait(function); };
    for (bool there = false; !there;) on_thread([&] { there = disk.kept != nullptr; });
    driver.device->RetryHeld();
    CHECK_FALSE(driver.device->HoldsRequests());
    offer(2);
    // A turn of its own, and what its poller finds.
    for (int i = 0; i < 2; ++i) on_thread([] {});
    on_thread([&] {
      CHECK(disk.order == "01");
      kept_waits_too ? disk.Fail(*disk.kept) : disk.thread->Complete(*disk.kept);
    });
    for (int i = 0; i < 3; ++i) driver.WaitUsed();
    for (uint64_t answer : answers) CHECK(driver.guest.Load<uint8_t>(answer) == kBlkStatusOk);
    CHECK(disk.order == (kept_waits_too ? "01012" : "0102"));
  }
}

}  // namespace
}  // namespace minivmm
