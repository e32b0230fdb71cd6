#include "firmware/aml.h"

#include <doctest/doctest.h>

#include <initializer_list>

namespace minivmm::aml {
namespace {

Bytes Raw(std::initializer_list<int> values) {
  Bytes bytes;
  for (int value : values) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

TEST_CASE("an integer takes the shortest encoding") {
  CHECK(Integer(0) == Raw({0x00}));
  CHECK(Integer(1) == Raw({0x01}));
  CHECK(Integer(2) == Raw({0x0a, 0x02}));
  CHECK(Integer(0xff) == Raw({0x0a, 0xff}));
  CHECK(Integer(0x100) == Raw({0x0b, 0x00, 0x01}));
  CHECK(Integer(0x1'0000) == Raw({0x0c, 0x00, 0x00, 0x01, 0x00}));
  CHECK(Integer(0x1'0000'0000) == Raw({0x0e, 0, 0, 0, 0, 1, 0, 0, 0}));
}

TEST_CASE("an EISA id is compressed as PNP0A03 is in the specification") {
  CHECK(EisaId("PNP0A03") == Raw({0x0c, 0x41, 0xd0, 0x0a, 0x03}));
}

TEST_CASE("names are padded to four characters, from the root if they say so") {
  CHECK(Name("_S5", Integer(1)) == Raw({0x08, '_', 'S', '5', '_', 0x01}));
  CHECK(Name("\\_SB", Integer(0)) == Raw({0x08, '\\', '_', 'S', 'B', '_', 0x00}));
}

TEST_CASE("a package length grows by bytes where its six, twelve and twenty bits end") {
  const auto scope_of = [](size_t filler_bytes) {
    return Scope("ABCD", {Bytes(filler_bytes, std::byte{0xa3})});
  };
  // One length byte, four of the name: 58 bytes of filler make 63, the most that fits into six
  // bits.
  CHECK(scope_of(58)[1] == std::byte{0x3f});
  CHECK(scope_of(58).size() == 1 + 63);
  const Bytes two = scope_of(59);
  CHECK(two[1] == std::byte{0x40 | (65 & 0xf)});
  CHECK(two[2] == std::byte{65 >> 4});
  CHECK(two.size() == 1 + 65);
  const Bytes most_of_two = scope_of(4095 - 6);
  CHECK(most_of_two[1] == std::byte{0x4f});
  CHECK(most_of_two[2] == std::byte{0xff});
  const Bytes three = scope_of(4096 - 6);
  CHECK(three[1] == std::byte{0x80 | (4097 & 0xf)});
  CHECK(three[2] == std::byte{(4097 >> 4) & 0xff});
  CHECK(three[3] == std::byte{4097 >> 12});
}

TEST_CASE("a resource template is a buffer that ends with the end tag") {
  CHECK(ResourceTemplate({IoPorts(0x3f8, 8)}) ==
        Raw({0x11, 0x0d, 0x0a, 0x0a, 0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8, 0x79, 0}));
}

TEST_CASE("a method takes its arguments' number and serialization from one byte") {
  CHECK(Method("_EVT", 1, {Notify("PWRB", 0x80)}) ==
        Raw({0x14, 0x0d, '_', 'E', 'V', 'T', 0x09, 0x86, 'P', 'W', 'R', 'B', 0x0a, 0x80}));
}

TEST_CASE("a string ends with a zero byte") { CHECK(String("AB") == Raw({0x0d, 'A', 'B', 0})); }

}  // namespace
}  // namespace minivmm::aml
