// The few system calls that the guests' static programs make, without a C library: such a program
// is a few kilobytes, and the time to unpack and to start it does not count in a measurement.
// Included by debug_exit.cc and bench_init.cc only.
#ifndef GUEST_TESTS_IMAGES_SYSCALLS_H_
#define GUEST_TESTS_IMAGES_SYSCALLS_H_

#include <sys/syscall.h>

namespace minivmm {

inline long SystemCall(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0) {
  long result;
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
               : "rcx", "r11", "memory");
  return result;
}

// What a system call takes a pointer as.
inline long Address(const volatile void* pointer) { return reinterpret_cast<long>(pointer); }

inline long Write(int descriptor, const char* text) {
  long length = 0;
  while (text[length] != '\0') ++length;
  return SystemCall(SYS_write, descriptor, Address(text), length);
}

}  // namespace minivmm

#endif  // GUEST_TESTS_IMAGES_SYSCALLS_H_
