// SyncIo: a block node used by one thread that does one thing after another, for set-up and for
// tools. Each call submits one request on an I/O thread, waits until it has completed, and turns a
// failure into a line of text.
//
// Any thread but an I/O thread. Not for a guest's requests.
#ifndef MINIVMM_BLOCKCORE_SYNC_IO_H_
#define MINIVMM_BLOCKCORE_SYNC_IO_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// A few words for a message: "I/O error", "zone limit reached".
std::string_view DescribeStatus(BlockStatus status);

class SyncIo {
 public:
  // Both outlive this object.
  SyncIo(IoThread& thread, BlockNode& node) : thread_(thread), node_(node) {}

  const BlockLimits& limits() const { return node_.limits(); }

  // Any offset and length; multiples of the logical block for writing.
  Result<void> Read(uint64_t offset_bytes, std::span<std::byte> data);
  Result<void> Write(uint64_t offset_bytes, std::span<const std::byte> data);
  Result<void> Flush();
  Result<void> Discard(uint64_t offset_bytes, uint64_t length_bytes);
  // The range reads as zeroes afterwards, and takes no space where the node can do that.
  Result<void> PunchHole(uint64_t offset_bytes, uint64_t length_bytes);

  // For zoned nodes. `op` is one of kZoneOpen, Close, Finish, Reset and ResetAll.
  Result<void> ChangeZone(BlockOp op, uint64_t zone_start_bytes);
  // All zones.
  Result<std::vector<ZoneDescriptor>> ReportZones();

 private:
  BlockStatus Run(BlockRequest& request);

  IoThread& thread_;
  BlockNode& node_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_SYNC_IO_H_
