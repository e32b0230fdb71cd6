// VMM_CHECK(condition): our own bug ends the program with text, in every build. Never for anything
// that a guest, an image file or a user can bring about.
#ifndef MINIVMM_BLOCKCORE_BASE_CHECK_H_
#define MINIVMM_BLOCKCORE_BASE_CHECK_H_

#include <cstdio>
#include <cstdlib>

#define VMM_CHECK(condition)                                                                       \
  do {                                                                                             \
    if (!(condition)) [[unlikely]] {                                                               \
      std::fprintf(stderr, "minivmm: internal error: VMM_CHECK(%s) failed at %s:%d\n", #condition, \
                   __FILE__, __LINE__);                                                            \
      std::abort();                                                                                \
    }                                                                                              \
  } while (false)

#endif  // MINIVMM_BLOCKCORE_BASE_CHECK_H_
