// From what --drive asked for to the description of a block node. main calls it before it adds the
// node to the graph; it looks at the file, but opens nothing for long. Main thread, set-up.
#ifndef MINIVMM_VMM_DESCRIBE_DRIVE_H_
#define MINIVMM_VMM_DESCRIBE_DRIVE_H_

#include "blockcore/base/result.h"
#include "blockcore/options.h"
#include "vmm/drive_option.h"

namespace minivmm {

// For BlockGraph::Add. Reads the file's beginning when the format was left open. Fails when the
// file is not there, or with the advice to name the format.
Result<Options> DescribeDrive(const DriveOption& drive);

}  // namespace minivmm

#endif  // MINIVMM_VMM_DESCRIBE_DRIVE_H_
