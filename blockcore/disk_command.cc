#include <fcntl.h>
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>
#include <vector>

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

// One fsync of a disk at a time and thread. Flushes that come meanwhile wait for its end and share
// the next one, which begins after all of them came:
//
//   flush 1 ─▶ ├── fsync ──┤├── fsync ──┤
//   flushes 2, 3, 4 ─▶ · · · ▲ for them all
void DiskTransfer::Operation::StartFlush() {
  std::vector<Operation*>& flushes = Pool().flushes;
  for (Operation* running : flushes) {
    if (running->options == options) {
      next_waiting = std::exchange(running->came_since, this);
      return;
    }
  }
  flushes.push_back(this);
  StartCommand();
}

// This one and those that shared its fsync.
void DiskTransfer::Operation::FinishFlushes(BlockStatus status) {
  std::erase(Pool().flushes, this);
  Operation* waited = std::exchange(came_since, nullptr);
  for (Operation* flush = this; flush != nullptr;) {
    std::exchange(flush, flush->next_waiting)->Finish(status);
  }
  if (waited != nullptr) waited->StartFlush();
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
  int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  if (request->op == BlockOp::kWriteZeroes && !request->may_unmap) {
    mode = FALLOC_FL_ZERO_RANGE | (options->zeroes_past_end ? 0 : FALLOC_FL_KEEP_SIZE);
  }
  ::io_uring_prep_fallocate(&sqe, options->fd, mode, request->offset_bytes, request->length_bytes);
}

void DiskTransfer::Operation::OnCommandDone(int32_t command_result) {
  const bool is_flush = request->op == BlockOp::kFlush;
  if (command_result >= 0) {
    // Of two flushes at once, the kernel tells one of the error: the other must not be believed.
    if (!is_flush) return Finish(BlockStatus::kOk);
    FinishFlushes(flush_failed->load(std::memory_order_relaxed) ? BlockStatus::kIoError
                                                                : BlockStatus::kOk);
  } else if (RetriesAfter(-command_result)) {
    StartCommand();
  } else if (request->op == BlockOp::kWriteZeroes && command_result == -EOPNOTSUPP) {
    retries = 0;
    StartZeroes();
  } else {
    LOG_RATE_LIMITED(
        "{}: {} failed on the host: {}{}", options->filename, OpName(request->op),
        ErrnoText(-command_result),
        is_flush ? "; all flushes fail from now on, because written data may be lost" : "");
    if (!is_flush) return Finish(StatusFromErrno(-command_result, options->zoned));
    flush_failed->store(true, std::memory_order_relaxed);
    // A flush cannot be unsupported: who asks for one must know that the data is not safe.
    FinishFlushes(BlockStatus::kIoError);
  }
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
