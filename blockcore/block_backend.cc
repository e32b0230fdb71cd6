#include "blockcore/block_backend.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "blockcore/base/units.h"
#include "blockcore/held_requests.h"

namespace minivmm {
namespace {

uint64_t NextId() {
  static std::atomic<uint64_t> last{0};
  return ++last;
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

BlockBackend::BlockBackend(BlockGraph& graph, BlockNode& root, std::string_view node_name)
    : graph_(graph), root_(root), node_name_(node_name), id_(NextId()) {}

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
  request.status = Check(request);
  if (request.status == BlockStatus::kOk) {
    request.may_unmap = request.may_unmap && root_.limits().discard;
    return Pass(thread, request);
  }
  request.submitted_ns = 0;
  request.PushCompletion(
      [](void* self, BlockRequest& refused) { static_cast<BlockBackend*>(self)->Count(refused); },
      this);
  thread.Complete(request);
}

void BlockBackend::Pass(IoThread& thread, BlockRequest& request) {
  request.PushCompletion(
      [](void* self, BlockRequest& done) { static_cast<BlockBackend*>(self)->OnDone(done); }, this);
  request.submitted_ns = IoThread::TurnTimeNs();
  root_.Submit(thread, request);
}

void BlockBackend::OnDone(BlockRequest& request) {
  if (request.status != BlockStatus::kOk) [[unlikely]] {
    OnFailed(request);
  } else {
    Count(request);
  }
}

void BlockBackend::OnFailed(BlockRequest& request) {
  HeldRequests* held = request.held_in;
  if (!IsHostFailure(request.status) || !IsWholeBlocks(request)) {
    return FollowsHeldWrite(request) ? Hold(request) : Count(request);
  }
  ErrorAction action = ErrorAction::kReport;
  if (held != nullptr) action = ActionOn(policy_, request.op, request.status);
  if (action == ErrorAction::kStop && !held->is_open()) action = ErrorAction::kReport;
  if (error_observer_) {
    error_observer_({.op = request.op,
                     .offset_bytes = request.offset_bytes,
                     .status = request.status,
                     .action = action});
  }
  if (action == ErrorAction::kStop) {
    BlockStatus none = BlockStatus::kOk;
    io_status_.compare_exchange_strong(none, request.status, std::memory_order_relaxed);
    return Hold(request);
  }
  Count(request);
  if (action == ErrorAction::kIgnore) request.status = BlockStatus::kOk;
}

// What O_DIRECT cannot write is the sender's fault, and no host that is put in order ever will.
bool BlockBackend::IsWholeBlocks(const BlockRequest& request) const {
  if (request.op != BlockOp::kWrite && request.op != BlockOp::kWriteZeroes) return true;
  return IsAligned(request.offset_bytes | request.length_bytes, limits().write_alignment_bytes);
}

// A zone refuses what was to be written behind a write that it failed. That is no answer while the
// latter waits: it waits as well, behind it. (Of one I/O thread only: where two write to one zone,
// no order between them was promised.)
bool BlockBackend::FollowsHeldWrite(const BlockRequest& request) const {
  if (request.status != BlockStatus::kZoneUnaligned || request.op != BlockOp::kWrite) return false;
  if (request.held_in == nullptr) return false;
  const uint64_t zone_bytes = root_.limits().zone_size_bytes;
  const uint64_t begin_bytes = request.offset_bytes / zone_bytes * zone_bytes;
  return request.held_in->HasWriteIn(begin_bytes, begin_bytes + zone_bytes);
}

void BlockBackend::Hold(BlockRequest& request) {
  request.PushCompletion(
      [](void* self, BlockRequest& released) {
        auto& backend = *static_cast<BlockBackend*>(self);
        if (released.status != BlockStatus::kOk) return backend.Count(released);
        backend.Pass(released.held_in->thread(), released);
      },
      this);
  request.held_in->Hold(request);
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

BlockBackend::Shard& BlockBackend::ShardOfThread() {
  // An I/O thread has requests of one backend, as a rule.
  thread_local uint64_t last_id = 0;
  thread_local Shard* last_shard = nullptr;
  if (last_id != id_) {
    std::lock_guard lock(shards_mutex_);
    last_shard = &shards_[std::this_thread::get_id()];
    last_id = id_;
  }
  return *last_shard;
}

void BlockBackend::Count(const BlockRequest& request) {
  auto add = [](Counter& counter, uint64_t number) {
    counter.store(counter.load(std::memory_order_relaxed) + number, std::memory_order_relaxed);
  };
  Shard& shard = ShardOfThread();
  auto op = static_cast<size_t>(request.op);
  add(shard.requests[op][static_cast<size_t>(request.status)], 1);
  if (request.status == BlockStatus::kOk) add(shard.bytes[op], request.length_bytes);
  if (request.submitted_ns != 0) {
    const uint64_t duration_ns = IoThread::TurnTimeNs() - request.submitted_ns;
    add(shard.durations[op][BlockLatency::BucketOf(duration_ns)], 1);
    add(shard.total_ns[op], duration_ns);
  }
}

BlockLatency BlockBackend::Latency() const {
  BlockLatency sum;
  std::lock_guard lock(shards_mutex_);
  for (const auto& [thread, shard] : shards_) {
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
  std::lock_guard lock(shards_mutex_);
  for (const auto& [thread, shard] : shards_) {
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
