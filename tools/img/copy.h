// Moving the data of a disk: what convert, dump and restore have in common. Blocking; main's
// thread.
#ifndef MINIVMM_TOOLS_IMG_COPY_H_
#define MINIVMM_TOOLS_IMG_COPY_H_

#include <cstdint>
#include <string>

#include "blockcore/base/result.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/zoned_format.h"
#include "tools/img/disk.h"
#include "tools/img/source.h"

namespace minivmm {

// Writes the data of a zoned source into a file that reads as zeroes, at the same offsets; blocks
// of zeroes stay holes. Returns the bytes written. `what` is for the progress line.
Result<uint64_t> CopyToFile(DiskSource& source, OutputFile& file, const std::string& what);

struct ZonedTarget {
  SyncIo* io = nullptr;
  ZonedGeometry geometry;
  // What was never written reads as zeroes: zeroes at a full zone's end need no writing.
  bool sparse = false;
};

// Writes the disk into a zoned one whose sequential zones are all empty, first the zones that end
// up full, and flushes. A zoned source has the target's geometry: its zones come out with the same
// write pointers, open ones closed. Of an ordinary source, each zone is written up to its last
// data, and finished if the target limits active zones. Returns the bytes written.
Result<uint64_t> CopyToZones(DiskSource& source, const ZonedTarget& target,
                             const std::string& what);

// Makes the image `path` of the source: a new file, removed again when anything fails. Read-only
// and offline zones of the source are that in the image, too. Returns the bytes written.
Result<uint64_t> CopyToNewImage(DiskSource& source, const ZonedGeometry& geometry,
                                const std::string& path, bool overwrite, const std::string& what);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_COPY_H_
