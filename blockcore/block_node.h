// BlockNode: a node of the block graph, after QEMU's block layer but with two functions. Leaves are
// `host_device`, `file` and `null-co`; filters use their child, which outlives them. BlockLimits
// travel from the leaf to the top, each filter adjusting them.
#ifndef MINIVMM_BLOCKCORE_BLOCK_NODE_H_
#define MINIVMM_BLOCKCORE_BLOCK_NODE_H_

#include <atomic>
#include <cstdint>

#include "blockcore/base/result.h"
#include "blockcore/block_request.h"

namespace minivmm {

class IoThread;

// The size of a disk: I/O threads read it while the main thread may change it.
class Capacity {
 public:
  Capacity(uint64_t bytes) : bytes_(bytes) {}
  Capacity(const Capacity& other) : bytes_(other.bytes()) {}
  Capacity& operator=(const Capacity& other) {
    bytes_.store(other.bytes(), std::memory_order_relaxed);
    return *this;
  }

  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  operator uint64_t() const { return bytes(); }

 private:
  std::atomic<uint64_t> bytes_;
};

// What a disk is and how it may be used. Constant for the node's life, but for what Grow changes.
struct BlockLimits {
  Capacity capacity_bytes = 0;          // a multiple of logical_block_bytes
  uint32_t logical_block_bytes = 512;   // power of two, 512 to 64 KiB: unit of addressing
  uint32_t physical_block_bytes = 512;  // power of two, >= logical
  uint32_t write_alignment_bytes = 1;   // of writes and zeroes; others fail (O_DIRECT)
  bool read_only = false;
  bool discard = false;  // kDiscard does something
  uint32_t discard_granularity_bytes = 0;
  bool write_zeroes = false;  // there is a kWriteZeroes
  bool grows = false;         // a write behind the capacity makes it longer (a file)

  ZonedModel zoned = ZonedModel::kNone;
  // All below: 0 unless zoned.
  uint64_t zone_size_bytes = 0;  // of every zone but possibly the last
  uint32_t zone_count = 0;
  uint32_t max_open_zones = 0;    // 0 = no limit
  uint32_t max_active_zones = 0;  // 0 = no limit
  uint64_t max_append_bytes = 0;  // 0 = no append; else a multiple of write_granularity_bytes
  uint32_t write_granularity_bytes = 0;  // of writes and appends in sequential zones

  bool operator==(const BlockLimits&) const = default;
};

class BlockNode {
 public:
  virtual ~BlockNode() = default;

  virtual const BlockLimits& limits() const = 0;

  // Starts `request` on `thread`, which must be the calling thread. The request completes exactly
  // once, through IoThread::Complete on the same thread, never inside Submit.
  virtual void Submit(IoThread& thread, BlockRequest& request) = 0;

  // Makes the disk larger, while requests go on; limits().capacity_bytes says so afterwards.
  // `capacity_bytes` is a larger multiple of the logical block. Main thread. Fails when the node
  // cannot, which is then as it was.
  virtual Result<void> Grow(uint64_t capacity_bytes) {
    return Fail("a disk of this kind cannot become {} bytes long", capacity_bytes);
  }
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BLOCK_NODE_H_
