// What a PVH loader leaves in memory and gives GuestMain the address of.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_START_INFO_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_START_INFO_H_

#include <cstdint>

namespace minivmm {

constexpr uint32_t kPvhMagic = 0x336e'c578;

// struct hvm_start_info, version 1
struct PvhStartInfo {
  uint32_t magic;  // kPvhMagic
  uint32_t version;
  uint32_t flags;
  uint32_t module_count;
  uint64_t module_list;
  uint64_t command_line;
  uint64_t rsdp;
  uint64_t memory_map;
  uint32_t memory_map_entries;
  uint32_t reserved;
};
static_assert(sizeof(PvhStartInfo) == 56);

// struct hvm_memmap_table_entry
struct PvhMemoryRange {
  uint64_t address;
  uint64_t bytes;
  uint32_t type;
  uint32_t reserved;
};
static_assert(sizeof(PvhMemoryRange) == 24);
constexpr uint32_t kPvhRam = 1;

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_START_INFO_H_
