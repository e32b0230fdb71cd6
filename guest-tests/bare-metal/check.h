// The table of checks and how one of them ends. A check is a plain function: REQUIRE (require.h)
// ends it as failed, SkipCheck() as skipped, returning as passed. Each prints one line:
//
//   ok ID name | not ok ID name: what was wrong, where | skip ID name: reason
//
// Ids are those of the conformance checklist: P- PCI transport, Q- split ring, K- packed ring,
// H- hostile driver, B- block, Z- zones.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_CHECK_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_CHECK_H_

#include <cstdint>
#include <initializer_list>

#include "guest-tests/bare-metal/disk.h"
#include "guest-tests/bare-metal/options.h"
#include "guest-tests/bare-metal/require.h"

namespace minivmm {

// What a check needs; it is skipped, with the reason, where the disk is otherwise.
enum CheckNeeds : unsigned {
  kNeedsNothing = 0,
  kNeedsStart = 1 << 0,     // the disk is started with all features before the check runs
  kNeedsWritable = 1 << 1,  // not a read-only disk
  kNeedsKeptData = 1 << 2,  // reads return what was written
  kNeedsFreeWrites =
      1 << 3,  // an area that may be written in any order: a plain disk or a conventional zone
  kNeedsUnzoned = 1 << 4,       // F_ZONED not offered
  kNeedsQueues = 1 << 5,        // more than one queue
  kNeedsZonesAsFound = 1 << 6,  // host-managed or host-aware; the zones are left as they are
  kNeedsZoned = 1 << 7,         // the same, and all zones are reset before the check runs
  kNeedsHostManaged = 1 << 8 | kNeedsZoned,
  kNeedsHostAware = 1 << 9 | kNeedsZoned,
  kNeedsSplit = 1 << 10,  // the check knows how a split ring looks
  kNeedsPacked = 1 << 11,
};

struct Check {
  const char* id;
  const char* name;
  unsigned needs;
  void (*run)(Disk&);
};

struct CheckTable {
  const Check* checks;
  unsigned count;
};

extern const CheckTable kPciChecks;
extern const CheckTable kTransportChecks;
extern const CheckTable kInterruptChecks;
extern const CheckTable kRingChecks;
extern const CheckTable kHostileChecks;
extern const CheckTable kDisorderChecks;
extern const CheckTable kPackedRingChecks;
extern const CheckTable kQueueResetChecks;
extern const CheckTable kBlockChecks;
extern const CheckTable kZoneFormatChecks;
extern const CheckTable kZoneWriteChecks;
extern const CheckTable kZoneStateChecks;
extern const CheckTable kHostAwareChecks;
// In place of all others with phase=, for a disk that outlives the VMM.
extern const CheckTable kKeepingChecks;    // phase=write and phase=crash
extern const CheckTable kKeptZonesChecks;  // phase=verify

const Options& TheOptions();

// Runs what the options select, prints the summary, and says whether nothing failed.
bool RunChecks(const Options& options, Disk& disk, const CheckTable* const* tables, unsigned count);

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_CHECK_H_
