// MachineControl: what somebody outside the guest may do with the machine, and what he is told. The
// control sockets (vmm/qmp) call it; main's Supervisor is it. Main thread.
//
//   kPrelaunch ──Resume──▶ kRunning ⇄ Pause, Resume ⇄ kPaused
//                            ⇅ a disk's errors (werror=stop), Resume
//                          kIoError
//
//   a reset: a new machine, kRunning if the old one was, else kPrelaunch
//   power-off, panic, Quit: kShutdown, and the program ends; from then on nothing has an effect
#ifndef MINIVMM_VMM_MACHINE_CONTROL_H_
#define MINIVMM_VMM_MACHINE_CONTROL_H_

#include <cstddef>
#include <cstdint>
#include <functional>

namespace minivmm {

enum class RunState : uint8_t { kPrelaunch, kRunning, kPaused, kIoError, kShutdown };

struct MachineEvent {
  enum class Kind : uint8_t {
    kStop,           // vCPUs stand still
    kResume,         // vCPUs run
    kPowerdown,      // the power button was pressed
    kReset,          // the machine begins anew
    kShutdown,       // the program is about to end
    kGuestPanicked,  // the guest said so through pvpanic, or died; kShutdown follows
  };
  // Why, for kReset and kShutdown; where a reset is not wanted (--no-reboot) it is the cause of
  // kShutdown.
  enum class Cause : uint8_t {
    kNone,
    kClientQuit,
    kClientReset,
    kSignal,
    kGuestShutdown,
    kGuestReset,
    kGuestPanic,
    kHostError,
  };

  Kind kind = Kind::kStop;
  Cause cause = Cause::kNone;
};

class MachineControl {
 public:
  virtual ~MachineControl() = default;

  virtual RunState run_state() const = 0;

  // Returns when no vCPU runs. What the guest asked of its disks before is still finished. No
  // effect when paused.
  virtual void Pause() = 0;
  // No effect when running. Requests that the host failed are tried again first.
  virtual void Resume() = 0;
  // The guest's operating system learns that its user wants to switch off; nothing more.
  virtual void PressPowerButton() = 0;
  // The guest learns that a disk of its, counted as on the command line, has become larger.
  virtual void ShowDiskSize(size_t disk) = 0;
  // These two return at once; what they ask for happens when the main loop is next without work.
  virtual void Reset() = 0;
  virtual void Quit() = 0;

  // Calls `sink` for each event, on the main thread, in their order. One sink at most.
  virtual void SetEventSink(std::function<void(const MachineEvent&)> sink) = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_MACHINE_CONTROL_H_
