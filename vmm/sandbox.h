// The sandbox: what is left of the host to a program whose guest has taken it over. Set up by main,
// in three steps, because children and threads inherit what is given up, and never get it back:
//
//   PrepareSandbox     before the first thread: no new privileges; from now on each thread gives up,
//                      as its first act, its capabilities and all system calls but those of its kind
//   DropCapabilities   when all files are open, before the first machine, so that it is made with the
//                      rights of those that come after resets, and what they cannot have fails at once
//   EnterSandbox       before the guest runs: no more descriptors than are needed, no files (Landlock,
//                      where the kernel has it), and main's own system calls
//
// A system call outside its kind's table kills the process with SIGSYS. The table, with a reason
// for each row, is in sandbox.cc; io_uring, which seccomp cannot look into, is restricted where the
// ring is made (blockcore/io_thread). vmm/threat-model.md says what all this is for.
#ifndef MINIVMM_VMM_SANDBOX_H_
#define MINIVMM_VMM_SANDBOX_H_

#include "blockcore/base/result.h"
#include "blockcore/base/thread_entry.h"

namespace minivmm {

// Main thread, before any other is started. Raises the limit of locked memory as far as it goes:
// rings need it where there are no capabilities. Fails when the kernel has no seccomp.
Result<void> PrepareSandbox();

// Of the calling thread, for good.
Result<void> DropCapabilities();

struct SandboxOptions {
  // A control client may add disks: existing files may still be opened, and the control socket be
  // removed, but nothing made or executed.
  bool opens_files = false;
};

// Main thread, once, before the guest runs.
Result<void> EnterSandbox(const SandboxOptions& options);

// Leaves the calling thread only the system calls of its kind. PrepareSandbox has it called by
// ThreadEntered; tests call it themselves.
Result<void> ConfineThread(ThreadKind kind);

}  // namespace minivmm

#endif  // MINIVMM_VMM_SANDBOX_H_
