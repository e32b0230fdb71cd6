// Transfer: one read, write, append, discard or flush of a command, as the requests that it takes.
//
//   read over zones of a host-managed disk    ├── zone 3 ──┤├── zone 4 ──┤   one request for each,
//                                                                            all at once
//   with flush_after                          write, then a flush; done when both are
//
// Made and looked at by the command's thread; Submit runs on the I/O thread, and `on_done` is
// called there. Between the two it belongs to the I/O thread.
#ifndef MINIVMM_TOOLS_IO_TRANSFER_H_
#define MINIVMM_TOOLS_IO_TRANSFER_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"

namespace minivmm {

// Memory for a disk's data, aligned for direct I/O.
class IoBuffer {
 public:
  IoBuffer() = default;
  // All bytes are `fill`. Fails when there is not so much memory.
  static Result<IoBuffer> Allocate(uint64_t size_bytes, uint8_t fill);

  std::span<std::byte> bytes() { return {memory_.get(), size_bytes_}; }
  std::span<const std::byte> bytes() const { return {memory_.get(), size_bytes_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte[], Free> memory_;
  size_t size_bytes_ = 0;
};

struct TransferPlan {
  BlockOp op = BlockOp::kRead;
  uint64_t offset_bytes = 0;
  // Of its buffers, which lie one behind the other in `buffer`; or the one length of the range to
  // discard, or to fill with zeroes.
  std::vector<uint64_t> lengths = {};
  IoBuffer buffer = {};  // empty for what moves no data
  bool flush_after = false;
  bool may_unmap = false;

  uint64_t TotalBytes() const;
};

uint64_t NowNs();

class Transfer {
 public:
  Transfer(BlockNode& disk, TransferPlan plan);

  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  void Submit(IoThread& thread, std::function<void()> on_done);
  // The same from the command's thread, which waits.
  void Run(IoThread& thread);

  // Afterwards:
  const TransferPlan& plan() const { return plan_; }
  BlockStatus status() const { return status_; }
  // Of the part that failed.
  uint64_t failed_offset_bytes() const { return failed_offset_bytes_; }
  bool flush_failed() const { return flush_failed_; }
  uint64_t appended_at_bytes() const { return parts_.front().appended_at_bytes; }
  uint64_t elapsed_ns() const { return done_ns_ - begun_ns_; }

 private:
  void Cut();
  void EndPart(const BlockRequest& part);
  void Finish();

  BlockNode& disk_;
  TransferPlan plan_;
  std::vector<BlockRequest> parts_;
  std::vector<std::vector<iovec>> buffers_;  // of each part
  BlockRequest flush_;
  IoThread* thread_ = nullptr;
  std::function<void()> on_done_;
  size_t parts_left_ = 0;
  BlockStatus status_ = BlockStatus::kOk;
  uint64_t failed_offset_bytes_ = 0;
  bool flush_failed_ = false;
  uint64_t begun_ns_ = 0;
  uint64_t done_ns_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_TRANSFER_H_
