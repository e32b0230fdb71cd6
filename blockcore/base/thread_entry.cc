#include "blockcore/base/thread_entry.h"

namespace minivmm {
namespace {

void (*thread_entry)(ThreadKind kind) = nullptr;

}  // namespace

void SetThreadEntry(void (*on_enter)(ThreadKind kind)) { thread_entry = on_enter; }

void ThreadEntered(ThreadKind kind) {
  if (thread_entry != nullptr) thread_entry(kind);
}

}  // namespace minivmm
