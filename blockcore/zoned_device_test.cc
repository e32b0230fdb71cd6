// A zoned host device whose ioctls are this file's: what outlasts the requests is waited for.
#include "blockcore/zoned_device.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/blkzoned.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/units.h"
#include "blockcore/sync_request.h"

namespace {

std::atomic<bool> close_may_end{true};
std::atomic<bool> close_has_begun{false};
std::atomic<bool> close_has_ended{false};

}  // namespace

// All zone operations succeed; a close takes as long as the test wants.
extern "C" int ioctl(int, unsigned long command, ...) noexcept {
  if (command == BLKCLOSEZONE) {
    close_has_begun = true;
    close_has_begun.notify_one();
    close_may_end.wait(false);
    close_has_ended = true;
  }
  return 0;
}

namespace minivmm {
namespace {

std::vector<ZoneDescriptor> EmptyZones(uint64_t count) {
  std::vector<ZoneDescriptor> zones(count);
  for (uint64_t i = 0; i < count; ++i) {
    zones[i] = {.start_bytes = i * 1_MiB,
                .length_bytes = 1_MiB,
                .capacity_bytes = 1_MiB,
                .write_pointer_bytes = i * 1_MiB};
  }
  return zones;
}

struct Write : BlockRequest {
  Write(std::vector<std::byte>& data, uint64_t at_bytes, uint64_t bytes)
      : buffer{data.data(), bytes} {
    op = BlockOp::kWrite;
    offset_bytes = at_bytes;
    length_bytes = bytes;
    buffers = {&buffer, 1};
  }
  iovec buffer;
};

TEST_CASE("An implicit close that outlasts all requests is waited for by the I/O thread") {
  TemporaryFile file(4_MiB);
  UniqueFd fd(::open(file.path().c_str(), O_RDWR));
  const BlockLimits limits{.capacity_bytes = 4_MiB,
                           .zoned = ZonedModel::kHostManaged,
                           .zone_size_bytes = 1_MiB,
                           .zone_count = 4,
                           .max_open_zones = 2,
                           .max_append_bytes = 1_MiB,
                           .write_granularity_bytes = 512};
  DiskTransferOptions transfer{.filename = "disk", .fd = fd.get(), .zoned = true};
  ZonedDevice device(std::move(fd), transfer, *ZoneModel::Create(limits, EmptyZones(4)));
  auto thread = std::move(*IoThread::Start("test"));
  std::vector<std::byte> data(1_MiB);
  // Zones 0 and 1 are open; one block of zone 1 is left.
  for (auto [at_bytes, bytes] : {std::pair{0_MiB, 4_KiB}, std::pair{1_MiB, 1_MiB - 4_KiB}}) {
    Write write(data, at_bytes, bytes);
    REQUIRE(SubmitAndWait(*thread, device, write) == BlockStatus::kOk);
  }
  // Zone 2 needs zone 0 closed. But then zone 1 becomes full, which will do as well.
  close_may_end = false;
  Write last(data, 2_MiB - 4_KiB, 4_KiB), next(data, 2_MiB, 4_KiB);
  std::latch both{2};
  for (BlockRequest* request :
       {static_cast<BlockRequest*>(&next), static_cast<BlockRequest*>(&last)}) {
    request->PushCompletion(
        [](void* self, BlockRequest&) { static_cast<std::latch*>(self)->count_down(); }, &both);
  }
  thread->RunAndWait([&] {
    device.Submit(*thread, next);
    device.Submit(*thread, last);
  });
  both.wait();
  CHECK(last.status == BlockStatus::kOk);
  CHECK(next.status == BlockStatus::kOk);
  close_has_begun.wait(false);
  // Nobody waits for anything: the machine goes.
  std::thread slow_medium([] {
    ::usleep(50'000);
    close_may_end = true;
    close_may_end.notify_one();
  });
  thread.reset();
  CHECK(close_has_ended);
  slow_medium.join();
}

}  // namespace
}  // namespace minivmm
