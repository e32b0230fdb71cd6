// The filter `raw`: hands everything to its child, with all limits of the child. On an ordinary
// disk `offset` and `size` show a part of it; requests that leave a part that has a size are
// answered kOutOfRange. One frame per request, and none where there is no offset.
#ifndef MINIVMM_BLOCKCORE_RAW_H_
#define MINIVMM_BLOCKCORE_RAW_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"

namespace minivmm {

struct RawOptions {
  uint64_t offset_bytes = 0;
  std::optional<uint64_t> size_bytes = std::nullopt;  // all that is behind the offset unless given
  bool read_only = false;                             // a read-only child is read-only anyhow
  bool allow_discard = true;
  bool cache_no_flush = false;
};

// `child` outlives the node. Fails for a part that is not within the child or not made of whole
// blocks, and for any part of a zoned disk: its zones would no longer begin where the drivers
// expect them.
Result<std::unique_ptr<BlockNode>> CreateRaw(BlockNode& child, const RawOptions& options);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_RAW_H_
