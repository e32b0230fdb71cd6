#include "vmm/cpuid.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

namespace minivmm {
namespace {

kvm_cpuid_entry2 Entry(uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx, uint32_t ecx,
                       uint32_t edx) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

// As a host with 64 CPUs would list itself.
std::vector<kvm_cpuid_entry2> HostList() {
  return {
      Entry(0x0, 0, 0xd, 0, 0, 0),
      Entry(0x1, 0, 0xa20f10, 0x3f40'0800, 0x0000'2001, 0x1000'0000),
      Entry(0x4, 0, 0xfc00'4121, 0, 0, 0),  // level 1
      Entry(0x4, 3, 0xfc0f'c163, 0, 0, 0),  // level 3
      Entry(0xb, 0, 1, 2, 0x100, 77),
      Entry(0xb, 1, 7, 64, 0x201, 77),
      Entry(0x1f, 0, 1, 2, 0x100, 77),
      Entry(0x4000'0000, 0, 0x4000'0001, 0x4b4d564b, 0x564b4d56, 0x4d),
      Entry(0x4000'0001, 0, 0x0100'7efb, 0, 0, 0),
      Entry(0x8000'0001, 0, 0, 0, 0x3, 0),
      Entry(0x8000'0008, 0, 0x3030, 0, 0x703f, 0),
      Entry(0x8000'001d, 0, 0x4121, 0, 0, 0),    // level 1, shared by two
      Entry(0x8000'001d, 3, 0xf'c163, 0, 0, 0),  // level 3, shared by 64
      Entry(0x8000'001e, 0, 77, 0x126, 0x301, 0),
      Entry(0x8000'0026, 0, 1, 2, 0x100, 77),
  };
}

const kvm_cpuid_entry2& Find(const std::vector<kvm_cpuid_entry2>& list, uint32_t function,
                             uint32_t index = 0) {
  auto found = std::ranges::find_if(list, [&](const kvm_cpuid_entry2& entry) {
    return entry.function == function && entry.index == index;
  });
  REQUIRE(found != list.end());
  return *found;
}

TEST_CASE("every vCPU has its own APIC id in all leaves that tell it") {
  for (uint32_t cpu_count : {1u, 2u, 3u, 16u}) {
    for (uint32_t index = 0; index < cpu_count; ++index) {
      auto list = BuildCpuid(HostList(), {.cpu_count = cpu_count, .cpu_index = index});
      CHECK((Find(list, 1).ebx >> 24) == index);
      CHECK(Find(list, 0xb, 0).edx == index);
      CHECK(Find(list, 0xb, 1).edx == index);
      CHECK(Find(list, 0x8000'001e).eax == index);
      CHECK((Find(list, 0x8000'001e).ebx & 0xff) == index);
    }
  }
}

TEST_CASE("the number of CPUs is the guest's, not the host's") {
  auto list = BuildCpuid(HostList(), {.cpu_count = 6, .cpu_index = 5});
  CHECK((Find(list, 1).ebx >> 16 & 0xff) == 6);
  CHECK((Find(list, 1).edx & 1u << 28) != 0);
  CHECK(Find(list, 0xb, 0).ebx == 1);
  CHECK(Find(list, 0xb, 1).ebx == 6);
  CHECK(Find(list, 0xb, 1).eax == 3);  // ids 0 to 5 need three bits
  CHECK(Find(list, 0xb, 1).ecx == 0x201);
  CHECK(Find(list, 0xb, 2).ecx == 2);
  CHECK((Find(list, 0x8000'0008).ecx & 0xff) == 5);
  CHECK((Find(list, 0x8000'0008).ecx >> 12 & 0xf) == 3);
  CHECK((Find(list, 4, 0).eax >> 14 & 0xfff) == 0);  // a level 1 cache is private
  CHECK((Find(list, 4, 3).eax >> 14 & 0xfff) == 7);
  CHECK((Find(list, 4, 3).eax >> 26) == 7);
  CHECK((Find(list, 0x8000'001d, 0).eax >> 14 & 0xfff) == 0);
  CHECK((Find(list, 0x8000'001d, 3).eax >> 14 & 0xfff) == 7);
}

TEST_CASE("a single CPU claims no siblings") {
  auto list = BuildCpuid(HostList(), {});
  CHECK((Find(list, 1).ebx >> 16 & 0xff) == 1);
  CHECK((Find(list, 1).edx & 1u << 28) == 0);
  CHECK((Find(list, 0x8000'0001).ecx & 2) == 0);
  CHECK(Find(list, 0xb, 1).eax == 0);
}

TEST_CASE("topology leaves of the host do not reach the guest") {
  auto list = BuildCpuid(HostList(), {.cpu_count = 2});
  CHECK(std::ranges::count(list, 0xbu, &kvm_cpuid_entry2::function) == 3);
  CHECK(std::ranges::count(list, 0x1fu, &kvm_cpuid_entry2::function) == 0);
  CHECK(std::ranges::count(list, 0x8000'0026u, &kvm_cpuid_entry2::function) == 0);
}

TEST_CASE("hypervisor, x2APIC and TSC deadline are announced, the last only if KVM has it") {
  auto with = BuildCpuid(HostList(), {.tsc_deadline_timer = true});
  auto without = BuildCpuid(HostList(), {.tsc_deadline_timer = false});
  CHECK((Find(with, 1).ecx & 1u << 31) != 0);
  CHECK((Find(with, 1).ecx & 1u << 21) != 0);
  CHECK((Find(with, 1).ecx & 1u << 24) != 0);
  CHECK((Find(without, 1).ecx & 1u << 24) == 0);
}

TEST_CASE("paravirtual features and everything else pass through") {
  auto list = BuildCpuid(HostList(), {.cpu_count = 4, .cpu_index = 2});
  CHECK(Find(list, 0x4000'0001).eax == 0x0100'7efb);
  CHECK(Find(list, 0x0).eax == 0xd);
  CHECK((Find(list, 1).ecx & 0x2001) == 0x2001);
}

}  // namespace
}  // namespace minivmm
