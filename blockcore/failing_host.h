// FailingHost: for tests of everything above the kernel. While one lives, what I/O threads ask the
// host to do with regular files is shown to a function of the test, which lets it happen, makes it
// fail with an errno value (it is not carried out then), or cuts it short (so much is carried out).
// All else, doorbells for instance, is left alone.
//
//   FailingHost host([](const HostOperation& operation) -> HostOutcome {
//     return operation.kind == HostOperation::Kind::kSync ? HostOutcome::Fail(EIO) : HostOutcome{};
//   });
//
// It stands between the program and liburing by the linker's --wrap: the test that uses it is
// linked statically. One at a time.
#ifndef MINIVMM_BLOCKCORE_FAILING_HOST_H_
#define MINIVMM_BLOCKCORE_FAILING_HOST_H_

#include <cstdint>
#include <functional>

namespace minivmm {

struct HostOperation {
  enum class Kind : uint8_t { kRead, kWrite, kSync, kAllocate };

  Kind kind;
  uint64_t offset_bytes;
  uint64_t length_bytes;
};

struct HostOutcome {
  int error = 0;  // an errno value
  // Of a read or a write; longer ones are cut. 0: as at a file's end.
  uint64_t at_most_bytes = UINT64_MAX;

  static HostOutcome Fail(int errno_value) { return {.error = errno_value}; }
  static HostOutcome Cut(uint64_t bytes) { return {.at_most_bytes = bytes}; }
};

class FailingHost {
 public:
  // Called on I/O threads, one at a time.
  using Judge = std::function<HostOutcome(const HostOperation& operation)>;

  explicit FailingHost(Judge judge);
  // The host is well again. What it failed has been told.
  ~FailingHost();
  FailingHost(const FailingHost&) = delete;
  FailingHost& operator=(const FailingHost&) = delete;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_FAILING_HOST_H_
