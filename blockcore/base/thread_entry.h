// ThreadEntered: each thread that the program starts says what kind it is, when its set-up is done
// and before it looks at anything that comes from a guest, an image or a client. Who confines
// threads (vmm/sandbox) is called there; the libraries that start threads need not know of it.
#ifndef MINIVMM_BLOCKCORE_BASE_THREAD_ENTRY_H_
#define MINIVMM_BLOCKCORE_BASE_THREAD_ENTRY_H_

#include <cstdint>
#include <system_error>

#include "blockcore/base/result.h"

namespace minivmm {

enum class ThreadKind : uint8_t { kMain, kVcpu, kIo, kZoneIoctl };

// `on_enter` is called by every later ThreadEntered, on that thread. Before the first thread
// starts; null: nobody.
void SetThreadEntry(void (*on_enter)(ThreadKind kind));

void ThreadEntered(ThreadKind kind);

// For who catches what std::thread throws: why, and what to do.
Unexpected CannotStartThread(const std::system_error& error);

// From here on, signals for the program go to its other threads. Not those by which the kernel
// tells this thread of its own mistakes: their handlers put the terminal in order.
void LeaveSignalsToOthers();

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_THREAD_ENTRY_H_
