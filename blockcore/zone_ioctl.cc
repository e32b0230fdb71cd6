#include "blockcore/zone_ioctl.h"

#include <linux/blkzoned.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "blockcore/base/log.h"
#include "blockcore/base/thread_entry.h"
#include "blockcore/base/units.h"
#include "blockcore/disk_transfer.h"

namespace minivmm {
namespace {

// Of one ioctl. A disk may have more than 100,000 zones; the kernel needs a buffer for all it is
// asked.
constexpr uint32_t kZonesPerSlice = 1024;

std::vector<std::byte> NewReportBuffer() {
  return std::vector<std::byte>(sizeof(blk_zone_report) + kZonesPerSlice * sizeof(blk_zone));
}

// Waits out signals. 0 or an errno value.
template <typename Argument>
int ZoneIoctl(int fd, unsigned long command, Argument* argument) {
  for (;;) {
    if (::ioctl(fd, command, argument) == 0) return 0;
    if (errno != EINTR) return errno;
  }
}

ZoneDescriptor ToDescriptor(const blk_zone& zone, bool has_capacity) {
  // Write pointers of zones that have none may be anything, for instance all ones.
  constexpr uint64_t kMaxSectors = ~uint64_t{0} / kSectorBytes;
  return {.start_bytes = zone.start * kSectorBytes,
          .length_bytes = zone.len * kSectorBytes,
          .capacity_bytes = (has_capacity ? zone.capacity : zone.len) * kSectorBytes,
          .write_pointer_bytes = std::min<uint64_t>(zone.wp, kMaxSectors) * kSectorBytes,
          .type = static_cast<ZoneType>(zone.type),
          .condition = static_cast<ZoneCondition>(zone.cond)};
}

// Fills `zones` from the zone that holds `offset_bytes` on; `count` says how far. 0 or an errno
// value.
int ReportSlice(int fd, uint64_t offset_bytes, std::span<ZoneDescriptor> zones,
                std::vector<std::byte>& buffer, uint32_t& count) {
  count = 0;
  blk_zone_report header{};
  header.sector = offset_bytes / kSectorBytes;
  header.nr_zones = static_cast<uint32_t>(std::min<size_t>(zones.size(), kZonesPerSlice));
  if (header.nr_zones == 0) return 0;
  uint32_t wanted = header.nr_zones;
  std::memcpy(buffer.data(), &header, sizeof(header));
  int error = ZoneIoctl(fd, BLKREPORTZONE, buffer.data());
  if (error != 0) return error;
  std::memcpy(&header, buffer.data(), sizeof(header));
  count = std::min(header.nr_zones, wanted);
  bool has_capacity = (header.flags & BLK_ZONE_REP_CAPACITY) != 0;
  for (uint32_t i = 0; i < count; ++i) {
    blk_zone zone;
    std::memcpy(&zone, buffer.data() + sizeof(header) + i * sizeof(zone), sizeof(zone));
    zones[i] = ToDescriptor(zone, has_capacity);
  }
  return 0;
}

}  // namespace

Result<std::vector<ZoneDescriptor>> ReadZones(int fd, const std::string& filename) {
  uint32_t zone_count = 0;
  if (int error = ZoneIoctl(fd, BLKGETNRZONES, &zone_count); error != 0) {
    return Fail("cannot ask '{}' for its zones: {}; the kernel needs CONFIG_BLK_DEV_ZONED",
                filename, ErrnoText(error));
  }
  std::vector<ZoneDescriptor> zones(zone_count);
  std::vector<std::byte> buffer = NewReportBuffer();
  uint64_t offset_bytes = 0;
  for (uint32_t done = 0; done < zone_count;) {
    uint32_t count = 0;
    int error = ReportSlice(fd, offset_bytes, std::span(zones).subspan(done), buffer, count);
    if (error != 0) {
      return Fail("cannot read the zones of '{}' from byte {} on: {}", filename, offset_bytes,
                  ErrnoText(error));
    }
    if (count == 0) {
      return Fail("cannot use '{}': it has {} zones, but reports only {}", filename, zone_count,
                  done);
    }
    done += count;
    const ZoneDescriptor& last = zones[done - 1];
    if (last.start_bytes < offset_bytes || last.length_bytes == 0) {
      return Fail("cannot use '{}': its zone report goes backwards at byte {}", filename,
                  offset_bytes);
    }
    offset_bytes = last.start_bytes + last.length_bytes;
  }
  return zones;
}

// One request on its way through the helper thread, and back as a task.
struct ZoneIoctlThread::Job : Task {
  ZoneIoctlThread* owner = nullptr;
  IoThread* io_thread = nullptr;
  BlockRequest* request = nullptr;
  Job* next_job = nullptr;
};

ZoneIoctlThread::ZoneIoctlThread(int fd, std::string filename, uint64_t capacity_bytes,
                                 uint64_t zone_size_bytes)
    : fd_(fd),
      filename_(std::move(filename)),
      capacity_bytes_(capacity_bytes),
      zone_size_bytes_(zone_size_bytes),
      thread_([this] { Run(); }) {}

ZoneIoctlThread::~ZoneIoctlThread() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  thread_.join();
}

void ZoneIoctlThread::Submit(IoThread& thread, BlockRequest& request) {
  thread.BeginElsewhere();
  std::lock_guard lock(mutex_);
  if (free_ == nullptr) {
    Job& fresh = *jobs_.emplace_back(std::make_unique<Job>());
    fresh.owner = this;
    fresh.run = [](Task& task) {
      auto& job = static_cast<Job&>(task);
      ZoneIoctlThread& owner = *job.owner;
      IoThread& io_thread = *job.io_thread;
      BlockRequest& done_request = *job.request;
      {
        std::lock_guard owner_lock(owner.mutex_);
        job.next_job = owner.free_;
        owner.free_ = &job;
      }
      io_thread.EndElsewhere();
      io_thread.Complete(done_request);
    };
    fresh.next_job = nullptr;
    free_ = &fresh;
  }
  Job& job = *free_;
  free_ = job.next_job;
  job.io_thread = &thread;
  job.request = &request;
  job.next_job = nullptr;
  (last_ == nullptr ? first_ : last_->next_job) = &job;
  last_ = &job;
  wake_.notify_one();
}

void ZoneIoctlThread::Run() {
  ::pthread_setname_np(::pthread_self(), "zone-ioctl");
  LeaveSignalsToOthers();
  std::vector<std::byte> report_buffer = NewReportBuffer();
  ThreadEntered(ThreadKind::kZoneIoctl);
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || first_ != nullptr; });
    if (first_ == nullptr) return;
    Job& job = *first_;
    first_ = job.next_job;
    if (first_ == nullptr) last_ = nullptr;
    lock.unlock();
    job.request->status = Execute(*job.request, report_buffer);
    job.io_thread->Post(job);
    lock.lock();
  }
}

BlockStatus ZoneIoctlThread::Execute(BlockRequest& request, std::vector<std::byte>& report_buffer) {
  int error = 0;
  unsigned long command = 0;
  uint64_t offset_bytes = request.offset_bytes;
  switch (request.op) {
    case BlockOp::kZoneReport: {
      request.zones_reported = 0;
      while (request.zones_reported < request.zones.size() && offset_bytes < capacity_bytes_) {
        uint32_t count = 0;
        error = ReportSlice(fd_, offset_bytes, request.zones.subspan(request.zones_reported),
                            report_buffer, count);
        if (error != 0 || count == 0) break;
        request.zones_reported += count;
        const ZoneDescriptor& last = request.zones[request.zones_reported - 1];
        offset_bytes = last.start_bytes + last.length_bytes;
      }
      break;
    }
    case BlockOp::kZoneOpen:
      command = BLKOPENZONE;
      break;
    case BlockOp::kZoneClose:
      command = BLKCLOSEZONE;
      break;
    case BlockOp::kZoneFinish:
      command = BLKFINISHZONE;
      break;
    case BlockOp::kZoneReset:
    case BlockOp::kZoneResetAll:
      command = BLKRESETZONE;
      break;
    default:
      return BlockStatus::kUnsupported;
  }
  if (command != 0) {
    // The whole disk in one range lets the kernel skip conventional zones (spec 6.1).
    bool all = request.op == BlockOp::kZoneResetAll;
    if (all) offset_bytes = 0;
    uint64_t length_bytes =
        all ? capacity_bytes_ : std::min(zone_size_bytes_, capacity_bytes_ - offset_bytes);
    blk_zone_range range{.sector = offset_bytes / kSectorBytes,
                         .nr_sectors = length_bytes / kSectorBytes};
    error = ZoneIoctl(fd_, command, &range);
  }
  if (error == 0) return BlockStatus::kOk;
  LOG_RATE_LIMITED("{}: a zone operation at {} failed on the host: {}", filename_, offset_bytes,
                   ErrnoText(error));
  return StatusFromErrno(error, /*zoned=*/true);
}

}  // namespace minivmm
