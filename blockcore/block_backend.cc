#include "blockcore/block_backend.h"

#include <utility>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

bool ChangesTheDisk(BlockOp op) {
  switch (op) {
    case BlockOp::kRead:
    case BlockOp::kFlush:
    case BlockOp::kZoneReport:
      return false;
    default:
      return true;
  }
}

bool IsZoneOperation(BlockOp op) { return op >= BlockOp::kZoneAppend; }

}  // namespace

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
  switch (request.op) {
    case BlockOp::kRead:
    case BlockOp::kWrite:
    case BlockOp::kDiscard:
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
  if (request.status == BlockStatus::kOk) {
    root_.Submit(thread, request);
  } else {
    thread.Complete(request);
  }
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
