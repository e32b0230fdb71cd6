// The page tables with which a vCPU enters long mode: the first 4 GiB mapped one to one, writable
// and executable, so that kernel, initrd and boot structures are reachable wherever a loader puts
// them. Pure; any thread. The kernel replaces them early.
//
//   PML4 ──[0]──▶ PDPT ──[0..3]──▶ four page directories, each with 512 pages of 2 MiB
//
// 2 MiB pages and not four of 1 GiB: every x86-64 processor has them.
#ifndef MINIVMM_FIRMWARE_PAGE_TABLES_H_
#define MINIVMM_FIRMWARE_PAGE_TABLES_H_

#include <cstdint>

#include "firmware/boot_image.h"

namespace minivmm {

constexpr uint64_t kPageTablesBytes = 6 * 4096;

// kPageTablesBytes at `address` (a multiple of 4096, below 4 GiB), which is also the value for cr3.
Segment BuildIdentityPageTables(uint64_t address);

}  // namespace minivmm

#endif  // MINIVMM_FIRMWARE_PAGE_TABLES_H_
