#include "firmware/page_tables.h"

#include <doctest/doctest.h>

#include <optional>

#include "blockcore/base/little_endian.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr uint64_t kAddressBits = 0x000f'ffff'ffff'f000;

struct Translation {
  uint64_t physical_address;
  bool writable;
};

// Walks the tables as a processor does; nothing when an entry is absent or a table lies outside the
// segment.
std::optional<Translation> Walk(const Segment& tables, uint64_t virtual_address) {
  uint64_t table = tables.guest_address;
  bool writable = true;
  for (int shift : {39, 30, 21}) {
    const uint64_t offset = table - tables.guest_address + (virtual_address >> shift & 0x1ff) * 8;
    if (!RangeFits(offset, 8, tables.bytes.size())) return std::nullopt;
    const auto entry = LoadLe<uint64_t>(tables.bytes, offset);
    if ((entry & 1) == 0) return std::nullopt;
    writable = writable && (entry & 2) != 0;
    const bool large = (entry & 0x80) != 0;
    if (shift == 21) {
      if (!large) return std::nullopt;
      return Translation{(entry & kAddressBits) + (virtual_address & (2_MiB - 1)), writable};
    }
    if (large) return std::nullopt;
    table = entry & kAddressBits;
  }
  return std::nullopt;
}

TEST_CASE("every 2 MiB of the first 4 GiB map to themselves, writable") {
  const Segment tables = BuildIdentityPageTables(0x9000);
  CHECK(tables.guest_address == 0x9000);
  CHECK(tables.bytes.size() == kPageTablesBytes);
  for (uint64_t page = 0; page < 4_GiB; page += 2_MiB) {
    for (uint64_t address : {page, page + 2_MiB - 1}) {
      const auto translation = Walk(tables, address);
      REQUIRE(translation);
      REQUIRE(translation->physical_address == address);
      REQUIRE(translation->writable);
    }
  }
}

TEST_CASE("nothing is mapped from 4 GiB on") {
  const Segment tables = BuildIdentityPageTables(0x9000);
  for (uint64_t address : {4_GiB, 5_GiB, 511_GiB, 512_GiB, uint64_t{0xffff'8000'0000'0000}})
    CHECK_FALSE(Walk(tables, address));
}

TEST_CASE("the tables point to where they were placed") {
  CHECK(Walk(BuildIdentityPageTables(0x10'0000), 0x1234'5678)->physical_address == 0x1234'5678);
}

}  // namespace
}  // namespace minivmm
