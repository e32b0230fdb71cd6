#include "devices/debug_exit.h"

#include <doctest/doctest.h>

#include <vector>

namespace minivmm {
namespace {

TEST_CASE("a written value v ends the machine with status 2v + 1, cut to a byte") {
  std::vector<int> statuses;
  DebugExit debug_exit([&](uint8_t status) { statuses.push_back(status); });
  uint32_t wide = 0x1234'5610;
  debug_exit.Write(0, std::as_bytes(std::span(&wide, 1)));
  for (uint8_t value : {0, 1, 0x7f, 0x80, 0xff}) {
    debug_exit.Write(1, std::as_bytes(std::span(&value, 1)));
  }
  CHECK(statuses == std::vector<int>{0x21, 1, 3, 0xff, 1, 0xff});
}

TEST_CASE("reads give zeroes and do not end anything") {
  int exits = 0;
  DebugExit debug_exit([&](uint8_t) { ++exits; });
  uint32_t value = 0xffff'ffff;
  debug_exit.Read(0, std::as_writable_bytes(std::span(&value, 1)));
  CHECK(value == 0);
  CHECK(exits == 0);
}

TEST_CASE("the ports are QEMU's unless said otherwise") {
  CHECK(DebugExitPorts{}.iobase == 0x501);
  CHECK(DebugExitPorts{}.iosize == 2);
}

}  // namespace
}  // namespace minivmm
