// FakeMachine: a MachineControl without a machine, for tests: it keeps the run state, tells its
// events as the real one does, and counts what was asked. Main thread.
#ifndef MINIVMM_VMM_QMP_FAKE_MACHINE_H_
#define MINIVMM_VMM_QMP_FAKE_MACHINE_H_

#include <functional>
#include <utility>
#include <vector>

#include "vmm/machine_control.h"

namespace minivmm {

class FakeMachine : public MachineControl {
 public:
  RunState run_state() const override { return state_; }
  void Pause() override {
    if (std::exchange(state_, RunState::kPaused) == RunState::kRunning) {
      Tell({MachineEvent::Kind::kStop});
    }
  }
  void Resume() override {
    if (std::exchange(state_, RunState::kRunning) != RunState::kRunning) {
      Tell({MachineEvent::Kind::kResume});
    }
  }
  // As when requests of a disk wait.
  void StopForDisk() {
    state_ = RunState::kIoError;
    Tell({MachineEvent::Kind::kStop});
  }
  void PressPowerButton() override { Tell({MachineEvent::Kind::kPowerdown}); }
  void ShowDiskSize(size_t disk) override { grown_disks.push_back(disk); }
  void Reset() override { ++resets; }
  void Quit() override { ++quits; }
  void SetEventSink(std::function<void(const MachineEvent&)> sink) override {
    sink_ = std::move(sink);
  }

  void Tell(const MachineEvent& event) {
    if (event.kind == MachineEvent::Kind::kShutdown) state_ = RunState::kShutdown;
    if (sink_) sink_(event);
  }
  bool has_sink() const { return static_cast<bool>(sink_); }

  int resets = 0;
  int quits = 0;
  std::vector<size_t> grown_disks;

 private:
  RunState state_ = RunState::kPrelaunch;
  std::function<void(const MachineEvent&)> sink_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_QMP_FAKE_MACHINE_H_
