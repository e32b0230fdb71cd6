// StopRequest: why a machine stops running its guest. Made on vCPU and I/O threads and in the main
// loop, read by the supervisor, which pauses or resets the machine or ends the program.
#ifndef MINIVMM_VMM_STOP_REQUEST_H_
#define MINIVMM_VMM_STOP_REQUEST_H_

#include <cstdint>
#include <string>

namespace minivmm {

struct StopRequest {
  enum class Kind : uint8_t {
    kPowerOff,   // the guest switched the machine off
    kReset,      // the guest asked for a reset
    kDebugExit,  // the guest wrote its exit status to isa-debug-exit
    kPanic,      // the guest said through pvpanic that it cannot go on
    kFailure,    // the guest died, or KVM cannot run it
    kHostError,  // the host cannot start it: no guest has run
    kUserReset,  // a control client asked for a reset
    kUserQuit,   // Ctrl-a x, or a control client
    kSignal,     // a signal to this program
    kDiskError,  // the host failed requests to a disk, which wait (werror=stop)
  };

  Kind kind = Kind::kPowerOff;
  int exit_status = 0;       // kDebugExit
  std::string message = {};  // for the user; further lines are details
  // Of the power cycle whose guest asked, from 1 on; 0: it comes from outside of the machine.
  uint32_t power_cycle = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_STOP_REQUEST_H_
