// Runs on a real zoned block device, all of which it overwrites; the host's kernel must have zoned
// support, so the nested rig runs it in a guest:
//
//   MINIVMM_TEST_ZONED_DEVICE=/dev/nullb0 host_device_zoned_test
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/host_device.h"
#include "blockcore/sync_request.h"
#include "blockcore/zone_ioctl.h"

namespace minivmm {
namespace {

std::string DevicePath() {
  const char* path = std::getenv("MINIVMM_TEST_ZONED_DEVICE");
  REQUIRE_MESSAGE(path != nullptr,
                  "set MINIVMM_TEST_ZONED_DEVICE to a zoned device that may be overwritten");
  return path;
}

std::vector<uint8_t> Pattern(size_t length, uint32_t seed) {
  std::vector<uint8_t> bytes(length);
  for (uint8_t& byte : bytes)
    byte = static_cast<uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

// The device, opened, with all zones reset.
class Disk {
 public:
  Disk() {
    Result<std::unique_ptr<BlockNode>> opened = OpenHostDevice({.filename = DevicePath()});
    REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message));
    node = std::move(*opened);
    thread = std::move(*IoThread::Start("test"));
    REQUIRE(Manage(BlockOp::kZoneResetAll, 0) == BlockStatus::kOk);
    for (const ZoneDescriptor& zone : Report()) {
      if (zone.type == ZoneType::kSequentialRequired && zone.condition == ZoneCondition::kEmpty) {
        zones.push_back(zone);
      }
    }
    REQUIRE(zones.size() >= 4);
    block = node->limits().write_granularity_bytes;
  }

  const BlockLimits& limits() const { return node->limits(); }

  BlockStatus Manage(BlockOp op, uint64_t offset) {
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset;
    return SubmitAndWait(*thread, *node, request);
  }

  std::vector<ZoneDescriptor> Report() {
    std::vector<ZoneDescriptor> report(limits().zone_count);
    BlockRequest request;
    request.op = BlockOp::kZoneReport;
    request.zones = report;
    REQUIRE(SubmitAndWait(*thread, *node, request) == BlockStatus::kOk);
    REQUIRE(request.zones_reported == report.size());
    return report;
  }
  ZoneDescriptor ReportOf(uint64_t start) { return Report()[start / limits().zone_size_bytes]; }

  // What the kernel says, past the node.
  ZoneDescriptor HostReportOf(uint64_t start) {
    UniqueFd fd(::open(DevicePath().c_str(), O_RDONLY | O_CLOEXEC));
    auto report = ReadZones(fd.get(), DevicePath());
    REQUIRE(report.has_value());
    REQUIRE(report->size() == limits().zone_count);
    return (*report)[start / limits().zone_size_bytes];
  }

  BlockStatus Transfer(BlockOp op, uint64_t offset, std::vector<uint8_t>& data, size_t from = 0,
                       uint64_t* appended_at = nullptr) {
    iovec buffer{data.data() + from, data.size() - from};
    BlockRequest request;
    request.op = op;
    request.offset_bytes = offset;
    request.length_bytes = buffer.iov_len;
    request.buffers = {&buffer, 1};
    BlockStatus status = SubmitAndWait(*thread, *node, request);
    if (appended_at != nullptr) *appended_at = request.appended_at_bytes;
    return status;
  }
  BlockStatus Write(uint64_t offset, size_t length) {
    std::vector<uint8_t> data = Pattern(length, static_cast<uint32_t>(offset));
    return Transfer(BlockOp::kWrite, offset, data);
  }

  std::unique_ptr<BlockNode> node;
  std::unique_ptr<IoThread> thread;
  std::vector<ZoneDescriptor> zones;
  uint32_t block;
};

TEST_CASE("The limits describe the device") {
  Disk disk;
  const BlockLimits& limits = disk.limits();
  CHECK(limits.zoned == ZonedModel::kHostManaged);
  CHECK(limits.zone_count ==
        (limits.capacity_bytes + limits.zone_size_bytes - 1) / limits.zone_size_bytes);
  CHECK(limits.write_granularity_bytes >= limits.logical_block_bytes);
  CHECK(limits.max_append_bytes > 0);
  CHECK(limits.max_append_bytes % limits.write_granularity_bytes == 0);
  CHECK(limits.max_append_bytes <= disk.zones[0].capacity_bytes);
  CHECK(limits.max_append_bytes / 512 <= 0x7fffff);
  CHECK_FALSE(limits.discard);
  CHECK(disk.HostReportOf(disk.zones[0].start_bytes).condition == ZoneCondition::kEmpty);
}

TEST_CASE("Sequential writes move the write pointer and are read back, also with odd buffers") {
  Disk disk;
  uint64_t start = disk.zones[0].start_bytes;
  uint64_t at = start;
  std::vector<uint8_t> expected;
  for (size_t odd : {size_t{0}, size_t{1}, size_t{513}}) {
    std::vector<uint8_t> data = Pattern(odd + 16 * disk.block, 7 + odd);
    REQUIRE(disk.Transfer(BlockOp::kWrite, at, data, odd) == BlockStatus::kOk);
    expected.insert(expected.end(), data.begin() + odd, data.end());
    at += data.size() - odd;
    CHECK(disk.ReportOf(start).write_pointer_bytes == at);
    CHECK(disk.HostReportOf(start).write_pointer_bytes == at);
    CHECK(disk.ReportOf(start).condition == ZoneCondition::kImplicitlyOpen);
  }
  // Beyond the write pointer: zeroes, whatever the device has there.
  expected.resize(expected.size() + 8 * disk.block, 0);
  for (size_t odd : {size_t{0}, size_t{3}}) {
    std::vector<uint8_t> read(odd + expected.size(), 0xee);
    REQUIRE(disk.Transfer(BlockOp::kRead, start, read, odd) == BlockStatus::kOk);
    CHECK(std::equal(expected.begin(), expected.end(), read.begin() + odd));
  }
}

TEST_CASE("A write off the write pointer fails, and the next one at it succeeds") {
  Disk disk;
  uint64_t start = disk.zones[0].start_bytes;
  CHECK(disk.Write(start + disk.block, disk.block) == BlockStatus::kZoneUnaligned);
  CHECK(disk.Write(start, disk.block) == BlockStatus::kOk);
  CHECK(disk.Write(start, disk.block) == BlockStatus::kZoneUnaligned);
  CHECK(disk.Write(start + disk.block, disk.block) == BlockStatus::kOk);
}

TEST_CASE("A zone is filled to its capacity and no further") {
  Disk disk;
  const ZoneDescriptor zone = disk.zones[0];
  uint64_t step = std::min<uint64_t>(zone.capacity_bytes, 1_MiB);
  uint64_t at = zone.start_bytes;
  uint64_t end = zone.start_bytes + zone.capacity_bytes;
  while (at < end) {
    uint64_t length = std::min(step, end - at);
    REQUIRE(disk.Write(at, length) == BlockStatus::kOk);
    at += length;
  }
  CHECK(disk.ReportOf(zone.start_bytes).condition == ZoneCondition::kFull);
  CHECK(disk.HostReportOf(zone.start_bytes).condition == ZoneCondition::kFull);
  CHECK(disk.Write(zone.start_bytes, disk.block) == BlockStatus::kZoneInvalid);
  CHECK(disk.Manage(BlockOp::kZoneReset, zone.start_bytes) == BlockStatus::kOk);
  CHECK(disk.HostReportOf(zone.start_bytes).condition == ZoneCondition::kEmpty);
  CHECK(disk.Write(zone.start_bytes, disk.block) == BlockStatus::kOk);
}

TEST_CASE("Open, close, finish and reset change the device's zones") {
  Disk disk;
  uint64_t start = disk.zones[1].start_bytes;
  auto is = [&](ZoneCondition condition) {
    CHECK(disk.ReportOf(start).condition == condition);
    CHECK(disk.HostReportOf(start).condition == condition);
  };
  CHECK(disk.Manage(BlockOp::kZoneOpen, start) == BlockStatus::kOk);
  is(ZoneCondition::kExplicitlyOpen);
  CHECK(disk.Manage(BlockOp::kZoneClose, start) == BlockStatus::kOk);
  is(ZoneCondition::kEmpty);
  CHECK(disk.Write(start, disk.block) == BlockStatus::kOk);
  is(ZoneCondition::kImplicitlyOpen);
  CHECK(disk.Manage(BlockOp::kZoneClose, start) == BlockStatus::kOk);
  is(ZoneCondition::kClosed);
  CHECK(disk.Manage(BlockOp::kZoneOpen, start) == BlockStatus::kOk);
  is(ZoneCondition::kExplicitlyOpen);
  CHECK(disk.Manage(BlockOp::kZoneFinish, start) == BlockStatus::kOk);
  is(ZoneCondition::kFull);
  CHECK(disk.Manage(BlockOp::kZoneOpen, start) == BlockStatus::kZoneInvalid);
  CHECK(disk.Manage(BlockOp::kZoneReset, start) == BlockStatus::kOk);
  is(ZoneCondition::kEmpty);
  CHECK(disk.Manage(BlockOp::kZoneReset, start + disk.block) == BlockStatus::kZoneInvalid);
}

TEST_CASE("Reset-all empties every zone") {
  Disk disk;
  for (int i = 0; i < 4; ++i) {
    REQUIRE(disk.Write(disk.zones[i].start_bytes, disk.block) == BlockStatus::kOk);
  }
  CHECK(disk.Manage(BlockOp::kZoneResetAll, 0) == BlockStatus::kOk);
  for (int i = 0; i < 4; ++i) {
    CHECK(disk.ReportOf(disk.zones[i].start_bytes).condition == ZoneCondition::kEmpty);
    CHECK(disk.HostReportOf(disk.zones[i].start_bytes).condition == ZoneCondition::kEmpty);
  }
}

TEST_CASE("Buffers may begin anywhere in a page, and cross pages within a block") {
  Disk disk;
  constexpr size_t kPage = 4096;
  const uint64_t start = disk.zones[2].start_bytes;
  for (size_t from = 0; from < kPage; from += 512) {
    // The block begins `from` behind a page, for writing as for reading.
    std::vector<uint8_t> room(disk.block + 2 * kPage);
    const size_t to_page = kPage - reinterpret_cast<uintptr_t>(room.data()) % kPage;
    std::span<uint8_t> odd = std::span(room).subspan(to_page + from, disk.block);
    const std::vector<uint8_t> written = Pattern(disk.block, static_cast<uint32_t>(from));
    const uint64_t at = start + from / 512 * disk.block;
    const auto transfer = [&](BlockOp op) {
      iovec buffer{odd.data(), odd.size()};
      BlockRequest request;
      request.op = op;
      request.offset_bytes = at;
      request.length_bytes = odd.size();
      request.buffers = {&buffer, 1};
      return SubmitAndWait(*disk.thread, *disk.node, request);
    };
    CAPTURE(from);
    std::ranges::copy(written, odd.begin());
    REQUIRE(transfer(BlockOp::kWrite) == BlockStatus::kOk);
    std::ranges::fill(odd, uint8_t{0});
    REQUIRE(transfer(BlockOp::kRead) == BlockStatus::kOk);
    CHECK(std::ranges::equal(odd, written));
  }
}

TEST_CASE("Appends of two threads to one zone all find their own place") {
  Disk disk;
  auto other = std::move(*IoThread::Start("other"));
  uint64_t start = disk.zones[2].start_bytes;
  constexpr int kAppends = 64;
  struct Append {
    BlockRequest request;
    std::vector<uint8_t> data;
    iovec buffer;
  };
  std::vector<Append> appends(2 * kAppends);
  std::atomic<int> done{0};
  for (size_t i = 0; i < appends.size(); ++i) {
    Append& append = appends[i];
    append.data = Pattern(disk.block, static_cast<uint32_t>(i));
    append.buffer = {append.data.data(), append.data.size()};
    append.request.op = BlockOp::kZoneAppend;
    append.request.offset_bytes = start;
    append.request.length_bytes = disk.block;
    append.request.buffers = {&append.buffer, 1};
    append.request.PushCompletion(
        [](void* self, BlockRequest&) {
          auto& count = *static_cast<std::atomic<int>*>(self);
          ++count;
          count.notify_one();
        },
        &done);
  }
  for (IoThread* thread : {disk.thread.get(), other.get()}) {
    size_t first = thread == other.get() ? kAppends : 0;
    thread->RunAndWait([&] {
      for (int i = 0; i < kAppends; ++i) disk.node->Submit(*thread, appends[first + i].request);
    });
  }
  for (int seen = done; seen != 2 * kAppends; seen = done) done.wait(seen);
  std::set<uint64_t> places;
  for (Append& append : appends) {
    REQUIRE(append.request.status == BlockStatus::kOk);
    uint64_t at = append.request.appended_at_bytes;
    CHECK(at >= start);
    CHECK(at < start + 2 * kAppends * disk.block);
    CHECK(places.insert(at).second);
    std::vector<uint8_t> read(disk.block);
    REQUIRE(disk.Transfer(BlockOp::kRead, at, read) == BlockStatus::kOk);
    CHECK(read == append.data);
  }
  CHECK(disk.HostReportOf(start).write_pointer_bytes == start + 2 * kAppends * disk.block);
}

TEST_CASE("One zone too many open or active is refused with its own status") {
  Disk disk;
  uint32_t max_open = disk.limits().max_open_zones;
  if (max_open != 0 && max_open < disk.zones.size()) {
    for (uint32_t i = 0; i < max_open; ++i) {
      REQUIRE(disk.Manage(BlockOp::kZoneOpen, disk.zones[i].start_bytes) == BlockStatus::kOk);
    }
    CHECK(disk.Manage(BlockOp::kZoneOpen, disk.zones[max_open].start_bytes) ==
          BlockStatus::kZoneOpenLimit);
    CHECK(disk.Write(disk.zones[max_open].start_bytes, disk.block) == BlockStatus::kZoneOpenLimit);
    CHECK(disk.Manage(BlockOp::kZoneResetAll, 0) == BlockStatus::kOk);
  }
  uint32_t max_active = disk.limits().max_active_zones;
  if (max_active != 0 && max_active < disk.zones.size()) {
    // More than may be open: the oldest are closed on the way.
    for (uint32_t i = 0; i < max_active; ++i) {
      REQUIRE(disk.Write(disk.zones[i].start_bytes, disk.block) == BlockStatus::kOk);
    }
    CHECK(disk.Write(disk.zones[max_active].start_bytes, disk.block) ==
          BlockStatus::kZoneActiveLimit);
    CHECK(disk.Manage(BlockOp::kZoneFinish, disk.zones[0].start_bytes) == BlockStatus::kOk);
    CHECK(disk.Write(disk.zones[max_active].start_bytes, disk.block) == BlockStatus::kOk);
  }
}

TEST_CASE("A zone that was written behind our back fails once and is then read again") {
  Disk disk;
  uint64_t start = disk.zones[3].start_bytes;
  REQUIRE(disk.Write(start, disk.block) == BlockStatus::kOk);
  {
    UniqueFd fd(::open(DevicePath().c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC));
    std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(4096, 65536), &std::free);
    REQUIRE(::pwrite(fd.get(), block.get(), disk.block, start + disk.block) == disk.block);
  }
  CHECK(disk.Write(start + disk.block, disk.block) == BlockStatus::kIoError);
  CHECK(disk.ReportOf(start).write_pointer_bytes == start + 2 * disk.block);
  CHECK(disk.Write(start + 2 * disk.block, disk.block) == BlockStatus::kOk);
  std::vector<uint8_t> data = Pattern(disk.block, 5);
  uint64_t at = 0;
  CHECK(disk.Transfer(BlockOp::kZoneAppend, start, data, 0, &at) == BlockStatus::kOk);
  CHECK(at == start + 3 * disk.block);
}

TEST_CASE("The device is ours alone, and options that cannot be are refused") {
  auto failure = [](const HostDeviceOptions& options) {
    auto node = OpenHostDevice(options);
    REQUIRE_FALSE(node.has_value());
    return node.error().message;
  };
  std::string path = DevicePath();
  {
    Disk disk;
    CHECK(failure({.filename = path}).find("it is mounted or in use") != std::string::npos);
  }
  CHECK(failure({.filename = path, .cache_direct = false}).find("with cache.direct=off") !=
        std::string::npos);
  CHECK(failure({.filename = path, .discard = true}).find("with discard=unmap") !=
        std::string::npos);
  auto read_only = OpenHostDevice({.filename = path, .read_only = true});
  REQUIRE(read_only.has_value());
  CHECK((*read_only)->limits().read_only);
}

}  // namespace
}  // namespace minivmm
