// The moving parts of DiskTransfer, shared by its source files and by nobody else. All of it
// belongs to one I/O thread, but that flushes of several share an fsync.
//
//   Operation    one request, from Submit until it completes
//   ThreadPool   what an I/O thread keeps for reuse, for all its disks
#ifndef MINIVMM_BLOCKCORE_DISK_TRANSFER_PARTS_H_
#define MINIVMM_BLOCKCORE_DISK_TRANSFER_PARTS_H_

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "blockcore/buffer_parts.h"
#include "blockcore/disk_transfer.h"

namespace minivmm {

inline constexpr size_t kBounceBytes = 256_KiB;
// Of one I/O thread. Requests beyond that wait for a buffer, so that a guest with odd buffers
// cannot make us allocate a buffer for each of its requests.
inline constexpr size_t kMaxBounceBuffers = 16;
inline constexpr size_t kBounceAlignmentBytes = 4096;
// EINTR, EAGAIN and ECANCELED in a row; more is an error of the host.
inline constexpr int kMaxRetries = 100;

struct AlignedDelete {
  void operator()(std::byte* buffer) const {
    ::operator delete[](buffer, std::align_val_t{kBounceAlignmentBytes});
  }
};
using BounceBuffer = std::unique_ptr<std::byte[], AlignedDelete>;

inline BounceBuffer NewBounceBuffer() {
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
    uint64_t done = 0;
    minivmm::ForEachPart(buffers.subspan(index), offset_bytes, bytes,
                         [&](std::byte* address, uint64_t count) {
                           copy(address, done, count);
                           done += count;
                         });
    VMM_CHECK(done == bytes);
  }
};

// For messages: "a read".
std::string_view OpName(BlockOp op);

// What can be discarded of a request's range, which promises nothing of the rest: empty if its end
// is not behind its beginning.
struct DiscardRange {
  uint64_t begin_bytes;
  uint64_t end_bytes;
};
inline DiscardRange WholeBlocks(const BlockRequest& request, uint32_t block_bytes) {
  return {AlignUp(request.offset_bytes, block_bytes),
          AlignDown(request.offset_bytes + request.length_bytes, block_bytes)};
}

// Whether the range is one that O_DIRECT can write; if not, a line says so.
bool IsWritable(const DiskTransferOptions& options, const BlockRequest& request);

// One request under way.
struct DiskTransfer::Operation : IoOperation {
  void StartTransfer();
  void StartPiece();
  void StartDirectPiece();
  void StartBouncedPiece();
  void OnTransferred(int32_t result);
  void OnCommandDone(int32_t result);
  // ECANCELED: the kernel could start no worker of its own for it (a limit of processes), and did
  // nothing.
  bool RetriesAfter(int error) {
    return (error == EINTR || error == EAGAIN || error == ECANCELED) && ++retries <= kMaxRetries;
  }
  void StartFlush();
  void StartCommand();
  void BeginZeroes();
  void StartZeroes();
  void OnZeroesWritten(int32_t result);
  void FinishFlushes(BlockStatus status, bool may_have_lost = false);
  void EndWait(std::optional<BlockStatus> shared_status);
  void Finish(BlockStatus status);

  uint64_t RemainingBytes() const { return request->length_bytes - done_bytes; }

  Flushes* flushes = nullptr;
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

  Operation* next_waiting = nullptr;  // for a bounce buffer, or of flushes that go together

  struct WaitEnd : Task {
    Operation* flush = nullptr;
    std::optional<BlockStatus> shared_status;
  } wait_end;  // of a flush that waits
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

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_DISK_TRANSFER_PARTS_H_
