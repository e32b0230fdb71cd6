#include "vmm/qmp/qmp_events.h"

#include <chrono>
#include <utility>

#include "blockcore/names.h"

namespace minivmm {
namespace {
namespace json = boost::json;

json::object Message(std::string_view name, QmpTime time) {
  return {{"timestamp", {{"seconds", time.seconds}, {"microseconds", time.microseconds}}},
          {"event", name}};
}

std::string_view NameOf(MachineEvent::Kind kind) {
  switch (kind) {
    case MachineEvent::Kind::kStop:
      return "STOP";
    case MachineEvent::Kind::kResume:
      return "RESUME";
    case MachineEvent::Kind::kPowerdown:
      return "POWERDOWN";
    case MachineEvent::Kind::kReset:
      return "RESET";
    case MachineEvent::Kind::kShutdown:
      return "SHUTDOWN";
    case MachineEvent::Kind::kGuestPanicked:
      return "GUEST_PANICKED";
  }
  return "";
}

std::string_view NameOf(ErrorAction action) {
  switch (action) {
    case ErrorAction::kReport:
      return "report";
    case ErrorAction::kIgnore:
      return "ignore";
    case ErrorAction::kStop:
      return "stop";
  }
  return "";
}

// QEMU's ShutdownCause.
std::string_view ReasonOf(MachineEvent::Cause cause) {
  switch (cause) {
    case MachineEvent::Cause::kClientQuit:
      return "host-qmp-quit";
    case MachineEvent::Cause::kClientReset:
      return "host-qmp-system-reset";
    case MachineEvent::Cause::kSignal:
      return "host-signal";
    case MachineEvent::Cause::kGuestShutdown:
      return "guest-shutdown";
    case MachineEvent::Cause::kGuestReset:
      return "guest-reset";
    case MachineEvent::Cause::kGuestPanic:
      return "guest-panic";
    case MachineEvent::Cause::kHostError:
      return "host-error";
    case MachineEvent::Cause::kNone:
      break;
  }
  return "none";
}

}  // namespace

QmpTime QmpTime::Now() {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  const auto microseconds =
      std::chrono::duration_cast<std::chrono::microseconds>(since_1970).count();
  return {.seconds = microseconds / 1'000'000, .microseconds = microseconds % 1'000'000};
}

json::object MachineEventMessage(const MachineEvent& event, QmpTime time) {
  json::object message = Message(NameOf(event.kind), time);
  const bool by_guest = event.cause == MachineEvent::Cause::kGuestShutdown ||
                        event.cause == MachineEvent::Cause::kGuestReset ||
                        event.cause == MachineEvent::Cause::kGuestPanic;
  if (event.kind == MachineEvent::Kind::kReset || event.kind == MachineEvent::Kind::kShutdown) {
    message["data"] = json::object{{"guest", by_guest}, {"reason", ReasonOf(event.cause)}};
  } else if (event.kind == MachineEvent::Kind::kGuestPanicked) {
    message["data"] = json::object{{"action", "poweroff"}};
  }
  return message;
}

std::string QomPath(std::string_view device_id) {
  return fmt::format("/machine/peripheral/{}/virtio-backend", device_id);
}

json::object BlockErrorMessage(std::string_view device_id, std::string_view node_name,
                               const BlockError& error, uint64_t left_out, QmpTime time) {
  const bool no_space = error.status == BlockStatus::kNoSpace;
  const bool reads = error.op == BlockOp::kRead || error.op == BlockOp::kZoneReport;
  json::object data{{"device", ""},
                    {"node-name", node_name},
                    {"qom-path", QomPath(device_id)},
                    {"operation", reads ? "read" : "write"},
                    {"action", NameOf(error.action)},
                    {"nospace", no_space},
                    {"reason", no_space ? "No space left on device" : "Input/output error"},
                    {"x-operation", NameOf(error.op)},
                    {"x-offset", error.offset_bytes}};
  if (left_out != 0) data["x-left-out"] = left_out;
  json::object message = Message("BLOCK_IO_ERROR", time);
  message["data"] = std::move(data);
  return message;
}

void BlockErrorQueue::Push(const DiskError& error) {
  {
    std::lock_guard lock(mutex_);
    if (batch_.count == kCapacity) {
      ++batch_.left_out;
      if (error.error.action == ErrorAction::kStop) batch_.errors[kCapacity - 1] = error;
      return;
    }
    batch_.errors[batch_.count++] = error;
    if (batch_.count != 1) return;
  }
  wake_up_.Notify();
}

BlockErrorQueue::Batch BlockErrorQueue::TakeAll() {
  wake_up_.Drain();
  std::lock_guard lock(mutex_);
  return std::exchange(batch_, {});
}

}  // namespace minivmm
