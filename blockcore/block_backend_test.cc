#include "blockcore/block_backend.h"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/units.h"
#include "blockcore/sync_request.h"
#include "blockcore/zoned/zoned_create.h"

namespace minivmm {
namespace {

struct Disk {
  explicit Disk(const std::string& description) {
    REQUIRE(graph.Add("node-name=d,size=1M,driver=null-co," + description).has_value());
    backend = std::move(*BlockBackend::Create(graph, "d", "device 'test'"));
    thread = std::move(*IoThread::Start("test"));
  }

  BlockStatus Submit(BlockOp op, uint64_t offset_bytes = 0, uint64_t length_bytes = 0) {
    memory.resize(length_bytes < 2_MiB ? length_bytes : 0);
    iovec buffer{memory.data(), memory.size()};
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset_bytes;
    request.length_bytes = length_bytes;
    request.buffers = {&buffer, 1};
    return SubmitAndWait(*thread, *backend, request);
  }

  BlockGraph graph;
  std::unique_ptr<BlockBackend> backend;
  std::unique_ptr<IoThread> thread;
  std::vector<uint8_t> memory;
};

TEST_CASE("A backend has its node for itself until it goes") {
  BlockGraph graph;
  REQUIRE(graph.Add("node-name=d,driver=null-co").has_value());
  {
    auto backend = BlockBackend::Create(graph, "d", "device 'one'");
    REQUIRE(backend.has_value());
    CHECK((*backend)->node_name() == "d");
    CHECK((*backend)->limits().capacity_bytes == 1_GiB);
    auto second = BlockBackend::Create(graph, "d", "device 'two'");
    REQUIRE_FALSE(second.has_value());
    CHECK(second.error().message == "drive 'd' is already used by device 'one'");
  }
  CHECK(BlockBackend::Create(graph, "d", "device 'two'").has_value());
  CHECK(BlockBackend::Create(graph, "e", "device 'two'").error().message ==
        "drive 'e' not found; did you mean 'd'?");
}

TEST_CASE("Reads and writes must lie within the disk") {
  Disk disk("read-only=off");
  CHECK(disk.Submit(BlockOp::kRead, 0, 1_MiB) == BlockStatus::kOk);
  CHECK(disk.Submit(BlockOp::kWrite, 1_MiB - 512, 512) == BlockStatus::kOk);
  CHECK(disk.Submit(BlockOp::kRead, 1_MiB, 0) == BlockStatus::kOk);
  CHECK(disk.Submit(BlockOp::kWrite, 1_MiB - 512, 1024) == BlockStatus::kOutOfRange);
  CHECK(disk.Submit(BlockOp::kRead, 1_MiB, 512) == BlockStatus::kOutOfRange);
  CHECK(disk.Submit(BlockOp::kRead, ~uint64_t{0} - 511, 512) == BlockStatus::kOutOfRange);
  CHECK(disk.Submit(BlockOp::kRead, 512, ~uint64_t{0}) == BlockStatus::kOutOfRange);
  CHECK(disk.Submit(BlockOp::kFlush) == BlockStatus::kOk);
}

TEST_CASE("A disk without zones or discard has no such operations") {
  Disk disk("read-only=off");
  for (BlockOp op :
       {BlockOp::kDiscard, BlockOp::kZoneAppend, BlockOp::kZoneReport, BlockOp::kZoneOpen,
        BlockOp::kZoneClose, BlockOp::kZoneFinish, BlockOp::kZoneReset, BlockOp::kZoneResetAll}) {
    CAPTURE(static_cast<int>(op));
    CHECK(disk.Submit(op) == BlockStatus::kUnsupported);
  }
}

TEST_CASE("A read-only disk is read, flushed, and not written") {
  Disk disk("read-only=on");
  CHECK(disk.Submit(BlockOp::kRead, 0, 512) == BlockStatus::kOk);
  CHECK(disk.Submit(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(disk.Submit(BlockOp::kWrite, 0, 512) == BlockStatus::kReadOnly);
  CHECK(disk.Submit(BlockOp::kDiscard, 0, 512) == BlockStatus::kReadOnly);
}

TEST_CASE("Buffers that do not match the length are refused, not believed") {
  Disk disk("read-only=off");
  uint8_t memory[1024];
  iovec buffers[] = {{memory, 512}, {memory, 0}, {memory, 512}};
  for (auto [length, expected] : {std::pair{1024u, BlockStatus::kOk},
                                  {512u, BlockStatus::kIoError},
                                  {2048u, BlockStatus::kIoError}}) {
    BlockRequest request;
    request.length_bytes = length;
    request.buffers = buffers;
    CHECK(SubmitAndWait(*disk.thread, *disk.backend, request) == expected);
  }
}

TEST_CASE("Every request is counted once, by operation and status") {
  Disk disk("read-only=off");
  disk.Submit(BlockOp::kRead, 0, 4096);
  disk.Submit(BlockOp::kRead, 0, 512);
  disk.Submit(BlockOp::kRead, 1_MiB, 512);
  disk.Submit(BlockOp::kWrite, 0, 1024);
  disk.Submit(BlockOp::kZoneReset);
  BlockCounters counters = disk.backend->Counters();
  CHECK(counters.Requests(BlockOp::kRead, BlockStatus::kOk) == 2);
  CHECK(counters.Bytes(BlockOp::kRead) == 4608);
  CHECK(counters.Requests(BlockOp::kRead, BlockStatus::kOutOfRange) == 1);
  CHECK(counters.Requests(BlockOp::kWrite, BlockStatus::kOk) == 1);
  CHECK(counters.Bytes(BlockOp::kWrite) == 1024);
  CHECK(counters.Requests(BlockOp::kZoneReset, BlockStatus::kUnsupported) == 1);
  CHECK(counters.Requests(BlockOp::kFlush, BlockStatus::kOk) == 0);
}

TEST_CASE("Zeroes are checked as discards are") {
  Disk disk("read-zeroes=on");
  CHECK(disk.Submit(BlockOp::kWriteZeroes, 1_MiB - 4096, 4096) == BlockStatus::kOk);
  CHECK(disk.Submit(BlockOp::kWriteZeroes, 1_MiB - 4096, 4608) == BlockStatus::kOutOfRange);
  CHECK(disk.Submit(BlockOp::kWriteZeroes, 512, ~uint64_t{0}) == BlockStatus::kOutOfRange);
  CHECK(disk.backend->Counters().Requests(BlockOp::kWriteZeroes, BlockStatus::kOk) == 1);
  CHECK(disk.backend->Counters().Bytes(BlockOp::kWriteZeroes) == 4096);
  CHECK(Disk("read-only=on").Submit(BlockOp::kWriteZeroes, 0, 512) == BlockStatus::kReadOnly);
  // Where reads give nothing, zeroes cannot be promised.
  CHECK(Disk("read-zeroes=off").Submit(BlockOp::kWriteZeroes, 0, 512) == BlockStatus::kUnsupported);
}

TEST_CASE("A zoned disk has no write of zeroes") {
  TemporaryFile file(1_MiB);
  REQUIRE(CreateZonedImage(file.path(),
                           {.capacity_bytes = 4_MiB,
                            .zone_size_bytes = 1_MiB,
                            .zone_capacity_bytes = 1_MiB,
                            .max_append_bytes = 64_KiB,
                            .conventional_zones = 1},
                           /*overwrite=*/true)
              .has_value());
  BlockGraph graph;
  REQUIRE(graph.Add("node-name=z,driver=zoned,file.driver=file,file.filename=" + file.path())
              .has_value());
  auto backend = std::move(*BlockBackend::Create(graph, "z", "device 'test'"));
  CHECK_FALSE(backend->limits().write_zeroes);
  auto thread = std::move(*IoThread::Start("test"));
  BlockRequest request;
  request.op = BlockOp::kWriteZeroes;
  request.length_bytes = 4096;
  CHECK(SubmitAndWait(*thread, *backend, request) == BlockStatus::kUnsupported);
}

TEST_CASE("Zeroes keep their space on a disk without discard, whatever the guest allows") {
  for (bool discard : {false, true}) {
    CAPTURE(discard);
    TemporaryFile file(1_MiB);
    BlockGraph graph;
    REQUIRE(graph
                .Add(fmt::format("node-name=r,driver=raw,discard={},file.driver=file,"
                                 "file.discard=unmap,file.filename={}",
                                 discard ? "unmap" : "ignore", file.path()))
                .has_value());
    auto backend = std::move(*BlockBackend::Create(graph, "r", "device 'test'"));
    auto thread = std::move(*IoThread::Start("test"));
    BlockRequest request;
    request.op = BlockOp::kWriteZeroes;
    request.length_bytes = 64_KiB;
    request.may_unmap = true;
    CHECK(SubmitAndWait(*thread, *backend, request) == BlockStatus::kOk);
    CHECK(request.may_unmap == discard);
  }
}

TEST_CASE("Durations fall into buckets of powers of two") {
  CHECK(BlockLatency::BucketOf(0) == 0);
  CHECK(BlockLatency::BucketOf(999) == 0);
  CHECK(BlockLatency::BucketOf(1000) == 1);
  CHECK(BlockLatency::BucketOf(1999) == 1);
  CHECK(BlockLatency::BucketOf(2000) == 2);
  CHECK(BlockLatency::BucketOf(4'000'000) == 12);
  CHECK(BlockLatency::BucketOf(~uint64_t{0}) == BlockLatency::kBuckets - 1);
  CHECK(BlockLatency::bucket_end_us(0) == 1);
  CHECK(BlockLatency::bucket_end_us(12) == 4096);
  CHECK(BlockLatency::bucket_end_us(BlockLatency::kBuckets - 1) == UINT64_MAX);
}

TEST_CASE("The time of each request that the disk was asked for is kept, by operation") {
  Disk disk("read-only=off");
  for (int i = 0; i < 100; ++i) CHECK(disk.Submit(BlockOp::kRead, 0, 512) == BlockStatus::kOk);
  CHECK(disk.Submit(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(disk.Submit(BlockOp::kRead, 1_MiB, 512) == BlockStatus::kOutOfRange);
  const BlockLatency latency = disk.backend->Latency();
  CHECK(latency.Of(BlockOp::kRead).count == 100);
  CHECK(latency.Of(BlockOp::kFlush).count == 1);
  CHECK(latency.Of(BlockOp::kWrite).count == 0);
  CHECK(latency.Of(BlockOp::kWrite).total_ns == 0);
  const BlockLatency::Histogram& reads = latency.Of(BlockOp::kRead);
  uint64_t sum = 0;
  uint64_t least_ns = 0;
  for (size_t i = 0; i < BlockLatency::kBuckets; ++i) {
    sum += reads.buckets[i];
    if (i > 0) least_ns += reads.buckets[i] * BlockLatency::bucket_end_us(i - 1) * 1000;
  }
  CHECK(sum == 100);
  CHECK(reads.total_ns >= least_ns);
}

TEST_CASE("The observer hears of I/O errors alone, on the I/O thread, before the caller does") {
  TemporaryFile file(1_MiB);
  BlockGraph graph;
  REQUIRE(graph.Add("node-name=f,driver=file,filename=" + file.path()).has_value());
  auto backend = std::move(*BlockBackend::Create(graph, "f", "device 'test'"));
  auto thread = std::move(*IoThread::Start("test"));
  std::vector<BlockError> errors;
  backend->SetErrorObserver([&](const BlockError& error) {
    CHECK(thread->IsCurrent());
    errors.push_back(error);
  });
  auto submit = [&](BlockOp op, uint64_t offset_bytes, void* memory) {
    iovec buffer{memory, 512};
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset_bytes;
    request.length_bytes = 512;
    request.buffers = {&buffer, 1};
    return SubmitAndWait(*thread, *backend, request);
  };
  std::vector<std::byte> memory(512);
  CHECK(submit(BlockOp::kWrite, 0, memory.data()) == BlockStatus::kOk);
  CHECK(submit(BlockOp::kWrite, 64_MiB, memory.data()) == BlockStatus::kOutOfRange);
  CHECK(submit(BlockOp::kZoneOpen, 0, memory.data()) == BlockStatus::kUnsupported);
  CHECK(errors.empty());
  // The kernel does not write from where there is no memory.
  CHECK(submit(BlockOp::kWrite, 4096, nullptr) == BlockStatus::kIoError);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].op == BlockOp::kWrite);
  CHECK(errors[0].offset_bytes == 4096);
  CHECK(errors[0].status == BlockStatus::kIoError);
}

TEST_CASE("Two I/O threads may use one backend at the same time") {
  Disk disk("read-only=off");
  auto other = std::move(*IoThread::Start("other"));
  std::thread second([&] {
    for (int i = 0; i < 500; ++i) {
      BlockRequest request;
      request.op = BlockOp::kFlush;
      SubmitAndWait(*other, *disk.backend, request);
    }
  });
  for (int i = 0; i < 500; ++i) disk.Submit(BlockOp::kFlush);
  second.join();
  CHECK(disk.backend->Latency().Of(BlockOp::kFlush).count == 1000);
  CHECK(disk.backend->Counters().Requests(BlockOp::kFlush, BlockStatus::kOk) == 1000);
}

}  // namespace
}  // namespace minivmm
