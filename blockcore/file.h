// The node `file`: a regular file as an ordinary disk. OpenFile checks everything and says in one
// line what is wrong; afterwards the node serves any number of I/O threads.
//
// The disk ends at the end of the file, rounded up to a whole block: what the last block has no
// bytes for reads as zeroes, and a write there makes the file longer. So do Grow, and writes behind
// the end by who knows what lies there (BlockLimits::grows). The file is locked as a whole (OFD
// lock of fcntl(2)): one writer, or any number of readers. Not for block devices (host_device).
#ifndef MINIVMM_BLOCKCORE_FILE_H_
#define MINIVMM_BLOCKCORE_FILE_H_

#include <memory>
#include <string>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"

namespace minivmm {

struct FileOptions {
  std::string filename;
  bool read_only = false;
  bool cache_direct = false;    // O_DIRECT: past the host's page cache
  bool cache_no_flush = false;  // a flush does nothing: fast, and unsafe when the host goes down
  bool discard = false;         // a discard punches a hole
};

Result<std::unique_ptr<BlockNode>> OpenFile(const FileOptions& options);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_FILE_H_
