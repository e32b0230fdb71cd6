// Vcpu: one virtual CPU and the thread `vcpu/N` that runs it. The machine makes all of them on the
// main thread, starts them, and stops them before anything that a guest can reach is taken away.
//
//   Create ─▶ Start ─▶ KVM_RUN ─▶ exit ─▶ ports and MMIO: IoBus ─▶ KVM_RUN …
//                         ▲ │     until Stop, or until the guest dies: stop_machine, and the thread
//                  Resume │ ▼     ends
//                        parked ◀─ RequestPause
//
// Halting, interrupts, and the start of CPUs 1 to N-1 (INIT, start-up IPI) happen inside KVM and
// never come here. Public functions: main thread.
#ifndef MINIVMM_VMM_VCPU_H_
#define MINIVMM_VMM_VCPU_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "blockcore/base/result.h"
#include "devices/guest_memory.h"
#include "firmware/boot_image.h"
#include "vmm/io_bus.h"
#include "vmm/kvm.h"
#include "vmm/stop_request.h"

namespace minivmm {

// What all vCPUs of a machine share. Outlives them.
struct VcpuEnvironment {
  const IoBus& ports;
  const IoBus& mmio;
  const GuestMemory& memory;
  // Any vCPU's thread; may be called more than once.
  std::function<void(StopRequest)> stop_machine;
  // Each vCPU's thread, after a pause, before its guest goes on; may take as long as an access to a
  // device.
  std::function<void()> resumed = [] {};
};

class Vcpu {
 public:
  // vCPU `index` of `count`: features and registers that every vCPU needs.
  static Result<std::unique_ptr<Vcpu>> Create(const Kvm& kvm, KvmVm& vm, uint32_t index,
                                              uint32_t count, const VcpuEnvironment& environment);
  ~Vcpu();

  // The state in which the first vCPU enters the kernel. Before Start.
  Result<void> SetBootState(const BootEntry& entry);

  // Starts the thread.
  Result<void> Start();
  // Asks the thread to leave the guest and to wait. Several vCPUs are asked first and then waited
  // for, so that they stand still at nearly the same time.
  void RequestPause();
  // Returns when the thread is parked or has ended; until Resume or Stop it stays so.
  void WaitUntilPaused();
  // Takes a RequestPause back.
  void Resume();
  // Makes the thread leave the guest and joins it, also a parked one. No effect when not started.
  void Stop();

 private:
  Vcpu(KvmVcpu vcpu, uint32_t index, const VcpuEnvironment& environment)
      : vcpu_(std::move(vcpu)), index_(index), environment_(environment) {}

  enum class Wanted : uint8_t { kRun, kPause, kStop };

  void Want(Wanted wanted);
  // Parks the thread while that is wanted; false: it is to end.
  bool MayRun();
  void Loop();
  bool HandleExit();
  void HandlePorts();
  void HandleMmio();
  void ReportDeath(const std::string& what);
  std::string DescribeRegisters() const;
  std::string DescribeInstruction() const;

  KvmVcpu vcpu_;
  uint32_t index_;
  const VcpuEnvironment& environment_;
  std::mutex mutex_;
  std::condition_variable changed_;  // one of the two below
  Wanted wanted_ = Wanted::kRun;     // guarded by mutex_
  bool out_of_guest_ = true;         // guarded by mutex_: parked, ended or not started
  std::thread thread_;
};

// The descriptors that Linux's 64-bit boot protocol wants in a table: 0x10 code, 0x18 data. To be
// placed before a kLong64 start.
Segment BuildBootGdt();

}  // namespace minivmm

#endif  // MINIVMM_VMM_VCPU_H_
