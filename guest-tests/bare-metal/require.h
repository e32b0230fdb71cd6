// How a check, or what works for one, gives up: the macros leave the running check, from any depth
// of calls. No destructors run on that way, so checks hold nothing that needs one.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_REQUIRE_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_REQUIRE_H_

#include <cstdint>

namespace minivmm {

[[noreturn]] void FailCheck(const char* file, unsigned line, const char* text);
[[noreturn]] void FailCheck(const char* file, unsigned line, const char* text, uint64_t got,
                            uint64_t wanted);
[[noreturn]] void SkipCheck(const char* reason);

#define REQUIRE(condition) \
  ((condition) ? (void)0 : ::minivmm::FailCheck(__FILE__, __LINE__, #condition))

#define REQUIRE_EQ(expression, wanted)                                                \
  do {                                                                                \
    const auto got_value = static_cast<uint64_t>(expression);                         \
    const auto wanted_value = static_cast<uint64_t>(wanted);                          \
    if (got_value != wanted_value) {                                                  \
      ::minivmm::FailCheck(__FILE__, __LINE__, #expression, got_value, wanted_value); \
    }                                                                                 \
  } while (false)

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_REQUIRE_H_
