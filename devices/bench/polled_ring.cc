// Valgrind runs one thread at a time, and one that sleeps in io_uring_enter would keep all others
// from running. With MINIVMM_POLLED_RING set, I/O threads look again each millisecond instead.
// Linked with --wrap; any thread.
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

extern "C" {
int __real_io_uring_submit_and_wait(io_uring* ring, unsigned wait_count);
int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wait_count);

int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wait_count) {
  static const bool polled = ::getenv("MINIVMM_POLLED_RING") != nullptr;
  if (!polled) return __real_io_uring_submit_and_wait(ring, wait_count);
  int submitted = ::io_uring_submit_and_get_events(ring);
  while (submitted >= 0 && ::io_uring_cq_ready(ring) == 0) {
    ::usleep(1000);
    ::io_uring_get_events(ring);
  }
  return submitted;
}
}
