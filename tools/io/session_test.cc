// Commands on disks that watch what reaches them.
#include "tools/io/session.h"

#include <doctest/doctest.h>

#include <random>

#include "blockcore/base/temporary.h"
#include "blockcore/base/units.h"
#include "blockcore/block_backend.h"
#include "blockcore/block_graph.h"
#include "blockcore/zoned/zoned_create.h"
#include "tools/io/bench_work.h"
#include "tools/io/text.h"

namespace minivmm {
namespace {

// Passes requests on and counts those that are not what a command may ask of the disk.
class Watcher : public BlockNode {
 public:
  explicit Watcher(BlockNode& disk) : disk_(disk) {}

  const BlockLimits& limits() const override { return disk_.limits(); }

  void Submit(IoThread& thread, BlockRequest& request) override {
    const BlockLimits& disk = limits();
    bool sound = true;
    switch (request.op) {
      case BlockOp::kRead:
      case BlockOp::kWrite:
      case BlockOp::kWriteZeroes:
      case BlockOp::kDiscard:
        sound = RangeFits(request.offset_bytes, request.length_bytes, disk.capacity_bytes);
        break;
      case BlockOp::kZoneAppend:
        sound = request.offset_bytes < disk.capacity_bytes &&
                IsAligned(request.offset_bytes, disk.zone_size_bytes) &&
                request.length_bytes != 0 && request.length_bytes <= disk.max_append_bytes &&
                IsAligned(request.length_bytes, disk.write_granularity_bytes);
        break;
      case BlockOp::kZoneOpen:
      case BlockOp::kZoneClose:
      case BlockOp::kZoneFinish:
      case BlockOp::kZoneReset:
        sound = request.offset_bytes < disk.capacity_bytes &&
                IsAligned(request.offset_bytes, disk.zone_size_bytes);
        break;
      case BlockOp::kZoneReport:
        sound = request.offset_bytes < disk.capacity_bytes && !request.zones.empty();
        break;
      default:
        break;
    }
    unsound += sound ? 0 : 1;
    changes += request.op != BlockOp::kRead && request.op != BlockOp::kZoneReport ? 1 : 0;
    flushes += request.op == BlockOp::kFlush ? 1 : 0;
    if (request.op == BlockOp::kFlush && fail_flushes) {
      request.status = BlockStatus::kIoError;
      thread.Complete(request);
      return;
    }
    disk_.Submit(thread, request);
  }

  int unsound = 0;
  int changes = 0;
  int flushes = 0;
  bool fail_flushes = false;

 private:
  BlockNode& disk_;
};

// A disk of 17 MiB and 512 KiB: zones of 1 MiB with 768 KiB, 2 conventional, a short last one.
struct Tool {
  explicit Tool(const char* description = nullptr, bool writethrough = false) {
    std::string text = description != nullptr ? description : "";
    if (text.empty()) {
      ZonedGeometry g;
      g.zone_size_bytes = 1_MiB;
      g.zone_capacity_bytes = 768_KiB;
      g.capacity_bytes = 17 * 1_MiB + 512_KiB;
      g.conventional_zones = 2;
      g.max_open_zones = 3;
      g.max_active_zones = 4;
      g.max_append_bytes = 128_KiB;
      g.physical_block_bytes = 4096;
      g.write_granularity_bytes = 4096;
      const std::string path = directory.File("disk.zbd");
      REQUIRE(CreateZonedImage(path, g));
      text = "node-name=d,driver=zoned,file.driver=file,file.filename=" + path;
    }
    REQUIRE(graph.Add(text));
    thread = IoThread::Start("io-test").value();
    backend = BlockBackend::Create(graph, "d", "test").value();
    watcher = std::make_unique<Watcher>(*backend);
    session = std::make_unique<IoSession>(
        *thread, watcher.get(),
        IoSession::Settings{.driver = "zoned", .writethrough = writethrough},
        [this](std::string_view t) { out += t; }, [this](std::string_view t) { complaints += t; });
  }

  // What the line prints, on both streams.
  std::string Run(std::string_view line) {
    out.clear();
    complaints.clear();
    session->Run(line);
    return out + complaints;
  }

  TemporaryDirectory directory;
  BlockGraph graph;
  std::unique_ptr<IoThread> thread;
  std::unique_ptr<BlockBackend> backend;
  std::unique_ptr<Watcher> watcher;
  std::string out, complaints;
  std::unique_ptr<IoSession> session;
};

TEST_CASE("zones are opened, closed, finished and reset by their ranges") {
  Tool tool;
  CHECK(tool.Run("zrp 1M 2") ==
        "start: 0x800, len 0x800, cap 0x800, wptr 0x1000, zcond:0, [type: 1]\n"
        "start: 0x1000, len 0x800, cap 0x600, wptr 0x1000, zcond:1, [type: 2]\n");
  CHECK(tool.Run("zo 2M 2M") == "");
  CHECK(tool.Run("zrp 3M 2") ==
        "start: 0x1800, len 0x800, cap 0x600, wptr 0x1800, zcond:3, [type: 2]\n"
        "start: 0x2000, len 0x800, cap 0x600, wptr 0x2000, zcond:1, [type: 2]\n");
  CHECK(tool.Run("zone_close 2M 2M") == "");
  CHECK(tool.Run("zf 3M 1M") == "");
  CHECK(tool.Run("zrp 3M 1") ==
        "start: 0x1800, len 0x800, cap 0x600, wptr 0x2000, zcond:14, [type: 2]\n");
  CHECK(tool.Run("zrs 3M 1M") == "");
  CHECK(tool.Run("zap -p 17M 4k") == "After zap done, the append sector is 0x8800\n");
  CHECK(tool.Run("zrs 17M 512k") == "");
  CHECK(tool.Run("zap 17M 4k 4k") == "");
  CHECK(tool.Run("zrs 0 17.5M") == "");
  CHECK(tool.Run("zone_report 17M 7") ==
        "start: 0x8800, len 0x400, cap 0x400, wptr 0x8800, zcond:1, [type: 2]\n");
  CHECK(!tool.session->failed());
}

TEST_CASE("appends take any number of lengths, a pattern, and say where the bytes went") {
  Tool tool;
  CHECK(tool.Run("zap -p 2M 0x1000 0x2000") == "After zap done, the append sector is 0x1000\n");
  CHECK(tool.Run("zap -pP 7 2M 512 512 512 512 2k") ==
        "After zap done, the append sector is 0x1018\n");
  CHECK(tool.Run("read -qP 0xcd 2M 12k") == "");
  CHECK(tool.Run("read -qP 7 2060k 4k") == "");
  CHECK(tool.Run("zrp 2M 1") ==
        "start: 0x1000, len 0x800, cap 0x600, wptr 0x1020, zcond:2, [type: 2]\n");
}

TEST_CASE("a range that fails half-way names the zone and says which zones changed") {
  Tool tool;
  CHECK(tool.Run("zo 2M 4M") ==
        "zone open failed: Too many references: cannot splice: zone 5 at 0x500000 (empty, write "
        "pointer 0x500000): as many zones are open as may be (3): zc, zf or zrs one of them first; "
        "zones 2 to 4 were opened before\n");
  CHECK(tool.Run("zc 2M 3M") == "");
  for (const char* append : {"zap 2M 4k", "zap 3M 4k", "zap 4M 4k", "zap 5M 4k"}) {
    CHECK(tool.Run(append) == "");
  }
  CHECK(tool.Run("zap 6M 4k")
            .starts_with("zone append failed: Value too large for defined data type: zone 6 at "
                         "0x600000 (empty"));
}

TEST_CASE("no wrong range reaches the disk, and each is answered in qemu-io's words") {
  const std::pair<const char*, const char*> lines[] = {
      {"zo 0 1M", "zone open failed: Input/output error"},
      {"zo 512k 1M", "zone open failed: Invalid argument"},
      {"zo 2M 512k", "zone open failed: Invalid argument"},
      {"zo 2M 0", "zone open failed: Invalid argument"},
      {"zo 17M 1M", "zone open failed: Input/output error"},
      {"zo 18M 1M", "zone open failed: Input/output error"},
      {"zo 7E 1M", "zone open failed: Input/output error"},
      {"zo 1M 0x7fffffffffffffff", "zone open failed: Input/output error"},
      {"zc 0 17.5M", "zone close failed: Input/output error"},
      {"zf 0 17.5M", "zone finish failed: Input/output error"},
      {"zrs 1M 2M", "zone reset failed: Input/output error"},
      {"zrs 17M 1M", "zone reset failed: Input/output error"},
      {"zap 2049k 4096", "zone append failed: Invalid argument"},
      {"zap -p 2M 512", "zone append failed: Invalid argument"},
      {"zap 2M 0", "zone append failed: Invalid argument"},
      {"zap -p 18M 4096", "zone append failed: Input/output error"},
      {"zap -p 1T 4096", "zone append failed: Input/output error"},
      {"zap 2M 256k", "zone append failed: Input/output error"},
      {"zap 2M 2G", "Argument '2G' exceeds maximum size 2147483136"},
      {"zap 2M 1G 1G", "The total number of bytes exceed the maximum size 2147483136"},
      {"zap 2M -1", "zap: invalid option -- '1'"},
      {"zap 2M", "bad argument count 1 to zap, expected at least 2 arguments"},
      {"zrp 0", "bad argument count 1 to zrp, expected 2 arguments"},
      {"zrp 0 -1", "Parsing error: argument too large -- -1"},
      {"zrp 0 4294967296", "Number of zones must be less than 2^32"},
      {"write 18M 4k", "write failed: Input/output error"},
      {"write 17M 1M", "write failed: Input/output error"},
      {"write 0x7fffffffffffffff 4k", "write failed: Input/output error"},
      {"read 18M 4k", "read failed: Input/output error"},
      {"readv 18M 4k", "readv failed: Input/output error"},
      {"read 0 3G", "length cannot exceed 2147483136, given 3G"},
      {"aio_write 0 3G", "Argument '3G' exceeds maximum size 2147483136"},
      {"discard 18M 4k", "discard failed: Input/output error"},
      {"bench -w 18M", "Input/output error"},
      {"bench -b 100", "bench: -b is 100"},
  };
  for (auto [line, expected] : lines) {
    CAPTURE(line);
    Tool tool;
    CHECK_MESSAGE(tool.Run(line).find(expected) != std::string::npos, (tool.out + tool.complaints));
    CHECK(tool.session->failed());
    CHECK(tool.watcher->changes == 0);
    CHECK(tool.watcher->unsound == 0);
  }
}

TEST_CASE("what asynchronous commands did is reported, and a mismatch counts as a failure") {
  Tool tool;
  CHECK(tool.Run("aio_write -q -P 1 0 64k") == "");
  CHECK(tool.Run("aio_flush") == "");
  for (int i = 0; i < 200; ++i) tool.session->Run("aio_read -q -P 1 0 64k");
  tool.Run("aio_flush");
  CHECK(!tool.session->failed());
  tool.session->Run("aio_read -q -P 2 0 4k");
  CHECK(tool.Run("aio_flush") == "Pattern verification failed at offset 0, 4096 bytes\n");
  CHECK(tool.session->failed());
}

TEST_CASE("bench appends until the zones are full") {
  Tool tool;
  CHECK(tool.Run("bench -C -a -b 128k -z 3 2M 3M").starts_with("2359296,18,"));
  CHECK(tool.Run("zrp 2M 4") ==
        "start: 0x1000, len 0x800, cap 0x600, wptr 0x1800, zcond:14, [type: 2]\n"
        "start: 0x1800, len 0x800, cap 0x600, wptr 0x2000, zcond:14, [type: 2]\n"
        "start: 0x2000, len 0x800, cap 0x600, wptr 0x2800, zcond:14, [type: 2]\n"
        "start: 0x2800, len 0x800, cap 0x600, wptr 0x2800, zcond:1, [type: 2]\n");
  CHECK(tool.Run("bench -C -w -b 64k 5M 1M").starts_with("786432,12,"));
  CHECK(tool.Run("bench -C -b 64k -n 100 -r").starts_with("6553600,100,"));
}

TEST_CASE("with writethrough a write or append of bench is done when the flush behind it is") {
  Tool tool(nullptr, true);
  CHECK(tool.Run("bench -C -w -b 64k 2M 1M").starts_with("786432,12,"));
  CHECK(tool.watcher->flushes == 12);
  CHECK(tool.Run("bench -C -a -b 128k 3M 1M").starts_with("786432,6,"));
  CHECK(tool.watcher->flushes == 18);
  CHECK(tool.Run("bench -C -b 64k -n 10").starts_with("655360,10,"));
  CHECK(tool.watcher->flushes == 18);
  CHECK(!tool.session->failed());
  tool.watcher->fail_flushes = true;
  CHECK(
      tool.Run("bench -w -b 64k 4M 1M") ==
      "bench failed: Input/output error: the flush behind a write failed: do not rely on what was "
      "written\n");
  CHECK(tool.session->failed());
}

TEST_CASE("with writethrough, or -f, a write or append is done when the flush behind it is") {
  for (bool writethrough : {true, false}) {
    CAPTURE(writethrough);
    Tool tool(nullptr, writethrough);
    CHECK(tool.Run("write -q 0 4k") == "");
    CHECK(tool.watcher->flushes == (writethrough ? 1 : 0));
    CHECK(tool.Run("zap 2M 4k") == "");
    CHECK(tool.watcher->flushes == (writethrough ? 2 : 0));
    tool.watcher->flushes = 0;
    CHECK(tool.Run("write -q -f 4k 4k") == "");
    CHECK(tool.watcher->flushes == 1);
    tool.watcher->fail_flushes = true;
    CHECK(tool.Run("write -q -f 4k 4k").find("the flush behind it failed") != std::string::npos);
    CHECK(tool.session->failed());
  }
}

TEST_CASE("bench takes its lanes in turn") {
  BlockLimits limits;
  limits.capacity_bytes = 1_MiB;
  BenchWork work =
      BenchWork::Create(limits, {}, {.request_bytes = 512_KiB, .length_bytes = 1_MiB}).value();
  CHECK(work.Next() == 0);
  CHECK(work.Next() == 512_KiB);
  CHECK(work.Next() == 0);
  CHECK(!BenchWork::Create(limits, {}, {.request_bytes = 2_MiB, .length_bytes = 1_MiB}));
}

// Words that commands are made of, and some that they are not.
std::string RandomLine(std::mt19937_64& random) {
  static const char* const kWords[] = {"zrp",   "zo",     "zc",      "zf",        "zrs",
                                       "zap",   "read",   "write",   "aio_read",  "aio_write",
                                       "readv", "writev", "discard", "map",       "alloc",
                                       "info",  "length", "flush",   "aio_flush", "help"};
  static const char* const kArguments[] = {"0",
                                           "1M",
                                           "2M",
                                           "3M",
                                           "17M",
                                           "17.5M",
                                           "18M",
                                           "512k",
                                           "512",
                                           "4k",
                                           "4096",
                                           "-1",
                                           "7E",
                                           "8E",
                                           "abc",
                                           "-P",
                                           "0xcd",
                                           "-q",
                                           "-p",
                                           "-z",
                                           "--",
                                           "0x7fffffffffffffff",
                                           "0xfffffffffffff000",
                                           "1T",
                                           "100",
                                           "64k",
                                           "-Cf",
                                           "-s",
                                           "/nonexistent",
                                           "\x01\x7f",
                                           "1.5k",
                                           "20k",
                                           "-x",
                                           "\xc3\xa9"};
  std::string line = kWords[random() % std::size(kWords)];
  for (size_t i = random() % 5; i > 0; --i) {
    line += ' ';
    line += kArguments[random() % std::size(kArguments)];
  }
  return line;
}

TEST_CASE("random lines crash nothing and never leave the disk's ranges") {
  Tool zoned;
  Tool plain("node-name=d,driver=null-co,size=17.5M,read-zeroes=on");
  std::mt19937_64 random(20);
  for (int i = 0; i < 1000; ++i) {
    const std::string line = RandomLine(random);
    CAPTURE(line);
    zoned.Run(line);
    plain.Run(line);
    REQUIRE(zoned.watcher->unsound == 0);
    REQUIRE(plain.watcher->unsound == 0);
  }
  zoned.session->FinishTransfers();
  CHECK(zoned.watcher->changes > 20);
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    bytes.clear();
    for (size_t k = random() % 40; k > 0; --k) bytes += static_cast<char>(random());
    zoned.Run(bytes);
    REQUIRE(zoned.watcher->unsound == 0);
  }
}

}  // namespace
}  // namespace minivmm
