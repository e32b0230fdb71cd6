// What query-blockstats says about a disk. QEMU's members mean what they mean there; beside them
// "x-operations" has all operations, counted by how they ended:
//
//   "x-operations": {"zone-reset": {"ok": 7, "io-error": 0, …, "bytes": 0, "total-time-ns": 91234,
//                                   "latency-histogram": {"boundaries": […], "bins": […]}}, …}
//
// Pure; any thread.
#ifndef MINIVMM_VMM_QMP_BLOCK_STATS_H_
#define MINIVMM_VMM_QMP_BLOCK_STATS_H_

#include <boost/json.hpp>

#include "blockcore/block_backend.h"

namespace minivmm {

// The member "stats".
boost::json::object BlockStats(const BlockCounters& counters, const BlockLatency& latency);

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_BLOCK_STATS_H_
