// BlockBackend is what a device or a tool holds of a disk: the root node of its graph, for itself
// alone, with the checks that are the same for all disks, with counters and with times, and with
// the policy for what the host fails:
//
//   node ─▶ failed? ─ ErrorPolicy ─┬─ report ─▶ sender
//             no │                 ├─ ignore ─▶ sender, as done
//                ▼                 └─ stop ───▶ waits in the sender's HeldRequests ─▶ node again
//             sender
//
// Made and destroyed on the main thread, outlived by the graph. Submit is for any number of I/O
// threads. It does not look at zones' states: ZoneQueue does, below.
#ifndef MINIVMM_BLOCKCORE_BLOCK_BACKEND_H_
#define MINIVMM_BLOCKCORE_BLOCK_BACKEND_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "blockcore/base/result.h"
#include "blockcore/block_graph.h"
#include "blockcore/block_node.h"
#include "blockcore/error_policy.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// How many requests of each operation ended with each status, and the bytes of those that ended
// well. One that waited and was tried again counts once, as it ended; one whose error was ignored
// counts as the error that it was.
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

// How long requests took, for each operation: from Submit of those that passed the backend's own
// checks until their completion, however they ended. Of one that was tried again, the last time.
// The clock is that of the I/O thread's turns: what ends in the turn in which it began took no
// time.
struct BlockLatency {
  // Bucket 0 counts requests below 1 µs, bucket i those in [2^(i-1), 2^i) µs, the last one all
  // others as well (from 67 s on).
  static constexpr size_t kBuckets = 28;
  struct Histogram {
    std::array<uint64_t, kBuckets> buckets{};
    uint64_t count = 0;  // the sum of `buckets`
    uint64_t total_ns = 0;
  };
  std::array<Histogram, BlockCounters::kOpCount> histograms{};

  const Histogram& Of(BlockOp op) const { return histograms[static_cast<size_t>(op)]; }

  static size_t BucketOf(uint64_t duration_ns);
  // The upper end of a bucket; UINT64_MAX for the last.
  static uint64_t bucket_end_us(size_t bucket);
};

// A request that the host failed, and what came of it.
struct BlockError {
  BlockOp op = BlockOp::kRead;
  uint64_t offset_bytes = 0;
  BlockStatus status = BlockStatus::kIoError;
  ErrorAction action = ErrorAction::kReport;
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

  // As BlockNode::Submit. Answers by itself, in this order: kUnsupported for a zone operation on a
  // disk without zones; kReadOnly for what changes a read-only disk; kUnsupported for a discard or
  // zeroes that this disk has not; kOutOfRange for a read, a write (also of zeroes) or a discard
  // beyond the capacity; kIoError if the buffers are not as long as
  // the request says. Takes back may_unmap where the disk has no discard.
  void Submit(IoThread& thread, BlockRequest& request) override;

  // As BlockNode::Grow, with checks: fails also for read-only and for zoned disks, and for a size
  // that is smaller, or no multiple of the logical block.
  Result<void> Grow(uint64_t capacity_bytes) override;

  // Any thread. Requests that complete meanwhile may be in one number and not yet in another.
  BlockCounters Counters() const;
  BlockLatency Latency() const;

  // What becomes of requests that the host fails and whose sender lets them wait (held_in). They
  // wait only while his HeldRequests are open, and are reported otherwise. Those of other senders
  // are always reported. Main thread, before the first request.
  void SetErrorPolicy(const ErrorPolicy& policy) { policy_ = policy; }
  const ErrorPolicy& error_policy() const { return policy_; }

  // Why the first request had to wait, since the last ResetIoStatus: kOk, kIoError, kNoSpace. Any
  // thread.
  BlockStatus io_status() const { return io_status_.load(std::memory_order_relaxed); }
  void ResetIoStatus() { io_status_.store(BlockStatus::kOk, std::memory_order_relaxed); }

  // `observer` is called on the request's I/O thread each time the host fails a request that it
  // could have done, before anything comes of it; it returns soon and does not submit. Empty:
  // nobody is called any more. Main thread, while no request is under way.
  void SetErrorObserver(std::function<void(const BlockError& error)> observer) {
    error_observer_ = std::move(observer);
  }

 private:
  using Counter = std::atomic<uint64_t>;
  // Each I/O thread counts in one of its own, so that to count takes no locked instruction.
  struct alignas(64) Shard {
    std::array<std::array<Counter, BlockCounters::kStatusCount>, BlockCounters::kOpCount>
        requests{};
    std::array<Counter, BlockCounters::kOpCount> bytes{};
    std::array<std::array<Counter, BlockLatency::kBuckets>, BlockCounters::kOpCount> durations{};
    std::array<Counter, BlockCounters::kOpCount> total_ns{};
  };

  BlockBackend(BlockGraph& graph, BlockNode& root, std::string_view node_name);

  Shard& ShardOfThread();
  BlockStatus Check(const BlockRequest& request) const;
  void Pass(IoThread& thread, BlockRequest& request);
  void OnDone(BlockRequest& request);
  void OnFailed(BlockRequest& request);
  bool IsWholeBlocks(const BlockRequest& request) const;
  bool FollowsHeldWrite(const BlockRequest& request) const;
  void Hold(BlockRequest& request);
  void Count(const BlockRequest& request);

  BlockGraph& graph_;
  BlockNode& root_;
  const std::string node_name_;
  ErrorPolicy policy_;
  std::atomic<BlockStatus> io_status_ = BlockStatus::kOk;
  std::function<void(const BlockError& error)> error_observer_;
  const uint64_t id_;  // no other backend's, ever
  mutable std::mutex shards_mutex_;
  std::map<std::thread::id, Shard> shards_;  // guarded by shards_mutex_, but not what is in a shard
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BLOCK_BACKEND_H_
