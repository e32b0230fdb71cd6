#include "vmm/supervisor.h"

#include <utility>

#include "blockcore/base/log.h"

namespace minivmm {
namespace {

using Kind = MachineEvent::Kind;
using Cause = MachineEvent::Cause;

Cause CauseOf(StopRequest::Kind kind) {
  switch (kind) {
    case StopRequest::Kind::kPowerOff:
    case StopRequest::Kind::kDebugExit:
      return Cause::kGuestShutdown;
    case StopRequest::Kind::kReset:
      return Cause::kGuestReset;
    case StopRequest::Kind::kPanic:
    case StopRequest::Kind::kFailure:
      return Cause::kGuestPanic;
    case StopRequest::Kind::kHostError:
      return Cause::kHostError;
    case StopRequest::Kind::kUserReset:
      return Cause::kClientReset;
    case StopRequest::Kind::kUserQuit:
      return Cause::kClientQuit;
    case StopRequest::Kind::kSignal:
      return Cause::kSignal;
    case StopRequest::Kind::kDiskError:  // nothing ends
      break;
  }
  return Cause::kNone;
}

bool IsReset(StopRequest::Kind kind) {
  return kind == StopRequest::Kind::kReset || kind == StopRequest::Kind::kUserReset;
}

}  // namespace

Result<void> Supervisor::Prepare() {
  TRY(machine_, build_(++number_));
  state_ = RunState::kPrelaunch;
  return {};
}

Result<StopRequest> Supervisor::Run(bool start) {
  if (start) Resume();
  for (;;) {
    StopRequest request = loop_.Run();
    // The last word of a guest whose machine a client has reset meanwhile.
    if (request.power_cycle != 0 && request.power_cycle != number_) continue;
    if (request.kind == StopRequest::Kind::kDiskError) {
      PauseForDisk(request.message);
      continue;
    }

    if (request.kind == StopRequest::Kind::kUserReset) reset_wanted_ = false;
    const Cause cause = CauseOf(request.kind);
    if (cause == Cause::kGuestPanic) Emit(Kind::kGuestPanicked, cause);
    machine_->Stop();
    machine_.reset();  // before the next one takes memory and disks
    if (!IsReset(request.kind) || no_reboot_) {
      EndWith(cause);
      return request;
    }
    const bool was_running = state_ == RunState::kRunning;
    if (Result<void> built = Prepare(); !built) {
      EndWith(Cause::kHostError);
      return tl::unexpected(built.error());
    }
    Emit(Kind::kReset, cause);
    if (was_running) {
      machine_->Resume();
      state_ = RunState::kRunning;
    }
  }
}

void Supervisor::Pause() {
  if (state_ != RunState::kRunning) return;
  machine_->Pause();
  state_ = RunState::kPaused;
  Emit(Kind::kStop);
}

// By now a client may have paused and resumed the machine, so that nothing waits any more, or the
// guest may have reset the disk.
void Supervisor::PauseForDisk(const std::string& message) {
  if (state_ != RunState::kRunning || !machine_->HoldsRequests()) return;
  machine_->Pause();
  state_ = RunState::kIoError;
  Emit(Kind::kStop);
  LOG("{}", message);
}

void Supervisor::Resume() {
  if (state_ == RunState::kRunning || state_ == RunState::kShutdown) return;
  machine_->Resume();
  state_ = RunState::kRunning;
  Emit(Kind::kResume);
}

void Supervisor::PressPowerButton() {
  if (state_ == RunState::kShutdown) return;
  machine_->PressPowerButton();
  Emit(Kind::kPowerdown);
}

void Supervisor::ShowDiskSize(size_t disk) {
  if (state_ != RunState::kShutdown) machine_->ShowDiskSize(disk);
}

void Supervisor::Reset() {
  // A client that asks faster than machines are built gets one for all that wait.
  if (std::exchange(reset_wanted_, true)) return;
  loop_.RequestStop({.kind = StopRequest::Kind::kUserReset});
}

void Supervisor::Quit() { loop_.RequestStop({.kind = StopRequest::Kind::kUserQuit}); }

void Supervisor::SetEventSink(std::function<void(const MachineEvent&)> sink) {
  sink_ = std::move(sink);
}

void Supervisor::Emit(MachineEvent::Kind kind, MachineEvent::Cause cause) {
  if (sink_) sink_({.kind = kind, .cause = cause});
}

void Supervisor::EndWith(MachineEvent::Cause cause) {
  state_ = RunState::kShutdown;
  Emit(Kind::kShutdown, cause);
}

}  // namespace minivmm
