#include "guest-tests/bare-metal/zones.h"

#include "guest-tests/bare-metal/require.h"

namespace minivmm {
namespace {

constexpr uint64_t kMaxFillSectors = 64 * 1024 * 2;  // 64 MiB

Geometry geometry;
uint64_t free_area;
alignas(4096) ZoneReport report;

uint64_t WordOf(uint64_t seed, uint64_t index) {
  return (seed + 1) * 0x9e37'79b9'7f4a'7c15u + index * 0x0001'0003'0007'000fu;
}

constexpr uint64_t kMaxListed = 160;
constexpr uint64_t kNoZone = ~uint64_t{0};

// Starts of the first zones that checks may use, as of the last ReadGeometry().
uint64_t sequential_zones[kMaxListed];
uint64_t sequential_count;
uint64_t conventional_zone;

void ListZones(Disk& disk) {
  sequential_count = 0;
  conventional_zone = kNoZone;
  uint64_t zone = 0;
  while (zone < geometry.zone_count && sequential_count < kMaxListed) {
    const ZoneReport& zones = ReportZones(disk, zone * geometry.zone_sectors, 64);
    REQUIRE(zones.zone_count > 0);
    for (uint64_t i = 0; i < zones.zone_count; ++i) {
      const ZoneDescriptor& descriptor = zones.zones[i];
      if (descriptor.type == kZoneConventional && conventional_zone == kNoZone) {
        conventional_zone = descriptor.start;
      }
      if (descriptor.type == kZoneConventional || descriptor.state == kStateReadOnly ||
          descriptor.state == kStateOffline || sequential_count == kMaxListed) {
        continue;
      }
      sequential_zones[sequential_count++] = descriptor.start;
    }
    zone += zones.zone_count;
  }
}

}  // namespace

alignas(4096) uint8_t write_buffer[kBufferBytes + 4096];
alignas(4096) uint8_t read_buffer[kBufferBytes + 4096];

void ReadGeometry(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  geometry.zone_sectors = pci.Config<uint32_t>(kBlkZoneSectors);
  geometry.granule_sectors = pci.Config<uint32_t>(kBlkWriteGranularity) / kSectorBytes;
  geometry.max_open = pci.Config<uint32_t>(kBlkMaxOpenZones);
  geometry.max_active = pci.Config<uint32_t>(kBlkMaxActiveZones);
  geometry.max_append_sectors = pci.Config<uint32_t>(kBlkMaxAppendSectors);
  REQUIRE(geometry.zone_sectors > 0);
  REQUIRE(geometry.granule_sectors > 0);
  geometry.zone_count =
      (disk.capacity_sectors() + geometry.zone_sectors - 1) / geometry.zone_sectors;
  ListZones(disk);
}

const Geometry& TheGeometry() { return geometry; }

void FindFreeWriteArea(Disk& disk) {
  free_area = 0;
  if (!disk.IsZoned()) return;
  if (disk.IsHostAware() && !disk.Offers(kFeatureReadOnly)) {
    // So that the limits of open and active zones leave room for this one.
    REQUIRE_EQ(disk.Command(kZoneResetAll, 0), kOk);
  }
  ReadGeometry(disk);
  free_area = disk.IsHostAware() ? SequentialZone(0) : ConventionalZone();
}

uint64_t FreeSector(uint64_t n) { return free_area + n; }

void RequireWorksAfterReset(Disk& disk) {
  disk.Start();
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

void FillPattern(void* data, uint32_t bytes, uint64_t seed) {
  auto* words = static_cast<uint64_t*>(data);
  for (uint32_t i = 0; i < bytes / 8; ++i) words[i] = WordOf(seed, i);
}

bool HasPattern(const void* data, uint32_t bytes, uint64_t seed) {
  const auto* words = static_cast<const uint64_t*>(data);
  for (uint32_t i = 0; i < bytes / 8; ++i) {
    if (words[i] != WordOf(seed, i)) return false;
  }
  return true;
}

ZoneReport& ReportZones(Disk& disk, uint64_t sector, uint32_t room) {
  __builtin_memset(&report, 0, 64);
  const Segment segment =
      Writable(&report, static_cast<uint32_t>(64 + room * sizeof(ZoneDescriptor)));
  REQUIRE_EQ(disk.Run(kZoneReport, sector, &segment, 1), kOk);
  REQUIRE(report.zone_count <= room);
  return report;
}

ZoneDescriptor ReportZone(Disk& disk, uint64_t sector) {
  const ZoneReport& zones = ReportZones(disk, sector, 1);
  REQUIRE_EQ(zones.zone_count, 1);
  return zones.zones[0];
}

uint8_t StateOf(Disk& disk, uint64_t start) { return ReportZone(disk, start).state; }

uint64_t WrittenSectors(Disk& disk, uint64_t start) {
  const ZoneDescriptor zone = ReportZone(disk, start);
  REQUIRE_EQ(zone.start, start);
  return zone.write_pointer - zone.start;
}

uint64_t SequentialZone(uint64_t n) {
  if (n >= sequential_count) SkipCheck("the disk has too few sequential zones");
  return sequential_zones[n];
}

uint64_t ConventionalZone() {
  if (conventional_zone == kNoZone) SkipCheck("the disk has no conventional zone");
  return conventional_zone;
}

uint8_t WriteSectors(Disk& disk, uint64_t sector, uint64_t sectors) {
  REQUIRE(sectors * kSectorBytes <= kBufferBytes);
  return disk.Write(sector, write_buffer, static_cast<uint32_t>(sectors * kSectorBytes));
}

uint8_t WriteGranule(Disk& disk, uint64_t start, uint64_t at) {
  return WriteSectors(disk, start + at, geometry.granule_sectors);
}

void FillZone(Disk& disk, uint64_t start, uint64_t at, uint64_t leave) {
  const uint64_t capacity = ReportZone(disk, start).capacity;
  if (capacity > kMaxFillSectors) SkipCheck("a zone is too large to be filled");
  const uint64_t end = capacity - leave;
  while (at < end) {
    uint64_t sectors = kBufferBytes / kSectorBytes;
    if (sectors > end - at) sectors = end - at;
    REQUIRE_EQ(WriteSectors(disk, start + at, sectors), kOk);
    at += sectors;
  }
}

AppendOutcome Append(Disk& disk, uint64_t zone_start, const void* data, uint32_t bytes,
                     uint32_t tail_bytes) {
  static BlkHeader header;
  static struct {
    uint64_t sector;
    uint8_t rest[8];
  } tail;
  header = {kZoneAppend, 0, zone_start};
  tail.sector = ~uint64_t{0};
  __builtin_memset(tail.rest, kStatusNotWritten, sizeof(tail.rest));
  Segment segments[kMaxSegments];
  uint16_t count = 0;
  segments[count++] = Readable(&header, sizeof(header));
  for (uint32_t left = bytes; left > 0;) {
    REQUIRE(count + 1 < kMaxSegments);
    const uint32_t piece = left < kBufferBytes ? left : kBufferBytes;
    segments[count++] = Readable(data, piece);
    left -= piece;
  }
  segments[count++] = Writable(&tail, tail_bytes);
  disk.RunChain(segments, count);
  return {tail.rest[tail_bytes - 9], tail.sector};
}

}  // namespace minivmm
