// The bytes of a zoned image file: a host-managed or host-aware disk in an ordinary file. Pure:
// bytes in, values out; any thread. All integers are little-endian; version 1. Later versions keep
// the first 16 bytes of the header.
//
//        0  header, 4 KiB            ┐ two copies of the same bytes: each heals the other
//     4096  header, 4 KiB            ┘
//     8192  table: for each page of 254 zones two places of 4 KiB; the one with the higher sequence
//           and a good checksum counts. A commit writes the other place, so that a torn write
//           leaves the state before it.
//     data  slots of `slot_bytes` each (data_offset is a multiple of 1 MiB). A zone that holds data
//           owns one slot; a reset gives it back. A slot is used again only after the commit that
//           no longer names it: bytes below a write pointer are of one generation. Slots that no
//           zone owns read as zeroes before they are used, so that what was never written in a
//           zone reads as zeroes. The file may end anywhere behind the table: what it lacks reads
//           as zeroes.
//
//     header                                        zone record, 16 bytes
//       0  8  magic "MVMZONED"                        0  6  bytes written, from the zone's start
//       8  4  version = 1                             6  1  condition (ZoneCondition; an open zone
//      12  4  CRC-32C of the 4 KiB, this field as 0         is stored closed or, unwritten, empty)
//      16 16  image id, random                        7  1  fault (ZoneFault)
//      32  8  capacity, bytes                         8  4  slot, 0xffffffff = none
//                                                    12  4  0
//      40  8  zone size, bytes
//      48  8  zone capacity, bytes                  table page
//      56  8  largest append, bytes                   0  4  magic "ZPAG"
//      64  4  zone count                              4  4  CRC-32C of the 4 KiB, this field as 0
//      68  4  conventional zones, the first ones      8  8  first 8 bytes of the image id
//      72  4  max open zones, 0 = no limit           16  8  sequence, 1 to 2^63 - 1
//      76  4  max active zones, 0 = no limit         24  4  page index
//      80  4  logical block, bytes                   28  4  0
//      84  4  physical block, bytes                  32     254 zone records; then zeroes
//      88  4  write granularity, bytes
//      92  1  model (ZonedModel: 1 or 2)
//      96  8  table offset = 8192
//     104  8  data offset
//     112  8  slot bytes
#ifndef MINIVMM_BLOCKCORE_ZONED_ZONED_FORMAT_H_
#define MINIVMM_BLOCKCORE_ZONED_ZONED_FORMAT_H_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "blockcore/base/result.h"
#include "blockcore/zone.h"

namespace minivmm {

constexpr uint64_t kZonedPageBytes = 4096;
constexpr uint32_t kZonesPerPage = 254;
constexpr uint32_t kNoSlot = 0xffff'ffff;

// What a user chooses when an image is made; the header holds it for good.
struct ZonedGeometry {
  ZonedModel model = ZonedModel::kHostManaged;
  uint64_t capacity_bytes = 0;
  uint64_t zone_size_bytes = 0;
  uint64_t zone_capacity_bytes = 0;  // of each sequential zone; <= size
  uint64_t max_append_bytes = 0;
  uint32_t conventional_zones = 0;  // the first ones
  uint32_t max_open_zones = 0;      // 0 = no limit
  uint32_t max_active_zones = 0;
  uint32_t logical_block_bytes = 512;
  uint32_t physical_block_bytes = 512;
  uint32_t write_granularity_bytes = 512;

  uint32_t zone_count() const {
    return static_cast<uint32_t>((capacity_bytes + zone_size_bytes - 1) / zone_size_bytes);
  }
  // Of this zone, `zone` < zone_count().
  uint64_t ZoneLength(uint32_t zone) const {
    return std::min(zone_size_bytes, capacity_bytes - zone * zone_size_bytes);
  }
  uint64_t ZoneCapacity(uint32_t zone) const {
    return zone < conventional_zones ? ZoneLength(zone)
                                     : std::min(zone_capacity_bytes, ZoneLength(zone));
  }

  bool operator==(const ZonedGeometry&) const = default;
};

// Whether such a disk can be. The message names what is at fault: an option as users type it
// (zone.size, zone.capacity, …), the block sizes, or the disk's size.
Result<void> CheckGeometry(const ZonedGeometry& geometry);

using ImageId = std::array<uint8_t, 16>;
using ZonedPage = std::array<std::byte, kZonedPageBytes>;

struct ZonedHeader {
  ImageId id{};
  ZonedGeometry geometry;

  // Where things lie follows from the geometry.
  uint32_t table_pages() const {
    return (geometry.zone_count() + kZonesPerPage - 1) / kZonesPerPage;
  }
  uint64_t PageOffset(uint32_t page, uint32_t place) const;  // place: 0 or 1
  uint64_t data_offset_bytes() const;
  uint64_t slot_bytes() const { return geometry.zone_size_bytes; }
  uint64_t SlotOffset(uint32_t slot) const { return data_offset_bytes() + slot * slot_bytes(); }
  // Slots that records may name: twice as many as there are zones, so that all can be written anew
  // before a commit.
  uint32_t slot_count() const { return 2 * geometry.zone_count(); }

  bool operator==(const ZonedHeader&) const = default;
};

// What was imposed on a zone from outside. Its own condition stays and comes back when the fault is
// lifted.
enum class ZoneFault : uint8_t {
  kNone = 0,
  kReadOnly = static_cast<uint8_t>(ZoneCondition::kReadOnly),
  kOffline = static_cast<uint8_t>(ZoneCondition::kOffline),
};

struct ZoneRecord {
  // From the zone's start: what lies above reads as zeroes. Always 0 for conventional zones, whose
  // slots are read as a whole. A finished zone keeps the value it had.
  uint64_t written_bytes = 0;
  uint32_t slot = kNoSlot;
  ZoneCondition condition = ZoneCondition::kEmpty;
  ZoneFault fault = ZoneFault::kNone;

  // What a zone report says.
  ZoneCondition shown_condition() const {
    return fault == ZoneFault::kNone ? condition : static_cast<ZoneCondition>(fault);
  }

  bool operator==(const ZoneRecord&) const = default;
};

ZonedPage EncodeHeader(const ZonedHeader& header);
// Fails on anything that version 1 does not say: magic, version, checksum, a geometry that cannot
// be. The message is the reason alone ("its checksum is wrong"); the caller names the image.
Result<ZonedHeader> DecodeHeader(std::span<const std::byte, kZonedPageBytes> bytes);
// Whether the bytes begin with the magic: a zoned image, damaged perhaps.
bool LooksZoned(std::span<const std::byte, kZonedPageBytes> bytes);
// The same of the two copies of the header that an image begins with: one may be damaged.
bool EitherLooksZoned(std::span<const std::byte, 2 * kZonedPageBytes> copies);
// The version of an undamaged header that another version of the format wrote.
std::optional<uint32_t> ForeignVersion(std::span<const std::byte, kZonedPageBytes> bytes);

struct TablePage {
  uint64_t sequence = 0;
  std::array<ZoneRecord, kZonesPerPage> records;
};

// `records`: the zones of this page, up to 254, in the conditions that the table stores.
ZonedPage EncodeTablePage(const ZonedHeader& header, uint32_t page, uint64_t sequence,
                          std::span<const ZoneRecord> records);
// Whether the page was written for this place in this image, and is undamaged.
bool IsIntactTablePage(const ZonedHeader& header, uint32_t page,
                       std::span<const std::byte, kZonedPageBytes> bytes);
// Fails when the page is not intact, or its sequence or a record cannot be.
Result<TablePage> DecodeTablePage(const ZonedHeader& header, uint32_t page,
                                  std::span<const std::byte, kZonedPageBytes> bytes);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_ZONED_FORMAT_H_
