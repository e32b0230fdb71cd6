#include "devices/virtio_blk_queue.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/log.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

// Data that requests move. A ring of chains that all name the same few pages of the guest can ask
// for terabytes.
constexpr uint64_t kBytesOfTurn = 64_MiB;
constexpr uint64_t kBytesInFlight = 1_GiB;

}  // namespace

struct VirtioBlkQueue::Slot {
  // Zones of one turn to the disk: a report of any length goes through this.
  using ReportSlice = std::array<ZoneDescriptor, 64>;

  uint64_t data_bytes() const { return request.data.empty() ? 0 : request.length_bytes; }

  VirtioBlkQueue* queue = nullptr;
  std::optional<DescriptorChain> chain;
  VirtioBlkRequest request;
  BlockRequest disk_request;
  uint64_t appended_at_bytes = 0;
  std::optional<ZoneReportEncoder> report;
  // Kept from the slot's first report on: few slots ever see one.
  std::unique_ptr<ReportSlice> slice;
};

VirtioBlkQueue::VirtioBlkQueue(std::string name, BlockNode& disk,
                               const std::atomic<bool>& write_through,
                               std::unique_ptr<IoThread> thread, uint16_t max_size,
                               std::function<void()> on_held)
    : name_(std::move(name)),
      disk_(disk),
      write_through_(write_through),
      held_(*thread, std::move(on_held)),
      slots_(std::make_unique<Slot[]>(max_size)),
      max_size_(max_size),
      thread_(std::move(thread)) {
  for (uint16_t slot = 0; slot < max_size; ++slot) slots_[slot].queue = this;
  end_of_turn_.queue = this;
  end_of_turn_.run = [](Task& task) { static_cast<QueueTask&>(task).queue->OnEndOfTurn(); };
}

VirtioBlkQueue::~VirtioBlkQueue() { VMM_CHECK(!queue_.has_value()); }

void VirtioBlkQueue::Start(ActiveQueue queue, const VirtioBlkRules& rules,
                           NeedsReset* needs_reset) {
  VMM_CHECK(!queue_.has_value() && queue.ring.size() <= max_size_);
  const EventFd& doorbell = *queue.doorbell;
  thread_->RunAndWait([&] {
    queue_.emplace(std::move(queue));
    rules_ = rules;
    needs_reset_ = needs_reset;
    stopped_ = false;
    broken_ = false;
    held_.Open();
  });
  doorbell_ = thread_->WatchDoorbell(doorbell);
  // The driver may have filled the ring, and rung, before anyone listened: the turn of this looks.
  thread_->RunAndWait([this] { thread_->SetPoller(this); });
}

void VirtioBlkQueue::SetCapacity(uint64_t capacity_sectors) {
  thread_->RunAndWait([&] { rules_.capacity_sectors = capacity_sectors; });
}

void VirtioBlkQueue::RetryHeld() {
  thread_->RunAndWait([this] {
    retry_wanted_ = !held_.empty();
    if (retry_wanted_) RetryIfAlone();
  });
}

bool VirtioBlkQueue::RetryIfAlone() {
  if (held_.count() != in_flight_) return false;
  retry_wanted_ = false;
  held_.Retry();
  return true;
}

void VirtioBlkQueue::StopDoorbell() {
  // First: a driver that is faster than this thread would fill the ring for ever.
  thread_->RunAndWait([this] { thread_->SetPoller(nullptr); });
  thread_->Unwatch(std::exchange(doorbell_, nullptr));
  thread_->RunAndWait([this] {
    stopped_ = true;
    retry_wanted_ = false;
    held_.GiveUp();
    // Else the last request's end of turn sees it.
    if (in_flight_ == 0 && !end_of_turn_.armed) drained_.release();
  });
}

void VirtioBlkQueue::Drain() {
  drained_.acquire();
  thread_->RunAndWait([this] {
    // A ring that comes later finds its doorbell silent.
    queue_->doorbell->Drain();
    queue_.reset();
  });
}

bool VirtioBlkQueue::Poll() {
  if (retry_wanted_.load(std::memory_order_relaxed)) [[unlikely]]
    return RetryIfAlone();
  if (stopped_ || broken_) return false;
  Virtqueue& ring = queue_->ring;
  if (std::exchange(doorbell_wanted_, false)) ring.DisableDoorbell();
  // As many as can be in the ring at once, and not for longer than it takes to move some data: a
  // driver that is faster than this, or asks for much, must not keep the turn from its end.
  const uint64_t most_bytes = std::min(bytes_in_flight_ + kBytesOfTurn, kBytesInFlight);
  uint32_t taken = 0;
  for (; taken < ring.size() && bytes_in_flight_ < most_bytes; ++taken) {
    Result<std::optional<DescriptorChain>> chain = ring.Pop();
    if (!chain) {
      LOG_RATE_LIMITED(
          "{}: the guest's driver broke the ring of queue {}: {}; the queue stops until "
          "it or the device is reset",
          name_, queue_->index, chain.error().message);
      broken_ = true;
      needs_reset_->Raise();
      return true;
    }
    if (!chain->has_value()) break;
    StartRequest(std::move(**chain));
  }
  return taken != 0;
}

bool VirtioBlkQueue::PrepareToSleep() {
  if (retry_wanted_) return held_.count() != in_flight_;
  if (stopped_ || broken_) return true;
  if (bytes_in_flight_ >= kBytesInFlight) return true;  // what completes wakes the thread
  doorbell_wanted_ = true;
  return !queue_->ring.EnableDoorbell();
}

void VirtioBlkQueue::StartRequest(DescriptorChain&& chain) {
  Slot& slot = slots_[chain.slot()];
  slot.request = ParseRequest(chain, rules_);
  if (slot.request.kind == VirtioBlkRequest::Kind::kAnswered) {
    if (slot.request.status == nullptr) {
      LOG_RATE_LIMITED(
          "{}: the guest's driver sent a request without room for a status on queue {}", name_,
          queue_->index);
    }
    GiveBack(std::move(chain), EncodeAnswer(slot.request, rules_));
    return;
  }
  slot.chain.emplace(std::move(chain));
  ++in_flight_;
  bytes_in_flight_ += slot.data_bytes();
  std::construct_at(&slot.disk_request);
  slot.disk_request.op = slot.request.op;
  slot.disk_request.offset_bytes = slot.request.offset_bytes;
  slot.disk_request.length_bytes = slot.request.length_bytes;
  slot.disk_request.buffers = slot.request.data;
  slot.disk_request.may_unmap = slot.request.may_unmap;
  slot.disk_request.held_in = &held_;
  if (slot.request.kind == VirtioBlkRequest::Kind::kZoneReport) {
    slot.report.emplace(slot.request);
    if (!slot.slice) slot.slice = std::make_unique<Slot::ReportSlice>();
    SubmitReportSlice(slot);
  } else {
    Submit(slot, [](void* self, BlockRequest&) {
      Slot& done = *static_cast<Slot*>(self);
      done.queue->OnDisk(done);
    });
  }
}

void VirtioBlkQueue::Submit(Slot& slot, BlockRequest::Done done) {
  slot.disk_request.PushCompletion(done, &slot);
  disk_.Submit(*thread_, slot.disk_request);
}

void VirtioBlkQueue::OnDisk(Slot& slot) {
  const BlockRequest& result = slot.disk_request;
  // virtio 5.2.6.2: the mode counts that was there from submission to completion; one that changes
  // in between promises nothing.
  if (result.status == BlockStatus::kOk && ChangesTheDisk(result.op) &&
      write_through_.load(std::memory_order_acquire)) {
    slot.appended_at_bytes = result.appended_at_bytes;
    std::construct_at(&slot.disk_request);
    slot.disk_request.op = BlockOp::kFlush;
    slot.disk_request.held_in = &held_;
    Submit(slot, [](void* self, BlockRequest& flushed) {
      Slot& done = *static_cast<Slot*>(self);
      done.queue->Finish(done, EncodeResult(done.request, flushed.status, done.appended_at_bytes));
    });
    return;
  }
  const BlockStatus status = StatusForDriver(result.status, rules_);
  Finish(slot, EncodeResult(slot.request, status, result.appended_at_bytes));
}

void VirtioBlkQueue::SubmitReportSlice(Slot& slot) {
  const size_t wanted = std::min<uint64_t>(slot.report->room(), slot.slice->size());
  if (wanted == 0) {
    Finish(slot, slot.report->Finish(BlockStatus::kOk));
    return;
  }
  slot.disk_request.zones = std::span(*slot.slice).first(wanted);
  Submit(slot, [](void* self, BlockRequest&) {
    Slot& done = *static_cast<Slot*>(self);
    done.queue->OnReportSlice(done);
  });
}

void VirtioBlkQueue::OnReportSlice(Slot& slot) {
  BlockRequest& result = slot.disk_request;
  if (result.status == BlockStatus::kOk && result.zones_reported != 0) {
    const std::span<const ZoneDescriptor> zones = result.zones.first(result.zones_reported);
    slot.report->Add(zones);
    const uint64_t next_bytes = zones.back().start_bytes + zones.back().length_bytes;
    if (next_bytes < disk_.limits().capacity_bytes) {
      result.offset_bytes = next_bytes;
      result.zones_reported = 0;
      SubmitReportSlice(slot);
      return;
    }
  }
  Finish(slot, slot.report->Finish(result.status));
}

void VirtioBlkQueue::Finish(Slot& slot, uint32_t written_bytes) {
  --in_flight_;
  bytes_in_flight_ -= slot.data_bytes();
  GiveBack(std::move(*slot.chain), written_bytes);
  slot.chain.reset();
}

void VirtioBlkQueue::GiveBack(DescriptorChain&& chain, uint32_t written_bytes) {
  queue_->ring.Push(std::move(chain), written_bytes);
  ArmEndOfTurn();
}

void VirtioBlkQueue::ArmEndOfTurn() {
  if (std::exchange(end_of_turn_.armed, true)) return;
  thread_->RunAtEndOfTurn(end_of_turn_);
}

void VirtioBlkQueue::OnEndOfTurn() {
  end_of_turn_.armed = false;
  if (queue_->ring.NeedsInterrupt()) {
    // Acquire pairs with the transport's release when it changes the vector.
    const EventFd* interrupt = queue_->interrupt->load(std::memory_order_acquire);
    if (interrupt != nullptr) interrupt->Notify();
  }
  if (stopped_ && in_flight_ == 0) drained_.release();
}

}  // namespace minivmm
