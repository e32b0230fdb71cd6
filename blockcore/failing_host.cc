#include "blockcore/failing_host.h"

#include <liburing.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"

extern "C" {
int __real_io_uring_submit_and_wait(io_uring* ring, unsigned wait_count);
int __real_io_uring_submit_and_get_events(io_uring* ring);
int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wait_count);
int __wrap_io_uring_submit_and_get_events(io_uring* ring);
}

namespace minivmm {
namespace {

using Kind = HostOperation::Kind;

std::mutex mutex;
FailingHost::Judge judge;  // guarded by mutex

// Results to put in the place of the kernel's, by user data; of this thread's ring.
thread_local std::map<uint64_t, int32_t> substitutes;

std::optional<HostOperation> Describe(const io_uring_sqe& sqe) {
  struct stat status {};
  if (::fstat(sqe.fd, &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  switch (sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
      return HostOperation{sqe.opcode == IORING_OP_READ ? Kind::kRead : Kind::kWrite, sqe.off,
                           sqe.len};
    case IORING_OP_READV:
    case IORING_OP_WRITEV: {
      uint64_t length_bytes = 0;
      for (const iovec& buffer : std::span(reinterpret_cast<const iovec*>(sqe.addr), sqe.len)) {
        length_bytes += buffer.iov_len;
      }
      return HostOperation{sqe.opcode == IORING_OP_READV ? Kind::kRead : Kind::kWrite, sqe.off,
                           length_bytes};
    }
    case IORING_OP_FSYNC:
      return HostOperation{Kind::kSync, 0, 0};
    case IORING_OP_FALLOCATE:
      return HostOperation{Kind::kAllocate, sqe.off, sqe.addr};
    default:
      return std::nullopt;
  }
}

// The lists of buffers that were cut; the kernel has its own copy once they are submitted.
thread_local std::deque<std::vector<iovec>> cut_lists;

void CutShort(io_uring_sqe& sqe, uint64_t at_most_bytes) {
  if (sqe.opcode == IORING_OP_READ || sqe.opcode == IORING_OP_WRITE) {
    sqe.len = static_cast<uint32_t>(std::min<uint64_t>(sqe.len, at_most_bytes));
    return;
  }
  std::vector<iovec>& list = cut_lists.emplace_back();
  for (iovec buffer : std::span(reinterpret_cast<const iovec*>(sqe.addr), sqe.len)) {
    buffer.iov_len = std::min<uint64_t>(buffer.iov_len, at_most_bytes);
    at_most_bytes -= buffer.iov_len;
    list.push_back(buffer);
  }
  sqe.addr = reinterpret_cast<uintptr_t>(list.data());
}

void JudgeNewOperations(io_uring& ring) {
  cut_lists.clear();
  std::lock_guard lock(mutex);
  if (!judge) return;
  for (unsigned i = ring.sq.sqe_head; i != ring.sq.sqe_tail; ++i) {
    io_uring_sqe& sqe = ring.sq.sqes[i & ring.sq.ring_mask];
    const std::optional<HostOperation> operation = Describe(sqe);
    if (!operation) continue;
    const HostOutcome outcome = judge(*operation);
    if (outcome.error == 0) {
      if (outcome.at_most_bytes < operation->length_bytes) CutShort(sqe, outcome.at_most_bytes);
      continue;
    }
    // Carried out is a read of nothing, which ends at once.
    const uint64_t user_data = sqe.user_data;
    VMM_CHECK(substitutes.emplace(user_data, -outcome.error).second);
    const int fd = sqe.fd;
    sqe = {};
    ::io_uring_prep_read(&sqe, fd, nullptr, 0, 0);
    sqe.user_data = user_data;
  }
}

void ReplaceResults(io_uring& ring) {
  while (!substitutes.empty()) {
    unsigned head;
    unsigned ready = 0;
    io_uring_cqe* cqe;
    io_uring_for_each_cqe(&ring, head, cqe) {
      ++ready;
      if (auto found = substitutes.find(cqe->user_data); found != substitutes.end()) {
        VMM_CHECK(cqe->res == 0);
        cqe->res = found->second;
        substitutes.erase(found);
      }
    }
    // Else a result could come to the caller as the kernel's own. A read that ends at once takes a
    // moment where the file system leaves it to another thread.
    if (!substitutes.empty()) __real_io_uring_submit_and_wait(&ring, ready + 1);
  }
}

}  // namespace

FailingHost::FailingHost(Judge new_judge) {
  std::lock_guard lock(mutex);
  VMM_CHECK(!judge);
  judge = std::move(new_judge);
}

FailingHost::~FailingHost() {
  std::lock_guard lock(mutex);
  judge = nullptr;
}

}  // namespace minivmm

int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wait_count) {
  minivmm::JudgeNewOperations(*ring);
  const int result = __real_io_uring_submit_and_wait(ring, wait_count);
  minivmm::ReplaceResults(*ring);
  return result;
}

int __wrap_io_uring_submit_and_get_events(io_uring* ring) {
  minivmm::JudgeNewOperations(*ring);
  const int result = __real_io_uring_submit_and_get_events(ring);
  minivmm::ReplaceResults(*ring);
  return result;
}
