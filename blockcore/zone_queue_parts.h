// The moving parts of ZoneQueue, shared by its source files and by nobody else. All of it is
// guarded by the queue's mutex; what is in flight at the medium belongs to the thread that sent it
// there.
//
//   Ticket   one request of the caller, from Submit until it completes
//   Lane     one zone that has tickets, or a medium request of its own, in flight
//   Turn     what one critical section leaves to be done after the unlock
#ifndef MINIVMM_BLOCKCORE_ZONE_QUEUE_PARTS_H_
#define MINIVMM_BLOCKCORE_ZONE_QUEUE_PARTS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/buffer_parts.h"
#include "blockcore/zone_queue.h"

namespace minivmm {

// What a request gets for a medium's failure, unless its zone turns out to be dead.
inline BlockStatus StatusOfFailure(BlockStatus of_medium) {
  switch (of_medium) {
    case BlockStatus::kUnsupported:
    case BlockStatus::kNoSpace:
    case BlockStatus::kZoneOpenLimit:
    case BlockStatus::kZoneActiveLimit:
      return of_medium;
    default:
      return BlockStatus::kIoError;
  }
}

// What is remembered of a request from Submit until it completes.
struct ZoneQueue::Ticket {
  ZoneQueue* queue = nullptr;
  BlockRequest* request = nullptr;
  IoThread* thread = nullptr;
  Ticket* next = nullptr;

  // Reads that meet several sources, and writes that cross the zones of a host-aware disk, are done
  // piece by piece. All other requests have one piece.
  uint64_t done_bytes = 0;
  uint64_t piece_bytes = 0;
  uint64_t position_bytes = 0;  // of an append in flight

  // A read that the medium failed: it waits in the zone's lane for a look at the zone.
  bool failed_read = false;
  bool zone_looked_at = false;

  BlockStatus failure = BlockStatus::kOk;  // of reset-all, while zones are reloaded

  BlockRequest own;          // to the medium: reads, pieces in conventional zones, reset-all
  std::vector<iovec> slice;  // the piece's part of the request's buffers

  uint64_t offset_bytes() const { return request->offset_bytes + done_bytes; }

  std::span<const iovec> PieceBuffers() {
    if (piece_bytes == request->length_bytes) return request->buffers;
    return SliceBuffers(request->buffers, done_bytes, piece_bytes, slice);
  }
};

// A zone with something to do.
struct ZoneQueue::Lane {
  // Brings the lane to the thread of the request at its head.
  struct MoveTask : Task {
    Lane* lane = nullptr;
  };

  ZoneQueue* queue = nullptr;
  MoveTask move;
  uint32_t zone = 0;
  Lane* next = nullptr;  // free list, waiting_for_open_, or a Turn's list: one at a time

  Fifo<Ticket> waiting;
  OpenNeed open_need = OpenNeed::kNone;  // of the head, while in waiting_for_open_
  // The answer to that need, until the head uses it.
  bool granted = false;
  BlockStatus refusal = BlockStatus::kOk;
  bool report_failed = false;  // the head asked for a report of a stale zone, in vain

  // In flight: `own`, for `flying` (empty: for the lane itself).
  enum class Step { kRequest, kReport, kImplicitClose } step = Step::kRequest;
  BlockRequest own;
  IoThread* thread = nullptr;
  Fifo<Ticket> flying;
  BlockStatus failure = BlockStatus::kOk;  // of `flying`, while the zone is reported
  bool closing = false;                    // an implicit close, its report included
  std::vector<iovec> joined;
  ZoneDescriptor report;
};

// What a critical section leaves to be done without the mutex, on `thread`.
struct ZoneQueue::Turn {
  explicit Turn(IoThread& on) : thread(on) {}

  IoThread& thread;
  Fifo<BlockRequest> finished;
  Fifo<Lane> lanes_to_medium;
  Fifo<Ticket> tickets_to_medium;
  Fifo<Lane> lanes_to_post;
  IoThread* reset_all_to_post = nullptr;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONE_QUEUE_PARTS_H_
