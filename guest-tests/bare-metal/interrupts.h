// The interrupt table, the local APIC with its timer tick, and waiting. Interrupts are taken only
// inside HaltUntilInterrupt() and TakePendingInterrupts(), so plain code never races with a
// handler.
//
//   vector 0..31   exceptions: print and fail
//          0x20    timer tick, every 10 ms
//          0x40+n  MSI-X table entry n
//          0xff    spurious
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_INTERRUPTS_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_INTERRUPTS_H_

#include <cstdint>

#include "guest-tests/bare-metal/cpu.h"

namespace minivmm {

constexpr uint8_t kFirstMsiVector = 0x40;
constexpr uint8_t kLastMsiVector = 0xef;
constexpr uint64_t kTickMs = 10;
constexpr uint64_t kTimeoutTicks = 10'000 / kTickMs;

// Once, before anything waits.
void StartInterrupts();

// Makes an interrupt or exception go to `entry`, in place of being counted or ending the guest.
void SetInterruptEntry(uint8_t vector, const char* entry);

// How often this vector was handled since the start.
uint64_t InterruptCount(uint8_t vector);
uint64_t Ticks();

// The message that makes this CPU handle `vector`.
uint64_t MsiAddress();
inline uint32_t MsiData(uint8_t vector) { return vector; }

// Sleeps until `done()` holds, looking again after each interrupt; false when that took longer than
// `ticks`.
template <typename Condition>
bool WaitFor(Condition done, uint64_t ticks = kTimeoutTicks) {
  const uint64_t end = Ticks() + ticks;
  while (!done()) {
    if (Ticks() >= end) return false;
    HaltUntilInterrupt();
  }
  return true;
}

// Long enough for an interrupt that should not come to come.
inline void WaitForStragglers() {
  WaitFor([] { return false; }, 3);
}

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_INTERRUPTS_H_
