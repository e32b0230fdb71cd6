// alloc, info, length, map, sleep.
#include <time.h>

#include <algorithm>
#include <charconv>

#include "blockcore/base/units.h"
#include "tools/io/commands.h"
#include "tools/io/text.h"
#include "tools/io/zone_words.h"

namespace minivmm {
namespace {

std::string Size(uint64_t bytes) { return FormatBytes(static_cast<double>(bytes)); }

// A run of bytes that have been written, or not since their zone was reset. Of a disk without
// zones nothing is known: it is taken as written.
struct Extent {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  bool written = true;
};

void AddExtent(std::vector<Extent>& extents, Extent extent) {
  if (extent.length_bytes == 0) return;
  if (!extents.empty() && extents.back().written == extent.written) {
    extents.back().length_bytes += extent.length_bytes;
  } else {
    extents.push_back(extent);
  }
}

uint64_t WrittenBytes(const ZoneDescriptor& zone) {
  switch (zone.condition) {
    case ZoneCondition::kEmpty:
    case ZoneCondition::kImplicitlyOpen:
    case ZoneCondition::kExplicitlyOpen:
    case ZoneCondition::kClosed:
      return std::min(zone.write_pointer_bytes - zone.start_bytes, zone.length_bytes);
    default:
      return zone.length_bytes;
  }
}

Result<std::vector<Extent>> ListExtents(IoSession& session, uint64_t begin, uint64_t end) {
  std::vector<Extent> extents;
  const BlockLimits& limits = session.limits();
  if (limits.zoned == ZonedModel::kNone) {
    AddExtent(extents, {begin, end - begin, true});
    return extents;
  }
  const uint64_t first = begin / limits.zone_size_bytes;
  const uint64_t last = (end + limits.zone_size_bytes - 1) / limits.zone_size_bytes;
  TRY(const std::vector<ZoneDescriptor> zones, session.ReportZones(begin, last - first));
  for (const ZoneDescriptor& zone : zones) {
    const uint64_t from = std::max(begin, zone.start_bytes);
    const uint64_t to = std::min(end, zone.start_bytes + zone.length_bytes);
    const uint64_t written_end = std::clamp(zone.start_bytes + WrittenBytes(zone), from, to);
    AddExtent(extents, {from, written_end - from, true});
    AddExtent(extents, {written_end, to - written_end, false});
  }
  return extents;
}

}  // namespace

bool RunAlloc(IoSession& session, const CommandArguments& arguments) {
  const Result<uint64_t> offset = ParseBytes(arguments.words[0]);
  if (!offset) return session.Fails("{}", offset.error().message);
  const Result<uint64_t> length =
      arguments.words.size() > 1 ? ParseBytes(arguments.words[1]) : Result<uint64_t>(kSectorBytes);
  if (!length) return session.Fails("{}", length.error().message);
  const uint64_t capacity = session.limits().capacity_bytes;
  const uint64_t begin = std::min(*offset, capacity);
  const uint64_t end = begin + std::min(*length, capacity - begin);
  uint64_t written = 0;
  if (begin < end) {
    const auto extents = ListExtents(session, begin, end);
    if (!extents) return session.Fails("alloc failed: {}", extents.error().message);
    for (const Extent& extent : *extents) written += extent.written ? extent.length_bytes : 0;
  }
  session.Print("{}/{} bytes allocated at offset {}\n", written, end - begin, Size(*offset));
  return true;
}

bool RunMap(IoSession& session, const CommandArguments&) {
  const auto extents = ListExtents(session, 0, session.limits().capacity_bytes);
  if (!extents) return session.Fails("map failed: {}", extents.error().message);
  std::string text;
  for (const Extent& extent : *extents) {
    text +=
        fmt::format("{} (0x{:x}) bytes {} allocated at offset {} (0x{:x})\n",
                    Size(extent.length_bytes), extent.length_bytes, extent.written ? "   " : "not",
                    Size(extent.offset_bytes), extent.offset_bytes);
  }
  session.PrintText(text);
  return true;
}

bool RunLength(IoSession& session, const CommandArguments&) {
  session.Print("{}\n", Size(session.limits().capacity_bytes));
  return true;
}

bool RunInfo(IoSession& session, const CommandArguments&) {
  const BlockLimits& limits = session.limits();
  session.Print(
      "format name: {}\n"
      "cluster size: 0 bytes\n"
      "vm state offset: 0 bytes\n"
      "block size: {} logical, {} physical\n",
      session.settings().driver, limits.logical_block_bytes, limits.physical_block_bytes);
  if (limits.read_only) session.PrintText("read-only: yes\n");
  if (limits.zoned == ZonedModel::kNone) return true;
  auto limit = [](uint64_t count) { return count == 0 ? "no limit" : std::to_string(count); };
  session.Print(
      "zoned: {}\n"
      "zones: {} of {}\n"
      "max open zones: {}\n"
      "max active zones: {}\n"
      "max append: {}\n"
      "write granularity: {}\n",
      limits.zoned == ZonedModel::kHostManaged ? "host-managed" : "host-aware", limits.zone_count,
      Size(limits.zone_size_bytes), limit(limits.max_open_zones), limit(limits.max_active_zones),
      Size(limits.max_append_bytes), Size(limits.write_granularity_bytes));
  return true;
}

bool RunSleep(IoSession& session, const CommandArguments& arguments) {
  const std::string& text = arguments.words[0];
  uint64_t milliseconds = 0;
  const char* text_end = text.data() + text.size();
  auto [end, error] = std::from_chars(text.data(), text_end, milliseconds);
  constexpr uint64_t kLongest = uint64_t{1} << 40;
  if (error != std::errc{} || end != text_end || milliseconds > kLongest) {
    return session.Fails("{} is not a valid number", text);
  }
  timespec left{static_cast<time_t>(milliseconds / 1000),
                static_cast<long>(milliseconds % 1000 * 1'000'000)};
  while (::nanosleep(&left, &left) != 0) {
  }
  return true;
}

}  // namespace minivmm
