#include "blockcore/io_thread.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/thread_entry.h"

namespace minivmm {
namespace {

constexpr unsigned kSubmissionEntries = 256;
constexpr unsigned kCompletionEntries = 2048;
// How long to wait for memory for them, and between two attempts.
constexpr std::chrono::seconds kRingMemoryWait{8};
constexpr std::chrono::milliseconds kRingMemoryRetry{10};
// How many entries of each list one turn runs at most.
constexpr int kTurnBudget = 1024;

// The first step of the adaptive polling.
constexpr uint64_t kPollStepNs = 4000;

thread_local const IoThread* current_io_thread = nullptr;

uint64_t Now_ns() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

bool HasOneProcessor() {
  cpu_set_t processors;
  return ::sched_getaffinity(0, sizeof(processors), &processors) == 0 &&
         CPU_COUNT(&processors) == 1;
}

// A FIFO linked through the `next` member of its elements.
template <typename T>
class IntrusiveQueue {
 public:
  bool empty() const { return head_ == nullptr; }

  void Push(T& element) {
    element.next = nullptr;
    (tail_ == nullptr ? head_ : tail_->next) = &element;
    tail_ = &element;
  }

  T* Pop() {
    T* element = head_;
    if (element == nullptr) return nullptr;
    head_ = element->next;
    if (head_ == nullptr) tail_ = nullptr;
    return element;
  }

  // Moves all of `other` to the end of this.
  void Splice(IntrusiveQueue& other) {
    if (other.empty()) return;
    (tail_ == nullptr ? head_ : tail_->next) = other.head_;
    tail_ = other.tail_;
    other = {};
  }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
};

// Lets one thread wait for another. Notifies under its lock, so that the waiter may destroy it as
// soon as it is awake.
class OneShot {
 public:
  void Set() {
    std::lock_guard lock(mutex_);
    set_ = true;
    condition_.notify_one();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    condition_.wait(lock, [this] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool set_ = false;
};

// A ring does what the block core asks for and nothing else, because no seccomp filter sees what
// goes through it. For good, and as the last step: the ring was made disabled.
int RestrictRing(io_uring& ring) {
  constexpr uint8_t kOperations[] = {
      IORING_OP_READ,  IORING_OP_WRITE,     IORING_OP_READV,        IORING_OP_WRITEV,
      IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_ASYNC_CANCEL,
  };
  constexpr uint8_t kRegistrations[] = {IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS};
  std::array<io_uring_restriction, std::size(kOperations) + std::size(kRegistrations)> allowed{};
  size_t count = 0;
  for (uint8_t operation : kOperations) {
    allowed[count].opcode = IORING_RESTRICTION_SQE_OP;
    allowed[count++].sqe_op = operation;
  }
  for (uint8_t registration : kRegistrations) {
    allowed[count].opcode = IORING_RESTRICTION_REGISTER_OP;
    allowed[count++].register_op = registration;
  }
  auto fd = static_cast<unsigned>(ring.ring_fd);
  int result = ::io_uring_register(fd, IORING_REGISTER_RESTRICTIONS, allowed.data(),
                                   static_cast<unsigned>(allowed.size()));
  return result < 0 ? result : ::io_uring_register(fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

// 0 or the error's number.
int SetUpRing(io_uring& ring, io_uring_params& params) {
  // The best first: completions then run at the end of a turn only, and need no interrupt of the
  // thread. Older kernels refuse flags that they do not know with EINVAL.
  constexpr unsigned kFlagSets[] = {
      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER |
          IORING_SETUP_DEFER_TASKRUN,
      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN,
      0,
  };
  int error = 0;
  for (unsigned flags : kFlagSets) {
    params = {};
    params.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED;
    params.cq_entries = kCompletionEntries;
    error = -::io_uring_queue_init_params(kSubmissionEntries, &ring, &params);
    if (error != EINVAL) break;
  }
  return error;
}

Result<io_uring> CreateRing() {
  io_uring ring;
  io_uring_params params;
  int error = SetUpRing(ring, params);
  // Some kernels count rings among the user's locked memory, and count one that has ended for some
  // seconds more.
  const auto deadline = std::chrono::steady_clock::now() + kRingMemoryWait;
  while (error == ENOMEM && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kRingMemoryRetry);
    error = SetUpRing(ring, params);
  }
  switch (error) {
    case 0:
      break;
    case EPERM:
    case EACCES:
      return Fail(
          "cannot start an I/O thread: io_uring is forbidden here; as root, set "
          "'sysctl kernel.io_uring_disabled=0', or allow io_uring in the container's seccomp "
          "profile");
    case ENOSYS:
      return Fail(
          "cannot start an I/O thread: this kernel has no io_uring; use one built with "
          "CONFIG_IO_URING");
    case ENOMEM:
      return Fail(
          "cannot start an I/O thread: no memory for an io_uring; raise the limit of locked "
          "memory (ulimit -l), which all of this user's programs share");
    default:
      return Fail("cannot start an I/O thread: cannot create an io_uring: {}", ErrnoText(error));
  }
  if ((params.features & IORING_FEAT_NODROP) == 0 ||
      (params.features & IORING_FEAT_FAST_POLL) == 0) {
    ::io_uring_queue_exit(&ring);
    return Fail(
        "cannot start an I/O thread: this kernel's io_uring is too old; use Linux 5.19 or newer");
  }
  if (int result = RestrictRing(ring); result < 0) {
    ::io_uring_queue_exit(&ring);
    return Fail("cannot start an I/O thread: cannot restrict its io_uring: {}", ErrnoText(-result));
  }
  // Saves the look-up of the ring's descriptor in each call; older kernels do without.
  ::io_uring_register_ring_fd(&ring);
  return ring;
}

}  // namespace

struct IoThread::State {
  State(EventFd wake_event, uint64_t max_ns) : poll_max_ns(max_ns), wake(std::move(wake_event)) {
    wake_operation.state = this;
    wake_operation.done = [](IoOperation& operation, int32_t result) {
      VMM_CHECK(result == sizeof(uint64_t) || result == -EINTR);
      State& state = *static_cast<WakeOperation&>(operation).state;
      if (!state.leaving) state.ArmWake();
    };
    stop_task.state = this;
    stop_task.run = [](Task& task) { static_cast<StopTask&>(task).state->stopping = true; };
  }

  struct WakeOperation : IoOperation {
    State* state = nullptr;
    uint64_t count = 0;
  };
  struct StopTask : Task {
    State* state = nullptr;
  };

  io_uring_sqe& Prepare(IoOperation& operation);
  void ArmWake();
  void Submit(bool wait);
  bool KernelHoldsCompletions() const;
  void Reap();
  void RunOperations();
  void RunTasks();
  void RunRequests();
  void RunEndOfTurnTasks();
  bool HasWork() const;
  bool HasEvents() const;
  bool PollForWork(uint64_t idle_since_ns);
  void AdaptPolling(uint64_t idle_ns);
  void Idle();
  void Loop();

  io_uring ring{};
  uint64_t in_ring = 0;  // operations prepared and not yet told of their completion
  IntrusiveQueue<IoOperation> completed_operations;
  IntrusiveQueue<Task> tasks;
  IntrusiveQueue<BlockRequest> completed_requests;
  IntrusiveQueue<Task> end_of_turn_tasks;
  uint64_t turn_time_ns = 0;  // 0: nobody has asked yet
  Poller* poller = nullptr;
  const uint64_t poll_max_ns;
  const bool one_processor = HasOneProcessor();
  uint64_t poll_ns = 0;    // for how long polling is worth it, as it seems
  bool stopping = false;   // nobody submits or posts any more but for what is under way
  bool leaving = false;    // nothing is under way
  uint64_t elsewhere = 0;  // what other threads do for this one and will post
  WakeOperation wake_operation;
  StopTask stop_task;
  uint64_t doorbell_count = 0;

  // Posting. `has_posted` and `asleep` pair up: the poster sets the first and looks at the second,
  // the thread the other way round, so that one of them sees the other's.
  EventFd wake;
  std::mutex post_mutex;
  IntrusiveQueue<Task> posted;  // guarded by post_mutex
  std::atomic<bool> has_posted{false};
  std::atomic<bool> asleep{false};
};

io_uring_sqe& IoThread::State::Prepare(IoOperation& operation) {
  io_uring_sqe* sqe = ::io_uring_get_sqe(&ring);
  while (sqe == nullptr) [[unlikely]] {
      // Completions are moved to our list (their handlers must not run inside our caller), so that
      // the kernel always has room for more.
      Submit(/*wait=*/false);
      Reap();
      sqe = ::io_uring_get_sqe(&ring);
    }
  *sqe = {};
  ::io_uring_sqe_set_data(sqe, &operation);
  ++in_ring;
  return *sqe;
}

void IoThread::State::ArmWake() {
  ::io_uring_prep_read(&Prepare(wake_operation), wake.fd(), &wake_operation.count,
                       sizeof(wake_operation.count), 0);
}

void IoThread::State::Submit(bool wait) {
  int result =
      wait ? ::io_uring_submit_and_wait(&ring, 1) : ::io_uring_submit_and_get_events(&ring);
  // The kernel is short of memory or of room for completions: the next turn tries again.
  VMM_CHECK(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY);
}

// Completions that come into the ring only with the next call.
bool IoThread::State::KernelHoldsCompletions() const {
  return (IO_URING_READ_ONCE(*ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void IoThread::State::Reap() {
  if (KernelHoldsCompletions()) Submit(/*wait=*/false);
  unsigned head;
  unsigned count = 0;
  io_uring_cqe* cqe;
  io_uring_for_each_cqe(&ring, head, cqe) {
    auto* operation = static_cast<IoOperation*>(::io_uring_cqe_get_data(cqe));
    operation->reaped_result = cqe->res;
    completed_operations.Push(*operation);
    ++count;
  }
  ::io_uring_cq_advance(&ring, count);
}

void IoThread::State::RunOperations() {
  for (int budget = kTurnBudget; budget > 0; --budget) {
    IoOperation* operation = completed_operations.Pop();
    if (operation == nullptr) return;
    --in_ring;
    operation->done(*operation, operation->reaped_result);
  }
}

void IoThread::State::RunTasks() {
  if (has_posted.load(std::memory_order_relaxed)) {
    std::lock_guard lock(post_mutex);
    has_posted.store(false, std::memory_order_relaxed);
    tasks.Splice(posted);
  }
  for (int budget = kTurnBudget; budget > 0; --budget) {
    Task* task = tasks.Pop();
    if (task == nullptr) return;
    task->run(*task);
  }
}

void IoThread::State::RunRequests() {
  for (int budget = kTurnBudget; budget > 0; --budget) {
    BlockRequest* request = completed_requests.Pop();
    if (request == nullptr) return;
    request->RunCompletions();
  }
}

void IoThread::State::RunEndOfTurnTasks() {
  IntrusiveQueue<Task> due = std::exchange(end_of_turn_tasks, {});
  while (Task* task = due.Pop()) task->run(*task);
}

bool IoThread::State::HasWork() const {
  return !completed_operations.empty() || !tasks.empty() || !completed_requests.empty() ||
         !end_of_turn_tasks.empty() || has_posted.load(std::memory_order_seq_cst);
}

// Something that the next turn will reap, or a posted task.
bool IoThread::State::HasEvents() const {
  return ::io_uring_cq_ready(&ring) != 0 || KernelHoldsCompletions() ||
         has_posted.load(std::memory_order_relaxed);
}

// Whether there was something to do before `poll_ns` had passed. Where there is but one processor,
// that would keep the guest from making work: it gets the processor once instead.
bool IoThread::State::PollForWork(uint64_t idle_since_ns) {
  if (poll_ns == 0 && !one_processor) return false;
  if (::io_uring_sq_ready(&ring) != 0) Submit(/*wait=*/false);
  if (one_processor) ::sched_yield();
  do {
    turn_time_ns = 0;
    if (HasEvents()) return true;
    if (poller->Poll()) {
      // As in a turn: before any task.
      RunRequests();
      return true;
    }
    __builtin_ia32_pause();
  } while (!one_processor && Now_ns() - idle_since_ns < poll_ns);
  return false;
}

// Longer when longer would have found the work, not at all when it would have been in vain.
void IoThread::State::AdaptPolling(uint64_t idle_ns) {
  if (idle_ns <= poll_ns) return;
  poll_ns = idle_ns > poll_max_ns ? 0 : std::min(std::max(2 * poll_ns, kPollStepNs), poll_max_ns);
}

// There is nothing to do: returns when there may be.
void IoThread::State::Idle() {
  const bool polls = poller != nullptr && poll_max_ns != 0;
  const uint64_t idle_since_ns = polls ? Now_ns() : 0;
  if (polls && PollForWork(idle_since_ns)) return;
  if (poller != nullptr && !poller->PrepareToSleep()) {
    // A poller that always has work must not keep what it has started, and others, from the kernel.
    if (::io_uring_sq_ready(&ring) != 0) Submit(/*wait=*/false);
    return;
  }
  asleep.store(true, std::memory_order_seq_cst);
  Submit(/*wait=*/!HasWork());
  asleep.store(false, std::memory_order_relaxed);
  if (polls) AdaptPolling(Now_ns() - idle_since_ns);
}

void IoThread::State::Loop() {
  ArmWake();
  for (;;) {
    turn_time_ns = 0;
    Reap();
    RunOperations();
    RunTasks();
    if (poller != nullptr) poller->Poll();
    RunRequests();
    RunEndOfTurnTasks();
    if (HasWork()) {
      Submit(/*wait=*/false);
      continue;
    }
    // What is left in the ring is the read of `wake`, which a post from elsewhere needs.
    if (stopping && !leaving && elsewhere == 0 && in_ring == 1) {
      leaving = true;
      wake.Notify();
    }
    if (leaving && in_ring == 0) return;
    Idle();
  }
}

// One eventfd that is always being read in the ring.
class IoThread::Doorbell : public IoOperation {
 public:
  Doorbell(State& state, int fd) : state_(state), fd_(fd) {
    done = [](IoOperation& operation, int32_t read_result) {
      static_cast<Doorbell&>(operation).OnRead(read_result);
    };
    cancel_.doorbell = this;
    cancel_.done = [](IoOperation& operation, int32_t) {
      static_cast<Cancel&>(operation).doorbell->OnUnarmed();
    };
  }

  void Arm() { ::io_uring_prep_read(&state_.Prepare(*this), fd_, &count_, sizeof(count_), 0); }

  // `unwatched` is set when the ring has forgotten this doorbell.
  void StartUnwatch(OneShot& unwatched) {
    unwatched_ = &unwatched;
    pending_ = 2;  // the read and its cancellation, in whichever order
    ::io_uring_prep_cancel(&state_.Prepare(cancel_), static_cast<IoOperation*>(this), 0);
  }

 private:
  struct Cancel : IoOperation {
    Doorbell* doorbell = nullptr;
  };

  void OnRead(int32_t read_result) {
    if (unwatched_ != nullptr) {
      OnUnarmed();
      return;
    }
    VMM_CHECK(read_result == sizeof(count_) || read_result == -EINTR);
    Arm();
  }

  void OnUnarmed() {
    if (--pending_ == 0) unwatched_->Set();
  }

  State& state_;
  int fd_;
  uint64_t count_ = 0;
  Cancel cancel_;
  OneShot* unwatched_ = nullptr;
  int pending_ = 0;
};

IoThread::IoThread() = default;

Result<std::unique_ptr<IoThread>> IoThread::Start(std::string name, uint64_t poll_max_ns) {
  TRY(EventFd wake, EventFd::Create());
  std::unique_ptr<IoThread> io_thread(new IoThread);
  io_thread->state_ = std::make_unique<State>(std::move(wake), poll_max_ns);
  Result<void> started;
  OneShot started_or_failed;
  try {
    io_thread->thread_ = std::thread(
        [&started, &started_or_failed, self = io_thread.get(), thread_name = name.substr(0, 15)] {
          ::pthread_setname_np(::pthread_self(), thread_name.c_str());
          LeaveSignalsToOthers();
          State& state = *self->state_;
          // The ring is made here because the kernel ties it to the thread that makes it.
          Result<io_uring> ring = CreateRing();
          if (!ring) {
            started = Unexpected(std::move(ring).error());
            started_or_failed.Set();
            return;
          }
          state.ring = *ring;
          current_io_thread = self;
          ThreadEntered(ThreadKind::kIo);
          started_or_failed.Set();
          state.Loop();
          ::io_uring_queue_exit(&state.ring);
        });
  } catch (const std::system_error& error) {
    return CannotStartThread(error);
  }
  started_or_failed.Wait();
  if (!started) {
    io_thread->thread_.join();
    return Unexpected(std::move(started).error());
  }
  return io_thread;
}

IoThread::~IoThread() {
  if (!thread_.joinable()) return;  // it never started
  VMM_CHECK(!IsCurrent());
  RunAndWait([this] { VMM_CHECK(state_->doorbell_count == 0); });
  Post(state_->stop_task);
  thread_.join();
  // A poster may still be about to leave Post.
  std::lock_guard lock(state_->post_mutex);
}

void IoThread::Post(Task& task) {
  std::lock_guard lock(state_->post_mutex);
  state_->posted.Push(task);
  state_->has_posted.store(true, std::memory_order_seq_cst);
  if (state_->asleep.exchange(false, std::memory_order_seq_cst)) state_->wake.Notify();
}

void IoThread::RunAndWait(const std::function<void()>& work) {
  VMM_CHECK(current_io_thread == nullptr);
  struct WorkTask : Task {
    const std::function<void()>* work;
    OneShot done;
  } task;
  task.work = &work;
  task.run = [](Task& self) {
    auto& work_task = static_cast<WorkTask&>(self);
    (*work_task.work)();
    work_task.done.Set();
  };
  Post(task);
  task.done.Wait();
}

IoThread::Doorbell* IoThread::WatchDoorbell(const EventFd& doorbell) {
  auto* watch = new Doorbell(*state_, doorbell.fd());
  RunAndWait([this, watch] {
    ++state_->doorbell_count;
    watch->Arm();
  });
  return watch;
}

void IoThread::Unwatch(Doorbell* watch) {
  VMM_CHECK(current_io_thread == nullptr);
  OneShot unwatched;
  RunAndWait([this, watch, &unwatched] {
    --state_->doorbell_count;
    watch->StartUnwatch(unwatched);
  });
  unwatched.Wait();
  delete watch;
}

void IoThread::SetPoller(Poller* poller) { state_->poller = poller; }

io_uring_sqe& IoThread::Prepare(IoOperation& operation) { return state_->Prepare(operation); }

void IoThread::Complete(BlockRequest& request) { state_->completed_requests.Push(request); }

void IoThread::RunAtEndOfTurn(Task& task) { state_->end_of_turn_tasks.Push(task); }

uint64_t IoThread::TurnTimeNs() {
  VMM_CHECK(current_io_thread != nullptr);
  uint64_t& time_ns = current_io_thread->state_->turn_time_ns;
  if (time_ns == 0) time_ns = Now_ns();
  return time_ns;
}

void IoThread::BeginElsewhere() { ++state_->elsewhere; }

void IoThread::EndElsewhere() { --state_->elsewhere; }

bool IoThread::IsCurrent() const { return current_io_thread == this; }

}  // namespace minivmm
