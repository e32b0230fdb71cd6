// Device reset with requests in flight, many times over, as a guest that reboots in the middle of
// its I/O does it. The disk completes late, in any order, each request on its own I/O thread.
// MINIVMM_RESET_ROUNDS=N sets the number of rounds.
#include <dirent.h>
#include <doctest/doctest.h>
#include <sanitizer/asan_interface.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/fake_block_node.h"
#include "devices/virtio_blk_driver.h"

namespace {
std::atomic<long> live_allocations = 0;
}

// Not inline: with one of a pair inlined, GCC takes malloc and delete (or new and free) for a
// mistake.
[[gnu::noinline]] void* operator new(size_t bytes) {
  if (void* memory = std::malloc(bytes)) {
    ++live_allocations;
    return memory;
  }
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  if (memory != nullptr) --live_allocations;
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace minivmm {
namespace {

constexpr uint16_t kQueues = 4;
constexpr int kPerQueue = 16;
constexpr int kInFlight = kQueues * kPerQueue;
constexpr uint64_t kZoneBytes = 64_KiB;
constexpr uint32_t kZones = 300;

int Rounds() {
  const char* rounds = std::getenv("MINIVMM_RESET_ROUNDS");
  return rounds == nullptr ? 300 : std::atoi(rounds);
}

long CountEntries(const char* directory) {
  long count = 0;
  DIR* open = ::opendir(directory);
  REQUIRE(open != nullptr);
  while (::readdir(open) != nullptr) ++count;
  ::closedir(open);
  return count;
}

// What a leak would make grow.
struct Held {
  long descriptors = CountEntries("/proc/self/fd");
  long threads = CountEntries("/proc/self/task");
  long allocations = live_allocations;
  bool operator==(const Held&) const = default;
};

BlockLimits Limits() {
  BlockLimits limits;
  limits.capacity_bytes = kZones * kZoneBytes;
  limits.zoned = ZonedModel::kHostManaged;
  limits.zone_size_bytes = kZoneBytes;
  limits.zone_count = kZones;
  limits.max_append_bytes = 32_KiB;
  limits.write_granularity_bytes = 4096;
  return limits;
}

// Touches every byte of the request's buffers when it completes; a report never has all zones.
BlockStatus Touch(BlockRequest& request) {
  static std::array<std::byte, 4096> seen;
  for (const iovec& buffer : request.buffers) {
    auto* bytes = static_cast<std::byte*>(buffer.iov_base);
    if (request.op == BlockOp::kRead) {
      std::memset(bytes, 0x11, buffer.iov_len);
    } else {
      REQUIRE(buffer.iov_len <= seen.size());
      std::memcpy(seen.data(), bytes, buffer.iov_len);
    }
  }
  request.appended_at_bytes = request.offset_bytes;
  uint64_t start_bytes = AlignDown(request.offset_bytes, kZoneBytes);
  for (ZoneDescriptor& zone : request.zones) {
    if (start_bytes >= kZones * kZoneBytes) break;
    zone = {.start_bytes = start_bytes,
            .length_bytes = kZoneBytes,
            .capacity_bytes = kZoneBytes,
            .write_pointer_bytes = start_bytes,
            .type = ZoneType::kSequentialRequired,
            .condition = ZoneCondition::kEmpty};
    start_bytes += kZoneBytes;
    ++request.zones_reported;
  }
  return BlockStatus::kOk;
}

// Completes what a disk holds, in random order, between Start and Stop. One thread for all rounds:
// the system counts one that was joined a little longer.
class Releaser {
 public:
  explicit Releaser(FakeBlockNode& disk) : disk_(disk), thread_([this] { Run(); }) {}
  ~Releaser() {
    ended_ = true;
    Start();
    thread_.join();
  }
  // H-14: while it runs, doorbells ring all the time.
  void RingAll(VirtioBlkDriver& driver) { driver_ = &driver; }
  void Start() {
    running_ = true;
    running_.notify_one();
  }
  void Stop() {
    std::lock_guard lock(mutex_);
    running_ = false;
  }

 private:
  void Run() {
    std::minstd_rand random(1);
    for (;;) {
      running_.wait(false);
      if (ended_) return;
      {
        std::lock_guard lock(mutex_);
        const size_t count = running_ ? disk_.held().size() : 0;
        if (count != 0) disk_.Complete(random() % count);
        if (running_) {
          for (auto& queue : driver_->queues) queue->doorbell.Notify();
        }
      }
      std::this_thread::yield();
    }
  }

  FakeBlockNode& disk_;
  VirtioBlkDriver* driver_ = nullptr;
  std::mutex mutex_;
  std::atomic<bool> running_ = false;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

void OfferOne(VirtioBlkDriver& driver, int kind, int queue) {
  switch (kind) {
    case 0:
      driver.Offer(Header(kBlkTypeIn, 0), 1025, queue, 300);
      return;
    case 1:
      driver.Offer(Header(kBlkTypeOut, 0) + Bytes(1024, 0x33), 1, queue, 300);
      return;
    case 2:
      driver.Offer(Header(kBlkTypeFlush, 0), 1, queue);
      return;
    case 3:
      driver.Offer(Header(kBlkTypeZoneAppend, 0) + Bytes(4096, 0x44), 16, queue);
      return;
    case 4:
      driver.Offer(Header(kBlkTypeZoneReset, 0), 1, queue);
      return;
    default:
      // Goes on with its second slice while the device resets.
      driver.Offer(Header(kBlkTypeZoneReport, 0), 64 + 64 * 100 + 1, queue);
      return;
  }
}
constexpr int kKinds = 6;

void ResetManyTimes(bool packed) {
  const int rounds = Rounds();
  FakeBlockNode disk(Limits(), Touch);
  Releaser releaser(disk);
  VirtioBlkDriver driver(disk,
                         {.name = "d", .num_queues = kQueues, .queue_size = 64, .packed = packed});
  releaser.RingAll(driver);
  // Rings and buffers of two successive rounds lie in different halves.
  const uint64_t half_bytes = (driver.guest.end() - FakeGuest::kBase) / 2;
  const Bytes poison(half_bytes, 0xa5);
  auto half_start = [&](int round) { return FakeGuest::kBase + (round % 2) * half_bytes; };
  // From now on a write shows, and with the address sanitizer a read as well.
  auto lay_poison = [&](int round) {
    std::memcpy(driver.guest.Host(half_start(round)), poison.data(), half_bytes);
    ASAN_POISON_MEMORY_REGION(driver.guest.Host(half_start(round)), half_bytes);
  };
  auto is_poison = [&](int round) {
    ASAN_UNPOISON_MEMORY_REGION(driver.guest.Host(half_start(round)), half_bytes);
    return std::memcmp(driver.guest.Host(half_start(round)), poison.data(), half_bytes) == 0;
  };

  // Every slot has seen every kind of request then, and has what it keeps.
  constexpr int kWarmUp = 2 * kKinds;
  std::optional<Held> before;
  for (int round = 0; round < kWarmUp + rounds; ++round) {
    CAPTURE(round);
    if (round == kWarmUp) before.emplace();
    driver.NewRings(VirtioBlkDriver::kAllRing, half_start(round));
    for (int i = 0; i < kInFlight; ++i) {
      OfferOne(driver, (i / kQueues + round) % kKinds, i % kQueues);
    }
    REQUIRE(driver.guest.mark() <= half_start(round) + half_bytes);
    driver.Activate();
    while (disk.held().size() < kInFlight) std::this_thread::yield();
    releaser.Start();
    driver.device->Reset();
    REQUIRE(disk.held().empty());
    for (auto& queue : driver.queues) {
      queue->interrupt.Drain();
      REQUIRE(queue->ring->used_index() == kPerQueue);
    }
    lay_poison(round);
    releaser.Stop();
    for (auto& queue : driver.queues) {
      queue->ring.reset();
      queue->doorbell.Notify();
    }
    // The round before had all of this one to go on in.
    if (round > 0) REQUIRE(is_poison(round - 1));
    // P-29: the reset was the end of interrupts, too.
    for (auto& queue : driver.queues) REQUIRE(!queue->interrupt.IsSet());
    disk.ClearLog();
  }
  REQUIRE(is_poison(kWarmUp + rounds - 1));
  CHECK(!driver.needs_reset.event.IsSet());

  const Held after;
  CHECK(after.descriptors == before->descriptors);
  CHECK(after.threads == before->threads);
  CHECK(after.allocations == before->allocations);
  std::printf(
      "%d rounds, %s rings: %ld descriptors, %ld threads, %ld allocations before and %ld after\n",
      rounds, packed ? "packed" : "split", after.descriptors, after.threads, before->allocations,
      after.allocations);
}

TEST_CASE("P-07, H-15: resets with 64 requests in flight on 4 queues leak nothing, split rings") {
  ResetManyTimes(false);
}

TEST_CASE("P-07, H-15: resets with 64 requests in flight on 4 queues leak nothing, packed rings") {
  ResetManyTimes(true);
}

}  // namespace
}  // namespace minivmm
