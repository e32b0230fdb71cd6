// debug_exit VALUE: hands VALUE (0 to 127) to the debug-exit device at port 0xf4, which ends the
// VMM with status (VALUE << 1) | 1. Debian's kernels have no /dev/port, so this asks for the port
// with ioperm.
#include "syscalls.h"

namespace minivmm {
namespace {

constexpr unsigned short kPort = 0xf4;
constexpr unsigned kMaximum = 127;

int Run(long argument_count, char** arguments) {
  if (argument_count != 2) {
    Write(2, "usage: debug_exit VALUE\n");
    return 2;
  }
  unsigned value = 0;
  for (const char* digit = arguments[1]; *digit != '\0'; ++digit) {
    const bool is_digit = *digit >= '0' && *digit <= '9';
    if (is_digit) value = value * 10 + static_cast<unsigned>(*digit - '0');
    if (!is_digit || value > kMaximum) {
      Write(2, "debug_exit: VALUE is a number from 0 to 127\n");
      return 2;
    }
  }
  if (SystemCall(SYS_ioperm, kPort, 4, 1) != 0) {
    Write(2, "debug_exit: no access to port 0xf4\n");
    return 1;
  }
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(kPort));
  Write(2, "debug_exit: still here: the machine has no isa-debug-exit device at port 0xf4\n");
  return 1;
}

}  // namespace
}  // namespace minivmm

extern "C" [[noreturn]] void Start(long* stack) {
  const int status = minivmm::Run(stack[0], reinterpret_cast<char**>(stack + 1));
  for (;;) minivmm::SystemCall(SYS_exit_group, status);
}

asm(".globl _start\n_start:\n  mov %rsp, %rdi\n  and $-16, %rsp\n  call Start\n");
