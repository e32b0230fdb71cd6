// For fuzz targets: a small zoned disk, and damage to the pages of its image. The checksum is put
// right most of the time, or nothing but the checksum would ever be tested.
#ifndef MINIVMM_BLOCKCORE_ZONED_DAMAGED_IMAGE_H_
#define MINIVMM_BLOCKCORE_ZONED_DAMAGED_IMAGE_H_

#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/zoned/zoned_format.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {

// zoned_format.h: where the pages keep their CRC-32C.
constexpr size_t kZonedHeaderChecksumOffset = 12;
constexpr size_t kZonedPageChecksumOffset = 4;

// Twelve zones of 16 KiB, the first two conventional, the last one short.
inline ZonedGeometry SmallZonedGeometry() {
  ZonedGeometry g;
  g.zone_size_bytes = 16_KiB;
  g.zone_capacity_bytes = 12_KiB;
  g.capacity_bytes = 11 * 16_KiB + 4_KiB;
  g.conventional_zones = 2;
  g.max_append_bytes = 4_KiB;
  g.max_open_zones = 3;
  g.max_active_zones = 6;
  return g;
}

// Records of that disk, of each kind.
inline std::vector<ZoneRecord> SmallZonedRecords() {
  std::vector<ZoneRecord> records(SmallZonedGeometry().zone_count());
  records[0] = {.slot = 0, .condition = ZoneCondition::kNotWritePointer};
  records[1] = {.condition = ZoneCondition::kNotWritePointer};
  records[2] = {.written_bytes = 4_KiB, .slot = 1, .condition = ZoneCondition::kClosed};
  records[3] = {.written_bytes = 12_KiB, .slot = 3, .condition = ZoneCondition::kFull};
  records[4] = {.condition = ZoneCondition::kFull};
  records[5] = {.condition = ZoneCondition::kEmpty, .fault = ZoneFault::kOffline};
  records[6] = {.written_bytes = 512,
                .slot = 2,
                .condition = ZoneCondition::kClosed,
                .fault = ZoneFault::kReadOnly};
  return records;
}

// With the processor's instruction: nothing of the format's own code, and no time to speak of.
__attribute__((target("sse4.2"))) inline uint32_t Crc32c(
    std::span<const std::byte, kZonedPageBytes> page) {
  uint64_t crc = 0xffff'ffff;
  for (size_t at = 0; at < page.size(); at += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, &page[at], sizeof(word));
    crc = __builtin_ia32_crc32di(crc, word);
  }
  return ~static_cast<uint32_t>(crc);
}

// Up to four fields change, in the first `interesting_bytes` above all.
inline void DamagePage(FuzzInput& input, std::span<std::byte, kZonedPageBytes> page,
                       size_t checksum_offset, size_t interesting_bytes) {
  for (uint64_t edits = input.Below(5); edits-- > 0;) {
    const uint64_t offset =
        input.Below(8) == 1 ? input.Below(kZonedPageBytes) : input.Below(interesting_bytes);
    const auto width = input.Pick<uint64_t>({1, 2, 4, 8});
    const uint64_t value = input.Number();
    if (RangeFits(offset, width, page.size())) std::memcpy(&page[offset], &value, width);
  }
  if (input.Below(16) == 1) return;
  std::memset(&page[checksum_offset], 0, sizeof(uint32_t));
  const uint32_t crc = Crc32c(page);
  std::memcpy(&page[checksum_offset], &crc, sizeof(crc));
}

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_DAMAGED_IMAGE_H_
