// From the options of `minivmm-img create` to the geometry of a disk. Pure; any thread.
#ifndef MINIVMM_TOOLS_IMG_GEOMETRY_OPTIONS_H_
#define MINIVMM_TOOLS_IMG_GEOMETRY_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "blockcore/base/result.h"
#include "blockcore/zoned/zoned_format.h"
#include "tools/img/arguments.h"

namespace minivmm {

struct GeometryRequest {
  std::string options;  // key=value,key=value; may be empty
  std::optional<std::string> preset = {};
  std::optional<uint64_t> capacity_bytes = {};  // none: the preset's
  // Rounds the capacity up to whole blocks instead of refusing others.
  bool round_capacity = false;
  bool any_zone_size = false;  // not only powers of two
};

// A geometry that passes CheckGeometry. The message of an error names the option at fault.
Result<ZonedGeometry> BuildGeometry(const GeometryRequest& request);

// "host-managed, 30 TiB, 122880 zones of 256 MiB, 1229 conventional".
std::string DescribeGeometry(const ZonedGeometry& geometry);

// The largest append of a disk for which nobody chose one.
uint64_t DefaultMaxAppend(uint64_t zone_capacity_bytes, uint32_t write_granularity_bytes);

// A key of -o or a name for --preset, with what the manual says of it.
struct GeometryWord {
  std::string_view term;
  std::string_view summary;
};

std::span<const GeometryWord> GeometryKeys();
std::span<const GeometryWord> GeometryPresets();

// The options of the commands that take a geometry.
constexpr OptionSpec kGeometryListOption{
    "options", 'o', "LIST", "key=value,… with the keys below; sizes take k, M, G or T"};
constexpr OptionSpec kPresetOption{
    "preset", 0, "smr-26t|zns",
    "the zones of a known kind of drive; SIZE and -o change what it says"};
constexpr OptionSpec kAnyZoneSizeOption{
    "allow-any-zone-size", 0, "", "zone sizes that are no power of two, which Linux guests refuse"};

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_GEOMETRY_OPTIONS_H_
