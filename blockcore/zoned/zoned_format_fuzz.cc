// Header and table page of a zoned image: sound ones with bytes changed, under a checksum that is
// good most of the time. What is accepted must be possible and encode to the same bytes.
#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "blockcore/zoned/damaged_image.h"
#include "blockcore/zoned/zoned_format.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

ZonedGeometry SomeGeometry(FuzzInput& input) {
  ZonedGeometry g = SmallZonedGeometry();
  if (input.TakeBool()) {
    g.zone_size_bytes = input.Number();
    g.zone_capacity_bytes = input.TakeBool() ? g.zone_size_bytes : input.Number();
    g.capacity_bytes = input.Number();
    g.max_append_bytes = input.Below(8) == 1 ? input.Number() : 0;
    g.conventional_zones = static_cast<uint32_t>(input.Number());
    g.max_open_zones = static_cast<uint32_t>(input.Number());
    g.max_active_zones = static_cast<uint32_t>(input.Number());
  }
  return g;
}

void CheckTablePage(const ZonedHeader& header, uint32_t page_index, const ZonedPage& page) {
  const auto table = DecodeTablePage(header, page_index, page);
  if (!table) return CheckErrorText(table.error().message);
  VMM_CHECK(IsIntactTablePage(header, page_index, page));
  const uint32_t first = page_index * kZonesPerPage;
  const uint32_t count = std::min(kZonesPerPage, header.geometry.zone_count() - first);
  for (uint32_t i = 0; i < count; ++i) {
    const ZoneRecord& record = table->records[i];
    VMM_CHECK(record.written_bytes <= header.geometry.ZoneCapacity(first + i));
    VMM_CHECK(record.slot == kNoSlot || record.slot < header.slot_count());
    VMM_CHECK(record.written_bytes == 0 || record.slot != kNoSlot);
  }
  const ZonedPage again =
      EncodeTablePage(header, page_index, table->sequence, std::span(table->records).first(count));
  // Bytes that mean nothing may differ, and with them the checksum.
  const auto same = DecodeTablePage(header, page_index, again);
  VMM_CHECK(same.has_value() && same->sequence == table->sequence);
  VMM_CHECK(same->records == table->records);
}

void Run(FuzzInput& input) {
  ZonedHeader header;
  header.id = {42};
  header.geometry = SomeGeometry(input);
  if (auto possible = CheckGeometry(header.geometry); !possible) {
    return CheckErrorText(possible.error().message);
  }

  ZonedPage page = EncodeHeader(header);
  DamagePage(input, page, kZonedHeaderChecksumOffset, 128);
  const auto decoded = DecodeHeader(page);
  if (decoded) {
    VMM_CHECK(EncodeHeader(*decoded) == page);
    VMM_CHECK(CheckGeometry(decoded->geometry).has_value());
    VMM_CHECK(LooksZoned(page) && !ForeignVersion(page));
  } else {
    CheckErrorText(decoded.error().message);
    VMM_CHECK(!ForeignVersion(page) || LooksZoned(page));
  }

  const auto page_index = static_cast<uint32_t>(input.Below(header.table_pages()));
  const std::vector<ZoneRecord> records = SmallZonedRecords();
  ZonedPage table_page = EncodeTablePage(header, page_index, input.Number(), records);
  DamagePage(input, table_page, kZonedPageChecksumOffset, 512);
  CheckTablePage(header, page_index, table_page);
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  minivmm::FuzzInput input(data, size);
  minivmm::Run(input);
  return 0;
}
