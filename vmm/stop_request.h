// StopRequest: why a machine stops running its guest. Made on vCPU threads and in the main loop,
// read by main, which turns it into what the program does next.
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
    kUserQuit,   // Ctrl-a x, or a signal
    kFailure,    // the guest died, or KVM cannot run it
  };

  Kind kind = Kind::kPowerOff;
  int exit_status = 0;       // kDebugExit
  std::string message = {};  // kFailure, kUserQuit: for the user; further lines are details
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_STOP_REQUEST_H_
