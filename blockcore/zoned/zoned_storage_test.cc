// Images at rest, in real files: zoned_create and zoned_load.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/units.h"
#include "blockcore/file.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/memory_node.h"
#include "blockcore/zoned/zoned_create.h"
#include "blockcore/zoned/zoned_load.h"

namespace minivmm {
namespace {

ZonedGeometry SampleGeometry() {
  ZonedGeometry g;
  g.zone_size_bytes = 1_MiB;
  g.zone_capacity_bytes = 768_KiB;
  g.capacity_bytes = 1000 * 1_MiB;
  g.conventional_zones = 4;
  return g;
}

std::string MessageOf(const Result<void>& result) { return result ? "" : result.error().message; }

std::unique_ptr<IoThread> StartThread() {
  auto thread = IoThread::Start("storage-test");
  REQUIRE(thread.has_value());
  return std::move(*thread);
}

std::unique_ptr<BlockNode> OpenTestFile(const std::string& path, bool read_only = false) {
  auto file = OpenFile({.filename = path, .read_only = read_only, .discard = !read_only});
  REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message));
  return std::move(*file);
}

TEST_CASE("A new image is sound, empty, and takes space for its table alone") {
  TemporaryDirectory directory;
  const std::string path = directory.File("disk.zbd");
  REQUIRE(MessageOf(CreateZonedImage(path, SampleGeometry())) == "");
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK(status.st_size == 1_MiB);
  CHECK(status.st_blocks * 512 < 128 * 1024);

  auto thread = StartThread();
  auto file = OpenTestFile(path);
  SyncIo io(*thread, *file);
  auto check = CheckZonedImage(io, false);
  REQUIRE(check.has_value());
  CHECK(check->findings.empty());
  REQUIRE(check->header.has_value());
  CHECK(check->header->geometry == SampleGeometry());
  CHECK(check->header->id != ImageId{});
  auto contents = LoadZonedContents(io);
  REQUIRE(contents.has_value());
  CHECK(contents->table.record(3).condition == ZoneCondition::kNotWritePointer);
  CHECK(contents->table.record(999).condition == ZoneCondition::kEmpty);
  CHECK_FALSE(contents->table.dirty());
}

TEST_CASE("Two images have two ids") {
  TemporaryDirectory directory;
  ImageId ids[2];
  auto thread = StartThread();
  for (int i = 0; i < 2; ++i) {
    const std::string path = directory.File(std::to_string(i));
    REQUIRE(CreateZonedImage(path, SampleGeometry()).has_value());
    auto file = OpenTestFile(path);
    SyncIo io(*thread, *file);
    ids[i] = LoadZonedContents(io)->header.id;
  }
  CHECK(ids[0] != ids[1]);
}

TEST_CASE("An existing file is kept unless told otherwise") {
  TemporaryDirectory directory;
  const std::string path = directory.File("precious");
  std::ofstream(path) << std::string(3_MiB, 'x');
  CHECK(MessageOf(CreateZonedImage(path, SampleGeometry())) ==
        "cannot create zoned image '" + path +
            "': the file exists already; remove it, or choose another name");
  CHECK(std::filesystem::file_size(path) == 3_MiB);
  CHECK(MessageOf(CreateZonedImage(path, SampleGeometry(), /*overwrite=*/true)) == "");
  CHECK(std::filesystem::file_size(path) == 1_MiB);
  auto thread = StartThread();
  auto file = OpenTestFile(path);
  SyncIo io(*thread, *file);
  CHECK(LoadZonedContents(io).has_value());
  // In use now.
  CHECK(MessageOf(CreateZonedImage(path, SampleGeometry(), true)).find("in use as a disk") !=
        std::string::npos);
}

TEST_CASE("What cannot be created leaves nothing behind") {
  TemporaryDirectory directory;
  ZonedGeometry impossible = SampleGeometry();
  impossible.zone_capacity_bytes = 2_MiB;
  const std::string path = directory.File("disk.zbd");
  CHECK(MessageOf(CreateZonedImage(path, impossible)).find("zone.capacity=") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(MessageOf(CreateZonedImage(directory.File("no/such/file"), SampleGeometry()))
            .find("No such file or directory") != std::string::npos);
  CHECK(MessageOf(CreateZonedImage("/dev/null", SampleGeometry(), true)).find("regular file") !=
        std::string::npos);
}

TEST_CASE("The header comes last") {
  ZonedHeader header;
  header.geometry = SampleGeometry();
  std::vector<uint64_t> offsets;
  REQUIRE(FormatZonedImage(header, [&](uint64_t offset, std::span<const std::byte>) {
            offsets.push_back(offset);
            return Result<void>{};
          }).has_value());
  CHECK(offsets == std::vector<uint64_t>{8192, 0});
  CHECK(
      MessageOf(FormatZonedImage(header, [](uint64_t, std::span<const std::byte>) -> Result<void> {
        return Fail("full");
      })) == "full");
}

// In memory, to damage it.
struct DamagedImage {
  DamagedImage() : thread(StartThread()), disk(Content()) {}

  static std::vector<std::byte> Content() {
    ZonedHeader header;
    header.id = {9};
    header.geometry = SampleGeometry();
    std::vector<std::byte> content(header.data_offset_bytes());
    REQUIRE(FormatZonedImage(header, [&](uint64_t offset, std::span<const std::byte> data) {
              std::copy(data.begin(), data.end(), content.begin() + offset);
              return Result<void>{};
            }).has_value());
    return content;
  }
  void Damage(size_t at) { disk.content()[at] ^= std::byte{0x40}; }
  ZonedCheck Check(bool repair) {
    SyncIo io(*thread, disk);
    auto check = CheckZonedImage(io, repair);
    REQUIRE(check.has_value());
    return *check;
  }

  std::unique_ptr<IoThread> thread;
  MemoryNode disk;
};

TEST_CASE("Check names each damaged copy, and repairs them when told") {
  DamagedImage image;
  image.Damage(50);               // header, copy 0
  image.Damage(8192 + 4096 + 7);  // page 0, place 1
  image.Damage(8192 + 8192 + 7);  // page 1, place 0
  const auto before = image.disk.Content();
  ZonedCheck check = image.Check(false);
  CHECK(image.disk.Content() == before);
  CHECK_FALSE(check.repaired);
  REQUIRE(check.findings.size() == 3);
  CHECK(check.findings[0].text ==
        "copy 0 of the header is damaged: the header's checksum is wrong");
  CHECK(check.findings[1].text ==
        "place 1 of page 0 of the zone table is damaged: a commit was cut off");
  CHECK(check.findings[2].text ==
        "place 0 of page 1 of the zone table is damaged: a commit was cut off");
  for (const auto& finding : check.findings) CHECK(finding.repairable);
  CHECK(image.Check(true).repaired);
  CHECK(image.Check(false).findings.empty());
}

TEST_CASE("Check lists what cannot be repaired and touches nothing") {
  DamagedImage image;
  image.Damage(50);
  for (int page : {1, 3}) {
    image.Damage(8192 + page * 8192 + 100);
    image.Damage(8192 + page * 8192 + 4096 + 100);
  }
  const auto before = image.disk.Content();
  ZonedCheck check = image.Check(true);
  CHECK_FALSE(check.repaired);
  REQUIRE(check.findings.size() == 3);
  CHECK(check.findings[0].repairable);
  CHECK_FALSE(check.findings[1].repairable);
  CHECK(check.findings[1].text == "page 1 of the zone table is damaged");
  CHECK(check.findings[2].text == "page 3 of the zone table is damaged");
  CHECK(image.disk.Content() == before);
}

TEST_CASE("Two good headers that differ: the first counts") {
  DamagedImage image;
  ZonedHeader other;
  other.id = {9};
  other.geometry = SampleGeometry();
  other.geometry.max_open_zones = 7;
  const ZonedPage page = EncodeHeader(other);
  std::copy(page.begin(), page.end(), image.disk.content().begin());
  ZonedCheck check = image.Check(true);
  REQUIRE(check.findings.size() == 1);
  CHECK(check.findings[0].text == "the two copies of the header differ: the first counts");
  CHECK(check.repaired);
  check = image.Check(false);
  CHECK(check.findings.empty());
  CHECK(check.header->geometry.max_open_zones == 7);
}

TEST_CASE("A header of another version is respected, also beside a good one") {
  DamagedImage image;
  std::span<std::byte> copy = image.disk.content().subspan(4096, 4096);
  copy[8] = std::byte{3};
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < copy.size(); ++i) {
    crc ^= i >= 12 && i < 16 ? 0 : static_cast<uint32_t>(copy[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
  }
  crc = ~crc;
  std::memcpy(copy.data() + 12, &crc, sizeof(crc));
  ZonedCheck check = image.Check(true);
  CHECK_FALSE(check.repaired);
  REQUIRE(check.findings.size() == 1);
  CHECK(check.findings[0].text.find("version 3") != std::string::npos);
  CHECK_FALSE(check.findings[0].repairable);
}

TEST_CASE("What is no image is told from a damaged one") {
  DamagedImage image;
  image.Damage(0);
  image.Damage(4096);
  CHECK(image.Check(false).findings[0].text == "it does not begin with the magic of a zoned image");
  image.Damage(4096);
  image.Damage(4096 + 20);
  CHECK(image.Check(false).findings[0].text == "the header's checksum is wrong");
}

// Zone 7 is offline now; the medium does not know yet.
ZonedContents LoadAndChange(SyncIo& io) {
  auto contents = LoadZonedContents(io);
  REQUIRE(contents.has_value());
  contents->table.SetFault(7, ZoneFault::kOffline);
  return std::move(*contents);
}

TEST_CASE("A changed table is committed and read again") {
  TemporaryDirectory directory;
  const std::string path = directory.File("disk.zbd");
  REQUIRE(CreateZonedImage(path, SampleGeometry()).has_value());
  auto thread = StartThread();
  {
    auto file = OpenTestFile(path);
    SyncIo io(*thread, *file);
    ZonedContents contents = LoadAndChange(io);
    REQUIRE(CommitZonedTable(io, contents.table).has_value());
  }
  auto file = OpenTestFile(path, /*read_only=*/true);
  SyncIo io(*thread, *file);
  auto contents = LoadZonedContents(io);
  REQUIRE(contents.has_value());
  CHECK(contents->table.Describe(7).condition == ZoneCondition::kOffline);
}

TEST_CASE("A commit that is done outlasts a power cut") {
  DamagedImage image;
  SyncIo io(*image.thread, image.disk);
  ZonedContents contents = LoadAndChange(io);
  image.disk.StartRecording();
  REQUIRE(CommitZonedTable(io, contents.table).has_value());
  std::minstd_rand random(1);
  MemoryNode left(image.disk.Cut(image.disk.Tick(), MemoryNode::Keep::kNothing, random));
  SyncIo io_of_left(*image.thread, left);
  auto after = LoadZonedContents(io_of_left);
  REQUIRE(after.has_value());
  CHECK(after->table.Describe(7).condition == ZoneCondition::kOffline);
}

TEST_CASE("A failed commit is reported") {
  DamagedImage image;
  SyncIo io(*image.thread, image.disk);
  ZonedContents contents = LoadAndChange(io);
  image.disk.set_fault([](const BlockRequest& request) {
    return request.op == BlockOp::kFlush ? BlockStatus::kIoError : BlockStatus::kOk;
  });
  Result<void> committed = CommitZonedTable(io, contents.table);
  CHECK(MessageOf(committed).find("I/O error") != std::string::npos);
  CHECK(contents.table.dirty());
  image.disk.set_fault([](const BlockRequest&) { return BlockStatus::kIoError; });
  CHECK_FALSE(CheckZonedImage(io, false).has_value());
}

}  // namespace
}  // namespace minivmm
