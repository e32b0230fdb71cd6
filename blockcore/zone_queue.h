// ZoneQueue: makes a well-behaved zoned disk out of a medium that only does what it is told. The
// medium is a BlockNode that reads, writes, flushes, opens, closes, finishes and resets zones and
// reports them, maps its errors, and decides nothing. ZoneQueue decides everything, on its
// ZoneModel, and sends the medium only what should succeed. Owned by the node that owns the medium;
// that node's Submit calls Submit here, on the request's I/O thread.
//
//   write, append, open,      ┌─ lane of zone 7 ──────────────────┐
//   close, finish, reset ───▶ │ waiting: FIFO of requests         │   one at a time in each zone:
//                             │ in flight: one medium request,    │ ────▶ decide ─ reserve ─ medium
//                             │   or several joined to one write  │          │        │        │
//                             └───────────────────────────────────┘       refuse  close an    ok: apply
//   read  ─▶ below the write pointer: medium; above: zeroes                       idle zone   error: report
//   report ─▶ answered from the model                                             first       and reload
//   reset-all ─▶ a barrier: waits until no lane is left, holds back what comes later
//   flush, conventional zones ─▶ the medium, at once
//
// Order: requests to one zone start in the order of Submit, whichever threads they come from; zones
// are independent of each other and of reads. A lane exists only while its zone has something to
// do. It runs on the I/O thread of the request at its head and is posted there if need be, so every
// request stays on its own thread and completes there, never inside Submit. Neighbours in a lane
// that come from the same thread and continue each other become one vectored write; data is never
// copied. When requests wait for an open zone and all are busy, a zone is closed between two of its
// writes, and goes to the end of those who wait.
//
// When the medium fails, a sequential zone is reported and reloaded before anything else happens in
// it (that also makes the host's kernel accept writes to it again), then the requests get their
// errors.
//
// Locking: one mutex guards the model, lanes and tickets. It is held for short decisions only,
// never across Submit of the medium, IoThread::Complete or Post: those are collected in a Turn and
// done after the unlock. No other lock is taken while it is held. Lanes and tickets come from free
// lists that grow to the largest number ever in use.
#ifndef MINIVMM_BLOCKCORE_ZONE_QUEUE_H_
#define MINIVMM_BLOCKCORE_ZONE_QUEUE_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "blockcore/block_node.h"
#include "blockcore/block_request.h"
#include "blockcore/io_thread.h"
#include "blockcore/zone_model.h"

namespace minivmm {

class ZoneQueue {
 public:
  // `medium` must outlive the queue and must not be used past it: only then is the model true.
  ZoneQueue(BlockNode& medium, ZoneModel model);

  // Nothing may be in flight, of callers or (an implicit close) of the queue itself: the I/O
  // threads that were used have ended, which waits for both.
  ~ZoneQueue();

  ZoneQueue(const ZoneQueue&) = delete;
  ZoneQueue& operator=(const ZoneQueue&) = delete;

  const BlockLimits& limits() const { return model_.limits(); }

  // As BlockNode::Submit. Several I/O threads may call at the same time. Statuses besides those of
  // the decision: what the medium says of limits (kZoneOpenLimit, kZoneActiveLimit, kUnsupported)
  // and of room (kNoSpace); kZoneInvalid for a failure in a zone that turns out to be read-only or
  // offline; kIoError for the rest. `appended_at_bytes` is the zone's start after a failed append.
  void Submit(IoThread& thread, BlockRequest& request);

 private:
  struct Lane;
  struct Ticket;
  struct Turn;

  // A FIFO linked through `next`.
  template <typename T>
  struct Fifo {
    T* head = nullptr;
    T* tail = nullptr;
    size_t count = 0;

    bool empty() const { return head == nullptr; }
    void Push(T& element) {
      element.next = nullptr;
      (head == nullptr ? head : tail->next) = &element;
      tail = &element;
      ++count;
    }
    T& Pop() {
      T& element = *head;
      head = element.next;
      element.next = nullptr;
      --count;
      return element;
    }
  };

  // Entrances.
  void SubmitRead(IoThread& thread, BlockRequest& request);
  void SubmitWrite(IoThread& thread, BlockRequest& request);
  void SubmitZoneOperation(IoThread& thread, BlockRequest& request);
  void SubmitResetAll(IoThread& thread, BlockRequest& request);
  void AnswerReport(IoThread& thread, BlockRequest& request);

  // Reads.
  void ContinueRead(Ticket& ticket, ZoneExtent extent);
  void OnReadDone(Ticket& ticket);

  // All below: the mutex is held.
  Ticket& TakeTicket(IoThread& thread, BlockRequest& request);
  void Finish(Ticket& ticket, BlockStatus status, Turn& turn);
  void PrepareTicket(Ticket& ticket, BlockOp op, BlockRequest::Done done);
  void StartPiece(Ticket& ticket, Turn& turn);
  void FinishPiece(Ticket& ticket, BlockStatus status, Turn& turn);
  void Enqueue(Ticket& ticket, Turn& turn);

  Lane& TakeLane(uint32_t zone);
  bool MayYield(const Lane& lane) const;
  void Resume(Lane& lane, Turn& turn);
  ZoneDecision Decide(const Ticket& ticket, uint64_t joined_bytes) const;
  void Start(Lane& lane, const ZoneDecision& decision, Turn& turn);
  void Join(Lane& lane, Turn& turn);
  void StartReport(Lane& lane, Turn& turn);
  void StartImplicitClose(Lane& lane, Turn& turn);
  void SendToMedium(Lane& lane, Turn& turn);
  void OnReported(Lane& lane, bool reloaded, Turn& turn);
  void ApplyFlight(Lane& lane);
  void FinishFlight(Lane& lane, BlockStatus status, Turn& turn);
  void ServeWaitingForOpen(Turn& turn);
  void AnswerOpenNeed(Lane& lane, BlockStatus refusal, Turn& turn);

  void StartResetAll(Turn& turn);
  void SendResetAll(Turn& turn);
  void FinishResetAll(Turn& turn);

  // Completions of medium requests, and the end of every critical section.
  void OnLaneDone(Lane& lane);
  void OnPieceDone(Ticket& ticket);
  void OnResetAllDone(Ticket& ticket);
  void Settle(Turn& turn);   // the mutex is held
  void Perform(Turn& turn);  // the mutex is not held

  BlockNode& medium_;

  std::mutex mutex_;
  ZoneModel model_;
  std::vector<Lane*> lane_of_zone_;  // null: nothing to do there
  uint32_t live_lanes_ = 0;
  Fifo<Lane> waiting_for_open_;   // their next request needs an open resource
  uint32_t implicit_closes_ = 0;  // in flight, for those who wait
  uint32_t closes_wanted_ = 0;    // besides: those that found no idle zone
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::vector<std::unique_ptr<Ticket>> tickets_;
  Lane* free_lanes_ = nullptr;
  Ticket* free_tickets_ = nullptr;

  // Reset-all.
  struct ResetAllTask : Task {
    ZoneQueue* queue = nullptr;
  };
  Ticket* reset_all_ = nullptr;  // waits for the lanes, or runs
  enum class ResetAllStep { kWaiting, kPosted, kRunning } reset_all_step_ = ResetAllStep::kWaiting;
  Fifo<Ticket> held_back_;  // came after it
  ResetAllTask reset_all_task_;
  std::vector<ZoneDescriptor> reload_slice_;
  uint32_t reload_cursor_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONE_QUEUE_H_
