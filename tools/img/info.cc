#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <map>

#include "blockcore/names.h"
#include "tools/img/commands.h"
#include "tools/img/disk.h"
#include "tools/img/text.h"

namespace minivmm {
namespace {

struct Summary {
  std::map<ZoneCondition, uint32_t> conditions;
  uint64_t written_bytes = 0;  // below write pointers
  uint32_t zones_with_data = 0;
};

Summary Summarize(const ZonedTable& table) {
  Summary summary;
  for (uint32_t zone = 0; zone < table.zone_count(); ++zone) {
    const ZoneRecord& record = table.record(zone);
    ++summary.conditions[record.shown_condition()];
    summary.written_bytes += record.written_bytes;
    if (record.slot != kNoSlot) ++summary.zones_with_data;
  }
  return summary;
}

uint64_t SpaceTaken(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return 0;
  return static_cast<uint64_t>(status.st_blocks) * 512;
}

std::string HexId(const ImageId& id) { return fmt::format("{:02x}", fmt::join(id, "")); }

void PrintJson(const std::string& path, const ZonedContents& image, const Summary& summary) {
  const ZonedGeometry& g = image.header.geometry;
  boost::json::object conditions;
  for (auto [condition, count] : summary.conditions) conditions[NameOf(condition)] = count;
  boost::json::array findings;
  for (const ZonedFinding& finding : image.findings) findings.emplace_back(finding.text);
  boost::json::object zoned{
      {"mode", NameOf(g.model)},
      {"zone-size", g.zone_size_bytes},
      {"zone-capacity", g.zone_capacity_bytes},
      {"zones", g.zone_count()},
      {"conventional-zones", g.conventional_zones},
      {"max-open-zones", g.max_open_zones},
      {"max-active-zones", g.max_active_zones},
      {"max-append-bytes", g.max_append_bytes},
      {"write-granularity", g.write_granularity_bytes},
      {"conditions", conditions},
      {"written-bytes", summary.written_bytes},
      {"zones-with-data", summary.zones_with_data},
  };
  boost::json::object root{
      {"filename", path},
      {"format", "zoned"},
      {"virtual-size", g.capacity_bytes},
      {"actual-size", SpaceTaken(path)},
      {"logical-block-size", g.logical_block_bytes},
      {"physical-block-size", g.physical_block_bytes},
      {"id", HexId(image.header.id)},
      {"zoned", zoned},
      {"findings", findings},
  };
  fmt::print("{}\n", boost::json::serialize(root));
}

std::string Limit(uint32_t limit) { return limit == 0 ? "no limit" : std::to_string(limit); }

void PrintText(const std::string& path, const ZonedContents& image, const Summary& summary) {
  const ZonedGeometry& g = image.header.geometry;
  fmt::print("image:              {}\n", path);
  fmt::print("format:             zoned, version 1\n");
  fmt::print("id:                 {}\n", HexId(image.header.id));
  fmt::print("mode:               {}\n", NameOf(g.model));
  fmt::print("size:               {} ({} bytes)\n", FormatSize(g.capacity_bytes), g.capacity_bytes);
  fmt::print("zones:              {} of {}, {} conventional\n", g.zone_count(),
             FormatSize(g.zone_size_bytes), g.conventional_zones);
  fmt::print("zone capacity:      {}\n", FormatSize(g.zone_capacity_bytes));
  fmt::print("max open zones:     {}\n", Limit(g.max_open_zones));
  fmt::print("max active zones:   {}\n", Limit(g.max_active_zones));
  fmt::print("max append:         {}\n",
             g.max_append_bytes == 0 ? "no appends" : FormatSize(g.max_append_bytes));
  fmt::print("blocks:             {} logical, {} physical\n", g.logical_block_bytes,
             g.physical_block_bytes);
  fmt::print("write granularity:  {}\n", g.write_granularity_bytes);
  std::string conditions;
  for (auto [condition, count] : summary.conditions) {
    if (!conditions.empty()) conditions += ", ";
    conditions += fmt::format("{} {}", count, NameOf(condition));
  }
  fmt::print("conditions:         {}\n", conditions);
  fmt::print("written:            {} below write pointers\n", FormatSize(summary.written_bytes));
  fmt::print("space taken:        {}\n", FormatSize(SpaceTaken(path)));
  for (const ZonedFinding& finding : image.findings) {
    fmt::print("to repair:          {}\n", finding.text);
  }
}

Result<int> Info(const Arguments& arguments) {
  TRY(std::string_view output, arguments.Choice("output", {"text", "json"}));
  const std::string& path = arguments.words()[0];
  TRY(OpenedDisk disk, OpenImageFile(path, Access::kRead));
  TRY(ZonedContents image, LoadImage(path, disk));
  (output == "json" ? PrintJson : PrintText)(path, image, Summarize(image.table));
  return 0;
}

Result<int> Check(const Arguments& arguments) {
  constexpr int kErrorsFound = 2;
  const std::string& path = arguments.words()[0];
  const bool repair = arguments.Has("repair");
  TRY(OpenedDisk disk, OpenImageFile(path, repair ? Access::kWrite : Access::kRead));
  Result<ZonedCheck> check = CheckZonedImage(*disk.io, repair);
  if (!check) return Fail("cannot check '{}': {}", path, check.error().message);
  if (!check->header) {
    std::array<std::byte, 2 * kZonedPageBytes> start{};
    TRY_VOID(disk.io->Read(0, start));
    if (!EitherLooksZoned(start)) {
      return Fail("cannot check '{}': {}", path, check->findings[0].text);
    }
  }
  for (const ZonedFinding& finding : check->findings) {
    fmt::print("{}: {}\n",
               check->repaired      ? "repaired"
               : finding.repairable ? "repairable"
                                    : "error",
               finding.text);
  }
  if (check->findings.empty()) {
    fmt::print("'{}': no errors\n", path);
    return 0;
  }
  if (check->repaired) {
    fmt::print("'{}': {} repaired, no errors left\n", path, check->findings.size());
    return 0;
  }
  const bool repairable = std::all_of(check->findings.begin(), check->findings.end(),
                                      [](const ZonedFinding& f) { return f.repairable; });
  fmt::print("'{}': {} found; {}\n", path, check->findings.size(),
             repairable ? "check -r repairs all of it, and nothing is lost"
                        : "it cannot be repaired, and was not changed");
  return kErrorsFound;
}

constexpr std::string_view kWords[] = {"FILE"};
constexpr OptionSpec kInfoOptions[] = {{"output", 0, "text|json", "the form of the output (text)"}};
constexpr OptionSpec kCheckOptions[] = {{"repair", 'r', "", "repair, if nothing is lost by it"}};

}  // namespace

constexpr Command kInfoCommand{
    .name = "info",
    .summary = "show what a disk is and how much of it is used",
    .details =
        "Shows the geometry of the zoned disk in FILE, its zones by condition, and the space that "
        "it\n"
        "takes. In JSON, sizes are bytes.\n",
    .words = kWords,
    .needed_words = 1,
    .options = kInfoOptions,
    .run = Info,
};

constexpr Command kCheckCommand{
    .name = "check",
    .summary = "look for damage, and repair what a crash left",
    .details =
        "Reads header and zone table, both copies of each, and lists what is wrong. A repair "
        "writes\n"
        "damaged copies anew from good ones, and gives back the space that no zone owns,\n"
        "as far as the host can.\n"
        "\n"
        "Exit status: 0 no errors (left), 1 the check could not be made, 2 errors found.\n",
    .words = kWords,
    .needed_words = 1,
    .options = kCheckOptions,
    .run = Check,
};

}  // namespace minivmm
