#include "blockcore/block_backend.h"

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/sync_request.h"

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
  CHECK(disk.backend->Counters().Requests(BlockOp::kFlush, BlockStatus::kOk) == 1000);
}

}  // namespace
}  // namespace minivmm
