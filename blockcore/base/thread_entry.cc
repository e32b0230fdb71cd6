#include "blockcore/base/thread_entry.h"

#include <pthread.h>
#include <signal.h>

#include <initializer_list>

namespace minivmm {
namespace {

void (*thread_entry)(ThreadKind kind) = nullptr;

}  // namespace

void SetThreadEntry(void (*on_enter)(ThreadKind kind)) { thread_entry = on_enter; }

void ThreadEntered(ThreadKind kind) {
  if (thread_entry != nullptr) thread_entry(kind);
}

Unexpected CannotStartThread(const std::system_error& error) {
  return Fail(
      "cannot start a thread: {}; raise the limit of processes (ulimit -u, or pids.max of the "
      "cgroup)",
      error.code().message());
}

void LeaveSignalsToOthers() {
  sigset_t signals;
  ::sigfillset(&signals);
  for (int own : {SIGSEGV, SIGBUS, SIGILL, SIGFPE}) ::sigdelset(&signals, own);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace minivmm
