// The supervisor with machines that only note what is asked of them; no KVM.
#include "vmm/supervisor.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <string>
#include <vector>

namespace minivmm {
namespace {

using Kind = StopRequest::Kind;
using Notes = std::vector<std::string>;

std::string Text(const MachineEvent& event) {
  static constexpr const char* kKinds[] = {"STOP",  "RESUME",   "POWERDOWN",
                                           "RESET", "SHUTDOWN", "GUEST_PANICKED"};
  static constexpr const char* kCauses[] = {"",
                                            ":client-quit",
                                            ":client-reset",
                                            ":signal",
                                            ":guest-shutdown",
                                            ":guest-reset",
                                            ":guest-panic",
                                            ":host-error"};
  return std::string(kKinds[static_cast<size_t>(event.kind)]) +
         kCauses[static_cast<size_t>(event.cause)];
}

// A supervisor, its machines, and what happens, in one list: "2 resume" is the second machine's.
class Fixture {
 public:
  explicit Fixture(bool no_reboot = false) {
    auto created_loop = MainLoop::Create();
    REQUIRE(created_loop);
    loop = std::move(*created_loop);
    supervisor = std::make_unique<Supervisor>(
        *loop, [this](uint32_t number) { return Build(number); }, no_reboot);
    REQUIRE(supervisor->Prepare());
    supervisor->SetEventSink([this](const MachineEvent& event) { notes.push_back(Text(event)); });
  }

  // The next thing that somebody does once the main loop has nothing else to do.
  void Then(std::function<void()> action) {
    boost::asio::post(loop->context(), [action = std::move(action)] { action(); });
  }
  void GuestAsks(Kind kind, uint32_t number) {
    Then([this, kind, number] { loop->RequestStop({.kind = kind, .power_cycle = number}); });
  }

  std::unique_ptr<MainLoop> loop;
  std::unique_ptr<Supervisor> supervisor;
  Notes notes;
  uint32_t fails_to_build = 0;  // the machine of this number
  bool holds_requests = false;  // each machine

 private:
  class Machine : public PowerCycle {
   public:
    Machine(Fixture& fixture, uint32_t number)
        : fixture_(fixture), notes_(fixture.notes), name_(std::to_string(number) + " ") {}
    ~Machine() override { notes_.push_back(name_ + "gone"); }
    void Resume() override { notes_.push_back(name_ + "resume"); }
    void Pause() override { notes_.push_back(name_ + "pause"); }
    bool HoldsRequests() const override { return fixture_.holds_requests; }
    void PressPowerButton() override { notes_.push_back(name_ + "button"); }
    void ShowDiskSize(size_t disk) override {
      notes_.push_back(fmt::format("{}disk {}", name_, disk));
    }
    void Stop() override { notes_.push_back(name_ + "stop"); }

   private:
    Fixture& fixture_;
    Notes& notes_;
    std::string name_;
  };

  Result<std::unique_ptr<PowerCycle>> Build(uint32_t number) {
    if (number == fails_to_build) return Fail("no memory");
    return std::make_unique<Machine>(*this, number);
  }
};

TEST_CASE("a guest that powers off ends its machine, and the event says so") {
  Fixture f;
  f.GuestAsks(Kind::kPowerOff, 1);
  CHECK(f.supervisor->run_state() == RunState::kPrelaunch);
  Result<StopRequest> end = f.supervisor->Run(true);
  REQUIRE(end);
  CHECK(end->kind == Kind::kPowerOff);
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 stop", "1 gone", "SHUTDOWN:guest-shutdown"});
  CHECK(f.supervisor->run_state() == RunState::kShutdown);
}

TEST_CASE(
    "a reset by guest or client stops the old machine before it builds and runs the new one") {
  for (bool by_client : {false, true}) {
    Fixture f;
    if (by_client) {
      f.Then([&] { f.supervisor->Reset(); });
    } else {
      f.GuestAsks(Kind::kReset, 1);
    }
    f.GuestAsks(Kind::kPowerOff, 2);
    REQUIRE(f.supervisor->Run(true));
    CHECK(f.notes == Notes{"1 resume", "RESUME", "1 stop", "1 gone",
                           by_client ? "RESET:client-reset" : "RESET:guest-reset", "2 resume",
                           "2 stop", "2 gone", "SHUTDOWN:guest-shutdown"});
  }
}

TEST_CASE("resets that a client asks for in one breath are one; a later one is another") {
  Fixture f;
  f.Then([&] {
    for (int i = 0; i < 3; ++i) f.supervisor->Reset();
    f.Then([&] {
      f.supervisor->Reset();
      f.GuestAsks(Kind::kPowerOff, 3);
    });
  });
  REQUIRE(f.supervisor->Run(true));
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 stop", "1 gone", "RESET:client-reset", "2 resume",
                         "2 stop", "2 gone", "RESET:client-reset", "3 resume", "3 stop", "3 gone",
                         "SHUTDOWN:guest-shutdown"});
}

TEST_CASE("without reboot a reset by guest or client is the end") {
  for (bool by_client : {false, true}) {
    Fixture f(true);
    if (by_client) {
      f.Then([&] { f.supervisor->Reset(); });
    } else {
      f.GuestAsks(Kind::kReset, 1);
    }
    Result<StopRequest> end = f.supervisor->Run(true);
    REQUIRE(end);
    CHECK(f.notes.back() == (by_client ? "SHUTDOWN:client-reset" : "SHUTDOWN:guest-reset"));
    CHECK(f.notes.size() == 5);
  }
}

TEST_CASE("pause and resume have an effect and an event only when they change something") {
  Fixture f;
  f.Then([&] {
    f.supervisor->Resume();
    f.supervisor->Pause();
    CHECK(f.supervisor->run_state() == RunState::kPaused);
    f.supervisor->Pause();
    f.supervisor->Resume();
    CHECK(f.supervisor->run_state() == RunState::kRunning);
    f.supervisor->Resume();
    f.supervisor->Quit();
  });
  REQUIRE(f.supervisor->Run(true));
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 pause", "STOP", "1 resume", "RESUME", "1 stop",
                         "1 gone", "SHUTDOWN:client-quit"});
}

TEST_CASE("a machine that is to wait starts when a client resumes it") {
  Fixture f;
  f.Then([&] {
    CHECK(f.supervisor->run_state() == RunState::kPrelaunch);
    CHECK(f.notes.empty());
    f.supervisor->Pause();
    CHECK(f.supervisor->run_state() == RunState::kPrelaunch);
    f.supervisor->Resume();
  });
  f.GuestAsks(Kind::kPowerOff, 1);
  REQUIRE(f.supervisor->Run(false));
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 stop", "1 gone", "SHUTDOWN:guest-shutdown"});
}

TEST_CASE("a paused machine that is reset stays where it is, at its start, until it is resumed") {
  Fixture f;
  f.Then([&] {
    f.supervisor->Pause();
    f.supervisor->Reset();
  });
  f.Then([&] {
    f.Then([&] {
      CHECK(f.supervisor->run_state() == RunState::kPrelaunch);
      f.supervisor->Resume();
    });
  });
  f.GuestAsks(Kind::kPowerOff, 2);
  REQUIRE(f.supervisor->Run(true));
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 pause", "STOP", "1 stop", "1 gone",
                         "RESET:client-reset", "2 resume", "RESUME", "2 stop", "2 gone",
                         "SHUTDOWN:guest-shutdown"});
}

TEST_CASE("a paused machine can be ended by a client and by a signal") {
  for (bool by_signal : {false, true}) {
    Fixture f;
    f.Then([&] {
      f.supervisor->Pause();
      if (by_signal) {
        raise(SIGTERM);
      } else {
        f.supervisor->Quit();
      }
    });
    Result<StopRequest> end = f.supervisor->Run(true);
    REQUIRE(end);
    CHECK(end->kind == (by_signal ? Kind::kSignal : Kind::kUserQuit));
    CHECK(f.notes.back() == (by_signal ? "SHUTDOWN:signal" : "SHUTDOWN:client-quit"));
  }
}

TEST_CASE("a disk whose requests wait pauses the machine, and resuming is trying again") {
  Fixture f;
  f.holds_requests = true;
  f.GuestAsks(Kind::kDiskError, 1);
  f.GuestAsks(Kind::kDiskError, 1);  // another queue's
  f.Then([&] {
    f.Then([&] {
      CHECK(f.supervisor->run_state() == RunState::kIoError);
      f.supervisor->Pause();
      CHECK(f.supervisor->run_state() == RunState::kIoError);
      f.supervisor->Resume();
      CHECK(f.supervisor->run_state() == RunState::kRunning);
    });
    f.GuestAsks(Kind::kDiskError, 1);  // it failed once more
    f.Then([&] { f.Then([&] { f.supervisor->Quit(); }); });
  });
  REQUIRE(f.supervisor->Run(true));
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 pause", "STOP", "1 resume", "RESUME", "1 pause",
                         "STOP", "1 stop", "1 gone", "SHUTDOWN:client-quit"});
}

TEST_CASE(
    "a disk's wish to pause is forgotten when nothing waits, or the machine stands or is gone") {
  Fixture f;
  f.GuestAsks(Kind::kDiskError, 1);
  f.Then([&] {
    f.Then([&] {
      CHECK(f.supervisor->run_state() == RunState::kRunning);
      f.holds_requests = true;
      f.supervisor->Pause();
      f.loop->RequestStop({.kind = Kind::kDiskError, .power_cycle = 1});
      f.Then([&] {
        CHECK(f.supervisor->run_state() == RunState::kPaused);
        f.supervisor->Resume();
        f.supervisor->Reset();
        f.GuestAsks(Kind::kPowerOff, 2);
        f.loop->RequestStop({.kind = Kind::kDiskError, .power_cycle = 1});
      });
    });
  });
  REQUIRE(f.supervisor->Run(true));
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 pause", "STOP", "1 resume", "RESUME", "1 stop",
                         "1 gone", "RESET:client-reset", "2 resume", "2 stop", "2 gone",
                         "SHUTDOWN:guest-shutdown"});
}

TEST_CASE("a machine that a disk has paused can be reset and ended") {
  Fixture f;
  f.holds_requests = true;
  f.GuestAsks(Kind::kDiskError, 1);
  f.Then([&] { f.supervisor->Reset(); });
  f.Then([&] {
    f.Then([&] {
      CHECK(f.supervisor->run_state() == RunState::kPrelaunch);
      raise(SIGTERM);
    });
  });
  Result<StopRequest> end = f.supervisor->Run(true);
  REQUIRE(end);
  CHECK(end->kind == Kind::kSignal);
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 pause", "STOP", "1 stop", "1 gone",
                         "RESET:client-reset", "2 stop", "2 gone", "SHUTDOWN:signal"});
}

TEST_CASE("the power button reaches the machine, running or not, and has an event") {
  Fixture f;
  f.Then([&] {
    f.supervisor->PressPowerButton();
    f.supervisor->Pause();
    f.supervisor->PressPowerButton();
    f.supervisor->Quit();
  });
  REQUIRE(f.supervisor->Run(true));
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 button", "POWERDOWN", "1 pause", "STOP",
                         "1 button", "POWERDOWN", "1 stop", "1 gone", "SHUTDOWN:client-quit"});
}

TEST_CASE("a guest that panics or dies is reported before the end") {
  for (Kind kind : {Kind::kPanic, Kind::kFailure}) {
    Fixture f;
    f.GuestAsks(kind, 1);
    Result<StopRequest> end = f.supervisor->Run(true);
    REQUIRE(end);
    CHECK(end->kind == kind);
    CHECK(f.notes == Notes{"1 resume", "RESUME", "GUEST_PANICKED:guest-panic", "1 stop", "1 gone",
                           "SHUTDOWN:guest-panic"});
  }
}

TEST_CASE("a machine that the host cannot start is no guest's death") {
  Fixture f;
  f.GuestAsks(Kind::kHostError, 1);
  Result<StopRequest> end = f.supervisor->Run(true);
  REQUIRE(end);
  CHECK(end->kind == Kind::kHostError);
  CHECK(f.notes == Notes{"1 resume", "RESUME", "1 stop", "1 gone", "SHUTDOWN:host-error"});
}

TEST_CASE("what the guest of a machine that is gone still asked for is ignored") {
  Fixture f;
  f.Then([&] { f.supervisor->Reset(); });
  f.GuestAsks(Kind::kPowerOff, 1);
  f.GuestAsks(Kind::kDebugExit, 2);
  Result<StopRequest> end = f.supervisor->Run(true);
  REQUIRE(end);
  CHECK(end->kind == Kind::kDebugExit);
}

TEST_CASE("a machine that cannot be built again ends all with an error") {
  Fixture f;
  f.fails_to_build = 2;
  f.GuestAsks(Kind::kReset, 1);
  Result<StopRequest> end = f.supervisor->Run(true);
  REQUIRE_FALSE(end);
  CHECK(end.error().message == "no memory");
  CHECK(f.notes.back() == "SHUTDOWN:host-error");
}

TEST_CASE("after the end nothing has an effect") {
  Fixture f;
  f.GuestAsks(Kind::kPowerOff, 1);
  REQUIRE(f.supervisor->Run(true));
  const Notes before = f.notes;
  f.supervisor->Pause();
  f.supervisor->Resume();
  f.supervisor->PressPowerButton();
  f.supervisor->Reset();
  f.supervisor->Quit();
  CHECK(f.notes == before);
  CHECK(f.supervisor->run_state() == RunState::kShutdown);
}

TEST_CASE("a stop request that comes before the start is seen, and kept for the run") {
  Fixture f;
  f.Then([&] { f.supervisor->Quit(); });
  CHECK_FALSE(f.loop->HasStopRequest());
  while (!f.loop->HasStopRequest()) f.loop->context().run_one();
  Result<StopRequest> end = f.supervisor->Run(false);
  REQUIRE(end);
  CHECK(end->kind == Kind::kUserQuit);
  CHECK(f.notes == Notes{"1 stop", "1 gone", "SHUTDOWN:client-quit"});
}

}  // namespace
}  // namespace minivmm
