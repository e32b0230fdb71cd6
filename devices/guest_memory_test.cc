#include "devices/guest_memory.h"

#include <doctest/doctest.h>

#include <limits>
#include <vector>

namespace minivmm {
namespace {

// Low memory, a hole, high memory in two regions that touch.
struct Fixture {
  std::vector<std::byte> low = std::vector<std::byte>(0x1000);
  std::vector<std::byte> high = std::vector<std::byte>(0x2000);
  std::vector<std::byte> higher = std::vector<std::byte>(0x1000);
  GuestMemory memory{{{0x1000, low}, {0x10000, high}, {0x12000, higher}}};
};

TEST_CASE_FIXTURE(Fixture, "H-07: a slice is the host bytes of a range within one region") {
  CHECK(memory.Slice(0x1000, 0x1000).data() == low.data());
  CHECK(memory.Slice(0x1fff, 1).data() == low.data() + 0xfff);
  CHECK(memory.Slice(0x10010, 0x20).data() == high.data() + 0x10);
  CHECK(memory.Slice(0x10010, 0x20).size() == 0x20);
  CHECK(memory.Slice(0x1010, 0).data() == low.data() + 0x10);
}

TEST_CASE_FIXTURE(Fixture, "H-07: no slice for a range outside, across or around") {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  struct Row {
    uint64_t address, length;
  } rows[] = {
      {0, 1},                  // below all
      {0xfff, 2},              // into a region from below
      {0x1fff, 2},             // out of a region
      {0x3000, 1},             // in the hole
      {0x11fff, 2},            // into the next region, though it touches
      {0x13000, 1},            // above all
      {0x1000, kMax},          // longer than the address space
      {kMax, 1},               // at its end
      {kMax - 1, 0x1002 + 2},  // wraps into low memory
  };
  for (const Row& row : rows) {
    CAPTURE(row.address);
    CAPTURE(row.length);
    CHECK(memory.Slice(row.address, row.length).data() == nullptr);
    CHECK(memory.Slice(row.address, row.length).empty());
  }
}

TEST_CASE_FIXTURE(Fixture, "H-07: the first part of a range ends with the region") {
  constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
  CHECK(memory.FirstPart(0x1000, kMax).size() == 0x1000);
  CHECK(memory.FirstPart(0x1000, kMax).data() == memory.Slice(0x1000, 1).data());
  CHECK(memory.FirstPart(0x1800, 0x100).size() == 0x100);
  CHECK(memory.FirstPart(0x1ffe, 5).size() == 2);
  CHECK(memory.FirstPart(0x1ffe, 5).data() == memory.Slice(0x1ffe, 1).data());
  CHECK(memory.FirstPart(0x2000, 1).empty());
  CHECK(memory.FirstPart(0xfff, 2).empty());
  CHECK(memory.FirstPart(0x11fff, 2).size() == 1);
  CHECK(memory.FirstPart(0x12000, 0x2000).size() == 0x1000);
  CHECK(memory.FirstPart(kMax, 1).empty());
}

}  // namespace
}  // namespace minivmm
