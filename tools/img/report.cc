#include <boost/json.hpp>
#include <cstdio>
#include <iterator>

#include "blockcore/base/units.h"
#include "blockcore/names.h"
#include "tools/img/commands.h"
#include "tools/img/disk.h"
#include "tools/img/text.h"

namespace minivmm {
namespace {

void Print(const fmt::memory_buffer& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// The columns of util-linux's blkzone, in sectors.
fmt::memory_buffer FormatLikeBlkzone(const ZonedTable& table) {
  fmt::memory_buffer text;
  for (uint32_t i = 0; i < table.zone_count(); ++i) {
    const ZoneDescriptor zone = table.Describe(i);
    const uint64_t pointer =
        zone.type == ZoneType::kConventional ? 0 : zone.write_pointer_bytes - zone.start_bytes;
    fmt::format_to(
        std::back_inserter(text),
        "  start: 0x{:09x}, len 0x{:06x}, cap 0x{:06x}, wptr 0x{:06x} reset:0 non-seq:0, "
        "zcond:{:2}({}) [type: {}({})]\n",
        zone.start_bytes / kSectorBytes, zone.length_bytes / kSectorBytes,
        zone.capacity_bytes / kSectorBytes, pointer / kSectorBytes,
        static_cast<unsigned>(zone.condition), ConditionShort(zone.condition),
        static_cast<unsigned>(zone.type), TypeName(zone.type));
  }
  return text;
}

fmt::memory_buffer FormatCsv(const ZonedTable& table) {
  fmt::memory_buffer text;
  fmt::format_to(std::back_inserter(text),
                 "zone,start,length,capacity,write_pointer,type,condition\n");
  for (uint32_t i = 0; i < table.zone_count(); ++i) {
    const ZoneDescriptor zone = table.Describe(i);
    fmt::format_to(std::back_inserter(text), "{},{},{},{},{},{},{}\n", i, zone.start_bytes,
                   zone.length_bytes, zone.capacity_bytes, zone.write_pointer_bytes,
                   TypeName(zone.type), NameOf(zone.condition));
  }
  return text;
}

fmt::memory_buffer FormatJson(const ZonedTable& table) {
  fmt::memory_buffer text;
  for (uint32_t i = 0; i < table.zone_count(); ++i) {
    const ZoneDescriptor zone = table.Describe(i);
    fmt::format_to(std::back_inserter(text),
                   "{}{{\"zone\":{},\"start\":{},\"length\":{},\"capacity\":{},"
                   "\"write_pointer\":{},\"type\":\"{}\",\"condition\":\"{}\"}}",
                   i == 0 ? "[" : ",\n", i, zone.start_bytes, zone.length_bytes,
                   zone.capacity_bytes, zone.write_pointer_bytes, TypeName(zone.type),
                   NameOf(zone.condition));
  }
  fmt::format_to(std::back_inserter(text), "]\n");
  return text;
}

Result<int> Report(const Arguments& arguments) {
  TRY(std::string_view output, arguments.Choice("output", {"text", "json", "csv"}));
  const std::string& path = arguments.words()[0];
  TRY(OpenedDisk disk, OpenImageFile(path, Access::kRead));
  TRY(ZonedContents image, LoadImage(path, disk));
  auto* format = output == "json" ? FormatJson : output == "csv" ? FormatCsv : FormatLikeBlkzone;
  Print(format(image.table));
  return 0;
}

// What of a zone's slot holds its data.
uint64_t DataBytes(const ZonedContents& image, uint32_t zone) {
  return image.table.IsConventional(zone) ? image.header.geometry.ZoneLength(zone)
                                          : image.table.record(zone).written_bytes;
}

Result<int> Map(const Arguments& arguments) {
  TRY(std::string_view output, arguments.Choice("output", {"text", "json"}));
  const std::string& path = arguments.words()[0];
  TRY(OpenedDisk disk, OpenImageFile(path, Access::kRead));
  TRY(ZonedContents image, LoadImage(path, disk));
  fmt::memory_buffer text;
  boost::json::array entries;
  for (uint32_t zone = 0; zone < image.table.zone_count(); ++zone) {
    const uint32_t slot = image.table.record(zone).slot;
    if (slot == kNoSlot) continue;
    const uint64_t start = zone * image.header.geometry.zone_size_bytes;
    const uint64_t offset = image.header.SlotOffset(slot);
    const uint64_t bytes = DataBytes(image, zone);
    if (output == "json") {
      entries.push_back(boost::json::object{
          {"zone", zone}, {"start", start}, {"length", bytes}, {"slot", slot}, {"offset", offset}});
    } else {
      fmt::format_to(std::back_inserter(text), "{:>8} {:>18} {:>14} {:>8} {:>18}\n", zone, start,
                     bytes, slot, offset);
    }
  }
  if (output == "json") {
    fmt::print("{}\n", boost::json::serialize(entries));
  } else {
    fmt::print("{:>8} {:>18} {:>14} {:>8} {:>18}\n", "zone", "start", "bytes", "slot",
               "offset in file");
    Print(text);
  }
  return 0;
}

constexpr std::string_view kWords[] = {"FILE"};
constexpr OptionSpec kReportOptions[] = {
    {"output", 0, "text|json|csv", "the form of the output (text)"}};
constexpr OptionSpec kMapOptions[] = {{"output", 0, "text|json", "the form of the output (text)"}};

}  // namespace

constexpr Command kReportCommand{
    .name = "report",
    .summary = "list all zones",
    .details =
        "Lists the zones of the disk in FILE. The text has the form of `blkzone report` of "
        "util-linux, in\n"
        "sectors of 512 bytes, so that the two can be compared; JSON and CSV count bytes. Open "
        "zones of a\n"
        "disk that no guest uses are closed.\n",
    .words = kWords,
    .needed_words = 1,
    .options = kReportOptions,
    .run = Report,
};

constexpr Command kMapCommand{
    .name = "map",
    .summary = "show where in the file the zones with data lie",
    .details =
        "For each zone that has a place in FILE: its start on the disk, the bytes of data, the "
        "slot, and\n"
        "the slot's offset in FILE.\n",
    .words = kWords,
    .needed_words = 1,
    .options = kMapOptions,
    .run = Map,
};

}  // namespace minivmm
