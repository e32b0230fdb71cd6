#include "blockcore/held_requests.h"

namespace minivmm {

void HeldRequests::Hold(BlockRequest& request) {
  VMM_CHECK(open_ && thread_.IsCurrent());
  request.next = nullptr;
  const bool is_first = first_ == nullptr;
  (is_first ? first_ : last_->next) = &request;
  last_ = &request;
  count_.fetch_add(1, std::memory_order_release);
  if (is_first && on_held_) on_held_();
}

bool HeldRequests::HasWriteIn(uint64_t begin_bytes, uint64_t end_bytes) const {
  for (const BlockRequest* request = first_; request != nullptr; request = request->next) {
    if (request->op == BlockOp::kWrite && request->offset_bytes >= begin_bytes &&
        request->offset_bytes < end_bytes) {
      return true;
    }
  }
  return false;
}

BlockRequest* HeldRequests::TakeAll() {
  VMM_CHECK(thread_.IsCurrent());
  count_.store(0, std::memory_order_release);
  last_ = nullptr;
  return std::exchange(first_, nullptr);
}

void HeldRequests::Retry() {
  for (BlockRequest* request = TakeAll(); request != nullptr;) {
    BlockRequest& again = *std::exchange(request, request->next);
    again.status = BlockStatus::kOk;
    // At once: completed in the turn's order, it would come behind what the Poller finds.
    again.RunCompletions();
  }
}

void HeldRequests::GiveUp() {
  open_ = false;
  for (BlockRequest* request = TakeAll(); request != nullptr;) {
    thread_.Complete(*std::exchange(request, request->next));
  }
}

}  // namespace minivmm
