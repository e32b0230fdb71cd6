// Images that grow, on a disk in memory that can lose power.
#include "blockcore/zoned/zoned_resize.h"

#include <doctest/doctest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/io_thread.h"
#include "blockcore/zoned/memory_node.h"
#include "blockcore/zoned/zoned_create.h"

namespace minivmm {
namespace {

constexpr uint64_t kZoneBytes = 64_KiB;

ZonedGeometry Geometry(uint64_t capacity_bytes) {
  ZonedGeometry g;
  g.capacity_bytes = capacity_bytes;
  g.zone_size_bytes = kZoneBytes;
  g.zone_capacity_bytes = 48_KiB;
  g.conventional_zones = 2;
  return g;
}

// An image of 99 zones and a short one, with data in zones 0, 3 (written), 4 (finished) and the
// short one (filled). The newer copy of its table is at the second place after an odd number of
// commits, at the first after an even one.
struct Image {
  explicit Image(int commits = 1) {
    ZonedHeader header;
    header.id = {1, 2, 3};
    header.geometry = Geometry(99 * kZoneBytes + 4096);
    node = std::make_unique<MemoryNode>(std::vector<std::byte>(header.data_offset_bytes()));
    auto started = IoThread::Start("resize-test");
    REQUIRE(started.has_value());
    thread = std::move(*started);
    SyncIo io(*thread, *node);
    REQUIRE(FormatZonedImage(header, [&](uint64_t offset_bytes, std::span<const std::byte> data) {
      return io.Write(offset_bytes, data);
    }));
    auto image = LoadZonedContents(io);
    REQUIRE(image.has_value());
    const std::vector<std::byte> data(4096, std::byte{7});
    for (uint32_t zone : {0u, 3u, 4u, 99u}) {
      const std::optional<uint32_t> slot = image->table.SlotForWrite(zone);
      REQUIRE(slot.has_value());
      REQUIRE(io.Write(header.SlotOffset(*slot), data));
      image->table.NoteWritten(zone, 4096);
    }
    image->table.Finish(4);
    for (int i = 0; i < commits; ++i) {
      image->table.SetFault(5, i % 2 == 0 ? ZoneFault::kNone : ZoneFault::kReadOnly);
      REQUIRE(CommitZonedTable(io, image->table));
    }
    node->Reopen();
  }

  Result<ZonedHeader> Grow(uint64_t capacity_bytes) {
    SyncIo io(*thread, *node);
    TRY(ZonedContents contents, LoadZonedContents(io));
    return GrowZonedImage(io, contents, capacity_bytes);
  }

  std::unique_ptr<IoThread> thread;
  std::unique_ptr<MemoryNode> node;
};

std::vector<ZoneRecord> RecordsOf(const ZonedTable& table) {
  std::vector<ZoneRecord> records;
  for (uint32_t zone = 0; zone < table.zone_count(); ++zone) records.push_back(table.record(zone));
  return records;
}

// The records of the image in `node`, which has to be sound or soon be.
std::vector<ZoneRecord> Recover(IoThread& thread, MemoryNode& node) {
  SyncIo io(thread, node);
  Result<ZonedCheck> repaired = CheckZonedImage(io, true);
  REQUIRE(repaired.has_value());
  for (const ZonedFinding& finding : repaired->findings) INFO(finding.text);
  REQUIRE((repaired->findings.empty() || repaired->repaired));
  Result<ZonedCheck> again = CheckZonedImage(io, false);
  REQUIRE(again.has_value());
  CHECK(again->findings.empty());
  Result<ZonedContents> contents = LoadZonedContents(io);
  REQUIRE(contents.has_value());
  return RecordsOf(contents->table);
}

TEST_CASE("A grown image has its old zones and empty new ones") {
  Image image;
  const std::vector<ZoneRecord> before = Recover(*image.thread, *image.node);
  // Within the table's page, to the end of it, into the next one, and over several.
  for (uint64_t zones : {100, 120, 254, 255, 1000}) {
    CAPTURE(zones);
    Result<ZonedHeader> grown = image.Grow(zones * kZoneBytes);
    REQUIRE_MESSAGE(grown.has_value(), (grown ? "" : grown.error().message));
    CHECK(grown->geometry == Geometry(zones * kZoneBytes));
    std::vector<ZoneRecord> expected = before;
    expected.resize(zones);
    CHECK(Recover(*image.thread, *image.node) == expected);
  }
}

TEST_CASE("What cannot be is refused and changes nothing") {
  Image image;
  const std::vector<std::byte> before = image.node->Content();
  auto refuses = [&](uint64_t capacity_bytes, const std::string& expected) {
    Result<ZonedHeader> grown = image.Grow(capacity_bytes);
    REQUIRE(!grown.has_value());
    CHECK(grown.error().message.find(expected) != std::string::npos);
    CHECK(image.node->Content() == before);
  };
  refuses(99 * kZoneBytes + 4096, "already");
  refuses(99 * kZoneBytes, "cannot shrink");
  refuses(200 * kZoneBytes + 100, "must be a multiple of 512");
  // 127 pages fit before the data.
  refuses(127 * 254 * kZoneBytes + 512, "has room for 32258 zones and 32259 are wanted");
  CHECK(image.Grow(127 * 254 * kZoneBytes).has_value());
}

TEST_CASE(
    "After a power cut the image has the old size or the new one, once it has grown the new") {
  int commits = 0;
  SUBCASE("the newer copy at the first place") { commits = 2; }
  SUBCASE("the newer copy at the second place") { commits = 3; }
  Image image(commits);
  const std::vector<ZoneRecord> before = Recover(*image.thread, *image.node);
  std::vector<ZoneRecord> after = before;
  after.resize(600);
  image.node->StartRecording();
  const uint64_t first_tick = image.node->Tick();
  REQUIRE(image.Grow(600 * kZoneBytes).has_value());
  const uint64_t last_tick = image.node->Tick();
  std::minstd_rand random(1);
  int old_size = 0;
  int new_size = 0;
  for (uint64_t tick = first_tick; tick <= last_tick; ++tick) {
    for (auto keep : {MemoryNode::Keep::kDone, MemoryNode::Keep::kOperations,
                      MemoryNode::Keep::kSectors, MemoryNode::Keep::kNothing}) {
      for (int repeat = 0; repeat < 5; ++repeat) {
        MemoryNode left(image.node->Cut(tick, keep, random));
        const std::vector<ZoneRecord> records = Recover(*image.thread, left);
        CHECK((records == after || (records == before && tick < last_tick)));
        ++(records.size() == before.size() ? old_size : new_size);
      }
    }
  }
  CHECK(old_size > 0);
  CHECK(new_size > 0);
}

}  // namespace
}  // namespace minivmm
