#include "devices/virtio_blk.h"

#include <doctest/doctest.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/units.h"
#include "devices/virtio_blk_driver.h"
#include "devices/virtqueue_driver.h"

namespace minivmm {
namespace {

// This file is built twice, once for each layout of rings.
#ifdef MINIVMM_TEST_PACKED_RINGS
constexpr uint64_t kLayout = kFeatureRingPacked;
#else
constexpr uint64_t kLayout = 0;
#endif
constexpr uint64_t kAllRing = VirtioBlkDriver::kAllRing;
constexpr uint64_t kOfferedRing = kAllRing | kFeatureRingReset | kLayout;
constexpr uint64_t kVersion1 = VirtioBlkDriver::kVersion1;
constexpr uint64_t kZoneBytes = 64_KiB;

BlockLimits PlainLimits() {
  BlockLimits limits;
  limits.capacity_bytes = 1_MiB;
  limits.logical_block_bytes = 512;
  limits.physical_block_bytes = 4096;
  limits.discard = true;
  limits.discard_granularity_bytes = 4096;
  limits.write_zeroes = true;
  return limits;
}

BlockLimits ZonedLimits(uint32_t zones = 16) {
  BlockLimits limits;
  limits.capacity_bytes = zones * kZoneBytes;
  limits.zoned = ZonedModel::kHostManaged;
  limits.zone_size_bytes = kZoneBytes;
  limits.zone_count = zones;
  limits.max_open_zones = 8;
  limits.max_active_zones = 12;
  limits.max_append_bytes = 32_KiB;
  limits.write_granularity_bytes = 4096;
  return limits;
}

// A disk in memory, without a zone model: appends go where the zone's last one ended, reports say
// that all zones are empty. Completes at once, or keeps requests until they are released.
class TestDisk : public BlockNode {
 public:
  explicit TestDisk(const BlockLimits& limits_in)
      : limits_(limits_in), content_(limits_in.capacity_bytes) {}

  const BlockLimits& limits() const override { return limits_; }

  void Submit(IoThread& thread, BlockRequest& request) override {
    REQUIRE(thread.IsCurrent());
    std::lock_guard lock(mutex_);
    ops_.push_back(request.op);
    if (hold_) {
      held_.push_back({&thread, &request});
      held_event_.Notify();
      return;
    }
    Carry(request);
    thread.Complete(request);
  }

  void Hold() {
    std::lock_guard lock(mutex_);
    hold_ = true;
  }
  void WaitUntilHeld(size_t count) {
    while (held() < count) {
      pollfd poll_fd{held_event_.fd(), POLLIN, 0};
      ::poll(&poll_fd, 1, -1);
      held_event_.Drain();
    }
  }
  size_t held() {
    std::lock_guard lock(mutex_);
    return held_.size();
  }
  // Completes what was held, last first.
  void Release() {
    std::vector<std::pair<IoThread*, BlockRequest*>> held;
    {
      std::lock_guard lock(mutex_);
      hold_ = false;
      held.swap(held_);
    }
    std::reverse(held.begin(), held.end());
    for (auto [thread, request] : held) {
      thread->RunAndWait([&, thread = thread, request = request] {
        {
          std::lock_guard lock(mutex_);
          Carry(*request);
          ++released_;
        }
        thread->Complete(*request);
      });
    }
  }
  int released() {
    std::lock_guard lock(mutex_);
    return released_;
  }

  // From now on the operation fails so, after it succeeded `successes` times.
  void FailWith(BlockOp op, BlockStatus status, int successes = 0) {
    std::lock_guard lock(mutex_);
    failures_[op] = {status, successes};
  }
  std::vector<BlockOp> TakeOps() {
    std::lock_guard lock(mutex_);
    return std::exchange(ops_, {});
  }
  // Of the last write of zeroes.
  std::optional<bool> TakeMayUnmap() {
    std::lock_guard lock(mutex_);
    return std::exchange(may_unmap_, {});
  }

 private:
  void Carry(BlockRequest& request) {
    if (auto failure = failures_.find(request.op); failure != failures_.end()) {
      if (failure->second.second-- <= 0) {
        request.status = failure->second.first;
        return;
      }
    }
    switch (request.op) {
      case BlockOp::kRead:
      case BlockOp::kWrite:
        return Copy(request, request.offset_bytes);
      case BlockOp::kZoneAppend: {
        uint64_t& filled = appended_[request.offset_bytes / kZoneBytes];
        if (request.length_bytes > kZoneBytes - filled) {
          request.status = BlockStatus::kZoneInvalid;
          return;
        }
        request.appended_at_bytes = AlignDown(request.offset_bytes, kZoneBytes) + filled;
        filled += request.length_bytes;
        return Copy(request, request.appended_at_bytes);
      }
      case BlockOp::kZoneReport: {
        uint64_t start = AlignDown(request.offset_bytes, kZoneBytes);
        for (ZoneDescriptor& zone : request.zones) {
          if (start >= limits_.capacity_bytes) break;
          zone = {.start_bytes = start,
                  .length_bytes = kZoneBytes,
                  .capacity_bytes = kZoneBytes,
                  .write_pointer_bytes = start,
                  .type = ZoneType::kSequentialRequired,
                  .condition = ZoneCondition::kEmpty};
          start += kZoneBytes;
          ++request.zones_reported;
        }
        return;
      }
      case BlockOp::kWriteZeroes:
        std::memset(content_.data() + request.offset_bytes, 0, request.length_bytes);
        may_unmap_ = request.may_unmap;
        return;
      default:
        return;
    }
  }

  void Copy(BlockRequest& request, uint64_t offset) {
    uint64_t total = 0;
    for (const iovec& buffer : request.buffers) total += buffer.iov_len;
    REQUIRE(total == request.length_bytes);
    REQUIRE(RangeFits(offset, total, content_.size()));
    for (const iovec& buffer : request.buffers) {
      if (request.op == BlockOp::kRead) {
        std::memcpy(buffer.iov_base, content_.data() + offset, buffer.iov_len);
      } else {
        std::memcpy(content_.data() + offset, buffer.iov_base, buffer.iov_len);
      }
      offset += buffer.iov_len;
    }
  }

  const BlockLimits limits_;
  std::mutex mutex_;
  std::vector<std::byte> content_;
  std::map<uint64_t, uint64_t> appended_;  // by zone
  std::map<BlockOp, std::pair<BlockStatus, int>> failures_;
  std::vector<BlockOp> ops_;
  std::optional<bool> may_unmap_;
  bool hold_ = false;
  int released_ = 0;
  std::vector<std::pair<IoThread*, BlockRequest*>> held_;
  EventFd held_event_ = *EventFd::Create();
};

struct WithTestDisk {
  explicit WithTestDisk(const BlockLimits& limits) : disk(limits) {}
  TestDisk disk;
};

class Rig : public WithTestDisk, public VirtioBlkDriver {
 public:
  explicit Rig(const BlockLimits& limits, VirtioBlkOptions options = {.name = "d", .serial = "id0"})
      : WithTestDisk(limits), VirtioBlkDriver(disk, Layout(options)) {}
  ~Rig() { disk.Release(); }

 private:
  static VirtioBlkOptions Layout(VirtioBlkOptions options) {
    options.packed = kLayout != 0;
    return options;
  }
};

// --- Identity, features, configuration ---

TEST_CASE("B-19, Z-01, Z-13: a plain disk offers no zones, a host-managed one no discard") {
  Rig plain(PlainLimits());
  CHECK(plain.device->device_id() == 2);
  CHECK(plain.device->offered_features() ==
        (kBlkFeatureSizeMax | kBlkFeatureSegMax | kBlkFeatureBlockSize | kBlkFeatureFlush |
         kBlkFeatureTopology | kBlkFeatureDiscard | kBlkFeatureWriteZeroes | kBlkFeatureConfigWce |
         kOfferedRing));
  CHECK(plain.Config<uint32_t>(36) == 2_GiB / 512);
  CHECK(plain.Config<uint32_t>(40) == 1);
  CHECK(plain.Config<uint32_t>(44) == 8);
  CHECK(plain.Config<uint32_t>(48) == 2_GiB / 512);
  CHECK(plain.Config<uint32_t>(52) == 1);
  CHECK(plain.Config<uint8_t>(56) == 1);

  // Z-13
  BlockLimits limits = ZonedLimits();
  limits.discard = true;
  limits.write_zeroes = true;
  Rig zoned(limits);
  CHECK(zoned.device->offered_features() ==
        (kBlkFeatureSizeMax | kBlkFeatureSegMax | kBlkFeatureBlockSize | kBlkFeatureFlush |
         kBlkFeatureTopology | kBlkFeatureZoned | kBlkFeatureConfigWce | kOfferedRing));
  CHECK(zoned.Config<uint32_t>(36) == 0);
  CHECK(zoned.Config<uint32_t>(48) == 0);

  limits = PlainLimits();
  limits.read_only = true;
  Rig read_only(limits, {.name = "d", .num_queues = 2});
  CHECK(read_only.device->offered_features() ==
        (kBlkFeatureSizeMax | kBlkFeatureSegMax | kBlkFeatureBlockSize | kBlkFeatureFlush |
         kBlkFeatureTopology | kBlkFeatureReadOnly | kBlkFeatureMultiQueue | kBlkFeatureConfigWce |
         kOfferedRing));
}

TEST_CASE("B-03, Z-05 to Z-11: the configuration space, field by field") {
  Rig rig(ZonedLimits(), {.name = "d", .num_queues = 3, .queue_size = 128});
  CHECK(rig.device->config_bytes() == 96);
  CHECK(rig.device->queue_max_sizes().size() == 3);
  CHECK(rig.device->queue_max_sizes()[2] == 128);
  CHECK(rig.Config<uint64_t>(0) == 16 * 128);
  CHECK(rig.Config<uint32_t>(8) >= 4096);  // size_max
  CHECK(rig.Config<uint32_t>(12) == 126);  // seg_max
  CHECK(rig.Config<uint32_t>(20) == 512);
  CHECK(rig.Config<uint8_t>(24) == 0);
  CHECK(rig.Config<uint8_t>(32) == 1);
  CHECK(rig.Config<uint16_t>(34) == 3);
  CHECK(rig.Config<uint32_t>(72) == 128);
  CHECK(rig.Config<uint32_t>(76) == 8);
  CHECK(rig.Config<uint32_t>(80) == 12);
  CHECK(rig.Config<uint32_t>(84) == 64);
  CHECK(rig.Config<uint32_t>(88) == 4096);
  CHECK(rig.Config<uint8_t>(92) == 1);
  for (uint64_t unused : {33, 57, 58, 59, 93, 94, 95}) CHECK(rig.Config<uint8_t>(unused) == 0);
  // P-01, in halves and out of line.
  CHECK(rig.Config<uint32_t>(0) == 16 * 128);
  CHECK(rig.Config<uint32_t>(4) == 0);
  CHECK(rig.Config<uint16_t>(1) == (16 * 128) >> 8);
}

TEST_CASE("physical blocks larger than logical ones are an exponent") {
  Rig rig(PlainLimits());
  CHECK(rig.Config<uint8_t>(24) == 3);
  CHECK(rig.Config<uint16_t>(26) == 8);
}

TEST_CASE("B-07: write_zeroes_may_unmap is 1 where space is given back, else 0") {
  BlockLimits limits = PlainLimits();
  CHECK(Rig(limits).Config<uint8_t>(56) == 1);
  limits.discard = false;
  CHECK(Rig(limits).Config<uint8_t>(56) == 0);
}

TEST_CASE("properties take features away") {
  Rig rig(PlainLimits(), {.name = "d",
                          .config_wce = false,
                          .discard = false,
                          .write_zeroes = false,
                          .event_idx = false,
                          .indirect_desc = false,
                          .queue_reset = false});
  CHECK(rig.device->offered_features() ==
        (kBlkFeatureSizeMax | kBlkFeatureSegMax | kBlkFeatureBlockSize | kBlkFeatureFlush |
         kBlkFeatureTopology | kLayout));
  CHECK(rig.Config<uint32_t>(36) == 0);
  CHECK(rig.Config<uint32_t>(48) == 0);
}

TEST_CASE("B-18: seg_max follows the ring's size, or is 126 where that fits") {
  auto seg_max = [](uint16_t queue_size, bool adjust) {
    return Rig(PlainLimits(), {.name = "d", .queue_size = queue_size, .seg_max_adjust = adjust})
        .Config<uint32_t>(12);
  };
  CHECK(seg_max(256, true) == 254);
  CHECK(seg_max(1024, true) == 1022);
  CHECK(seg_max(256, false) == 126);
  CHECK(seg_max(128, false) == 126);
  CHECK(seg_max(64, false) == 62);
}

TEST_CASE("the guest is told the block sizes of the properties") {
  struct Row {
    uint32_t logical, physical;  // properties
    uint32_t told;
    uint8_t exponent;
    uint32_t discard_sectors;
  } rows[] = {
      {0, 0, 512, 3, 8},     {4096, 0, 4096, 0, 8},         {8192, 0, 8192, 0, 16},
      {0, 512, 512, 0, 8},   {512, 2097152, 512, 12, 8},    {1024, 4096, 1024, 2, 8},
      {0, 65536, 512, 7, 8}, {65536, 65536, 65536, 0, 128},
  };
  for (const Row& row : rows) {
    CAPTURE(row.logical);
    CAPTURE(row.physical);
    Rig rig(
        PlainLimits(),
        {.name = "d", .logical_block_bytes = row.logical, .physical_block_bytes = row.physical});
    CHECK(rig.Config<uint32_t>(20) == row.told);
    CHECK(rig.Config<uint8_t>(24) == row.exponent);
    CHECK(rig.Config<uint16_t>(26) == 1u << row.exponent);
    CHECK(rig.Config<uint32_t>(44) == row.discard_sectors);
    // B-12: sectors stay the unit of requests.
    rig.Activate();
    CHECK(rig.Send(Header(kBlkTypeOut, 1) + Bytes(512), 1).status() == kBlkStatusOk);
  }
}

TEST_CASE("Z-12, H-23: writes to the configuration space change nothing") {
  Rig rig(ZonedLimits());
  VirtioBlkConfig before = rig.Config<VirtioBlkConfig>(0);
  Bytes ones(96, 0xff);
  rig.device->WriteConfig(0, 0, std::as_bytes(std::span(ones)));
  rig.device->WriteConfig(rig.AllFeatures(), 0, std::as_bytes(std::span(ones)));
  VirtioBlkConfig after = rig.Config<VirtioBlkConfig>(0);
  CHECK(std::memcmp(&before, &after, sizeof(before)) == 0);
}

TEST_CASE("Z-03: a host-managed disk accepts no driver without ZONED, others do") {
  Rig host_managed(ZonedLimits());
  const uint64_t all = host_managed.AllFeatures();
  CHECK(!host_managed.device->AcceptsFeatures(all & ~kBlkFeatureZoned));
  CHECK(!host_managed.device->AcceptsFeatures(kVersion1));
  CHECK(host_managed.device->AcceptsFeatures(all));
  CHECK(host_managed.device->AcceptsFeatures(kVersion1 | kBlkFeatureZoned));

  BlockLimits limits = ZonedLimits();
  limits.zoned = ZonedModel::kHostAware;
  Rig host_aware(limits);
  CHECK((host_aware.device->offered_features() & kBlkFeatureZoned) != 0);
  CHECK(host_aware.device->AcceptsFeatures(kVersion1));
  CHECK(Rig(PlainLimits()).device->AcceptsFeatures(kVersion1));
}

TEST_CASE(
    "Z-04, P-28: zone fields are readable before negotiation, and 0 after one without ZONED") {
  BlockLimits limits = ZonedLimits();
  limits.zoned = ZonedModel::kHostAware;
  Rig rig(limits);
  CHECK(rig.Config<uint8_t>(92, 0) == 2);
  CHECK(rig.Config<uint8_t>(92, kVersion1 | kBlkFeatureZoned) == 2);
  for (uint64_t offset = 72; offset < 96; ++offset) {
    CHECK(rig.Config<uint8_t>(offset, kVersion1) == 0);
  }
}

TEST_CASE(
    "Z-09: max_append_sectors stays below seg_max times size_max, in bytes, in whole granules") {
  BlockLimits limits = ZonedLimits();
  limits.max_append_bytes = 1_GiB * 1024;
  limits.write_granularity_bytes = 12288;
  for (uint16_t size : {4, 8, 256, 1024}) {
    CAPTURE(size);
    Rig rig(limits, {.name = "d", .queue_size = size});
    const uint64_t append_bytes = uint64_t{rig.Config<uint32_t>(84)} * 512;
    const uint64_t largest = uint64_t{rig.Config<uint32_t>(8)} * rig.Config<uint32_t>(12);
    CHECK(append_bytes <= largest);
    CHECK(append_bytes + 12288 > largest);
    CHECK(append_bytes % 12288 == 0);
    // A request of full length is still one that the ring takes.
    CHECK(largest + 17 < 4_GiB);
    CHECK(rig.Config<uint32_t>(84) <= 0x7fffff);
  }
}

TEST_CASE("options out of range and zones that cannot be told are refused with a reason") {
  auto error = [](const BlockLimits& limits, const VirtioBlkOptions& options) {
    class Limited : public BlockNode {
     public:
      explicit Limited(const BlockLimits& limits_in) : limits_(limits_in) {}
      const BlockLimits& limits() const override { return limits_; }
      void Submit(IoThread&, BlockRequest&) override {}

     private:
      BlockLimits limits_;
    } node(limits);
    auto device = VirtioBlk::Create(options, node);
    return device ? std::string() : device.error().message;
  };
  const BlockLimits plain = PlainLimits();
  CHECK(error(plain, {.name = "d", .serial = "12345678901234567890"}) == "");
  CHECK(error(plain, {.name = "d", .serial = "123456789012345678901"}).find("at most 20") !=
        std::string::npos);
  CHECK(error(plain, {.name = "d", .num_queues = 0}).find("num-queues") != std::string::npos);
  CHECK(error(plain, {.name = "d", .num_queues = 65}).find("num-queues") != std::string::npos);
  for (uint16_t size : {0, 1, 2, 3, 255, 2048}) {
    CHECK(error(plain, {.name = "d", .queue_size = size}).find("queue-size") != std::string::npos);
  }
  auto refused = [&](const BlockLimits& limits, const VirtioBlkOptions& options,
                     const char* property, const char* why) {
    const std::string message = error(limits, options);
    CAPTURE(message);
    CHECK(message.find(property) != std::string::npos);
    CHECK(message.find(why) != std::string::npos);
  };
  for (uint32_t bytes : {1u, 256u, 513u, 3u << 10, 4u << 20, 0x8000'0000u}) {
    refused(plain, {.name = "d", .logical_block_bytes = bytes}, "logical_block_size=", "power of");
    refused(plain, {.name = "d", .physical_block_bytes = bytes},
            "physical_block_size=", "power of");
  }
  refused(plain, {.name = "d", .logical_block_bytes = 4096, .physical_block_bytes = 512},
          "physical_block_size=512", "logical blocks have 4096 bytes");
  refused(plain, {.name = "d", .logical_block_bytes = 2u << 20}, "logical_block_size=2097152",
          "1048576 bytes are not a multiple");
  BlockLimits zoned = ZonedLimits();
  refused(zoned, {.name = "d", .logical_block_bytes = 4096}, "logical_block_size=4096",
          "which is 512");
  CHECK(error(zoned, {.name = "d", .logical_block_bytes = 512}) == "");
  BlockLimits large = PlainLimits();
  large.logical_block_bytes = 4096;
  refused(large, {.name = "d", .logical_block_bytes = 512}, "logical_block_size=512",
          "blocks of 4096 bytes");
  refused(large, {.name = "d", .physical_block_bytes = 2048}, "physical_block_size=2048",
          "use no less");
  zoned.zone_size_bytes = uint64_t{512} << 32;
  CHECK(error(zoned, {.name = "d"}).find("32 bits") != std::string::npos);
  zoned.zone_size_bytes = 512 * 0xffffffffull;  // odd for Linux, but can be told
  CHECK(error(zoned, {.name = "d"}) == "");
}

// --- Requests through the ring ---

TEST_CASE("what is written is read back, through any framing") {
  Rig rig(PlainLimits());
  rig.Activate();
  const Bytes data = Data(4096, 1);
  Answer write = rig.Send(Header(kBlkTypeOut, 16) + data, 1);
  CHECK(write.status() == kBlkStatusOk);
  CHECK(write.used_bytes == 1);
  for (uint32_t piece : {7, 512, 4096}) {
    Answer read = rig.Send(Header(kBlkTypeIn, 16), 4097, 0, piece);
    CHECK(read.used_bytes == 4097);
    CHECK(read.written == data + Bytes{0});
  }
  CHECK(rig.Send(Header(kBlkTypeFlush, 0), 1).status() == kBlkStatusOk);
  Answer id = rig.Send(Header(kBlkTypeGetId, 0), 21);
  CHECK(id.written == Bytes{'i', 'd', '0'} + Bytes(17, 0) + Bytes{0});
}

TEST_CASE("Z-26: appends tell where they went") {
  Rig rig(ZonedLimits());
  rig.Activate();
  for (uint64_t i = 0; i < 3; ++i) {
    Answer answer = rig.Send(Header(kBlkTypeZoneAppend, 128) + Data(8192, 5), 16);
    CHECK(answer.status() == kBlkStatusOk);
    uint64_t sector;
    std::memcpy(&sector, answer.written.data(), 8);
    CHECK(sector == 128 + 16 * i);
  }
  CHECK(rig.Send(Header(kBlkTypeIn, 128 + 32), 8193).written == Data(8192, 5) + Bytes{0});
}

TEST_CASE("the status of every request that cannot be carried out reaches the driver") {
  Rig rig(ZonedLimits());
  rig.Activate();
  struct Row {
    Bytes readable;
    size_t writable_bytes;
    uint8_t status;
  } rows[] = {
      {Header(0, 0), 512, kBlkStatusIoError},
      {Header(0, 1u << 30), 513, kBlkStatusIoError},
      {Header(1, 0) + Bytes(100), 1, kBlkStatusIoError},
      {Header(0x80000001, 0), 1, kBlkStatusUnsupported},
      {Header(11, 0) + Bytes(16), 1, kBlkStatusUnsupported},
      {Header(13, 0) + Bytes(16), 1, kBlkStatusUnsupported},
      {Header(14, 0) + Bytes(16), 1, kBlkStatusUnsupported},
      {Header(15, 0), 16, kBlkStatusZoneInvalid},
      {Header(15, 0) + Bytes(512), 8, kBlkStatusIoError},
      {Header(16, 0), 10, kBlkStatusZoneInvalid},
      {Header(24, 1u << 30), 1, kBlkStatusZoneInvalid},
      {Bytes(15), 1, kBlkStatusIoError},
      {{}, 1, kBlkStatusIoError},
  };
  for (const Row& row : rows) {
    Answer answer = rig.Send(row.readable, row.writable_bytes);
    CHECK(answer.status() == row.status);
    CHECK(answer.used_bytes == (row.writable_bytes == 1 ? 1 : 0));
  }
  // Not even a status byte: the chain comes back all the same.
  CHECK(rig.Send(Header(0, 0), 0).used_bytes == 0);
  CHECK(rig.disk.TakeOps().empty());
}

TEST_CASE("the status of every failure of the disk reaches the driver") {
  struct Row {
    BlockStatus result;
    uint8_t status;
  } rows[] = {{BlockStatus::kIoError, 1},       {BlockStatus::kUnsupported, 2},
              {BlockStatus::kZoneInvalid, 3},   {BlockStatus::kZoneUnaligned, 4},
              {BlockStatus::kZoneOpenLimit, 5}, {BlockStatus::kZoneActiveLimit, 6}};
  Rig rig(ZonedLimits());
  rig.Activate();
  for (const Row& row : rows) {
    rig.disk.FailWith(BlockOp::kWrite, row.result);
    rig.disk.FailWith(BlockOp::kZoneOpen, row.result);
    rig.disk.FailWith(BlockOp::kZoneReport, row.result);
    CHECK(rig.Send(Header(kBlkTypeOut, 0) + Bytes(512), 1).status() == row.status);
    CHECK(rig.Send(Header(kBlkTypeZoneOpen, 0), 1).status() == row.status);
    CHECK(rig.Send(Header(kBlkTypeZoneReport, 0), 193).status() == row.status);
  }
}

TEST_CASE("a driver that did not negotiate ZONED gets no statuses of zones") {
  BlockLimits limits = ZonedLimits();
  limits.zoned = ZonedModel::kHostAware;
  Rig rig(limits);
  rig.Activate(rig.AllFeatures() & ~kBlkFeatureZoned);
  for (BlockStatus status : {BlockStatus::kZoneInvalid, BlockStatus::kZoneUnaligned,
                             BlockStatus::kZoneOpenLimit, BlockStatus::kZoneActiveLimit}) {
    rig.disk.FailWith(BlockOp::kWrite, status);
    rig.disk.FailWith(BlockOp::kRead, status);
    CHECK(rig.Send(Header(kBlkTypeOut, 0) + Bytes(512), 1).status() == kBlkStatusIoError);
    CHECK(rig.Send(Header(kBlkTypeIn, 0), 513).status() == kBlkStatusIoError);
  }
}

TEST_CASE("B-08: for a driver without FLUSH each write is flushed before it completes") {
  Rig rig(ZonedLimits());
  rig.Activate(rig.AllFeatures() & ~kBlkFeatureFlush);
  const std::vector<BlockOp> kWriteThenFlush = {BlockOp::kWrite, BlockOp::kFlush};
  const std::vector<BlockOp> kAppendThenFlush = {BlockOp::kZoneAppend, BlockOp::kFlush};
  CHECK(rig.Send(Header(kBlkTypeOut, 0) + Bytes(512), 1).status() == kBlkStatusOk);
  CHECK(rig.disk.TakeOps() == kWriteThenFlush);
  rig.Send(Header(kBlkTypeZoneAppend, 128) + Bytes(4096), 16);
  Answer append = rig.Send(Header(kBlkTypeZoneAppend, 128) + Bytes(4096), 16);
  CHECK(append.written[0] == 128 + 8);
  CHECK(append.status() == kBlkStatusOk);
  rig.disk.TakeOps();
  rig.Send(Header(kBlkTypeIn, 0), 513);
  CHECK(rig.disk.TakeOps() == std::vector<BlockOp>{BlockOp::kRead});
  CHECK(rig.Send(Header(kBlkTypeFlush, 0), 1).status() == kBlkStatusUnsupported);

  rig.disk.FailWith(BlockOp::kFlush, BlockStatus::kIoError);
  CHECK(rig.Send(Header(kBlkTypeOut, 0) + Bytes(512), 1).status() == kBlkStatusIoError);
  rig.disk.FailWith(BlockOp::kWrite, BlockStatus::kZoneInvalid);
  rig.disk.TakeOps();
  CHECK(rig.Send(Header(kBlkTypeOut, 0) + Bytes(512), 1).status() == kBlkStatusZoneInvalid);
  CHECK(rig.disk.TakeOps() == std::vector<BlockOp>{BlockOp::kWrite});

  Rig cached(PlainLimits());
  cached.Activate();
  cached.Send(Header(kBlkTypeOut, 0) + Bytes(512), 1);
  CHECK(cached.disk.TakeOps() == std::vector<BlockOp>{BlockOp::kWrite});
}

// What the driver's write of `writeback` does.
void SetWriteback(Rig& rig, uint64_t features, uint8_t value) {
  rig.device->WriteConfig(features, 32, std::as_bytes(std::span(&value, 1)));
}

TEST_CASE("B-08, B-10: CONFIG_WCE switches write-through at run time, until the next reset") {
  Rig rig(PlainLimits());
  const uint64_t features = rig.AllFeatures();
  rig.Activate();
  auto ops_of_write = [&] {
    rig.disk.TakeOps();
    CHECK(rig.Send(Header(kBlkTypeOut, 0) + Bytes(512), 1).status() == kBlkStatusOk);
    return rig.disk.TakeOps();
  };
  const std::vector<BlockOp> kCached = {BlockOp::kWrite};
  const std::vector<BlockOp> kThrough = {BlockOp::kWrite, BlockOp::kFlush};
  CHECK(rig.Config<uint8_t>(32, features) == 1);
  CHECK(ops_of_write() == kCached);
  SetWriteback(rig, features, 0);
  CHECK(rig.Config<uint8_t>(32, features) == 0);
  CHECK(ops_of_write() == kThrough);
  SetWriteback(rig, features, 2);  // means nothing
  CHECK(rig.Config<uint8_t>(32, features) == 0);
  SetWriteback(rig, features, 1);
  CHECK(ops_of_write() == kCached);
  SetWriteback(rig, features, 0);
  // A wide write that covers the field.
  const Bytes fields = {0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff};
  rig.device->WriteConfig(features, 28, std::as_bytes(std::span(fields)));
  CHECK(rig.Config<uint8_t>(32, features) == 1);
  CHECK(rig.Config<uint32_t>(28, features) == 0);
  CHECK(rig.Config<uint16_t>(34, features) == 1);
  SetWriteback(rig, features, 0);
  rig.device->Reset();
  CHECK(rig.Config<uint8_t>(32, features) == 1);
  rig.NewRings();
  rig.Activate();
  CHECK(ops_of_write() == kCached);

  // Before DRIVER_OK it holds from the first write on, and a reset then takes it back, too.
  rig.device->Reset();
  SetWriteback(rig, features, 0);
  rig.device->Reset();
  CHECK(rig.Config<uint8_t>(32, features) == 1);
  SetWriteback(rig, features, 0);
  rig.NewRings();
  rig.Activate();
  CHECK(ops_of_write() == kThrough);
}

TEST_CASE("B-14: a serial number of 20 bytes has no NUL behind it") {
  const std::string serial = "12345678901234567890";
  Rig rig(PlainLimits(), {.name = "d", .serial = serial});
  rig.Activate();
  const Answer answer = rig.Send(Header(kBlkTypeGetId, 0), 21);
  CHECK(answer.status() == kBlkStatusOk);
  CHECK(std::equal(serial.begin(), serial.end(), answer.written.begin()));
}

TEST_CASE("Z-27: where nothing can be appended, an append is unsupported") {
  BlockLimits limits = ZonedLimits();
  limits.max_append_bytes = 0;
  Rig rig(limits);
  rig.Activate();
  CHECK(rig.Config<uint32_t>(84, rig.AllFeatures()) == 0);
  CHECK(rig.Send(Header(kBlkTypeZoneAppend, 128) + Bytes(4096), 16).status() ==
        kBlkStatusUnsupported);
  CHECK(rig.disk.TakeOps().empty());
}

TEST_CASE("B-02, B-08: which mode is in force, by properties and by what was negotiated") {
  constexpr uint64_t kWce = kBlkFeatureConfigWce, kFlush = kBlkFeatureFlush;
  struct Row {
    bool write_cache;
    uint64_t withheld;  // by the driver
    uint8_t writeback;
  } rows[] = {
      {true, 0, 1},  {true, kWce, 1},  {true, kFlush, 0},  {true, kWce | kFlush, 0},
      {false, 0, 0}, {false, kWce, 0}, {false, kFlush, 0}, {false, kWce | kFlush, 0},
  };
  for (const Row& row : rows) {
    CAPTURE(row.write_cache);
    CAPTURE(row.withheld);
    Rig rig(PlainLimits(), {.name = "d", .write_cache = row.write_cache});
    CHECK(rig.Config<uint8_t>(32, 0) == row.write_cache);
    const uint64_t features = rig.AllFeatures() & ~row.withheld;
    CHECK(rig.Config<uint8_t>(32, features) == row.writeback);
    rig.Activate(features);
    rig.Send(Header(kBlkTypeOut, 0) + Bytes(512), 1);
    CHECK(rig.disk.TakeOps().size() == (row.writeback ? 1 : 2));
    // Only a driver with CONFIG_WCE may change it.
    SetWriteback(rig, features, !row.writeback);
    CHECK(rig.Config<uint8_t>(32, features) ==
          (row.withheld & kWce ? row.writeback : !row.writeback));
  }
}

TEST_CASE("B-08: write-through flushes behind each request that changes the disk, and no other") {
  struct Row {
    bool zoned;
    Bytes readable;
    size_t writable_bytes;
    size_t flushes;
  } rows[] = {
      {false, Header(kBlkTypeIn, 0), 513, 0},
      {false, Header(kBlkTypeOut, 0) + Bytes(512), 1, 1},
      {false, Header(kBlkTypeOut, 0), 1, 0},
      {false, Header(kBlkTypeGetId, 0), 21, 0},
      {false, Header(kBlkTypeFlush, 0), 1, 1},  // its own
      {false, Header(kBlkTypeDiscard, 0) + Bytes{0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0}, 1,
       1},
      {false,
       Header(kBlkTypeWriteZeroes, 0) + Bytes{0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0}, 1,
       1},
      {true, Header(kBlkTypeZoneAppend, 0) + Bytes(4096), 16, 1},
      {true, Header(kBlkTypeZoneReport, 0), 129, 0},
      {true, Header(kBlkTypeZoneOpen, 0), 1, 1},
      {true, Header(kBlkTypeZoneClose, 0), 1, 1},
      {true, Header(kBlkTypeZoneFinish, 0), 1, 1},
      {true, Header(kBlkTypeZoneReset, 0), 1, 1},
      {true, Header(kBlkTypeZoneResetAll, 0), 1, 1},
  };
  for (const Row& row : rows) {
    CAPTURE(int{row.readable[0]});
    Rig rig(row.zoned ? ZonedLimits() : PlainLimits(), {.name = "d", .write_cache = false});
    rig.Activate();
    CHECK(rig.Send(row.readable, row.writable_bytes).status() == kBlkStatusOk);
    const std::vector<BlockOp> ops = rig.disk.TakeOps();
    CHECK(static_cast<size_t>(std::count(ops.begin(), ops.end(), BlockOp::kFlush)) == row.flushes);
    // Not answered before the flush, and answered with its failure.
    rig.disk.FailWith(BlockOp::kFlush, BlockStatus::kIoError);
    CHECK(rig.Send(row.readable, row.writable_bytes).status() ==
          (row.flushes ? kBlkStatusIoError : kBlkStatusOk));
  }
}

TEST_CASE("B-06: a range reads as zeroes after a write-zeroes, with unmap and without") {
  Rig rig(PlainLimits());
  rig.Activate();
  for (uint8_t unmap : {0, 1}) {
    CHECK(rig.Send(Header(kBlkTypeOut, 0) + Data(4096, 3), 1).status() == kBlkStatusOk);
    const Bytes segment = {2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, unmap, 0, 0, 0};
    CHECK(rig.Send(Header(kBlkTypeWriteZeroes, 0) + segment, 1).status() == kBlkStatusOk);
    Bytes expected = Data(4096, 3);
    std::fill(expected.begin() + 1024, expected.begin() + 2560, uint8_t{0});
    CHECK(rig.Send(Header(kBlkTypeIn, 0), 4097).written == expected + Bytes{0});
    CHECK(rig.disk.TakeMayUnmap() == (unmap == 1));
  }
}

TEST_CASE("a report of many zones takes several turns to the disk and one answer") {
  Rig rig(ZonedLimits(300));
  rig.Activate();
  auto starts = [](const Answer& answer) {
    std::vector<uint64_t> sectors;
    uint64_t count;
    std::memcpy(&count, answer.written.data(), 8);
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t start;
      std::memcpy(&start, answer.written.data() + 64 + 64 * i + 8, 8);
      sectors.push_back(start);
    }
    return sectors;
  };
  auto expected = [](uint64_t first, uint64_t count) {
    std::vector<uint64_t> sectors;
    for (uint64_t i = 0; i < count; ++i) sectors.push_back((first + i) * 128);
    return sectors;
  };
  struct Row {
    uint64_t sector;
    uint64_t room, first, count;
    size_t turns;
  } rows[] = {
      {0, 1000, 0, 300, 5}, {0, 300, 0, 300, 5},          {0, 64, 0, 64, 1},
      {0, 65, 0, 65, 2},    {5 * 128 + 77, 10, 5, 10, 1}, {299 * 128, 50, 299, 1, 1},
      {0, 0, 0, 0, 0},      {236 * 128, 64, 236, 64, 1},
  };
  for (const Row& row : rows) {
    CAPTURE(row.room);
    rig.disk.TakeOps();
    for (uint32_t piece : {64u, 4096u}) {
      Answer answer =
          rig.Send(Header(kBlkTypeZoneReport, row.sector), 64 + 64 * row.room + 1, 0, piece);
      CHECK(answer.status() == kBlkStatusOk);
      CHECK(starts(answer) == expected(row.first, row.count));
      CHECK(answer.used_bytes == 64 + 64 * row.count + (row.room == row.count ? 1 : 0));
      CHECK(rig.disk.TakeOps().size() == row.turns);
    }
  }
  CHECK(starts(rig.Send(Header(kBlkTypeZoneReport, 0), 64 + 64 * 5 + 1, 0, 7)) == expected(0, 5));

  rig.disk.FailWith(BlockOp::kZoneReport, BlockStatus::kIoError, 2);
  Answer failed = rig.Send(Header(kBlkTypeZoneReport, 0), 64 + 64 * 300 + 1);
  CHECK(failed.status() == kBlkStatusIoError);
  CHECK(failed.used_bytes == 0);
}

// --- Notifications ---

TEST_CASE(
    "P-14: what is in the ring before activation is served without a doorbell, with one "
    "interrupt") {
  Rig rig(PlainLimits());
  for (int i = 0; i < 100; ++i) rig.Offer(Header(kBlkTypeIn, i), 513);
  CHECK(rig.queues[0]->ring->used_index() == 0);
  rig.Activate();
  VirtqueueDriver& ring = *rig.queues[0]->ring;
  pollfd poll_fd{rig.queues[0]->interrupt.fd(), POLLIN, 0};
  ::poll(&poll_fd, 1, -1);
  int used = 0;
  while (ring.TakeUsed()) ++used;
  CHECK(used == 100);
  rig.device->Reset();
  CHECK(rig.queues[0]->interrupt.Drain() == 1);
}

TEST_CASE("Q-12: doorbells without a chain do nothing") {
  Rig rig(PlainLimits());
  rig.Activate();
  for (int i = 0; i < 1000; ++i) rig.queues[0]->doorbell.Notify();
  CHECK(rig.Send(Header(kBlkTypeIn, 0), 513).status() == kBlkStatusOk);
  rig.device->Reset();
  CHECK(rig.queues[0]->ring->used_index() == 1);
  CHECK(!rig.needs_reset.event.IsSet());
}

TEST_CASE("P-34: a queue without a vector still serves; a vector may come and go") {
  Rig rig(PlainLimits());
  rig.queues[0]->route = nullptr;
  rig.Activate();
  rig.Offer(Header(kBlkTypeIn, 0), 513);
  rig.Ring();
  while (!rig.queues[0]->ring->TakeUsed()) std::this_thread::yield();
  rig.queues[0]->route = &rig.queues[0]->interrupt;
  CHECK(rig.Send(Header(kBlkTypeIn, 0), 513).status() == kBlkStatusOk);
}

TEST_CASE("a full ring is served in every ring size, with and without EVENT_IDX") {
  for (uint16_t size : {4, 64, 1024}) {
    for (uint64_t features : {kAllRing, kFeatureIndirectDesc}) {
      Rig rig(PlainLimits(), {.name = "d", .queue_size = size});
      rig.NewRings(features);
      rig.Activate();
      for (int round = 0; round < 20; ++round) {
        const uint64_t mark = rig.guest.mark();
        for (int i = 0; i < size; ++i) rig.Offer(Header(kBlkTypeIn, i), 513);
        rig.Ring();
        for (int i = 0; i < size; ++i) REQUIRE(rig.WaitUsed().length == 513);
        rig.guest.Rewind(mark);
      }
    }
  }
}

TEST_CASE("B-16: several queues serve one disk at the same time") {
  constexpr int kQueues = 4, kRounds = 100, kDepth = 16;
  Rig rig(ZonedLimits(), {.name = "d", .num_queues = kQueues});
  rig.Activate();
  const uint64_t mark = rig.guest.mark();
  for (int round = 0; round < kRounds; ++round) {
    rig.guest.Rewind(mark);
    std::vector<uint64_t> targets[kQueues];
    for (int queue = 0; queue < kQueues; ++queue) {
      for (int i = 0; i < kDepth; ++i) {
        targets[queue].push_back(rig.Offer(Header(kBlkTypeIn, i), 513, queue));
      }
      rig.Ring(queue);
    }
    for (int queue = 0; queue < kQueues; ++queue) {
      for (int i = 0; i < kDepth; ++i) REQUIRE(rig.WaitUsed(queue).length == 513);
      for (uint64_t target : targets[queue]) {
        REQUIRE(rig.guest.Load<uint8_t>(target + 512) == kBlkStatusOk);
      }
    }
  }
}

TEST_CASE("Z-53: appends from several queues to one zone get places of their own") {
  constexpr int kQueues = 4;
  Rig rig(ZonedLimits(), {.name = "d", .num_queues = kQueues});
  rig.Activate();
  std::vector<uint64_t> targets;
  for (int i = 0; i < 16; ++i) {
    targets.push_back(rig.Offer(Header(kBlkTypeZoneAppend, 0) + Bytes(4096), 16, i % kQueues));
  }
  for (int queue = 0; queue < kQueues; ++queue) rig.Ring(queue);
  for (int i = 0; i < 16; ++i) rig.WaitUsed(i % kQueues);
  std::vector<uint64_t> sectors;
  for (uint64_t target : targets) sectors.push_back(rig.guest.Load<uint64_t>(target));
  std::sort(sectors.begin(), sectors.end());
  for (uint64_t i = 0; i < 16; ++i) CHECK(sectors[i] == 8 * i);
}

// --- Reset ---

TEST_CASE(
    "P-07, H-15: reset waits for what is in flight, on all queues, and touches nothing "
    "afterwards") {
  Rig rig(ZonedLimits(300), {.name = "d", .num_queues = 3});
  rig.Activate();
  rig.disk.Hold();
  for (int queue = 0; queue < 3; ++queue) {
    rig.Offer(Header(kBlkTypeIn, 0), 513, queue);
    rig.Offer(Header(kBlkTypeOut, 0) + Bytes(4096), 1, queue);
    // Goes on with its second slice while the device resets.
    rig.Offer(Header(kBlkTypeZoneReport, 0), 64 + 64 * 100 + 1, queue);
    rig.Ring(queue);
  }
  rig.disk.WaitUntilHeld(9);
  std::thread release([&] { rig.disk.Release(); });
  rig.device->Reset();
  CHECK(rig.disk.released() == 9);
  release.join();
  for (auto& queue : rig.queues) CHECK(queue->ring->used_index() == 3);

  const Bytes poison(rig.guest.mark() - FakeGuest::kBase, 0xa5);
  std::memcpy(rig.guest.Host(FakeGuest::kBase), poison.data(), poison.size());
  for (auto& queue : rig.queues) queue->doorbell.Notify();
  rig.device->Reset();  // no effect when not active
  CHECK(std::memcmp(rig.guest.Host(FakeGuest::kBase), poison.data(), poison.size()) == 0);
}

TEST_CASE("P-29: what comes into a ring after a reset is not taken") {
  Rig rig(PlainLimits());
  rig.Activate();
  rig.device->Reset();
  rig.Offer(Header(kBlkTypeIn, 0), 513);
  rig.queues[0]->doorbell.Notify();
  std::this_thread::sleep_for(
      std::chrono::milliseconds(20));  // time enough for a thread that would
  CHECK(rig.queues[0]->ring->used_index() == 0);
  CHECK(rig.disk.TakeOps().empty());
}

TEST_CASE("a device that was reset serves new rings, again and again") {
  Rig rig(ZonedLimits(), {.name = "d", .num_queues = 2});
  for (int round = 0; round < 50; ++round) {
    CAPTURE(round);
    rig.NewRings(round % 2 ? kAllRing : kFeatureIndirectDesc);
    rig.Activate();
    CHECK(rig.Send(Header(kBlkTypeOut, 0) + Data(512, round), 1, 0).status() == kBlkStatusOk);
    CHECK(rig.Send(Header(kBlkTypeIn, 0), 513, 1).written == Data(512, round) + Bytes{0});
    // Rung for nothing just before the reset: the next ring must not stumble over it.
    rig.queues[0]->doorbell.Notify();
    rig.device->Reset();
  }
  CHECK(!rig.needs_reset.event.IsSet());
}

TEST_CASE("a device may go while requests are in flight") {
  Rig rig(PlainLimits());
  rig.Activate();
  rig.disk.Hold();
  rig.Offer(Header(kBlkTypeIn, 0), 513);
  rig.Ring();
  rig.disk.WaitUntilHeld(1);
  std::thread release([&] { rig.disk.Release(); });
  rig.device.reset();
  release.join();
}

TEST_CASE("P-16: a broken ring asks for a reset once, its queue stops, the others go on") {
  Rig rig(PlainLimits(), {.name = "d", .num_queues = 2});
  rig.Activate();
  rig.disk.Hold();
  rig.Offer(Header(kBlkTypeIn, 0), 513, 0);
  rig.Ring(0);
  rig.disk.WaitUntilHeld(1);

  ChainBuilder(*rig.queues[0]->ring).Readable(0, 1).Offer();  // not guest memory
  rig.queues[0]->doorbell.Notify();
  pollfd poll_fd{rig.needs_reset.event.fd(), POLLIN, 0};
  ::poll(&poll_fd, 1, -1);
  for (int i = 0; i < 10; ++i) rig.queues[0]->doorbell.Notify();
  rig.disk.Release();  // in flight when the ring broke: comes back, but not to the ring
  const uint64_t other = rig.Offer(Header(kBlkTypeIn, 0), 513, 1);
  rig.Ring(1);
  CHECK(rig.WaitUsed(1).length == 513);
  CHECK(rig.guest.Load<uint8_t>(other + 512) == kBlkStatusOk);
  rig.device->Reset();
  CHECK(rig.needs_reset.event.Drain() == 1);
  CHECK(rig.queues[0]->ring->used_index() == 0);

  rig.NewRings();
  rig.Activate();
  CHECK(rig.Send(Header(kBlkTypeIn, 0), 513, 0).status() == kBlkStatusOk);
}

TEST_CASE("B-20: another capacity counts for the configuration and for requests, at run time") {
  Rig rig(PlainLimits(), {.name = "d", .num_queues = 2});
  rig.Activate();
  const uint64_t capacity = rig.Config<uint64_t>(0);
  rig.device->SetCapacity(capacity / 2);
  CHECK(rig.Config<uint64_t>(0) == capacity / 2);
  for (int queue : {0, 1}) {
    CHECK(rig.Send(Header(kBlkTypeIn, capacity / 2), 513, queue).status() == kBlkStatusIoError);
    CHECK(rig.Send(Header(kBlkTypeIn, capacity / 2 - 1), 513, queue).status() == kBlkStatusOk);
  }
  rig.device->SetCapacity(capacity);
  CHECK(rig.Send(Header(kBlkTypeIn, capacity - 1), 513).status() == kBlkStatusOk);
  rig.device->Reset();
  rig.device->SetCapacity(capacity / 4);
  rig.NewRings();
  rig.Activate();
  CHECK(rig.Send(Header(kBlkTypeIn, capacity / 4), 513).status() == kBlkStatusIoError);
}

TEST_CASE("Q-13: one queue is reset with requests in flight; the others go on, and it comes back") {
  Rig rig(PlainLimits(), {.name = "d", .num_queues = 2});
  rig.Activate();
  CHECK(rig.Send(Header(kBlkTypeOut, 8) + Data(512, 9), 1, 1).status() == kBlkStatusOk);
  rig.disk.Hold();
  for (int i = 0; i < 5; ++i) rig.Offer(Header(kBlkTypeIn, 0), 513, 0);
  rig.Ring(0);
  rig.disk.WaitUntilHeld(5);
  std::thread release([&] { rig.disk.Release(); });
  rig.device->StopQueue(0);
  CHECK(rig.disk.released() == 5);
  release.join();
  CHECK(rig.queues[0]->ring->used_index() == 5);
  rig.device->StopQueue(0);  // no effect when it is not running
  rig.queues[0]->doorbell.Notify();
  CHECK(rig.Send(Header(kBlkTypeIn, 8), 513, 1).written == Data(512, 9) + Bytes{0});
  for (uint16_t size : {4, 256, 16}) {
    rig.RenewQueue(0, size);
    CHECK(rig.Send(Header(kBlkTypeIn, 8), 513, 0).written == Data(512, 9) + Bytes{0});
    CHECK(rig.queues[0]->ring->used_index() == 1);
  }
  CHECK(!rig.needs_reset.event.IsSet());
}

// --- Mostly valid noise ---

// Random requests in random framing, some of them damaged. Every chain must come back with a
// defined status and a used length that does not claim more than there is, or the ring must be
// declared broken; the device must live through all of it.
TEST_CASE("H-01 to H-22: a hundred thousand mostly valid chains") {
  constexpr int kChains = 100'000, kBatch = 32;
  const uint32_t seed = 20240611;
  std::printf("seed %u\n", seed);
  std::mt19937 random(seed);
  auto below = [&](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
  auto one_in = [&](uint32_t n) { return below(n) == 0; };

  Rig rig(ZonedLimits(), {.name = "d", .queue_size = 64});
  rig.Activate();
  const uint64_t rings_end = rig.guest.mark();
  int broken = 0, answered = 0, succeeded = 0;

  struct Expected {
    uint64_t writable = 0;
    uint32_t writable_bytes = 0;
    bool damaged = false;
  };
  for (int sent = 0; sent < kChains;) {
    VirtqueueDriver& ring = *rig.queues[0]->ring;
    rig.guest.Rewind(rings_end);
    std::vector<Expected> by_head(64);
    // Offered when all are written: the device may look before it is told, and a flaw may lead it
    // from one into another.
    std::vector<uint16_t> heads;
    int offered = 0;
    bool may_break = false;
    for (; offered < kBatch && ring.free_descriptors() >= 12; ++offered) {
      // A request...
      static constexpr uint32_t kTypes[] = {0, 1, 4, 8, 11, 15, 16, 18, 20, 22, 24, 26};
      const uint32_t type = one_in(20) ? static_cast<uint32_t>(random()) : kTypes[below(12)];
      const uint64_t sector = one_in(20) ? random() * uint64_t{0x100000001} : below(16 * 128);
      const uint32_t length = one_in(20) ? below(3000) : 512 * below(8);
      const bool sends = type == 1 || type == 15 || type == 11;
      const bool receives = type == 0 || type == 16 || type == 8;
      const Bytes header = Header(type, sector);
      const uint32_t header_bytes = one_in(50) ? below(16) : 16;
      const uint32_t readable_bytes = header_bytes + (sends ? length : 0);
      uint32_t writable_bytes = (receives ? length : 0) + (type == 15 ? 16 : 1);
      if (one_in(50)) writable_bytes = below(20);
      if (readable_bytes + writable_bytes == 0) continue;
      const uint64_t readable = rig.guest.Allocate(readable_bytes + 1);
      std::memcpy(rig.guest.Host(readable), header.data(), header_bytes);
      const uint64_t writable = rig.guest.Allocate(writable_bytes + 1);
      std::memset(rig.guest.Host(writable), 0xee, writable_bytes + 1);

      // ... in a frame: at most five pieces each way, of it or of a table.
      ChainBuilder chain(ring);
      if (one_in(2)) chain.Indirect();
      const uint32_t piece = 1 + below(2) * below(600);
      auto pieces = [&](uint32_t bytes) { return std::max(piece, bytes / 5 + 1); };
      chain.ReadablePieces(readable, readable_bytes, pieces(readable_bytes))
          .WritablePieces(writable, writable_bytes, pieces(writable_bytes));
      if (kLayout != 0) {
        // Damage to packed rings is the business of packed_ring_test: here it would take the order
        // of what comes back away, too.
        by_head[chain.Offer()] = {writable, writable_bytes, false};
        continue;
      }
      const uint16_t head = chain.Write();
      by_head[head] = {writable, writable_bytes, false};

      // ... with a flaw, now and then. Buffers lie above the rings and damage reaches upwards only.
      if (one_in(40)) {
        RingDescriptor descriptor = ring.GetDescriptor(head);
        switch (below(6)) {
          case 0:
            descriptor.flags ^= static_cast<uint16_t>(1u << below(4));
            break;
          case 1:
            descriptor.length = one_in(2) ? static_cast<uint32_t>(random()) : below(5000);
            break;
          case 2:
            descriptor.address += random() * (one_in(2) ? uint64_t{1} << 32 : 1);
            break;
          case 3:
            descriptor.next = static_cast<uint16_t>(below(80));
            break;
          case 4:
            descriptor = {random() * uint64_t{0x100000001}, static_cast<uint32_t>(random()),
                          static_cast<uint16_t>(random()), static_cast<uint16_t>(random())};
            // Not into the rings: used entries would be lost on the way to the driver.
            descriptor.address |= uint64_t{1} << 40;
            break;
          case 5:
            descriptor.address = ~uint64_t{0} - below(10000);
            break;
        }
        ring.SetDescriptor(head, descriptor);
        by_head[head].damaged = true;
        may_break = true;
      }
      if (one_in(3000)) {
        may_break = true;
        heads.push_back(static_cast<uint16_t>(64 + below(60000)));
      } else {
        heads.push_back(head);
      }
    }
    for (uint16_t head : heads) ring.Offer(head);
    if (kLayout == 0 && one_in(300)) {
      may_break = true;
      ring.SetAvailIndex(static_cast<uint16_t>(ring.avail_index() + 100 + below(60000)));
    }
    rig.queues[0]->doorbell.Notify();

    bool ring_broken = false;
    for (int returned = 0; returned < offered && !ring_broken;) {
      std::optional<VirtqueueDriver::Used> used = ring.TakeUsed();
      if (!used) {
        if (ring.EnableInterrupt()) continue;
        pollfd poll_fds[] = {{rig.queues[0]->interrupt.fd(), POLLIN, 0},
                             {rig.needs_reset.event.fd(), POLLIN, 0}};
        ::poll(poll_fds, 2, -1);
        ring_broken = rig.needs_reset.event.Drain() != 0;
        rig.queues[0]->interrupt.Drain();
        continue;
      }
      ++returned;
      ++answered;
      REQUIRE(used->id < 64);
      const Expected& expected = by_head[used->id];
      REQUIRE(expected.writable_bytes + uint64_t{expected.damaged} * 0xffffffff >= used->length);
      if (!may_break && expected.writable_bytes != 0) {
        const auto status =
            rig.guest.Load<uint8_t>(expected.writable + expected.writable_bytes - 1);
        REQUIRE(status <= kBlkStatusZoneActiveLimit);
        REQUIRE(rig.guest.Load<uint8_t>(expected.writable + expected.writable_bytes) == 0xee);
        succeeded += status == kBlkStatusOk;
      }
    }
    sent += offered;
    if (!ring_broken && may_break) {
      // The flaw may lie behind the last chain that was waited for.
      rig.device->Reset();
      ring_broken = rig.needs_reset.event.Drain() != 0;
      rig.NewRings();
      rig.Activate();
    } else if (ring_broken) {
      rig.device->Reset();
      rig.NewRings();
      rig.Activate();
    }
    REQUIRE((!ring_broken || may_break));
    broken += ring_broken;
    rig.disk.TakeOps();
  }
  std::printf("%d answered, %d of them surely well and with success, %d rings broken\n", answered,
              succeeded, broken);
  CHECK(answered > kChains / 2);
  CHECK(succeeded > kChains / 10);
  CHECK((broken > 100 || kLayout != 0));
}

// Keeps requests until Release, or answers them; notes how many it had when a task came to its turn
// that was posted at the first.
class GreedyDisk : public BlockNode, private Task {
 public:
  explicit GreedyDisk(bool keeps) : keeps_(keeps) {
    limits_.capacity_bytes = 1024_GiB;
    run = [](Task& task) {
      auto& disk = static_cast<GreedyDisk&>(task);
      disk.count_at_task = disk.count.load();
    };
  }
  const BlockLimits& limits() const override { return limits_; }
  void Submit(IoThread& thread, BlockRequest& request) override {
    thread_ = &thread;
    if (++count == 1) thread.Post(*this);
    keeps_ ? kept_.push_back(&request) : thread.Complete(request);
  }
  void Release() {
    thread_->RunAndWait([this] {
      for (BlockRequest* request : std::exchange(kept_, {})) thread_->Complete(*request);
    });
  }
  void Settle() {
    thread_->RunAndWait([] {});
  }

  std::atomic<int> count = 0;
  std::atomic<int> count_at_task = 0;

 private:
  const bool keeps_;
  BlockLimits limits_;
  IoThread* thread_ = nullptr;
  std::vector<BlockRequest*> kept_;
};

// Chains of 32 MiB each, all of them the same MiB of the guest.
void OfferLong(VirtioBlkDriver& driver, int chains) {
  const uint64_t data = driver.guest.Allocate(1_MiB);
  const uint64_t header = driver.guest.Place(VirtioBlkHeader{kBlkTypeIn, 0, 0});
  for (int i = 0; i < chains; ++i) {
    ChainBuilder chain(*driver.queues[0]->ring);
    chain.Indirect().Readable(header, sizeof(VirtioBlkHeader));
    for (int part = 0; part < 32; ++part) chain.Writable(data, 1_MiB);
    chain.Writable(driver.guest.Allocate(1), 1).Offer();
  }
  driver.queues[0]->doorbell.Notify();
}

TEST_CASE("requests for much data do not keep the thread from its tasks") {
  GreedyDisk disk(/*keeps=*/false);
  VirtioBlkDriver driver(disk, {.name = "d", .queue_size = 64});
  driver.Activate();
  OfferLong(driver, 20);
  for (int i = 0; i < 20; ++i) driver.WaitUsed();
  CHECK(disk.count == 20);
  CHECK(disk.count_at_task <= 2);
}

TEST_CASE("a driver has a GiB of each queue in flight at once, and the rest in its turn") {
  GreedyDisk disk(/*keeps=*/true);
  VirtioBlkDriver driver(disk, {.name = "d", .queue_size = 128});
  driver.Activate();
  OfferLong(driver, 100);
  for (int wanted : {32, 64, 96, 100}) {
    while (disk.count < wanted) std::this_thread::yield();
    for (int i = 0; i < 3; ++i) disk.Settle();
    CHECK(disk.count == wanted);
    disk.Release();
  }
  for (int i = 0; i < 100; ++i) driver.WaitUsed();
}

}  // namespace
}  // namespace minivmm
