// bench: many requests at a time, and how fast they were.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "tools/io/bench_work.h"
#include "tools/io/commands.h"
#include "tools/io/text.h"
#include "tools/io/zone_words.h"

namespace minivmm {
namespace {

constexpr uint64_t kMaxDepth = 4096;
constexpr uint64_t kMaxMemoryBytes = uint64_t{1} << 30;

struct BenchCall {
  BenchOptions work;
  uint64_t depth = 32;
  uint64_t count = 10'000;
  uint8_t pattern = 0xcd;
};

// Keeps `depth` requests in flight; with writethrough a write counts as in flight until the flush
// behind it is done. The I/O thread's from Start to the last completion.
class BenchRun {
 public:
  BenchRun(IoSession& session, const BenchCall& call, BenchWork work, IoBuffer buffer)
      : disk_(session.disk()),
        thread_(session.thread()),
        call_(call),
        flush_writes_(session.settings().writethrough && call.work.op != BlockOp::kRead),
        work_(std::move(work)),
        buffer_(std::move(buffer)),
        slots_(call.depth) {}

  void Start();
  // Waits up to a fifth of a second; true when all is done. Any thread but the I/O thread.
  bool WaitALittle();

  uint64_t done() const { return done_.load(std::memory_order_relaxed); }
  uint64_t elapsed_ns() const { return NowNs() - begun_ns_; }
  // Afterwards:
  BlockStatus status() const { return status_; }
  uint64_t failed_offset_bytes() const { return failed_offset_bytes_; }
  bool flush_failed() const { return flush_failed_; }
  uint64_t total_ns() const { return ended_ns_ - begun_ns_; }

 private:
  struct Slot {
    BenchRun* run = nullptr;
    BlockRequest request;
    iovec buffer{};
  };

  bool SubmitNext(Slot& slot);
  void Submit(Slot& slot);
  void EndOne(Slot& slot);

  BlockNode& disk_;
  IoThread& thread_;
  const BenchCall call_;
  const bool flush_writes_;
  BenchWork work_;
  IoBuffer buffer_;
  std::vector<Slot> slots_;
  uint64_t submitted_ = 0;
  uint64_t in_flight_ = 0;
  std::atomic<uint64_t> done_{0};
  BlockStatus status_ = BlockStatus::kOk;
  uint64_t failed_offset_bytes_ = 0;
  bool flush_failed_ = false;
  uint64_t begun_ns_ = 0;
  uint64_t ended_ns_ = 0;
  std::mutex mutex_;
  std::condition_variable ended_condition_;
  bool ended_ = false;
};

void BenchRun::Start() {
  begun_ns_ = NowNs();
  thread_.RunAndWait([this] {
    const uint64_t stride = call_.work.op == BlockOp::kRead ? call_.work.request_bytes : 0;
    for (size_t i = 0; i < slots_.size(); ++i) {
      slots_[i].run = this;
      slots_[i].buffer = {buffer_.bytes().data() + i * stride, call_.work.request_bytes};
      if (!SubmitNext(slots_[i])) break;
    }
  });
}

bool BenchRun::SubmitNext(Slot& slot) {
  if (submitted_ == call_.count || status_ != BlockStatus::kOk) return false;
  const std::optional<uint64_t> offset = work_.Next();
  if (!offset) return false;
  std::construct_at(&slot.request);
  slot.request.op = call_.work.op;
  slot.request.offset_bytes = *offset;
  slot.request.length_bytes = call_.work.request_bytes;
  slot.request.buffers = {&slot.buffer, 1};
  ++submitted_;
  ++in_flight_;
  Submit(slot);
  return true;
}

void BenchRun::Submit(Slot& slot) {
  slot.request.PushCompletion(
      [](void* self, BlockRequest&) {
        auto& completed = *static_cast<Slot*>(self);
        completed.run->EndOne(completed);
      },
      &slot);
  disk_.Submit(thread_, slot.request);
}

void BenchRun::EndOne(Slot& slot) {
  const bool flush = slot.request.op == BlockOp::kFlush;
  if (flush_writes_ && !flush && slot.request.status == BlockStatus::kOk) {
    std::construct_at(&slot.request);
    slot.request.op = BlockOp::kFlush;
    Submit(slot);
    return;
  }
  --in_flight_;
  if (slot.request.status == BlockStatus::kOk) {
    done_.fetch_add(1, std::memory_order_relaxed);
  } else if (status_ == BlockStatus::kOk) {
    status_ = slot.request.status;
    failed_offset_bytes_ = slot.request.offset_bytes;
    flush_failed_ = flush;
  }
  SubmitNext(slot);
  if (in_flight_ != 0) return;
  ended_ns_ = NowNs();
  std::lock_guard lock(mutex_);
  ended_ = true;
  ended_condition_.notify_one();
}

bool BenchRun::WaitALittle() {
  std::unique_lock lock(mutex_);
  return ended_condition_.wait_for(lock, std::chrono::milliseconds(200), [this] { return ended_; });
}

Result<uint64_t> ParseCount(const CommandArguments& arguments, char option, uint64_t standard,
                            uint64_t largest) {
  const std::string* text = arguments.Value(option);
  if (text == nullptr) return standard;
  TRY(const uint64_t value, ParseBytes(*text));
  if (value >= 1 && value <= largest) return value;
  return Fail("bench: -{} is {}, but must be from 1 to {}", option, *text, largest);
}

Result<BenchCall> ParseCall(const IoSession& session, const CommandArguments& arguments) {
  const BlockLimits& limits = session.limits();
  BenchCall call;
  if (arguments.Has('a') && arguments.Has('w')) return Fail("bench: -a and -w exclude each other");
  if (arguments.Has('a')) call.work.op = BlockOp::kZoneAppend;
  if (arguments.Has('w')) call.work.op = BlockOp::kWrite;
  call.work.random = arguments.Has('r');
  if (arguments.Has('a') && limits.zoned == ZonedModel::kNone) {
    return Fail("bench: -a appends to zones, but the disk has none: use -w");
  }
  TRY(call.work.request_bytes,
      ParseCount(arguments, 'b', std::max<uint64_t>(4096, limits.logical_block_bytes),
                 kMaxMemoryBytes));
  TRY(call.depth, ParseCount(arguments, 'd', call.depth, kMaxDepth));
  TRY(call.count, ParseCount(arguments, 'n', call.count, UINT32_MAX));
  TRY(call.work.lanes_at_once, ParseCount(arguments, 'z', 1, UINT32_MAX));
  if (const std::string* pattern = arguments.Value('P')) {
    TRY(call.pattern, ParsePattern(*pattern));
  }
  const uint64_t unit = call.work.op == BlockOp::kRead || limits.zoned == ZonedModel::kNone
                            ? limits.logical_block_bytes
                            : limits.write_granularity_bytes;
  if (call.work.request_bytes % unit != 0) {
    return Fail("bench: -b is {}, but must be a multiple of the disk's blocks of {} bytes",
                call.work.request_bytes, unit);
  }
  if (!arguments.words.empty()) {
    TRY(call.work.offset_bytes, ParseBytes(arguments.words[0]));
  }
  TRY_VOID(CheckRange(limits, call.work.offset_bytes, 0));
  call.work.length_bytes = limits.capacity_bytes - call.work.offset_bytes;
  if (arguments.words.size() > 1) {
    TRY(call.work.length_bytes, ParseBytes(arguments.words[1]));
  }
  TRY_VOID(CheckRange(limits, call.work.offset_bytes, call.work.length_bytes));
  if (call.work.offset_bytes % unit != 0) {
    return Fail("bench: the offset must be a multiple of the disk's blocks of {} bytes", unit);
  }
  return call;
}

Result<BenchWork> PrepareWork(IoSession& session, const BenchOptions& options) {
  std::vector<ZoneDescriptor> zones;
  const BlockLimits& limits = session.limits();
  if (limits.zoned != ZonedModel::kNone && options.length_bytes != 0) {
    const uint64_t last =
        (options.offset_bytes + options.length_bytes - 1) / limits.zone_size_bytes;
    TRY(zones, session.ReportZones(options.offset_bytes,
                                   last - options.offset_bytes / limits.zone_size_bytes + 1));
  }
  return BenchWork::Create(limits, zones, options);
}

void ShowProgress(IoSession& session, const BenchCall& call, const BenchRun& run) {
  const uint64_t done = run.done();
  std::string rate = FormatRate(done * call.work.request_bytes, done, run.elapsed_ns());
  rate.pop_back();
  session.Complain(fmt::format("\r\033[K{}%: {}", done * 100 / call.count, rate));
}

std::string_view VerbOf(BlockOp op) {
  if (op == BlockOp::kRead) return "read";
  return op == BlockOp::kWrite ? "wrote" : "appended";
}

}  // namespace

bool RunBench(IoSession& session, const CommandArguments& arguments) {
  const Result<BenchCall> call = ParseCall(session, arguments);
  if (!call) return session.Fails("{}", call.error().message);
  Result<BenchWork> work = PrepareWork(session, call->work);
  if (!work) return session.Fails("bench failed: {}", work.error().message);
  const bool read = call->work.op == BlockOp::kRead;
  const uint64_t memory_bytes = call->work.request_bytes * (read ? call->depth : 1);
  if (memory_bytes > kMaxMemoryBytes) {
    return session.Fails("bench: {} requests of {} bytes at a time take more than 1 GiB of memory",
                         call->depth, call->work.request_bytes);
  }
  Result<IoBuffer> buffer = IoBuffer::Allocate(memory_bytes, call->pattern);
  if (!buffer) return session.Fails("bench failed: {}", buffer.error().message);

  BenchRun run(session, *call, std::move(*work), std::move(*buffer));
  run.Start();
  while (!run.WaitALittle()) {
    if (session.settings().show_progress) ShowProgress(session, *call, run);
  }
  if (session.settings().show_progress) session.Complain("\r\033[K");
  // The last completion has left this object.
  session.thread().RunAndWait([] {});
  if (run.done() != 0 || run.status() == BlockStatus::kOk) {
    session.PrintText(FormatTransfer({.verb = VerbOf(call->work.op),
                                      .offset_bytes = call->work.offset_bytes,
                                      .done_bytes = run.done() * call->work.request_bytes,
                                      .asked_bytes = call->count * call->work.request_bytes,
                                      .operations = run.done(),
                                      .elapsed_ns = run.total_ns()},
                                     arguments.Has('C')));
  }
  if (run.status() == BlockStatus::kOk) return true;
  if (run.flush_failed()) {
    return session.Fails(
        "bench failed: {}: the flush behind a write failed: do not rely on what was written",
        ErrnoText(EIO));
  }
  return session.Fails("bench failed: {}",
                       session.Explain(call->work.op, run.status(), run.failed_offset_bytes(),
                                       call->work.request_bytes));
}

}  // namespace minivmm
