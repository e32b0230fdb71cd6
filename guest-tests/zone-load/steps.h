// The steps that the kernel command line asks for, one after the other. A step is a load on the
// disk; the words before it say how it is done, and hold for those that follow as well:
//
//   disk=N             the N-th virtio-blk disk from 0; comes before everything else
//   size=BYTES         of a request (4096)
//   depth=N            requests in flight, to 64 (1)
//   zones=N            sequential zones that are written at a time (1)
//   conventional=N     how many zones at the disk's start are conventional (1)
//   ticks=N            how long a step goes on, in ticks of the timestamp counter
//   op=write           writes at the write pointers of the zones
//   op=append          zone appends to them
//   op=conventional    writes spread over the conventional zones
//   op=read            reads spread over the conventional zones
//   op=report          reports of all zones, one after another; `depth` does not count
//
// For each: `@step`, then it waits for a character; at the end `@ran COUNT TICKS`, where a COUNT of
// reports is of whole reports. The first thing that fails ends it all with `@failed WHY`.
#ifndef MINIVMM_GUEST_TESTS_ZONE_LOAD_STEPS_H_
#define MINIVMM_GUEST_TESTS_ZONE_LOAD_STEPS_H_

#include "guest-tests/zone-load/disk.h"

namespace minivmm {

// False when a step failed or there is a word that it does not know; it has said so then.
bool RunSteps(ZonedDisk& disk, const char* command_line);

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_ZONE_LOAD_STEPS_H_
