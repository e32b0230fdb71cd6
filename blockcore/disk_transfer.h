// DiskTransfer carries reads, writes (also of zeroes), flushes and discards of one open file or
// block device into an I/O thread's ring; `file` and `host_device` are made of it. Any number of
// I/O threads may use one DiskTransfer at the same time; its only state that changes is about
// flushes.
//
//   request ─▶ aligned for the descriptor?
//                yes: the request's own buffers go to the kernel
//                no:  pieces of at most 256 KiB, one after the other, through one of the thread's
//                     bounce buffers
//
// Zeroes are the host's work (fallocate); where it cannot, also in parts of a device's blocks, they
// are written, up to 256 KiB at a
// time, from one buffer that all share. Short transfers go on where they stopped. A read copies out
// of a bounce buffer only what the kernel put there. It does not check ranges, permissions or
// zones: BlockBackend and ZoneQueue do.
#ifndef MINIVMM_BLOCKCORE_DISK_TRANSFER_H_
#define MINIVMM_BLOCKCORE_DISK_TRANSFER_H_

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>

#include "blockcore/base/unique_fd.h"
#include "blockcore/block_node.h"
#include "blockcore/block_request.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// What a descriptor demands of a transfer: powers of two, 1 where it is buffered. Offsets and
// lengths (of each buffer, too) must be multiples of the first, addresses of the second.
struct DirectIoAlignment {
  uint32_t block_bytes = 1;
  uint32_t memory_bytes = 1;
};

// For a descriptor opened with O_DIRECT: what the kernel says, or where it is too old (before 6.1)
// to say anything, `fallback_bytes` for both. Any thread.
DirectIoAlignment ReadDirectIoAlignment(int fd, uint32_t fallback_bytes);

struct DiskTransferOptions {
  std::string filename;  // for messages
  int fd = -1;           // owned by the node around, which outlives its requests
  DirectIoAlignment alignment = {};
  uint32_t command_block_bytes = 1;  // of a device, which discards and zeroes whole ones only
  bool zeroes_past_end = false;  // a regular file: reads behind its end give zeroes, not an error,
                                 // and zeroes written there make it longer
  bool no_flush = false;         // flushes do nothing
  bool zoned = false;            // errno values of zone resources have their meaning
};

class DiskTransfer {
 public:
  explicit DiskTransfer(DiskTransferOptions options) : options_(std::move(options)) {}

  // kRead, kWrite, kFlush, kDiscard, kWriteZeroes; completes all others with kUnsupported. Reads
  // may have any offset and length. A write that is no multiple of the block alignment is kIoError:
  // to rewrite the blocks around it could undo another write to the same block. So are zeroes where
  // the host has no operation for them and they have to be written. After a flush that the host
  // failed, and not only could not begin, all flushes are kIoError.
  void Submit(IoThread& thread, BlockRequest& request);

 private:
  struct Operation;
  struct ThreadPool;
  // One fsync at a time, whatever threads the flushes are of.
  struct Flushes {
    std::mutex mutex;
    bool running = false;
    Operation* came_since = nullptr;  // those that came since it began, by `next_waiting`
    bool failed = false;
  };

  static ThreadPool& Pool();

  bool IsAligned(const BlockRequest& request) const;

  DiskTransferOptions options_;
  Flushes flushes_;
};

// A node that is one open file or one device without zones.
class PlainDisk : public BlockNode {
 public:
  PlainDisk(UniqueFd fd, const BlockLimits& limits, DiskTransferOptions transfer)
      : fd_(std::move(fd)), limits_(limits), transfer_(std::move(transfer)) {}

  const BlockLimits& limits() const override { return limits_; }
  void Submit(IoThread& thread, BlockRequest& request) override {
    transfer_.Submit(thread, request);
  }

 protected:
  UniqueFd fd_;
  BlockLimits limits_;

 private:
  DiskTransfer transfer_;
};

// `errno_value` of a failed operation on a disk; `zoned` as in DiskTransferOptions. Any thread.
BlockStatus StatusFromErrno(int errno_value, bool zoned);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_DISK_TRANSFER_H_
