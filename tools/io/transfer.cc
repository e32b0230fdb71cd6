#include "tools/io/transfer.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <utility>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr size_t kMemoryAlignment = 4096;

bool MovesData(BlockOp op) {
  return op == BlockOp::kRead || op == BlockOp::kWrite || op == BlockOp::kZoneAppend;
}

// The pieces of the buffers, which lie one behind the other at `memory`, that hold `length` bytes
// from `begin` on.
std::vector<iovec> SliceBuffers(std::byte* memory, const std::vector<uint64_t>& lengths,
                                uint64_t begin, uint64_t length) {
  std::vector<iovec> slices;
  uint64_t start = 0;
  for (uint64_t buffer_bytes : lengths) {
    const uint64_t from = std::max(start, begin);
    const uint64_t to = std::min(start + buffer_bytes, begin + length);
    if (from < to) slices.push_back({memory + from, to - from});
    start += buffer_bytes;
  }
  return slices;
}

}  // namespace

Result<IoBuffer> IoBuffer::Allocate(uint64_t size_bytes, uint8_t fill) {
  IoBuffer buffer;
  const size_t allocated = AlignUp(std::max<uint64_t>(size_bytes, 1), kMemoryAlignment);
  buffer.memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kMemoryAlignment, allocated)));
  if (buffer.memory_ == nullptr) return Fail("no memory for {} bytes", size_bytes);
  std::memset(buffer.memory_.get(), fill, size_bytes);
  buffer.size_bytes_ = size_bytes;
  return buffer;
}

uint64_t TransferPlan::TotalBytes() const {
  uint64_t total = 0;
  for (uint64_t length : lengths) total += length;
  return total;
}

uint64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Transfer::Transfer(BlockNode& disk, TransferPlan plan) : disk_(disk), plan_(std::move(plan)) {
  Cut();
}

void Transfer::Cut() {
  const BlockLimits& limits = disk_.limits();
  const uint64_t total = plan_.TotalBytes();
  // A device refuses reads that cross zones; who types a command means the bytes.
  const bool by_zone = plan_.op == BlockOp::kRead && limits.zoned == ZonedModel::kHostManaged;
  uint64_t done = 0;
  do {
    uint64_t length = total - done;
    const uint64_t offset = plan_.offset_bytes + done;
    if (by_zone)
      length = std::min(length, limits.zone_size_bytes - offset % limits.zone_size_bytes);
    BlockRequest part;
    part.op = plan_.op;
    part.offset_bytes = offset;
    part.length_bytes = length;
    part.may_unmap = plan_.may_unmap;
    parts_.push_back(part);
    buffers_.push_back(MovesData(plan_.op)
                           ? SliceBuffers(plan_.buffer.bytes().data(), plan_.lengths, done, length)
                           : std::vector<iovec>());
    done += length;
  } while (done < total);
  for (size_t i = 0; i < parts_.size(); ++i) parts_[i].buffers = buffers_[i];
}

void Transfer::Submit(IoThread& thread, std::function<void()> on_done) {
  thread_ = &thread;
  on_done_ = std::move(on_done);
  parts_left_ = parts_.size();
  begun_ns_ = NowNs();
  for (BlockRequest& part : parts_) {
    part.PushCompletion(
        [](void* self, BlockRequest& completed) {
          static_cast<Transfer*>(self)->EndPart(completed);
        },
        this);
    disk_.Submit(thread, part);
  }
}

void Transfer::EndPart(const BlockRequest& part) {
  if (part.status != BlockStatus::kOk && status_ == BlockStatus::kOk) {
    status_ = part.status;
    failed_offset_bytes_ = part.offset_bytes;
  }
  if (--parts_left_ != 0) return;
  if (!plan_.flush_after || status_ != BlockStatus::kOk) {
    Finish();
    return;
  }
  flush_.op = BlockOp::kFlush;
  flush_.PushCompletion(
      [](void* self, BlockRequest& completed) {
        auto& transfer = *static_cast<Transfer*>(self);
        transfer.status_ = completed.status;
        transfer.flush_failed_ = completed.status != BlockStatus::kOk;
        transfer.Finish();
      },
      this);
  disk_.Submit(*thread_, flush_);
}

void Transfer::Finish() {
  done_ns_ = NowNs();
  // The owner may free this object as soon as it is told.
  auto on_done = std::move(on_done_);
  on_done();
}

void Transfer::Run(IoThread& thread) {
  std::promise<void> done;
  thread.RunAndWait([&] { Submit(thread, [&done] { done.set_value(); }); });
  done.get_future().wait();
  // The promise is in use until set_value has returned.
  thread.RunAndWait([] {});
}

}  // namespace minivmm
