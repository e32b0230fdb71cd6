// The init of tools/bench-boot's guest: says that it runs, then powers the machine off. Nothing
// else happens in user space, so the time to the line is the VMM's and the kernel's alone.
#include <linux/reboot.h>

#include "syscalls.h"

extern "C" [[noreturn]] void Start() {
  minivmm::Write(1, "@init\n");
  for (;;) {
    minivmm::SystemCall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
                        LINUX_REBOOT_CMD_POWER_OFF);
  }
}

asm(".globl _start\n_start:\n  and $-16, %rsp\n  call Start\n");
