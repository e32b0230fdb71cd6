// The numbers of virtio over PCI and of virtio-blk with zones that the checks use
// (virtio 1.3, 2.1, 4.1.4, 5.2, 6), and the shapes that lie in guest memory. All little-endian, as
// this CPU is.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_VIRTIO_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_VIRTIO_H_

#include <cstddef>
#include <cstdint>

namespace minivmm {

constexpr uint16_t kVirtioVendorId = 0x1af4;
constexpr uint16_t kVirtioBlkDeviceId = 0x1042;

// device_status
constexpr uint8_t kStatusAcknowledge = 1;
constexpr uint8_t kStatusDriver = 2;
constexpr uint8_t kStatusDriverOk = 4;
constexpr uint8_t kStatusFeaturesOk = 8;
constexpr uint8_t kStatusNeedsReset = 64;
constexpr uint8_t kStatusFailed = 128;

constexpr uint64_t Feature(unsigned bit) { return uint64_t{1} << bit; }
constexpr uint64_t kFeatureSizeMax = Feature(1);
constexpr uint64_t kFeatureSegMax = Feature(2);
constexpr uint64_t kFeatureReadOnly = Feature(5);
constexpr uint64_t kFeatureBlkSize = Feature(6);
constexpr uint64_t kFeatureFlush = Feature(9);
constexpr uint64_t kFeatureTopology = Feature(10);
constexpr uint64_t kFeatureConfigWce = Feature(11);
constexpr uint64_t kFeatureMq = Feature(12);
constexpr uint64_t kFeatureDiscard = Feature(13);
constexpr uint64_t kFeatureWriteZeroes = Feature(14);
constexpr uint64_t kFeatureSecureErase = Feature(16);
constexpr uint64_t kFeatureZoned = Feature(17);
constexpr uint64_t kFeatureIndirect = Feature(28);
constexpr uint64_t kFeatureEventIdx = Feature(29);
constexpr uint64_t kFeatureVersion1 = Feature(32);
constexpr uint64_t kFeatureAccessPlatform = Feature(33);
constexpr uint64_t kFeatureRingPacked = Feature(34);
constexpr uint64_t kFeatureSrIov = Feature(37);
constexpr uint64_t kFeatureNotificationData = Feature(38);
constexpr uint64_t kFeatureRingReset = Feature(40);
constexpr uint64_t kFeatureAdminVq = Feature(41);
constexpr uint64_t kFeatureSuspend = Feature(43);

// What this driver can drive; RING_PACKED comes with ring=packed.
constexpr uint64_t kDriverFeatures =
    kFeatureSizeMax | kFeatureSegMax | kFeatureReadOnly | kFeatureBlkSize | kFeatureFlush |
    kFeatureTopology | kFeatureConfigWce | kFeatureMq | kFeatureDiscard | kFeatureWriteZeroes |
    kFeatureZoned | kFeatureIndirect | kFeatureEventIdx | kFeatureVersion1;

// Capability types
constexpr uint8_t kCommonConfig = 1;
constexpr uint8_t kNotifyConfig = 2;
constexpr uint8_t kIsrConfig = 3;
constexpr uint8_t kDeviceConfig = 4;
constexpr uint8_t kPciConfigAccess = 5;
constexpr unsigned kCapabilityTypes = 6;

// Common configuration, byte offsets
constexpr uint32_t kDeviceFeatureSelect = 0;
constexpr uint32_t kDeviceFeature = 4;
constexpr uint32_t kDriverFeatureSelect = 8;
constexpr uint32_t kDriverFeature = 12;
constexpr uint32_t kConfigMsixVector = 16;
constexpr uint32_t kNumQueues = 18;
constexpr uint32_t kDeviceStatus = 20;
constexpr uint32_t kConfigGeneration = 21;
constexpr uint32_t kQueueSelect = 22;
constexpr uint32_t kQueueSize = 24;
constexpr uint32_t kQueueMsixVector = 26;
constexpr uint32_t kQueueEnable = 28;
constexpr uint32_t kQueueNotifyOff = 30;
constexpr uint32_t kQueueDesc = 32;
constexpr uint32_t kQueueDriver = 40;
constexpr uint32_t kQueueDevice = 48;
constexpr uint32_t kQueueReset = 58;
constexpr uint16_t kNoVector = 0xffff;

// Block configuration, byte offsets
constexpr uint32_t kBlkCapacity = 0;
constexpr uint32_t kBlkSizeMax = 8;
constexpr uint32_t kBlkSegMax = 12;
constexpr uint32_t kBlkBlkSize = 20;
constexpr uint32_t kBlkWriteback = 32;
constexpr uint32_t kBlkUnused0 = 33;
constexpr uint32_t kBlkNumQueues = 34;
constexpr uint32_t kBlkMaxDiscardSectors = 36;
constexpr uint32_t kBlkMaxDiscardSeg = 40;
constexpr uint32_t kBlkMaxWriteZeroesSectors = 48;
constexpr uint32_t kBlkMaxWriteZeroesSeg = 52;
constexpr uint32_t kBlkWriteZeroesMayUnmap = 56;
constexpr uint32_t kBlkUnused1 = 57;
constexpr uint32_t kBlkZoneSectors = 72;
constexpr uint32_t kBlkMaxOpenZones = 76;
constexpr uint32_t kBlkMaxActiveZones = 80;
constexpr uint32_t kBlkMaxAppendSectors = 84;
constexpr uint32_t kBlkWriteGranularity = 88;
constexpr uint32_t kBlkZonedModel = 92;
constexpr uint32_t kBlkUnused2 = 93;
constexpr uint32_t kBlkConfigBytes = 96;
constexpr uint8_t kModelHostManaged = 1;
constexpr uint8_t kModelHostAware = 2;

constexpr uint32_t kSectorBytes = 512;
// What checks transfer that are not about sizes: a multiple of any block size that a disk may have.
constexpr uint32_t kBlockBytes = 4096;
constexpr uint32_t kBlockSectors = kBlockBytes / kSectorBytes;

// Request types
constexpr uint32_t kIn = 0;
constexpr uint32_t kOut = 1;
constexpr uint32_t kFlush = 4;
constexpr uint32_t kGetId = 8;
constexpr uint32_t kGetLifetime = 10;
constexpr uint32_t kDiscard = 11;
constexpr uint32_t kWriteZeroes = 13;
constexpr uint32_t kSecureErase = 14;
constexpr uint32_t kZoneAppend = 15;
constexpr uint32_t kZoneReport = 16;
constexpr uint32_t kZoneOpen = 18;
constexpr uint32_t kZoneClose = 20;
constexpr uint32_t kZoneFinish = 22;
constexpr uint32_t kZoneReset = 24;
constexpr uint32_t kZoneResetAll = 26;

// Status bytes
constexpr uint8_t kOk = 0;
constexpr uint8_t kIoError = 1;
constexpr uint8_t kUnsupported = 2;
constexpr uint8_t kZoneInvalidCommand = 3;
constexpr uint8_t kZoneUnalignedWp = 4;
constexpr uint8_t kZoneOpenResource = 5;
constexpr uint8_t kZoneActiveResource = 6;
constexpr uint8_t kStatusNotWritten = 0xee;  // what a check puts there beforehand

struct BlkHeader {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};
static_assert(sizeof(BlkHeader) == 16);

struct DiscardSegment {
  uint64_t sector;
  uint32_t sectors;
  uint32_t flags;
};
static_assert(sizeof(DiscardSegment) == 16);

struct ZoneDescriptor {
  uint64_t capacity;
  uint64_t start;
  uint64_t write_pointer;
  uint8_t type;
  uint8_t state;
  uint8_t reserved[38];
};
static_assert(sizeof(ZoneDescriptor) == 64);

struct ZoneReport {
  uint64_t zone_count;
  uint8_t reserved[56];
  ZoneDescriptor zones[64];
};
static_assert(offsetof(ZoneReport, zones) == 64);

constexpr uint8_t kZoneConventional = 1;
constexpr uint8_t kZoneSequentialRequired = 2;
constexpr uint8_t kZoneSequentialPreferred = 3;

constexpr uint8_t kStateNotWp = 0;
constexpr uint8_t kStateEmpty = 1;
constexpr uint8_t kStateImplicitlyOpen = 2;
constexpr uint8_t kStateExplicitlyOpen = 3;
constexpr uint8_t kStateClosed = 4;
constexpr uint8_t kStateReadOnly = 13;
constexpr uint8_t kStateFull = 14;
constexpr uint8_t kStateOffline = 15;

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_VIRTIO_H_
