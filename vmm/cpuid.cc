#include "vmm/cpuid.h"

#include <bit>

namespace minivmm {
namespace {

// Leaf and bit numbers: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E.
constexpr uint32_t kLeafFeatures = 0x1;
constexpr uint32_t kLeafIntelCaches = 0x4;
constexpr uint32_t kLeafTopology = 0xb;
constexpr uint32_t kLeafTopologyV2 = 0x1f;
constexpr uint32_t kLeafAmdFeatures = 0x8000'0001;
constexpr uint32_t kLeafAmdSizes = 0x8000'0008;
constexpr uint32_t kLeafAmdCaches = 0x8000'001d;
constexpr uint32_t kLeafAmdTopology = 0x8000'001e;
constexpr uint32_t kLeafAmdTopologyV2 = 0x8000'0026;

constexpr uint32_t Bit(int number) { return uint32_t{1} << number; }

// `value` with its bits [low, low + count) replaced.
constexpr uint32_t WithField(uint32_t value, int low, int count, uint32_t field) {
  uint32_t mask = ((uint32_t{1} << count) - 1) << low;
  return (value & ~mask) | ((field << low) & mask);
}

constexpr uint32_t WithBit(uint32_t value, int number, bool set) {
  return WithField(value, number, 1, set ? 1 : 0);
}

uint32_t ApicIdBits(uint32_t cpu_count) {
  return static_cast<uint32_t>(std::bit_width(cpu_count - 1));
}

void SetFeatures(kvm_cpuid_entry2& entry, const CpuidConfig& config) {
  entry.ebx = WithField(entry.ebx, 16, 8, config.cpu_count);
  entry.ebx = WithField(entry.ebx, 24, 8, config.cpu_index);
  entry.ecx |= Bit(21);  // x2APIC: the in-kernel APIC always has it
  entry.ecx = WithBit(entry.ecx, 24, config.tsc_deadline_timer);
  entry.ecx |= Bit(31);                                      // a hypervisor is present
  entry.edx = WithBit(entry.edx, 28, config.cpu_count > 1);  // EBX[23:16] is valid
}

// Leaf 4 and AMD's copy of it: how many CPUs share a cache.
void SetCacheSharing(kvm_cpuid_entry2& entry, const CpuidConfig& config) {
  uint32_t level = (entry.eax >> 5) & 7;
  uint32_t sharing = level >= 3 ? std::bit_ceil(config.cpu_count) : 1;
  entry.eax = WithField(entry.eax, 14, 12, sharing - 1);
  if (entry.function == kLeafIntelCaches) {
    entry.eax = WithField(entry.eax, 26, 6, std::bit_ceil(config.cpu_count) - 1);
  }
}

// A level of leaf 0xb: shift to the next level's id, CPUs in it, type (1 thread, 2 core), own id.
kvm_cpuid_entry2 TopologyLevel(uint32_t index, uint32_t shift, uint32_t cpus, uint32_t type,
                               uint32_t apic_id) {
  kvm_cpuid_entry2 entry{};
  entry.function = kLeafTopology;
  entry.index = index;
  entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  entry.eax = shift;
  entry.ebx = cpus;
  entry.ecx = index | type << 8;
  entry.edx = apic_id;
  return entry;
}

}  // namespace

std::vector<kvm_cpuid_entry2> BuildCpuid(std::span<const kvm_cpuid_entry2> supported,
                                         const CpuidConfig& config) {
  std::vector<kvm_cpuid_entry2> result;
  result.reserve(supported.size() + 3);
  for (kvm_cpuid_entry2 entry : supported) {
    switch (entry.function) {
      case kLeafTopology:
      case kLeafTopologyV2:
      case kLeafAmdTopologyV2:
        continue;  // leaf 0xb is written below, the others are optional
      case kLeafFeatures:
        SetFeatures(entry, config);
        break;
      case kLeafIntelCaches:
      case kLeafAmdCaches:
        SetCacheSharing(entry, config);
        break;
      case kLeafAmdFeatures:
        entry.ecx = WithBit(entry.ecx, 1, config.cpu_count > 1);  // cores, not threads
        break;
      case kLeafAmdSizes:
        entry.ecx = WithField(entry.ecx, 0, 8, config.cpu_count - 1);
        entry.ecx = WithField(entry.ecx, 12, 4, ApicIdBits(config.cpu_count));
        break;
      case kLeafAmdTopology:
        entry.eax = config.cpu_index;
        entry.ebx = config.cpu_index;  // core id; one thread per core
        entry.ecx = 0;                 // node 0, the only one
        break;
      default:
        break;
    }
    result.push_back(entry);
  }
  uint32_t apic_id = config.cpu_index;
  result.push_back(TopologyLevel(0, 0, 1, 1, apic_id));
  result.push_back(TopologyLevel(1, ApicIdBits(config.cpu_count), config.cpu_count, 2, apic_id));
  result.push_back(TopologyLevel(2, 0, 0, 0, apic_id));
  return result;
}

}  // namespace minivmm
