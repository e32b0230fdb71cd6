#include <algorithm>
#include <functional>
#include <utility>

#include "blockcore/base/log.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/zoned_image.h"
#include "blockcore/zoned/zoned_image_parts.h"

// What a ZonedImage does for itself: commits of the table, and sweeps of slots that nobody needs.

namespace minivmm {
namespace {

// Of a commit's page writes; more would not make it faster.
constexpr size_t kMaxPagesInFlight = 32;
// What a rare large commit needed is given back.
constexpr size_t kMaxKeptPages = 512;

}  // namespace

// ---- commit

void ZonedImage::StartCommit(Turn& turn) {
  commit_active_ = true;
  commit_thread_ = &turn.thread;
  commit_waiters_ = std::exchange(flush_waiters_, nullptr);
  pages_written_ = false;
  table_.BeginCommit(page_writes_);
  StartSweep(turn);
  turn.flush_for_commit = true;
}

void ZonedImage::FlushForCommit() {
  commit_flush_.op = BlockOp::kFlush;
  commit_flush_.PushCompletion(
      [](void* self, BlockRequest& request) {
        static_cast<ZonedImage*>(self)->OnCommitFlushed(request.status);
      },
      this);
  child_.Submit(*commit_thread_, commit_flush_);
}

void ZonedImage::OnCommitFlushed(BlockStatus status) {
  if (status != BlockStatus::kOk || page_writes_.empty() || pages_written_) {
    return FinishCommit(status);
  }
  next_page_ = 0;
  page_status_ = BlockStatus::kOk;
  pages_in_flight_ = std::min(page_writes_.size(), kMaxPagesInFlight);
  while (page_ios_.size() < pages_in_flight_) {
    page_ios_.push_back(std::make_unique<PageIo>());
    page_ios_.back()->image = this;
  }
  for (size_t i = 0; i < pages_in_flight_; ++i) WriteNextPage(*page_ios_[i]);
}

void ZonedImage::WriteNextPage(PageIo& io) {
  ZonedTable::PageWrite& page = page_writes_[next_page_++];
  io.buffer = {.iov_base = page.bytes.data(), .iov_len = page.bytes.size()};
  io.request.op = BlockOp::kWrite;
  io.request.offset_bytes = page.offset_bytes;
  io.request.length_bytes = page.bytes.size();
  io.request.buffers = {&io.buffer, 1};
  io.request.PushCompletion(
      [](void* self, BlockRequest&) {
        auto& done = *static_cast<PageIo*>(self);
        done.image->OnPageWritten(done);
      },
      &io);
  child_.Submit(*commit_thread_, io.request);
}

void ZonedImage::OnPageWritten(PageIo& io) {
  if (io.request.status != BlockStatus::kOk) page_status_ = io.request.status;
  if (page_status_ == BlockStatus::kOk && next_page_ < page_writes_.size()) {
    return WriteNextPage(io);
  }
  if (--pages_in_flight_ != 0) return;
  if (page_status_ != BlockStatus::kOk) return FinishCommit(page_status_);
  pages_written_ = true;
  FlushForCommit();
}

void ZonedImage::FinishCommit(BlockStatus status) {
  Turn turn{*commit_thread_};
  {
    std::lock_guard lock(mutex_);
    if (page_writes_.capacity() > kMaxKeptPages) page_writes_ = {};
    EndCommit(status, turn);
    NotifyIfIdle();
  }
  // With nothing left to do, the image may be gone by now.
  if (!turn.empty()) Perform(turn);
}

void ZonedImage::EndCommit(BlockStatus status, Turn& turn) {
  const bool ok = status == BlockStatus::kOk;
  const std::vector<uint32_t> left = table_.EndCommit(ok);
  loose_slots_.insert(loose_slots_.end(), left.begin(), left.end());
  commit_active_ = false;
  while (Ticket* ticket = commit_waiters_) {
    commit_waiters_ = ticket->next_ticket;
    ticket->request->status = ok ? BlockStatus::kOk : StatusOfChildFailure(status);
    ticket->next_ticket = std::exchange(turn.finished, ticket);
  }
  if (!ok) ResumeSlotWaiters(status, turn);
  // After a failure only a flush tries again, so that a broken medium does not keep us busy.
  const size_t worth_it = slot_waiters_ != nullptr ? 1 : kManyRetiredSlots;
  if (flush_waiters_ != nullptr || (ok && table_.retired_slots() >= worth_it)) StartCommit(turn);
  StartSweep(turn);
  if (!SlotsWillReturn()) ResumeSlotWaiters(BlockStatus::kOk, turn);
}

// ---- sweep

void ZonedImage::StartSweep(Turn& turn) {
  if (sweep_ != Sweep::kIdle || loose_slots_.empty()) return;
  sweep_slots_.swap(loose_slots_);
  std::sort(sweep_slots_.begin(), sweep_slots_.end(), std::greater<>());
  sweep_ = Sweep::kWaiting;
  const uint8_t old_epoch = epoch_;
  epoch_ ^= 1;
  if (slot_users_[old_epoch] == 0) StartPunching(turn);
}

void ZonedImage::StartPunching(Turn& turn) {
  sweep_ = Sweep::kPunching;
  sweep_thread_ = &turn.thread;
  punch_singly_ = false;
  PreparePunch(turn);
}

void ZonedImage::PreparePunch(Turn& turn) {
  const size_t size = sweep_slots_.size();
  const uint32_t first = sweep_slots_.back();
  punch_count_ = 1;
  while (!punch_singly_ && punch_count_ < size &&
         sweep_slots_[size - 1 - punch_count_] == first + punch_count_) {
    ++punch_count_;
  }
  punch_request_.op = BlockOp::kWriteZeroes;
  punch_request_.may_unmap = true;
  punch_request_.offset_bytes = table_.header().SlotOffset(first);
  punch_request_.length_bytes = punch_count_ * table_.header().slot_bytes();
  turn.punch = true;
}

void ZonedImage::OnPunched(BlockStatus status) {
  Turn turn{*sweep_thread_};
  {
    std::lock_guard lock(mutex_);
    EndPunch(status, turn);
    NotifyIfIdle();
  }
  // With nothing left to do, the image may be gone by now.
  if (!turn.empty()) Perform(turn);
}

void ZonedImage::EndPunch(BlockStatus status, Turn& turn) {
  const bool ok = status == BlockStatus::kOk;
  // One that lies where the host's files cannot reach must not take its neighbours along.
  if (!ok && punch_count_ > 1) {
    punch_singly_ = true;
    return PreparePunch(turn);
  }
  if (!ok) {
    LOG_RATE_LIMITED(
        "zoned: cannot give back the space of {} zones: {}; it is tried again when the image is "
        "opened",
        punch_count_, DescribeStatus(status));
  }
  for (; punch_count_ != 0; --punch_count_) {
    if (ok) table_.Recycle(sweep_slots_.back());
    sweep_slots_.pop_back();
  }
  if (!sweep_slots_.empty()) {
    PreparePunch(turn);
  } else {
    sweep_ = Sweep::kIdle;
    StartSweep(turn);
  }
  // Those who find none see for themselves whether there is something left to wait for.
  ResumeSlotWaiters(BlockStatus::kOk, turn);
}

void ZonedImage::NotifyIfIdle() {
  if (!commit_active_ && sweep_ == Sweep::kIdle) idle_.notify_all();
}

}  // namespace minivmm
