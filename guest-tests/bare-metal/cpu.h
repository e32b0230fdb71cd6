// The few instructions that C++ has no words for: ports, device memory, interrupt flag, barriers.
// Device memory goes through plain mov instructions of the stated width, which every KVM can
// decode.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_CPU_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_CPU_H_

#include <cstddef>
#include <cstdint>

namespace minivmm {

inline void Out8(uint16_t port, uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
inline void Out32(uint16_t port, uint32_t value) {
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}
inline uint8_t In8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}
inline uint32_t In32(uint16_t port) {
  uint32_t value;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

template <typename T>
T MmioRead(uint64_t address) {
  T value;
  asm volatile("mov (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}
template <typename T>
void MmioWrite(uint64_t address, T value) {
  asm volatile("mov %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

inline void CompilerBarrier() { asm volatile("" : : : "memory"); }

// Orders an earlier store before a later load, which x86 alone does not. A locked add, because
// mfence is not in every instruction emulator.
inline void FullBarrier() { asm volatile("lock addl $0, (%%rsp)" : : : "memory", "cc"); }

// Sleeps until an interrupt was handled. Interrupts are off everywhere else.
inline void HaltUntilInterrupt() { asm volatile("sti\n\thlt\n\tcli" : : : "memory"); }

// Lets interrupts that are already pending be handled, without waiting for one.
inline void TakePendingInterrupts() { asm volatile("sti\n\tnop\n\tnop\n\tcli" : : : "memory"); }

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_CPU_H_
