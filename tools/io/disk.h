// The disk of minivmm-io: from what the command line says to a BlockBackend on an I/O thread. On
// the main thread.
#ifndef MINIVMM_TOOLS_IO_DISK_H_
#define MINIVMM_TOOLS_IO_DISK_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "blockcore/base/result.h"
#include "blockcore/block_backend.h"
#include "blockcore/block_graph.h"
#include "blockcore/io_thread.h"
#include "blockcore/options.h"

namespace minivmm {

// A cache mode by QEMU's name: none, writeback, writethrough, directsync or unsafe.
struct CacheMode {
  bool direct = false;
  bool no_flush = false;
  bool writethrough = false;
};
Result<CacheMode> ParseCacheMode(std::string_view name);

struct DiskOptions {
  std::string text;  // a file name, or with image_options a description
  bool image_options = false;
  std::string format;  // empty: by what the file is
  bool read_only = false;
  CacheMode cache;
  std::optional<bool> discard;  // nothing: where the disk can
};

// What the --blockdev description of that disk would be. A name "json:{…}" is one by itself.
Result<Options> DescribeDisk(const DiskOptions& options);

// Closed in reverse order: the thread first, which waits for what disks do by themselves (an
// implicit close of a zone).
struct IoDisk {
  std::string driver;  // of the topmost node
  std::unique_ptr<BlockGraph> graph;
  std::unique_ptr<BlockBackend> backend;  // null without a disk
  std::unique_ptr<IoThread> thread;
};
// Nothing: an I/O thread without a disk.
Result<IoDisk> OpenDisk(const std::optional<DiskOptions>& options);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_DISK_H_
