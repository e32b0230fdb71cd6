#include "blockcore/zoned/memory_node.h"

#include <algorithm>
#include <cstring>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"

namespace minivmm {

// The requests of one I/O thread that wait for the end of its turn.
struct MemoryNode::ThreadState : Task {
  MemoryNode* node = nullptr;
  IoThread* thread = nullptr;
  bool scheduled = false;
  std::vector<Held> held;
};

MemoryNode::MemoryNode(std::vector<std::byte> content) : content_(std::move(content)) {
  Reopen();
  limits_.discard = true;
  limits_.grows = true;
}

MemoryNode::~MemoryNode() = default;

void MemoryNode::Reopen() { limits_.capacity_bytes = AlignUp(content_.size(), kSectorBytes); }

void MemoryNode::Submit(IoThread& thread, BlockRequest& request) {
  VMM_CHECK(thread.IsCurrent());
  std::lock_guard lock(mutex_);
  arrivals_.push_back({request.op, request.offset_bytes, request.length_bytes});
  std::unique_ptr<ThreadState>& state = threads_[&thread];
  if (state == nullptr) {
    state = std::make_unique<ThreadState>();
    state->node = this;
    state->thread = &thread;
    state->run = [](Task& task) {
      auto& self = static_cast<ThreadState&>(task);
      self.node->RunSome(self);
    };
  }
  state->held.push_back({&request, Tick()});
  if (!state->scheduled) {
    state->scheduled = true;
    thread.RunAtEndOfTurn(*state);
  }
}

void MemoryNode::RunSome(ThreadState& state) {
  std::lock_guard lock(mutex_);
  state.scheduled = false;
  std::vector<Held> ready;
  std::vector<Held> later;
  for (const Held& held : state.held) {
    const bool waits = (hold_ && hold_(*held.request)) || (shuffle_ && random_() % 3 == 0);
    (waits ? later : ready).push_back(held);
  }
  if (shuffle_) std::shuffle(ready.begin(), ready.end(), random_);
  state.held = std::move(later);
  for (const Held& held : ready) {
    Run(held);
    state.thread->Complete(*held.request);
  }
  const bool go_on = std::any_of(state.held.begin(), state.held.end(), [this](const Held& held) {
    return !hold_ || !hold_(*held.request);
  });
  if (go_on) {
    state.scheduled = true;
    state.thread->RunAtEndOfTurn(state);
  }
}

void MemoryNode::Run(const Held& held) {
  BlockRequest& request = *held.request;
  request.status = fault_ ? fault_(request) : BlockStatus::kOk;
  const bool ok = request.status == BlockStatus::kOk;
  Record record{request.op, request.offset_bytes, request.length_bytes, {}, held.sent_tick, 0};
  const uint64_t end = request.offset_bytes + request.length_bytes;
  switch (request.op) {
    case BlockOp::kRead: {
      if (!ok) return;
      uint64_t at = request.offset_bytes;
      for (const iovec& buffer : request.buffers) {
        const uint64_t there =
            at >= content_.size() ? 0 : std::min<uint64_t>(buffer.iov_len, content_.size() - at);
        if (there != 0) std::memcpy(buffer.iov_base, content_.data() + at, there);
        std::memset(static_cast<std::byte*>(buffer.iov_base) + there, 0, buffer.iov_len - there);
        at += buffer.iov_len;
      }
      return;
    }
    case BlockOp::kWrite: {
      if (end > limits_.capacity_bytes && !limits_.grows) {
        request.status = BlockStatus::kIoError;
        return;
      }
      for (const iovec& buffer : request.buffers) {
        auto* bytes = static_cast<const std::byte*>(buffer.iov_base);
        record.data.insert(record.data.end(), bytes, bytes + buffer.iov_len);
      }
      VMM_CHECK(record.data.size() == request.length_bytes);
      if (!ok) {
        const uint64_t sectors = request.length_bytes / kSectorBytes;
        record.length_bytes = random_() % (sectors + 1) * kSectorBytes;
        record.data.resize(record.length_bytes);
      }
      break;
    }
    case BlockOp::kDiscard:
      return;
    case BlockOp::kWriteZeroes:
      if (!ok) return;
      break;
    case BlockOp::kFlush:
      if (!ok) return;
      break;
    default:
      request.status = BlockStatus::kUnsupported;
      return;
  }
  record.done_tick = Tick();
  Apply(content_, record, 0, record.length_bytes);
  if (recording_) records_.push_back(std::move(record));
}

void MemoryNode::Apply(std::vector<std::byte>& content, const Record& record, uint64_t first_byte,
                       uint64_t length_bytes) const {
  const uint64_t from = record.offset_bytes + first_byte;
  if (record.op == BlockOp::kWrite) {
    if (length_bytes == 0) return;
    if (content.size() < from + length_bytes) content.resize(from + length_bytes);
    std::memcpy(content.data() + from, record.data.data() + first_byte, length_bytes);
  } else if (record.op == BlockOp::kWriteZeroes && from < content.size()) {
    std::memset(content.data() + from, 0, std::min<uint64_t>(length_bytes, content.size() - from));
  }
}

void MemoryNode::set_fault(std::function<BlockStatus(const BlockRequest&)> fault) {
  std::lock_guard lock(mutex_);
  fault_ = std::move(fault);
}

void MemoryNode::Hold(std::function<bool(const BlockRequest&)> which) {
  std::lock_guard lock(mutex_);
  hold_ = std::move(which);
}

void MemoryNode::HoldNone() {
  std::vector<ThreadState*> states;
  {
    std::lock_guard lock(mutex_);
    hold_ = nullptr;
    // The others may belong to threads that have ended.
    for (auto& [thread, state] : threads_) {
      if (!state->held.empty()) states.push_back(state.get());
    }
  }
  for (ThreadState* state : states) {
    state->thread->RunAndWait([this, state] {
      std::lock_guard lock(mutex_);
      if (state->held.empty() || state->scheduled) return;
      state->scheduled = true;
      state->thread->RunAtEndOfTurn(*state);
    });
  }
}

std::vector<std::byte> MemoryNode::Content() const {
  std::lock_guard lock(mutex_);
  return content_;
}

std::vector<MemoryNode::Arrival> MemoryNode::TakeArrivals() {
  std::lock_guard lock(mutex_);
  return std::exchange(arrivals_, {});
}

void MemoryNode::StartRecording() {
  std::lock_guard lock(mutex_);
  recording_ = true;
  records_.clear();
  flushed_ = content_;
  flushed_records_ = 0;
}

// Applies to `flushed_` what a cut right before `tick` cannot undo.
void MemoryNode::AdvanceFlushed(uint64_t tick) {
  uint64_t flushed_before = 0;
  for (const Record& record : records_) {
    if (record.op == BlockOp::kFlush && record.done_tick < tick) {
      flushed_before = std::max(flushed_before, record.sent_tick);
    }
  }
  while (flushed_records_ < records_.size() &&
         records_[flushed_records_].done_tick < flushed_before) {
    const Record& record = records_[flushed_records_++];
    Apply(flushed_, record, 0, record.length_bytes);
  }
}

std::unique_ptr<MemoryNode> MemoryNode::Fork(uint64_t tick) {
  std::lock_guard lock(mutex_);
  AdvanceFlushed(tick);
  auto fork = std::make_unique<MemoryNode>(flushed_);
  fork->flushed_ = flushed_;
  for (size_t i = flushed_records_; i < records_.size(); ++i) {
    if (records_[i].done_tick >= tick) continue;
    Apply(fork->content_, records_[i], 0, records_[i].length_bytes);
    fork->records_.push_back(records_[i]);
  }
  fork->Reopen();
  fork->clock_ = tick;
  fork->recording_ = true;
  return fork;
}

std::vector<std::byte> MemoryNode::Cut(uint64_t tick, Keep keep, std::minstd_rand& random) {
  std::lock_guard lock(mutex_);
  AdvanceFlushed(tick);
  std::vector<std::byte> content = flushed_;
  if (keep == Keep::kNothing) return content;
  for (size_t i = flushed_records_; i < records_.size(); ++i) {
    const Record& record = records_[i];
    if (record.sent_tick >= tick || record.op == BlockOp::kFlush) continue;
    const bool done = record.done_tick < tick;
    if (keep == Keep::kDone) {
      if (done) Apply(content, record, 0, record.length_bytes);
      continue;
    }
    if (keep == Keep::kOperations) {
      if (random() % 2 == 0) Apply(content, record, 0, record.length_bytes);
      continue;
    }
    // A long hole in pieces that are not too many.
    const uint64_t piece =
        std::max<uint64_t>(kSectorBytes, AlignUp(record.length_bytes / 64, kSectorBytes));
    for (uint64_t at = 0; at < record.length_bytes; at += piece) {
      if (random() % 2 == 0) continue;
      Apply(content, record, at, std::min(piece, record.length_bytes - at));
    }
  }
  return content;
}

}  // namespace minivmm
