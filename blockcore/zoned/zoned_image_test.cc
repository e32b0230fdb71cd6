#include "blockcore/zoned/zoned_image.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/fake_block_node.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/sync_request.h"
#include "blockcore/zoned/memory_node.h"
#include "blockcore/zoned/zoned_create.h"
#include "blockcore/zoned/zoned_load.h"

namespace minivmm {
namespace {

constexpr uint64_t kZone = 16_KiB;
using Bytes = std::vector<std::byte>;

ZonedGeometry SampleGeometry(uint32_t zones = 300) {
  ZonedGeometry g;
  g.zone_size_bytes = kZone;
  g.zone_capacity_bytes = 12_KiB;
  g.capacity_bytes = zones * kZone;
  g.conventional_zones = 2;
  g.max_append_bytes = 4_KiB;
  return g;
}

ZonedHeader HeaderOf(const ZonedGeometry& geometry) {
  ZonedHeader header;
  header.id = {42};
  header.geometry = geometry;
  REQUIRE(CheckGeometry(geometry).has_value());
  return header;
}

Bytes FreshContent(const ZonedGeometry& geometry) {
  const ZonedHeader header = HeaderOf(geometry);
  Bytes content(header.data_offset_bytes());
  REQUIRE(FormatZonedImage(header, [&](uint64_t offset, std::span<const std::byte> data) {
            std::copy(data.begin(), data.end(), content.begin() + offset);
            return Result<void>{};
          }).has_value());
  return content;
}

Bytes Pattern(size_t bytes, int seed) {
  std::minstd_rand random(seed + 1);
  Bytes data(bytes);
  for (std::byte& byte : data) byte = std::byte(random() | 1);
  return data;
}

std::unique_ptr<IoThread> StartThread() {
  auto thread = IoThread::Start("image-test");
  REQUIRE(thread.has_value());
  return std::move(*thread);
}

// A request that a test does not wait for at once.
struct Pending {
  BlockRequest request;
  Bytes data;
  iovec buffer{};
  std::atomic<bool> done = false;

  void Start(IoThread& thread, BlockNode& node) {
    buffer = {data.data(), data.size()};
    request.buffers = {&buffer, 1};
    request.length_bytes = data.size();
    request.PushCompletion(
        [](void* self, BlockRequest&) { static_cast<Pending*>(self)->done = true; }, this);
    thread.RunAndWait([&] { node.Submit(thread, request); });
  }
};

struct Fixture {
  explicit Fixture(const ZonedGeometry& geometry = SampleGeometry())
      : Fixture(FreshContent(geometry)) {}
  explicit Fixture(Bytes content) : thread(StartThread()), disk(std::move(content)) {}
  ~Fixture() {
    disk.HoldNone();
    image.reset();
  }

  std::string Open(bool read_only = false) {
    image.reset();
    disk.Reopen();
    auto opened = ZonedImage::Open(*thread, disk, read_only);
    if (!opened) return opened.error().message;
    image = std::move(*opened);
    disk.TakeArrivals();
    return "";
  }

  BlockStatus Transfer(BlockOp op, uint64_t offset, Bytes& data) {
    iovec buffer{data.data(), data.size()};
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset;
    request.length_bytes = data.size();
    request.buffers = {&buffer, 1};
    return SubmitAndWait(*thread, *image, request);
  }
  BlockStatus Write(uint64_t offset, Bytes data) { return Transfer(BlockOp::kWrite, offset, data); }
  Bytes Read(uint64_t offset, size_t bytes) {
    Bytes data(bytes, std::byte{0xEE});
    CHECK(Transfer(BlockOp::kRead, offset, data) == BlockStatus::kOk);
    return data;
  }
  BlockStatus Do(BlockOp op, uint64_t offset = 0) {
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset;
    return SubmitAndWait(*thread, *image, request);
  }
  ZoneDescriptor Zone(uint32_t zone) { return image->ReportZones()[zone]; }
  uint64_t Written(uint32_t zone) { return Zone(zone).write_pointer_bytes - zone * kZone; }

  // Long enough for what is not held to come to its end.
  void SettleAll() {
    for (int i = 0; i < 50; ++i) Settle(*thread);
  }
  // What arrived at the disk: r, w, f, z (zeroes).
  std::string Arrivals() {
    SettleAll();
    std::string text;
    for (const auto& arrival : disk.TakeArrivals()) {
      text += arrival.op == BlockOp::kRead          ? 'r'
              : arrival.op == BlockOp::kWrite       ? 'w'
              : arrival.op == BlockOp::kFlush       ? 'f'
              : arrival.op == BlockOp::kWriteZeroes ? 'z'
                                                    : '?';
    }
    return text;
  }

  // Zones 5 to 24 are written to, and committed.
  void OpenWithTwentyZones() {
    REQUIRE(Open() == "");
    for (uint32_t zone = 5; zone < 25; ++zone) Write(zone * kZone, Pattern(512, zone));
    Do(BlockOp::kFlush);
    Arrivals();
  }

  std::unique_ptr<IoThread> thread;
  MemoryNode disk;
  std::unique_ptr<ZonedImage> image;
};

Bytes Zeroes(size_t bytes) { return Bytes(bytes); }

TEST_CASE("What is written is read, what is not reads as zeroes") {
  Fixture f;
  REQUIRE(f.Open() == "");
  const Bytes a = Pattern(4_KiB, 1);
  CHECK(f.Write(5 * kZone, a) == BlockStatus::kOk);
  CHECK(f.Read(5 * kZone, 4_KiB) == a);
  CHECK(f.Read(5 * kZone + 4_KiB, 12_KiB) == Zeroes(12_KiB));
  CHECK(f.Read(7 * kZone, kZone) == Zeroes(kZone));
  CHECK(f.Written(5) == 4_KiB);
  CHECK(f.Zone(5).condition == ZoneCondition::kImplicitlyOpen);

  // Across conventional zones, into a hole of the second.
  const Bytes b = Pattern(kZone, 2);
  CHECK(f.Write(kZone / 2, b) == BlockStatus::kOk);
  Bytes expected = Zeroes(2 * kZone);
  std::copy(b.begin(), b.end(), expected.begin() + kZone / 2);
  CHECK(f.Read(0, 2 * kZone) == expected);

  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  REQUIRE(f.Open() == "");
  CHECK(f.Read(5 * kZone, 4_KiB) == a);
  CHECK(f.Read(0, 2 * kZone) == expected);
  CHECK(f.Zone(5).condition == ZoneCondition::kClosed);
}

TEST_CASE("The child sees only the part of a read that was written") {
  Fixture f;
  REQUIRE(f.Open() == "");
  f.Write(5 * kZone, Pattern(4_KiB, 1));
  f.disk.TakeArrivals();
  f.Read(5 * kZone + 2_KiB, 8_KiB);
  f.Read(6 * kZone, 8_KiB);
  const auto arrivals = f.disk.TakeArrivals();
  REQUIRE(arrivals.size() == 1);
  CHECK(arrivals[0].length_bytes == 2_KiB);
}

TEST_CASE("A request that leaves the disk is refused") {
  Fixture f;
  REQUIRE(f.Open() == "");
  CHECK(f.Write(300 * kZone - 512, Pattern(1024, 1)) == BlockStatus::kOutOfRange);
  CHECK(f.Do(BlockOp::kZoneReset, 300 * kZone) == BlockStatus::kZoneInvalid);
  CHECK(f.Do(BlockOp::kZoneReset, 5 * kZone + 512) == BlockStatus::kZoneInvalid);
  CHECK(f.Do(BlockOp::kZoneReset, 0) == BlockStatus::kZoneInvalid);
  CHECK(f.Do(BlockOp::kZoneAppend, 5 * kZone) == BlockStatus::kUnsupported);
  CHECK(f.Do(BlockOp::kDiscard, 0) == BlockStatus::kUnsupported);
}

TEST_CASE("A flush writes data, then the pages that changed, each made sure of") {
  Fixture f;
  REQUIRE(f.Open() == "");
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(f.Arrivals() == "f");
  f.Write(5 * kZone, Pattern(512, 1));
  f.Write(6 * kZone, Pattern(512, 1));
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(f.Arrivals() == "wwfwf");
  f.Write(5 * kZone + 512, Pattern(512, 1));
  f.Write(299 * kZone, Pattern(512, 1));
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(f.Arrivals() == "wwfwwf");
  CHECK(f.Do(BlockOp::kZoneOpen, 7 * kZone) == BlockStatus::kOk);
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(f.Arrivals() == "f");
}

TEST_CASE("Overwriting a conventional zone costs a flush nothing more") {
  Fixture f;
  REQUIRE(f.Open() == "");
  f.Write(0, Pattern(512, 1));
  f.Do(BlockOp::kFlush);
  f.Arrivals();
  f.Write(0, Pattern(512, 2));
  f.Do(BlockOp::kFlush);
  CHECK(f.Arrivals() == "wf");
}

TEST_CASE("Flushes that come during a commit share the next one") {
  Fixture f;
  REQUIRE(f.Open() == "");
  f.Write(5 * kZone, Pattern(512, 1));
  f.Arrivals();
  f.disk.Hold([](const BlockRequest& request) { return request.op == BlockOp::kFlush; });
  std::vector<Pending> flushes(4);
  for (Pending& flush : flushes) {
    flush.request.op = BlockOp::kFlush;
    flush.Start(*f.thread, *f.image);
  }
  CHECK(f.Arrivals() == "f");
  CHECK_FALSE(flushes[0].done);
  f.disk.HoldNone();
  CHECK(f.Arrivals() == "wff");
  for (Pending& flush : flushes) {
    CHECK(flush.done);
    CHECK(flush.request.status == BlockStatus::kOk);
  }
}

TEST_CASE(
    "The write pointer moves when the write is done, and a commit before that does not know of "
    "it") {
  Fixture f;
  REQUIRE(f.Open() == "");
  f.Write(5 * kZone, Pattern(512, 1));
  f.disk.Hold([](const BlockRequest& request) {
    return request.op == BlockOp::kWrite && request.length_bytes == 1024;
  });
  Pending write;
  write.request.op = BlockOp::kWrite;
  write.request.offset_bytes = 5 * kZone + 512;
  write.data = Pattern(1024, 2);
  write.Start(*f.thread, *f.image);
  f.SettleAll();
  CHECK(f.Written(5) == 512);
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  const Bytes at_flush = f.disk.Content();
  f.disk.HoldNone();
  f.SettleAll();
  CHECK(write.done);
  CHECK(f.Written(5) == 1536);

  Fixture crashed(at_flush);
  REQUIRE(crashed.Open() == "");
  CHECK(crashed.Written(5) == 512);
}

TEST_CASE("A failed write is an I/O error and the pointer stays") {
  for (BlockStatus status : {BlockStatus::kIoError, BlockStatus::kUnsupported}) {
    Fixture f;
    REQUIRE(f.Open() == "");
    f.Write(5 * kZone, Pattern(512, 1));
    f.disk.set_fault([status](const BlockRequest& request) {
      return request.op == BlockOp::kWrite ? status : BlockStatus::kOk;
    });
    CHECK(f.Write(5 * kZone + 512, Pattern(1024, 2)) == BlockStatus::kIoError);
    CHECK(f.Write(6 * kZone, Pattern(1024, 3)) == BlockStatus::kIoError);
    f.disk.set_fault(nullptr);
    CHECK(f.Written(5) == 512);
    CHECK(f.Written(6) == 0);
    CHECK(f.Zone(6).condition == ZoneCondition::kEmpty);
    CHECK(f.Write(5 * kZone + 512, Pattern(512, 4)) == BlockStatus::kOk);
    CHECK(f.Write(6 * kZone, Pattern(512, 5)) == BlockStatus::kOk);
    CHECK(f.Read(5 * kZone + 512, 512) == Pattern(512, 4));
    CHECK(f.Read(6 * kZone, kZone - 512).size() == kZone - 512);
    CHECK(f.Read(6 * kZone + 512, 4_KiB) == Zeroes(4_KiB));
  }
}

TEST_CASE("A commit that fails at any step fails its flushes, and the next one makes good") {
  for (int failing_step = 0; failing_step < 3; ++failing_step) {
    CAPTURE(failing_step);
    Fixture f;
    REQUIRE(f.Open() == "");
    f.Write(5 * kZone, Pattern(512, 1));
    f.Write(6 * kZone, Pattern(512, 1));
    REQUIRE(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
    f.Do(BlockOp::kZoneReset, 6 * kZone);
    f.Write(5 * kZone + 512, Pattern(512, 2));
    f.Arrivals();
    int step = 0;
    f.disk.set_fault([&step, failing_step](const BlockRequest& request) {
      if (request.op == BlockOp::kRead) return BlockStatus::kOk;
      return step++ == failing_step ? BlockStatus::kIoError : BlockStatus::kOk;
    });
    CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kIoError);
    f.SettleAll();
    CHECK(f.Arrivals() == std::string("fwf").substr(0, failing_step + 1));
    f.disk.set_fault(nullptr);
    CHECK(f.Written(5) == 1024);
    CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
    CHECK(f.Arrivals() == "fwfz");
    REQUIRE(f.Open() == "");
    CHECK(f.Written(5) == 1024);
    CHECK(f.Zone(6).condition == ZoneCondition::kEmpty);
  }
}

TEST_CASE("A reset gives space back after the next commit, not before") {
  Fixture f;
  REQUIRE(f.Open() == "");
  for (uint32_t zone : {5, 6, 7, 8}) f.Write(zone * kZone, Pattern(4_KiB, zone));
  f.Do(BlockOp::kFlush);
  f.Arrivals();
  for (uint32_t zone : {7, 5, 6}) f.Do(BlockOp::kZoneReset, zone * kZone);
  CHECK(f.Arrivals() == "");
  f.Do(BlockOp::kFlush);
  f.SettleAll();
  const auto arrivals = f.disk.TakeArrivals();
  REQUIRE(arrivals.size() == 4);
  CHECK(arrivals[3].op == BlockOp::kWriteZeroes);
  CHECK(arrivals[3].offset_bytes == 1_MiB);
  CHECK(arrivals[3].length_bytes == 3 * kZone);  // three neighbours, one hole
  // And the lowest is used first.
  f.Write(9 * kZone, Pattern(512, 1));
  CHECK(f.disk.TakeArrivals()[0].offset_bytes == 1_MiB);
}

TEST_CASE("What commits by itself does not try again by itself") {
  Fixture f;
  f.OpenWithTwentyZones();
  f.disk.set_fault([](const BlockRequest& request) {
    return request.op == BlockOp::kFlush ? BlockStatus::kIoError : BlockStatus::kOk;
  });
  for (uint32_t zone = 5; zone < 21; ++zone) f.Do(BlockOp::kZoneReset, zone * kZone);
  CHECK(f.Arrivals() == "f");
  f.disk.set_fault(nullptr);
}

TEST_CASE("Many resets commit by themselves") {
  Fixture f;
  f.OpenWithTwentyZones();
  for (uint32_t zone = 5; zone < 20; ++zone) f.Do(BlockOp::kZoneReset, zone * kZone);
  CHECK(f.Arrivals() == "");
  f.Do(BlockOp::kZoneReset, 20 * kZone);
  CHECK(f.Arrivals() == "fwfz");
}

TEST_CASE("Reset-all spares conventional zones and those with a fault") {
  Fixture f;
  REQUIRE(f.Open() == "");
  for (uint32_t zone : {0, 5, 6}) f.Write(zone * kZone, Pattern(512, zone));
  f.Do(BlockOp::kFlush);
  {
    f.image.reset();
    f.disk.Reopen();
    SyncIo io(*f.thread, f.disk);
    auto contents = LoadZonedContents(io);
    REQUIRE(contents.has_value());
    contents->table.SetFault(5, ZoneFault::kReadOnly);
    REQUIRE(CommitZonedTable(io, contents->table).has_value());
  }
  REQUIRE(f.Open() == "");
  CHECK(f.Zone(5).condition == ZoneCondition::kReadOnly);
  CHECK(f.Do(BlockOp::kZoneReset, 5 * kZone) == BlockStatus::kZoneInvalid);
  CHECK(f.Do(BlockOp::kZoneResetAll) == BlockStatus::kOk);
  CHECK(f.Read(0, 512) == Pattern(512, 0));
  CHECK(f.Read(5 * kZone, 512) == Pattern(512, 5));
  CHECK(f.Zone(5).condition == ZoneCondition::kReadOnly);
  CHECK(f.Zone(6).condition == ZoneCondition::kEmpty);
  CHECK(f.Read(6 * kZone, 512) == Zeroes(512));
}

TEST_CASE("A read under way keeps its slot from being punched") {
  Fixture f;
  REQUIRE(f.Open() == "");
  const Bytes data = Pattern(4_KiB, 1);
  f.Write(5 * kZone, data);
  f.Do(BlockOp::kFlush);
  f.Arrivals();
  f.disk.Hold([](const BlockRequest& request) { return request.op == BlockOp::kRead; });
  Pending read;
  read.request.op = BlockOp::kRead;
  read.request.offset_bytes = 5 * kZone;
  read.data = Zeroes(4_KiB);
  read.Start(*f.thread, *f.image);
  f.Do(BlockOp::kZoneReset, 5 * kZone);
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(f.Arrivals() == "rfwf");
  // Requests that begin now do not hold it up any longer, and do not wait for it.
  f.disk.Hold([&](const BlockRequest& request) { return request.buffers.data() == &read.buffer; });
  f.Write(6 * kZone, Pattern(512, 2));
  f.Read(6 * kZone, 512);
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(f.Arrivals() == "wrfwf");
  f.disk.HoldNone();
  CHECK(f.Arrivals() == "z");
  CHECK(read.done);
  CHECK(read.data == data);
}

TEST_CASE("Open, close and finish are seen in the report; after a restart nothing is open") {
  Fixture f;
  REQUIRE(f.Open() == "");
  f.Do(BlockOp::kZoneOpen, 5 * kZone);
  f.Do(BlockOp::kZoneOpen, 6 * kZone);
  f.Write(6 * kZone, Pattern(512, 1));
  f.Write(7 * kZone, Pattern(512, 1));
  f.Write(8 * kZone, Pattern(512, 1));
  f.Do(BlockOp::kZoneFinish, 8 * kZone);
  f.Do(BlockOp::kZoneFinish, 9 * kZone);
  CHECK(f.Zone(5).condition == ZoneCondition::kExplicitlyOpen);
  CHECK(f.Zone(6).condition == ZoneCondition::kExplicitlyOpen);
  CHECK(f.Zone(7).condition == ZoneCondition::kImplicitlyOpen);
  f.Do(BlockOp::kZoneClose, 7 * kZone);
  CHECK(f.Zone(7).condition == ZoneCondition::kClosed);
  f.Do(BlockOp::kFlush);
  REQUIRE(f.Open() == "");
  CHECK(f.Zone(5).condition == ZoneCondition::kEmpty);
  CHECK(f.Zone(6).condition == ZoneCondition::kClosed);
  CHECK(f.Written(6) == 512);
  CHECK(f.Zone(8).condition == ZoneCondition::kFull);
  CHECK(f.Read(8 * kZone, 512) == Pattern(512, 1));
  CHECK(f.Read(8 * kZone + 512, 8_KiB) == Zeroes(8_KiB));
  CHECK(f.Zone(9).condition == ZoneCondition::kFull);
  CHECK(f.Read(9 * kZone, kZone) == Zeroes(kZone));
}

TEST_CASE("A zone report can be asked for in parts") {
  Fixture f;
  REQUIRE(f.Open() == "");
  f.Write(5 * kZone, Pattern(512, 1));
  std::vector<ZoneDescriptor> zones(3);
  BlockRequest request;
  request.op = BlockOp::kZoneReport;
  request.offset_bytes = 4 * kZone + 777;
  request.zones = zones;
  CHECK(SubmitAndWait(*f.thread, *f.image, request) == BlockStatus::kOk);
  CHECK(request.zones_reported == 3);
  CHECK(zones[1].start_bytes == 5 * kZone);
  CHECK(zones[1].write_pointer_bytes == 5 * kZone + 512);
  BlockRequest last;
  last.op = BlockOp::kZoneReport;
  last.offset_bytes = 299 * kZone;
  last.zones = zones;
  CHECK(SubmitAndWait(*f.thread, *f.image, last) == BlockStatus::kOk);
  CHECK(last.zones_reported == 1);
}

// A child of fixed size with room for three slots.
struct SmallFixture : Fixture {
  SmallFixture() : Fixture(SampleGeometry(8)) {
    disk.mutable_limits().grows = false;
    disk.mutable_limits().capacity_bytes = 1_MiB + 3 * kZone;
    auto opened = ZonedImage::Open(*thread, disk, false);
    REQUIRE(opened.has_value());
    image = std::move(*opened);
    disk.TakeArrivals();
  }
};

TEST_CASE("A write that finds no slot waits for the commit that frees one") {
  SmallFixture f;
  for (uint32_t zone : {2, 3, 4}) CHECK(f.Write(zone * kZone, Pattern(512, 1)) == BlockStatus::kOk);
  f.Do(BlockOp::kFlush);
  f.Do(BlockOp::kZoneReset, 3 * kZone);
  f.Arrivals();
  CHECK(f.Write(5 * kZone, Pattern(512, 2)) == BlockStatus::kOk);
  CHECK(f.Arrivals() == "fwfzw");
  CHECK(f.Read(5 * kZone, 512) == Pattern(512, 2));
}

TEST_CASE("A write that finds no slot and cannot hope for one fails") {
  SmallFixture f;
  for (uint32_t zone : {2, 3, 4}) f.Write(zone * kZone, Pattern(512, 1));
  CHECK(f.Write(5 * kZone, Pattern(512, 2)) == BlockStatus::kIoError);
  CHECK(f.Zone(5).condition == ZoneCondition::kEmpty);
  // And when the commit it waits for fails.
  f.Do(BlockOp::kFlush);
  f.Do(BlockOp::kZoneReset, 3 * kZone);
  f.disk.set_fault([](const BlockRequest& request) {
    return request.op == BlockOp::kFlush ? BlockStatus::kIoError : BlockStatus::kOk;
  });
  CHECK(f.Write(5 * kZone, Pattern(512, 2)) == BlockStatus::kIoError);
  f.disk.set_fault([](const BlockRequest& request) {
    return request.op == BlockOp::kWrite ? BlockStatus::kNoSpace : BlockStatus::kOk;
  });
  CHECK(f.Write(5 * kZone, Pattern(512, 2)) == BlockStatus::kNoSpace);
  // Or the hole cannot be punched.
  f.disk.set_fault([](const BlockRequest& request) {
    return request.op == BlockOp::kWriteZeroes ? BlockStatus::kIoError : BlockStatus::kOk;
  });
  CHECK(f.Write(5 * kZone, Pattern(512, 2)) == BlockStatus::kIoError);
}

TEST_CASE("Space that a crash left behind is given back and never shows") {
  Fixture f;
  REQUIRE(f.Open() == "");
  for (uint32_t zone : {5, 6, 7}) f.Write(zone * kZone, Pattern(kZone - 4_KiB, zone));
  f.Do(BlockOp::kFlush);
  f.Do(BlockOp::kZoneReset, 6 * kZone);
  f.disk.set_fault([](const BlockRequest& request) {
    return request.op == BlockOp::kWriteZeroes ? BlockStatus::kIoError : BlockStatus::kOk;
  });
  f.Do(BlockOp::kFlush);
  f.SettleAll();
  f.Write(8 * kZone, Pattern(8_KiB, 8));  // never flushed
  f.disk.set_fault(nullptr);
  REQUIRE(f.Open() == "");
  // Both land on old bytes: the conventional zone must not see them.
  f.Write(0, Pattern(512, 1));
  f.SettleAll();
  f.Write(kZone, Pattern(512, 2));
  CHECK(f.Read(512, kZone - 512) == Zeroes(kZone - 512));
  CHECK(f.Read(kZone + 512, kZone - 512) == Zeroes(kZone - 512));
  const Bytes content = f.disk.Content();
  const size_t data = std::count_if(content.begin() + 1_MiB, content.end(),
                                    [](std::byte b) { return b != std::byte{0}; });
  CHECK(data == 2 * (kZone - 4_KiB) + 1024);
}

TEST_CASE(
    "A host-aware zone written beyond its pointer shows zeroes in between, also after a failed "
    "write") {
  ZonedGeometry g = SampleGeometry();
  g.model = ZonedModel::kHostAware;
  Fixture f(g);
  REQUIRE(f.Open() == "");
  CHECK(f.Write(5 * kZone + 1024, Pattern(512, 1)) == BlockStatus::kOk);
  CHECK(f.Written(5) == 1536);
  CHECK(f.Read(5 * kZone, 1024) == Zeroes(1024));
  // A write that fails after it has written something, beyond the pointer.
  int failures = 0;
  f.disk.set_fault([&](const BlockRequest& request) {
    return request.op == BlockOp::kWrite && ++failures < 20 ? BlockStatus::kIoError
                                                            : BlockStatus::kOk;
  });
  for (int i = 0; i < 19; ++i) {
    const uint64_t within = i % 2 == 0 ? 1536 : 2_KiB;  // at the pointer, and beyond it
    CHECK(f.Write(5 * kZone + within, Pattern(1536, 2)) == BlockStatus::kIoError);
  }
  CHECK(f.Write(5 * kZone + 4_KiB, Pattern(512, 3)) == BlockStatus::kOk);
  CHECK(f.Read(5 * kZone + 1536, 4_KiB - 1536) == Zeroes(4_KiB - 1536));
  CHECK(f.Read(5 * kZone + 4_KiB, 512) == Pattern(512, 3));
  CHECK(f.Write(5 * kZone, Pattern(512, 4)) == BlockStatus::kOk);
  CHECK(f.Written(5) == 4_KiB + 512);
  CHECK(f.Zone(5).type == ZoneType::kSequentialPreferred);
}

TEST_CASE("Read-only: nothing is written, not even to heal") {
  Fixture f;
  REQUIRE(f.Open() == "");
  f.Write(5 * kZone, Pattern(512, 1));
  f.Do(BlockOp::kFlush);
  f.image.reset();
  f.disk.content()[4096] ^= std::byte{1};  // the second header
  f.disk.content()[8192] ^= std::byte{1};  // the first place of the first page
  const Bytes before = f.disk.Content();
  f.disk.mutable_limits().read_only = true;
  f.disk.mutable_limits().discard = false;
  REQUIRE(f.Open(true) == "");
  CHECK(f.image->limits().read_only);
  CHECK(f.Read(5 * kZone, 512) == Pattern(512, 1));
  CHECK(f.Write(5 * kZone + 512, Pattern(512, 1)) == BlockStatus::kReadOnly);
  CHECK(f.Do(BlockOp::kZoneReset, 5 * kZone) == BlockStatus::kReadOnly);
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(f.Arrivals() == "r");
  CHECK(f.disk.Content() == before);
}

TEST_CASE("Opening for writing heals damaged copies") {
  Fixture f;
  REQUIRE(f.Open() == "");
  f.Write(5 * kZone, Pattern(512, 1));
  f.Do(BlockOp::kFlush);
  const Bytes good = f.disk.Content();
  for (size_t damaged_byte : {0, 5000, 8200, 20'000}) {
    CAPTURE(damaged_byte);
    f.image.reset();
    std::copy(good.begin(), good.end(), f.disk.content().begin());
    f.disk.content()[damaged_byte] ^= std::byte{0x10};
    REQUIRE(f.Open() == "");
    SyncIo io(*f.thread, f.disk);
    auto check = CheckZonedImage(io, false);
    REQUIRE(check.has_value());
    CHECK(check->findings.empty());
  }
}

TEST_CASE("What cannot be opened is refused with a reason and left untouched") {
  auto refusal = [](auto change, bool read_only = false) {
    Fixture f;
    REQUIRE(f.Open() == "");
    f.Write(5 * kZone, Pattern(512, 1));
    f.Write(6 * kZone, Pattern(512, 1));
    f.Do(BlockOp::kFlush);
    f.image.reset();
    f.disk.Reopen();
    change(f);
    const Bytes before = f.disk.Content();
    auto opened = ZonedImage::Open(*f.thread, f.disk, read_only);
    CHECK(f.disk.Content() == before);
    return opened ? std::string("opened") : opened.error().message;
  };
  auto flip = [](Fixture& f, size_t at) { f.disk.content()[at] ^= std::byte{1}; };
  CHECK(refusal([](Fixture&) {}) == "opened");
  CHECK(refusal([&](Fixture& f) { flip(f, 0), flip(f, 4096); }) ==
        "it does not begin with the magic of a zoned image");
  CHECK(refusal([&](Fixture& f) { flip(f, 100), flip(f, 4196); }) ==
        "the header's checksum is wrong");
  CHECK(refusal([&](Fixture& f) { flip(f, 8), flip(f, 4104); }) ==
        "it has version 0 of the format, this program knows version 1");
  CHECK(refusal([&](Fixture& f) { flip(f, 8192), flip(f, 12288); }) ==
        "page 0 of the zone table is damaged");
  CHECK(refusal([&](Fixture& f) { flip(f, 8192), flip(f, 12288); }, true) ==
        "page 0 of the zone table is damaged");
  CHECK(refusal([](Fixture& f) {
          f.disk.mutable_limits().discard = false;
        }).find("give discard=unmap") != std::string::npos);
  CHECK(refusal([](Fixture& f) {
          f.disk.mutable_limits().read_only = true;
        }).find("give read-only=on") != std::string::npos);
  CHECK(refusal([](Fixture& f) {
          f.disk.mutable_limits().logical_block_bytes = 4096;
        }).find("leave cache.direct off") != std::string::npos);
  CHECK(refusal([](Fixture& f) {
          f.disk.mutable_limits().zoned = ZonedModel::kHostManaged;
        }).find("zoned disk itself") != std::string::npos);
  CHECK(refusal([](Fixture& f) { f.disk.mutable_limits().capacity_bytes = 1_MiB + kZone; }) ==
        "the data of zone 6 lies behind the end: the image was cut off");
  // A table may name any slot for a zone that holds nothing yet. One behind the end of a part of a
  // disk would be somebody else's.
  CHECK(refusal([](Fixture& f) {
          REQUIRE(f.Open() == "");
          f.Write(0, Pattern(512, 1));
          f.Do(BlockOp::kFlush);
          f.image.reset();
          f.disk.mutable_limits().grows = false;
          f.disk.mutable_limits().capacity_bytes = 1_MiB + 2 * kZone;
        }) ==
        "it has data in place 3 of a node with room for 2: the image was cut off; give "
        "read-only=on to see what is left");
  auto count_commits = [](Fixture& f, uint64_t commits) {
    const ZonedHeader header = HeaderOf(SampleGeometry());
    for (uint64_t place : {8192, 12288}) {
      std::span<std::byte, kZonedPageBytes> bytes(&f.disk.content()[place], kZonedPageBytes);
      const TablePage page = *DecodeTablePage(header, 0, bytes);
      std::ranges::copy(EncodeTablePage(header, 0, commits - page.sequence % 2, page.records),
                        bytes.begin());
    }
  };
  constexpr uint64_t kMany = uint64_t{1} << 62;
  CHECK(refusal([&](Fixture& f) { count_commits(f, kMany); }) == "opened");
  CHECK(refusal([&](Fixture& f) { count_commits(f, 2 * kMany - 1); }) ==
        "its table counts 9223372036854775807 commits, which leaves too few: copy it with "
        "minivmm-img convert, or give read-only=on");
  CHECK(refusal([&](Fixture& f) { count_commits(f, 2 * kMany - 1); }, true) == "opened");
  for (bool repair : {false, true}) {
    Fixture f;
    REQUIRE(f.Open() == "");
    f.Write(5 * kZone, Pattern(512, 1));
    f.Do(BlockOp::kFlush);
    f.image.reset();
    f.disk.Reopen();
    count_commits(f, 2 * kMany - 1);
    const Bytes before = f.disk.Content();
    SyncIo io(*f.thread, f.disk);
    const ZonedCheck check = *CheckZonedImage(io, repair);
    REQUIRE(check.findings.size() == 1);
    CHECK_FALSE(check.findings[0].repairable);
    CHECK_FALSE(check.repaired);
    CHECK(f.disk.Content() == before);
  }
}

TEST_CASE("A host that cannot punch holes is found out at once") {
  for (bool written : {false, true}) {
    CAPTURE(written);
    Fixture f;
    if (written) {
      REQUIRE(f.Open() == "");
      f.Write(5 * kZone, Pattern(512, 1));  // beyond what was committed: to be punched
    }
    f.disk.set_fault([](const BlockRequest& request) {
      return request.op == BlockOp::kDiscard ? BlockStatus::kUnsupported : BlockStatus::kOk;
    });
    CHECK(f.Open().find("cannot give back the space") != std::string::npos);
  }
}

TEST_CASE("A slot whose hole cannot be punched does not take its neighbours along") {
  Fixture f;
  REQUIRE(f.Open() == "");
  // As where it lies behind the longest file that a host can have.
  f.disk.set_fault([](const BlockRequest& request) {
    const bool reaches = request.offset_bytes + request.length_bytes > 1_MiB + 3 * kZone;
    return request.op == BlockOp::kWriteZeroes && reaches ? BlockStatus::kIoError
                                                          : BlockStatus::kOk;
  });
  for (uint32_t zone : {5, 6, 7, 8}) f.Write(zone * kZone, Pattern(512, zone));
  f.Do(BlockOp::kFlush);
  for (uint32_t zone : {5, 6, 7, 8}) f.Do(BlockOp::kZoneReset, zone * kZone);
  f.Do(BlockOp::kFlush);
  f.Arrivals();
  for (uint32_t zone : {9, 10, 11, 12}) f.Write(zone * kZone, Pattern(512, zone));
  const auto arrivals = f.disk.TakeArrivals();
  REQUIRE(arrivals.size() == 4);
  for (uint32_t i = 0; i < 4; ++i) {
    CHECK(arrivals[i].offset_bytes == 1_MiB + (i < 3 ? i : 4) * kZone);
  }
}

TEST_CASE("A slot that the host cannot clear is no reason to fail a check") {
  Fixture f;
  REQUIRE(f.Open() == "");
  for (uint32_t zone : {5, 6, 7, 8, 0}) f.Write(zone * kZone, Pattern(512, zone));
  f.Do(BlockOp::kFlush);
  f.disk.set_fault([](const BlockRequest& request) {
    const uint64_t end_bytes = request.offset_bytes + request.length_bytes;
    const bool reaches = end_bytes > 1_MiB + 3 * kZone && end_bytes <= 1_MiB + 4 * kZone;
    return request.op == BlockOp::kWriteZeroes && reaches ? BlockStatus::kIoError
                                                          : BlockStatus::kOk;
  });
  f.Do(BlockOp::kZoneReset, 8 * kZone);
  f.Do(BlockOp::kFlush);
  f.image.reset();
  f.disk.Reopen();
  SyncIo io(*f.thread, f.disk);
  for (bool repair : {true, false}) {
    const Result<ZonedCheck> check = CheckZonedImage(io, repair);
    REQUIRE(check.has_value());
    CHECK(check->findings.empty());
    CHECK(check->repaired == repair);
  }
  CHECK(f.Open() == "");
}

TEST_CASE("A large disk is made and opened with few operations") {
  ZonedGeometry g;
  g.zone_size_bytes = 256_MiB;
  g.zone_capacity_bytes = 256_MiB;
  g.capacity_bytes = 111'760ull * 256_MiB;
  g.max_append_bytes = 1_MiB;
  const ZonedHeader header = HeaderOf(g);
  int writes = 0;
  uint64_t bytes = 0;
  Bytes content(header.data_offset_bytes());
  REQUIRE(FormatZonedImage(header, [&](uint64_t offset, std::span<const std::byte> data) {
            ++writes;
            bytes += data.size();
            std::copy(data.begin(), data.end(), content.begin() + offset);
            return Result<void>{};
          }).has_value());
  CHECK(writes == 2);
  CHECK(bytes < 4_MiB);

  auto thread = StartThread();
  MemoryNode disk(std::move(content));
  auto opened = ZonedImage::Open(*thread, disk, false);
  REQUIRE(opened.has_value());
  int reads = 0;
  uint64_t read_bytes = 0;
  int others = 0;
  for (const auto& arrival : disk.TakeArrivals()) {
    if (arrival.op == BlockOp::kRead) {
      ++reads;
      read_bytes += arrival.length_bytes;
    } else {
      ++others;
    }
  }
  CHECK(reads <= 6);
  CHECK(read_bytes < 4_MiB);
  CHECK(others <= 2);  // a flush, and behind the end a discard
  CHECK((*opened)->ReportZones().size() == 111'760);
  CHECK((*opened)->ReportZones()[111'759].condition == ZoneCondition::kEmpty);
}

// One guest thread: writes, reads back, resets and flushes its own zones.
class Worker {
 public:
  Worker(IoThread& thread, ZonedImage& image, uint32_t first_zone, int seed)
      : thread_(thread), image_(image), first_zone_(first_zone), random_(seed) {}

  void Run(int steps) {
    std::vector<uint64_t> written(8);
    std::vector<Bytes> expected(8, Bytes(12_KiB));
    for (int i = 0; i < steps; ++i) {
      const uint32_t index = random_() % 8;
      const uint64_t start = (first_zone_ + index) * kZone;
      const uint32_t dice = random_() % 10;
      if (dice < 5 && written[index] < 12_KiB) {
        Bytes data = Pattern(512 * (1 + random_() % ((12_KiB - written[index]) / 512)), i);
        std::copy(data.begin(), data.end(), expected[index].begin() + written[index]);
        REQUIRE(Do(BlockOp::kWrite, start + written[index], &data) == BlockStatus::kOk);
        written[index] += data.size();
      } else if (dice < 7) {
        REQUIRE(Do(BlockOp::kZoneReset, start) == BlockStatus::kOk);
        written[index] = 0;
        expected[index] = Bytes(12_KiB);
      } else if (dice < 8) {
        REQUIRE(Do(BlockOp::kFlush, 0) == BlockStatus::kOk);
      } else {
        Bytes data(12_KiB, std::byte{0xEE});
        REQUIRE(Do(BlockOp::kRead, start, &data) == BlockStatus::kOk);
        REQUIRE(data == expected[index]);
      }
    }
  }

 private:
  BlockStatus Do(BlockOp op, uint64_t offset, Bytes* data = nullptr) {
    iovec buffer{};
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset;
    if (data != nullptr) {
      buffer = {data->data(), data->size()};
      request.buffers = {&buffer, 1};
      request.length_bytes = data->size();
    }
    return SubmitAndWait(thread_, image_, request);
  }

  IoThread& thread_;
  ZonedImage& image_;
  uint32_t first_zone_;
  std::minstd_rand random_;
};

TEST_CASE("Several I/O threads work on one image") {
  // Few slots, so that writes wait for each other's commits.
  Fixture f(SampleGeometry(40));
  f.disk.mutable_limits().grows = false;
  f.disk.mutable_limits().capacity_bytes = 1_MiB + 34 * kZone;
  f.disk.set_shuffle(true);
  auto opened = ZonedImage::Open(*f.thread, f.disk, false);
  REQUIRE(opened.has_value());
  f.image = std::move(*opened);
  std::vector<std::unique_ptr<IoThread>> threads;
  std::vector<std::thread> drivers;
  for (int i = 0; i < 4; ++i) threads.push_back(StartThread());
  for (int i = 0; i < 4; ++i) {
    drivers.emplace_back([&, i] { Worker(*threads[i], *f.image, 2 + 8 * i, i + 1).Run(400); });
  }
  for (std::thread& driver : drivers) driver.join();
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  // The image goes while its threads live on, and a sweep may be under way.
  f.image.reset();
  f.disk.Reopen();
  SyncIo io(*f.thread, f.disk);
  auto check = CheckZonedImage(io, false);
  REQUIRE(check.has_value());
  CHECK(check->findings.empty());
}

TEST_CASE("An I/O thread may end while a commit that it started runs") {
  Fixture f;
  REQUIRE(f.Open() == "");
  for (int round = 0; round < 20; ++round) {
    for (uint32_t zone = 5; zone < 22; ++zone) f.Write(zone * kZone, Pattern(512, zone));
    auto other = StartThread();
    for (uint32_t zone = 5; zone < 22; ++zone) {
      BlockRequest request;
      request.op = BlockOp::kZoneReset;
      request.offset_bytes = zone * kZone;
      REQUIRE(SubmitAndWait(*other, *f.image, request) == BlockStatus::kOk);
    }
  }
  CHECK(f.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(f.Zone(5).condition == ZoneCondition::kEmpty);
}

}  // namespace
}  // namespace minivmm
