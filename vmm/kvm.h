// Kvm, KvmVm and KvmVcpu: /dev/kvm, one virtual machine and one virtual CPU as objects that own
// their descriptor. The only file that calls ioctl(KVM_…); policy (which memory, which registers,
// which routes) belongs to the callers. Set-up happens on the main thread; a KvmVcpu runs on its
// own thread; AssignIrqfd, DeassignIrqfd and SetGsiRouting may be called by any thread.
//
//   Kvm (/dev/kvm) ──CreateVm──▶ KvmVm (memory slots, irqchip, doorbells, irqfds, routes)
//   ──CreateVcpu──▶ KvmVcpu (registers, Run)
#ifndef MINIVMM_VMM_KVM_H_
#define MINIVMM_VMM_KVM_H_

#include <linux/kvm.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/result.h"
#include "blockcore/base/unique_fd.h"

namespace minivmm {

class KvmVcpu {
 public:
  KvmVcpu(KvmVcpu&& other) noexcept;
  KvmVcpu& operator=(KvmVcpu&&) = delete;
  ~KvmVcpu();

  Result<void> SetCpuid(std::span<const kvm_cpuid_entry2> entries);
  // Every MSR of the list is set, or the error names the first that KVM refused.
  Result<void> SetMsrs(std::span<const kvm_msr_entry> entries);
  Result<kvm_regs> GetRegisters() const;
  Result<void> SetRegisters(const kvm_regs& registers);
  Result<kvm_sregs> GetSpecialRegisters() const;
  Result<void> SetSpecialRegisters(const kvm_sregs& registers);
  Result<void> SetFpu(const kvm_fpu& fpu);
  // The guest-physical address behind a linear one, as the vCPU's page tables say now; nothing when
  // it is not mapped.
  Result<uint64_t> TranslateAddress(uint64_t linear_address) const;

  // The guest has stood still: its watchdogs are not to take the gap for a lockup. Nothing happens
  // when it has no kvmclock. After a pause, before Run.
  void TellGuestOfPause();
  // Runs the guest until it needs something: 0, and shared().exit_reason says what; else an errno
  // value (EINTR and EAGAIN: call again). On the vCPU's thread.
  int Run();
  // The page that KVM shares with us. `immediate_exit` may be set by any thread, all else is for
  // the vCPU's thread.
  kvm_run& shared() { return *run_; }

 private:
  friend class KvmVm;
  KvmVcpu(UniqueFd fd, kvm_run* run, size_t run_bytes)
      : fd_(std::move(fd)), run_(run), run_bytes_(run_bytes) {}

  UniqueFd fd_;
  kvm_run* run_;
  size_t run_bytes_;
};

class KvmVm {
 public:
  // Backs [guest_address, +memory.size()) with host memory, which must outlive the VM.
  // Page-aligned; `slot` names the range.
  Result<void> SetMemory(uint32_t slot, uint64_t guest_address, std::span<std::byte> memory);

  // A guest write of any length to this address signals the eventfd instead of leaving the guest.
  Result<void> RegisterDoorbell(uint64_t guest_address, const EventFd& doorbell);

  // Signals of the eventfd raise the interrupt; what was signalled before is raised at once. An
  // eventfd has at most one irqfd.
  Result<void> AssignIrqfd(const EventFd& event, uint32_t gsi);
  Result<void> DeassignIrqfd(const EventFd& event, uint32_t gsi);
  // Replaces the whole table; it takes effect for irqfds that exist already.
  Result<void> SetGsiRouting(std::span<const kvm_irq_routing_entry> entries);

  // `index` is the vCPU's number and its APIC id.
  Result<KvmVcpu> CreateVcpu(uint32_t index);

 private:
  friend class Kvm;
  KvmVm(UniqueFd fd, size_t run_bytes) : fd_(std::move(fd)), run_bytes_(run_bytes) {}

  UniqueFd fd_;
  size_t run_bytes_;  // of the page(s) shared by KVM and a vCPU
};

class Kvm {
 public:
  // Opens /dev/kvm and checks that it has all that minivmm needs. The error says what to do.
  static Result<Kvm> Open();

  // A VM with the in-kernel interrupt controllers and timers (local APICs, I/O APIC, PICs, PIT), no
  // memory and no vCPU.
  Result<KvmVm> CreateVm() const;

  // All that this host's KVM can offer to a guest; the vCPUs start from it.
  const std::vector<kvm_cpuid_entry2>& supported_cpuid() const { return supported_cpuid_; }
  bool has_tsc_deadline_timer() const { return has_tsc_deadline_timer_; }

 private:
  Kvm(UniqueFd fd, size_t run_bytes) : fd_(std::move(fd)), run_bytes_(run_bytes) {}

  UniqueFd fd_;
  size_t run_bytes_;
  std::vector<kvm_cpuid_entry2> supported_cpuid_;
  bool has_tsc_deadline_timer_ = false;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_KVM_H_
