// The timestamp counter. Any mode.
#ifndef MINIVMM_GUEST_TESTS_LOAD_TIMESTAMP_H_
#define MINIVMM_GUEST_TESTS_LOAD_TIMESTAMP_H_

#include <cstdint>

namespace minivmm {

inline uint64_t ReadTimestamp() {
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return uint64_t{high} << 32 | low;
}

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_LOAD_TIMESTAMP_H_
