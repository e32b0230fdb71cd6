// BlockRequest: one object for all layers, from the device that popped it to the leaf that does the
// I/O and back.
//
//   caller                         filter                              leaf
//   fills op, offset, buffers ──▶  PushCompletion(mine), passes on ──▶ starts I/O
//   its frame runs last       ◀──  its frame runs first            ◀── sets status, IoThread::Complete
//
// Ownership: the caller owns the request and everything it points to, from Submit until its own
// completion frame has run; layers below borrow it. Thread: a request stays on the I/O thread on
// which it was submitted. It completes exactly once and never inside Submit, so that no caller
// holds half-done state.
#ifndef MINIVMM_BLOCKCORE_BLOCK_REQUEST_H_
#define MINIVMM_BLOCKCORE_BLOCK_REQUEST_H_

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>

#include "blockcore/base/check.h"
#include "blockcore/zone.h"

namespace minivmm {

class HeldRequests;

enum class BlockOp : uint8_t {
  kRead,
  kWrite,
  kFlush,        // everything that completed before is on stable storage afterwards
  kDiscard,      // the range's content is no longer needed; reads give old data or zeroes
  kWriteZeroes,  // the range reads as zeroes afterwards
  kZoneAppend,   // offset = start of the zone; the data goes to the write pointer
  kZoneReport,   // offset = any byte of the first zone wanted; fills `zones`
  kZoneOpen,     // offset = start of the zone, for these four
  kZoneClose,
  kZoneFinish,
  kZoneReset,
  kZoneResetAll,  // offset ignored
};

constexpr bool ChangesTheDisk(BlockOp op) {
  return op != BlockOp::kRead && op != BlockOp::kFlush && op != BlockOp::kZoneReport;
}

// The one enum of results that callers branch on. Each maps to one virtio status
// (devices/virtio_blk_request.h).
enum class BlockStatus : uint8_t {
  kOk,
  kIoError,
  kNoSpace,          // the host has no room for it: its file system is full, or a quota is used up
  kOutOfRange,       // beyond the capacity
  kReadOnly,         // the disk or the node is read-only
  kUnsupported,      // this node has no such operation
  kZoneInvalid,      // zone condition, type, boundary or capacity forbids it
  kZoneUnaligned,    // not at the write pointer, or not a multiple of the write granularity
  kZoneOpenLimit,    // one open zone too many
  kZoneActiveLimit,  // one active zone too many
};

struct BlockRequest {
  // The longest way down: the caller (a device or a tool), BlockBackend, a frame of each of the
  // nodes one above another (block_graph.cc holds their number to that), and one to spare for a
  // caller in two layers.
  static constexpr int kMaxFrames = 9;

  using Done = void (*)(void* self, BlockRequest& request);

  // Leaves the frames as they are: to clear them would cost more than all else that is done here.
  BlockRequest() {}

  // Set by the caller. A filter may change them on the way down and restores in its frame what it
  // changed.
  BlockOp op = BlockOp::kRead;
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;        // read, write, append: sum of `buffers`; else: the range
  std::span<const iovec> buffers;   // host memory; zero-length elements are allowed
  std::span<ZoneDescriptor> zones;  // kZoneReport: room for the answer
  bool may_unmap = false;           // kWriteZeroes: the range's space may be given back
  // Where a request may wait that the disk has failed (BlockBackend's ErrorPolicy); null: whoever
  // sends it wants its error.
  HeldRequests* held_in = nullptr;

  // Results.
  BlockStatus status = BlockStatus::kOk;
  uint64_t appended_at_bytes = 0;  // kZoneAppend: where the data went
  uint32_t zones_reported = 0;     // kZoneReport: descriptors filled in `zones`

  // BlockBackend's: when it gave the request to the disk (CLOCK_MONOTONIC); 0: it did not.
  uint64_t submitted_ns = 0;

  // For the layer that holds the request at the moment: a link of its waiting list. IoThread uses
  // it after Complete.
  BlockRequest* next = nullptr;

  // The caller, and each filter that wants to see the completion, pushes one frame before passing
  // the request on.
  void PushCompletion(Done done, void* self) {
    VMM_CHECK(frame_count_ < kMaxFrames);
    frames_[frame_count_++] = {done, self};
  }

  // Runs frames, the newest first, until the request is none of the caller's business any more: it
  // was the last frame (the request may be gone), or the frame pushed a frame again to submit the
  // request once more or to hold it, and IoThread::Complete will bring it back. Only IoThread and
  // HeldRequests call it.
  void RunCompletions() {
    int left;
    do {
      VMM_CHECK(frame_count_ > 0);
      left = --frame_count_;
      const Frame frame = frames_[left];
      frame.done(frame.self, *this);
    } while (left > 0 && frame_count_ == left);
  }

 private:
  struct Frame {
    Done done;
    void* self;
  };
  std::array<Frame, kMaxFrames> frames_;
  int frame_count_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BLOCK_REQUEST_H_
