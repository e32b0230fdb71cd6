// Checks of what a zoned disk says of itself: features, configuration, zone reports
// (virtio 1.3, 5.2.5, 5.2.6).

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

void RefusesDriversWithoutZoned(Disk& disk) {
  const uint64_t good = disk.offered() & kDriverFeatures;
  REQUIRE(!disk.pci().Negotiate(good & ~kFeatureZoned));
  REQUIRE(disk.pci().Negotiate(good));
}

void ZonedOnlyOnAModernDevice(Disk& disk) {
  REQUIRE(disk.pci().function().Read8(kPciRevision) >= 1);
  REQUIRE(disk.Offers(kFeatureVersion1));
}

void ModelIsHostManaged(Disk& disk) {
  REQUIRE_EQ(disk.pci().Config<uint8_t>(kBlkZonedModel), kModelHostManaged);
  for (uint32_t i = 0; i < 3; ++i) REQUIRE_EQ(disk.pci().Config<uint8_t>(kBlkUnused2 + i), 0);
}

void UnusedZoneConfigIsZero(Disk& disk) {
  for (uint32_t i = 0; i < 3; ++i) REQUIRE_EQ(disk.pci().Config<uint8_t>(kBlkUnused2 + i), 0);
}

void ReportFieldsAreSound(Disk& disk) {
  static ZoneReport filled;
  __builtin_memset(&filled, 0xa5, sizeof(filled));
  const Segment segment = Writable(&filled, sizeof(filled));
  REQUIRE_EQ(disk.Run(kZoneReport, 0, &segment, 1), kOk);
  REQUIRE(filled.zone_count > 0);
  REQUIRE(filled.zone_count <= TheGeometry().zone_count);
  for (const uint8_t byte : filled.reserved) REQUIRE_EQ(byte, 0);
  for (uint64_t i = 0; i < filled.zone_count; ++i) {
    const ZoneDescriptor& zone = filled.zones[i];
    REQUIRE_EQ(zone.start, i * TheGeometry().zone_sectors);
    REQUIRE(zone.capacity > 0);
    REQUIRE(zone.capacity <= TheGeometry().zone_sectors);
    for (const uint8_t byte : zone.reserved) REQUIRE_EQ(byte, 0);
    // The last zone alone may be smaller than others of its kind.
    if (i > 0 && i + 1 < TheGeometry().zone_count && zone.type == filled.zones[i - 1].type) {
      REQUIRE_EQ(zone.capacity, filled.zones[i - 1].capacity);
    }
  }
}

void ZoneConfigIsReadOnly(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  uint32_t before[6];
  for (uint32_t i = 0; i < 6; ++i) before[i] = pci.Config<uint32_t>(kBlkZoneSectors + 4 * i);
  for (uint32_t i = 0; i < 6; ++i) {
    MmioWrite<uint32_t>(pci.region(kDeviceConfig).address + kBlkZoneSectors + 4 * i, ~before[i]);
  }
  for (uint32_t i = 0; i < 6; ++i) {
    REQUIRE_EQ(pci.Config<uint32_t>(kBlkZoneSectors + 4 * i), before[i]);
  }
}

void LimitsAreSound(Disk& disk) {
  const Geometry& geometry = TheGeometry();
  REQUIRE(geometry.max_append_sectors > 0);
  REQUIRE(geometry.max_append_sectors >= geometry.granule_sectors);
  REQUIRE(geometry.max_append_sectors <= 0x7f'ffff);
  REQUIRE_EQ(geometry.granule_sectors & (geometry.granule_sectors - 1), 0);
  if (geometry.max_open != 0 && geometry.max_active != 0) {
    REQUIRE(geometry.max_open <= geometry.max_active);
  }
  if (disk.Has(kFeatureSegMax) && disk.Has(kFeatureSizeMax)) {
    REQUIRE(geometry.max_append_sectors * kSectorBytes <=
            uint64_t{disk.pci().Config<uint32_t>(kBlkSegMax)} *
                disk.pci().Config<uint32_t>(kBlkSizeMax));
  }
}

void NoDiscardOnHostManaged(Disk& disk) {
  REQUIRE(!disk.Offers(kFeatureDiscard));
  REQUIRE(!disk.Offers(kFeatureWriteZeroes));
  REQUIRE(!disk.Offers(kFeatureSecureErase));
}

// Every zone of the disk, or of its first 4096 zones and its last ones.
void EveryZoneIsSound(Disk& disk) {
  const Geometry& geometry = TheGeometry();
  uint64_t zone = 0;
  while (zone < geometry.zone_count) {
    if (zone == 4096 && geometry.zone_count > 8192) zone = geometry.zone_count - 100;
    const ZoneReport& report = ReportZones(disk, zone * geometry.zone_sectors, 64);
    REQUIRE(report.zone_count > 0);
    for (uint64_t i = 0; i < report.zone_count; ++i, ++zone) {
      const ZoneDescriptor& descriptor = report.zones[i];
      const uint64_t start = zone * geometry.zone_sectors;
      const uint64_t left = disk.capacity_sectors() - start;
      const uint64_t size = left < geometry.zone_sectors ? left : geometry.zone_sectors;
      REQUIRE_EQ(descriptor.start, start);
      REQUIRE(descriptor.capacity > 0);
      REQUIRE(descriptor.capacity <= size);
      for (const uint8_t byte : descriptor.reserved) REQUIRE_EQ(byte, 0);
      if (descriptor.type == kZoneConventional) {
        REQUIRE_EQ(descriptor.state, kStateNotWp);
        REQUIRE_EQ(descriptor.capacity, size);
      } else {
        REQUIRE_EQ(descriptor.type,
                   disk.IsHostAware() ? kZoneSequentialPreferred : kZoneSequentialRequired);
        REQUIRE(descriptor.state == kStateEmpty || descriptor.state == kStateReadOnly ||
                descriptor.state == kStateOffline);
        if (descriptor.state == kStateEmpty) REQUIRE_EQ(descriptor.write_pointer, start);
      }
    }
  }
  REQUIRE_EQ(zone, geometry.zone_count);
}

void ReportStartsAtTheZoneThatHolds(Disk& disk) {
  const uint64_t start = SequentialZone(1);
  REQUIRE_EQ(ReportZone(disk, start + 17).start, start);
  REQUIRE_EQ(ReportZone(disk, start + TheGeometry().zone_sectors - 1).start, start);
}

// The raw buffer of a report of `bytes`, poisoned before.
uint64_t ReportInto(Disk& disk, uint64_t sector, uint32_t bytes) {
  __builtin_memset(read_buffer, 0xa5, bytes + 16);
  const Segment segment = Writable(read_buffer, bytes);
  REQUIRE_EQ(disk.Run(kZoneReport, sector, &segment, 1), kOk);
  return *reinterpret_cast<const uint64_t*>(read_buffer);
}

void CountIsOfDescriptorsPlaced(Disk& disk) {
  REQUIRE_EQ(ReportInto(disk, 0, 64 + 3 * 64), 3);
  REQUIRE_EQ(ReportInto(disk, 0, 64 + 3 * 64 + 63), 3);
  REQUIRE_EQ(ReportInto(disk, 0, 64 + 64), 1);
  REQUIRE_EQ(ReportInto(disk, 0, 127), 0);
  REQUIRE_EQ(ReportInto(disk, 0, 64), 0);
  for (uint32_t i = 8; i < 64; ++i) REQUIRE_EQ(read_buffer[i], 0);
}

void BufferWithoutRoomForTheHeaderFails(Disk& disk) {
  const Segment segment = Writable(read_buffer, 63);
  REQUIRE_EQ(disk.Run(kZoneReport, 0, &segment, 1), kZoneInvalidCommand);
  REQUIRE_EQ(disk.Command(kZoneReport, 0), kZoneInvalidCommand);
}

void ReportStopsAtTheLastZone(Disk& disk) {
  const Geometry& geometry = TheGeometry();
  if (geometry.zone_count < 2) SkipCheck("the disk has one zone");
  const uint64_t sector = (geometry.zone_count - 2) * geometry.zone_sectors;
  constexpr uint32_t kBytes = 64 + 10 * 64;
  REQUIRE_EQ(ReportInto(disk, sector, kBytes), 2);
  // What used.len claims beyond the two descriptors must have been filled.
  if (disk.used_bytes() > 64 + 2 * 64 + 1) {
    for (uint32_t i = 64 + 2 * 64; i < kBytes; ++i) REQUIRE(read_buffer[i] != 0xa5);
  }
}

void ReportBeyondCapacityIsInvalid(Disk& disk) {
  for (const uint64_t sector : {disk.capacity_sectors(), uint64_t{1} << 55, ~uint64_t{0}}) {
    const Segment segment = Writable(read_buffer, 128);
    REQUIRE_EQ(disk.Run(kZoneReport, sector, &segment, 1), kZoneInvalidCommand);
  }
}

void ReportMayBeScattered(Disk& disk) {
  constexpr uint32_t kBytes = 64 + 4 * 64;
  static uint8_t whole[kBytes];
  const uint64_t count = ReportInto(disk, 0, kBytes);
  REQUIRE(count > 0);
  __builtin_memcpy(whole, read_buffer, kBytes);
  __builtin_memset(read_buffer, 0, kBytes);
  Segment segments[kMaxSegments];
  uint16_t pieces = 0;
  for (uint32_t at = 0; at < kBytes; at += 7) {
    segments[pieces++] = Writable(read_buffer + at, kBytes - at < 7 ? kBytes - at : 7);
  }
  REQUIRE_EQ(disk.Run(kZoneReport, 0, segments, pieces), kOk);
  const auto length = static_cast<uint32_t>(64 + count * 64);
  REQUIRE(__builtin_memcmp(whole, read_buffer, length) == 0);
}

// The header takes 64 bytes, and each zone as many. What is behind the buffer stays as it was.
void ReportBuffersOfAnySize(Disk& disk) {
  constexpr uint8_t kPoison = 0xa5;
  for (const uint32_t bytes : {0u, 1u, 63u, 64u, 65u, 127u, 128u, 129u, 191u, 192u, 1000u, 4095u,
                               4096u, 65'535u, 65'536u}) {
    __builtin_memset(read_buffer, kPoison, bytes + 16);
    const Segment segment = Writable(read_buffer, bytes);
    const uint8_t status = disk.Run(kZoneReport, 0, &segment, 1);
    REQUIRE_EQ(status, bytes < 64 ? kZoneInvalidCommand : kOk);
    for (uint32_t i = 0; i < 16; ++i) REQUIRE_EQ(read_buffer[bytes + i], kPoison);
    if (status != kOk) continue;
    const uint64_t room = (bytes - 64) / sizeof(ZoneDescriptor);
    const uint64_t zones = TheGeometry().zone_count;
    REQUIRE_EQ(*reinterpret_cast<const uint64_t*>(read_buffer), room < zones ? room : zones);
  }
}

void ReportInSingleBytes(Disk& disk) {
  constexpr uint16_t kBytes = 64 + 64;
  if (disk.queue(0).size() < kBytes + 2) SkipCheck("the ring is too short");
  REQUIRE_EQ(ReportInto(disk, 0, kBytes), 1);
  static uint8_t whole[kBytes];
  __builtin_memcpy(whole, read_buffer, kBytes);
  __builtin_memset(read_buffer, 0, kBytes);
  Segment segments[kBytes];
  for (uint16_t i = 0; i < kBytes; ++i) segments[i] = Writable(read_buffer + i, 1);
  REQUIRE_EQ(disk.Run(kZoneReport, 0, segments, kBytes), kOk);
  REQUIRE(__builtin_memcmp(whole, read_buffer, kBytes) == 0);
}

void ReportUsedLengthIsHonest(Disk& disk) {
  REQUIRE_EQ(ReportInto(disk, 0, 64 + 2 * 64), 2);
  REQUIRE_EQ(disk.used_bytes(), 64 + 2 * 64 + 1);
}

void ZonesSurviveReset(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  disk.Start();
  REQUIRE_EQ(WrittenSectors(disk, start), TheGeometry().granule_sectors);
  REQUIRE_EQ(WriteGranule(disk, start, TheGeometry().granule_sectors), kOk);
}

void UnknownZoneTypesAreUnsupported(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  const Segment data =
      Readable(write_buffer, static_cast<uint32_t>(TheGeometry().granule_sectors * kSectorBytes));
  REQUIRE_EQ(disk.Run(kSecureErase, start, &data, 1), kUnsupported);
  for (const uint32_t type : {17u, 19u, 21u, 23u, 25u, 27u, 0x8000'0012u}) {
    REQUIRE_EQ(disk.Command(type, start), kUnsupported);
  }
  REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
}

const Check kChecks[] = {
    {"Z-02", "a zoned disk is a modern device", kNeedsZonesAsFound, ZonedOnlyOnAModernDevice},
    {"Z-03", "FEATURES_OK is refused without ZONED, and given with it after", kNeedsHostManaged,
     RefusesDriversWithoutZoned},
    {"Z-05", "the model is host-managed, and unused bytes are 0", kNeedsHostManaged,
     ModelIsHostManaged},
    {"Z-06", "every zone has its place, a sound capacity and state", kNeedsZoned, EveryZoneIsSound},
    {"Z-09", "limits are sound", kNeedsZoned, LimitsAreSound},
    {"Z-11", "unused bytes behind the model are 0", kNeedsZonesAsFound, UnusedZoneConfigIsZero},
    {"Z-12", "zone configuration is read-only", kNeedsZoned, ZoneConfigIsReadOnly},
    {"Z-13", "DISCARD, WRITE_ZEROES and SECURE_ERASE are not offered", kNeedsHostManaged,
     NoDiscardOnHostManaged},
    {"Z-44", "a report starts at the zone that holds the sector", kNeedsZoned,
     ReportStartsAtTheZoneThatHolds},
    {"Z-45", "nr_zones counts the descriptors placed, down to none", kNeedsZoned,
     CountIsOfDescriptorsPlaced},
    {"Z-45", "a buffer without room for the report header fails", kNeedsZoned,
     BufferWithoutRoomForTheHeaderFails},
    {"Z-46", "a report stops at the last zone", kNeedsZoned, ReportStopsAtTheLastZone},
    {"Z-46", "a report from beyond the capacity is invalid", kNeedsZoned,
     ReportBeyondCapacityIsInvalid},
    {"Z-46", "the used length of a report is exact", kNeedsZoned, ReportUsedLengthIsHonest},
    {"Z-47", "every field of a report is sound", kNeedsZonesAsFound, ReportFieldsAreSound},
    {"Z-48", "a report may be scattered over pieces of 7 bytes", kNeedsZoned, ReportMayBeScattered},
    {"H-20", "reports into buffers of any size", kNeedsZonesAsFound, ReportBuffersOfAnySize},
    {"H-20", "a report in pieces of one byte", kNeedsZonesAsFound, ReportInSingleBytes},
    {"Z-55", "zones survive a reset of the device", kNeedsZoned | kNeedsWritable,
     ZonesSurviveReset},
    {"H-17", "odd and unknown zone types are unsupported", kNeedsZoned | kNeedsWritable,
     UnknownZoneTypesAreUnsupported},
};

}  // namespace

const CheckTable kZoneFormatChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
