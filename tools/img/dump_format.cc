#include "tools/img/dump_format.h"

#include <algorithm>
#include <cstring>

#include "blockcore/base/little_endian.h"
#include "blockcore/base/units.h"
#include "tools/img/geometry_options.h"

namespace minivmm {
namespace {

constexpr size_t kHeaderBytes = 192;
constexpr size_t kZoneBytes = 64;
constexpr uint32_t kUnknownLimit = UINT32_MAX;

bool IsOneOf(uint32_t value, std::initializer_list<uint32_t> values) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

Result<SourceZone> DecodeZone(std::span<const std::byte> bytes, uint32_t number,
                              const ZonedGeometry& g) {
  SourceZone zone;
  ZoneDescriptor& d = zone.descriptor;
  d.start_bytes = LoadLe<uint64_t>(bytes, 0);
  d.length_bytes = LoadLe<uint64_t>(bytes, 8);
  d.capacity_bytes = LoadLe<uint64_t>(bytes, 16);
  d.write_pointer_bytes = LoadLe<uint64_t>(bytes, 24);
  const uint32_t type = LoadLe<uint32_t>(bytes, 36);
  const uint32_t condition = LoadLe<uint32_t>(bytes, 40);
  if (!IsOneOf(type, {1, 2, 3}) || !IsOneOf(condition, {0, 1, 2, 3, 4, 13, 14, 15}) ||
      d.start_bytes != number * g.zone_size_bytes || d.length_bytes != g.ZoneLength(number) ||
      d.capacity_bytes == 0 || d.capacity_bytes > d.length_bytes) {
    return Fail("its zone {} cannot be (type {}, condition {}, {} bytes from {} on)", number, type,
                condition, d.length_bytes, d.start_bytes);
  }
  d.type = static_cast<ZoneType>(type);
  d.condition = static_cast<ZoneCondition>(condition);
  const uint64_t end = d.start_bytes + d.capacity_bytes;
  switch (d.condition) {
    case ZoneCondition::kEmpty:
    case ZoneCondition::kOffline:
      d.write_pointer_bytes = d.start_bytes;
      break;
    case ZoneCondition::kFull:
      d.write_pointer_bytes = end;
      break;
    case ZoneCondition::kReadOnly:
      d.write_pointer_bytes = std::clamp(d.write_pointer_bytes, d.start_bytes, end);
      break;
    default:
      break;
  }
  if (d.type == ZoneType::kConventional) d.write_pointer_bytes = end;
  if (d.write_pointer_bytes < d.start_bytes || d.write_pointer_bytes > end) {
    return Fail("the write pointer of its zone {} lies outside the zone", number);
  }
  zone.full = d.type != ZoneType::kConventional && d.write_pointer_bytes == end;
  zone.data_end_bytes = d.write_pointer_bytes;
  if (d.type == ZoneType::kConventional && d.condition == ZoneCondition::kOffline) {
    zone.data_end_bytes = d.start_bytes;
  }
  return zone;
}

void LeaveOut(SourceZone& zone) {
  ZoneDescriptor& d = zone.descriptor;
  zone.data_end_bytes = d.start_bytes;
  if (d.type == ZoneType::kConventional) return;
  zone.full = false;
  d.write_pointer_bytes = d.start_bytes;
  d.condition = ZoneCondition::kEmpty;
}

uint32_t KnownLimit(uint32_t limit) { return limit == kUnknownLimit ? 0 : limit; }

}  // namespace

std::string DumpInfoPath(const std::string& prefix) { return prefix + "_zone_info.dump"; }
std::string DumpDataPath(const std::string& prefix) { return prefix + "_zone_data.dump"; }

std::vector<std::byte> EncodeDumpInfo(const ZonedGeometry& g,
                                      const std::vector<SourceZone>& zones) {
  constexpr std::string_view kVendor = "minivmm zoned";
  std::vector<std::byte> file(kHeaderBytes + zones.size() * kZoneBytes);
  std::memcpy(file.data(), kVendor.data(), kVendor.size());
  const std::span<std::byte> header(file);
  StoreLe<uint64_t>(header, 32, g.capacity_bytes / kSectorBytes);
  StoreLe<uint64_t>(header, 40, g.capacity_bytes / g.logical_block_bytes);
  StoreLe<uint64_t>(header, 48, g.capacity_bytes / g.physical_block_bytes);
  StoreLe<uint64_t>(header, 56, g.zone_size_bytes);
  StoreLe<uint64_t>(header, 64, g.zone_size_bytes / kSectorBytes);
  StoreLe<uint64_t>(header, 72, g.logical_block_bytes);
  StoreLe<uint64_t>(header, 80, g.physical_block_bytes);
  StoreLe<uint32_t>(header, 88, static_cast<uint32_t>(zones.size()));
  StoreLe<uint32_t>(header, 92, g.max_open_zones);
  StoreLe<uint32_t>(header, 96, g.max_active_zones);
  StoreLe<uint32_t>(header, 100, static_cast<uint32_t>(g.model));
  StoreLe<uint32_t>(header, 128, 0);
  StoreLe<uint32_t>(header, 132, static_cast<uint32_t>(zones.size()));
  for (size_t i = 0; i < zones.size(); ++i) {
    const ZoneDescriptor& d = zones[i].descriptor;
    const std::span<std::byte> zone =
        std::span(file).subspan(kHeaderBytes + i * kZoneBytes, kZoneBytes);
    StoreLe<uint64_t>(zone, 0, d.start_bytes);
    StoreLe<uint64_t>(zone, 8, d.length_bytes);
    StoreLe<uint64_t>(zone, 16, d.capacity_bytes);
    StoreLe<uint64_t>(zone, 24, d.write_pointer_bytes);
    StoreLe<uint32_t>(zone, 36, static_cast<uint32_t>(d.type));
    StoreLe<uint32_t>(zone, 40, static_cast<uint32_t>(d.condition));
  }
  return file;
}

Result<DumpInfo> DecodeDumpInfo(std::span<const std::byte> bytes) {
  if (bytes.size() < kHeaderBytes) return Fail("it is too short for a header");
  DumpInfo info;
  ZonedGeometry& g = info.geometry;
  const uint64_t sectors = LoadLe<uint64_t>(bytes, 32);
  const uint64_t logical = LoadLe<uint64_t>(bytes, 72);
  const uint64_t physical = LoadLe<uint64_t>(bytes, 80);
  const uint32_t zones = LoadLe<uint32_t>(bytes, 88);
  const uint32_t model = LoadLe<uint32_t>(bytes, 100);
  g.zone_size_bytes = LoadLe<uint64_t>(bytes, 56);
  if (!IsOneOf(model, {1, 2}) || zones == 0 || g.zone_size_bytes == 0 ||
      sectors > (uint64_t{1} << 54) || logical == 0 || logical > 4096 || physical == 0 ||
      physical > 4096) {
    return Fail("its header does not describe a zoned disk");
  }
  if (bytes.size() != kHeaderBytes + uint64_t{zones} * kZoneBytes) {
    return Fail("it is {} bytes long, but {} zones need {}", bytes.size(), zones,
                kHeaderBytes + uint64_t{zones} * kZoneBytes);
  }
  g.capacity_bytes = sectors * kSectorBytes;
  if ((g.capacity_bytes + g.zone_size_bytes - 1) / g.zone_size_bytes != zones) {
    return Fail("its header has {} zones, which its sizes contradict", zones);
  }
  g.model = static_cast<ZonedModel>(model);
  g.logical_block_bytes = static_cast<uint32_t>(logical);
  g.physical_block_bytes = static_cast<uint32_t>(physical);
  g.max_open_zones = KnownLimit(LoadLe<uint32_t>(bytes, 92));
  g.max_active_zones = KnownLimit(LoadLe<uint32_t>(bytes, 96));
  g.write_granularity_bytes =
      g.model == ZonedModel::kHostManaged ? g.physical_block_bytes : g.logical_block_bytes;

  const uint32_t first = LoadLe<uint32_t>(bytes, 128);
  const uint32_t end = LoadLe<uint32_t>(bytes, 132);
  info.zones.reserve(zones);
  for (uint32_t i = 0; i < zones; ++i) {
    TRY(SourceZone zone,
        DecodeZone(bytes.subspan(kHeaderBytes + size_t{i} * kZoneBytes, kZoneBytes), i, g));
    if (i < first || i >= end) LeaveOut(zone);
    info.zones.push_back(zone);
  }
  TRY(g, GeometryOf(info.zones, g));
  // A drive with 512-byte blocks emulated takes writes of those.
  for (const SourceZone& zone : info.zones) {
    if (!IsAligned(zone.descriptor.write_pointer_bytes, g.write_granularity_bytes)) {
      g.write_granularity_bytes = g.logical_block_bytes;
    }
  }
  TRY_VOID(CheckGeometry(g));
  const uint64_t unit =
      g.model == ZonedModel::kHostManaged ? g.write_granularity_bytes : kSectorBytes;
  for (uint32_t i = 0; i < zones; ++i) {
    const ZoneDescriptor& zone = info.zones[i].descriptor;
    if (zone.type != ZoneType::kConventional && !IsAligned(zone.write_pointer_bytes, unit)) {
      return Fail("zone {} has its write pointer at byte {}, which is no multiple of {}", i,
                  zone.write_pointer_bytes, unit);
    }
  }
  return info;
}

}  // namespace minivmm
