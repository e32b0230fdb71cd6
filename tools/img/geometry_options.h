// From the options of `minivmm-img create` to the geometry of a disk. Pure; any thread.
#ifndef MINIVMM_TOOLS_IMG_GEOMETRY_OPTIONS_H_
#define MINIVMM_TOOLS_IMG_GEOMETRY_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "blockcore/base/result.h"
#include "blockcore/zoned/zoned_format.h"

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

// The lines of the commands' help that list options and presets.
#define MINIVMM_IMG_GEOMETRY_HELP                                                            \
  "  -o LIST              key=value,... with these keys; sizes take k, M, G or T\n"          \
  "                         zone.size=SIZE                (256M)\n"                          \
  "                         zone.mode=host-managed|host-aware\n"                             \
  "                         zone.capacity=SIZE            of sequential zones (zone.size)\n" \
  "                         zone.conventional_zones=N     the first N, or a share: 1% (0)\n" \
  "                         zone.max_open_zones=N         0: no limit (0)\n"                 \
  "                         zone.max_active_zones=N       0: no limit (0)\n"                 \
  "                         zone.max_append_bytes=SIZE    0: no appends (1M)\n"              \
  "                         zone.write_granularity=512|4096  (the physical block; with\n"    \
  "                                                       host-aware the logical one)\n"     \
  "                         logical_block_size=512|4096   (512)\n"                           \
  "                         physical_block_size=512|4096  (logical_block_size)\n"            \
  "  --preset NAME        smr-26t  host-managed SMR drive of 26 TB: 256 MiB zones, 1%\n"     \
  "                                conventional, 128 open, blocks of 512 and 4096 bytes\n"   \
  "                       zns      ZNS drive of 1 TB: 904 zones of 2 GiB with 1077 MiB,\n"   \
  "                                14 open and active, blocks of 4096 bytes\n"               \
  "                       SIZE and -o change what a preset says\n"                           \
  "  --allow-any-zone-size  zone sizes that are no power of two: Linux guests refuse them\n"

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_GEOMETRY_OPTIONS_H_
