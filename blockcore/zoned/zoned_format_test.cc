#include "blockcore/zoned/zoned_format.h"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

ZonedHeader SampleHeader() {
  ZonedHeader header;
  for (size_t i = 0; i < header.id.size(); ++i) header.id[i] = static_cast<uint8_t>(i + 1);
  ZonedGeometry& g = header.geometry;
  g.capacity_bytes = 1000 * 4_MiB + 1_MiB;
  g.zone_size_bytes = 4_MiB;
  g.zone_capacity_bytes = 3_MiB;
  g.max_append_bytes = 512_KiB;
  g.conventional_zones = 3;
  g.max_open_zones = 8;
  g.max_active_zones = 12;
  g.logical_block_bytes = 512;
  g.physical_block_bytes = 4096;
  g.write_granularity_bytes = 4096;
  return header;
}

template <typename T>
T At(const ZonedPage& page, size_t offset) {
  T value;
  std::memcpy(&value, page.data() + offset, sizeof(T));
  return value;
}

TEST_CASE("A header comes back as it was") {
  ZonedHeader header = SampleHeader();
  for (ZonedModel model : {ZonedModel::kHostManaged, ZonedModel::kHostAware}) {
    header.geometry.model = model;
    Result<ZonedHeader> decoded = DecodeHeader(EncodeHeader(header));
    REQUIRE(decoded.has_value());
    CHECK(*decoded == header);
  }
}

TEST_CASE("The header's bytes are those of the documentation") {
  ZonedPage page = EncodeHeader(SampleHeader());
  CHECK(std::memcmp(page.data(), "MVMZONED", 8) == 0);
  CHECK(At<uint32_t>(page, 8) == 1);
  CHECK(At<uint8_t>(page, 16) == 1);
  CHECK(At<uint8_t>(page, 31) == 16);
  CHECK(At<uint64_t>(page, 32) == 1000 * 4_MiB + 1_MiB);
  CHECK(At<uint64_t>(page, 40) == 4_MiB);
  CHECK(At<uint64_t>(page, 48) == 3_MiB);
  CHECK(At<uint64_t>(page, 56) == 512_KiB);
  CHECK(At<uint32_t>(page, 64) == 1001);
  CHECK(At<uint32_t>(page, 68) == 3);
  CHECK(At<uint32_t>(page, 72) == 8);
  CHECK(At<uint32_t>(page, 76) == 12);
  CHECK(At<uint32_t>(page, 80) == 512);
  CHECK(At<uint32_t>(page, 84) == 4096);
  CHECK(At<uint32_t>(page, 88) == 4096);
  CHECK(At<uint8_t>(page, 92) == 1);
  CHECK(At<uint64_t>(page, 96) == 8192);
  CHECK(At<uint64_t>(page, 104) == 1_MiB);
  CHECK(At<uint64_t>(page, 112) == 4_MiB);
}

TEST_CASE("The checksum is CRC-32C") {
  // Of 32 zero bytes, from RFC 3720 (B.4): 0x8a9136aa. Extended by more zeroes it must agree with
  // the plain definition.
  ZonedPage page{};
  auto plain = [&page](size_t crc_offset) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < page.size(); ++i) {
      bool in_field = i >= crc_offset && i < crc_offset + 4;
      crc ^= in_field ? 0 : static_cast<uint32_t>(page[i]);
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
      if (i == 31 && crc_offset > 31) CHECK(~crc == 0x8a9136aa);
    }
    return ~crc;
  };
  plain(4000);
  page = EncodeHeader(SampleHeader());
  CHECK(At<uint32_t>(page, 12) == plain(12));
  page = EncodeTablePage(SampleHeader(), 1, 77, {});
  CHECK(At<uint32_t>(page, 4) == plain(4));
}

TEST_CASE("Any flipped bit in a header is found") {
  const ZonedPage good = EncodeHeader(SampleHeader());
  for (size_t bit = 0; bit < kZonedPageBytes * 8; bit += bit < 1024 ? 1 : 101) {
    CAPTURE(bit);
    ZonedPage page = good;
    page[bit / 8] ^= std::byte(1 << bit % 8);
    CHECK_FALSE(DecodeHeader(page).has_value());
    CHECK_FALSE(ForeignVersion(page).has_value());
  }
}

ZonedPage WithVersion(uint32_t version) {
  // The checksum of the changed page, found by the one property that matters: ForeignVersion
  // accepts it.
  ZonedPage page = EncodeHeader(SampleHeader());
  std::memcpy(page.data() + 8, &version, sizeof(version));
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < page.size(); ++i) {
    crc ^= i >= 12 && i < 16 ? 0 : static_cast<uint32_t>(page[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78 : 0);
  }
  crc = ~crc;
  std::memcpy(page.data() + 12, &crc, sizeof(crc));
  return page;
}

TEST_CASE("Another version is told from damage") {
  ZonedPage page = WithVersion(2);
  CHECK(LooksZoned(page));
  CHECK(ForeignVersion(page) == 2);
  Result<ZonedHeader> decoded = DecodeHeader(page);
  REQUIRE_FALSE(decoded.has_value());
  CHECK(decoded.error().message == "it has version 2 of the format, this program knows version 1");
  CHECK_FALSE(ForeignVersion(WithVersion(1)).has_value());
  CHECK(DecodeHeader(WithVersion(1)).has_value());
  ZonedPage other{};
  CHECK_FALSE(LooksZoned(other));
}

TEST_CASE("A disk that cannot be is refused with the option at fault") {
  struct Case {
    std::string expected;
    void (*change)(ZonedGeometry& g);
  };
  const Case cases[] = {
      {"zone.mode", [](ZonedGeometry& g) { g.model = ZonedModel::kNone; }},
      {"block sizes 1024", [](ZonedGeometry& g) { g.logical_block_bytes = 1024; }},
      {"block sizes 4096",
       [](ZonedGeometry& g) {
         g.logical_block_bytes = 4096;
         g.physical_block_bytes = 512;
       }},
      {"zone.write_granularity", [](ZonedGeometry& g) { g.write_granularity_bytes = 8192; }},
      {"zone.write_granularity",
       [](ZonedGeometry& g) {
         g.logical_block_bytes = 4096;
         g.write_granularity_bytes = 512;
       }},
      {"zone.size=0", [](ZonedGeometry& g) { g.zone_size_bytes = 0; }},
      {"zone.size=", [](ZonedGeometry& g) { g.zone_size_bytes += 512; }},
      {"zone.size=", [](ZonedGeometry& g) { g.zone_size_bytes = uint64_t{1} << 41; }},
      {"size 0", [](ZonedGeometry& g) { g.capacity_bytes = 0; }},
      {"size ", [](ZonedGeometry& g) { g.capacity_bytes += 512; }},
      {"too large", [](ZonedGeometry& g) { g.capacity_bytes = UINT64_MAX - 4095; }},
      {"16,777,216 zones", [](ZonedGeometry& g) { g.capacity_bytes = 65 * 1024 * 1024_GiB; }},
      {"zone.capacity=0", [](ZonedGeometry& g) { g.zone_capacity_bytes = 0; }},
      {"zone.capacity=", [](ZonedGeometry& g) { g.zone_capacity_bytes = 5_MiB; }},
      {"zone.capacity=", [](ZonedGeometry& g) { g.zone_capacity_bytes -= 512; }},
      {"zone.conventional_zones", [](ZonedGeometry& g) { g.conventional_zones = 1001; }},
      {"zone.max_open_zones=13", [](ZonedGeometry& g) { g.max_open_zones = 13; }},
      {"zone.max_append_bytes", [](ZonedGeometry& g) { g.max_append_bytes = 512; }},
      {"zone.max_append_bytes", [](ZonedGeometry& g) { g.max_append_bytes = 4_MiB; }},
  };
  CHECK(CheckGeometry(SampleHeader().geometry).has_value());
  for (const Case& c : cases) {
    CAPTURE(c.expected);
    ZonedGeometry g = SampleHeader().geometry;
    c.change(g);
    Result<void> result = CheckGeometry(g);
    REQUIRE_FALSE(result.has_value());
    CAPTURE(result.error().message);
    CHECK(result.error().message.find(c.expected) != std::string::npos);
  }
}

TEST_CASE("Conventional zones may be all but one, and limits may be open without active") {
  ZonedGeometry g = SampleHeader().geometry;
  g.conventional_zones = 1000;
  g.max_active_zones = 0;
  CHECK(CheckGeometry(g).has_value());
}

TEST_CASE("Places in the file do not overlap, and data begins at a whole MiB") {
  ZonedHeader header = SampleHeader();
  for (uint64_t zones : {1ull, 254ull, 255ull, 111'760ull, 16'777'216ull}) {
    CAPTURE(zones);
    header.geometry.zone_size_bytes = 4_MiB;
    header.geometry.capacity_bytes = zones * 4_MiB;
    CHECK(header.table_pages() == (zones + 253) / 254);
    CHECK(header.PageOffset(0, 0) == 8192);
    CHECK(header.PageOffset(0, 1) == 12288);
    CHECK(header.data_offset_bytes() >= header.PageOffset(header.table_pages() - 1, 1) + 4096);
    CHECK(IsAligned(header.data_offset_bytes(), 1_MiB));
    CHECK(header.SlotOffset(1) == header.data_offset_bytes() + 4_MiB);
    CHECK(header.slot_count() == 2 * zones);
  }
}

std::vector<ZoneRecord> SampleRecords() {
  std::vector<ZoneRecord> records(kZonesPerPage);
  for (int i = 0; i < 3; ++i) records[i].condition = ZoneCondition::kNotWritePointer;
  records[1].slot = 5;
  records[2].fault = ZoneFault::kOffline;
  records[3] = {.written_bytes = 8192, .slot = 7, .condition = ZoneCondition::kClosed};
  records[4] = {.written_bytes = 3_MiB, .slot = 0, .condition = ZoneCondition::kFull};
  records[5] = {.written_bytes = 0, .slot = kNoSlot, .condition = ZoneCondition::kFull};
  records[6] = {.written_bytes = 4096,
                .slot = 2001,
                .condition = ZoneCondition::kClosed,
                .fault = ZoneFault::kReadOnly};
  records[7].fault = ZoneFault::kReadOnly;
  return records;
}

TEST_CASE("A table page comes back as it was, and its bytes are those of the documentation") {
  ZonedHeader header = SampleHeader();
  std::vector<ZoneRecord> records = SampleRecords();
  ZonedPage page = EncodeTablePage(header, 0, 0x1122334455667788, records);
  Result<TablePage> decoded = DecodeTablePage(header, 0, page);
  REQUIRE(decoded.has_value());
  CHECK(decoded->sequence == 0x1122334455667788);
  CHECK(std::equal(records.begin(), records.end(), decoded->records.begin()));

  CHECK(std::memcmp(page.data(), "ZPAG", 4) == 0);
  CHECK(At<uint64_t>(page, 8) == 0x0807060504030201);
  CHECK(At<uint64_t>(page, 16) == 0x1122334455667788);
  CHECK(At<uint32_t>(page, 24) == 0);
  const size_t sixth = 32 + 6 * 16;
  CHECK(At<uint64_t>(page, sixth) == (uint64_t{4096} | uint64_t{4} << 48 | uint64_t{13} << 56));
  CHECK(At<uint32_t>(page, sixth + 8) == 2001);
  CHECK(At<uint32_t>(page, sixth + 12) == 0);
}

TEST_CASE("The last page ends with zeroes") {
  ZonedHeader header = SampleHeader();
  std::vector<ZoneRecord> records(1001 - 3 * kZonesPerPage);
  // The short last zone is full at 1 MiB, less than the capacity of others.
  records.back() = {.written_bytes = 1_MiB, .slot = 9, .condition = ZoneCondition::kFull};
  ZonedPage page = EncodeTablePage(header, 3, 1, records);
  Result<TablePage> decoded = DecodeTablePage(header, 3, page);
  REQUIRE(decoded.has_value());
  CHECK(decoded->records[records.size() - 1] == records.back());
  CHECK(At<uint64_t>(page, 32 + records.size() * 16) == 0);
  records.back().written_bytes = 2_MiB;
  CHECK_FALSE(DecodeTablePage(header, 3, EncodeTablePage(header, 3, 1, records)).has_value());
}

TEST_CASE("A table page that is torn, elsewhere or of another image is refused") {
  ZonedHeader header = SampleHeader();
  const ZonedPage old_page =
      EncodeTablePage(header, 0, 1, std::vector<ZoneRecord>(kZonesPerPage, ZoneRecord{}));
  const ZonedPage new_page = EncodeTablePage(header, 0, 2, SampleRecords());
  for (size_t sectors = 1; sectors < 8; ++sectors) {
    ZonedPage torn = old_page;
    std::copy_n(new_page.begin(), sectors * 512, torn.begin());
    // Sectors in which the two do not differ do not matter.
    if (torn == new_page) continue;
    CHECK_FALSE(IsIntactTablePage(header, 0, torn));
  }
  CHECK(IsIntactTablePage(header, 0, new_page));
  CHECK_FALSE(IsIntactTablePage(header, 1, new_page));
  ZonedHeader other = header;
  other.id[0] = 99;
  CHECK_FALSE(IsIntactTablePage(other, 0, new_page));
  CHECK_FALSE(IsIntactTablePage(header, 0, ZonedPage{}));
}

TEST_CASE("A sequence that cannot be is refused") {
  const ZonedHeader header = SampleHeader();
  auto refusal = [&header](uint64_t sequence) {
    const std::vector<ZoneRecord> records(1001 - 3 * kZonesPerPage);
    const ZonedPage page = EncodeTablePage(header, 3, sequence, records);
    CHECK(IsIntactTablePage(header, 3, page));
    auto decoded = DecodeTablePage(header, 3, page);
    return decoded ? std::string() : decoded.error().message;
  };
  constexpr uint64_t kEnd = uint64_t{1} << 63;
  CHECK(refusal(1) == "");
  CHECK(refusal(kEnd - 1) == "");
  CHECK(refusal(0) == "page 3 of the zone table has an impossible sequence (0)");
  CHECK(refusal(kEnd) ==
        "page 3 of the zone table has an impossible sequence (9223372036854775808)");
  CHECK(refusal(UINT64_MAX) ==
        "page 3 of the zone table has an impossible sequence (18446744073709551615)");
}

TEST_CASE("A record that cannot be is refused") {
  ZonedHeader header = SampleHeader();
  auto accepts = [&header](uint32_t zone, const ZoneRecord& record) {
    std::vector<ZoneRecord> records(kZonesPerPage);
    for (int i = 0; i < 3; ++i) records[i].condition = ZoneCondition::kNotWritePointer;
    records[zone] = record;
    return DecodeTablePage(header, 0, EncodeTablePage(header, 0, 1, records)).has_value();
  };
  using C = ZoneCondition;
  CHECK(accepts(9, {4096, 1, C::kClosed}));
  CHECK_FALSE(accepts(9, {4096, kNoSlot, C::kClosed}));
  CHECK_FALSE(accepts(9, {0, 1, C::kClosed}));
  CHECK_FALSE(accepts(9, {512, 1, C::kClosed}));  // host-managed: not a multiple of the granularity
  CHECK_FALSE(accepts(9, {3_MiB, 1, C::kClosed}));  // would be full
  CHECK_FALSE(accepts(9, {4_MiB, 1, C::kFull}));    // beyond the capacity
  CHECK_FALSE(accepts(9, {512, 1, C::kFull}));
  CHECK_FALSE(accepts(9, {4096, 2002, C::kClosed}));  // there is no such slot
  CHECK_FALSE(accepts(9, {0, 1, C::kEmpty}));
  CHECK_FALSE(accepts(9, {0, 1, C::kFull}));
  CHECK_FALSE(accepts(9, {0, kNoSlot, C::kNotWritePointer}));
  CHECK_FALSE(accepts(2, {0, kNoSlot, C::kEmpty}));
  CHECK_FALSE(accepts(2, {4096, 1, C::kNotWritePointer}));
  CHECK_FALSE(accepts(9, {4096, 1, C::kImplicitlyOpen}));
  CHECK_FALSE(accepts(9, {4096, 1, C::kOffline}));
  CHECK_FALSE(accepts(9, {4096, 1, static_cast<C>(200)}));
  CHECK_FALSE(accepts(9, {4096, 1, C::kClosed, static_cast<ZoneFault>(14)}));
  header.geometry.model = ZonedModel::kHostAware;
  CHECK(accepts(9, {512, 1, C::kClosed}));
}

}  // namespace
}  // namespace minivmm
