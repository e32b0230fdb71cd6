// bench_path: drives virtio-blk devices as a guest's driver would, at next to no cost of its own,
// so that what is measured is the path of a request: ring, parsing, block core, disk, used ring.
//
//   bench_path DESCRIPTION [KEY=VALUE …]     "driver=null-co,size=1G", as for --blockdev
//
//   requests=100000   in all             op=read        or write, append, flush
//   depth=256         at a time          bytes=4096     of each request
//   disks=1           that many devices, in turn; DESCRIPTION is used for each
//   packed=0          1: packed rings    spread=0       1: requests go to all zones in turn, or to
//                                                       places all over the disk; 0: one after another
//   op=zones          instead: times of opening, reporting all zones, resetting all
//
// The descriptors are written once; a lap of `depth` requests is a new index for the device (in a
// packed ring, new flags), and where they go is one store into each header. tools/bench-path runs
// this under callgrind with N and with 2N requests: the difference is the cost of N.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/event_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/block_backend.h"
#include "blockcore/block_graph.h"
#include "blockcore/sync_request.h"
#include "devices/virtio_blk.h"
#include "devices/virtqueue_driver.h"

namespace minivmm {
namespace {

struct Settings {
  std::string description;
  std::map<std::string, std::string, std::less<>> words = {
      {"requests", "100000"}, {"op", "read"},  {"depth", "256"}, {"bytes", "4096"},
      {"disks", "1"},         {"packed", "0"}, {"spread", "0"}};

  const std::string& Word(std::string_view key) const { return words.find(key)->second; }
  uint64_t Number(std::string_view key) const {
    const std::string& text = Word(key);
    uint64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
  }
};

Result<Settings> ParseSettings(std::span<char*> arguments) {
  if (arguments.empty()) return Fail("usage: bench_path DESCRIPTION [KEY=VALUE …]");
  Settings settings{.description = arguments[0]};
  for (std::string_view word : arguments.subspan(1)) {
    const size_t equals = word.find('=');
    const auto key = settings.words.find(word.substr(0, equals));
    if (equals == word.npos || key == settings.words.end()) return Fail("unknown word '{}'", word);
    key->second = word.substr(equals + 1);
  }
  return settings;
}

uint32_t TypeOf(std::string_view op) {
  if (op == "write") return kBlkTypeOut;
  if (op == "append") return kBlkTypeZoneAppend;
  if (op == "flush") return kBlkTypeFlush;
  return kBlkTypeIn;
}

class NoReset : public NeedsReset {
 public:
  void Raise() override { VMM_CHECK(!"the ring is sound"); }
};

// One device with a driver that only turns the ring.
class BenchDisk {
 public:
  BenchDisk(const Settings& settings, BlockNode& disk)
      : disk_(disk),
        type_(TypeOf(settings.Word("op"))),
        depth_(static_cast<uint16_t>(settings.Number("depth"))),
        bytes_(static_cast<uint32_t>(settings.Number("bytes"))),
        spread_(settings.Number("spread") != 0),
        guest_(4_MiB + uint64_t{depth_} * (bytes_ + 1024)),
        driver_(guest_, depth_,
                kFeatureIndirectDesc | kFeatureEventIdx |
                    (settings.Number("packed") != 0 ? kFeatureRingPacked : 0)) {
    auto device = VirtioBlk::Create({.name = "bench",
                                     .queue_size = std::max<uint16_t>(depth_, 4),
                                     .packed = driver_.is_packed()},
                                    disk);
    VMM_CHECK(device.has_value());
    device_ = std::move(*device);
    for (uint16_t i = 0; i < depth_; ++i) BuildRequest(i);
    Activation activation{
        .features = device_->offered_features(), .queues = {}, .needs_reset = &no_reset_};
    activation.queues.push_back(
        {.index = 0,
         .ring = *Virtqueue::Create(guest_.memory(), driver_.config(), driver_.features()),
         .doorbell = &doorbell_,
         .interrupt = &route_});
    device_->Activate(std::move(activation));
  }
  ~BenchDisk() { device_->Reset(); }

  // All `depth` requests once more.
  void StartLap() {
    if (type_ != kBlkTypeFlush) {
      for (uint16_t i = 0; i < depth_; ++i) guest_.Store(headers_[i] + 8, NextSector());
    }
    if (driver_.is_packed()) {
      for (uint16_t i = 0; i < depth_; ++i) {
        ring_[i].flags =
            static_cast<uint16_t>(RingDescriptor::kIndirect |
                                  (wrap_ ? PackedDescriptor::kAvailable : PackedDescriptor::kUsed));
        driver_.packed().SetDescriptor(i, ring_[i]);
      }
      // An interrupt for the lap's last one.
      driver_.packed().SetDriverEvent((depth_ - 1u) | uint32_t{wrap_} << 15 | 2u << 16);
      doorbell_.Notify();
    } else {
      const auto end = static_cast<uint16_t>(driver_.avail_index() + depth_);
      driver_.SetUsedEvent(static_cast<uint16_t>(end - 1));
      driver_.SetAvailIndex(end);
      if (driver_.NeedsDoorbell()) doorbell_.Notify();
    }
  }

  void EndLap() {
    while (!LapIsDone()) {
      pollfd poll_fd{interrupt_.fd(), POLLIN, 0};
      ::poll(&poll_fd, 1, -1);
      interrupt_.Drain();
    }
    wrap_ = !wrap_;
    for (uint64_t status : statuses_) {
      if (*guest_.Host(status) == std::byte{kBlkStatusOk}) continue;
      fmt::print(stderr, "bench_path: a request ended with status {}\n",
                 static_cast<int>(*guest_.Host(status)));
      std::exit(1);
    }
  }

 private:
  void BuildRequest(uint16_t index) {
    const uint64_t header = guest_.Place(VirtioBlkHeader{type_, 0, 0});
    const uint64_t status = guest_.Allocate(1);
    headers_.push_back(header);
    statuses_.push_back(status);
    std::vector<RingDescriptor> chain = {{header, sizeof(VirtioBlkHeader), 0, 0}};
    if (type_ != kBlkTypeFlush) {
      const uint16_t flags = type_ == kBlkTypeIn ? RingDescriptor::kWrite : 0;
      chain.push_back(
          {guest_.Allocate(bytes_, std::min<uint64_t>(4096, bytes_)), bytes_, flags, 0});
    }
    if (type_ == kBlkTypeZoneAppend)
      chain.push_back({guest_.Allocate(8), 8, RingDescriptor::kWrite, 0});
    chain.push_back({status, 1, RingDescriptor::kWrite, 0});
    const auto table_bytes = static_cast<uint32_t>(16 * chain.size());
    const uint64_t table = guest_.Allocate(table_bytes);
    for (size_t i = 0; i < chain.size(); ++i) {
      if (driver_.is_packed()) {
        guest_.Store(table + 16 * i,
                     PackedDescriptor{chain[i].address, chain[i].length, 0, chain[i].flags});
        continue;
      }
      if (i + 1 < chain.size()) chain[i].flags |= RingDescriptor::kNext;
      chain[i].next = static_cast<uint16_t>(i + 1);
      guest_.Store(table + 16 * i, chain[i]);
    }
    if (driver_.is_packed()) {
      ring_.push_back({table, table_bytes, index, 0});
    } else {
      driver_.SetDescriptor(index, {table, table_bytes, RingDescriptor::kIndirect, 0});
      driver_.SetAvailEntry(index, index);
    }
  }

  uint64_t NextSector() {
    const BlockLimits& limits = disk_.limits();
    const uint64_t place = next_place_++;
    if (limits.zoned != ZonedModel::kNone && spread_) {
      return place % limits.zone_count * (limits.zone_size_bytes / kSectorBytes);
    }
    if (type_ == kBlkTypeZoneAppend) return 0;
    const uint64_t places = limits.capacity_bytes / bytes_;
    // A multiplier that scatters; any odd number would do.
    return (spread_ ? place * 0x9e3779b1 : place) % places * (bytes_ / kSectorBytes);
  }

  bool LapIsDone() {
    if (!driver_.is_packed()) return driver_.used_index() == driver_.avail_index();
    const uint16_t flags = driver_.packed().GetDescriptor(static_cast<uint16_t>(depth_ - 1)).flags;
    const uint16_t both = PackedDescriptor::kAvailable | PackedDescriptor::kUsed;
    return (flags & both) == (wrap_ ? both : 0);
  }

  BlockNode& disk_;
  const uint32_t type_;
  const uint16_t depth_;
  const uint32_t bytes_;
  const bool spread_;
  FakeGuest guest_;
  VirtqueueDriver driver_;
  std::vector<uint64_t> headers_, statuses_;
  std::vector<PackedDescriptor> ring_;
  bool wrap_ = true;
  uint64_t next_place_ = 0;
  EventFd doorbell_ = *EventFd::Create();
  EventFd interrupt_ = *EventFd::Create();
  std::atomic<const EventFd*> route_{&interrupt_};
  NoReset no_reset_;
  std::unique_ptr<VirtioBlk> device_;
};

double Seconds(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count();
}

Result<std::unique_ptr<BlockBackend>> OpenDisk(BlockGraph& graph, const Settings& settings,
                                               const std::string& name) {
  TRY_VOID(graph.Add(fmt::format("node-name={},{}", name, settings.description)));
  return BlockBackend::Create(graph, name, "bench_path");
}

Result<void> TimeZones(const Settings& settings) {
  auto begun = std::chrono::steady_clock::now();
  BlockGraph graph;
  TRY(std::unique_ptr<BlockBackend> disk, OpenDisk(graph, settings, "d0"));
  fmt::print("open {:.1f} ms\n", Seconds(begun) * 1e3);
  TRY(std::unique_ptr<IoThread> thread, IoThread::Start("bench"));
  std::vector<ZoneDescriptor> zones(disk->limits().zone_count);
  BlockRequest report;
  report.op = BlockOp::kZoneReport;
  report.zones = zones;
  BlockRequest reset;
  reset.op = BlockOp::kZoneResetAll;
  for (BlockRequest* request : {&report, &reset}) {
    begun = std::chrono::steady_clock::now();
    const BlockStatus status = SubmitAndWait(*thread, *disk, *request);
    if (status != BlockStatus::kOk) return Fail("status {}", static_cast<int>(status));
    fmt::print("{} of {} zones {:.1f} ms\n", request == &report ? "report" : "reset", zones.size(),
               Seconds(begun) * 1e3);
  }
  return {};
}

Result<void> Run(const Settings& settings) {
  if (settings.Word("op") == "zones") return TimeZones(settings);
  BlockGraph graph;
  std::vector<std::unique_ptr<BlockBackend>> backends;
  std::vector<std::unique_ptr<BenchDisk>> disks;
  for (uint64_t i = 0; i < settings.Number("disks"); ++i) {
    TRY(std::unique_ptr<BlockBackend> disk, OpenDisk(graph, settings, fmt::format("d{}", i)));
    backends.push_back(std::move(disk));
    disks.push_back(std::make_unique<BenchDisk>(settings, *backends.back()));
  }
  const uint64_t lap = settings.Number("depth") * disks.size();
  const uint64_t laps = (settings.Number("requests") + lap - 1) / lap;
  const auto begun = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < laps; ++i) {
    for (auto& disk : disks) disk->StartLap();
    for (auto& disk : disks) disk->EndLap();
  }
  const double seconds = Seconds(begun);
  fmt::print("{} requests in {:.3f} s: {:.0f} a second, {:.0f} ns each\n", laps * lap, seconds,
             static_cast<double>(laps * lap) / seconds,
             seconds * 1e9 / static_cast<double>(laps * lap));
  disks.clear();
  return {};
}

}  // namespace
}  // namespace minivmm

int main(int argc, char** argv) {
  using namespace minivmm;
  const Result<Settings> settings =
      ParseSettings(std::span(argv, static_cast<size_t>(argc)).subspan(1));
  const Result<void> done = settings ? Run(*settings) : Result<void>(Unexpected(settings.error()));
  if (done) return 0;
  fmt::print(stderr, "bench_path: {}\n", done.error().message);
  return 1;
}
