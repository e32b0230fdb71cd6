#include "blockcore/block_backend.h"

#include <time.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

uint64_t Now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// What an off_t can say, in whole blocks.
constexpr uint64_t kMaxDiskBytes = (uint64_t{1} << 63) - 64_KiB;

bool IsZoneOperation(BlockOp op) { return op >= BlockOp::kZoneAppend; }

}  // namespace

size_t BlockLatency::BucketOf(uint64_t duration_ns) {
  return std::min<size_t>(std::bit_width(duration_ns / 1000), kBuckets - 1);
}

uint64_t BlockLatency::bucket_end_us(size_t bucket) {
  return bucket < kBuckets - 1 ? uint64_t{1} << bucket : UINT64_MAX;
}

Result<std::unique_ptr<BlockBackend>> BlockBackend::Create(BlockGraph& graph,
                                                           std::string_view node_name,
                                                           std::string user) {
  TRY(BlockNode * root, graph.Claim(node_name, std::move(user)));
  return std::unique_ptr<BlockBackend>(new BlockBackend(graph, *root, node_name));
}

BlockBackend::~BlockBackend() { graph_.Release(root_); }

BlockStatus BlockBackend::Check(const BlockRequest& request) const {
  const BlockLimits& limits = root_.limits();
  if (IsZoneOperation(request.op) && limits.zoned == ZonedModel::kNone) {
    return BlockStatus::kUnsupported;
  }
  if (limits.read_only && ChangesTheDisk(request.op)) return BlockStatus::kReadOnly;
  if (request.op == BlockOp::kDiscard && !limits.discard) return BlockStatus::kUnsupported;
  if (request.op == BlockOp::kWriteZeroes && !limits.write_zeroes) return BlockStatus::kUnsupported;
  switch (request.op) {
    case BlockOp::kRead:
    case BlockOp::kWrite:
    case BlockOp::kDiscard:
    case BlockOp::kWriteZeroes:
      if (!RangeFits(request.offset_bytes, request.length_bytes, limits.capacity_bytes)) {
        return BlockStatus::kOutOfRange;
      }
      break;
    default:
      break;
  }
  switch (request.op) {
    case BlockOp::kRead:
    case BlockOp::kWrite:
    case BlockOp::kZoneAppend: {
      uint64_t left_bytes = request.length_bytes;
      for (const iovec& buffer : request.buffers) {
        if (buffer.iov_len > left_bytes) return BlockStatus::kIoError;
        left_bytes -= buffer.iov_len;
      }
      return left_bytes == 0 ? BlockStatus::kOk : BlockStatus::kIoError;
    }
    default:
      return BlockStatus::kOk;
  }
}

void BlockBackend::Submit(IoThread& thread, BlockRequest& request) {
  request.PushCompletion(
      [](void* self, BlockRequest& completed) {
        static_cast<BlockBackend*>(self)->Count(completed);
      },
      this);
  request.status = Check(request);
  if (request.status != BlockStatus::kOk) {
    request.submitted_ns = 0;
    thread.Complete(request);
    return;
  }
  request.may_unmap = request.may_unmap && root_.limits().discard;
  request.submitted_ns = Now_ns();
  root_.Submit(thread, request);
}

Result<void> BlockBackend::Grow(uint64_t capacity_bytes) {
  const BlockLimits& limits = root_.limits();
  auto refuse = [&](std::string_view why) {
    return Fail("cannot resize '{}' to {} bytes: {}", node_name_, capacity_bytes, why);
  };
  if (limits.read_only) return refuse("it is read-only");
  if (limits.zoned != ZonedModel::kNone) {
    return refuse("a zoned disk grows while no guest has it: minivmm-img resize");
  }
  if (capacity_bytes < limits.capacity_bytes) {
    return refuse(fmt::format("it has {} bytes, and a guest's disk can only grow",
                              limits.capacity_bytes.bytes()));
  }
  if (!IsAligned(capacity_bytes, limits.logical_block_bytes) || capacity_bytes > kMaxDiskBytes) {
    return refuse(fmt::format("it must be a multiple of {}, up to {}", limits.logical_block_bytes,
                              kMaxDiskBytes));
  }
  if (capacity_bytes == limits.capacity_bytes) return {};
  Result<void> grown = root_.Grow(capacity_bytes);
  return grown ? grown : refuse(grown.error().message);
}

size_t BlockBackend::ShardOfThread() {
  static std::atomic<size_t> thread_count{0};
  thread_local const size_t shard = thread_count.fetch_add(1, std::memory_order_relaxed) % kShards;
  return shard;
}

void BlockBackend::Count(const BlockRequest& request) {
  Shard& shard = shards_[ShardOfThread()];
  auto op = static_cast<size_t>(request.op);
  shard.requests[op][static_cast<size_t>(request.status)].fetch_add(1, std::memory_order_relaxed);
  if (request.status == BlockStatus::kOk) {
    shard.bytes[op].fetch_add(request.length_bytes, std::memory_order_relaxed);
  }
  if (request.submitted_ns != 0) {
    const uint64_t duration_ns = Now_ns() - request.submitted_ns;
    shard.durations[op][BlockLatency::BucketOf(duration_ns)].fetch_add(1,
                                                                       std::memory_order_relaxed);
    shard.total_ns[op].fetch_add(duration_ns, std::memory_order_relaxed);
  }
  if (request.status == BlockStatus::kIoError && error_observer_) ReportError(request);
}

void BlockBackend::ReportError(const BlockRequest& request) const {
  error_observer_(
      {.op = request.op, .offset_bytes = request.offset_bytes, .status = request.status});
}

BlockLatency BlockBackend::Latency() const {
  BlockLatency sum;
  for (const Shard& shard : shards_) {
    for (size_t op = 0; op < BlockCounters::kOpCount; ++op) {
      BlockLatency::Histogram& histogram = sum.histograms[op];
      for (size_t bucket = 0; bucket < BlockLatency::kBuckets; ++bucket) {
        const uint64_t count = shard.durations[op][bucket].load(std::memory_order_relaxed);
        histogram.buckets[bucket] += count;
        histogram.count += count;
      }
      histogram.total_ns += shard.total_ns[op].load(std::memory_order_relaxed);
    }
  }
  return sum;
}

BlockCounters BlockBackend::Counters() const {
  BlockCounters sum;
  for (const Shard& shard : shards_) {
    for (size_t op = 0; op < BlockCounters::kOpCount; ++op) {
      for (size_t status = 0; status < BlockCounters::kStatusCount; ++status) {
        sum.requests[op][status] += shard.requests[op][status].load(std::memory_order_relaxed);
      }
      sum.bytes[op] += shard.bytes[op].load(std::memory_order_relaxed);
    }
  }
  return sum;
}

}  // namespace minivmm
