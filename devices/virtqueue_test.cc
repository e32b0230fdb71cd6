#include "devices/virtqueue.h"

#include <doctest/doctest.h>

#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/units.h"
#include "devices/virtqueue_checks.h"
#include "devices/virtqueue_driver.h"

namespace minivmm {
namespace {

constexpr uint64_t kBoth = kFeatureIndirectDesc | kFeatureEventIdx;

TEST_CASE("a chain is the driver's buffers as host memory, readable and writable apart") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, 0);
  Virtqueue ring = MakeRing(driver);
  CHECK(IsEmpty(ring));

  const uint64_t buffer = guest.Allocate(1000);
  const uint16_t head = ChainBuilder(driver)
                            .Readable(buffer, 16)
                            .Readable(buffer + 16, 512)
                            .Writable(buffer + 600, 1)
                            .Offer();
  DescriptorChain chain = PopOne(ring);
  CHECK(Lengths(chain.readable()) == Sizes{16, 512});
  CHECK(Lengths(chain.writable()) == Sizes{1});
  CHECK(chain.readable()[0].iov_base == guest.Host(buffer));
  CHECK(chain.readable()[1].iov_base == guest.Host(buffer + 16));
  CHECK(chain.writable()[0].iov_base == guest.Host(buffer + 600));
  CHECK(IsEmpty(ring));

  CHECK(!driver.TakeUsed().has_value());
  ring.Push(std::move(chain), 1);
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{head, 1});
  CHECK(!driver.TakeUsed().has_value());
}

TEST_CASE("chains are given back in any order") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, 0);
  Virtqueue ring = MakeRing(driver);
  const uint64_t buffer = guest.Allocate(16);
  const uint16_t first = ChainBuilder(driver).Writable(buffer, 1).Offer();
  const uint16_t second = ChainBuilder(driver).Writable(buffer + 1, 1).Offer();
  DescriptorChain a = PopOne(ring);
  DescriptorChain b = PopOne(ring);
  CHECK(a.slot() != b.slot());
  ring.Push(std::move(b), 7);
  ring.Push(std::move(a), 8);
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{second, 7});
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{first, 8});
}

TEST_CASE("Q-02: chains as long as the ring, and as long as seg_max + 2 in a short ring") {
  for (uint16_t size : {uint16_t{1}, uint16_t{4}, uint16_t{1024}, uint16_t{2048}}) {
    CAPTURE(size);
    FakeGuest guest;
    VirtqueueDriver driver(guest, size, kFeatureIndirectDesc);
    Virtqueue ring = MakeRing(driver);
    const uint64_t buffer = guest.Allocate(4096);
    ChainBuilder(driver).WritablePieces(buffer, size, 1).Offer();
    DescriptorChain direct = PopOne(ring);
    CHECK(direct.writable().size() == size);
    CHECK(direct.writable()[size - 1].iov_base == guest.Host(buffer + size - 1));
    ring.Push(std::move(direct), 0);
    driver.TakeUsed();

    const uint32_t longest = std::max<uint32_t>(size, 1024);
    ChainBuilder(driver).Indirect().WritablePieces(buffer, longest, 1).Offer();
    DescriptorChain indirect = PopOne(ring);
    CHECK(indirect.writable().size() == longest);
    CHECK(indirect.writable()[longest - 1].iov_base == guest.Host(buffer + longest - 1));
    ring.Push(std::move(indirect), 0);
  }
}

TEST_CASE("Q-04: the WRITE flag of the descriptor of an indirect table means nothing") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kFeatureIndirectDesc);
  Virtqueue ring = MakeRing(driver);
  const uint64_t buffer = guest.Allocate(32);
  const uint16_t head =
      ChainBuilder(driver).Indirect().Readable(buffer, 16).Writable(buffer + 16, 1).Write();
  RingDescriptor descriptor = driver.GetDescriptor(head);
  descriptor.flags |= RingDescriptor::kWrite;
  driver.SetDescriptor(head, descriptor);
  driver.Offer(head);
  DescriptorChain chain = PopOne(ring);
  CHECK(Lengths(chain.readable()) == Sizes{16});
  CHECK(Lengths(chain.writable()) == Sizes{1});
  ring.Push(std::move(chain), 1);
}

TEST_CASE("Q-05: direct descriptors may come before an indirect table") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kFeatureIndirectDesc);
  Virtqueue ring = MakeRing(driver);
  const uint64_t buffer = guest.Allocate(64);
  ChainBuilder(driver)
      .Readable(buffer, 10)
      .Readable(buffer + 10, 6)
      .Indirect()
      .Readable(buffer + 16, 3)
      .Writable(buffer + 20, 5)
      .Offer();
  DescriptorChain chain = PopOne(ring);
  CHECK(Lengths(chain.readable()) == Sizes{10, 6, 3});
  CHECK(Lengths(chain.writable()) == Sizes{5});
  ring.Push(std::move(chain), 0);
}

TEST_CASE("Q-06: `next` of a last descriptor is not looked at") {
  // ChainBuilder leaves 0xffff there, in direct chains and in tables.
  FakeGuest guest;
  VirtqueueDriver driver(guest, 2, kFeatureIndirectDesc);
  Virtqueue ring = MakeRing(driver);
  const uint16_t head = ChainBuilder(driver).Writable(guest.Allocate(1), 1).Offer();
  REQUIRE(driver.GetDescriptor(head).next == 0xffff);
  CHECK(BrokenBecause(ring) == "");
}

TEST_CASE("an indirect table may be at any address") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 2, kFeatureIndirectDesc);
  Virtqueue ring = MakeRing(driver);
  const uint64_t buffer = guest.Allocate(16);
  const uint64_t table = guest.Allocate(64) + 3;
  guest.Store(table, RingDescriptor{buffer, 9, RingDescriptor::kWrite, 0});
  ChainBuilder(driver).Raw({table, 16, RingDescriptor::kIndirect, 0}).Offer();
  DescriptorChain chain = PopOne(ring);
  CHECK(Lengths(chain.writable()) == Sizes{9});
  ring.Push(std::move(chain), 0);
}

TEST_CASE("H-10: empty descriptors are skipped, whatever their address") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, 0);
  Virtqueue ring = MakeRing(driver);
  const uint64_t buffer = guest.Allocate(64);
  ChainBuilder(driver)
      .Readable(0, 0)
      .Readable(buffer, 16)
      .Readable(~uint64_t{0}, 0)
      .Writable(buffer + 16, 0)
      .Writable(buffer + 16, 2)
      .Readable(buffer, 0)
      .Writable(0xdead0000, 0)
      .Offer();
  DescriptorChain chain = PopOne(ring);
  CHECK(Lengths(chain.readable()) == Sizes{16});
  CHECK(Lengths(chain.writable()) == Sizes{2});
  ring.Push(std::move(chain), 0);
}

TEST_CASE("H-07: a buffer over two regions that touch becomes two elements") {
  std::vector<std::byte> low(64_KiB), high(64_KiB);
  // The driver's own memory is copied into the two regions at the end.
  FakeGuest guest(128_KiB);
  VirtqueueDriver driver(guest, 4, 0);
  const uint64_t border = FakeGuest::kBase + 64_KiB;
  ChainBuilder(driver)
      .Readable(border - 10, 30)
      .Writable(border - 1, 1)
      .Writable(border, 1)
      .Offer();
  std::memcpy(low.data(), guest.Host(FakeGuest::kBase), low.size());
  GuestMemory memory({{FakeGuest::kBase, low}, {border, high}});

  Result<Virtqueue> ring = Virtqueue::Create(memory, driver.config(), 0);
  REQUIRE(ring.has_value());
  DescriptorChain chain = PopOne(*ring);
  REQUIRE(Lengths(chain.readable()) == Sizes{10, 20});
  CHECK(chain.readable()[0].iov_base == low.data() + low.size() - 10);
  CHECK(chain.readable()[1].iov_base == high.data());
  CHECK(Lengths(chain.writable()) == Sizes{1, 1});
  ring->Push(std::move(chain), 0);
}

// --- Rings that cannot be trusted ---

struct HostileRow {
  const char* name;
  uint64_t features;
  std::function<void(VirtqueueDriver&)> attack;
  const char* reason;  // part of the error
};

// Each on a ring of 8.
const HostileRow kHostileRows[] = {
    {"H-01: head beyond the table", kBoth, [](VirtqueueDriver& d) { d.Offer(8); }, "head 8"},
    {"H-01: largest head", kBoth, [](VirtqueueDriver& d) { d.Offer(0xffff); }, "head 65535"},
    {"H-02: next beyond the table", kBoth,
     [](VirtqueueDriver& d) {
       d.SetDescriptor(0, {FakeGuest::kBase, 1, RingDescriptor::kNext, 8});
       d.Offer(0);
     },
     "next descriptor 8 in a table of 8"},
    {"H-02: next beyond the indirect table, though within the ring", kBoth,
     [](VirtqueueDriver& d) {
       const uint64_t table =
           d.guest().Place(RingDescriptor{FakeGuest::kBase, 1, RingDescriptor::kNext, 1});
       ChainBuilder(d).Raw({table, 16, RingDescriptor::kIndirect, 0}).Offer();
     },
     "next descriptor 1 in a table of 1"},
    {"H-03: a descriptor that follows itself", kBoth,
     [](VirtqueueDriver& d) {
       d.SetDescriptor(3, {FakeGuest::kBase, 1, RingDescriptor::kNext, 3});
       d.Offer(3);
     },
     "loop"},
    {"H-03: a loop of two, of empty buffers", kBoth,
     [](VirtqueueDriver& d) {
       d.SetDescriptor(3, {FakeGuest::kBase, 0, RingDescriptor::kNext, 4});
       d.SetDescriptor(4, {FakeGuest::kBase, 0, RingDescriptor::kNext, 3});
       d.Offer(3);
     },
     "loop"},
    {"H-03: a loop in an indirect table", kBoth,
     [](VirtqueueDriver& d) {
       const uint64_t table =
           d.guest().Place(RingDescriptor{FakeGuest::kBase, 1, RingDescriptor::kNext, 0});
       ChainBuilder(d).Raw({table, 16, RingDescriptor::kIndirect, 0}).Offer();
     },
     "loop"},
    {"H-04: 4 GiB in one chain", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder chain(d);
       chain.Indirect();
       for (int i = 0; i < 1024; ++i) chain.Writable(FakeGuest::kBase, 4_MiB);
       chain.Offer();
     },
     "4 GiB"},
    {"H-04: a table longer than the limit", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d).Raw({FakeGuest::kBase, 16 * 1025, RingDescriptor::kIndirect, 0}).Offer();
     },
     "indirect table of 16400 bytes"},
    {"H-05: indirect without negotiation", kFeatureEventIdx,
     [](VirtqueueDriver& d) { ChainBuilder(d).Indirect().Writable(FakeGuest::kBase, 1).Offer(); },
     "not negotiated"},
    {"H-05: indirect with NEXT", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d)
           .Raw({FakeGuest::kBase, 16, RingDescriptor::kIndirect, 0})
           .Writable(FakeGuest::kBase, 1)
           .Offer();
     },
     "indirect descriptor with flags 0x5"},
    {"H-05: indirect within indirect", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d).Indirect().Raw({FakeGuest::kBase, 16, RingDescriptor::kIndirect, 0}).Offer();
     },
     "in an indirect table"},
    {"H-06: empty table", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d).Raw({FakeGuest::kBase, 0, RingDescriptor::kIndirect, 0}).Offer();
     },
     "0 bytes"},
    {"H-06: table of 17 bytes", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d).Raw({FakeGuest::kBase, 17, RingDescriptor::kIndirect, 0}).Offer();
     },
     "17 bytes"},
    {"H-06: table of almost 4 GiB", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d).Raw({FakeGuest::kBase, 0xfffffff0, RingDescriptor::kIndirect, 0}).Offer();
     },
     "4294967280 bytes"},
    {"H-06: table outside of memory", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d).Raw({d.guest().end() - 16, 32, RingDescriptor::kIndirect, 0}).Offer();
     },
     "indirect table"},
    {"H-07: buffer below memory", kBoth,
     [](VirtqueueDriver& d) { ChainBuilder(d).Readable(0, 1).Offer(); }, "buffer at 0x0"},
    {"H-07: buffer over the end of memory", kBoth,
     [](VirtqueueDriver& d) { ChainBuilder(d).Writable(d.guest().end() - 1, 2).Offer(); },
     "is not in guest memory"},
    {"H-07: buffer that wraps past 2^64", kBoth,
     [](VirtqueueDriver& d) { ChainBuilder(d).Writable(~uint64_t{0} - 7, 0xffff).Offer(); },
     "is not in guest memory"},
    {"H-08: readable behind writable", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d).Writable(FakeGuest::kBase, 1).Readable(FakeGuest::kBase, 1).Offer();
     },
     "after a device-writable"},
    {"H-08: readable behind writable, in a table behind direct descriptors", kBoth,
     [](VirtqueueDriver& d) {
       ChainBuilder(d)
           .Writable(FakeGuest::kBase, 1)
           .Indirect()
           .Readable(FakeGuest::kBase, 1)
           .Offer();
     },
     "after a device-writable"},
    {"H-11: index more than the ring ahead", kBoth, [](VirtqueueDriver& d) { d.SetAvailIndex(9); },
     "8 ahead"},
    {"H-11: index moves backwards", kBoth, [](VirtqueueDriver& d) { d.SetAvailIndex(0xffff); },
     "65534 ahead"},
};

TEST_CASE("H-01 to H-11: a broken ring is found, stays broken and is not written to") {
  for (const HostileRow& row : kHostileRows) {
    SUBCASE(row.name) {
      FakeGuest guest;
      VirtqueueDriver driver(guest, 8, row.features);
      Virtqueue ring = MakeRing(driver);
      // One sound chain before is out meanwhile.
      const uint16_t sound = driver.TakeDescriptor();
      driver.SetDescriptor(sound, {FakeGuest::kBase, 1, RingDescriptor::kWrite, 0});
      driver.Offer(sound);
      DescriptorChain before = PopOne(ring);
      row.attack(driver);
      const std::string reason = BrokenBecause(ring);
      CAPTURE(reason);
      CHECK(reason.find(row.reason) != std::string::npos);

      const uint16_t used_before = driver.used_index();
      ring.Push(std::move(before), 1);
      CHECK(driver.used_index() == used_before);
      CHECK(!ring.NeedsInterrupt());
      CHECK(!ring.EnableDoorbell());
      ChainBuilder(driver).Writable(FakeGuest::kBase, 1).Offer();
      CHECK(BrokenBecause(ring) == reason);
    }
  }
}

TEST_CASE("H-11: more chains than descriptors, some of them out already") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, 0);
  Virtqueue ring = MakeRing(driver);
  driver.SetDescriptor(0, {FakeGuest::kBase, 1, RingDescriptor::kWrite, 0});
  driver.SetAvailIndex(4);
  std::vector<DescriptorChain> out;
  for (int i = 0; i < 4; ++i) out.push_back(PopOne(ring));
  driver.SetAvailIndex(5);
  CHECK(BrokenBecause(ring).find("1 ahead") != std::string::npos);
  for (DescriptorChain& chain : out) ring.Push(std::move(chain), 0);
}

TEST_CASE("H-13: one head that is offered twice is two chains with places of their own") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kFeatureIndirectDesc);
  Virtqueue ring = MakeRing(driver);
  const uint64_t buffer = guest.Allocate(64);
  const uint16_t head = ChainBuilder(driver).Indirect().WritablePieces(buffer, 40, 1).Offer();
  driver.Offer(head);
  DescriptorChain a = PopOne(ring);
  DescriptorChain b = PopOne(ring);
  CHECK(a.slot() != b.slot());
  CHECK(a.writable().data() != b.writable().data());
  ring.Push(std::move(a), 1);
  ring.Push(std::move(b), 2);
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{head, 1});
  CHECK(driver.TakeUsed() == VirtqueueDriver::Used{head, 2});
}

TEST_CASE("H-12: Create refuses sizes that are not powers of two up to 32768") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, 0);
  for (uint16_t size : {0, 3, 5, 255, 32769, 0xffff}) {
    QueueConfig config = driver.config();
    config.size = size;
    Result<Virtqueue> ring = Virtqueue::Create(guest.memory(), config, 0);
    REQUIRE(!ring.has_value());
    CHECK(ring.error().message.find(std::to_string(size)) != std::string::npos);
  }
}

TEST_CASE("H-12: Create refuses parts of a ring that are misaligned or outside of memory") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, kFeatureEventIdx);
  struct Row {
    uint64_t QueueConfig::*part;
    const char* name;
    uint64_t misaligned_by;
    uint64_t bytes;
  } rows[] = {
      {&QueueConfig::descriptor_address, "descriptor table", 8, 128},
      {&QueueConfig::driver_address, "available ring", 1, 22},
      {&QueueConfig::device_address, "used ring", 2, 70},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    auto error_at = [&](uint64_t address) {
      QueueConfig config = driver.config();
      config.*row.part = address;
      Result<Virtqueue> ring = Virtqueue::Create(guest.memory(), config, kFeatureEventIdx);
      return ring ? std::string() : ring.error().message;
    };
    CHECK(error_at(driver.config().*row.part) == "");
    CHECK(error_at(driver.config().*row.part + row.misaligned_by).find(row.name) == 0);
    CHECK(error_at(0).find(row.name) == 0);
    CHECK(error_at(~uint64_t{15}).find(row.name) == 0);
    // The last place where it fits, and the first where it does not.
    const uint64_t last = AlignDown(guest.end() - row.bytes, 16);
    CHECK(error_at(last) == "");
    CHECK(error_at(last + 16).find(row.name) == 0);
  }
}

TEST_CASE("H-12: the two bytes of EVENT_IDX need to exist only when it is negotiated") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, 0);
  QueueConfig config = driver.config();
  config.driver_address = guest.end() - 20;
  CHECK(Virtqueue::Create(guest.memory(), config, 0).has_value());
  CHECK(!Virtqueue::Create(guest.memory(), config, kFeatureEventIdx).has_value());
  config = driver.config();
  config.device_address = guest.end() - 68;
  CHECK(Virtqueue::Create(guest.memory(), config, 0).has_value());
  CHECK(!Virtqueue::Create(guest.memory(), config, kFeatureEventIdx).has_value());
}

TEST_CASE("H-12: a ring that lies on itself does no harm but to the guest") {
  FakeGuest guest;
  const uint64_t place = guest.Allocate(4096, 4096);
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    for (uint64_t i = 0; i < 4096; i += 4)
      guest.Store(place + i, static_cast<uint32_t>(random() & 0x7f));
    QueueConfig config{
        .size = 8, .descriptor_address = place, .driver_address = place, .device_address = place};
    Result<Virtqueue> ring = Virtqueue::Create(guest.memory(), config, kBoth);
    REQUIRE(ring.has_value());
    for (int i = 0; i < 20; ++i) BrokenBecause(*ring);
  }
}

// --- Notifications ---

TEST_CASE("Q-07: without EVENT_IDX the driver's flag decides over interrupts") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, 0);
  Virtqueue ring = MakeRing(driver);
  const uint64_t buffer = guest.Allocate(1);
  auto serve = [&] {
    ChainBuilder(driver).Writable(buffer, 1).Offer();
    ring.Push(PopOne(ring), 1);
    driver.TakeUsed();
  };
  CHECK(!ring.NeedsInterrupt());
  serve();
  CHECK(ring.NeedsInterrupt());
  CHECK(!ring.NeedsInterrupt());
  driver.SetAvailFlags(1);
  driver.SetUsedEvent(1);  // not read
  serve();
  CHECK(!ring.NeedsInterrupt());
  driver.SetAvailFlags(0);
  serve();
  serve();
  CHECK(ring.NeedsInterrupt());
}

TEST_CASE("Q-08: with EVENT_IDX an interrupt comes when used_event is passed, whatever the flag") {
  // before, pushed, used_event - before, interrupt
  struct Row {
    uint16_t before;
    int pushed;
    int event;
    bool interrupt;
  } rows[] = {
      {0, 1, 0, true},       {0, 1, 1, false},      {0, 1, -1, false},   {0, 3, 2, true},
      {0, 3, 3, false},      {0, 3, 0, true},       {5, 1, 0, true},     {5, 2, 100, false},
      {65535, 1, 0, true},   {65535, 2, 1, true},   {65534, 3, 1, true}, {65534, 3, 3, false},
      {65535, 4, -1, false}, {0, 4, 0x8000, false},
  };
  for (const Row& row : rows) {
    CAPTURE(row.before);
    CAPTURE(row.pushed);
    CAPTURE(row.event);
    FakeGuest guest;
    VirtqueueDriver driver(guest, 4, kFeatureEventIdx);
    Virtqueue ring = MakeRing(driver);
    driver.SetDescriptor(0, {FakeGuest::kBase, 0, RingDescriptor::kWrite, 0});
    driver.SetAvailFlags(1);  // ignored
    for (uint32_t i = 0; i < row.before; ++i) {
      driver.Offer(0);
      ring.Push(PopOne(ring), 0);
    }
    ring.NeedsInterrupt();
    driver.SetUsedEvent(static_cast<uint16_t>(row.before + row.event));
    for (int i = 0; i < row.pushed; ++i) {
      driver.Offer(0);
      ring.Push(PopOne(ring), 0);
    }
    CHECK(ring.NeedsInterrupt() == row.interrupt);
    CHECK(!ring.NeedsInterrupt());
  }
}

TEST_CASE("Q-11: without EVENT_IDX used.flags turns doorbells off and on") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, 0);
  Virtqueue ring = MakeRing(driver);
  ring.DisableDoorbell();
  CHECK(driver.used_flags() == 1);
  ChainBuilder(driver).Writable(guest.Allocate(1), 1).Offer();
  CHECK(!driver.NeedsDoorbell());
  CHECK(ring.EnableDoorbell());  // one is there already
  CHECK(driver.used_flags() == 0);
  ring.Push(PopOne(ring), 0);
  CHECK(!ring.EnableDoorbell());
  ChainBuilder(driver).Writable(guest.Allocate(1), 1).Offer();
  CHECK(driver.NeedsDoorbell());
}

TEST_CASE("Q-11: with EVENT_IDX avail_event asks for the next chain and used.flags stays 0") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 8, kFeatureEventIdx);
  Virtqueue ring = MakeRing(driver);
  CHECK(!ring.EnableDoorbell());
  ring.DisableDoorbell();
  CHECK(driver.used_flags() == 0);
  ChainBuilder(driver).Writable(guest.Allocate(1), 1).Offer();
  CHECK(driver.NeedsDoorbell());
  ring.Push(PopOne(ring), 0);
  ChainBuilder(driver).Writable(guest.Allocate(1), 1).Offer();
  CHECK(!driver.NeedsDoorbell());  // nobody asked since
  CHECK(ring.EnableDoorbell());
  CHECK(driver.avail_event() == 1);
  ring.Push(PopOne(ring), 0);
  CHECK(!ring.EnableDoorbell());
  CHECK(driver.avail_event() == 2);
}

TEST_CASE("H-24: garbage in flags and event indices loses nothing") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kBoth);
  Virtqueue ring = MakeRing(driver);
  std::mt19937 random(24);
  const uint64_t buffer = guest.Allocate(1);
  for (int i = 0; i < 1000; ++i) {
    driver.SetAvailFlags(static_cast<uint16_t>(random()));
    driver.SetUsedEvent(static_cast<uint16_t>(random()));
    const uint16_t head = ChainBuilder(driver).Writable(buffer, 1).Offer();
    CHECK(ring.EnableDoorbell());
    ring.Push(PopOne(ring), 1);
    ring.NeedsInterrupt();
    REQUIRE(driver.TakeUsed() == VirtqueueDriver::Used{head, 1});
  }
}

TEST_CASE("Q-15: indices wrap at 2^16, in rings of every size") {
  for (uint16_t size : {1, 2, 256, 32768}) {
    CAPTURE(size);
    FakeGuest guest;
    VirtqueueDriver driver(guest, size, kFeatureEventIdx);
    Virtqueue ring = MakeRing(driver);
    const uint64_t buffer = guest.Allocate(16);
    const uint32_t batch = std::min<uint32_t>(size, 1000);
    uint32_t wrong = 0, done = 0;
    for (; done < 140'000; done += batch) {
      std::vector<DescriptorChain> chains;
      std::vector<uint16_t> heads;
      for (uint32_t i = 0; i < batch; ++i) {
        heads.push_back(ChainBuilder(driver).Writable(buffer, 1 + i % 16).Offer());
      }
      for (uint32_t i = 0; i < batch; ++i) {
        Result<std::optional<DescriptorChain>> chain = ring.Pop();
        if (!chain || !*chain) continue;
        wrong += (*chain)->writable()[0].iov_len != 1 + i % 16;
        chains.push_back(std::move(**chain));
      }
      REQUIRE(chains.size() == batch);
      REQUIRE(IsEmpty(ring));
      REQUIRE(!ring.EnableDoorbell());
      driver.EnableInterrupt();
      for (uint32_t i = 0; i < batch; ++i) ring.Push(std::move(chains[i]), i);
      REQUIRE(ring.NeedsInterrupt());
      for (uint32_t i = 0; i < batch; ++i) {
        wrong += driver.TakeUsed() != VirtqueueDriver::Used{heads[i], i};
      }
    }
    CHECK(wrong == 0);
    CHECK(driver.free_descriptors() == size);
  }
}

TEST_CASE("Q-15: a ring of 32768 can be full") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 32768, 0);
  Virtqueue ring = MakeRing(driver);
  const uint64_t buffer = guest.Allocate(1);
  for (int i = 0; i < 32768; ++i) ChainBuilder(driver).Writable(buffer, 1).Offer();
  std::vector<DescriptorChain> chains;
  for (int i = 0; i < 32768; ++i) chains.push_back(PopOne(ring));
  CHECK(IsEmpty(ring));
  for (DescriptorChain& chain : chains) ring.Push(std::move(chain), 1);
  int used = 0;
  while (driver.TakeUsed()) ++used;
  CHECK(used == 32768);
}

TEST_CASE("a ring may be moved while chains are out") {
  FakeGuest guest;
  VirtqueueDriver driver(guest, 4, kFeatureIndirectDesc);
  Virtqueue ring = MakeRing(driver);
  ChainBuilder(driver).Indirect().WritablePieces(guest.Allocate(64), 64, 1).Offer();
  DescriptorChain chain = PopOne(ring);
  Virtqueue moved = std::move(ring);
  CHECK(chain.writable().size() == 64);
  moved.Push(std::move(chain), 3);
  CHECK(driver.TakeUsed()->length == 3);
}

// Driver and device on two threads, each asleep until the other rings: a lost doorbell or interrupt
// would leave both asleep, and the test at its time limit.
void PingPong(uint64_t features) {
  constexpr int kChains = 25'000;
  FakeGuest guest;
  VirtqueueDriver driver(guest, 16, features);
  Virtqueue ring = MakeRing(driver);
  Result<EventFd> doorbell = EventFd::Create();
  Result<EventFd> interrupt = EventFd::Create();
  REQUIRE((doorbell && interrupt));
  auto wait = [](const EventFd& event) {
    pollfd poll_fd{event.fd(), POLLIN, 0};
    ::poll(&poll_fd, 1, -1);
    event.Drain();
  };

  std::thread device([&] {
    for (int served = 0; served < kChains;) {
      if (!ring.EnableDoorbell()) wait(*doorbell);
      ring.DisableDoorbell();
      for (;;) {
        auto chain = ring.Pop();
        if (!chain || !*chain) break;
        std::byte* target = static_cast<std::byte*>((*chain)->writable()[0].iov_base);
        *target = *static_cast<std::byte*>((*chain)->readable()[0].iov_base);
        ring.Push(std::move(**chain), 1);
        ++served;
      }
      if (ring.NeedsInterrupt()) interrupt->Notify();
    }
  });

  std::vector<uint64_t> idle;
  std::vector<uint64_t> buffers(16);  // by head or id
  for (int i = 0; i < 8; ++i) idle.push_back(guest.Allocate(2));
  std::mt19937 random(42);
  int offered = 0, wrong = 0;
  for (int returned = 0; returned < kChains;) {
    const int burst = 1 + static_cast<int>(random() % 8);
    for (int i = 0; i < burst && !idle.empty() && offered < kChains; ++i, ++offered) {
      const uint64_t buffer = idle.back();
      idle.pop_back();
      guest.Store(buffer, static_cast<uint8_t>(offered));
      guest.Store(buffer + 1, static_cast<uint8_t>(~offered));
      buffers[ChainBuilder(driver).Readable(buffer, 1).Writable(buffer + 1, 1).Offer()] = buffer;
    }
    if (driver.NeedsDoorbell()) doorbell->Notify();
    if (!driver.EnableInterrupt()) wait(*interrupt);
    while (auto used = driver.TakeUsed()) {
      const uint64_t buffer = buffers[used->id];
      wrong += guest.Load<uint8_t>(buffer) != guest.Load<uint8_t>(buffer + 1);
      idle.push_back(buffer);
      ++returned;
    }
  }
  device.join();
  CHECK(wrong == 0);
}

TEST_CASE("Q-09, Q-11: no doorbell and no interrupt is lost between two threads, with flags") {
  PingPong(0);
}
TEST_CASE("Q-11: no doorbell and no interrupt is lost between two threads, with EVENT_IDX") {
  PingPong(kFeatureEventIdx);
}
TEST_CASE("K-06: no doorbell and no interrupt is lost in a packed ring, with and without events") {
  SUBCASE("flags") { PingPong(kFeatureRingPacked); }
  SUBCASE("EVENT_IDX") { PingPong(kFeatureRingPacked | kFeatureEventIdx); }
}

}  // namespace
}  // namespace minivmm
