#include "blockcore/io_thread.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/no_threads.h"

namespace minivmm {
namespace {

std::unique_ptr<IoThread> StartThread() {
  Result<std::unique_ptr<IoThread>> thread = IoThread::Start("test");
  REQUIRE_MESSAGE(thread.has_value(), (thread ? "" : thread.error().message));
  return std::move(*thread);
}

struct RecordingTask : Task {
  RecordingTask(std::vector<int>& record_in, int number_in)
      : record(&record_in), number(number_in) {
    run = [](Task& task) {
      auto& self = static_cast<RecordingTask&>(task);
      self.record->push_back(self.number);
    };
  }
  std::vector<int>* record;
  int number;
};

TEST_CASE("The memory of threads that have ended is waited for") {
  // More than the limit of locked memory, commonly 8 MiB, has room for; for root there is none.
  for (int i = 0; i < 400; ++i) StartThread();
}

TEST_CASE("Posted tasks run on the thread in the order of posting") {
  auto thread = StartThread();
  std::vector<int> record;
  std::vector<RecordingTask> tasks;
  for (int i = 0; i < 5000; ++i) tasks.emplace_back(record, i);
  for (RecordingTask& task : tasks) thread->Post(task);
  bool was_current = false;
  thread->RunAndWait([&] { was_current = thread->IsCurrent(); });
  CHECK(was_current);
  CHECK_FALSE(thread->IsCurrent());
  REQUIRE(record.size() == tasks.size());
  for (int i = 0; i < 5000; ++i) REQUIRE(record[i] == i);
}

TEST_CASE("Tasks posted from many threads all run") {
  auto thread = StartThread();
  struct CountingTask : Task {
    int* count;
  };
  int count = 0;  // changed on the I/O thread only
  constexpr int kPerPoster = 2000;
  std::vector<std::vector<CountingTask>> tasks(4);
  for (auto& list : tasks) {
    list.resize(kPerPoster);
    for (CountingTask& task : list) {
      task.count = &count;
      task.run = [](Task& self) { ++*static_cast<CountingTask&>(self).count; };
    }
  }
  std::vector<std::thread> posters;
  for (auto& list : tasks) {
    posters.emplace_back([&list, &thread] {
      for (CountingTask& task : list) thread->Post(task);
    });
  }
  for (std::thread& poster : posters) poster.join();
  thread->RunAndWait([&] { CHECK(count == 4 * kPerPoster); });
}

TEST_CASE("A task that posts itself over and over keeps nobody else waiting") {
  auto thread = StartThread();
  struct Endless : Task {
    IoThread* thread;
    bool stop = false;
  } endless;
  endless.thread = thread.get();
  endless.run = [](Task& task) {
    auto& self = static_cast<Endless&>(task);
    if (!self.stop) self.thread->Post(self);
  };
  thread->Post(endless);
  struct Nop : IoOperation {
    std::atomic<bool> is_done{false};
  } nop;
  nop.done = [](IoOperation& self, int32_t) {
    auto& is_done = static_cast<Nop&>(self).is_done;
    is_done = true;
    is_done.notify_one();
  };
  thread->RunAndWait([&] { ::io_uring_prep_nop(&thread->Prepare(nop)); });
  nop.is_done.wait(false);
  thread->RunAndWait([&] { endless.stop = true; });
}

TEST_CASE("A thread that cannot be started is an error, not the end") {
  {
    const NoThreads no_threads;
    auto thread = IoThread::Start("huge");
    REQUIRE_FALSE(thread.has_value());
    CHECK(thread.error().message.find("cannot start a thread: ") == 0);
  }
  StartThread();
}

TEST_CASE("Each thread wakes the other at once when tasks bounce between two") {
  auto a = StartThread();
  auto b = StartThread();
  struct Bouncing : Task {
    IoThread* threads[2];
    int left = 2000;
    std::atomic<bool> done{false};
  } ball;
  ball.threads[0] = a.get();
  ball.threads[1] = b.get();
  ball.run = [](Task& task) {
    auto& self = static_cast<Bouncing&>(task);
    if (--self.left == 0) {
      self.done = true;
      self.done.notify_one();
    } else {
      self.threads[self.left % 2]->Post(self);
    }
  };
  a->Post(ball);
  ball.done.wait(false);
  CHECK(ball.left == 0);
}

// Counts the turns of its thread.
struct TurnCounter final : IoThread::Poller {
  bool Poll() override {
    ++turns;
    turns.notify_one();
    return false;
  }
  bool PrepareToSleep() override { return true; }
  std::atomic<int> turns{0};
};

TEST_CASE("A doorbell wakes the thread each time, and is left alone after Unwatch") {
  auto thread = StartThread();
  EventFd doorbell = *EventFd::Create();
  TurnCounter counter;
  thread->RunAndWait([&] { thread->SetPoller(&counter); });
  for (int round = 0; round < 50; ++round) {
    IoThread::Doorbell* watch = thread->WatchDoorbell(doorbell);
    // More rings than there were turns for other reasons.
    for (int ring = 0; ring < 20; ++ring) {
      const int before = counter.turns;
      doorbell.Notify();
      counter.turns.wait(before);
    }
    thread->Unwatch(watch);
    doorbell.Drain();
    doorbell.Notify();
    thread->RunAndWait([] {});
    CHECK(doorbell.Drain() == 1);
  }
  thread->RunAndWait([&] { thread->SetPoller(nullptr); });
}

TEST_CASE("A doorbell that rang before the watch is heard") {
  auto thread = StartThread();
  EventFd doorbell = *EventFd::Create();
  doorbell.Notify();
  IoThread::Doorbell* watch = thread->WatchDoorbell(doorbell);
  thread->RunAndWait([] {});
  thread->Unwatch(watch);
  CHECK(doorbell.Drain() == 0);
}

// The device's side of a ring: what was offered and is not yet taken, and whether to ring for more.
struct OfferCounter final : IoThread::Poller {
  bool Poll() override {
    const uint64_t now = offered;
    if (now == taken) return false;
    taken = now;
    return true;
  }
  bool PrepareToSleep() override {
    bell_wanted = true;
    return offered == taken;
  }
  std::atomic<uint64_t> offered{0};
  std::atomic<uint64_t> taken{0};
  std::atomic<bool> bell_wanted{false};
};

TEST_CASE("What is offered to a poller is taken, asleep or not, until it is taken away") {
  for (uint64_t poll_max_ns : {0, 32'768, 10'000'000}) {
    CAPTURE(poll_max_ns);
    auto thread = std::move(*IoThread::Start("test", poll_max_ns));
    EventFd doorbell = *EventFd::Create();
    OfferCounter counter;
    IoThread::Doorbell* watch = thread->WatchDoorbell(doorbell);
    thread->RunAndWait([&] { thread->SetPoller(&counter); });
    constexpr int kOffers = 5000;
    for (int i = 0; i < kOffers; ++i) {
      ++counter.offered;
      if (counter.bell_wanted.exchange(false)) doorbell.Notify();
      while (counter.taken != counter.offered) std::this_thread::yield();
    }
    thread->Unwatch(watch);
    thread->RunAndWait([&] { thread->SetPoller(nullptr); });
    ++counter.offered;
    thread->RunAndWait([] {});
    CHECK(counter.taken == kOffers);
  }
}

// Finds, when it is looked at without a turn, a request that is answered at once, and posts a task.
struct IdleFinder final : IoThread::Poller, Task {
  explicit IdleFinder(IoThread& thread_in) : thread(thread_in) {
    request.PushCompletion(
        [](void* self, BlockRequest&) { static_cast<IdleFinder*>(self)->order += 'r'; }, this);
    run = [](Task& task) { static_cast<IdleFinder&>(task).order += 't'; };
  }
  bool Poll() override {
    if (!is_armed || ++looks != 2) return false;
    is_armed = false;
    thread.Complete(request);
    thread.Post(*this);
    return true;
  }
  bool PrepareToSleep() override { return true; }
  IoThread& thread;
  BlockRequest request{};
  std::string order;
  int looks = 0;
  bool is_armed = false;
};

TEST_CASE("What the poller completes while the thread idles goes before later tasks") {
  auto thread = std::move(*IoThread::Start("test", 10'000'000));
  IdleFinder finder(*thread);
  thread->RunAndWait([&] { thread->SetPoller(&finder); });
  // Until it polls, which it learns from short sleeps.
  std::string order;
  for (int i = 0; i < 100'000 && order.empty(); ++i) {
    thread->RunAndWait([&] {
      order = finder.order;
      finder.looks = 0;
      finder.is_armed = order.empty();
    });
  }
  CHECK(order == "rt");
  thread->RunAndWait([&] { thread->SetPoller(nullptr); });
}

// Has always something to do.
struct RestlessPoller final : IoThread::Poller {
  bool Poll() override { return false; }
  bool PrepareToSleep() override { return false; }
};

TEST_CASE("A poller that never lets its thread sleep keeps nothing from the kernel") {
  for (uint64_t poll_max_ns : {0, 32'768}) {
    CAPTURE(poll_max_ns);
    auto thread = std::move(*IoThread::Start("test", poll_max_ns));
    EventFd doorbell = *EventFd::Create();
    RestlessPoller poller;
    IoThread::Doorbell* watch = thread->WatchDoorbell(doorbell);
    thread->RunAndWait([&] { thread->SetPoller(&poller); });
    thread->Unwatch(watch);  // waits for two operations
    thread->RunAndWait([&] { thread->SetPoller(nullptr); });
  }
}

struct CountingOperation : IoOperation {
  CountingOperation() {
    done = [](IoOperation& operation, int32_t result) {
      auto& self = static_cast<CountingOperation&>(operation);
      ++self.count;
      self.last_result = result;
    };
  }
  int count = 0;
  int32_t last_result = -1;
};

TEST_CASE("More operations than the ring has room for all complete, once each") {
  std::vector<CountingOperation> operations(10'000);
  {
    auto thread = StartThread();
    thread->RunAndWait([&] {
      for (CountingOperation& operation : operations) {
        ::io_uring_prep_cancel(&thread->Prepare(operation), nullptr, 0);  // finds none
      }
      // No handler inside Prepare.
      for (CountingOperation& operation : operations) CHECK(operation.count == 0);
    });
  }
  for (CountingOperation& operation : operations) REQUIRE(operation.count == 1);
}

TEST_CASE("The destructor waits for operations in the ring") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  char byte = 0;
  CountingOperation read;
  auto thread = StartThread();
  thread->RunAndWait([&] { ::io_uring_prep_read(&thread->Prepare(read), ends[0], &byte, 1, 0); });
  std::thread writer([&] { CHECK(::write(ends[1], "x", 1) == 1); });
  thread.reset();
  CHECK(read.count == 1);
  CHECK(read.last_result == 1);
  CHECK(byte == 'x');
  writer.join();
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("An operation that fails is told of the error") {
  auto thread = StartThread();
  CountingOperation read;
  char byte = 0;
  thread->RunAndWait([&] { ::io_uring_prep_read(&thread->Prepare(read), -1, &byte, 1, 0); });
  thread.reset();
  CHECK(read.last_result == -EBADF);
}

TEST_CASE("A ring does what the block core needs, and nothing else") {
  auto thread = StartThread();
  CountingOperation nothing;
  CountingOperation socket;
  CountingOperation open;
  thread->RunAndWait([&] {
    ::io_uring_prep_nop(&thread->Prepare(nothing));
    ::io_uring_prep_socket(&thread->Prepare(socket), 1, 1, 0, 0);
    ::io_uring_prep_openat(&thread->Prepare(open), -1, "/dev/null", 0, 0);
  });
  thread.reset();
  for (const CountingOperation* refused : {&nothing, &socket, &open}) {
    CHECK(refused->count == 1);
    CHECK(refused->last_result == -EACCES);
  }
}

struct Recorder {
  static void Frame(void* self, BlockRequest& request) {
    auto& recorder = *static_cast<Recorder*>(self);
    recorder.record->push_back(recorder.number);
    if (recorder.again > 0) {
      --recorder.again;
      request.PushCompletion(&Frame, self);
      recorder.thread->Complete(request);
    }
  }
  std::vector<int>* record;
  int number;
  IoThread* thread = nullptr;
  int again = 0;
};

TEST_CASE("Frames run newest first, after the caller of Complete has returned") {
  auto thread = StartThread();
  std::vector<int> record;
  Recorder caller{&record, 1}, filter{&record, 2};
  BlockRequest request;
  thread->RunAndWait([&] {
    request.PushCompletion(&Recorder::Frame, &caller);
    request.PushCompletion(&Recorder::Frame, &filter);
    thread->Complete(request);
    CHECK(record.empty());
  });
  thread.reset();
  CHECK(record == std::vector<int>{2, 1});
}

TEST_CASE("A frame that submits the request again sees it again before the frames above") {
  auto thread = StartThread();
  std::vector<int> record;
  Recorder caller{&record, 1}, filter{&record, 2, thread.get(), 2};
  BlockRequest request;
  thread->RunAndWait([&] {
    request.PushCompletion(&Recorder::Frame, &caller);
    request.PushCompletion(&Recorder::Frame, &filter);
    thread->Complete(request);
  });
  thread.reset();
  CHECK(record == std::vector<int>{2, 2, 2, 1});
}

TEST_CASE("A request that completes over and over keeps nobody else waiting") {
  auto thread = StartThread();
  std::vector<int> record;
  Recorder endless{&record, 1, thread.get(), 1'000'000'000};
  BlockRequest request;
  thread->RunAndWait([&] {
    request.PushCompletion(&Recorder::Frame, &endless);
    thread->Complete(request);
  });
  thread->RunAndWait([&] { endless.again = 0; });
  thread->RunAndWait([&] { CHECK_FALSE(record.empty()); });
}

TEST_CASE("End-of-turn tasks run once, after the completions of their turn") {
  auto thread = StartThread();
  std::vector<int> record;
  RecordingTask end(record, 9);
  Recorder first{&record, 1}, second{&record, 2};
  BlockRequest requests[2];
  thread->RunAndWait([&] {
    thread->RunAtEndOfTurn(end);
    requests[0].PushCompletion(&Recorder::Frame, &first);
    requests[1].PushCompletion(&Recorder::Frame, &second);
    thread->Complete(requests[0]);
    thread->Complete(requests[1]);
  });
  thread.reset();
  CHECK(record == std::vector<int>{1, 2, 9});
}

TEST_CASE("An end-of-turn task may ask for the next turn's end") {
  auto thread = StartThread();
  TurnCounter counter;
  struct Again : Task {
    IoThread* thread;
    const TurnCounter* counter;
    std::set<int> turns;
    int left = 3;
    std::atomic<bool> done{false};
  } again;
  again.thread = thread.get();
  again.counter = &counter;
  again.run = [](Task& task) {
    auto& self = static_cast<Again&>(task);
    self.turns.insert(self.counter->turns);
    if (--self.left > 0) {
      self.thread->RunAtEndOfTurn(self);
    } else {
      self.done = true;
      self.done.notify_one();
    }
  };
  thread->RunAndWait([&] {
    thread->SetPoller(&counter);
    thread->RunAtEndOfTurn(again);
  });
  again.done.wait(false);
  thread->RunAndWait([&] { thread->SetPoller(nullptr); });
  CHECK(again.left == 0);
  CHECK(again.turns.size() == 3);
}

}  // namespace
}  // namespace minivmm
