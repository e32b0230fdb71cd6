#include "blockcore/disk_transfer.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/log.h"
#include "blockcore/base/units.h"
#include "blockcore/disk_transfer_parts.h"

namespace minivmm {

std::string_view OpName(BlockOp op) {
  switch (op) {
    case BlockOp::kRead:
      return "a read";
    case BlockOp::kWrite:
      return "a write";
    case BlockOp::kWriteZeroes:
      return "a write of zeroes";
    case BlockOp::kFlush:
      return "a flush";
    default:
      return "a discard";
  }
}

bool IsWritable(const DiskTransferOptions& options, const BlockRequest& request) {
  const uint32_t block_bytes = options.alignment.block_bytes;
  if (((request.offset_bytes | request.length_bytes) & (block_bytes - 1)) == 0) return true;
  LOG_RATE_LIMITED("{}: {} of {} bytes at {} is no multiple of the {}-byte blocks",
                   options.filename, OpName(request.op), request.length_bytes, request.offset_bytes,
                   block_bytes);
  return false;
}

BlockStatus StatusFromErrno(int errno_value, bool zoned) {
  // virtio-zoned-spec 6.4, point 3.
  switch (errno_value) {
    case ETOOMANYREFS:
      return zoned ? BlockStatus::kZoneOpenLimit : BlockStatus::kIoError;
    case EOVERFLOW:
      return zoned ? BlockStatus::kZoneActiveLimit : BlockStatus::kIoError;
    case EOPNOTSUPP:
    case ENOTTY:
      return BlockStatus::kUnsupported;
    case ENOSPC:
    case EDQUOT:
      return BlockStatus::kNoSpace;
    default:
      return BlockStatus::kIoError;
  }
}

DirectIoAlignment ReadDirectIoAlignment(int fd, uint32_t fallback_bytes) {
  struct statx attributes {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &attributes) == 0 &&
      (attributes.stx_mask & STATX_DIOALIGN) != 0 && attributes.stx_dio_offset_align != 0 &&
      attributes.stx_dio_mem_align != 0) {
    return {.block_bytes = attributes.stx_dio_offset_align,
            .memory_bytes = attributes.stx_dio_mem_align};
  }
  return {.block_bytes = fallback_bytes, .memory_bytes = fallback_bytes};
}

DiskTransfer::ThreadPool& DiskTransfer::Pool() {
  thread_local ThreadPool pool;
  return pool;
}

bool DiskTransfer::IsAligned(const BlockRequest& request) const {
  uint64_t block_mask = options_.alignment.block_bytes - 1;
  uint64_t memory_mask = options_.alignment.memory_bytes - 1;
  if ((block_mask | memory_mask) == 0) return true;
  uint64_t blocks = request.offset_bytes;
  uint64_t addresses = 0;
  for (const iovec& buffer : request.buffers) {
    blocks |= buffer.iov_len;
    if (buffer.iov_len != 0) addresses |= reinterpret_cast<uintptr_t>(buffer.iov_base);
  }
  return (blocks & block_mask) == 0 && (addresses & memory_mask) == 0;
}

void DiskTransfer::Submit(IoThread& thread, BlockRequest& request) {
  bool nothing_to_do = false;
  request.status = BlockStatus::kOk;
  switch (request.op) {
    case BlockOp::kWrite:
      nothing_to_do = request.length_bytes == 0;
      if (!IsWritable(options_, request)) {
        request.status = BlockStatus::kIoError;
        nothing_to_do = true;
      }
      break;
    case BlockOp::kRead:
    case BlockOp::kWriteZeroes:
      nothing_to_do = request.length_bytes == 0;
      break;
    case BlockOp::kFlush:
      // The kernel reports that it lost written data to one fsync, and then forgets: the next one
      // succeeds, though the data is gone (or, worse, still stands in the page cache as if it had
      // been written). So it is for us to remember, until the node is opened anew.
      if (!options_.no_flush) {
        std::lock_guard lock(flushes_.mutex);
        if (flushes_.failed) request.status = BlockStatus::kIoError;
      }
      nothing_to_do = options_.no_flush || request.status != BlockStatus::kOk;
      break;
    case BlockOp::kDiscard: {
      const DiscardRange range = WholeBlocks(request, options_.command_block_bytes);
      nothing_to_do = range.begin_bytes >= range.end_bytes;
      break;
    }
    default:
      request.status = BlockStatus::kUnsupported;
      nothing_to_do = true;
  }
  if (nothing_to_do) {
    thread.Complete(request);
    return;
  }

  ThreadPool& pool = Pool();
  Operation& operation = pool.Take();
  operation.flushes = &flushes_;
  operation.options = &options_;
  operation.thread = &thread;
  operation.request = &request;
  operation.done_bytes = 0;
  operation.cursor = {};
  operation.retries = 0;
  operation.bounce_wanted_bytes = 0;
  operation.next_waiting = nullptr;
  if (request.op == BlockOp::kFlush) {
    operation.StartFlush();
  } else if (request.op == BlockOp::kDiscard) {
    operation.StartCommand();
  } else if (request.op == BlockOp::kWriteZeroes) {
    const bool whole_blocks = minivmm::IsAligned(request.offset_bytes | request.length_bytes,
                                                 options_.command_block_bytes);
    whole_blocks ? operation.StartCommand() : operation.BeginZeroes();
  } else if (IsAligned(request)) {
    operation.StartTransfer();
  } else {
    operation.done = [](IoOperation& self, int32_t result) {
      static_cast<Operation&>(self).OnTransferred(result);
    };
    pool.StartWithBounceBuffer(operation);
  }
}

void DiskTransfer::Operation::StartTransfer() {
  done = [](IoOperation& self, int32_t result) {
    static_cast<Operation&>(self).OnTransferred(result);
  };
  StartPiece();
}

void DiskTransfer::Operation::StartPiece() {
  cursor.Normalize(request->buffers);
  if (bounce != nullptr) {
    StartBouncedPiece();
  } else {
    StartDirectPiece();
  }
}

void DiskTransfer::Operation::StartDirectPiece() {
  VMM_CHECK(cursor.index < request->buffers.size());
  std::span<const iovec> left = request->buffers.subspan(cursor.index);
  left = left.first(std::min<size_t>(left.size(), IOV_MAX));
  uint64_t offset = request->offset_bytes + done_bytes;
  io_uring_sqe& sqe = thread->Prepare(*this);
  bool is_read = request->op == BlockOp::kRead;
  if (cursor.offset_bytes == 0 && left.size() > 1) {
    if (is_read) {
      ::io_uring_prep_readv(&sqe, options->fd, left.data(), left.size(), offset);
    } else {
      ::io_uring_prep_writev(&sqe, options->fd, left.data(), left.size(), offset);
    }
    return;
  }
  // One buffer, or what a short transfer left of one: the next piece begins with a whole one again.
  auto* address = static_cast<std::byte*>(left[0].iov_base) + cursor.offset_bytes;
  auto count =
      static_cast<unsigned>(std::min<uint64_t>(left[0].iov_len - cursor.offset_bytes, 1_GiB));
  if (is_read) {
    ::io_uring_prep_read(&sqe, options->fd, address, count, offset);
  } else {
    ::io_uring_prep_write(&sqe, options->fd, address, count, offset);
  }
}

void DiskTransfer::Operation::StartBouncedPiece() {
  uint64_t offset = request->offset_bytes + done_bytes;
  uint64_t start = AlignDown(offset, options->alignment.block_bytes);
  bounce_lead_bytes = static_cast<uint32_t>(offset - start);
  bounce_wanted_bytes =
      static_cast<uint32_t>(std::min<uint64_t>(RemainingBytes(), kBounceBytes - bounce_lead_bytes));
  piece_bytes = static_cast<uint32_t>(
      AlignUp(bounce_lead_bytes + bounce_wanted_bytes, options->alignment.block_bytes));
  if (request->op == BlockOp::kRead) {
    ::io_uring_prep_read(&thread->Prepare(*this), options->fd, bounce.get(), piece_bytes, start);
    return;
  }
  // Submit has seen to it that a write has no lead and no tail, so that all of the piece is ours.
  VMM_CHECK(bounce_lead_bytes == 0 && piece_bytes == bounce_wanted_bytes);
  cursor.ForEachPart(request->buffers, piece_bytes,
                     [this](const std::byte* source, uint64_t done_count, uint64_t count) {
                       std::memcpy(bounce.get() + done_count, source, count);
                     });
  ::io_uring_prep_write(&thread->Prepare(*this), options->fd, bounce.get(), piece_bytes, start);
}

void DiskTransfer::Operation::OnTransferred(int32_t transferred) {
  if (transferred < 0) {
    if (RetriesAfter(-transferred)) {
      StartPiece();
      return;
    }
    LOG_RATE_LIMITED("{}: {} of {} bytes at {} failed on the host: {}", options->filename,
                     OpName(request->op), request->length_bytes, request->offset_bytes,
                     ErrnoText(-transferred));
    Finish(StatusFromErrno(-transferred, options->zoned));
    return;
  }
  retries = 0;
  auto progress_bytes = static_cast<uint64_t>(transferred);
  if (bounce_wanted_bytes != 0) {
    progress_bytes -= std::min<uint64_t>(progress_bytes, bounce_lead_bytes);
    progress_bytes = std::min<uint64_t>(progress_bytes, bounce_wanted_bytes);
    if (request->op == BlockOp::kRead) {
      cursor.ForEachPart(request->buffers, progress_bytes,
                         [this](std::byte* target, uint64_t done_count, uint64_t count) {
                           std::memcpy(target, bounce.get() + bounce_lead_bytes + done_count,
                                       count);
                         });
    }
  }
  done_bytes += progress_bytes;
  cursor.Advance(request->buffers, progress_bytes);
  if (RemainingBytes() == 0) {
    Finish(BlockStatus::kOk);
    return;
  }
  // With O_DIRECT, a count that is no multiple of the block can only come from the file's end.
  bool at_end = progress_bytes == 0 || !minivmm::IsAligned(static_cast<uint64_t>(transferred),
                                                           options->alignment.block_bytes);
  if (!at_end) {
    StartPiece();
    return;
  }
  if (request->op == BlockOp::kWrite || !options->zeroes_past_end) {
    LOG_RATE_LIMITED("{}: {} at {} stopped short of its {} bytes: has the disk shrunk?",
                     options->filename, OpName(request->op), request->offset_bytes,
                     request->length_bytes);
    Finish(BlockStatus::kIoError);
    return;
  }
  cursor.ForEachPart(
      request->buffers, RemainingBytes(),
      [](std::byte* target, uint64_t, uint64_t count) { std::memset(target, 0, count); });
  Finish(BlockStatus::kOk);
}

void DiskTransfer::Operation::Finish(BlockStatus status) {
  request->status = status;
  thread->Complete(*request);
  BounceBuffer buffer = std::move(bounce);
  ThreadPool& pool = Pool();
  pool.Give(*this);
  if (buffer != nullptr) pool.GiveBounceBuffer(std::move(buffer));
}

}  // namespace minivmm
