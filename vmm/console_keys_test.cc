#include "vmm/console_keys.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace minivmm {
namespace {

TEST_CASE("what is typed goes to the guest, control characters included") {
  ConsoleKeys keys;
  auto typed = keys.Feed("ls\r\x03\x04\x1a");
  CHECK(typed.for_guest == "ls\r\x03\x04\x1a");
  CHECK_FALSE(typed.quit);
  CHECK_FALSE(typed.help);
}

TEST_CASE("Ctrl-a x quits, and what is typed behind it is dropped") {
  ConsoleKeys keys;
  auto typed = keys.Feed("ab\x01xcd");
  CHECK(typed.for_guest == "ab");
  CHECK(typed.quit);
}

TEST_CASE("Ctrl-a h asks for help and Ctrl-a Ctrl-a sends one Ctrl-a") {
  ConsoleKeys keys;
  auto typed = keys.Feed("1\x01h2\x01\x01x");
  CHECK(typed.for_guest == "12\x01x");
  CHECK(typed.help);
  CHECK_FALSE(typed.quit);
}

TEST_CASE("an unknown letter after Ctrl-a is swallowed") {
  ConsoleKeys keys;
  CHECK(keys.Feed("\x01zq").for_guest == "q");
}

TEST_CASE("the escape may be split between two pieces of input") {
  ConsoleKeys keys;
  CHECK_FALSE(keys.Feed("\x01").quit);
  CHECK(keys.Feed("x").quit);
}

}  // namespace
}  // namespace minivmm
