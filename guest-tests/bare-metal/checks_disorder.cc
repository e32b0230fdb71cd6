// Checks with drivers that keep no order: they change memory under the device's eyes, reset it in
// the midst of requests, enter a chain twice. Unlike the ones of checks_hostile.cc, some of these
// depend on who is faster; each tries many times (conformance checklist 2.1.2, 2.7.8, 2.4).

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

BlkHeader header;
uint8_t status;

// Numbers without a pattern, the same in each run.
uint32_t Noise() {
  static uint32_t state = 1;
  state ^= state << 13;
  state ^= state >> 17;
  state ^= state << 5;
  return state;
}

// A read of the disk's first block that waits to be published; returns its head.
uint16_t PlaceRead(Disk& disk) {
  header = {kIn, 0, 0};
  status = kStatusNotWritten;
  const Segment segments[] = {Readable(&header, sizeof(header)), Writable(read_buffer, kBlockBytes),
                              Writable(&status, 1)};
  const uint16_t head = disk.queue(0).Place(segments, 3);
  disk.SubmitChain(nullptr, head);
  return head;
}

void Kick(Disk& disk) {
  disk.queue(0).Publish();
  disk.pci().Notify(0);
}

// Looks at the ring without a pause, so that nothing lies between a used element and a look at what
// it stands for. False: the device took longer than the time that all checks have.
template <typename Look>
bool Spin(Look look) {
  const uint64_t end = Ticks() + kTimeoutTicks;
  for (uint64_t spins = 1; !look(); ++spins) {
    if (spins % 4096 != 0) continue;
    TakePendingInterrupts();
    if (Ticks() >= end) return false;
  }
  return true;
}

void UsedElementsComeAfterTheirData(Disk& disk) {
  constexpr uint32_t kWords = kBlockBytes / sizeof(uint64_t);
  static uint64_t content[kWords];
  auto* words = reinterpret_cast<volatile uint64_t*>(read_buffer);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
  __builtin_memcpy(content, read_buffer, kBlockBytes);
  for (uint32_t round = 0; round < 500; ++round) {
    const uint32_t watched = Noise() % kWords;
    words[watched] = ~content[watched];
    words[kWords - 1] = ~content[kWords - 1];
    PlaceRead(disk);
    Kick(disk);
    const bool was_used = Spin([&] { return disk.queue(0).HasUsed(); });
    const uint8_t status_then = *const_cast<volatile uint8_t*>(&status);
    const uint64_t last_then = words[kWords - 1];
    const uint64_t watched_then = words[watched];
    const UsedElement element = disk.queue(0).TakeUsed();
    REQUIRE(was_used);
    REQUIRE_EQ(status_then, kOk);
    REQUIRE_EQ(last_then, content[kWords - 1]);
    REQUIRE_EQ(watched_then, content[watched]);
    REQUIRE_EQ(element.bytes, kBlockBytes + 1);
  }
}

// Wrong, each in its way, but in sound rings.
void BadRequestsBreakNothing(Disk& disk) {
  const Segment odd = Writable(read_buffer, 100);
  const Segment none = Writable(read_buffer, kBlockBytes);
  REQUIRE(disk.Command(99, 0) != kOk);
  REQUIRE(disk.Command(~uint32_t{0}, ~uint64_t{0}) != kOk);
  REQUIRE(disk.Run(kIn, 0, &odd, 1) != kOk);
  REQUIRE(disk.Run(kIn, disk.capacity_sectors(), &none, 1) != kOk);
  REQUIRE(disk.Run(kSecureErase, 0, &none, 1) != kOk);
  REQUIRE(disk.Command(kZoneReport, ~uint64_t{0}) != kOk);
  REQUIRE(disk.Command(kZoneOpen, 1) != kOk);
  REQUIRE(!disk.NeedsReset());
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

void BrokenQueueTakesNothingMore(Disk& disk) {
  const Segment segments[] = {Writable(read_buffer, 1), Readable(write_buffer, 16)};
  disk.SubmitChain(nullptr, disk.queue(0).Place(segments, 2));
  Kick(disk);
  disk.RequireNeedsReset();
  PlaceRead(disk);
  Kick(disk);
  WaitForStragglers();
  REQUIRE_EQ(status, kStatusNotWritten);
  RequireWorksAfterReset(disk);
}

// A write of several GiB, all of which are there to be read: the same memory again and again.
void MoreBytesThanTheDiskHas(Disk& disk) {
  constexpr uint64_t kPlace = 0x10'0000;
  constexpr uint32_t kBytes = 31 * 0x10'0000;
  const uint16_t places = disk.queue(0).size() < kMaxSegments ? disk.queue(0).size() : kMaxSegments;
  static Segment segments[kMaxSegments];
  header = {kOut, 0, 0};
  status = kStatusNotWritten;
  segments[0] = Readable(&header, sizeof(header));
  for (uint16_t i = 1; i + 1 < places; ++i) segments[i] = {kPlace, kBytes, false};
  segments[places - 1] = Writable(&status, 1);
  disk.SubmitChain(nullptr, disk.queue(0).Place(segments, places));
  Kick(disk);
  const bool answered = WaitFor([&] { return disk.NeedsReset() || disk.queue(0).HasUsed(); });
  REQUIRE(answered);
  REQUIRE(status != kOk);
  RequireWorksAfterReset(disk);
}

void OneChainTwice(Disk& disk) {
  for (int round = 0; round < 20; ++round) {
    disk.queue(0).Push(PlaceRead(disk));
    Kick(disk);
    const bool answered =
        WaitFor([&] { return disk.NeedsReset() || disk.queue(0).UsedCount() == 2; });
    REQUIRE(answered);
    if (!disk.NeedsReset()) REQUIRE_EQ(status, kOk);
    RequireWorksAfterReset(disk);
  }
}

// Any moment in the life of the requests: before they are seen, while they are read, when they are
// done.
void Loiter() {
  for (uint32_t left = Noise() % 4'000; left > 0; --left) CompilerBarrier();
}

constexpr int kResets = 8;
constexpr uint16_t kReadsInFlight = 4;  // of each queue
Request requests[kMaxQueues][kReadsInFlight];

void SubmitReadsEverywhere(Disk& disk) {
  const Segment data = Writable(read_buffer, kBlockBytes);
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
    for (Request& request : requests[queue]) disk.Submit(&request, kIn, 0, &data, 1, queue);
    disk.Kick(queue);
  }
}

// The memory is the driver's again, and stays as it leaves it.
void RequireUntouched() {
  constexpr uint8_t kMark = 0x5a;
  __builtin_memset(read_buffer, kMark, kBlockBytes);
  __builtin_memset(requests, kMark, sizeof(requests));
  WaitForStragglers();
  for (uint32_t i = 0; i < kBlockBytes; ++i) REQUIRE_EQ(read_buffer[i], kMark);
  const auto* bytes = reinterpret_cast<const volatile uint8_t*>(requests);
  for (uint32_t i = 0; i < sizeof(requests); ++i) REQUIRE_EQ(bytes[i], kMark);
}

void ResetsInTheMidstOfRequests(Disk& disk) {
  for (int round = 0; round < kResets; ++round) {
    disk.Start();
    SubmitReadsEverywhere(disk);
    Loiter();
    disk.pci().Reset();
    RequireUntouched();
  }
  RequireWorksAfterReset(disk);
}

void BusMasteringEndsInTheMidstOfRequests(Disk& disk) {
  const PciFunction& function = disk.pci().function();
  const uint16_t command = function.Read16(kPciCommand);
  for (int round = 0; round < kResets; ++round) {
    disk.Start();
    SubmitReadsEverywhere(disk);
    Loiter();
    function.WriteCommand(command & ~kPciCommandBusMaster);
    // When the write is done, so are the requests.
    __builtin_memset(read_buffer, 0x5a, kBlockBytes);
    WaitForStragglers();
    function.WriteCommand(command);
    for (uint32_t i = 0; i < kBlockBytes; ++i) REQUIRE_EQ(read_buffer[i], 0x5a);
    disk.pci().Reset();
  }
  RequireWorksAfterReset(disk);
}

// Which header the device sees is up to it; it must be one that it has judged.
void HeadersChangeWhileTheyAreRead(Disk& disk) {
  constexpr uint32_t kTypes[] = {kIn, kFlush, kGetId, 99};
  volatile BlkHeader& changing = header;
  for (uint32_t round = 0; round < 300; ++round) {
    PlaceRead(disk);
    Kick(disk);
    const bool answered = Spin([&] {
      changing.type = kTypes[Noise() % 4];
      changing.sector = uint64_t{Noise()} << (Noise() % 40);
      return disk.NeedsReset() || disk.queue(0).HasUsed();
    });
    REQUIRE(answered);
    REQUIRE(!disk.NeedsReset());
    REQUIRE(status == kOk || status == kIoError || status == kUnsupported);
    (void)disk.queue(0).TakeUsed();
  }
  RequireWorksAfterReset(disk);
}

// The data's place and length change between good ones and ones outside the memory: what was judged
// must be what is used, or the ring breaks. Nothing is written where neither of them leads.
void DescriptorsChangeWhileTheyAreRead(Disk& disk) {
  for (uint32_t round = 0; round < 60; ++round) {
    const uint16_t head = PlaceRead(disk);
    volatile Descriptor& data = disk.queue(0).memory().descriptors[head + 1];
    read_buffer[kBlockBytes] = 0x5a;
    Kick(disk);
    const bool answered = Spin([&] {
      const uint32_t noise = Noise();
      data.address = (noise & 1) != 0 ? ~uint64_t{0xfff} : reinterpret_cast<uint64_t>(read_buffer);
      data.bytes = (noise & 2) != 0 ? kBlockBytes : kSectorBytes;
      return disk.NeedsReset() || disk.queue(0).HasUsed();
    });
    REQUIRE(answered);
    REQUIRE_EQ(read_buffer[kBlockBytes], 0x5a);
    if (disk.NeedsReset()) {
      disk.Start();
    } else {
      REQUIRE_EQ(status, kOk);
      (void)disk.queue(0).TakeUsed();
    }
  }
}

// What a driver may ask for with event indices and flags, and what it may not: the requests are
// done all the same.
void NoiseInEvents(Disk& disk) {
  for (uint32_t round = 0; round < 300; ++round) {
    Virtqueue& queue = disk.queue(0);
    PlaceRead(disk);
    queue.Publish();
    if (disk.IsPacked()) {
      queue.driver_event().descriptor = static_cast<uint16_t>(Noise());
      queue.driver_event().flags = static_cast<uint16_t>(Noise());
      queue.device_event().descriptor = static_cast<uint16_t>(Noise());
    } else {
      queue.used_event() = static_cast<uint16_t>(Noise());
      queue.avail_event() = static_cast<uint16_t>(Noise());
      volatile auto& available = queue.memory().available;
      available.flags = static_cast<uint16_t>(Noise());
    }
    disk.pci().Notify(0);
    const bool was_used = Spin([&] { return queue.HasUsed(); });
    REQUIRE(was_used);
    REQUIRE_EQ(status, kOk);
    (void)queue.TakeUsed();
  }
  RequireWorksAfterReset(disk);
}

const Check kChecks[] = {
    {"Q-09", "data and status are there when a used element appears", kNeedsStart | kNeedsKeptData,
     UsedElementsComeAfterTheirData},
    {"P-16", "wrong requests in a sound ring break nothing", kNeedsStart, BadRequestsBreakNothing},
    {"P-16", "a broken queue takes nothing more until a reset", kNeedsStart,
     BrokenQueueTakesNothingMore},
    {"H-04", "a write of more than 4 GiB", kNeedsStart, MoreBytesThanTheDiskHas},
    {"H-13", "one head twice", kNeedsStart | kNeedsSplit, OneChainTwice},
    {"H-15", "resets with requests in flight on all queues leave memory alone", kNeedsNothing,
     ResetsInTheMidstOfRequests},
    {"H-15", "without bus mastering no data is written to memory", kNeedsNothing,
     BusMasteringEndsInTheMidstOfRequests},
    {"H-22", "headers that change while they are read", kNeedsStart, HeadersChangeWhileTheyAreRead},
    {"H-22", "descriptors that change while they are read", kNeedsStart | kNeedsSplit,
     DescriptorsChangeWhileTheyAreRead},
    {"H-24", "noise in event indices and flags", kNeedsStart, NoiseInEvents},
};

}  // namespace

const CheckTable kDisorderChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
