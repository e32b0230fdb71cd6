// What goes wrong with a disk's ranges and zones, in the form of minivmm-io's messages: first the
// words that qemu-io has for it ("Input/output error"), then what zone it is, how it stands, and
// what to do. The checks here are made before anything goes to the disk. Pure; any thread.
#ifndef MINIVMM_TOOLS_IO_ZONE_WORDS_H_
#define MINIVMM_TOOLS_IO_ZONE_WORDS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"

namespace minivmm {

// The range of a read, write or discard.
Result<void> CheckRange(const BlockLimits& limits, uint64_t offset_bytes, uint64_t length_bytes);

// The range of kZoneOpen, Close, Finish or Reset: whole zones of the disk, at least one. The last
// zone may be shorter than the others. The disk has zones.
struct ZoneRange {
  uint32_t first = 0;
  uint32_t count = 0;
};
Result<ZoneRange> CheckZoneRange(const BlockLimits& limits, uint64_t offset_bytes,
                                 uint64_t length_bytes);

// The zones of the range may be changed by such an operation: none is conventional, but for a reset
// of the whole disk, which passes over those.
Result<void> CheckZoneTypes(const BlockLimits& limits, BlockOp op, ZoneRange range,
                            std::span<const ZoneDescriptor> zones);

// An append to the zone that begins at `offset_bytes`.
Result<void> CheckAppend(const BlockLimits& limits, uint64_t offset_bytes, uint64_t length_bytes);

// "zone 4 at 0x1000000 (implicitly open, write pointer 0x1002000)"
std::string DescribeZone(const BlockLimits& limits, const ZoneDescriptor& zone);

// Why `op` failed with `status` at this position; `zone`: that which it is about, as it is now, if
// it is about one. "Input/output error: zone 4 at … : …".
std::string ExplainFailure(const BlockLimits& limits, BlockOp op, BlockStatus status,
                           uint64_t offset_bytes, uint64_t length_bytes,
                           const std::optional<ZoneDescriptor>& zone);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_ZONE_WORDS_H_
