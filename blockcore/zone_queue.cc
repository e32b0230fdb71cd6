#include "blockcore/zone_queue.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "blockcore/base/units.h"
#include "blockcore/buffer_parts.h"
#include "blockcore/zone_queue_parts.h"

namespace minivmm {
namespace {

// Zones described or reloaded in one critical section.
constexpr uint32_t kZonesPerSlice = 1024;

}  // namespace

ZoneQueue::ZoneQueue(BlockNode& medium, ZoneModel model)
    : medium_(medium), model_(std::move(model)), lane_of_zone_(model_.zone_count()) {
  reset_all_task_.queue = this;
  reset_all_task_.run = [](Task& task) {
    ZoneQueue& queue = *static_cast<ResetAllTask&>(task).queue;
    std::unique_lock lock(queue.mutex_);
    Turn turn(*queue.reset_all_->thread);
    queue.StartResetAll(turn);
    lock.unlock();
    queue.Perform(turn);
  };
}

ZoneQueue::~ZoneQueue() = default;

void ZoneQueue::Submit(IoThread& thread, BlockRequest& request) {
  switch (request.op) {
    case BlockOp::kRead:
      return SubmitRead(thread, request);
    case BlockOp::kWrite:
      return SubmitWrite(thread, request);
    case BlockOp::kFlush:
      return medium_.Submit(thread, request);
    case BlockOp::kDiscard:
    case BlockOp::kWriteZeroes:
      request.status = BlockStatus::kUnsupported;
      return thread.Complete(request);
    case BlockOp::kZoneReport:
      return AnswerReport(thread, request);
    case BlockOp::kZoneAppend:
    case BlockOp::kZoneOpen:
    case BlockOp::kZoneClose:
    case BlockOp::kZoneFinish:
    case BlockOp::kZoneReset:
      return SubmitZoneOperation(thread, request);
    case BlockOp::kZoneResetAll:
      return SubmitResetAll(thread, request);
  }
}

// ---- Entrances ----

void ZoneQueue::SubmitRead(IoThread& thread, BlockRequest& request) {
  std::unique_lock lock(mutex_);
  BlockStatus status = model_.DecideRead(request.offset_bytes, request.length_bytes);
  if (status != BlockStatus::kOk || request.length_bytes == 0) {
    lock.unlock();
    request.status = status;
    return thread.Complete(request);
  }
  ZoneExtent extent = model_.FirstExtent(request.offset_bytes, request.length_bytes);
  uint32_t zone = model_.IndexOf(request.offset_bytes);
  if (model_.TypeOf(zone) == ZoneType::kConventional &&
      extent.length_bytes == request.length_bytes) {
    lock.unlock();
    return medium_.Submit(thread, request);
  }
  Ticket& ticket = TakeTicket(thread, request);
  lock.unlock();
  ContinueRead(ticket, extent);
}

void ZoneQueue::SubmitWrite(IoThread& thread, BlockRequest& request) {
  uint64_t offset = request.offset_bytes;
  uint64_t length = request.length_bytes;
  std::unique_lock lock(mutex_);
  bool in_range = length > 0 && RangeFits(offset, length, limits().capacity_bytes);
  bool conventional = in_range &&
                      model_.TypeOf(model_.IndexOf(offset)) == ZoneType::kConventional &&
                      model_.FirstPiece(offset, length) == length;
  if (!in_range || conventional || limits().read_only) {
    ZoneDecision decision = model_.DecideWrite(offset, length);
    lock.unlock();
    if (decision.status == BlockStatus::kOk && decision.needs_medium) {
      return medium_.Submit(thread, request);
    }
    request.status = decision.status;
    return thread.Complete(request);
  }
  Turn turn(thread);
  StartPiece(TakeTicket(thread, request), turn);
  Settle(turn);
  lock.unlock();
  Perform(turn);
}

void ZoneQueue::SubmitZoneOperation(IoThread& thread, BlockRequest& request) {
  Turn turn(thread);
  std::unique_lock lock(mutex_);
  Ticket& ticket = TakeTicket(thread, request);
  bool sequential = request.offset_bytes < limits().capacity_bytes &&
                    model_.TypeOf(model_.IndexOf(request.offset_bytes)) != ZoneType::kConventional;
  if (sequential && !limits().read_only) {
    Enqueue(ticket, turn);
  } else {
    Finish(ticket, Decide(ticket, 0).status, turn);
  }
  Settle(turn);
  lock.unlock();
  Perform(turn);
}

void ZoneQueue::SubmitResetAll(IoThread& thread, BlockRequest& request) {
  Turn turn(thread);
  std::unique_lock lock(mutex_);
  Ticket& ticket = TakeTicket(thread, request);
  if (limits().read_only) {
    Finish(ticket, BlockStatus::kReadOnly, turn);
  } else {
    Enqueue(ticket, turn);
  }
  Settle(turn);
  lock.unlock();
  Perform(turn);
}

void ZoneQueue::AnswerReport(IoThread& thread, BlockRequest& request) {
  request.zones_reported = 0;
  if (request.offset_bytes >= limits().capacity_bytes) {
    request.status = BlockStatus::kZoneInvalid;
    return thread.Complete(request);
  }
  uint32_t first = model_.IndexOf(request.offset_bytes);
  auto count =
      static_cast<uint32_t>(std::min<size_t>(request.zones.size(), model_.zone_count() - first));
  for (uint32_t done = 0; done < count;) {
    std::lock_guard lock(mutex_);
    uint32_t slice_end = std::min(count, done + kZonesPerSlice);
    for (; done < slice_end; ++done) request.zones[done] = model_.Describe(first + done);
  }
  request.zones_reported = count;
  request.status = BlockStatus::kOk;
  thread.Complete(request);
}

// ---- Reads ----

// The mutex is not held.
void ZoneQueue::ContinueRead(Ticket& ticket, ZoneExtent extent) {
  const BlockRequest& request = *ticket.request;
  while (!extent.from_medium) {
    ForEachPart(request.buffers, ticket.done_bytes, extent.length_bytes,
                [](std::byte* data, uint64_t bytes) { std::memset(data, 0, bytes); });
    ticket.done_bytes += extent.length_bytes;
    std::unique_lock lock(mutex_);
    if (ticket.done_bytes == request.length_bytes) {
      Turn turn(*ticket.thread);
      Finish(ticket, BlockStatus::kOk, turn);
      lock.unlock();
      return Perform(turn);
    }
    extent = model_.FirstExtent(ticket.offset_bytes(), request.length_bytes - ticket.done_bytes);
  }
  ticket.piece_bytes = extent.length_bytes;
  PrepareTicket(ticket, BlockOp::kRead, [](void* self, BlockRequest&) {
    auto& done = *static_cast<Ticket*>(self);
    done.queue->OnReadDone(done);
  });
  medium_.Submit(*ticket.thread, ticket.own);
}

void ZoneQueue::OnReadDone(Ticket& ticket) {
  Turn turn(*ticket.thread);
  std::unique_lock lock(mutex_);
  if (ticket.own.status == BlockStatus::kOk) {
    ticket.done_bytes += ticket.piece_bytes;
    uint64_t left = ticket.request->length_bytes - ticket.done_bytes;
    if (left > 0) {
      ZoneExtent extent = model_.FirstExtent(ticket.offset_bytes(), left);
      lock.unlock();
      return ContinueRead(ticket, extent);
    }
    Finish(ticket, BlockStatus::kOk, turn);
  } else if (model_.TypeOf(model_.IndexOf(ticket.offset_bytes())) == ZoneType::kConventional) {
    Finish(ticket, BlockStatus::kIoError, turn);
  } else {
    ticket.failed_read = true;
    Enqueue(ticket, turn);
  }
  Settle(turn);
  lock.unlock();
  Perform(turn);
}

// ---- Tickets (below here, the mutex is held unless a comment says otherwise) ----

ZoneQueue::Ticket& ZoneQueue::TakeTicket(IoThread& thread, BlockRequest& request) {
  if (free_tickets_ == nullptr) {
    tickets_.push_back(std::make_unique<Ticket>());
    tickets_.back()->queue = this;
    free_tickets_ = tickets_.back().get();
  }
  Ticket& ticket = *free_tickets_;
  free_tickets_ = std::exchange(ticket.next, nullptr);
  ticket.request = &request;
  ticket.thread = &thread;
  ticket.done_bytes = 0;
  ticket.piece_bytes = request.length_bytes;
  ticket.failed_read = false;
  ticket.zone_looked_at = false;
  return ticket;
}

void ZoneQueue::Finish(Ticket& ticket, BlockStatus status, Turn& turn) {
  BlockRequest& request = *ticket.request;
  request.status = status;
  if (request.op == BlockOp::kZoneAppend) {
    request.appended_at_bytes = status == BlockStatus::kOk
                                    ? ticket.position_bytes
                                    : AlignDown(request.offset_bytes, limits().zone_size_bytes);
  }
  turn.finished.Push(request);
  ticket.next = free_tickets_;
  free_tickets_ = &ticket;
}

// Points the ticket's own request at its piece. Needs no mutex.
void ZoneQueue::PrepareTicket(Ticket& ticket, BlockOp op, BlockRequest::Done done) {
  ticket.own.op = op;
  ticket.own.offset_bytes = ticket.offset_bytes();
  ticket.own.length_bytes = ticket.piece_bytes;
  ticket.own.buffers = ticket.PieceBuffers();
  ticket.own.status = BlockStatus::kOk;
  ticket.own.PushCompletion(done, &ticket);
}

// Sends a write's next piece on its way. The whole range lies within the disk.
void ZoneQueue::StartPiece(Ticket& ticket, Turn& turn) {
  uint64_t offset = ticket.offset_bytes();
  ticket.piece_bytes = model_.FirstPiece(offset, ticket.request->length_bytes - ticket.done_bytes);
  if (model_.TypeOf(model_.IndexOf(offset)) != ZoneType::kConventional) {
    return Enqueue(ticket, turn);
  }
  ZoneDecision decision = model_.DecideWrite(offset, ticket.piece_bytes);
  if (decision.status != BlockStatus::kOk) return Finish(ticket, decision.status, turn);
  PrepareTicket(ticket, BlockOp::kWrite, [](void* self, BlockRequest&) {
    auto& done = *static_cast<Ticket*>(self);
    done.queue->OnPieceDone(done);
  });
  turn.tickets_to_medium.Push(ticket);
}

void ZoneQueue::FinishPiece(Ticket& ticket, BlockStatus status, Turn& turn) {
  if (status == BlockStatus::kOk && ticket.request->op == BlockOp::kWrite) {
    ticket.done_bytes += ticket.piece_bytes;
    if (ticket.done_bytes < ticket.request->length_bytes) return StartPiece(ticket, turn);
  }
  Finish(ticket, status, turn);
}

// The mutex is not held.
void ZoneQueue::OnPieceDone(Ticket& ticket) {
  Turn turn(*ticket.thread);
  std::unique_lock lock(mutex_);
  BlockStatus status = ticket.own.status;
  FinishPiece(ticket, status == BlockStatus::kOk ? status : StatusOfFailure(status), turn);
  Settle(turn);
  lock.unlock();
  Perform(turn);
}

void ZoneQueue::Enqueue(Ticket& ticket, Turn& turn) {
  if (reset_all_ != nullptr) return held_back_.Push(ticket);
  if (ticket.request->op == BlockOp::kZoneResetAll) {
    reset_all_ = &ticket;
    reset_all_step_ = ResetAllStep::kWaiting;
    return;
  }
  uint32_t zone = model_.IndexOf(ticket.offset_bytes());
  Lane* lane = lane_of_zone_[zone];
  if (lane != nullptr) return lane->waiting.Push(ticket);
  lane = &TakeLane(zone);
  lane->waiting.Push(ticket);
  Resume(*lane, turn);
}

// ---- Reset-all ----

// No lane is left.
void ZoneQueue::StartResetAll(Turn& turn) {
  Ticket& ticket = *reset_all_;
  if (ticket.thread != &turn.thread) {
    reset_all_step_ = ResetAllStep::kPosted;
    turn.reset_all_to_post = ticket.thread;
    return;
  }
  reset_all_step_ = ResetAllStep::kRunning;
  ticket.own.op = BlockOp::kZoneResetAll;
  ticket.own.offset_bytes = 0;
  ticket.own.length_bytes = 0;
  ticket.own.buffers = {};
  SendResetAll(turn);
}

void ZoneQueue::SendResetAll(Turn& turn) {
  reset_all_->own.status = BlockStatus::kOk;
  reset_all_->own.PushCompletion(
      [](void* self, BlockRequest&) {
        auto& done = *static_cast<Ticket*>(self);
        done.queue->OnResetAllDone(done);
      },
      reset_all_);
  turn.tickets_to_medium.Push(*reset_all_);
}

// The mutex is not held.
void ZoneQueue::OnResetAllDone(Ticket& ticket) {
  Turn turn(*ticket.thread);
  std::unique_lock lock(mutex_);
  BlockRequest& own = ticket.own;
  bool ok = own.status == BlockStatus::kOk;
  bool ended = true;
  if (own.op == BlockOp::kZoneResetAll) {
    ticket.failure = ok ? BlockStatus::kOk : StatusOfFailure(own.status);
    if (ok) {
      model_.ApplyResetAll();
    } else {
      // What is not reloaded below stays stale, and is reloaded before its next request.
      for (uint32_t zone = 0; zone < model_.zone_count(); ++zone) {
        if (model_.TypeOf(zone) != ZoneType::kConventional) model_.MarkStale(zone);
      }
      reload_slice_.resize(std::min(kZonesPerSlice, model_.zone_count()));
      reload_cursor_ = 0;
      ended = false;
    }
  } else if (ok && own.zones_reported > 0 && own.zones_reported <= reload_slice_.size()) {
    uint32_t end = std::min(reload_cursor_ + own.zones_reported, model_.zone_count());
    for (uint32_t zone = reload_cursor_; zone < end; ++zone) {
      if (model_.TypeOf(zone) == ZoneType::kConventional) continue;
      // Refused, the zone stays stale.
      (void)model_.Reload(zone, reload_slice_[zone - reload_cursor_]);
    }
    reload_cursor_ = end;
    ended = end == model_.zone_count();
  }
  if (ended) {
    FinishResetAll(turn);
  } else {
    own.op = BlockOp::kZoneReport;
    own.offset_bytes = model_.StartOf(reload_cursor_);
    own.zones = reload_slice_;
    own.zones_reported = 0;
    SendResetAll(turn);
  }
  Settle(turn);
  lock.unlock();
  Perform(turn);
}

void ZoneQueue::FinishResetAll(Turn& turn) {
  Finish(*reset_all_, reset_all_->failure, turn);
  reset_all_ = nullptr;
  while (!held_back_.empty() && reset_all_ == nullptr) Enqueue(held_back_.Pop(), turn);
}

// ---- The end of every critical section ----

void ZoneQueue::Settle(Turn& turn) {
  ServeWaitingForOpen(turn);
  if (reset_all_ != nullptr && reset_all_step_ == ResetAllStep::kWaiting && live_lanes_ == 0) {
    StartResetAll(turn);
  }
}

// The mutex is not held.
void ZoneQueue::Perform(Turn& turn) {
  while (!turn.finished.empty()) turn.thread.Complete(turn.finished.Pop());
  while (!turn.lanes_to_medium.empty()) {
    medium_.Submit(turn.thread, turn.lanes_to_medium.Pop().own);
  }
  while (!turn.tickets_to_medium.empty()) {
    medium_.Submit(turn.thread, turn.tickets_to_medium.Pop().own);
  }
  while (!turn.lanes_to_post.empty()) {
    Lane& lane = turn.lanes_to_post.Pop();
    lane.thread->Post(lane.move);
  }
  if (turn.reset_all_to_post != nullptr) turn.reset_all_to_post->Post(reset_all_task_);
}

}  // namespace minivmm
