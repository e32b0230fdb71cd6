#include "blockcore/disk_transfer.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/log.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr size_t kBounceBytes = 256_KiB;
// Of one I/O thread. Requests beyond that wait for a buffer, so that a guest with odd buffers
// cannot make us allocate a buffer for each of its requests.
constexpr size_t kMaxBounceBuffers = 16;
constexpr size_t kBounceAlignmentBytes = 4096;
// EINTR and EAGAIN in a row; more is an error of the host.
constexpr int kMaxRetries = 100;

struct AlignedDelete {
  void operator()(std::byte* buffer) const {
    ::operator delete[](buffer, std::align_val_t{kBounceAlignmentBytes});
  }
};
using BounceBuffer = std::unique_ptr<std::byte[], AlignedDelete>;

BounceBuffer NewBounceBuffer() {
  return BounceBuffer(new (std::align_val_t{kBounceAlignmentBytes}) std::byte[kBounceBytes]);
}

// A place in a list of buffers.
struct BufferCursor {
  size_t index = 0;
  size_t offset_bytes = 0;  // within buffers[index]; less than its length, or 0

  void Normalize(std::span<const iovec> buffers) {
    while (index < buffers.size() && offset_bytes >= buffers[index].iov_len) {
      offset_bytes -= buffers[index].iov_len;
      ++index;
    }
  }

  void Advance(std::span<const iovec> buffers, uint64_t bytes) {
    offset_bytes += bytes;
    Normalize(buffers);
  }

  // Calls `copy(address, done, count)` for consecutive parts of the next `bytes`.
  template <typename Copy>
  void ForEachPart(std::span<const iovec> buffers, uint64_t bytes, Copy copy) const {
    BufferCursor cursor = *this;
    for (uint64_t done = 0; done < bytes;) {
      cursor.Normalize(buffers);
      VMM_CHECK(cursor.index < buffers.size());
      const iovec& buffer = buffers[cursor.index];
      uint64_t count = std::min<uint64_t>(bytes - done, buffer.iov_len - cursor.offset_bytes);
      copy(static_cast<std::byte*>(buffer.iov_base) + cursor.offset_bytes, done, count);
      cursor.offset_bytes += count;
      done += count;
    }
  }
};

}  // namespace

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

// One request under way.
struct DiskTransfer::Operation : IoOperation {
  void StartTransfer();
  void StartPiece();
  void StartDirectPiece();
  void StartBouncedPiece();
  void OnTransferred(int32_t result);
  void OnCommandDone(int32_t result);
  bool RetriesAfter(int error) {
    return (error == EINTR || error == EAGAIN) && ++retries <= kMaxRetries;
  }
  void StartCommand();
  void Finish(BlockStatus status);

  uint64_t RemainingBytes() const { return request->length_bytes - done_bytes; }

  const DiskTransferOptions* options = nullptr;
  IoThread* thread = nullptr;
  BlockRequest* request = nullptr;
  uint64_t done_bytes = 0;
  BufferCursor cursor;
  int retries = 0;

  BounceBuffer bounce;               // only while the request needs one
  uint32_t bounce_lead_bytes = 0;    // read for alignment's sake, before what is wanted
  uint32_t bounce_wanted_bytes = 0;  // 0: the piece goes to the request's own buffers
  uint32_t piece_bytes = 0;

  Operation* next_waiting = nullptr;
};

// What an I/O thread keeps for reuse, for all its disks.
struct DiskTransfer::ThreadPool {
  Operation& Take() {
    if (free_operations.empty()) {
      operations.push_back(std::make_unique<Operation>());
      // Giving back must not allocate.
      free_operations.reserve(operations.capacity());
      return *operations.back();
    }
    Operation& operation = *free_operations.back();
    free_operations.pop_back();
    return operation;
  }

  void Give(Operation& operation) { free_operations.push_back(&operation); }

  // Starts `operation` at once or when a bounce buffer becomes free.
  void StartWithBounceBuffer(Operation& operation) {
    if (free_buffers.empty() && buffer_count < kMaxBounceBuffers) {
      free_buffers.push_back(NewBounceBuffer());
      ++buffer_count;
    }
    if (free_buffers.empty()) {
      operation.next_waiting = nullptr;
      (last_waiting == nullptr ? first_waiting : last_waiting->next_waiting) = &operation;
      last_waiting = &operation;
      return;
    }
    operation.bounce = std::move(free_buffers.back());
    free_buffers.pop_back();
    operation.StartPiece();
  }

  void GiveBounceBuffer(BounceBuffer buffer) {
    if (first_waiting == nullptr) {
      free_buffers.push_back(std::move(buffer));
      return;
    }
    Operation& operation = *first_waiting;
    first_waiting = operation.next_waiting;
    if (first_waiting == nullptr) last_waiting = nullptr;
    operation.bounce = std::move(buffer);
    operation.StartPiece();
  }

  std::vector<std::unique_ptr<Operation>> operations;
  std::vector<Operation*> free_operations;
  std::vector<BounceBuffer> free_buffers;
  size_t buffer_count = 0;
  Operation* first_waiting = nullptr;
  Operation* last_waiting = nullptr;
};

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

void DiskTransfer::Submit(IoThread& thread, BlockRequest& request) const {
  bool nothing_to_do = false;
  request.status = BlockStatus::kOk;
  switch (request.op) {
    case BlockOp::kRead:
      nothing_to_do = request.length_bytes == 0;
      break;
    case BlockOp::kWrite:
      nothing_to_do = request.length_bytes == 0;
      if (((request.offset_bytes | request.length_bytes) & (options_.alignment.block_bytes - 1)) !=
          0) {
        LOG_RATE_LIMITED("{}: a write of {} bytes at {} is no multiple of the {}-byte blocks",
                         options_.filename, request.length_bytes, request.offset_bytes,
                         options_.alignment.block_bytes);
        request.status = BlockStatus::kIoError;
        nothing_to_do = true;
      }
      break;
    case BlockOp::kFlush:
      nothing_to_do = options_.no_flush;
      break;
    case BlockOp::kDiscard:
      nothing_to_do = request.length_bytes == 0;
      break;
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
  operation.options = &options_;
  operation.thread = &thread;
  operation.request = &request;
  operation.done_bytes = 0;
  operation.cursor = {};
  operation.retries = 0;
  operation.bounce_wanted_bytes = 0;
  if (request.op == BlockOp::kFlush || request.op == BlockOp::kDiscard) {
    operation.StartCommand();
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
                     request->op == BlockOp::kRead ? "a read" : "a write", request->length_bytes,
                     request->offset_bytes, ErrnoText(-transferred));
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
                     options->filename, request->op == BlockOp::kRead ? "a read" : "a write",
                     request->offset_bytes, request->length_bytes);
    Finish(BlockStatus::kIoError);
    return;
  }
  cursor.ForEachPart(
      request->buffers, RemainingBytes(),
      [](std::byte* target, uint64_t, uint64_t count) { std::memset(target, 0, count); });
  Finish(BlockStatus::kOk);
}

void DiskTransfer::Operation::StartCommand() {
  done = [](IoOperation& self, int32_t result) {
    static_cast<Operation&>(self).OnCommandDone(result);
  };
  io_uring_sqe& sqe = thread->Prepare(*this);
  if (request->op == BlockOp::kFlush) {
    ::io_uring_prep_fsync(&sqe, options->fd, IORING_FSYNC_DATASYNC);
  } else {
    ::io_uring_prep_fallocate(&sqe, options->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              request->offset_bytes, request->length_bytes);
  }
}

void DiskTransfer::Operation::OnCommandDone(int32_t command_result) {
  if (command_result >= 0) {
    Finish(BlockStatus::kOk);
  } else if (RetriesAfter(-command_result)) {
    StartCommand();
  } else {
    LOG_RATE_LIMITED("{}: {} failed on the host: {}", options->filename,
                     request->op == BlockOp::kFlush ? "a flush" : "a discard",
                     ErrnoText(-command_result));
    Finish(StatusFromErrno(-command_result, options->zoned));
  }
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
