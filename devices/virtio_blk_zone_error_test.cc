// What a guest sees of a zoned device of the host that fails: the device, the zone queue, io_uring
// and the thread for zone ioctls are the real ones; the disk's data is a file's, its zones and what
// they answer are the test's.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/blkzoned.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/disk_transfer.h"
#include "blockcore/failing_host.h"
#include "blockcore/zone_ioctl.h"
#include "blockcore/zone_model.h"
#include "blockcore/zoned_device.h"
#include "devices/virtio_blk_driver.h"

namespace minivmm {
namespace {

constexpr uint64_t kZone = 256_KiB;
constexpr uint64_t kZoneCapacity = 192_KiB;
constexpr uint32_t kZones = 8;

// A kernel's zones: writes at the write pointer only, and none after a failed one until the zone
// has been reported or reset.
class HostZones {
 public:
  HostZones() {
    for (uint32_t i = 0; i < kZones; ++i) {
      blk_zone zone{};
      zone.start = i * kZone / 512;
      zone.len = kZone / 512;
      zone.capacity = kZoneCapacity / 512;
      zone.wp = zone.start;
      zone.type = BLK_ZONE_TYPE_SEQWRITE_REQ;
      zone.cond = BLK_ZONE_COND_EMPTY;
      zones_.push_back(zone);
    }
    poisoned_.resize(kZones);
    fd_ = UniqueFd(::open(file_.path().c_str(), O_RDWR | O_CLOEXEC));
    REQUIRE(fd_.get() >= 0);
    std::lock_guard lock(current_mutex_);
    current_ = this;
    host_.emplace([this](const HostOperation& asked) { return Judge(asked); });
  }
  ~HostZones() {
    host_.reset();
    std::lock_guard lock(current_mutex_);
    current_ = nullptr;
  }

  // From now on: asked before each write, and before each ioctl (for an errno value, or 0).
  void Fail(std::function<HostOutcome()> write, std::function<int(unsigned long)> command) {
    std::lock_guard lock(mutex_);
    write_fault_ = std::move(write);
    command_fault_ = std::move(command);
  }
  void Heal() { Fail({}, {}); }
  void FailCommand(unsigned long failing, int error, int times = 1'000'000) {
    Fail({}, [failing, error, times](unsigned long command) mutable {
      return command == failing && times-- > 0 ? error : 0;
    });
  }

  uint64_t Written(uint32_t zone) {
    std::lock_guard lock(mutex_);
    return (zones_[zone].wp - zones_[zone].start) * 512;
  }
  // What a caller who knows the rules would never send.
  int violations() const { return violations_; }

  // Nothing if the descriptor is another's.
  static std::optional<int> Ioctl(int fd_number, unsigned long command, void* argument) {
    std::lock_guard lock(current_mutex_);
    if (current_ == nullptr || fd_number != current_->number_) return std::nullopt;
    return current_->Run(command, argument);
  }

  // Given to the medium.
  UniqueFd TakeFd() {
    number_ = fd_.get();
    return std::move(fd_);
  }

 private:
  size_t ZoneAt(uint64_t sector) const { return sector * 512 / kZone; }

  HostOutcome Judge(const HostOperation& asked) {
    if (asked.kind != HostOperation::Kind::kWrite) return {};
    std::lock_guard lock(mutex_);
    const size_t index = asked.offset_bytes / kZone;
    blk_zone& zone = zones_[index];
    if (poisoned_[index] || zone.wp * 512 != asked.offset_bytes) {
      ++violations_;
      return HostOutcome::Fail(EIO);
    }
    const HostOutcome outcome = write_fault_ ? write_fault_() : HostOutcome{};
    if (outcome.error != 0) {
      // What may pass by itself was not tried at all.
      poisoned_[index] = outcome.error != EINTR && outcome.error != EAGAIN;
      return outcome;
    }
    zone.wp += std::min(asked.length_bytes, outcome.at_most_bytes) / 512;
    zone.cond = zone.wp == zone.start + zone.capacity ? BLK_ZONE_COND_FULL
                : zone.cond == BLK_ZONE_COND_EXP_OPEN ? BLK_ZONE_COND_EXP_OPEN
                                                      : BLK_ZONE_COND_IMP_OPEN;
    return outcome;
  }

  int Run(unsigned long command, void* argument) {
    std::lock_guard lock(mutex_);
    if (int error = command_fault_ ? command_fault_(command) : 0; error != 0) {
      errno = error;
      return -1;
    }
    if (command == BLKGETNRZONES) {
      *static_cast<uint32_t*>(argument) = kZones;
      return 0;
    }
    if (command == BLKREPORTZONE) {
      auto* report = static_cast<blk_zone_report*>(argument);
      uint32_t count = 0;
      // As many as a kernel likes: whoever wants all has to ask again.
      const uint32_t room = std::min(report->nr_zones, 3u);
      for (size_t i = ZoneAt(report->sector); i < kZones && count < room; ++i) {
        poisoned_[i] = false;
        report->zones[count++] = zones_[i];
      }
      report->nr_zones = count;
      report->flags = BLK_ZONE_REP_CAPACITY;
      return 0;
    }
    const auto& range = *static_cast<const blk_zone_range*>(argument);
    for (uint64_t at = range.sector; at < range.sector + range.nr_sectors; at += kZone / 512) {
      Change(zones_[ZoneAt(at)], command);
      if (command == BLKRESETZONE) poisoned_[ZoneAt(at)] = false;
    }
    return 0;
  }

  static void Change(blk_zone& zone, unsigned long command) {
    switch (command) {
      case BLKOPENZONE:
        zone.cond = BLK_ZONE_COND_EXP_OPEN;
        return;
      case BLKCLOSEZONE:
        zone.cond = zone.wp == zone.start ? BLK_ZONE_COND_EMPTY : BLK_ZONE_COND_CLOSED;
        return;
      case BLKFINISHZONE:
        zone.cond = BLK_ZONE_COND_FULL;
        zone.wp = zone.start + zone.len;
        return;
      default:
        zone.cond = BLK_ZONE_COND_EMPTY;
        zone.wp = zone.start;
    }
  }

  static inline std::mutex current_mutex_;
  static inline HostZones* current_ = nullptr;

  const TemporaryFile file_{kZones * kZone};
  UniqueFd fd_;
  int number_ = -1;
  std::mutex mutex_;
  std::vector<blk_zone> zones_;
  std::vector<char> poisoned_;
  std::function<HostOutcome()> write_fault_;
  std::function<int(unsigned long)> command_fault_;
  std::atomic<int> violations_ = 0;
  std::optional<FailingHost> host_;
};

BlockLimits Limits() {
  BlockLimits limits;
  limits.capacity_bytes = kZones * kZone;
  limits.zoned = ZonedModel::kHostManaged;
  limits.zone_size_bytes = kZone;
  limits.zone_count = kZones;
  limits.max_open_zones = 4;
  limits.max_active_zones = 6;
  limits.max_append_bytes = 64_KiB;
  limits.write_granularity_bytes = 4096;
  return limits;
}

// The disk that host_device makes of such a device.
struct Device {
  Device() {
    UniqueFd fd = host.TakeFd();
    const int number = fd.get();
    auto zones = ReadZones(number, "disk");
    REQUIRE(zones.has_value());
    disk = std::make_unique<ZonedDevice>(
        std::move(fd), DiskTransferOptions{.filename = "disk", .fd = number, .zoned = true},
        std::move(*ZoneModel::Create(Limits(), *zones)));
  }
  HostZones host;
  std::unique_ptr<ZonedDevice> disk;
};

class Machine : public Device, public VirtioBlkDriver {
 public:
  Machine() : VirtioBlkDriver(*disk, {.name = "d"}) { Activate(); }
  ~Machine() { CHECK(host.violations() == 0); }

  uint64_t Written(uint32_t zone) {
    return Report(kZones)[zone].write_pointer_sector * 512 - zone * kZone;
  }
  ZoneCondition Condition(uint32_t zone) {
    return static_cast<ZoneCondition>(Report(kZones)[zone].condition);
  }
};

struct ZoneOperation {
  const char* name;
  uint32_t type;
  unsigned long command;
  ZoneCondition done;
};
constexpr ZoneOperation kZoneOperations[] = {
    {"open", kBlkTypeZoneOpen, BLKOPENZONE, ZoneCondition::kExplicitlyOpen},
    {"close", kBlkTypeZoneClose, BLKCLOSEZONE, ZoneCondition::kClosed},
    {"finish", kBlkTypeZoneFinish, BLKFINISHZONE, ZoneCondition::kFull},
    {"reset", kBlkTypeZoneReset, BLKRESETZONE, ZoneCondition::kEmpty},
    {"reset all", kBlkTypeZoneResetAll, BLKRESETZONE, ZoneCondition::kEmpty},
};

TEST_CASE("each error of the host in each zone operation has its status, and changes nothing") {
  struct Row {
    int error;
    uint8_t status;
  } rows[] = {
      {EIO, kBlkStatusIoError},
      {ENOSPC, kBlkStatusIoError},
      {EAGAIN, kBlkStatusIoError},
      {ENOMEM, kBlkStatusIoError},
      {EOPNOTSUPP, kBlkStatusUnsupported},
      {ENOTTY, kBlkStatusUnsupported},
      {ETOOMANYREFS, kBlkStatusZoneOpenLimit},
      {EOVERFLOW, kBlkStatusZoneActiveLimit},
  };
  for (const ZoneOperation& operation : kZoneOperations) {
    for (const Row& row : rows) {
      CAPTURE(operation.name);
      CAPTURE(row.error);
      Machine machine;
      const Bytes data = Data(8192, 1);
      REQUIRE(machine.Write(2 * kZone, data) == kBlkStatusOk);
      machine.host.FailCommand(operation.command, row.error);
      for (int again = 0; again < 3; ++again) {
        CHECK(machine.Do(operation.type, 2 * kZone) == row.status);
        CHECK(machine.Condition(2) == ZoneCondition::kImplicitlyOpen);
        CHECK(machine.Written(2) == 8192);
      }
      // Meanwhile all else goes on, in this zone and in others.
      CHECK(machine.Append(2 * kZone, data).second == 2 * kZone + 8192);
      CHECK(machine.Append(3 * kZone, data).second == 3 * kZone);
      machine.host.Heal();
      CHECK(machine.Do(operation.type, 2 * kZone) == kBlkStatusOk);
      CHECK(machine.Condition(2) == operation.done);
      CHECK(machine.Do(kBlkTypeZoneReset, 2 * kZone) == kBlkStatusOk);
      CHECK(machine.Append(2 * kZone, data).second == 2 * kZone);
      CHECK(machine.host.Written(2) == 8192);
    }
  }
}

TEST_CASE("an interrupted zone operation is done all the same") {
  for (const ZoneOperation& operation : kZoneOperations) {
    CAPTURE(operation.name);
    Machine machine;
    REQUIRE(machine.Write(2 * kZone, Data(8192, 1)) == kBlkStatusOk);
    machine.host.FailCommand(operation.command, EINTR, 5);
    CHECK(machine.Do(operation.type, 2 * kZone) == kBlkStatusOk);
    CHECK(machine.Condition(2) == operation.done);
  }
}

TEST_CASE("Z-30, Z-52: after a write that the host fails the pointer is where the host has it") {
  for (int error : {EIO, ENOSPC, EINTR, EAGAIN}) {
    for (uint64_t torn_bytes : {0, 4096, 8192}) {
      for (bool append : {false, true}) {
        CAPTURE(error);
        CAPTURE(torn_bytes);
        CAPTURE(append);
        Machine machine;
        const Bytes before = Data(8192, 1), failing = Data(12_KiB, 2), after = Data(16_KiB, 3);
        REQUIRE(machine.Write(2 * kZone, before) == kBlkStatusOk);
        machine.host.Fail(
            [error, left_bytes = torn_bytes]() mutable {
              const uint64_t bytes = std::exchange(left_bytes, 0);
              return bytes != 0 ? HostOutcome::Cut(bytes) : HostOutcome::Fail(error);
            },
            {});
        CHECK((append ? machine.Append(2 * kZone, failing).first
                      : machine.Write(2 * kZone + 8192, failing)) == kBlkStatusIoError);
        machine.host.Heal();
        CHECK(machine.Written(2) == 8192 + torn_bytes);
        CHECK(machine.host.Written(2) == 8192 + torn_bytes);
        if (torn_bytes != 0) {
          CHECK(machine.Write(2 * kZone + 8192, after) == kBlkStatusZoneUnaligned);
        }
        CHECK(machine.Append(2 * kZone, after) ==
              std::pair{kBlkStatusOk, 2 * kZone + 8192 + torn_bytes});
        const Bytes torn(failing.begin(), failing.begin() + static_cast<long>(torn_bytes));
        CHECK(machine.Read(2 * kZone, 8192 + torn_bytes + 16_KiB).second == before + torn + after);
      }
    }
  }
}

TEST_CASE("where the host cannot even tell the write pointer, the next write asks again") {
  Machine machine;
  const Bytes data = Data(8192, 1);
  REQUIRE(machine.Write(2 * kZone, data) == kBlkStatusOk);
  machine.host.Fail([]() { return HostOutcome::Fail(EIO); },
                    [](unsigned long command) { return command == BLKREPORTZONE ? EIO : 0; });
  for (int again = 0; again < 3; ++again) {
    CHECK(machine.Append(2 * kZone, data).first == kBlkStatusIoError);
    CHECK(machine.Write(2 * kZone + 8192, data) == kBlkStatusIoError);
  }
  CHECK(machine.Read(2 * kZone, 8192).second == data);
  CHECK(machine.Do(kBlkTypeZoneReset, 3 * kZone) == kBlkStatusOk);
  machine.host.Heal();
  CHECK(machine.Append(2 * kZone, data).second == 2 * kZone + 8192);
  CHECK(machine.Read(2 * kZone, 16_KiB).second == data + data);
}

}  // namespace
}  // namespace minivmm

extern "C" {
int __real_ioctl(int fd, unsigned long command, ...);
int __wrap_ioctl(int fd, unsigned long command, ...);
}

int __wrap_ioctl(int fd, unsigned long command, ...) {
  va_list list;
  va_start(list, command);
  void* argument = va_arg(list, void*);
  va_end(list);
  if (auto result = minivmm::HostZones::Ioctl(fd, command, argument)) return *result;
  return __real_ioctl(fd, command, argument);
}
