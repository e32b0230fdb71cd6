#include <charconv>

#include "blockcore/zoned/zoned_resize.h"
#include "tools/img/commands.h"
#include "tools/img/disk.h"
#include "tools/img/geometry_options.h"

namespace minivmm {
namespace {

struct ZoneRange {
  uint32_t first = 0;
  uint32_t last = 0;
};

Result<ZoneRange> ParseZoneRange(std::string_view text) {
  ZoneRange range;
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, range.first);
  range.last = range.first;
  if (error == std::errc{} && stop != end && *stop == '-') {
    auto second = std::from_chars(stop + 1, end, range.last);
    stop = second.ptr;
    error = second.ec;
  }
  if (error != std::errc{} || stop != end || range.last < range.first) {
    return Fail("'{}' is neither a zone's number nor a range of them such as 4-7", text);
  }
  return range;
}

Result<int> SetZone(const Arguments& arguments) {
  const std::string& path = arguments.words()[0];
  TRY(const ZoneRange range, ParseZoneRange(arguments.words()[1]));
  const std::string& word = arguments.words()[2];
  ZoneFault fault = ZoneFault::kNone;
  if (word == "read-only") {
    fault = ZoneFault::kReadOnly;
  } else if (word == "offline") {
    fault = ZoneFault::kOffline;
  } else if (word != "online") {
    return Fail("a zone can be set read-only, offline or online, not '{}'", word);
  }
  TRY(OpenedDisk disk, OpenImageFile(path, Access::kWrite));
  TRY(ZonedContents image, LoadImage(path, disk));
  if (range.last >= image.table.zone_count()) {
    return Fail("'{}' has no zone {}: the last one is {}", path, range.last,
                image.table.zone_count() - 1);
  }
  auto change = [&]() -> Result<void> {
    TRY_VOID(PrepareZonedForWriting(*disk.io, image));
    for (uint32_t zone = range.first; zone <= range.last; ++zone) image.table.SetFault(zone, fault);
    return CommitZonedTable(*disk.io, image.table);
  };
  if (Result<void> done = change(); !done) {
    return Fail("cannot change '{}': {}", path, done.error().message);
  }
  if (range.first == range.last) {
    fmt::print("'{}': zone {} is {}\n", path, range.first, word);
  } else {
    fmt::print("'{}': zones {} to {} are {}\n", path, range.first, range.last, word);
  }
  return 0;
}

Result<int> Resize(const Arguments& arguments) {
  const std::string& path = arguments.words()[0];
  TRY(const uint64_t capacity_bytes, ParseSizeWord("SIZE", arguments.words()[1]));
  TRY(OpenedDisk disk, OpenImageFile(path, Access::kWrite));
  TRY(ZonedContents image, LoadImage(path, disk));
  Result<ZonedHeader> grown = GrowZonedImage(*disk.io, image, capacity_bytes);
  if (!grown) return Fail("cannot resize '{}': {}", path, grown.error().message);
  fmt::print("resized '{}': {}\n", path, DescribeGeometry(grown->geometry));
  return 0;
}

constexpr std::string_view kSetZoneWords[] = {"FILE", "ZONE", "read-only|offline|online"};
constexpr std::string_view kResizeWords[] = {"FILE", "SIZE"};

}  // namespace

constexpr Command kSetZoneCommand{
    .name = "set-zone",
    .summary = "make zones read-only, offline, or online again",
    .details =
        "Gives zones the condition of a drive's worn or dead parts. online takes that back: data "
        "and\n"
        "condition of before are there again. ZONE is a number, counted from 0, or a range such as "
        "4-7.\n",
    .words = kSetZoneWords,
    .needed_words = 3,
    .run = SetZone,
};

constexpr Command kResizeCommand{
    .name = "resize",
    .summary = "make a disk larger",
    .details =
        "Adds empty sequential zones up to a disk of SIZE bytes. Possible as long as the zone "
        "table does\n"
        "not outgrow its place in FILE; convert has no such limit. A disk never shrinks.\n",
    .words = kResizeWords,
    .needed_words = 2,
    .run = Resize,
};

}  // namespace minivmm
