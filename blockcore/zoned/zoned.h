// The node `zoned`: a host-managed or host-aware disk in an ordinary file, persistent and safe
// against power cuts. ZoneQueue makes all decisions; ZonedImage below it keeps the bytes.
//
//   device ──▶ ZonedNode: ZoneQueue ──▶ ZonedImage ──▶ child (a file)
#ifndef MINIVMM_BLOCKCORE_ZONED_ZONED_H_
#define MINIVMM_BLOCKCORE_ZONED_ZONED_H_

#include <memory>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"

namespace minivmm {

struct ZonedOptions {
  bool read_only = false;  // several can share the image, and nothing in it changes
};

// `child` outlives the node and is used by it alone. Blocks, on any thread but an I/O thread. When
// the node goes, what was not flushed may be lost.
Result<std::unique_ptr<BlockNode>> OpenZoned(BlockNode& child, const ZonedOptions& options);
// With the caller's thread instead of one that is started for the opening alone.
Result<std::unique_ptr<BlockNode>> OpenZoned(IoThread& thread, BlockNode& child,
                                             const ZonedOptions& options);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_ZONED_H_
