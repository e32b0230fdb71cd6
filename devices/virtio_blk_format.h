// What crosses the wire between a virtio-blk driver and the device (virtio 5.2): numbers and
// layouts, no behaviour. Little-endian, sectors of 512 bytes whatever the block size. Only what
// this device offers or must recognise is here.
#ifndef MINIVMM_DEVICES_VIRTIO_BLK_FORMAT_H_
#define MINIVMM_DEVICES_VIRTIO_BLK_FORMAT_H_

#include <bit>
#include <cstddef>
#include <cstdint>

namespace minivmm {

static_assert(std::endian::native == std::endian::little,
              "the structures below are sent as they are");

// virtio 5: device number of a block device.
constexpr uint16_t kVirtioBlkDeviceId = 2;

// Feature bits (virtio 5.2.3).
constexpr uint64_t kBlkFeatureSizeMax = uint64_t{1} << 1;
constexpr uint64_t kBlkFeatureSegMax = uint64_t{1} << 2;
constexpr uint64_t kBlkFeatureReadOnly = uint64_t{1} << 5;
constexpr uint64_t kBlkFeatureBlockSize = uint64_t{1} << 6;
constexpr uint64_t kBlkFeatureFlush = uint64_t{1} << 9;
constexpr uint64_t kBlkFeatureTopology = uint64_t{1} << 10;
constexpr uint64_t kBlkFeatureConfigWce = uint64_t{1} << 11;
constexpr uint64_t kBlkFeatureMultiQueue = uint64_t{1} << 12;
constexpr uint64_t kBlkFeatureDiscard = uint64_t{1} << 13;
constexpr uint64_t kBlkFeatureWriteZeroes = uint64_t{1} << 14;
constexpr uint64_t kBlkFeatureZoned = uint64_t{1} << 17;

// Device configuration space (virtio 5.2.4).
struct VirtioBlkConfig {
  uint64_t capacity_sectors;
  uint32_t size_max_bytes;
  uint32_t seg_max;
  uint16_t cylinders;
  uint8_t heads;
  uint8_t sectors_per_track;
  uint32_t block_size_bytes;
  uint8_t physical_block_exponent;  // physical = logical << exponent
  uint8_t alignment_offset_blocks;
  uint16_t min_io_size_blocks;
  uint32_t opt_io_size_blocks;
  uint8_t writeback;  // 0: writes are stable when they are answered; the driver's to write
  uint8_t unused0;
  uint16_t num_queues;
  uint32_t max_discard_sectors;
  uint32_t max_discard_segments;
  uint32_t discard_alignment_sectors;
  uint32_t max_write_zeroes_sectors;
  uint32_t max_write_zeroes_segments;
  uint8_t write_zeroes_may_unmap;
  uint8_t unused1[3];
  uint32_t max_secure_erase_sectors;
  uint32_t max_secure_erase_segments;
  uint32_t secure_erase_alignment_sectors;
  struct Zoned {
    uint32_t zone_sectors;
    uint32_t max_open_zones;
    uint32_t max_active_zones;
    uint32_t max_append_sectors;
    uint32_t write_granularity_bytes;
    uint8_t model;  // the numbers of ZonedModel
    uint8_t unused2[3];
  } zoned;
};
static_assert(sizeof(VirtioBlkConfig) == 96);
static_assert(offsetof(VirtioBlkConfig, block_size_bytes) == 20);
static_assert(offsetof(VirtioBlkConfig, opt_io_size_blocks) == 28);
static_assert(offsetof(VirtioBlkConfig, writeback) == 32);
static_assert(offsetof(VirtioBlkConfig, num_queues) == 34);
static_assert(offsetof(VirtioBlkConfig, max_discard_sectors) == 36);
static_assert(offsetof(VirtioBlkConfig, write_zeroes_may_unmap) == 56);
static_assert(offsetof(VirtioBlkConfig, max_secure_erase_sectors) == 60);
static_assert(offsetof(VirtioBlkConfig, zoned) == 72);
static_assert(offsetof(VirtioBlkConfig, zoned.model) == 92);

// virtio 5.2.6: the first device-readable bytes of a request.
struct VirtioBlkHeader {
  uint32_t type;
  uint32_t reserved;  // drivers leave anything here; Linux an I/O priority
  uint64_t sector;
};
static_assert(sizeof(VirtioBlkHeader) == 16);

// Values of `type`. All 32 bits count. Some numbers are defined for features that this device does
// not offer.
constexpr uint32_t kBlkTypeIn = 0;
constexpr uint32_t kBlkTypeOut = 1;
constexpr uint32_t kBlkTypeFlush = 4;
constexpr uint32_t kBlkTypeGetId = 8;
constexpr uint32_t kBlkTypeDiscard = 11;
constexpr uint32_t kBlkTypeWriteZeroes = 13;
constexpr uint32_t kBlkTypeZoneAppend = 15;
constexpr uint32_t kBlkTypeZoneReport = 16;
constexpr uint32_t kBlkTypeZoneOpen = 18;
constexpr uint32_t kBlkTypeZoneClose = 20;
constexpr uint32_t kBlkTypeZoneFinish = 22;
constexpr uint32_t kBlkTypeZoneReset = 24;
constexpr uint32_t kBlkTypeZoneResetAll = 26;

// Values of the status byte, which is the last device-writable byte of a request (virtio 5.2.6).
constexpr uint8_t kBlkStatusOk = 0;
constexpr uint8_t kBlkStatusIoError = 1;
constexpr uint8_t kBlkStatusUnsupported = 2;
constexpr uint8_t kBlkStatusZoneInvalid = 3;
constexpr uint8_t kBlkStatusZoneUnaligned = 4;
constexpr uint8_t kBlkStatusZoneOpenLimit = 5;
constexpr uint8_t kBlkStatusZoneActiveLimit = 6;

// The answer to kBlkTypeGetId: text, filled up with NUL.
constexpr size_t kBlkIdBytes = 20;

// virtio 5.2.6: one range of a kBlkTypeDiscard or kBlkTypeWriteZeroes.
struct VirtioBlkSegment {
  uint64_t sector;
  uint32_t num_sectors;
  uint32_t flags;
};
constexpr uint32_t kBlkSegmentUnmap = 1;  // a discard must not have it
static_assert(sizeof(VirtioBlkSegment) == 16);

// virtio 5.2.6: the answer to kBlkTypeZoneReport, followed by `nr_zones` descriptors.
struct VirtioBlkZoneReport {
  uint64_t nr_zones;
  uint8_t reserved[56];
};
static_assert(sizeof(VirtioBlkZoneReport) == 64);

struct VirtioBlkZoneDescriptor {
  uint64_t capacity_sectors;
  uint64_t start_sector;
  uint64_t write_pointer_sector;
  uint8_t type;       // the numbers of ZoneType
  uint8_t condition;  // the numbers of ZoneCondition
  uint8_t reserved[38];
};
static_assert(sizeof(VirtioBlkZoneDescriptor) == 64);

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_BLK_FORMAT_H_
