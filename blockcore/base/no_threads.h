// NoThreads: for as long as it is there, no thread of the test's process can be started: each would
// need a stack larger than the address space.
#ifndef MINIVMM_BLOCKCORE_BASE_NO_THREADS_H_
#define MINIVMM_BLOCKCORE_BASE_NO_THREADS_H_

#include <doctest/doctest.h>
#include <pthread.h>

#include <cstddef>

namespace minivmm {

class NoThreads {
 public:
  NoThreads() {
    pthread_attr_t huge;
    REQUIRE(::pthread_getattr_default_np(&usual_) == 0);
    REQUIRE(::pthread_attr_init(&huge) == 0);
    REQUIRE(::pthread_attr_setstacksize(&huge, size_t{1} << 47) == 0);
    REQUIRE(::pthread_setattr_default_np(&huge) == 0);
  }
  ~NoThreads() { CHECK(::pthread_setattr_default_np(&usual_) == 0); }
  NoThreads(const NoThreads&) = delete;
  NoThreads& operator=(const NoThreads&) = delete;

 private:
  pthread_attr_t usual_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_NO_THREADS_H_
