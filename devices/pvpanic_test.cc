#include "devices/pvpanic.h"

#include <doctest/doctest.h>

namespace minivmm {
namespace {

TEST_CASE("a write with bit 0 set is a panic, other bits are not") {
  int panics = 0;
  Pvpanic pvpanic([&] { ++panics; });
  for (uint8_t value : {0, 2, 4, 0xfe}) pvpanic.Write(0, std::as_bytes(std::span(&value, 1)));
  CHECK(panics == 0);
  for (uint8_t value : {1, 3, 0xff}) pvpanic.Write(0, std::as_bytes(std::span(&value, 1)));
  CHECK(panics == 3);
}

TEST_CASE("a read tells that only panics are supported, and is none") {
  int panics = 0;
  Pvpanic pvpanic([&] { ++panics; });
  uint32_t value = 0xffff'ffff;
  pvpanic.Read(0, std::as_writable_bytes(std::span(&value, 1)));
  CHECK(value == 1);
  CHECK(panics == 0);
}

}  // namespace
}  // namespace minivmm
