// User mode (privilege level 3), for code that must run at full speed: some KVMs emulate privileged
// guest code, instruction by instruction, but all let the CPU run a guest's user code. There all of
// memory is open, device registers included; ports and hlt are not, and no interrupt is taken.
#ifndef MINIVMM_GUEST_TESTS_LOAD_USER_MODE_H_
#define MINIVMM_GUEST_TESTS_LOAD_USER_MODE_H_

namespace minivmm {

// Once, when all device registers are mapped: their pages are opened to user mode too.
void PrepareUserMode();

}  // namespace minivmm

// Runs the function in user mode, on a stack of its own, and returns when it has (user_mode.S). An
// exception in it ends the guest, as everywhere.
extern "C" void RunInUserMode(void (*function)());

#endif  // MINIVMM_GUEST_TESTS_LOAD_USER_MODE_H_
