// The whole node over real files: ZoneQueue, ZonedImage, file.
#include "blockcore/zoned/zoned.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/units.h"
#include "blockcore/block_graph.h"
#include "blockcore/file.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/sync_request.h"
#include "blockcore/zoned/zoned_create.h"

namespace minivmm {
namespace {

using Bytes = std::vector<std::byte>;
constexpr uint64_t kZone = 1_MiB;

ZonedGeometry SampleGeometry() {
  ZonedGeometry g;
  g.zone_size_bytes = kZone;
  g.zone_capacity_bytes = 768_KiB;
  g.capacity_bytes = 20 * kZone + 256_KiB;
  g.conventional_zones = 2;
  g.max_open_zones = 3;
  g.max_active_zones = 5;
  g.max_append_bytes = 128_KiB;
  g.physical_block_bytes = 4096;
  g.write_granularity_bytes = 4096;
  return g;
}

struct ZonedDisk {
  explicit ZonedDisk(const ZonedGeometry& geometry = SampleGeometry()) {
    auto created = CreateZonedImage(path, geometry);
    REQUIRE_MESSAGE(created.has_value(), (created ? "" : created.error().message));
    auto started = IoThread::Start("zoned-test");
    REQUIRE(started.has_value());
    thread = std::move(*started);
    Open();
  }

  void Open() {
    Close();
    auto opened = OpenFile({.filename = path, .discard = true});
    REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message));
    file = std::move(*opened);
    auto node = OpenZoned(*file, {});
    REQUIRE_MESSAGE(node.has_value(), (node ? "" : node.error().message));
    disk = std::move(*node);
  }
  void Close() {
    disk.reset();
    file.reset();
  }

  BlockStatus Transfer(BlockOp op, uint64_t offset, Bytes& data, uint64_t* appended = nullptr) {
    iovec buffer{data.data(), data.size()};
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset;
    request.length_bytes = data.size();
    request.buffers = {&buffer, 1};
    BlockStatus status = SubmitAndWait(*thread, *disk, request);
    if (appended != nullptr) *appended = request.appended_at_bytes;
    return status;
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
    return SubmitAndWait(*thread, *disk, request);
  }
  std::vector<ZoneDescriptor> Report() {
    auto report = SyncIo(*thread, *disk).ReportZones();
    REQUIRE(report.has_value());
    return *report;
  }
  uint64_t AllocatedBytes() const {
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  }

  TemporaryDirectory directory;
  const std::string path = directory.File("disk.zbd");
  std::unique_ptr<IoThread> thread;
  std::unique_ptr<BlockNode> file;
  std::unique_ptr<BlockNode> disk;
};

Bytes Fill(size_t bytes, int value) { return Bytes(bytes, std::byte(value)); }

TEST_CASE("The limits are those of the header") {
  ZonedDisk d;
  const BlockLimits& limits = d.disk->limits();
  CHECK(limits.zoned == ZonedModel::kHostManaged);
  CHECK(limits.capacity_bytes == 20 * kZone + 256_KiB);
  CHECK(limits.zone_count == 21);
  CHECK(limits.zone_size_bytes == kZone);
  CHECK(limits.max_open_zones == 3);
  CHECK(limits.max_active_zones == 5);
  CHECK(limits.max_append_bytes == 128_KiB);
  CHECK(limits.logical_block_bytes == 512);
  CHECK(limits.physical_block_bytes == 4096);
  CHECK(limits.write_granularity_bytes == 4096);
  CHECK_FALSE(limits.discard);
  CHECK_FALSE(limits.read_only);
  const auto report = d.Report();
  CHECK(report[0].type == ZoneType::kConventional);
  CHECK(report[2].capacity_bytes == 768_KiB);
  CHECK(report[20].length_bytes == 256_KiB);
  CHECK(report[20].capacity_bytes == 256_KiB);
}

TEST_CASE("Zones, data and pointers are there again after a flush and a restart") {
  ZonedDisk d;
  CHECK(d.Write(0, Fill(4096, 1)) == BlockStatus::kOk);
  CHECK(d.Write(2 * kZone, Fill(8192, 2)) == BlockStatus::kOk);
  uint64_t at = 0;
  Bytes data = Fill(4096, 3);
  CHECK(d.Transfer(BlockOp::kZoneAppend, 2 * kZone, data, &at) == BlockStatus::kOk);
  CHECK(at == 2 * kZone + 8192);
  CHECK(d.Do(BlockOp::kZoneOpen, 4 * kZone) == BlockStatus::kOk);
  CHECK(d.Write(5 * kZone, Fill(4096, 5)) == BlockStatus::kOk);
  CHECK(d.Do(BlockOp::kZoneFinish, 5 * kZone) == BlockStatus::kOk);
  CHECK(d.Write(20 * kZone, Fill(256_KiB, 6)) == BlockStatus::kOk);
  CHECK(d.Do(BlockOp::kFlush) == BlockStatus::kOk);
  d.Open();
  const auto report = d.Report();
  CHECK(report[2].condition == ZoneCondition::kClosed);
  CHECK(report[2].write_pointer_bytes == 2 * kZone + 12288);
  CHECK(report[4].condition == ZoneCondition::kEmpty);
  CHECK(report[5].condition == ZoneCondition::kFull);
  CHECK(report[20].condition == ZoneCondition::kFull);
  CHECK(d.Read(0, 8192) == [] {
    Bytes b = Fill(4096, 1);
    b.resize(8192);
    return b;
  }());
  CHECK(d.Read(2 * kZone + 4096, 8192) == [] {
    Bytes b = Fill(4096, 2);
    b.resize(8192, std::byte{3});
    return b;
  }());
  CHECK(d.Read(5 * kZone, 8192) == [] {
    Bytes b = Fill(4096, 5);
    b.resize(8192);
    return b;
  }());
  CHECK(d.Read(20 * kZone, 256_KiB) == Fill(256_KiB, 6));
}

TEST_CASE("The rules of zones hold, and a bad request changes nothing") {
  ZonedDisk d;
  CHECK(d.Write(2 * kZone + 4096, Fill(4096, 1)) == BlockStatus::kZoneUnaligned);
  CHECK(d.Write(2 * kZone, Fill(512, 1)) == BlockStatus::kZoneUnaligned);
  CHECK(d.Write(2 * kZone, Fill(1_MiB, 1)) == BlockStatus::kZoneInvalid);
  CHECK(d.Do(BlockOp::kZoneReset, 0) == BlockStatus::kZoneInvalid);
  for (uint32_t zone : {2, 3, 4}) {
    CHECK(d.Do(BlockOp::kZoneOpen, zone * kZone) == BlockStatus::kOk);
  }
  CHECK(d.Do(BlockOp::kZoneOpen, 5 * kZone) == BlockStatus::kZoneOpenLimit);
  CHECK(d.Write(2 * kZone, Fill(4096, 1)) == BlockStatus::kOk);
  CHECK(d.Do(BlockOp::kZoneResetAll) == BlockStatus::kOk);
  for (const ZoneDescriptor& zone : d.Report()) {
    if (zone.type != ZoneType::kConventional) CHECK(zone.condition == ZoneCondition::kEmpty);
  }
}

TEST_CASE("A reset gives the space back to the file system") {
  ZonedDisk d;
  const uint64_t empty = d.AllocatedBytes();
  for (uint32_t zone = 2; zone < 12; ++zone) {
    CHECK(d.Write(zone * kZone, Fill(768_KiB, 7)) == BlockStatus::kOk);
  }
  CHECK(d.Do(BlockOp::kFlush) == BlockStatus::kOk);
  CHECK(d.AllocatedBytes() >= empty + 10 * 768_KiB);
  CHECK(d.Do(BlockOp::kZoneResetAll) == BlockStatus::kOk);
  CHECK(d.Do(BlockOp::kFlush) == BlockStatus::kOk);
  d.Close();
  CHECK(d.AllocatedBytes() <= empty + 64_KiB);
}

TEST_CASE("Two writers are one too many, readers may be several") {
  ZonedDisk d;
  d.Write(2 * kZone, Fill(4096, 2));
  d.Do(BlockOp::kFlush);
  auto second = OpenFile({.filename = d.path, .discard = true});
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().message.find("in use") != std::string::npos);
  d.Close();
  std::vector<std::unique_ptr<BlockNode>> files;
  std::vector<std::unique_ptr<BlockNode>> disks;
  for (int i = 0; i < 2; ++i) {
    auto file = OpenFile({.filename = d.path, .read_only = true});
    REQUIRE(file.has_value());
    files.push_back(std::move(*file));
    auto disk = OpenZoned(*files.back(), {});
    REQUIRE(disk.has_value());
    disks.push_back(std::move(*disk));
    CHECK(disks.back()->limits().read_only);
    Bytes data(4096);
    CHECK(SyncIo(*d.thread, *disks.back()).Read(2 * kZone, data).has_value());
    CHECK(data == Fill(4096, 2));
    CHECK_FALSE(SyncIo(*d.thread, *disks.back()).Write(2 * kZone + 4096, data).has_value());
  }
}

TEST_CASE("A disk that cannot be used says why in one line") {
  ZonedDisk d;
  d.Close();
  auto file = OpenFile({.filename = d.path});
  REQUIRE(file.has_value());
  auto node = OpenZoned(**file, {});
  REQUIRE_FALSE(node.has_value());
  CHECK(node.error().message.find("driver 'zoned' cannot use the image: ") == 0);
  CHECK(node.error().message.find("discard=unmap") != std::string::npos);
  // Which does not matter for reading.
  CHECK(OpenZoned(**file, {.read_only = true}).has_value());
}

TEST_CASE(
    "A host-aware disk takes random writes and shows what a sequential-preferred zone shows") {
  ZonedGeometry g = SampleGeometry();
  g.model = ZonedModel::kHostAware;
  ZonedDisk d(g);
  CHECK(d.Write(3 * kZone + 8192, Fill(4096, 1)) == BlockStatus::kOk);
  CHECK(d.Write(3 * kZone + 4096, Fill(512, 2)) == BlockStatus::kOk);
  Bytes data = Fill(4096, 1);
  CHECK(d.Transfer(BlockOp::kZoneAppend, 3 * kZone, data) == BlockStatus::kZoneInvalid);
  auto zone = d.Report()[3];
  CHECK(zone.type == ZoneType::kSequentialPreferred);
  CHECK(zone.write_pointer_bytes == 3 * kZone + 12288);
  // Across a zone's end, as an ordinary disk would.
  CHECK(d.Write(4 * kZone + 512_KiB, Fill(256_KiB, 3)) == BlockStatus::kOk);
  CHECK(d.Do(BlockOp::kFlush) == BlockStatus::kOk);
  d.Open();
  zone = d.Report()[3];
  CHECK(zone.condition == ZoneCondition::kClosed);
  CHECK(zone.write_pointer_bytes == 3 * kZone + 12288);
  CHECK(d.Read(3 * kZone, 4096) == Bytes(4096));
  CHECK(d.Read(3 * kZone + 4096, 512) == Fill(512, 2));
  CHECK(d.Read(3 * kZone + 8192, 4096) == Fill(4096, 1));
}

TEST_CASE(
    "Z-54, Z-57: a host-aware zone written to in sectors smaller than a block can be opened "
    "again") {
  ZonedGeometry g = SampleGeometry();
  g.model = ZonedModel::kHostAware;
  g.logical_block_bytes = 4096;
  ZonedDisk d(g);
  CHECK(d.Write(3 * kZone + 4608, Fill(512, 1)) == BlockStatus::kOk);
  CHECK(d.Write(4 * kZone + 512, Fill(512, 2)) == BlockStatus::kOk);
  CHECK(d.Do(BlockOp::kZoneFinish, 4 * kZone) == BlockStatus::kOk);
  CHECK(d.Do(BlockOp::kFlush) == BlockStatus::kOk);
  d.Open();
  CHECK(d.Report()[3].write_pointer_bytes == 3 * kZone + 5120);
  CHECK(d.Read(3 * kZone + 4608, 512) == Fill(512, 1));
  CHECK(d.Read(4 * kZone + 512, 512) == Fill(512, 2));
  CHECK(d.Write(3 * kZone + 5120, Fill(512, 3)) == BlockStatus::kOk);
}

TEST_CASE("Z-09: the limit of appends is no longer than the only sequential zone, a short one") {
  ZonedGeometry g = SampleGeometry();
  g.conventional_zones = 20;
  g.max_append_bytes = 512_KiB;
  ZonedDisk d(g);
  CHECK(d.disk->limits().max_append_bytes == 256_KiB);
  Bytes data = Fill(256_KiB, 1);
  CHECK(d.Transfer(BlockOp::kZoneAppend, 20 * kZone, data) == BlockStatus::kOk);
}

TEST_CASE("The graph makes the node with the options of the command line") {
  ZonedDisk d;
  d.Close();
  const std::string file = ",file.driver=file,file.filename=" + d.path;
  auto add = [](const std::string& text) {
    BlockGraph graph;
    auto added = graph.Add(text);
    if (!added) return added.error().message;
    const BlockLimits& limits = graph.Find("z0")->limits();
    CHECK(limits.zoned == ZonedModel::kHostManaged);
    return std::string(limits.read_only ? "read-only" : "writable");
  };
  // Nobody has to say discard=unmap.
  CHECK(add("driver=zoned,node-name=z0" + file) == "writable");
  CHECK(add("driver=zoned,node-name=z0,read-only=on" + file) == "read-only");
  CHECK(add("driver=zoned,node-name=z0,file.read-only=on" + file) == "read-only");
  CHECK(add("driver=zoned,node-name=z0,discard=ignore" + file).find("discard=unmap") !=
        std::string::npos);
  CHECK(add("driver=zoned,node-name=z0").find("needs 'file'") != std::string::npos);
  CHECK(add("driver=zoned,node-name=z0,zone.size=1M" + file).find("zone.size") !=
        std::string::npos);
  BlockGraph graph;
  CHECK(graph.Add("driver=file,node-name=f,discard=unmap,filename=" + d.path).has_value());
  CHECK(graph.Add("driver=zoned,node-name=z0,file=f").has_value());
}

}  // namespace
}  // namespace minivmm
