// MemoryNode: a disk in memory for tests. It records what it was told, fails when the test says so,
// and can tell what a real disk might hold after a power cut: all that was done before the last
// completed flush was sent, and of the rest (done or still under way) any part.
//
//   tick     1        2        3       4       5        6      7 ← a cut before tick 7
//         write A  write B  done A   flush   write C  flush
//                                    sent             done
//
//   A is there. B and C: all, nothing, or some of their sectors. Zeroes likewise. A later
//   operation on a sector wins over an earlier one if both are kept.
//
// Any number of I/O threads; requests complete at the end of the turn, with set_shuffle in random
// order and turns later.
#ifndef MINIVMM_BLOCKCORE_ZONED_MEMORY_NODE_H_
#define MINIVMM_BLOCKCORE_ZONED_MEMORY_NODE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <span>
#include <vector>

#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"

namespace minivmm {

class MemoryNode : public BlockNode {
 public:
  explicit MemoryNode(std::vector<std::byte> content);
  ~MemoryNode() override;

  // Grows and discards (which promises nothing: old data stays), but a test may say otherwise
  // before the first use.
  const BlockLimits& limits() const override { return limits_; }
  BlockLimits& mutable_limits() { return limits_; }
  // As if closed and opened again: the capacity is that of the content.
  void Reopen();

  void Submit(IoThread& thread, BlockRequest& request) override;

  void set_shuffle(bool shuffle) { shuffle_ = shuffle; }
  // Asked at the end of each request; anything but kOk fails it. A failing write keeps some of its
  // sectors. Called under the node's lock.
  void set_fault(std::function<BlockStatus(const BlockRequest&)> fault);
  // While held, requests wait; HoldNone lets them go on.
  void Hold(std::function<bool(const BlockRequest&)> which);
  void HoldNone();

  std::vector<std::byte> Content() const;
  std::span<std::byte> content() { return content_; }  // nothing is in flight

  struct Arrival {
    BlockOp op;
    uint64_t offset_bytes;
    uint64_t length_bytes;
  };
  std::vector<Arrival> TakeArrivals();

  // The history of writes, zeroes and flushes, and a clock for what else happens.
  void StartRecording();  // what is there now counts as flushed
  uint64_t Tick() { return ++clock_; }

  enum class Keep {
    kDone,        // all that was done: the disk lost nothing but what was under way
    kOperations,  // each of the unflushed operations, or not
    kSectors,     // each sector of each of them, or not
    kNothing,     // only what a flush had made sure of
  };
  // What a cut right before `tick` may leave. Ticks of successive calls, those of Fork included, do
  // not go down.
  std::vector<std::byte> Cut(uint64_t tick, Keep keep, std::minstd_rand& random);
  // The disk as it was right before `tick`, when the program that used it was killed: it holds all
  // that was done, and still has to be flushed what had to be then. It records.
  std::unique_ptr<MemoryNode> Fork(uint64_t tick);

 private:
  struct Record {
    BlockOp op;
    uint64_t offset_bytes;
    uint64_t length_bytes;
    std::vector<std::byte> data;
    uint64_t sent_tick;
    uint64_t done_tick;
  };
  struct Held {
    BlockRequest* request;
    uint64_t sent_tick;
  };
  struct ThreadState;

  void RunSome(ThreadState& state);
  void Run(const Held& held);
  void AdvanceFlushed(uint64_t tick);
  void Apply(std::vector<std::byte>& content, const Record& record, uint64_t first_byte,
             uint64_t length_bytes) const;

  BlockLimits limits_;
  mutable std::mutex mutex_;
  std::vector<std::byte> content_;
  std::function<BlockStatus(const BlockRequest&)> fault_;
  std::function<bool(const BlockRequest&)> hold_;
  std::vector<Arrival> arrivals_;
  std::map<IoThread*, std::unique_ptr<ThreadState>> threads_;
  std::minstd_rand random_{1};
  std::atomic<bool> shuffle_ = false;
  std::atomic<bool> recording_ = false;
  std::atomic<uint64_t> clock_ = 0;
  std::vector<Record> records_;  // by done_tick

  // Cut: all records before this one are in it.
  std::vector<std::byte> flushed_;
  size_t flushed_records_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_MEMORY_NODE_H_
