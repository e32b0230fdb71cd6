// For tests that need the host's KVM.
#ifndef MINIVMM_VMM_HAVE_KVM_H_
#define MINIVMM_VMM_HAVE_KVM_H_

#include <doctest/doctest.h>
#include <unistd.h>

namespace minivmm {

// Says why not, in the name of the test case.
inline bool HaveKvm() {
  if (::access("/dev/kvm", R_OK | W_OK) == 0) return true;
  MESSAGE("skipped: /dev/kvm is missing or forbidden");
  return false;
}

}  // namespace minivmm

#endif  // MINIVMM_VMM_HAVE_KVM_H_
