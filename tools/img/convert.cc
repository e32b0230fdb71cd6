#include <sys/stat.h>

#include "blockcore/base/units.h"
#include "blockcore/names.h"
#include "tools/img/commands.h"
#include "tools/img/copy.h"
#include "tools/img/disk.h"
#include "tools/img/geometry_options.h"
#include "tools/img/source.h"
#include "tools/img/text.h"

namespace minivmm {
namespace {

Result<std::unique_ptr<DiskSource>> OpenSource(const Arguments& arguments,
                                               const std::string& path) {
  std::string_view format;
  if (arguments.Has("format")) {
    TRY(format, arguments.Choice("format", {"zoned", "raw", "host_device"}));
  } else {
    TRY(const DiskKind kind, LookAt(path));
    format = kind == DiskKind::kZonedImage  ? "zoned"
             : kind == DiskKind::kPlainFile ? "raw"
                                            : "host_device";
  }
  if (format == "zoned") return OpenImageSource(path);
  if (format == "host_device") return OpenDeviceSource(path);
  return OpenPlainSource(path);
}

Result<ZonedGeometry> ChooseGeometry(const Arguments& arguments, const DiskSource& source) {
  if (!source.zones().empty()) {
    if (arguments.Has("options") || arguments.Has("preset")) {
      return Fail("the source is zoned and gives the geometry: leave -o and --preset out");
    }
    return source.geometry();
  }
  TRY(const ZonedGeometry g,
      BuildGeometry({.options = arguments.JoinedValues("options"),
                     .preset = arguments.Value("preset"),
                     .capacity_bytes = source.capacity_bytes(),
                     .round_capacity = true,
                     .any_zone_size = arguments.Has("allow-any-zone-size")}));
  if (g.zone_capacity_bytes != g.zone_size_bytes) {
    return Fail(
        "zone.capacity={} would leave gaps in what is one piece: it must be the zone size here",
        g.zone_capacity_bytes);
  }
  return g;
}

Result<uint64_t> ToImage(const Arguments& arguments, DiskSource& source, const std::string& path,
                         const std::string& what) {
  Result<ZonedGeometry> geometry = ChooseGeometry(arguments, source);
  if (!geometry) return Fail("cannot convert to '{}': {}", path, geometry.error().message);
  return CopyToNewImage(source, *geometry, path, arguments.Has("force"), what);
}

Result<uint64_t> ToPlainFile(const Arguments& arguments, DiskSource& source,
                             const std::string& path, const std::string& what) {
  if (source.zones().empty()) {
    return Fail("neither of the two has zones: copy it with: cp --sparse=always");
  }
  TRY(OutputFile file, OutputFile::Open(path, arguments.Has("force")));
  TRY_VOID(file.Clear(source.capacity_bytes()));
  TRY(const uint64_t moved, CopyToFile(source, file, what));
  TRY_VOID(file.Commit());
  return moved;
}

// Whether the device has the zones that the source wants, and nothing in them unless it may be
// overwritten.
Result<void> CheckDeviceZones(const DiskSource& source, const std::vector<ZoneDescriptor>& zones,
                              const std::string& path, bool overwrite) {
  if (zones.size() != source.zones().size()) {
    return Fail("'{}' has {} zones, and the source {}", path, zones.size(), source.zones().size());
  }
  for (size_t i = 0; i < zones.size(); ++i) {
    const ZoneDescriptor& wanted = source.zones()[i].descriptor;
    const ZoneDescriptor& there = zones[i];
    if (there.type != wanted.type || there.start_bytes != wanted.start_bytes ||
        there.length_bytes != wanted.length_bytes ||
        there.capacity_bytes != wanted.capacity_bytes) {
      return Fail("zone {} of '{}' differs from the source's in type, place, length or capacity", i,
                  path);
    }
    if (there.condition == ZoneCondition::kReadOnly || there.condition == ZoneCondition::kOffline) {
      return Fail("zone {} of '{}' is {}", i, path, NameOf(there.condition));
    }
    if (overwrite || there.condition == ZoneCondition::kEmpty) continue;
    if (there.type == ZoneType::kConventional) {
      return Fail("zone {} of '{}' is conventional and may hold data: give --force to overwrite it",
                  i, path);
    }
    return Fail("zone {} of '{}' is {}: reset its zones, or give --force to do that", i, path,
                NameOf(there.condition));
  }
  return {};
}

// Whether the device can hold zones that are filled as far as the source's.
Result<void> CheckDeviceLimits(const DiskSource& source, const BlockLimits& limits,
                               const std::string& path) {
  uint64_t active = 0;
  for (size_t i = 0; i < source.zones().size(); ++i) {
    const SourceZone& source_zone = source.zones()[i];
    const ZoneDescriptor& zone = source_zone.descriptor;
    if (zone.type == ZoneType::kConventional) continue;
    // Those that nobody can read or write any more become empty or full ones.
    const bool is_partly_full = !source_zone.full && zone.write_pointer_bytes > zone.start_bytes;
    if (is_partly_full) ++active;
    if (!IsAligned(source_zone.data_end_bytes, limits.write_granularity_bytes) ||
        (is_partly_full && !IsAligned(zone.write_pointer_bytes, limits.write_granularity_bytes))) {
      return Fail("zone {} of the source ends in the middle of a block of '{}', which has {} bytes",
                  i, path, limits.write_granularity_bytes);
    }
  }
  if (limits.max_active_zones != 0 && active > limits.max_active_zones) {
    return Fail("the source has {} zones that are neither empty nor full, and '{}' can have {}",
                active, path, limits.max_active_zones);
  }
  return {};
}

Result<uint64_t> ToDevice(const Arguments& arguments, DiskSource& source, const std::string& path,
                          const std::string& what) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISBLK(status.st_mode)) {
    return Fail("'{}' is no block device", path);
  }
  if (source.zones().empty()) {
    return Fail("the source has no zones: convert it to an image first");
  }
  TRY(OpenedDisk disk, OpenBlockDevice(path, Access::kWrite));
  const BlockLimits& limits = disk.node->limits();
  if (limits.zoned == ZonedModel::kNone) return Fail("'{}' is no zoned device", path);
  TRY(const std::vector<ZoneDescriptor> zones, disk.io->ReportZones());
  TRY_VOID(CheckDeviceZones(source, zones, path, arguments.Has("force")));
  TRY_VOID(CheckDeviceLimits(source, limits, path));
  for (const ZoneDescriptor& zone : zones) {
    if (zone.type == ZoneType::kConventional || zone.condition == ZoneCondition::kEmpty) continue;
    TRY_VOID(disk.io->ChangeZone(BlockOp::kZoneReset, zone.start_bytes));
  }
  ZonedGeometry geometry = source.geometry();
  geometry.write_granularity_bytes = limits.write_granularity_bytes;
  geometry.logical_block_bytes = limits.logical_block_bytes;
  return CopyToZones(source, {disk.io.get(), geometry, false}, what);
}

Result<int> Convert(const Arguments& arguments) {
  const std::string& from = arguments.words()[0];
  const std::string& to = arguments.words()[1];
  std::string_view output;
  if (arguments.Has("output-format")) {
    TRY(output, arguments.Choice("output-format", {"zoned", "raw", "host_device"}));
  }
  TRY(std::unique_ptr<DiskSource> source, OpenSource(arguments, from));
  if (output.empty()) output = source->zones().empty() ? "zoned" : "raw";
  if (output != "zoned" && (arguments.Has("options") || arguments.Has("preset"))) {
    return Fail("-o and --preset are for zoned images: leave them out, or give -O zoned");
  }
  const std::string what = fmt::format("converting '{}'", from);
  auto* copy = output == "zoned" ? ToImage : output == "raw" ? ToPlainFile : ToDevice;
  TRY(const uint64_t moved, copy(arguments, *source, to, what));
  fmt::print("converted '{}' to '{}' ({}): {} of data\n", from, to, output, FormatSize(moved));
  return 0;
}

constexpr std::string_view kWords[] = {"SOURCE", "TARGET"};
constexpr OptionSpec kOptions[] = {
    {"format", 'f', "zoned|raw|host_device", "what SOURCE is (found out)"},
    {"output-format", 'O', "zoned|raw|host_device",
     "what TARGET becomes (raw for a zoned source, zoned for others)"},
    kGeometryListOption,
    kPresetOption,
    kAnyZoneSizeOption,
    {"force", 0, "", "overwrite a file that is there, or zones of a device"},
};

}  // namespace

constexpr Command kConvertCommand{
    .name = "convert",
    .summary = "copy between images, zoned devices and ordinary disks",
    .details =
        "Copies a disk into a new one: zoned is an image, raw an ordinary file.\n"
        "\n"
        "A zoned source keeps its geometry and write pointers. An ordinary one is written from the "
        "start\n"
        "of each zone on; -o and --preset say what zones. An ordinary target has the data of each "
        "zone at\n"
        "the same offset. A zoned device as target must have the zones of the source.\n",
    .words = kWords,
    .needed_words = 2,
    .options = kOptions,
    .makes_zones = true,
    .run = Convert,
};

}  // namespace minivmm
