#include "blockcore/zoned/zoned_image.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "blockcore/base/log.h"
#include "blockcore/base/units.h"
#include "blockcore/buffer_parts.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/zoned_image_parts.h"
#include "blockcore/zoned/zoned_load.h"

namespace minivmm {
namespace {

BlockLimits LimitsOf(const ZonedHeader& header, const BlockLimits& medium, bool read_only) {
  const ZonedGeometry& g = header.geometry;
  BlockLimits limits;
  limits.capacity_bytes = g.capacity_bytes;
  limits.logical_block_bytes = g.logical_block_bytes;
  limits.physical_block_bytes = g.physical_block_bytes;
  limits.write_alignment_bytes = medium.write_alignment_bytes;
  limits.read_only = read_only;
  limits.zoned = g.model;
  limits.zone_size_bytes = g.zone_size_bytes;
  limits.zone_count = g.zone_count();
  limits.max_open_zones = g.max_open_zones;
  limits.max_active_zones = g.max_active_zones;
  // The first sequential zone is also the smallest where it is the last one, and short.
  limits.max_append_bytes =
      std::min(g.max_append_bytes,
               AlignDown(g.ZoneCapacity(g.conventional_zones), g.write_granularity_bytes));
  limits.write_granularity_bytes = g.write_granularity_bytes;
  return limits;
}

}  // namespace

Result<std::unique_ptr<ZonedImage>> ZonedImage::Open(IoThread& thread, BlockNode& child,
                                                     bool read_only) {
  if (child.limits().zoned != ZonedModel::kNone) {
    return Fail("the node below is a zoned disk itself: use it without driver 'zoned'");
  }
  SyncIo io(thread, child);
  TRY(ZonedContents contents, LoadZonedContents(io));
  if (!read_only) {
    if (!contents.findings.empty()) {
      LOG("zoned: {}{}; it is healed from the other copy", contents.findings[0].text,
          contents.findings.size() == 1
              ? ""
              : fmt::format(" (and {} more)", contents.findings.size() - 1));
    }
    TRY_VOID(PrepareZonedForWriting(io, contents));
  }
  return std::unique_ptr<ZonedImage>(new ZonedImage(
      child, LimitsOf(contents.header, child.limits(), read_only), std::move(contents.table)));
}

ZonedImage::ZonedImage(BlockNode& child, const BlockLimits& limits, ZonedTable table)
    : child_(child), limits_(limits), table_(std::move(table)) {
  if (!limits.read_only) loose_slots_ = table_.TakeStraySlots();
}

ZonedImage::~ZonedImage() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return !commit_active_ && sweep_ == Sweep::kIdle; });
}

void ZonedImage::Submit(IoThread& thread, BlockRequest& request) {
  request.status = BlockStatus::kOk;
  switch (request.op) {
    case BlockOp::kRead:
    case BlockOp::kWrite:
      if (!RangeFits(request.offset_bytes, request.length_bytes, limits_.capacity_bytes)) {
        request.status = BlockStatus::kOutOfRange;
      } else if (request.op == BlockOp::kWrite && limits_.read_only) {
        request.status = BlockStatus::kReadOnly;
      } else {
        std::unique_lock lock(mutex_);
        Ticket& ticket = TakeTicket(thread, request);
        return Transfer(ticket, std::move(lock));
      }
      break;
    case BlockOp::kFlush:
      if (!limits_.read_only) {
        Turn turn{thread};
        {
          std::lock_guard lock(mutex_);
          Ticket& ticket = TakeTicket(thread, request);
          ticket.next_ticket = std::exchange(flush_waiters_, &ticket);
          if (!commit_active_) StartCommit(turn);
        }
        return Perform(turn);
      }
      break;
    case BlockOp::kZoneReport:
      AnswerReport(request);
      break;
    case BlockOp::kZoneOpen:
    case BlockOp::kZoneClose:
    case BlockOp::kZoneFinish:
    case BlockOp::kZoneReset:
    case BlockOp::kZoneResetAll:
      return ChangeZones(thread, request);
    default:
      request.status = BlockStatus::kUnsupported;
  }
  thread.Complete(request);
}

ZonedImage::Ticket& ZonedImage::TakeTicket(IoThread& thread, BlockRequest& request) {
  if (free_tickets_ == nullptr) {
    tickets_.push_back(std::make_unique<Ticket>());
    free_tickets_ = tickets_.back().get();
    free_tickets_->image = this;
  }
  Ticket& ticket = *free_tickets_;
  free_tickets_ = std::exchange(ticket.next_ticket, nullptr);
  ticket.thread = &thread;
  ticket.request = &request;
  ticket.done_bytes = 0;
  ticket.gap_is_clear = false;
  ticket.commit_status = BlockStatus::kOk;
  return ticket;
}

void ZonedImage::GiveTicket(Ticket& ticket) {
  ticket.next_ticket = std::exchange(free_tickets_, &ticket);
}

// ---- reads and writes

void ZonedImage::Transfer(Ticket& ticket, std::unique_lock<std::mutex> lock) {
  BlockRequest& request = *ticket.request;
  IoThread& thread = *ticket.thread;
  Turn turn{thread};
  for (;;) {
    const Step step = PlanPiece(ticket, turn);
    switch (step) {
      case Step::kZeroes:
        lock.unlock();
        ForEachPart(request.buffers, ticket.done_bytes, ticket.piece_bytes,
                    [](std::byte* target, uint64_t bytes) { std::memset(target, 0, bytes); });
        ticket.done_bytes += ticket.piece_bytes;
        lock.lock();
        continue;
      case Step::kChild:
        lock.unlock();
        Perform(turn);
        child_.Submit(thread, ticket.piece);
        return;
      case Step::kWait:
        lock.unlock();
        Perform(turn);
        return;
      case Step::kDone:
      case Step::kFail:
        request.status =
            step == Step::kDone ? BlockStatus::kOk : StatusOfChildFailure(ticket.commit_status);
        GiveTicket(ticket);
        lock.unlock();
        Perform(turn);
        thread.Complete(request);
        return;
    }
  }
}

ZonedImage::Step ZonedImage::PlanPiece(Ticket& ticket, Turn& turn) {
  const BlockRequest& request = *ticket.request;
  if (ticket.done_bytes == request.length_bytes) return Step::kDone;
  const uint64_t offset = request.offset_bytes + ticket.done_bytes;
  ticket.zone = static_cast<uint32_t>(offset / limits_.zone_size_bytes);
  const uint64_t within = offset % limits_.zone_size_bytes;
  const uint64_t zone_length = table_.header().geometry.ZoneLength(ticket.zone);
  const uint64_t length = std::min(request.length_bytes - ticket.done_bytes, zone_length - within);
  if (request.op == BlockOp::kWrite) return PlanWrite(ticket, within, length, turn);

  const ZoneRecord& record = table_.record(ticket.zone);
  const uint64_t readable = table_.IsConventional(ticket.zone) ? zone_length : record.written_bytes;
  if (record.slot == kNoSlot || within >= readable) {
    ticket.piece_bytes = length;
    return Step::kZeroes;
  }
  return PlanChildRequest(ticket, BlockOp::kRead, within, std::min(length, readable - within));
}

ZonedImage::Step ZonedImage::PlanWrite(Ticket& ticket, uint64_t within_bytes, uint64_t length_bytes,
                                       Turn& turn) {
  const ZoneRecord before = table_.record(ticket.zone);
  if (before.slot == kNoSlot) {
    StartSweep(turn);
    if (!table_.SlotForWrite(ticket.zone)) {
      if (ticket.commit_status != BlockStatus::kOk || !SlotsWillReturn()) {
        LOG_RATE_LIMITED("zoned: a write to zone {} failed: the image has no room", ticket.zone);
        return Step::kFail;
      }
      if (!commit_active_ && table_.retired_slots() != 0) StartCommit(turn);
      ticket.next_ticket = std::exchange(slot_waiters_, &ticket);
      return Step::kWait;
    }
  }
  // A host-aware zone may be written beyond its pointer. What an earlier write left there, before
  // it failed or before a crash, must not come to light. (A fresh slot is all zeroes.)
  const bool leaves_gap = !table_.IsConventional(ticket.zone) && before.slot != kNoSlot &&
                          within_bytes > before.written_bytes;
  ticket.clears_gap = leaves_gap && !ticket.gap_is_clear;
  if (ticket.clears_gap) {
    return PlanChildRequest(ticket, BlockOp::kWriteZeroes, before.written_bytes,
                            within_bytes - before.written_bytes);
  }
  return PlanChildRequest(ticket, BlockOp::kWrite, within_bytes, length_bytes);
}

ZonedImage::Step ZonedImage::PlanChildRequest(Ticket& ticket, BlockOp op, uint64_t within_bytes,
                                              uint64_t length_bytes) {
  const BlockRequest& request = *ticket.request;
  ticket.piece_bytes = length_bytes;
  ticket.epoch = epoch_;
  ++slot_users_[epoch_];
  BlockRequest& piece = ticket.piece;
  piece.op = op;
  piece.status = BlockStatus::kOk;
  piece.offset_bytes = table_.header().SlotOffset(table_.record(ticket.zone).slot) + within_bytes;
  piece.length_bytes = length_bytes;
  piece.may_unmap = true;
  if (op == BlockOp::kWriteZeroes) {
    piece.buffers = {};
  } else if (length_bytes == request.length_bytes) {
    piece.buffers = request.buffers;
  } else {
    piece.buffers = SliceBuffers(request.buffers, ticket.done_bytes, length_bytes, ticket.slice);
  }
  piece.PushCompletion(
      [](void* self, BlockRequest&) {
        auto& done = *static_cast<Ticket*>(self);
        done.image->OnPieceDone(done);
      },
      &ticket);
  return Step::kChild;
}

void ZonedImage::OnPieceDone(Ticket& ticket) {
  BlockRequest& request = *ticket.request;
  const BlockStatus status = ticket.piece.status;
  const bool ok = status == BlockStatus::kOk;
  std::unique_lock lock(mutex_);
  Turn turn{*ticket.thread};
  LeaveSlot(ticket, turn);
  if (!ok) {
    GiveTicket(ticket);
    lock.unlock();
    Perform(turn);
    request.status = StatusOfChildFailure(status);
    turn.thread.Complete(request);
    return;
  }
  ticket.gap_is_clear = ticket.clears_gap;
  if (ticket.clears_gap) {
    ticket.clears_gap = false;
  } else {
    if (request.op == BlockOp::kWrite) {
      table_.NoteWritten(ticket.zone, request.offset_bytes + ticket.done_bytes +
                                          ticket.piece_bytes -
                                          ticket.zone * limits_.zone_size_bytes);
    }
    ticket.done_bytes += ticket.piece_bytes;
  }
  if (turn.punch) {
    lock.unlock();
    Perform(turn);
    lock.lock();
  }
  Transfer(ticket, std::move(lock));
}

void ZonedImage::LeaveSlot(Ticket& ticket, Turn& turn) {
  const bool last = --slot_users_[ticket.epoch] == 0;
  if (last && sweep_ == Sweep::kWaiting && ticket.epoch != epoch_) StartPunching(turn);
}

bool ZonedImage::SlotsWillReturn() const {
  return commit_active_ || sweep_ != Sweep::kIdle || table_.retired_slots() != 0;
}

void ZonedImage::ResumeSlotWaiters(BlockStatus commit_status, Turn& turn) {
  while (Ticket* ticket = slot_waiters_) {
    slot_waiters_ = ticket->next_ticket;
    ticket->commit_status = commit_status;
    ticket->next_ticket = std::exchange(turn.resumed, ticket);
  }
}

// ---- zones

void ZonedImage::ChangeZones(IoThread& thread, BlockRequest& request) {
  if (limits_.read_only) {
    request.status = BlockStatus::kReadOnly;
    thread.Complete(request);
    return;
  }
  Turn turn{thread};
  {
    std::lock_guard lock(mutex_);
    if (request.op == BlockOp::kZoneResetAll) {
      for (uint32_t zone = table_.header().geometry.conventional_zones; zone < table_.zone_count();
           ++zone) {
        if (table_.record(zone).fault == ZoneFault::kNone) table_.Reset(zone);
      }
    } else {
      request.status = ChangeZone(request.op, request.offset_bytes);
    }
    if (table_.retired_slots() >= kManyRetiredSlots && !commit_active_) StartCommit(turn);
  }
  thread.Complete(request);
  Perform(turn);
}

BlockStatus ZonedImage::ChangeZone(BlockOp op, uint64_t offset_bytes) {
  if (offset_bytes >= limits_.capacity_bytes || !IsAligned(offset_bytes, limits_.zone_size_bytes)) {
    return BlockStatus::kZoneInvalid;
  }
  const auto zone = static_cast<uint32_t>(offset_bytes / limits_.zone_size_bytes);
  if (table_.IsConventional(zone) || table_.record(zone).fault != ZoneFault::kNone) {
    return BlockStatus::kZoneInvalid;
  }
  switch (op) {
    case BlockOp::kZoneOpen:
      table_.Open(zone);
      break;
    case BlockOp::kZoneClose:
      table_.Close(zone);
      break;
    case BlockOp::kZoneFinish:
      table_.Finish(zone);
      break;
    default:
      table_.Reset(zone);
  }
  return BlockStatus::kOk;
}

void ZonedImage::AnswerReport(BlockRequest& request) const {
  request.zones_reported = 0;
  if (request.offset_bytes >= limits_.capacity_bytes) {
    request.status = BlockStatus::kOutOfRange;
    return;
  }
  const auto first = static_cast<uint32_t>(request.offset_bytes / limits_.zone_size_bytes);
  std::lock_guard lock(mutex_);
  for (uint32_t zone = first; zone < limits_.zone_count; ++zone) {
    if (request.zones_reported == request.zones.size()) break;
    request.zones[request.zones_reported++] = table_.Describe(zone);
  }
}

std::vector<ZoneDescriptor> ZonedImage::ReportZones() const {
  std::vector<ZoneDescriptor> zones(limits_.zone_count);
  std::lock_guard lock(mutex_);
  for (uint32_t zone = 0; zone < limits_.zone_count; ++zone) zones[zone] = table_.Describe(zone);
  return zones;
}

// ---- the end of every critical section

void ZonedImage::Perform(const Turn& turn) {
  // While one of these is under way, or a ticket is not home, the image lives on; no longer.
  if (turn.flush_for_commit) FlushForCommit();
  if (turn.punch) {
    punch_request_.PushCompletion(
        [](void* self, BlockRequest& request) {
          static_cast<ZonedImage*>(self)->OnPunched(request.status);
        },
        this);
    child_.Submit(turn.thread, punch_request_);
  }
  for (Ticket* ticket = turn.finished; ticket != nullptr;) {
    Ticket& home = *std::exchange(ticket, ticket->next_ticket);
    home.run = [](Task& task) {
      auto& finished = static_cast<Ticket&>(task);
      BlockRequest& request = *finished.request;
      IoThread& thread = *finished.thread;
      {
        std::lock_guard lock(finished.image->mutex_);
        finished.image->GiveTicket(finished);
      }
      thread.Complete(request);
    };
    home.thread->Post(home);
  }
  for (Ticket* ticket = turn.resumed; ticket != nullptr;) {
    Ticket& home = *std::exchange(ticket, ticket->next_ticket);
    home.run = [](Task& task) {
      auto& resumed = static_cast<Ticket&>(task);
      resumed.image->Transfer(resumed, std::unique_lock(resumed.image->mutex_));
    };
    home.thread->Post(home);
  }
}

}  // namespace minivmm
