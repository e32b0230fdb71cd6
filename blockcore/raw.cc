#include "blockcore/raw.h"

#include "blockcore/base/units.h"
#include "blockcore/io_thread.h"

namespace minivmm {
namespace {

class RawNode : public BlockNode {
 public:
  RawNode(BlockNode& child, const BlockLimits& limits, const RawOptions& options)
      : child_(child),
        limits_(limits),
        offset_bytes_(options.offset_bytes),
        is_part_(options.offset_bytes != 0 || options.size_bytes.has_value()),
        has_end_(options.size_bytes.has_value()),
        no_flush_(options.cache_no_flush) {}

  const BlockLimits& limits() const override { return limits_; }

  void Submit(IoThread& thread, BlockRequest& request) override {
    if (request.op == BlockOp::kFlush && no_flush_) {
      request.status = BlockStatus::kOk;
      thread.Complete(request);
      return;
    }
    // What stands on a part may be led astray, an image by its own table, and must not get out of
    // it.
    if (has_end_ &&
        !RangeFits(request.offset_bytes, request.length_bytes, limits_.capacity_bytes)) {
      request.status = BlockStatus::kOutOfRange;
      thread.Complete(request);
      return;
    }
    if (offset_bytes_ != 0) {
      request.offset_bytes += offset_bytes_;
      request.PushCompletion(
          [](void* self, BlockRequest& completed) {
            completed.offset_bytes -= static_cast<RawNode*>(self)->offset_bytes_;
          },
          this);
    }
    child_.Submit(thread, request);
  }

  Result<void> Grow(uint64_t capacity_bytes) override {
    if (is_part_) return Fail("it is a part of another disk: offset= and size= say how long it is");
    TRY_VOID(child_.Grow(capacity_bytes));
    limits_.capacity_bytes = capacity_bytes;
    return {};
  }

 private:
  BlockNode& child_;
  BlockLimits limits_;
  uint64_t offset_bytes_;
  bool is_part_;
  bool has_end_;
  bool no_flush_;
};

}  // namespace

Result<std::unique_ptr<BlockNode>> CreateRaw(BlockNode& child, const RawOptions& options) {
  BlockLimits limits = child.limits();
  bool is_part = options.offset_bytes != 0 || options.size_bytes.has_value();
  if (is_part && limits.zoned != ZonedModel::kNone) {
    return Fail("driver 'raw' cannot show a part of a zoned disk: leave out 'offset' and 'size'");
  }
  if (is_part) {
    uint64_t capacity_bytes = limits.capacity_bytes;
    if (options.offset_bytes > capacity_bytes) {
      return Fail("driver 'raw': offset={} is behind the end of the disk of {} bytes",
                  options.offset_bytes, capacity_bytes);
    }
    uint64_t size_bytes = options.size_bytes.value_or(capacity_bytes - options.offset_bytes);
    if (!RangeFits(options.offset_bytes, size_bytes, capacity_bytes)) {
      return Fail(
          "driver 'raw': offset={} and size={} reach beyond the end of the disk of {} bytes",
          options.offset_bytes, size_bytes, capacity_bytes);
    }
    if (!IsAligned(options.offset_bytes | size_bytes, limits.logical_block_bytes)) {
      return Fail(
          "driver 'raw': offset={} and size={} must be multiples of the disk's blocks of {} "
          "bytes",
          options.offset_bytes, size_bytes, limits.logical_block_bytes);
    }
    if (size_bytes == 0) {
      return Fail("driver 'raw': offset={} and size={} leave nothing of the disk of {} bytes",
                  options.offset_bytes, size_bytes, capacity_bytes);
    }
    limits.capacity_bytes = size_bytes;
    limits.grows = limits.grows && !options.size_bytes.has_value();
    // A partition that does not begin at a physical block must not promise them.
    if (!IsAligned(options.offset_bytes, limits.physical_block_bytes)) {
      limits.physical_block_bytes = limits.logical_block_bytes;
    }
  }
  limits.read_only = limits.read_only || options.read_only;
  limits.discard = limits.discard && options.allow_discard && !limits.read_only;
  if (!limits.discard) limits.discard_granularity_bytes = 0;
  limits.write_zeroes = limits.write_zeroes && !limits.read_only;
  return std::make_unique<RawNode>(child, limits, options);
}

}  // namespace minivmm
