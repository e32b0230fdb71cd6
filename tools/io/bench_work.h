// BenchWork: what positions `bench` reads, writes or appends to, one after the other. Pure.
//
//   a disk without zones is one lane; on a zoned disk each zone is one: what of it can be read, or
//   what is left to write behind its write pointer
//
//   lanes_at_once = 2:    lane 0  1. 3. 5. …   ─┐ used up? the next lane takes its place
//                         lane 1  2. 4. 6. …   ─┘
//
// Reads, and writes where any block may be written, begin again at the first lane; a sequential
// zone that is full stays so.
#ifndef MINIVMM_TOOLS_IO_BENCH_WORK_H_
#define MINIVMM_TOOLS_IO_BENCH_WORK_H_

#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"

namespace minivmm {

struct BenchOptions {
  BlockOp op = BlockOp::kRead;  // or kWrite, kZoneAppend
  bool random = false;
  uint64_t request_bytes = 4096;
  uint64_t lanes_at_once = 1;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;  // the range is within the disk
};

class BenchWork {
 public:
  // `zones`: those that the range touches, or none on a disk without. Fails when there is nothing
  // to do, or nothing that such requests could do; the line says why.
  static Result<BenchWork> Create(const BlockLimits& limits, std::span<const ZoneDescriptor> zones,
                                  const BenchOptions& options);

  // The offset of the next request; nothing when no place is left.
  std::optional<uint64_t> Next();

 private:
  struct Lane {
    uint64_t begin_bytes = 0;
    uint64_t requests = 0;  // places in it
    uint64_t used = 0;
  };

  explicit BenchWork(const BenchOptions& options) : options_(options) {}

  void AddLane(uint64_t begin_bytes, uint64_t end_bytes);
  // The next lane that is not among the current ones; nothing when all are used up.
  std::optional<size_t> TakeLane();

  BenchOptions options_;
  bool endless_ = true;
  std::vector<Lane> lanes_;
  std::vector<size_t> current_;
  size_t turn_ = 0;
  size_t next_lane_ = 0;
  // Each run does the same.
  std::mt19937_64 random_{1};
};

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_BENCH_WORK_H_
