#include "tools/img/geometry_options.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/names.h"
#include "blockcore/options.h"
#include "tools/img/text.h"

namespace minivmm {
namespace {

struct Preset {
  std::string_view name;
  uint64_t capacity_bytes;
  std::array<std::pair<std::string_view, std::string_view>, 7> options;
};

constexpr Preset kPresets[] = {
    // 26 * 10^12 bytes in whole zones.
    {"smr-26t",
     96858 * 256_MiB,
     {{{"zone.mode", "host-managed"},
       {"zone.size", "256M"},
       {"zone.conventional_zones", "1%"},
       {"zone.max_open_zones", "128"},
       {"zone.max_active_zones", "0"},
       {"logical_block_size", "512"},
       {"physical_block_size", "4096"}}}},
    {"zns",
     904 * 2_GiB,
     {{{"zone.mode", "host-managed"},
       {"zone.size", "2G"},
       {"zone.capacity", "1077M"},
       {"zone.max_open_zones", "14"},
       {"zone.max_active_zones", "14"},
       {"logical_block_size", "4096"},
       {"physical_block_size", "4096"}}}},
};

constexpr GeometryWord kKeyWords[] = {
    {"zone.size=SIZE", "bytes of a zone (256M)"},
    {"zone.mode=host-managed|host-aware", "(host-managed)"},
    {"zone.capacity=SIZE", "usable bytes of a sequential zone (zone.size)"},
    {"zone.conventional_zones=N", "the first N are conventional, or a share such as 1% (0)"},
    {"zone.max_open_zones=N", "0: no limit (0)"},
    {"zone.max_active_zones=N", "0: no limit (0)"},
    {"zone.max_append_bytes=SIZE", "the largest zone append; 0: no appends (1M)"},
    {"zone.write_granularity=512|4096", "(the physical block; with host-aware the logical one)"},
    {"logical_block_size=512|4096", "(512)"},
    {"physical_block_size=512|4096", "(logical_block_size)"},
};

constexpr GeometryWord kPresetWords[] = {
    {"smr-26t",
     "host-managed SMR drive of 26 TB: 256 MiB zones, 1% conventional, 128 open, blocks of 512 and "
     "4096 bytes"},
    {"zns",
     "ZNS drive of 1 TB: 904 zones of 2 GiB with 1077 MiB, 14 open and active, blocks of 4096 "
     "bytes"},
};

Result<const Preset*> FindPreset(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Preset& preset : kPresets) {
    if (preset.name == name) return &preset;
    names.push_back(preset.name);
  }
  return Fail("unknown preset '{}'{}", name, SuggestionFor(name, names));
}

// A number of zones, or a share of all of them, rounded up.
Result<uint32_t> TakeConventionalZones(Options& options, uint64_t zone_count) {
  constexpr std::string_view kKey = "zone.conventional_zones";
  std::optional<std::string> text = options.TakeString(kKey);
  if (!text) return 0;
  const char* end = text->data() + text->size();
  if (text->ends_with('%')) {
    double share = 0;
    auto [stop, error] = std::from_chars(text->data(), end - 1, share, std::chars_format::fixed);
    if (error == std::errc{} && stop == end - 1 && share >= 0 && share <= 100) {
      // In whole millionths: 1.1 is none of double's numbers, and more than 1.1 is a zone too many.
      const double millionths = std::round(share * 1e6);
      return static_cast<uint32_t>(std::ceil(millionths * static_cast<double>(zone_count) / 1e8));
    }
  } else {
    uint32_t number = 0;
    auto [stop, error] = std::from_chars(text->data(), end, number);
    if (error == std::errc{} && stop == end) return number;
  }
  return Fail("{}='{}' is neither a number of zones nor a share such as 1%", kKey, *text);
}

Result<void> CheckPowerOfTwo(uint64_t zone_size_bytes) {
  if (IsPowerOfTwo(zone_size_bytes)) return {};
  const uint64_t below = std::bit_floor(zone_size_bytes);
  const bool above_fits = below <= UINT64_MAX / 2;
  return Fail(
      "zone.size={} bytes is no power of two, and Linux guests refuse such disks: choose {}{}, or "
      "give --allow-any-zone-size",
      zone_size_bytes, FormatSize(below),
      above_fits ? fmt::format(" or {}", FormatSize(2 * below)) : "");
}

}  // namespace

std::span<const GeometryWord> GeometryKeys() { return kKeyWords; }

std::span<const GeometryWord> GeometryPresets() { return kPresetWords; }

uint64_t DefaultMaxAppend(uint64_t zone_capacity_bytes, uint32_t write_granularity_bytes) {
  return AlignDown(std::min<uint64_t>(1_MiB, zone_capacity_bytes), write_granularity_bytes);
}

Result<ZonedGeometry> BuildGeometry(const GeometryRequest& request) {
  Options options;
  if (!request.options.empty()) {
    TRY(options, Options::Parse(request.options, ""));
  }
  std::optional<uint64_t> capacity = request.capacity_bytes;
  if (request.preset) {
    TRY(const Preset* preset, FindPreset(*request.preset));
    for (auto [key, value] : preset->options) options.AddDefault(key, value);
    if (!capacity) capacity = preset->capacity_bytes;
  }
  if (!capacity) return Fail("SIZE is missing: say how large the disk is, such as 10G");

  ZonedGeometry g;
  TRY(std::optional<std::string> mode,
      options.TakeWord("zone.mode", {"host-managed", "host-aware"}));
  g.model = mode == "host-aware" ? ZonedModel::kHostAware : ZonedModel::kHostManaged;
  TRY(std::optional<uint64_t> zone_size, options.TakeSize("zone.size"));
  g.zone_size_bytes = zone_size.value_or(256_MiB);
  TRY(std::optional<uint64_t> zone_capacity, options.TakeSize("zone.capacity"));
  g.zone_capacity_bytes = zone_capacity.value_or(g.zone_size_bytes);
  TRY(std::optional<uint64_t> max_open,
      options.TakeNumber("zone.max_open_zones", 0, UINT32_MAX - 1));
  g.max_open_zones = static_cast<uint32_t>(max_open.value_or(0));
  TRY(std::optional<uint64_t> max_active,
      options.TakeNumber("zone.max_active_zones", 0, UINT32_MAX - 1));
  g.max_active_zones = static_cast<uint32_t>(max_active.value_or(0));
  TRY(std::optional<std::string> logical,
      options.TakeWord("logical_block_size", {"512", "4096", "4k", "4K"}));
  g.logical_block_bytes = !logical || logical == "512" ? 512 : 4096;
  TRY(std::optional<std::string> physical,
      options.TakeWord("physical_block_size", {"512", "4096", "4k", "4K"}));
  g.physical_block_bytes = !physical ? g.logical_block_bytes : (physical == "512" ? 512 : 4096);
  TRY(std::optional<std::string> granularity,
      options.TakeWord("zone.write_granularity", {"512", "4096", "4k", "4K"}));
  if (granularity) {
    g.write_granularity_bytes = granularity == "512" ? 512 : 4096;
  } else if (g.model == ZonedModel::kHostAware) {
    g.write_granularity_bytes = g.logical_block_bytes;
  } else {
    g.write_granularity_bytes = g.physical_block_bytes;
  }
  TRY(std::optional<uint64_t> max_append, options.TakeSize("zone.max_append_bytes"));
  g.max_append_bytes =
      max_append.value_or(DefaultMaxAppend(g.zone_capacity_bytes, g.write_granularity_bytes));

  const uint64_t unit = std::max(g.physical_block_bytes, g.write_granularity_bytes);
  g.capacity_bytes = *capacity;
  if (request.round_capacity && g.capacity_bytes <= UINT64_MAX - unit) {
    g.capacity_bytes = AlignUp(g.capacity_bytes, unit);
  }
  const uint64_t zones =
      g.zone_size_bytes == 0 ? 0 : (g.capacity_bytes + g.zone_size_bytes - 1) / g.zone_size_bytes;
  TRY(g.conventional_zones, TakeConventionalZones(options, zones));
  TRY_VOID(options.CheckAllTaken("zoned images"));
  if (g.zone_size_bytes != 0 && !request.any_zone_size) {
    TRY_VOID(CheckPowerOfTwo(g.zone_size_bytes));
  }
  TRY_VOID(CheckGeometry(g));
  return g;
}

std::string DescribeGeometry(const ZonedGeometry& g) {
  std::string text =
      fmt::format("{}, {}, {} zones of {}", NameOf(g.model), FormatSize(g.capacity_bytes),
                  g.zone_count(), FormatSize(g.zone_size_bytes));
  if (g.zone_capacity_bytes != g.zone_size_bytes) {
    text += fmt::format(" with {} each", FormatSize(g.zone_capacity_bytes));
  }
  if (g.conventional_zones != 0) text += fmt::format(", {} conventional", g.conventional_zones);
  if (g.max_open_zones != 0) text += fmt::format(", at most {} open", g.max_open_zones);
  if (g.max_active_zones != 0) text += fmt::format(", {} active", g.max_active_zones);
  return text;
}

}  // namespace minivmm
