#include "vmm/io_bus.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace minivmm {
namespace {

// Reads give the offset in every byte; writes are recorded as "offset:length".
class RecordingHandler : public IoHandler {
 public:
  void Read(uint64_t offset, std::span<std::byte> data) override {
    for (std::byte& byte : data) byte = static_cast<std::byte>(offset);
  }
  void Write(uint64_t offset, std::span<const std::byte> data) override {
    writes.push_back(fmt::format("{}:{}", offset, data.size()));
  }

  std::vector<std::string> writes;
};

uint64_t ReadBytes(const IoBus& bus, uint64_t address, size_t length) {
  std::array<std::byte, 8> bytes{};
  bus.Read(address, std::span(bytes).first(length));
  uint64_t value = 0;
  for (size_t i = length; i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

TEST_CASE("an access reaches the handler of its range with the offset from the range's start") {
  RecordingHandler low;
  RecordingHandler high;
  IoBus bus;
  REQUIRE(bus.Add("high", 0x200, 0x100, high));
  REQUIRE(bus.Add("low", 0x100, 0x10, low));
  CHECK(ReadBytes(bus, 0x100, 1) == 0x00);
  CHECK(ReadBytes(bus, 0x10c, 4) == 0x0c0c0c0c);
  CHECK(ReadBytes(bus, 0x2fe, 2) == 0xfefe);
  std::array<std::byte, 4> data{};
  bus.Write(0x204, data);
  CHECK(high.writes == std::vector<std::string>{"4:4"});
  CHECK(low.writes.empty());
}

TEST_CASE("what no range contains wholly reads all ones and is lost when written") {
  RecordingHandler handler;
  IoBus bus;
  std::array<std::byte, 4> data{};
  CHECK(ReadBytes(bus, 0x100, 2) == 0xffff);
  bus.Write(0x100, data);
  REQUIRE(bus.Add("only", 0x100, 0x10, handler));
  CHECK(ReadBytes(bus, 0xff, 1) == 0xff);
  CHECK(ReadBytes(bus, 0x110, 1) == 0xff);
  CHECK(ReadBytes(bus, 0xfe, 4) == 0xffffffff);   // begins before
  CHECK(ReadBytes(bus, 0x10e, 4) == 0xffffffff);  // ends behind
  bus.Write(0x10d, data);
  CHECK(handler.writes.empty());
}

TEST_CASE("a range may end at the top of the address space") {
  RecordingHandler handler;
  IoBus bus;
  REQUIRE(bus.Add("top", UINT64_MAX - 3, 4, handler));
  CHECK(ReadBytes(bus, UINT64_MAX - 3, 4) == 0);
  CHECK(ReadBytes(bus, UINT64_MAX, 1) == 3);
  CHECK(ReadBytes(bus, UINT64_MAX, 2) == 0xffff);
}

TEST_CASE("overlapping, empty and wrapping ranges are refused, neighbours are not") {
  RecordingHandler handler;
  IoBus bus;
  REQUIRE(bus.Add("serial", 0x3f8, 8, handler));
  CHECK(bus.Add("before", 0x3f0, 8, handler).has_value());
  CHECK(bus.Add("behind", 0x400, 8, handler).has_value());
  CHECK(bus.Add("same", 0x3f8, 8, handler).error().message ==
        "same at 0x3f8-0x3ff overlaps serial at 0x3f8-0x3ff: choose another address");
  CHECK_FALSE(bus.Add("inside", 0x3f9, 1, handler));
  CHECK_FALSE(bus.Add("around", 0x3f1, 0x20, handler));
  CHECK_FALSE(bus.Add("into its end", 0x407, 4, handler));
  CHECK_FALSE(bus.Add("into its start", 0x3e0, 0x11, handler));
  CHECK_FALSE(bus.Add("empty", 0x10, 0, handler));
  CHECK_FALSE(bus.Add("wraps", UINT64_MAX, 2, handler));
}

}  // namespace
}  // namespace minivmm
