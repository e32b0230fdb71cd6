// PowerCycle: a machine from reset to power-off, as the supervisor sees it. Machine is one; tests
// have others. Main thread.
//
//   built ──Resume──▶ vCPUs run ⇄ Pause, Resume ──Stop──▶ off (Stop also before the first Resume)
#ifndef MINIVMM_VMM_POWER_CYCLE_H_
#define MINIVMM_VMM_POWER_CYCLE_H_

#include <cstddef>

namespace minivmm {

class PowerCycle {
 public:
  virtual ~PowerCycle() = default;

  // Starts the vCPUs, or lets them go on after Pause. First, requests of the guest that the host
  // failed, and that waited, are tried again.
  virtual void Resume() = 0;
  // Returns when no vCPU runs.
  virtual void Pause() = 0;
  // Whether such requests wait. They have asked for a pause (StopRequest::Kind::kDiskError).
  virtual bool HoldsRequests() const = 0;
  // Raises the power button's interrupt; a paused guest finds it when it goes on.
  virtual void PressPowerButton() = 0;
  // The driver of the disk learns that it has become larger.
  virtual void ShowDiskSize(size_t disk) = 0;
  // When it returns no vCPU runs, and all requests that the guest made of its disks are finished.
  // Nothing can be started again.
  virtual void Stop() = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_POWER_CYCLE_H_
