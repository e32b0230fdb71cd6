// What zone checks share: the disk's geometry, reports, appends and zone operations by zone index;
// and for checks of plain reads and writes an area that may be written freely. All for the disk
// that the running check has started.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_ZONES_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_ZONES_H_

#include <cstdint>

#include "guest-tests/bare-metal/disk.h"

namespace minivmm {

struct Geometry {
  uint64_t zone_sectors;
  uint64_t zone_count;
  uint64_t granule_sectors;  // write granularity
  uint32_t max_open;         // 0: no limit
  uint32_t max_active;
  uint64_t max_append_sectors;
};

// Reads it from the configuration space and from a report.
void ReadGeometry(Disk& disk);
const Geometry& TheGeometry();

// Sets the area that FreeSector() starts at: a plain disk's beginning, a conventional zone, or on a
// host-aware disk a sequential one, after a reset of all. Skips the check when there is none.
void FindFreeWriteArea(Disk& disk);
// The n-th sector of the area, which has at least kFreeSectors of them.
uint64_t FreeSector(uint64_t n);
constexpr uint64_t kFreeSectors = 128;

// A page-aligned buffer for data, and for what is compared with it.
constexpr uint32_t kBufferBytes = 256 * 1024;
extern uint8_t write_buffer[kBufferBytes + 4096];
extern uint8_t read_buffer[kBufferBytes + 4096];

// The disk works once it has been started anew.
void RequireWorksAfterReset(Disk& disk);

// Writes a pattern into each 8-byte word that only this seed and position give.
void FillPattern(void* data, uint32_t bytes, uint64_t seed);
bool HasPattern(const void* data, uint32_t bytes, uint64_t seed);

ZoneReport& ReportZones(Disk& disk, uint64_t sector, uint32_t room);
ZoneDescriptor ReportZone(Disk& disk, uint64_t sector);
// The state alone.
uint8_t StateOf(Disk& disk, uint64_t start);
// Written sectors of a zone that is neither full nor conventional.
uint64_t WrittenSectors(Disk& disk, uint64_t start);

// First sector of the n-th (from 0) sequential zone that is neither read-only nor offline; skips
// the check when there are fewer, or when n is beyond what the guest keeps a list of (160).
uint64_t SequentialZone(uint64_t n);
// First sector of a conventional zone; skips the check when there is none.
uint64_t ConventionalZone();

// A write of `sectors` of whatever write_buffer holds.
uint8_t WriteSectors(Disk& disk, uint64_t sector, uint64_t sectors);
// One granule at the zone's write pointer, `at` sectors from its start.
uint8_t WriteGranule(Disk& disk, uint64_t start, uint64_t at = 0);
// Writes from the write pointer (`at`) to the zone's capacity minus `leave`. Skips the check where
// a zone is too large.
void FillZone(Disk& disk, uint64_t start, uint64_t at = 0, uint64_t leave = 0);

struct AppendOutcome {
  uint8_t status;
  uint64_t sector;
};
// An append with a device-writable tail of 9 bytes (the specification's) or of 16 (Linux's). More
// than kBufferBytes are `data` over and over.
AppendOutcome Append(Disk& disk, uint64_t zone_start, const void* data, uint32_t bytes,
                     uint32_t tail_bytes = 16);

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_ZONES_H_
