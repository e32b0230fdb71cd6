#include "vmm/qmp/qmp_events.h"

#include <doctest/doctest.h>

#include <boost/json.hpp>
#include <string>

namespace minivmm {
namespace {
namespace json = boost::json;

constexpr QmpTime kTime{.seconds = 12, .microseconds = 34};

std::string Text(MachineEvent::Kind kind, MachineEvent::Cause cause = MachineEvent::Cause::kNone) {
  return json::serialize(MachineEventMessage({kind, cause}, kTime));
}

TEST_CASE("events have the bytes that QEMU's clients expect") {
  using Kind = MachineEvent::Kind;
  using Cause = MachineEvent::Cause;
  const std::string begin = R"({"timestamp":{"seconds":12,"microseconds":34},"event":")";
  CHECK(Text(Kind::kStop) == begin + R"(STOP"})");
  CHECK(Text(Kind::kResume) == begin + R"(RESUME"})");
  CHECK(Text(Kind::kPowerdown) == begin + R"(POWERDOWN"})");
  CHECK(Text(Kind::kGuestPanicked) == begin + R"(GUEST_PANICKED","data":{"action":"poweroff"}})");
  const auto shutdown = [&](bool guest, std::string_view reason) {
    return begin + fmt::format(R"(SHUTDOWN","data":{{"guest":{},"reason":"{}"}}}})", guest, reason);
  };
  CHECK(Text(Kind::kShutdown, Cause::kGuestShutdown) == shutdown(true, "guest-shutdown"));
  CHECK(Text(Kind::kShutdown, Cause::kGuestPanic) == shutdown(true, "guest-panic"));
  CHECK(Text(Kind::kShutdown, Cause::kClientQuit) == shutdown(false, "host-qmp-quit"));
  CHECK(Text(Kind::kShutdown, Cause::kGuestReset) == shutdown(true, "guest-reset"));
  CHECK(Text(Kind::kShutdown, Cause::kClientReset) == shutdown(false, "host-qmp-system-reset"));
  CHECK(Text(Kind::kShutdown, Cause::kSignal) == shutdown(false, "host-signal"));
  CHECK(Text(Kind::kShutdown, Cause::kHostError) == shutdown(false, "host-error"));
  CHECK(Text(Kind::kReset, Cause::kGuestReset) ==
        begin + R"(RESET","data":{"guest":true,"reason":"guest-reset"}})");
}

TEST_CASE("a disk error names the disk, and says what was left out") {
  const BlockError error{.op = BlockOp::kZoneAppend, .offset_bytes = 512};
  const json::object some = BlockErrorMessage("disk0", "d0", error, 0, kTime);
  const json::object& data = some.at("data").as_object();
  CHECK(data.at("qom-path") == "/machine/peripheral/disk0/virtio-backend");
  CHECK(data.at("operation") == "write");
  CHECK(data.at("x-operation") == "zone-append");
  CHECK_FALSE(data.contains("x-left-out"));
  const BlockError read{.op = BlockOp::kRead};
  CHECK(BlockErrorMessage("a", "b", read, 3, kTime).at("data").at("operation") == "read");
  CHECK(BlockErrorMessage("a", "b", read, 3, kTime).at("data").at("x-left-out") == 3);
}

TEST_CASE("a disk error says what came of it, and whether the host is full") {
  const auto data = [](BlockStatus status, ErrorAction action) {
    return BlockErrorMessage("a", "b", {.op = BlockOp::kWrite, .status = status, .action = action},
                             0, kTime)
        .at("data")
        .as_object();
  };
  const json::object full = data(BlockStatus::kNoSpace, ErrorAction::kStop);
  CHECK(full.at("action") == "stop");
  CHECK(full.at("nospace") == true);
  CHECK(full.at("reason") == "No space left on device");
  const json::object broken = data(BlockStatus::kIoError, ErrorAction::kIgnore);
  CHECK(broken.at("action") == "ignore");
  CHECK(broken.at("nospace") == false);
  CHECK(broken.at("reason") == "Input/output error");
  CHECK(data(BlockStatus::kIoError, ErrorAction::kReport).at("action") == "report");
}

TEST_CASE("an error that stops the machine has a place in a full queue") {
  BlockErrorQueue queue(std::move(*EventFd::Create()));
  for (size_t i = 0; i < BlockErrorQueue::kCapacity + 5; ++i) queue.Push({.disk = 1});
  queue.Push({.disk = 2, .error = {.action = ErrorAction::kStop}});
  queue.Push({.disk = 3});
  const BlockErrorQueue::Batch batch = queue.TakeAll();
  REQUIRE(batch.count == BlockErrorQueue::kCapacity);
  CHECK(batch.errors[BlockErrorQueue::kCapacity - 1].disk == 2);
  CHECK(batch.errors[BlockErrorQueue::kCapacity - 2].disk == 1);
  CHECK(batch.left_out == 7);
}

TEST_CASE("the queue of disk errors keeps the first ones, counts the others, and wakes once") {
  BlockErrorQueue queue(std::move(*EventFd::Create()));
  CHECK(queue.TakeAll().count == 0);
  for (uint64_t i = 0; i < BlockErrorQueue::kCapacity + 5; ++i) {
    queue.Push({.disk = 1, .error = {.offset_bytes = i}});
  }
  CHECK(queue.wake_up().IsSet());
  const BlockErrorQueue::Batch batch = queue.TakeAll();
  CHECK_FALSE(queue.wake_up().IsSet());
  REQUIRE(batch.count == BlockErrorQueue::kCapacity);
  CHECK(batch.left_out == 5);
  CHECK(batch.errors[0].error.offset_bytes == 0);
  CHECK(batch.errors[63].error.offset_bytes == 63);
  queue.Push({.disk = 2});
  CHECK(queue.wake_up().IsSet());
  const BlockErrorQueue::Batch next = queue.TakeAll();
  CHECK(next.count == 1);
  CHECK(next.errors[0].disk == 2);
  CHECK(next.left_out == 0);
}

}  // namespace
}  // namespace minivmm
