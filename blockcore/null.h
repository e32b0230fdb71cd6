// The node `null-co`: a disk without a medium, for measuring what everything else costs. Writes and
// flushes succeed and are forgotten; reads leave the buffers as they are, or fill them with zeroes,
// which then can be written as such, too.
#ifndef MINIVMM_BLOCKCORE_NULL_H_
#define MINIVMM_BLOCKCORE_NULL_H_

#include <cstdint>

#include "blockcore/block_node.h"

namespace minivmm {

struct NullOptions {
  uint64_t size_bytes = uint64_t{1} << 30;  // a multiple of 512
  bool read_zeroes = false;
  bool read_only = false;
};

class NullNode : public BlockNode {
 public:
  explicit NullNode(const NullOptions& options);

  const BlockLimits& limits() const override { return limits_; }
  void Submit(IoThread& thread, BlockRequest& request) override;

 private:
  bool read_zeroes_;
  BlockLimits limits_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_NULL_H_
