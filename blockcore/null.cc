#include "blockcore/null.h"

#include <cstring>

#include "blockcore/io_thread.h"

namespace minivmm {

NullNode::NullNode(const NullOptions& options) : read_zeroes_(options.read_zeroes) {
  limits_.capacity_bytes = options.size_bytes;
  limits_.read_only = options.read_only;
  limits_.write_zeroes = !options.read_only && options.read_zeroes;
}

void NullNode::Submit(IoThread& thread, BlockRequest& request) {
  request.status = BlockStatus::kOk;
  switch (request.op) {
    case BlockOp::kRead:
      if (read_zeroes_) {
        for (const iovec& buffer : request.buffers) {
          if (buffer.iov_len != 0) std::memset(buffer.iov_base, 0, buffer.iov_len);
        }
      }
      break;
    case BlockOp::kWrite:
    case BlockOp::kFlush:
    case BlockOp::kWriteZeroes:
      break;
    default:
      request.status = BlockStatus::kUnsupported;
  }
  thread.Complete(request);
}

}  // namespace minivmm
