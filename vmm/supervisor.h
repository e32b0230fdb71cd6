// Supervisor: what the program does with its machine from the first start to the end: it builds a
// new one when a reset asks for it, pauses it when a disk asks for that, and lets control clients
// pause, resume, reset and end it.
//
//   stop requests (guest, disk, client, signal) ──▶ Run ──▶ PowerCycle 1, 2, 3, …, one at a time
//   control clients, in the main loop ──▶ MachineControl ──▶ the present PowerCycle
//                                                       └──▶ events, in their order
//
// Main thread, also its event sink. It knows neither KVM nor disks nor the wire of the clients.
#ifndef MINIVMM_VMM_SUPERVISOR_H_
#define MINIVMM_VMM_SUPERVISOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "blockcore/base/result.h"
#include "vmm/machine_control.h"
#include "vmm/main_loop.h"
#include "vmm/power_cycle.h"
#include "vmm/stop_request.h"

namespace minivmm {

class Supervisor final : public MachineControl {
 public:
  // Builds the machine of a power cycle, which are counted from 1. Stop requests of its guest name
  // the number.
  using Build = std::function<Result<std::unique_ptr<PowerCycle>>(uint32_t number)>;

  // `loop` outlives the supervisor. With `no_reboot` any reset ends the program, as with QEMU.
  Supervisor(MainLoop& loop, Build build, bool no_reboot)
      : loop_(loop), build_(std::move(build)), no_reboot_(no_reboot) {}

  // Builds the next machine. Once before Run, and before clients are served; Run does it after each
  // reset.
  Result<void> Prepare();

  // Runs the guest, unless `start` is false: then it waits for Resume. Returns why all came to an
  // end; no machine is left then. Fails when the machine after a reset cannot be built.
  Result<StopRequest> Run(bool start);

  RunState run_state() const override { return state_; }
  void Pause() override;
  void Resume() override;
  void PressPowerButton() override;
  void ShowDiskSize(size_t disk) override;
  void Reset() override;
  void Quit() override;
  void SetEventSink(std::function<void(const MachineEvent&)> sink) override;

 private:
  void PauseForDisk(const std::string& message);
  void Emit(MachineEvent::Kind kind, MachineEvent::Cause cause = MachineEvent::Cause::kNone);
  void EndWith(MachineEvent::Cause cause);

  MainLoop& loop_;
  const Build build_;
  const bool no_reboot_;
  std::function<void(const MachineEvent&)> sink_;
  std::unique_ptr<PowerCycle> machine_;  // none before Prepare and when state_ is kShutdown
  uint32_t number_ = 0;                  // of machine_
  bool reset_wanted_ = false;            // by a client; the request is on its way
  RunState state_ = RunState::kPrelaunch;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_SUPERVISOR_H_
