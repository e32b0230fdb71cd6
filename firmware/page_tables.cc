#include "firmware/page_tables.h"

#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/little_endian.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr uint64_t kTableBytes = 4096;
constexpr uint64_t kEntryBytes = 8;
constexpr uint64_t kEntries = kTableBytes / kEntryBytes;
constexpr uint64_t kDirectories = 4;

constexpr uint64_t kPresent = 1 << 0;
constexpr uint64_t kWritable = 1 << 1;
constexpr uint64_t kLargePage = 1 << 7;

}  // namespace

Segment BuildIdentityPageTables(uint64_t address) {
  VMM_CHECK(IsAligned(address, kTableBytes));
  VMM_CHECK(RangeFits(address, kPageTablesBytes, 4_GiB));

  const uint64_t pdpt_offset = kTableBytes;
  const uint64_t directories_offset = 2 * kTableBytes;
  std::vector<std::byte> tables(kPageTablesBytes);
  StoreLe<uint64_t>(tables, 0, (address + pdpt_offset) | kPresent | kWritable);
  for (uint64_t i = 0; i < kDirectories; ++i) {
    StoreLe<uint64_t>(tables, pdpt_offset + i * kEntryBytes,
                      (address + directories_offset + i * kTableBytes) | kPresent | kWritable);
  }
  for (uint64_t i = 0; i < kDirectories * kEntries; ++i) {
    StoreLe<uint64_t>(tables, directories_offset + i * kEntryBytes,
                      i * 2_MiB | kPresent | kWritable | kLargePage);
  }
  return Segment::Own(address, std::move(tables));
}

}  // namespace minivmm
