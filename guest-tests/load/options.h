// The load guest's options, from the kernel command line:
//
//   op=read|write      what the requests are (read)
//   op=exit            in place of a load: end the VMM at once, for measuring its start
//   size=BYTES         of a request (4096)
//   depth=N            requests in flight in each queue, to 256 (256)
//   queues=N           queues that are used, to 4 (1)
//   requests=N         at least so many
//   ms=N               and for at least so long
//   pause=yes          wait for a character on the console before the load and after it
#ifndef MINIVMM_GUEST_TESTS_LOAD_OPTIONS_H_
#define MINIVMM_GUEST_TESTS_LOAD_OPTIONS_H_

#include <cstdint>

namespace minivmm {

struct LoadOptions {
  enum class Op { kRead, kWrite, kExit };
  Op op = Op::kRead;
  uint64_t size = 4096;
  uint64_t depth = 256;
  uint64_t queues = 1;
  uint64_t requests = 0;
  uint64_t ms = 0;
  bool pauses = false;
};

// Words that it does not know are an error: it prints the first and returns false.
bool ParseOptions(const char* command_line, LoadOptions* options);

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_LOAD_OPTIONS_H_
