#include "blockcore/zoned/zoned_resize.h"

#include <algorithm>
#include <array>
#include <vector>

namespace minivmm {
namespace {

// The records of one page under the new header: those that are there, then empty zones.
std::vector<ZoneRecord> RecordsOf(const ZonedContents& contents, const ZonedHeader& grown,
                                  uint32_t page) {
  const uint32_t first = page * kZonesPerPage;
  std::vector<ZoneRecord> records(std::min(kZonesPerPage, grown.geometry.zone_count() - first));
  for (uint32_t i = 0; i < records.size() && first + i < contents.table.zone_count(); ++i) {
    records[i] = contents.table.record(first + i);
  }
  return records;
}

// Places 0 and 1 in the order in which they may be written, the newer one last, and the highest
// sequence of the two.
struct PagePlaces {
  std::array<uint32_t, 2> order{0, 1};
  uint64_t sequence = 0;
};

Result<PagePlaces> ReadPlaces(SyncIo& io, const ZonedHeader& header, uint32_t page) {
  PagePlaces places;
  if (page >= header.table_pages()) return places;
  std::array<std::byte, 2 * kZonedPageBytes> bytes{};
  TRY_VOID(io.Read(header.PageOffset(page, 0), bytes));
  const std::span<const std::byte> both(bytes);
  TRY(const TablePage first, DecodeTablePage(header, page, both.first<kZonedPageBytes>()));
  TRY(const TablePage second, DecodeTablePage(header, page, both.last<kZonedPageBytes>()));
  places.sequence = std::max(first.sequence, second.sequence);
  if (second.sequence <= first.sequence) places.order = {1, 0};
  return places;
}

Result<void> CheckGrowth(const ZonedHeader& old, const ZonedHeader& grown) {
  const uint64_t now = old.geometry.capacity_bytes;
  const uint64_t wanted = grown.geometry.capacity_bytes;
  if (wanted == now) return Fail("it has {} bytes already", now);
  if (wanted < now) {
    return Fail("a disk cannot shrink, and {} bytes are less than the {} it has", wanted, now);
  }
  TRY_VOID(CheckGeometry(grown.geometry));
  if (grown.data_offset_bytes() == old.data_offset_bytes()) return {};
  const uint64_t pages = (old.data_offset_bytes() - old.PageOffset(0, 0)) / (2 * kZonedPageBytes);
  return Fail(
      "its zone table has room for {} zones and {} are wanted: make a new image and copy it with "
      "convert",
      pages * kZonesPerPage, grown.geometry.zone_count());
}

}  // namespace

Result<ZonedHeader> GrowZonedImage(SyncIo& io, ZonedContents& contents, uint64_t capacity_bytes) {
  ZonedHeader grown = contents.header;
  grown.geometry.capacity_bytes = capacity_bytes;
  TRY_VOID(CheckGrowth(contents.header, grown));
  // Both copies of everything are good afterwards.
  TRY_VOID(PrepareZonedForWriting(io, contents));

  struct PageWrite {
    uint64_t offset_bytes;
    ZonedPage bytes;
  };
  std::array<std::vector<PageWrite>, 2> rounds;
  for (uint32_t page = contents.header.table_pages() - 1; page < grown.table_pages(); ++page) {
    TRY(const PagePlaces places, ReadPlaces(io, contents.header, page));
    const std::vector<ZoneRecord> records = RecordsOf(contents, grown, page);
    for (uint32_t round = 0; round < 2; ++round) {
      rounds[round].push_back({grown.PageOffset(page, places.order[round]),
                               EncodeTablePage(grown, page, places.sequence + 1 + round, records)});
    }
  }
  for (const std::vector<PageWrite>& round : rounds) {
    for (const PageWrite& write : round) TRY_VOID(io.Write(write.offset_bytes, write.bytes));
    TRY_VOID(io.Flush());
  }
  const ZonedPage header = EncodeHeader(grown);
  for (uint64_t copy = 0; copy < 2; ++copy) {
    TRY_VOID(io.Write(copy * kZonedPageBytes, header));
    TRY_VOID(io.Flush());
  }
  return grown;
}

}  // namespace minivmm
