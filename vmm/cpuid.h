// What a guest's CPUID instruction answers: the host's list with what is particular to this machine
// put in — APIC ids, the number of CPUs, and features that KVM has but does not list. Pure; main
// thread; once per vCPU while the machine is built.
//
// Topology: one package, one thread per core, core N = vCPU N = APIC id N; first and second level
// caches private, third level shared.
#ifndef MINIVMM_VMM_CPUID_H_
#define MINIVMM_VMM_CPUID_H_

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <vector>

namespace minivmm {

struct CpuidConfig {
  uint32_t cpu_count = 1;  // 1 to 16
  uint32_t cpu_index = 0;  // < cpu_count
  bool tsc_deadline_timer = false;
};

// `supported` is what KVM_GET_SUPPORTED_CPUID lists.
std::vector<kvm_cpuid_entry2> BuildCpuid(std::span<const kvm_cpuid_entry2> supported,
                                         const CpuidConfig& config);

}  // namespace minivmm

#endif  // MINIVMM_VMM_CPUID_H_
