// Checks of what only a host-aware disk does: writes in any order beside write pointers, and
// service to drivers that know nothing of zones (virtio 1.3, 5.2.5, 5.2.6). Each begins with all
// zones reset.

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

uint64_t Granule() { return TheGeometry().granule_sectors; }
uint32_t GranuleBytes() { return static_cast<uint32_t>(Granule() * kSectorBytes); }

uint8_t WritePattern(Disk& disk, uint64_t sector, uint64_t seed) {
  FillPattern(write_buffer, GranuleBytes(), seed);
  return disk.Write(sector, write_buffer, GranuleBytes());
}

void RequirePattern(Disk& disk, uint64_t sector, uint64_t seed) {
  __builtin_memset(read_buffer, 0, GranuleBytes());
  REQUIRE_EQ(disk.Read(sector, read_buffer, GranuleBytes()), kOk);
  REQUIRE(HasPattern(read_buffer, GranuleBytes(), seed));
}

void RequireZeroes(Disk& disk, uint64_t sector, uint64_t granules) {
  const auto bytes = static_cast<uint32_t>(granules * GranuleBytes());
  REQUIRE_EQ(disk.Read(sector, read_buffer, bytes), kOk);
  for (uint32_t i = 0; i < bytes; i += 8) {
    REQUIRE_EQ(*reinterpret_cast<const uint64_t*>(read_buffer + i), 0);
  }
}

// First of two sequential zones that lie side by side and can be written to their ends.
uint64_t FirstOfTwoNeighbours(Disk& disk) {
  const uint64_t size = TheGeometry().zone_sectors;
  for (uint64_t n = 0;; ++n) {
    const uint64_t start = SequentialZone(n);
    if (SequentialZone(n + 1) != start + size) continue;
    if (ReportZone(disk, start).capacity != size) SkipCheck("zones have less capacity than size");
    return start;
  }
}

void ModelIsHostAware(Disk& disk) {
  REQUIRE_EQ(disk.pci().Config<uint8_t>(kBlkZonedModel), kModelHostAware);
  for (uint32_t i = 0; i < 3; ++i) REQUIRE_EQ(disk.pci().Config<uint8_t>(kBlkUnused2 + i), 0);
}

void ServesDriversWithoutZoned(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  disk.Start(kDriverFeatures & ~kFeatureZoned);
  for (uint32_t offset = kBlkZoneSectors; offset < kBlkConfigBytes; offset += 4) {
    REQUIRE_EQ(disk.pci().Config<uint32_t>(offset), 0);
  }
  REQUIRE_EQ(WritePattern(disk, start + 9 * Granule(), 1), kOk);
  REQUIRE_EQ(WritePattern(disk, start + 2 * Granule(), 2), kOk);
  RequirePattern(disk, start + 9 * Granule(), 1);
  RequirePattern(disk, start + 2 * Granule(), 2);
  // Its writes have moved the pointer all the same.
  disk.Start();
  REQUIRE_EQ(WrittenSectors(disk, start), 10 * Granule());
}

void ZoneTypesAreUnsupportedWithoutZoned(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  disk.Start(kDriverFeatures & ~kFeatureZoned);
  for (const uint32_t type :
       {kZoneReport, kZoneOpen, kZoneClose, kZoneFinish, kZoneReset, kZoneResetAll}) {
    REQUIRE_EQ(disk.Command(type, start), kUnsupported);
  }
  for (const uint32_t tail_bytes : {9u, 16u}) {
    REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes(), tail_bytes).status, kUnsupported);
  }
}

void ReportsPreferredZones(Disk& disk) {
  for (uint64_t n = 0; n < 4; ++n) {
    const ZoneDescriptor zone = ReportZone(disk, SequentialZone(n));
    REQUIRE_EQ(zone.type, kZoneSequentialPreferred);
    REQUIRE_EQ(zone.state, kStateEmpty);
    REQUIRE_EQ(zone.write_pointer, zone.start);
  }
}

void WritesSucceedInAnyOrder(Disk& disk) {
  // The first is written again by the last.
  constexpr uint8_t kOrder[] = {3, 12, 0, 14, 7, 1, 13, 3};
  constexpr uint64_t kWrites = sizeof(kOrder);
  const uint64_t start = SequentialZone(0);
  for (uint64_t i = 0; i < kWrites; ++i) {
    REQUIRE_EQ(WritePattern(disk, start + kOrder[i] * Granule(), 500 + i), kOk);
    REQUIRE_EQ(StateOf(disk, start), kStateImplicitlyOpen);
  }
  for (uint64_t i = 1; i < kWrites; ++i) {
    RequirePattern(disk, start + kOrder[i] * Granule(), 500 + i);
  }
}

void PointerFollowsTheHighestWrite(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(WritePattern(disk, start + 5 * Granule(), 1), kOk);
  REQUIRE_EQ(WrittenSectors(disk, start), 6 * Granule());
  REQUIRE_EQ(WritePattern(disk, start + 2 * Granule(), 2), kOk);
  REQUIRE_EQ(WrittenSectors(disk, start), 6 * Granule());
  REQUIRE_EQ(WritePattern(disk, start + 6 * Granule(), 3), kOk);
  REQUIRE_EQ(WrittenSectors(disk, start), 7 * Granule());
}

void SkippedBlocksReadAsZeroes(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  for (uint64_t i = 0; i < 8; ++i) REQUIRE_EQ(WritePattern(disk, start + i * Granule(), i), kOk);
  REQUIRE_EQ(disk.Command(kZoneReset, start), kOk);
  RequireZeroes(disk, start, 8);
  REQUIRE_EQ(WritePattern(disk, start, 20), kOk);
  REQUIRE_EQ(WritePattern(disk, start + 6 * Granule(), 21), kOk);
  RequirePattern(disk, start, 20);
  RequireZeroes(disk, start + Granule(), 5);
  RequirePattern(disk, start + 6 * Granule(), 21);
  RequireZeroes(disk, start + 7 * Granule(), 1);
}

void FullZonesTakeWrites(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(WritePattern(disk, start, 1), kOk);
  REQUIRE_EQ(disk.Command(kZoneFinish, start), kOk);
  REQUIRE_EQ(WritePattern(disk, start + 4 * Granule(), 2), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
  RequirePattern(disk, start, 1);
  RequireZeroes(disk, start + Granule(), 3);
  RequirePattern(disk, start + 4 * Granule(), 2);
  const uint64_t last = ReportZone(disk, start).capacity - Granule();
  REQUIRE_EQ(disk.Command(kZoneReset, start), kOk);
  REQUIRE_EQ(WritePattern(disk, start + last, 3), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
}

void ClosedZonesOpenForWrites(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(WritePattern(disk, start + 3 * Granule(), 1), kOk);
  REQUIRE_EQ(disk.Command(kZoneClose, start), kOk);
  REQUIRE_EQ(WritePattern(disk, start + Granule(), 2), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateImplicitlyOpen);
  REQUIRE_EQ(WrittenSectors(disk, start), 4 * Granule());
}

void RequestsMayCrossZones(Disk& disk) {
  const uint64_t start = FirstOfTwoNeighbours(disk);
  if (TheGeometry().max_open == 1 || TheGeometry().max_active == 1) SkipCheck("one zone at a time");
  const uint64_t next = start + TheGeometry().zone_sectors;
  FillPattern(write_buffer, GranuleBytes(), 1);
  FillPattern(write_buffer + GranuleBytes(), GranuleBytes(), 2);
  REQUIRE_EQ(disk.Write(next - Granule(), write_buffer, 2 * GranuleBytes()), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
  REQUIRE_EQ(WrittenSectors(disk, next), Granule());
  REQUIRE_EQ(disk.Read(next - Granule(), read_buffer, 2 * GranuleBytes()), kOk);
  REQUIRE(HasPattern(read_buffer, GranuleBytes(), 1));
  REQUIRE(HasPattern(read_buffer + GranuleBytes(), GranuleBytes(), 2));
  RequireZeroes(disk, next - 3 * Granule(), 2);
}

void AppendsAreInvalid(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes(), 16).status, kZoneInvalidCommand);
  REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes(), 9).status, kZoneInvalidCommand);
  REQUIRE_EQ(WrittenSectors(disk, start), Granule());
}

constexpr unsigned kNeeds = kNeedsHostAware | kNeedsWritable;

const Check kChecks[] = {
    {"Z-04", "a driver without ZONED sees no zones, and reads and writes", kNeeds,
     ServesDriversWithoutZoned},
    {"Z-05", "the model is host-aware, and unused bytes are 0", kNeedsHostAware, ModelIsHostAware},
    {"Z-14", "zone requests without ZONED are unsupported", kNeeds,
     ZoneTypesAreUnsupportedWithoutZoned},
    {"Z-16", "appends to sequential-preferred zones are invalid", kNeeds, AppendsAreInvalid},
    {"Z-57", "sequential zones are reported as preferred", kNeeds, ReportsPreferredZones},
    {"Z-57", "writes in any order succeed and read back", kNeeds, WritesSucceedInAnyOrder},
    {"Z-57", "the write pointer follows the highest write", kNeeds, PointerFollowsTheHighestWrite},
    {"Z-57", "what writes jump over reads as zeroes, never as old data", kNeeds,
     SkippedBlocksReadAsZeroes},
    {"Z-57", "full zones take writes and stay full", kNeeds, FullZonesTakeWrites},
    {"Z-57", "closed zones open for writes below their pointer", kNeeds, ClosedZonesOpenForWrites},
    {"Z-57", "reads and writes may cross zones", kNeeds, RequestsMayCrossZones},
};

}  // namespace

const CheckTable kHostAwareChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
