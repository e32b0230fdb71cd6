// Makes the disk of an image larger. Blocking; any thread but an I/O thread.
#ifndef MINIVMM_BLOCKCORE_ZONED_ZONED_RESIZE_H_
#define MINIVMM_BLOCKCORE_ZONED_ZONED_RESIZE_H_

#include <cstdint>

#include "blockcore/base/result.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/zoned_load.h"

namespace minivmm {

// Adds empty sequential zones, and length to a short last one. Only while the zone table does not
// outgrow the space before the data. After a power cut the image has the old size or the new one.
// Refusals leave it as it is. `contents` is what was loaded through `io`, and is not to be used
// afterwards. Returns the new header.
//
// The order of writes: table pages first, both places of each; what they say of zones behind the
// end, the old header does not ask for. Then one copy of the header, and the other.
Result<ZonedHeader> GrowZonedImage(SyncIo& io, ZonedContents& contents, uint64_t capacity_bytes);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_ZONED_RESIZE_H_
