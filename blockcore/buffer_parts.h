// A request's buffers are a list of pieces of memory; these walk through a part of it. For layers
// that do a request piece by piece. Pure; any thread.
#ifndef MINIVMM_BLOCKCORE_BUFFER_PARTS_H_
#define MINIVMM_BLOCKCORE_BUFFER_PARTS_H_

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace minivmm {

// Calls visit(pointer, length) for each contiguous part of [skip, skip + length) of the buffers,
// which are at least that long in all.
template <typename Visit>
void ForEachPart(std::span<const iovec> buffers, uint64_t skip_bytes, uint64_t length_bytes,
                 Visit visit) {
  for (const iovec& buffer : buffers) {
    if (length_bytes == 0) return;
    if (skip_bytes >= buffer.iov_len) {
      skip_bytes -= buffer.iov_len;
      continue;
    }
    const uint64_t part = std::min<uint64_t>(buffer.iov_len - skip_bytes, length_bytes);
    visit(static_cast<std::byte*>(buffer.iov_base) + skip_bytes, part);
    skip_bytes = 0;
    length_bytes -= part;
  }
}

// The same part as a list of buffers, kept in `slice`, which is overwritten.
inline std::span<const iovec> SliceBuffers(std::span<const iovec> buffers, uint64_t skip_bytes,
                                           uint64_t length_bytes, std::vector<iovec>& slice) {
  slice.clear();
  ForEachPart(buffers, skip_bytes, length_bytes, [&slice](std::byte* data, uint64_t bytes) {
    slice.push_back({.iov_base = data, .iov_len = bytes});
  });
  return slice;
}

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BUFFER_PARTS_H_
