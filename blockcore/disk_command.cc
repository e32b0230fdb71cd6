#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>

#include "blockcore/base/log.h"
#include "blockcore/base/units.h"
#include "blockcore/disk_transfer.h"
#include "blockcore/disk_transfer_parts.h"

// The requests of DiskTransfer that carry no data of the caller's: flush, discard, zeroes.

namespace minivmm {
namespace {

// Never written to; not const, so that it takes no room in the program's file.
constexpr size_t kZeroesBytes = 256_KiB;
alignas(kBounceAlignmentBytes) std::byte zeroes[kZeroesBytes];

}  // namespace

// One fsync of a disk at a time. Flushes that come meanwhile, on whatever thread, wait for its end
// and share the next one, which begins after all of them came:
//
//   flush 1 ─▶ ├── fsync ──┤├── fsync ──┤
//   flushes 2, 3, 4 ─▶ · · · ▲ for them all
//
// With two at once the kernel could tell one of them of an error, and the other that all is well.
void DiskTransfer::Operation::StartFlush() {
  {
    std::lock_guard lock(flushes->mutex);
    if (flushes->running) {
      next_waiting = std::exchange(flushes->came_since, this);
      thread->BeginElsewhere();
      return;
    }
    flushes->running = true;
  }
  StartCommand();
}

// This one and those that shared its fsync; then the next fsync, if any wait for one.
void DiskTransfer::Operation::FinishFlushes(BlockStatus status, bool may_have_lost) {
  Operation* waited;
  {
    std::lock_guard lock(flushes->mutex);
    flushes->failed |= may_have_lost;
    // The kernel has told of the error once.
    if (flushes->failed) status = BlockStatus::kIoError;
    waited = std::exchange(flushes->came_since, nullptr);
    flushes->running = waited != nullptr;
  }
  Operation* shared = next_waiting;
  Finish(status);
  while (shared != nullptr) {
    std::exchange(shared, shared->next_waiting)->EndWait(status);
  }
  if (waited != nullptr) waited->EndWait(std::nullopt);
}

// On the flush's own thread: with the status of the fsync that it shared it is done, without one it
// begins the next.
void DiskTransfer::Operation::EndWait(std::optional<BlockStatus> shared_status) {
  wait_end.flush = this;
  wait_end.shared_status = shared_status;
  wait_end.run = [](Task& task) {
    const auto& end = static_cast<WaitEnd&>(task);
    end.flush->thread->EndElsewhere();
    end.shared_status ? end.flush->Finish(*end.shared_status) : end.flush->StartCommand();
  };
  thread->IsCurrent() ? wait_end.run(wait_end) : thread->Post(wait_end);
}

void DiskTransfer::Operation::StartCommand() {
  done = [](IoOperation& self, int32_t result) {
    static_cast<Operation&>(self).OnCommandDone(result);
  };
  io_uring_sqe& sqe = thread->Prepare(*this);
  if (request->op == BlockOp::kFlush) {
    ::io_uring_prep_fsync(&sqe, options->fd, IORING_FSYNC_DATASYNC);
    return;
  }
  if (request->op == BlockOp::kDiscard) {
    const DiscardRange range = WholeBlocks(*request, options->command_block_bytes);
    ::io_uring_prep_fallocate(&sqe, options->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              range.begin_bytes, range.end_bytes - range.begin_bytes);
    return;
  }
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (!request->may_unmap) {
    mode = FALLOC_FL_ZERO_RANGE | (options->zeroes_past_end ? 0 : FALLOC_FL_KEEP_SIZE);
  }
  ::io_uring_prep_fallocate(&sqe, options->fd, mode, request->offset_bytes, request->length_bytes);
}

void DiskTransfer::Operation::OnCommandDone(int32_t command_result) {
  const bool is_flush = request->op == BlockOp::kFlush;
  if (command_result >= 0) {
    is_flush ? FinishFlushes(BlockStatus::kOk) : Finish(BlockStatus::kOk);
  } else if (RetriesAfter(-command_result)) {
    StartCommand();
  } else if (request->op == BlockOp::kDiscard && command_result == -EFBIG) {
    Finish(BlockStatus::kOk);  // a file cannot be so long: nothing is there
  } else if (request->op == BlockOp::kWriteZeroes && command_result == -EOPNOTSUPP) {
    retries = 0;
    BeginZeroes();
  } else {
    // One that was cancelled has not begun.
    const bool may_have_lost = is_flush && command_result != -ECANCELED;
    LOG_RATE_LIMITED(
        "{}: {} failed on the host: {}{}", options->filename, OpName(request->op),
        ErrnoText(-command_result),
        may_have_lost ? "; all flushes fail from now on, because written data may be lost" : "");
    if (!is_flush) return Finish(StatusFromErrno(-command_result, options->zoned));
    // A flush cannot be unsupported: who asks for one must know that the data is not safe.
    FinishFlushes(BlockStatus::kIoError, may_have_lost);
  }
}

// Without the host's help. Holes need no whole blocks, but this is a write.
void DiskTransfer::Operation::BeginZeroes() {
  IsWritable(*options, *request) ? StartZeroes() : Finish(BlockStatus::kIoError);
}

void DiskTransfer::Operation::StartZeroes() {
  done = [](IoOperation& self, int32_t result) {
    static_cast<Operation&>(self).OnZeroesWritten(result);
  };
  ::io_uring_prep_write(&thread->Prepare(*this), options->fd, zeroes,
                        static_cast<unsigned>(std::min<uint64_t>(RemainingBytes(), kZeroesBytes)),
                        request->offset_bytes + done_bytes);
}

void DiskTransfer::Operation::OnZeroesWritten(int32_t written) {
  if (written > 0) {
    done_bytes += static_cast<uint64_t>(written);
    retries = 0;
    if (RemainingBytes() == 0) return Finish(BlockStatus::kOk);
    // A piece that O_DIRECT could not take comes back as an error, not as a short count for ever.
    return StartZeroes();
  }
  if (written < 0 && RetriesAfter(-written)) return StartZeroes();
  LOG_RATE_LIMITED("{}: {} of {} bytes at {} failed on the host: {}", options->filename,
                   OpName(request->op), request->length_bytes, request->offset_bytes,
                   written < 0 ? ErrnoText(-written) : "nothing was written");
  Finish(written < 0 ? StatusFromErrno(-written, options->zoned) : BlockStatus::kIoError);
}

}  // namespace minivmm
