#include "blockcore/zoned/zoned_format.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "blockcore/base/little_endian.h"
#include "blockcore/base/units.h"
#include "blockcore/zoned/crc32c.h"

namespace minivmm {
namespace {

constexpr std::string_view kHeaderMagic = "MVMZONED";
constexpr std::string_view kPageMagic = "ZPAG";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kTableOffset = 2 * kZonedPageBytes;
constexpr size_t kHeaderCrcOffset = 12;
constexpr size_t kPageCrcOffset = 4;
constexpr size_t kPageRecordsOffset = 32;
constexpr size_t kRecordBytes = 16;
constexpr uint64_t kMaxSequence = (uint64_t{1} << 63) - 1;
static_assert(kPageRecordsOffset + kZonesPerPage * kRecordBytes == kZonedPageBytes);

void PutText(std::span<std::byte> bytes, size_t offset, std::string_view text) {
  std::memcpy(bytes.subspan(offset, text.size()).data(), text.data(), text.size());
}

bool HasText(std::span<const std::byte> bytes, size_t offset, std::string_view text) {
  return std::memcmp(bytes.subspan(offset, text.size()).data(), text.data(), text.size()) == 0;
}

constexpr uint64_t kMaxCapacityBytes = uint64_t{1} << 60;

// Of a page whose checksum field counts as zero.
uint32_t Checksum(std::span<const std::byte, kZonedPageBytes> bytes, size_t crc_offset) {
  constexpr std::array<std::byte, sizeof(uint32_t)> kZero{};
  uint32_t crc = ExtendCrc32c(0xffff'ffff, bytes.first(crc_offset));
  crc = ExtendCrc32c(crc, kZero);
  return ~ExtendCrc32c(crc, bytes.subspan(crc_offset + kZero.size()));
}

bool HasGoodHeaderChecksum(std::span<const std::byte, kZonedPageBytes> bytes) {
  return LoadLe<uint32_t>(bytes, kHeaderCrcOffset) == Checksum(bytes, kHeaderCrcOffset);
}

bool IsBlockSize(uint32_t bytes) { return bytes == 512 || bytes == 4096; }

}  // namespace

Result<void> CheckGeometry(const ZonedGeometry& g) {
  if (g.model != ZonedModel::kHostManaged && g.model != ZonedModel::kHostAware) {
    return Fail("zone.mode must be host-managed or host-aware");
  }
  if (!IsBlockSize(g.logical_block_bytes) || !IsBlockSize(g.physical_block_bytes) ||
      g.physical_block_bytes < g.logical_block_bytes) {
    return Fail(
        "block sizes {} logical and {} physical: 512 and 4096 are possible, the physical not "
        "smaller",
        g.logical_block_bytes, g.physical_block_bytes);
  }
  if (!IsBlockSize(g.write_granularity_bytes) ||
      g.write_granularity_bytes < g.logical_block_bytes) {
    return Fail(
        "zone.write_granularity={} must be 512 or 4096 and not smaller than the logical block",
        g.write_granularity_bytes);
  }
  const uint64_t unit = std::max(g.physical_block_bytes, g.write_granularity_bytes);
  if (g.zone_size_bytes == 0 || !IsAligned(g.zone_size_bytes, unit)) {
    return Fail("zone.size={} must be a multiple of {}", g.zone_size_bytes, unit);
  }
  if (g.zone_size_bytes >= uint64_t{1} << 41) {
    return Fail("zone.size={} is too large: at most 2 TiB less one block", g.zone_size_bytes);
  }
  if (g.capacity_bytes == 0 || !IsAligned(g.capacity_bytes, unit)) {
    return Fail("the disk's size {} must be a multiple of {} and not 0", g.capacity_bytes, unit);
  }
  if (g.capacity_bytes > kMaxCapacityBytes) {
    return Fail("a disk of {} bytes is too large: at most 1 EiB", g.capacity_bytes);
  }
  if ((g.capacity_bytes - 1) / g.zone_size_bytes >= (uint64_t{1} << 24)) {
    return Fail(
        "a disk of {} bytes has more than 16,777,216 zones of {}: choose a larger zone.size",
        g.capacity_bytes, g.zone_size_bytes);
  }
  if (g.zone_capacity_bytes == 0 || g.zone_capacity_bytes > g.zone_size_bytes ||
      !IsAligned(g.zone_capacity_bytes, unit)) {
    return Fail("zone.capacity={} must be a multiple of {}, not 0 and at most the zone size {}",
                g.zone_capacity_bytes, unit, g.zone_size_bytes);
  }
  if (g.conventional_zones >= g.zone_count()) {
    return Fail("zone.conventional_zones={} leaves no sequential zone among {}",
                g.conventional_zones, g.zone_count());
  }
  if (g.max_open_zones != 0 && g.max_active_zones != 0 && g.max_open_zones > g.max_active_zones) {
    return Fail("zone.max_open_zones={} is more than zone.max_active_zones={}", g.max_open_zones,
                g.max_active_zones);
  }
  if (g.max_append_bytes > g.zone_capacity_bytes ||
      !IsAligned(g.max_append_bytes, g.write_granularity_bytes)) {
    return Fail(
        "zone.max_append_bytes={} must be a multiple of {} and at most the zone capacity {}",
        g.max_append_bytes, g.write_granularity_bytes, g.zone_capacity_bytes);
  }
  return {};
}

uint64_t ZonedHeader::PageOffset(uint32_t page, uint32_t place) const {
  return kTableOffset + (uint64_t{page} * 2 + place) * kZonedPageBytes;
}

uint64_t ZonedHeader::data_offset_bytes() const {
  return AlignUp(PageOffset(table_pages(), 0), 1_MiB);
}

ZonedPage EncodeHeader(const ZonedHeader& header) {
  ZonedPage page{};
  const ZonedGeometry& g = header.geometry;
  PutText(page, 0, kHeaderMagic);
  StoreLe<uint32_t>(page, 8, kVersion);
  std::memcpy(page.data() + 16, header.id.data(), header.id.size());
  StoreLe<uint64_t>(page, 32, g.capacity_bytes);
  StoreLe<uint64_t>(page, 40, g.zone_size_bytes);
  StoreLe<uint64_t>(page, 48, g.zone_capacity_bytes);
  StoreLe<uint64_t>(page, 56, g.max_append_bytes);
  StoreLe<uint32_t>(page, 64, g.zone_count());
  StoreLe<uint32_t>(page, 68, g.conventional_zones);
  StoreLe<uint32_t>(page, 72, g.max_open_zones);
  StoreLe<uint32_t>(page, 76, g.max_active_zones);
  StoreLe<uint32_t>(page, 80, g.logical_block_bytes);
  StoreLe<uint32_t>(page, 84, g.physical_block_bytes);
  StoreLe<uint32_t>(page, 88, g.write_granularity_bytes);
  StoreLe<uint8_t>(page, 92, static_cast<uint8_t>(g.model));
  StoreLe<uint64_t>(page, 96, kTableOffset);
  StoreLe<uint64_t>(page, 104, header.data_offset_bytes());
  StoreLe<uint64_t>(page, 112, header.slot_bytes());
  StoreLe<uint32_t>(page, kHeaderCrcOffset, Checksum(page, kHeaderCrcOffset));
  return page;
}

bool LooksZoned(std::span<const std::byte, kZonedPageBytes> bytes) {
  return HasText(bytes, 0, kHeaderMagic);
}

bool EitherLooksZoned(std::span<const std::byte, 2 * kZonedPageBytes> copies) {
  return LooksZoned(copies.first<kZonedPageBytes>()) || LooksZoned(copies.last<kZonedPageBytes>());
}

std::optional<uint32_t> ForeignVersion(std::span<const std::byte, kZonedPageBytes> bytes) {
  const uint32_t version = LoadLe<uint32_t>(bytes, 8);
  if (!LooksZoned(bytes) || version == kVersion || !HasGoodHeaderChecksum(bytes)) {
    return std::nullopt;
  }
  return version;
}

Result<ZonedHeader> DecodeHeader(std::span<const std::byte, kZonedPageBytes> bytes) {
  if (!LooksZoned(bytes)) return Fail("it does not begin with the magic of a zoned image");
  const uint32_t version = LoadLe<uint32_t>(bytes, 8);
  if (version != kVersion) {
    return Fail("it has version {} of the format, this program knows version {}", version,
                kVersion);
  }
  if (!HasGoodHeaderChecksum(bytes)) return Fail("the header's checksum is wrong");
  ZonedHeader header;
  std::memcpy(header.id.data(), bytes.data() + 16, header.id.size());
  ZonedGeometry& g = header.geometry;
  g.capacity_bytes = LoadLe<uint64_t>(bytes, 32);
  g.zone_size_bytes = LoadLe<uint64_t>(bytes, 40);
  g.zone_capacity_bytes = LoadLe<uint64_t>(bytes, 48);
  g.max_append_bytes = LoadLe<uint64_t>(bytes, 56);
  g.conventional_zones = LoadLe<uint32_t>(bytes, 68);
  g.max_open_zones = LoadLe<uint32_t>(bytes, 72);
  g.max_active_zones = LoadLe<uint32_t>(bytes, 76);
  g.logical_block_bytes = LoadLe<uint32_t>(bytes, 80);
  g.physical_block_bytes = LoadLe<uint32_t>(bytes, 84);
  g.write_granularity_bytes = LoadLe<uint32_t>(bytes, 88);
  g.model = static_cast<ZonedModel>(LoadLe<uint8_t>(bytes, 92));
  if (Result<void> possible = CheckGeometry(g); !possible) {
    return Fail("the header names an impossible disk: {}", possible.error().message);
  }
  // What follows from the geometry must say the same; reserved bytes are 0. One comparison does
  // all.
  ZonedPage canonical = EncodeHeader(header);
  if (std::memcmp(canonical.data(), bytes.data(), bytes.size()) != 0) {
    return Fail("the header contradicts itself (zone count, offsets or reserved bytes)");
  }
  return header;
}

ZonedPage EncodeTablePage(const ZonedHeader& header, uint32_t page, uint64_t sequence,
                          std::span<const ZoneRecord> records) {
  ZonedPage bytes{};
  PutText(bytes, 0, kPageMagic);
  std::memcpy(bytes.data() + 8, header.id.data(), 8);
  StoreLe<uint64_t>(bytes, 16, sequence);
  StoreLe<uint32_t>(bytes, 24, page);
  for (size_t i = 0; i < records.size(); ++i) {
    const size_t at = kPageRecordsOffset + i * kRecordBytes;
    StoreLe<uint64_t>(bytes, at,
                      records[i].written_bytes | static_cast<uint64_t>(records[i].condition) << 48 |
                          static_cast<uint64_t>(records[i].fault) << 56);
    StoreLe<uint32_t>(bytes, at + 8, records[i].slot);
  }
  StoreLe<uint32_t>(bytes, kPageCrcOffset, Checksum(bytes, kPageCrcOffset));
  return bytes;
}

namespace {

bool IsKnown(ZoneFault fault) {
  return fault == ZoneFault::kNone || fault == ZoneFault::kReadOnly || fault == ZoneFault::kOffline;
}

Result<ZoneRecord> DecodeRecord(const ZonedHeader& header, uint32_t zone, uint64_t word,
                                uint64_t slot_word) {
  const ZonedGeometry& g = header.geometry;
  ZoneRecord record;
  record.written_bytes = word & ((uint64_t{1} << 48) - 1);
  record.condition = static_cast<ZoneCondition>((word >> 48) & 0xff);
  record.fault = static_cast<ZoneFault>(word >> 56);
  record.slot = static_cast<uint32_t>(slot_word);
  const bool conventional = zone < g.conventional_zones;
  const bool has_slot = record.slot != kNoSlot;
  const uint64_t written = record.written_bytes;
  // Host-aware zones take writes of any sector.
  const uint64_t unit =
      g.model == ZonedModel::kHostManaged ? g.write_granularity_bytes : kSectorBytes;
  bool possible = slot_word >> 32 == 0 && (!has_slot || record.slot < header.slot_count()) &&
                  IsKnown(record.fault);
  switch (record.condition) {
    case ZoneCondition::kNotWritePointer:
      possible = possible && conventional && written == 0;
      break;
    case ZoneCondition::kEmpty:
      possible = possible && !conventional && written == 0 && !has_slot;
      break;
    case ZoneCondition::kClosed:
      possible = possible && !conventional && written != 0 && written < g.ZoneCapacity(zone) &&
                 IsAligned(written, unit) && has_slot;
      break;
    case ZoneCondition::kFull:
      possible = possible && !conventional && written <= g.ZoneCapacity(zone) &&
                 IsAligned(written, unit) && has_slot == (written != 0);
      break;
    default:
      possible = false;
  }
  if (!possible) {
    return Fail(
        "zone {} has an impossible record (condition {}, fault {}, {} bytes written, slot {})",
        zone, static_cast<int>(record.condition), static_cast<int>(record.fault), written,
        record.slot);
  }
  return record;
}

}  // namespace

bool IsIntactTablePage(const ZonedHeader& header, uint32_t page,
                       std::span<const std::byte, kZonedPageBytes> bytes) {
  return HasText(bytes, 0, kPageMagic) &&
         LoadLe<uint32_t>(bytes, kPageCrcOffset) == Checksum(bytes, kPageCrcOffset) &&
         std::memcmp(bytes.data() + 8, header.id.data(), 8) == 0 &&
         LoadLe<uint32_t>(bytes, 24) == page;
}

Result<TablePage> DecodeTablePage(const ZonedHeader& header, uint32_t page,
                                  std::span<const std::byte, kZonedPageBytes> bytes) {
  if (!IsIntactTablePage(header, page, bytes)) {
    return Fail("page {} of the zone table is damaged", page);
  }
  TablePage result;
  result.sequence = LoadLe<uint64_t>(bytes, 16);
  // One that commits could count past its end would make an older page the newer one.
  if (result.sequence == 0 || result.sequence > kMaxSequence) {
    return Fail("page {} of the zone table has an impossible sequence ({})", page, result.sequence);
  }
  const uint32_t first = page * kZonesPerPage;
  const uint32_t count = std::min(kZonesPerPage, header.geometry.zone_count() - first);
  for (uint32_t i = 0; i < count; ++i) {
    const size_t at = kPageRecordsOffset + i * kRecordBytes;
    TRY(result.records[i], DecodeRecord(header, first + i, LoadLe<uint64_t>(bytes, at),
                                        LoadLe<uint64_t>(bytes, at + 8)));
  }
  return result;
}

}  // namespace minivmm
