// The lanes of ZoneQueue: one FIFO for each zone that has something to do, and the open resources
// that they share.
#include <algorithm>
#include <optional>
#include <utility>

#include "blockcore/base/units.h"
#include "blockcore/zone_queue.h"
#include "blockcore/zone_queue_parts.h"

namespace minivmm {
namespace {

// Of one joined write. The first is the system's limit for one vectored write.
constexpr size_t kMaxJoinedIovecs = 1024;
constexpr uint64_t kMaxJoinedBytes = 1_MiB;

}  // namespace

ZoneQueue::Lane& ZoneQueue::TakeLane(uint32_t zone) {
  if (free_lanes_ == nullptr) {
    lanes_.push_back(std::make_unique<Lane>());
    Lane& lane = *lanes_.back();
    lane.queue = this;
    lane.move.lane = &lane;
    lane.move.run = [](Task& task) {
      Lane& posted = *static_cast<Lane::MoveTask&>(task).lane;
      ZoneQueue& queue = *posted.queue;
      Turn turn(*posted.thread);
      std::unique_lock lock(queue.mutex_);
      queue.Resume(posted, turn);
      queue.Settle(turn);
      lock.unlock();
      queue.Perform(turn);
    };
    free_lanes_ = &lane;
  }
  Lane& lane = *free_lanes_;
  free_lanes_ = std::exchange(lane.next, nullptr);
  lane.zone = zone;
  lane_of_zone_[zone] = &lane;
  ++live_lanes_;
  model_.SetBusy(zone, true);
  return lane;
}

ZoneDecision ZoneQueue::Decide(const Ticket& ticket, uint64_t joined_bytes) const {
  const BlockRequest& request = *ticket.request;
  switch (request.op) {
    case BlockOp::kWrite:
      return model_.DecideWrite(ticket.offset_bytes(), ticket.piece_bytes, joined_bytes);
    case BlockOp::kZoneAppend:
      return model_.DecideAppend(request.offset_bytes, request.length_bytes, joined_bytes);
    default:
      return model_.DecideManagement(request.op, request.offset_bytes);
  }
}

// Whether the zone can be closed before the lane's next request. One that opens, closes, finishes
// or resets it changes that by itself.
bool ZoneQueue::MayYield(const Lane& lane) const {
  switch (lane.waiting.head->request->op) {
    case BlockOp::kRead:  // one that has failed
    case BlockOp::kWrite:
    case BlockOp::kZoneAppend:
      return !lane.granted && !model_.IsStale(lane.zone) &&
             model_.ConditionOf(lane.zone) == ZoneCondition::kImplicitlyOpen;
    default:
      return false;
  }
}

// Takes up a lane that has nothing in flight: answers what needs no medium, starts what does, goes
// to the right thread, waits for an open resource, or ends.
void ZoneQueue::Resume(Lane& lane, Turn& turn) {
  while (!lane.waiting.empty()) {
    Ticket& head = *lane.waiting.head;
    if (closes_wanted_ > 0 && MayYield(lane)) {
      // A zone that is never idle would keep the others waiting for ever, be it with requests that
      // it refuses.
      --closes_wanted_;
      return StartImplicitClose(lane, turn);
    }
    if (head.thread != &turn.thread) {
      lane.thread = head.thread;
      turn.lanes_to_post.Push(lane);
      return;
    }
    auto finish_head = [&](BlockStatus status) { Finish(lane.waiting.Pop(), status, turn); };

    if (head.failed_read && !head.zone_looked_at) {
      head.zone_looked_at = true;
      model_.MarkStale(lane.zone);
    }
    if (model_.IsStale(lane.zone)) {
      if (!std::exchange(lane.report_failed, false)) return StartReport(lane, turn);
      finish_head(BlockStatus::kIoError);
      continue;
    }
    if (head.failed_read) {
      bool offline = model_.ConditionOf(lane.zone) == ZoneCondition::kOffline;
      finish_head(offline ? BlockStatus::kZoneInvalid : BlockStatus::kIoError);
      continue;
    }
    if (lane.refusal != BlockStatus::kOk) {
      finish_head(std::exchange(lane.refusal, BlockStatus::kOk));
      continue;
    }
    ZoneDecision decision = Decide(head, 0);
    if (decision.status != BlockStatus::kOk || !decision.needs_medium) {
      finish_head(decision.status);
      continue;
    }
    bool granted = std::exchange(lane.granted, false);
    if (decision.open_need != OpenNeed::kNone && !granted) {
      // Even if there is one left now: others may have waited for longer.
      lane.open_need = decision.open_need;
      return waiting_for_open_.Push(lane);
    }
    return Start(lane, decision, turn);
  }
  model_.SetBusy(lane.zone, false);
  lane_of_zone_[lane.zone] = nullptr;
  --live_lanes_;
  lane.next = free_lanes_;
  free_lanes_ = &lane;
}

void ZoneQueue::Start(Lane& lane, const ZoneDecision& decision, Turn& turn) {
  Ticket& ticket = lane.waiting.Pop();
  lane.flying.Push(ticket);
  lane.step = Lane::Step::kRequest;
  lane.own.op = decision.medium_op;
  lane.own.offset_bytes = decision.position_bytes;
  ticket.position_bytes = decision.position_bytes;
  if (decision.medium_op == BlockOp::kWrite) {
    lane.own.length_bytes = ticket.piece_bytes;
    lane.own.buffers = ticket.PieceBuffers();
    if (model_.TypeOf(lane.zone) == ZoneType::kSequentialRequired) Join(lane, turn);
  } else {
    lane.own.length_bytes = 0;
    lane.own.buffers = {};
  }
  SendToMedium(lane, turn);
}

// Adds to the write about to start what waits behind it and continues it.
void ZoneQueue::Join(Lane& lane, Turn& turn) {
  uint64_t total = lane.own.length_bytes;
  auto add = [&lane](std::span<const iovec> buffers) {
    for (const iovec& buffer : buffers) {
      if (buffer.iov_len != 0) lane.joined.push_back(buffer);
    }
  };
  size_t iovecs = lane.own.buffers.size();
  while (!lane.waiting.empty()) {
    Ticket& next = *lane.waiting.head;
    bool writes = next.request->op == BlockOp::kWrite || next.request->op == BlockOp::kZoneAppend;
    if (!writes || next.failed_read || next.thread != &turn.thread ||
        next.piece_bytes > kMaxJoinedBytes - std::min(total, kMaxJoinedBytes) ||
        iovecs + next.request->buffers.size() > kMaxJoinedIovecs) {
      break;
    }
    ZoneDecision decision = Decide(next, total);
    if (decision.status != BlockStatus::kOk || !decision.needs_medium) break;
    if (lane.flying.count == 1) {
      lane.joined.clear();
      add(lane.own.buffers);
    }
    add(next.request->buffers);
    iovecs += next.request->buffers.size();
    next.position_bytes = decision.position_bytes;
    total += next.piece_bytes;
    lane.flying.Push(lane.waiting.Pop());
  }
  if (lane.flying.count > 1) {
    lane.own.buffers = lane.joined;
    lane.own.length_bytes = total;
  }
}

void ZoneQueue::StartReport(Lane& lane, Turn& turn) {
  lane.step = Lane::Step::kReport;
  lane.own.op = BlockOp::kZoneReport;
  lane.own.offset_bytes = model_.StartOf(lane.zone);
  lane.own.length_bytes = 0;
  lane.own.buffers = {};
  lane.own.zones = {&lane.report, 1};
  lane.own.zones_reported = 0;
  SendToMedium(lane, turn);
}

void ZoneQueue::StartImplicitClose(Lane& lane, Turn& turn) {
  uint64_t start = model_.StartOf(lane.zone);
  lane.step = Lane::Step::kImplicitClose;
  lane.closing = true;
  ++implicit_closes_;
  lane.own.op = model_.DecideManagement(BlockOp::kZoneClose, start).medium_op;
  lane.own.offset_bytes = start;
  lane.own.length_bytes = 0;
  lane.own.buffers = {};
  SendToMedium(lane, turn);
}

void ZoneQueue::SendToMedium(Lane& lane, Turn& turn) {
  lane.thread = &turn.thread;
  lane.own.status = BlockStatus::kOk;
  lane.own.PushCompletion(
      [](void* self, BlockRequest&) {
        auto& done = *static_cast<Lane*>(self);
        done.queue->OnLaneDone(done);
      },
      &lane);
  turn.lanes_to_medium.Push(lane);
}

// The mutex is not held.
void ZoneQueue::OnLaneDone(Lane& lane) {
  Turn turn(*lane.thread);
  std::unique_lock lock(mutex_);
  BlockStatus status = lane.own.status;
  bool ok = status == BlockStatus::kOk;
  bool go_on = true;
  switch (lane.step) {
    case Lane::Step::kRequest:
      if (ok) {
        ApplyFlight(lane);
        FinishFlight(lane, BlockStatus::kOk, turn);
      } else {
        lane.failure = StatusOfFailure(status);
        go_on = false;
      }
      break;
    case Lane::Step::kImplicitClose:
      if (ok) {
        model_.ApplyManagement(lane.zone, BlockOp::kZoneClose);
        lane.closing = false;
        --implicit_closes_;
      } else {
        go_on = false;
      }
      break;
    case Lane::Step::kReport:
      ok = ok && lane.own.zones_reported == 1 && model_.Reload(lane.zone, lane.report);
      OnReported(lane, ok, turn);
      break;
  }
  if (go_on) {
    Resume(lane, turn);
  } else {
    model_.MarkStale(lane.zone);
    StartReport(lane, turn);
  }
  Settle(turn);
  lock.unlock();
  Perform(turn);
}

// After a failure, or before the first request to a zone that could not be reloaded then.
void ZoneQueue::OnReported(Lane& lane, bool reloaded, Turn& turn) {
  if (!reloaded) model_.GiveBack(lane.zone);
  if (!lane.flying.empty()) {
    ZoneCondition condition = model_.ConditionOf(lane.zone);
    bool dead = condition == ZoneCondition::kReadOnly || condition == ZoneCondition::kOffline;
    bool by_host = lane.failure == BlockStatus::kIoError || lane.failure == BlockStatus::kNoSpace;
    bool explains = reloaded && dead && by_host;
    FinishFlight(lane, explains ? BlockStatus::kZoneInvalid : lane.failure, turn);
  } else if (lane.closing) {
    lane.closing = false;
    --implicit_closes_;
    // Nothing was gained for those who wait. One of them gives up, so that a medium that closes
    // nothing cannot keep us trying for ever.
    if (model_.HoldsOpen(lane.zone) && !waiting_for_open_.empty()) {
      AnswerOpenNeed(waiting_for_open_.Pop(), BlockStatus::kIoError, turn);
    }
  } else {
    lane.report_failed = !reloaded;
  }
}

void ZoneQueue::ApplyFlight(Lane& lane) {
  BlockOp op = lane.flying.head->request->op;
  if (op == BlockOp::kWrite || op == BlockOp::kZoneAppend) {
    model_.ApplyWrite(lane.zone, lane.own.offset_bytes, lane.own.length_bytes);
  } else {
    model_.ApplyManagement(lane.zone, op);
  }
}

void ZoneQueue::FinishFlight(Lane& lane, BlockStatus status, Turn& turn) {
  while (!lane.flying.empty()) FinishPiece(lane.flying.Pop(), status, turn);
}

// ---- Open resources ----

void ZoneQueue::ServeWaitingForOpen(Turn& turn) {
  closes_wanted_ = 0;
  while (!waiting_for_open_.empty()) {
    Lane& lane = *waiting_for_open_.head;
    BlockStatus refusal = BlockStatus::kOk;
    switch (model_.Reserve(lane.zone, lane.open_need)) {
      case ZoneModel::Grant::kGranted:
        break;
      case ZoneModel::Grant::kWait:
        return;
      case ZoneModel::Grant::kOpenLimit:
        refusal = BlockStatus::kZoneOpenLimit;
        break;
      case ZoneModel::Grant::kActiveLimit:
        refusal = BlockStatus::kZoneActiveLimit;
        break;
      case ZoneModel::Grant::kCloseFirst:
        // One close for each that waits. Where all that could be closed are busy, the next of them
        // to become idle brings us here again, or is closed when it comes to its next write.
        while (implicit_closes_ < waiting_for_open_.count) {
          std::optional<uint32_t> victim = model_.IdleVictim();
          if (!victim) {
            closes_wanted_ = static_cast<uint32_t>(waiting_for_open_.count) - implicit_closes_;
            break;
          }
          StartImplicitClose(TakeLane(*victim), turn);
        }
        return;
    }
    AnswerOpenNeed(waiting_for_open_.Pop(), refusal, turn);
  }
}

void ZoneQueue::AnswerOpenNeed(Lane& lane, BlockStatus refusal, Turn& turn) {
  lane.granted = refusal == BlockStatus::kOk;
  lane.refusal = refusal;
  Resume(lane, turn);
}

}  // namespace minivmm
