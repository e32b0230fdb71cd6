// Result<T>: a value, or an Error with one line for the person who reads it. For set-up and other
// work that may fail for reasons outside the program; requests from the guest use BlockStatus
// instead (blockcore/block_request.h).
//
//   Result<UniqueFd> fd = OpenReadOnly(path);
//   if (!fd) return Unexpected(fd.error());
// or, shorter:
//   TRY(UniqueFd fd, OpenReadOnly(path));
//   TRY_VOID(Check(fd));
//
// Any thread. Nothing here throws but for want of memory.
#ifndef MINIVMM_BLOCKCORE_BASE_RESULT_H_
#define MINIVMM_BLOCKCORE_BASE_RESULT_H_

#include <fmt/format.h>

#include <cstring>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace minivmm {

// `message` says what was tried, on what, what went wrong and, where it helps, what to do; one
// line, no final full stop.
struct Error {
  std::string message;
};

template <typename T>
using Result = tl::expected<T, Error>;

using Unexpected = tl::unexpected<Error>;

// return Fail("cannot open '{}': {}", path, why);
template <typename... Args>
[[nodiscard]] Unexpected Fail(fmt::format_string<Args...> format, Args&&... args) {
  return Unexpected(Error{fmt::format(format, std::forward<Args>(args)...)});
}

// The system's text for an errno value, for use in a message: "No such file or directory".
inline std::string ErrnoText(int errno_value) { return ::strerror(errno_value); }

}  // namespace minivmm

#define MINIVMM_CONCAT_INNER(a, b) a##b
#define MINIVMM_CONCAT(a, b) MINIVMM_CONCAT_INNER(a, b)
#define MINIVMM_TRY(name, declaration, ...)                         \
  auto name = (__VA_ARGS__);                                        \
  if (!name) return ::minivmm::Unexpected(std::move(name).error()); \
  declaration = std::move(*name)

// Declares `declaration` from the value of the Result, or returns its error from the function
// around it.
#define TRY(declaration, ...) \
  MINIVMM_TRY(MINIVMM_CONCAT(try_result_, __LINE__), declaration, __VA_ARGS__)

// The same for a Result<void>.
#define TRY_VOID(...)                                              \
  do {                                                             \
    if (auto try_result = (__VA_ARGS__); !try_result)              \
      return ::minivmm::Unexpected(std::move(try_result).error()); \
  } while (false)

#endif  // MINIVMM_BLOCKCORE_BASE_RESULT_H_
