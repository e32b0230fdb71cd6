#include <doctest/doctest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "blockcore/base/units.h"
#include "devices/virtqueue.h"
#include "devices/virtqueue_checks.h"
#include "devices/virtqueue_driver.h"

namespace minivmm {
namespace {

constexpr uint64_t kPacked = kFeatureRingPacked | kFeatureIndirectDesc;
constexpr uint64_t kPackedEvents = kPacked | kFeatureEventIdx;
constexpr uint16_t kNext = RingDescriptor::kNext;
constexpr uint16_t kWrite = RingDescriptor::kWrite;
constexpr uint16_t kIndirect = RingDescriptor::kIndirect;

TEST_CASE("K-03: a list is one chain, known by the id of its last descriptor") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, kPacked);
  Virtqueue ring = MakeRing(driver);
  CHECK(IsEmpty(ring));
  const uint64_t buffer = guest.Allocate(64);
  const uint16_t id = ChainBuilder(driver)
                          .Readable(buffer, 16)
                          .Writable(buffer + 16, 8)
                          .Writable(buffer, 1)
                          .Offer();
  DescriptorChain chain = PopOne(ring);
  CHECK(Lengths(chain.readable()) == Sizes{16});
  CHECK(Lengths(chain.writable()) == Sizes{8, 1});
  CHECK(chain.readable()[0].iov_base == guest.Host(buffer));
  CHECK(IsEmpty(ring));
  CHECK(!driver.TakeUsed());
  ring.Push(std::move(chain), 9);
  // One used descriptor for the whole list, in the list's first place; the rest is as it was.
  const PackedDescriptor second = driver.packed().GetDescriptor(1);
  CHECK(second.length == 8);
  CHECK(second.id == 0xdead);
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{id, 9});
  CHECK(!driver.TakeUsed());
  // The next list begins behind it.
  ChainBuilder(driver).Writable(buffer, 1).Offer();
  CHECK(driver.packed().next_avail() == 4);
  ring.Push(PopOne(ring), 1);
  CHECK(driver.TakeUsed()->length == 1);
}

TEST_CASE("K-01: chains come out in ring order and go back in any order") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, kPacked);
  Virtqueue ring = MakeRing(driver);
  std::vector<uint16_t> ids;
  for (uint32_t i = 1; i <= 3; ++i) {
    ids.push_back(ChainBuilder(driver).WritablePieces(FakeGuest::kBase, 10 * i, 10).Offer());
  }
  DescriptorChain first = PopOne(ring), second = PopOne(ring), third = PopOne(ring);
  CHECK(second.writable().size() == 2);
  ring.Push(std::move(third), 30);
  ring.Push(std::move(first), 10);
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{ids[2], 30});
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{ids[0], 10});
  CHECK(!driver.TakeUsed());
  ring.Push(std::move(second), 20);
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{ids[1], 20});
  CHECK(driver.free_descriptors() == 8);
}

TEST_CASE("K-02: a descriptor of the wrong lap, or a used one, is not available") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kPacked);
  Virtqueue ring = MakeRing(driver);
  constexpr uint16_t kAvailable = PackedDescriptor::kAvailable, kUsed = PackedDescriptor::kUsed;
  for (uint16_t flags : {uint16_t{0}, kUsed, static_cast<uint16_t>(kAvailable | kUsed)}) {
    driver.packed().SetDescriptor(0, {FakeGuest::kBase, 1, 7, flags});
    CHECK(IsEmpty(ring));
    CHECK(!ring.EnableDoorbell());
  }
  driver.packed().SetDescriptor(0, {FakeGuest::kBase, 1, 7, kAvailable});
  CHECK(ring.EnableDoorbell());
  ring.Push(PopOne(ring), 0);
  CHECK(driver.packed().GetDescriptor(0).flags == (kAvailable | kUsed));
  CHECK(driver.packed().GetDescriptor(0).id == 7);
}

TEST_CASE("K-04: the used WRITE flag says whether anything was written") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kPacked);
  Virtqueue ring = MakeRing(driver);
  auto used_flag = [&](uint16_t at) { return driver.packed().GetDescriptor(at).flags & kWrite; };
  // No bytes from the start, but perhaps a status at the end.
  for (uint32_t written : {0u, 5u}) {
    const uint16_t at = driver.packed().next_avail();
    ChainBuilder(driver).Writable(FakeGuest::kBase, 8).Offer();
    ring.Push(PopOne(ring), written);
    CHECK(used_flag(at) == kWrite);
    CHECK(driver.TakeUsed()->length == written);
  }
  const uint16_t at = driver.packed().next_avail();
  ChainBuilder(driver).Readable(FakeGuest::kBase, 8).Offer();
  ring.Push(PopOne(ring), 0);
  CHECK(used_flag(at) == 0);
}

TEST_CASE("K-05: an indirect table is read in order, whatever its flags but WRITE and its ids") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kPacked);
  Virtqueue ring = MakeRing(driver);
  const uint64_t table = guest.Allocate(48);
  guest.Store(table, PackedDescriptor{FakeGuest::kBase, 16, 99, 0xfffd});  // all but WRITE
  guest.Store(table + 16, PackedDescriptor{FakeGuest::kBase, 512, 98, kWrite | kNext});
  guest.Store(table + 32, PackedDescriptor{FakeGuest::kBase, 1, 97, 0xffff});
  uint16_t id = driver.packed().Offer({{table, 48, 0, kIndirect}});
  DescriptorChain chain = PopOne(ring);
  CHECK(Lengths(chain.readable()) == Sizes{16});
  CHECK(Lengths(chain.writable()) == Sizes{512, 1});
  ring.Push(std::move(chain), 513);
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{id, 513});
  // WRITE on the descriptor of the table means nothing.
  driver.packed().Offer({{table, 48, 0, static_cast<uint16_t>(kIndirect | kWrite)}});
  chain = PopOne(ring);
  CHECK(Lengths(chain.readable()) == Sizes{16});
  ring.Push(std::move(chain), 0);
}

TEST_CASE("K-07, Q-15: rings of any size, lists over the ring's end and as long as the ring") {
  std::mt19937 random(7);
  for (uint16_t size : {1, 2, 3, 5, 7, 8, 100, 1000}) {
    CAPTURE(size);
    FakeGuest guest;
    VirtqueueDriver driver(guest, size, kPackedEvents);
    Virtqueue ring = MakeRing(driver);
    const uint64_t buffer = guest.Allocate(size);
    std::vector<std::pair<uint16_t, uint32_t>> out;  // id, length
    std::vector<DescriptorChain> chains;
    for (int round = 0; round < 3000; ++round) {
      const size_t free = driver.free_descriptors();
      if (free != 0 && random() % 2) {
        const uint32_t length = round % 5 == 0 ? static_cast<uint32_t>(free)
                                               : 1 + static_cast<uint32_t>(random() % free);
        out.emplace_back(ChainBuilder(driver).WritablePieces(buffer, length, 1).Offer(), length);
        chains.push_back(PopOne(ring));
        REQUIRE(chains.back().writable().size() == length);
      } else if (!out.empty()) {
        const size_t pick = random() % out.size();
        std::swap(out[pick], out.back());
        std::swap(chains[pick], chains.back());
        ring.Push(std::move(chains.back()), out.back().second);
        REQUIRE(driver.TakeUsed() == VirtqueueDriver::Used{out.back().first, out.back().second});
        out.pop_back();
        chains.pop_back();
      }
      REQUIRE(IsEmpty(ring));
    }
    for (DescriptorChain& chain : chains) ring.Push(std::move(chain), 0);
  }
}

TEST_CASE("K-06: without EVENT_IDX flags decide over doorbells and interrupts") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, kPacked);
  Virtqueue ring = MakeRing(driver);
  auto serve_one = [&] {
    ChainBuilder(driver).Writable(FakeGuest::kBase, 1).Offer();
    ring.Push(PopOne(ring), 1);
    driver.TakeUsed();
  };
  struct Row {
    uint32_t event;
    bool interrupt;
  };
  // DESC is not the driver's without EVENT_IDX, 3 is reserved: rather one too many.
  for (Row row : {Row{0, true}, Row{1u << 16, false}, Row{2u << 16, true}, Row{3u << 16, true}}) {
    CAPTURE(row.event);
    driver.packed().SetDriverEvent(row.event);
    CHECK(!ring.NeedsInterrupt());
    serve_one();
    CHECK(ring.NeedsInterrupt() == row.interrupt);
    CHECK(!ring.NeedsInterrupt());
  }
  ring.DisableDoorbell();
  CHECK(driver.packed().device_event() == 1u << 16);
  CHECK(!driver.NeedsDoorbell());
  CHECK(!ring.EnableDoorbell());
  CHECK(driver.packed().device_event() == 0);
  ChainBuilder(driver).Writable(FakeGuest::kBase, 1).Offer();
  CHECK(driver.NeedsDoorbell());
  CHECK(ring.EnableDoorbell());
}

// Against the definition: an interrupt when the descriptor at (index, wrap) was among those passed.
TEST_CASE("K-06: with EVENT_IDX an interrupt comes when the event's descriptor is passed") {
  constexpr uint16_t kSize = 5;
  std::mt19937 random(11);
  int wanted = 0, not_wanted = 0;
  FakeGuest guest;
  VirtqueueDriver driver(guest, kSize, kPackedEvents);
  Virtqueue ring = MakeRing(driver);
  uint32_t passed = 0;  // in all, descriptors
  for (int round = 0; round < 20'000; ++round) {
    // From one lap behind the next used descriptor to the end of the present lap: what one bit of
    // wrap can say.
    const uint32_t lap_start = passed / kSize * kSize;
    const uint32_t event = lap_start + kSize - 1 - static_cast<uint32_t>(random() % kSize);
    const bool wrap = event / kSize % 2 == 0;
    driver.packed().SetDriverEvent(event % kSize | uint32_t{wrap} << 15 | 2u << 16);
    const uint32_t before = passed;
    const uint32_t lists = static_cast<uint32_t>(random() % 3);
    for (uint32_t i = 0; i < lists; ++i) {
      const uint32_t length = 1 + static_cast<uint32_t>(random() % 2);
      ChainBuilder(driver).WritablePieces(FakeGuest::kBase, length, 1).Offer();
      ring.Push(PopOne(ring), 1);
      driver.TakeUsed();
      passed += length;
    }
    const bool expected = before <= event && event < passed;
    REQUIRE(ring.NeedsInterrupt() == expected);
    (expected ? wanted : not_wanted)++;
  }
  CHECK(wanted > 1000);
  CHECK(not_wanted > 1000);
}

TEST_CASE("K-06: with EVENT_IDX an interrupt comes when a whole lap has gone by at once") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kPackedEvents);
  Virtqueue ring = MakeRing(driver);
  driver.packed().SetDriverEvent(2 | 1u << 15 | 2u << 16);
  for (int i = 0; i < 9; ++i) {
    ChainBuilder(driver).Writable(FakeGuest::kBase, 1).Offer();
    ring.Push(PopOne(ring), 1);
    CHECK(driver.TakeUsed());
  }
  CHECK(ring.NeedsInterrupt());
}

TEST_CASE("K-06: with EVENT_IDX the device asks for a doorbell at its next descriptor") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 3, kPackedEvents);
  Virtqueue ring = MakeRing(driver);
  for (int i = 0; i < 20; ++i) {
    CAPTURE(i);
    CHECK(!ring.EnableDoorbell());
    CHECK(driver.packed().device_event() ==
          (static_cast<uint32_t>(i % 3) | (i / 3 % 2 ? 0u : 1u << 15) | 2u << 16));
    ChainBuilder(driver).Writable(FakeGuest::kBase, 1).Offer();
    CHECK(driver.NeedsDoorbell());
    CHECK(ring.EnableDoorbell());
    ring.Push(PopOne(ring), 1);
    CHECK(driver.TakeUsed());
  }
  ring.DisableDoorbell();
  ChainBuilder(driver).Writable(FakeGuest::kBase, 1).Offer();
  CHECK(!driver.NeedsDoorbell());
}

struct HostileRow {
  const char* name;
  uint64_t features;
  std::function<void(VirtqueueDriver&)> attack;
  const char* reason;  // part of the error
};

// Each on a ring of 8 whose first descriptor is out.
const HostileRow kHostileRows[] = {
    {"H-03: a list around the ring and into itself", kPacked,
     [](VirtqueueDriver& d) {
       for (uint16_t i = 1; i < 8; ++i) {
         d.packed().SetDescriptor(i, {FakeGuest::kBase, 1, 0,
                                      static_cast<uint16_t>(kNext | PackedDescriptor::kAvailable)});
       }
       d.packed().SetDescriptor(
           0, {FakeGuest::kBase, 1, 0, static_cast<uint16_t>(kNext | PackedDescriptor::kUsed)});
     },
     "longer than the 7 descriptors"},
    {"K-02: a list into a descriptor that is not available", kPacked,
     [](VirtqueueDriver& d) {
       d.packed().Offer({{FakeGuest::kBase, 1, 0, kNext}});
     },
     "list runs into descriptor 2"},
    {"H-04: 4 GiB in one chain", kPacked,
     [](VirtqueueDriver& d) {
       ChainBuilder chain(d);
       chain.Indirect();
       for (int i = 0; i < 1024; ++i) chain.Writable(FakeGuest::kBase, 4_MiB);
       chain.Offer();
     },
     "4 GiB"},
    {"H-05: indirect without negotiation", kFeatureRingPacked,
     [](VirtqueueDriver& d) { ChainBuilder(d).Indirect().Writable(FakeGuest::kBase, 1).Offer(); },
     "not negotiated"},
    {"H-05: indirect with NEXT", kPacked,
     [](VirtqueueDriver& d) {
       ChainBuilder(d)
           .Raw({FakeGuest::kBase, 16, kIndirect, 0})
           .Writable(FakeGuest::kBase, 1)
           .Offer();
     },
     "indirect descriptor with flags"},
    {"H-05: indirect at the end of a list", kPacked,
     [](VirtqueueDriver& d) {
       ChainBuilder(d)
           .Readable(FakeGuest::kBase, 1)
           .Indirect()
           .Writable(FakeGuest::kBase, 1)
           .Offer();
     },
     "in a list"},
    {"H-06: empty table", kPacked,
     [](VirtqueueDriver& d) {
       d.packed().Offer({{FakeGuest::kBase, 0, 0, kIndirect}});
     },
     "indirect table of 0 bytes"},
    {"H-06: table of 17 bytes", kPacked,
     [](VirtqueueDriver& d) {
       d.packed().Offer({{FakeGuest::kBase, 17, 0, kIndirect}});
     },
     "indirect table of 17 bytes"},
    {"H-06: table longer than the limit", kPacked,
     [](VirtqueueDriver& d) {
       d.packed().Offer({{FakeGuest::kBase, 16 * 1025, 0, kIndirect}});
     },
     "indirect table of 16400 bytes"},
    {"H-06: table outside of memory", kPacked,
     [](VirtqueueDriver& d) {
       d.packed().Offer({{d.guest().end() - 16, 32, 0, kIndirect}});
     },
     "is not in guest memory"},
    {"H-07: buffer that wraps past 2^64", kPacked,
     [](VirtqueueDriver& d) { ChainBuilder(d).Writable(~uint64_t{0} - 7, 0xffff).Offer(); },
     "is not in guest memory"},
    {"H-08: readable behind writable", kPacked,
     [](VirtqueueDriver& d) {
       ChainBuilder(d).Writable(FakeGuest::kBase, 1).Readable(FakeGuest::kBase, 1).Offer();
     },
     "after a device-writable"},
};

TEST_CASE("H-03 to H-11: a broken packed ring is found, stays broken and is not written to") {
  for (const HostileRow& row : kHostileRows) {
    SUBCASE(row.name) {
      FakeGuest guest;
      VirtqueueDriver driver(guest, 8, row.features);
      Virtqueue ring = MakeRing(driver);
      ChainBuilder(driver).Writable(FakeGuest::kBase, 1).Offer();
      DescriptorChain before = PopOne(ring);
      row.attack(driver);
      const std::string reason = BrokenBecause(ring);
      CAPTURE(reason);
      CHECK(reason.find(row.reason) != std::string::npos);

      const PackedDescriptor first = driver.packed().GetDescriptor(0);
      ring.Push(std::move(before), 1);
      CHECK(driver.packed().GetDescriptor(0).flags == first.flags);
      CHECK(!ring.NeedsInterrupt());
      CHECK(!ring.EnableDoorbell());
      CHECK(BrokenBecause(ring) == reason);
    }
  }
}

TEST_CASE("H-11: a full ring that offers more is broken") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 2, kPacked);
  Virtqueue ring = MakeRing(driver);
  for (int i = 0; i < 2; ++i) ChainBuilder(driver).Writable(FakeGuest::kBase, 1).Offer();
  DescriptorChain first = PopOne(ring), second = PopOne(ring);
  CHECK(IsEmpty(ring));
  // The first descriptor again, as if it had come back: in the second lap bits are the other way
  // round.
  driver.packed().SetDescriptor(0, {FakeGuest::kBase, 1, 0, PackedDescriptor::kUsed});
  CHECK(BrokenBecause(ring).find("whose 2 are out") != std::string::npos);
  ring.Push(std::move(first), 1);
  ring.Push(std::move(second), 1);
}

TEST_CASE("H-13: any buffer id is given back as it is, even one that is out already") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kPacked);
  Virtqueue ring = MakeRing(driver);
  for (uint16_t i = 0; i < 2; ++i) {
    driver.packed().SetDescriptor(i, {FakeGuest::kBase, 1, 0xffff, PackedDescriptor::kAvailable});
  }
  DescriptorChain first = PopOne(ring), second = PopOne(ring);
  CHECK(first.slot() != second.slot());
  ring.Push(std::move(second), 0);
  ring.Push(std::move(first), 0);
  CHECK(driver.packed().GetDescriptor(0).id == 0xffff);
  CHECK(driver.packed().GetDescriptor(1).id == 0xffff);
}

TEST_CASE("H-12: Create refuses size 0, sizes beyond 32768, and parts misaligned or outside") {
  FakeGuest guest;
  const QueueConfig good = VirtqueueDriver(guest, 8, kPacked).config();
  auto refused = [&](const std::function<void(QueueConfig&)>& spoil) {
    QueueConfig config = good;
    spoil(config);
    return !Virtqueue::Create(guest.memory(), config, kPacked).has_value();
  };
  CHECK(!refused([](QueueConfig&) {}));
  CHECK(!refused([](QueueConfig& c) { c.size = 7; }));
  CHECK(refused([](QueueConfig& c) { c.size = 0; }));
  CHECK(refused([](QueueConfig& c) { c.size = 32769; }));
  CHECK(refused([](QueueConfig& c) { c.descriptor_address += 8; }));
  CHECK(refused([](QueueConfig& c) { c.driver_address += 2; }));
  CHECK(refused([](QueueConfig& c) { c.device_address += 2; }));
  CHECK(refused([&](QueueConfig& c) { c.descriptor_address = guest.end() - 16 * 7; }));
  CHECK(refused([&](QueueConfig& c) { c.driver_address = guest.end(); }));
  CHECK(refused([](QueueConfig& c) { c.device_address = 0; }));
}

// Random bytes over a ring that works: each chain lies in guest memory, the ring breaks in the end,
// nothing else happens.
TEST_CASE("H-24: a packed ring full of noise does no harm") {
  std::mt19937 random(20240612);
  int broken = 0, popped = 0;
  for (int round = 0; round < 20'000; ++round) {
    const uint16_t size = static_cast<uint16_t>(1 + random() % 9);
    FakeGuest guest(64_KiB);
    VirtqueueDriver driver(guest, size, random() % 2 ? kPacked : kPackedEvents);
    Virtqueue ring = MakeRing(driver);
    std::vector<DescriptorChain> out;
    for (int step = 0; step < 12; ++step) {
      driver.packed().SetDescriptor(
          static_cast<uint16_t>(random() % size),
          {FakeGuest::kBase + random() % 70'000, static_cast<uint32_t>(random() % 100),
           static_cast<uint16_t>(random()),
           static_cast<uint16_t>((random() % 8) | (random() % 4 << 7) | (random() % 2 << 15))});
      driver.packed().SetDriverEvent(static_cast<uint32_t>(random()));
      auto chain = ring.Pop();
      if (!chain) {
        ++broken;
        break;
      }
      if (*chain) {
        ++popped;
        for (const auto& elements : {(*chain)->readable(), (*chain)->writable()}) {
          for (const iovec& element : elements) {
            auto* begin = static_cast<std::byte*>(element.iov_base);
            REQUIRE(begin >= guest.Host(FakeGuest::kBase));
            REQUIRE(begin + element.iov_len <= guest.Host(FakeGuest::kBase) + 64_KiB);
          }
        }
        out.push_back(std::move(**chain));
      }
      if (!out.empty() && random() % 2) {
        ring.Push(std::move(out.back()), static_cast<uint32_t>(random()));
        out.pop_back();
        ring.NeedsInterrupt();
        ring.EnableDoorbell();
      }
    }
    for (DescriptorChain& chain : out) ring.Push(std::move(chain), 0);
  }
  CHECK(broken > 1000);
  CHECK(popped > 1000);
}

}  // namespace
}  // namespace minivmm
