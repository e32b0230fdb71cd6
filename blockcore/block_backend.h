// BlockBackend is what a device or a tool holds of a disk: the root node of its graph, for itself
// alone, with the checks that are the same for all disks and with counters.
//
// Made and destroyed on the main thread, outlived by the graph. Submit is for any number of I/O
// threads. It does not look at zones' states: ZoneQueue does, below.
#ifndef MINIVMM_BLOCKCORE_BLOCK_BACKEND_H_
#define MINIVMM_BLOCKCORE_BLOCK_BACKEND_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "blockcore/base/result.h"
#include "blockcore/block_graph.h"
#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// How many requests of each operation ended with each status, and the bytes of those that ended
// well.
struct BlockCounters {
  static constexpr size_t kOpCount = static_cast<size_t>(BlockOp::kZoneResetAll) + 1;
  static constexpr size_t kStatusCount = static_cast<size_t>(BlockStatus::kZoneActiveLimit) + 1;

  std::array<std::array<uint64_t, kStatusCount>, kOpCount> requests{};
  std::array<uint64_t, kOpCount> bytes{};

  uint64_t Requests(BlockOp op, BlockStatus status) const {
    return requests[static_cast<size_t>(op)][static_cast<size_t>(status)];
  }
  uint64_t Bytes(BlockOp op) const { return bytes[static_cast<size_t>(op)]; }
};

class BlockBackend : public BlockNode {
 public:
  // Takes the node for `user`, who is named in the error for the next one who wants it ("device
  // 'virtio-blk-pci'"). Fails when there is no such node or somebody has it.
  static Result<std::unique_ptr<BlockBackend>> Create(BlockGraph& graph, std::string_view node_name,
                                                      std::string user);

  // All requests must have completed.
  ~BlockBackend() override;

  BlockBackend(const BlockBackend&) = delete;
  BlockBackend& operator=(const BlockBackend&) = delete;

  const std::string& node_name() const { return node_name_; }
  const BlockLimits& limits() const override { return root_.limits(); }

  // As BlockNode::Submit. Answers by itself, in this order: kUnsupported for an operation that this
  // disk has not; kReadOnly for one that changes a read-only disk; kOutOfRange for a read, write or
  // discard beyond the capacity; kIoError if the buffers are not as long as the request says.
  void Submit(IoThread& thread, BlockRequest& request) override;

  // Any thread. Requests that complete meanwhile may be in one number and not yet in another.
  BlockCounters Counters() const;

 private:
  // I/O threads count in different ones, so that they share no cache line.
  struct alignas(64) Shard {
    std::array<std::array<std::atomic<uint64_t>, BlockCounters::kStatusCount>,
               BlockCounters::kOpCount>
        requests{};
    std::array<std::atomic<uint64_t>, BlockCounters::kOpCount> bytes{};
  };
  static constexpr size_t kShards = 8;

  BlockBackend(BlockGraph& graph, BlockNode& root, std::string_view node_name)
      : graph_(graph), root_(root), node_name_(node_name) {}

  static size_t ShardOfThread();
  BlockStatus Check(const BlockRequest& request) const;
  void Count(const BlockRequest& request);

  BlockGraph& graph_;
  BlockNode& root_;
  const std::string node_name_;
  std::array<Shard, kShards> shards_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BLOCK_BACKEND_H_
