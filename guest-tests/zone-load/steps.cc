#include "guest-tests/zone-load/steps.h"

#include "guest-tests/bare-metal/command_line.h"
#include "guest-tests/bare-metal/console.h"

namespace minivmm {
namespace {

constexpr uint64_t kMaxZones = kMaxSlots;

struct Settings {
  uint64_t size = 4096;
  uint64_t depth = 1;
  uint64_t zones = 1;
  uint64_t conventional = 1;
  uint64_t ticks = 0;
};

uint64_t ReadTimestamp() {
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
  return uint64_t{high} << 32 | low;
}

// Where each request of a load goes.
class Places {
 public:
  Places(const ZonedDisk& disk, const Settings& settings)
      : zone_sectors_(disk.zone_sectors()),
        request_sectors_(settings.size / kSectorBytes),
        zones_(settings.zones),
        conventional_sectors_(settings.conventional * disk.zone_sectors()),
        next_zone_(settings.conventional * disk.zone_sectors()),
        end_(disk.capacity_sectors()) {
    for (uint64_t i = 0; i < zones_; ++i) UseNextZone(i);
  }

  struct Place {
    uint64_t zone;    // its first sector
    uint64_t sector;  // where its write pointer will stand
  };
  // Each zone in turn. A full one is replaced by the next on the disk.
  Place NextSequential() {
    const uint64_t i = turn_++ % zones_;
    if (at_[i] + request_sectors_ > start_[i] + zone_sectors_) UseNextZone(i);
    const Place place{start_[i], at_[i]};
    at_[i] += request_sectors_;
    return place;
  }
  // Far apart from each other: neighbours would be joined where a VMM does so.
  uint64_t NextConventional() {
    seed_ = seed_ * 6364136223846793005u + 1442695040888963407u;
    return (seed_ >> 20) % (conventional_sectors_ / request_sectors_) * request_sectors_;
  }
  bool HasRoom() const { return next_zone_ + zones_ * zone_sectors_ <= end_; }

 private:
  void UseNextZone(uint64_t i) {
    start_[i] = at_[i] = next_zone_;
    next_zone_ += zone_sectors_;
  }

  const uint64_t zone_sectors_;
  const uint64_t request_sectors_;
  const uint64_t zones_;
  const uint64_t conventional_sectors_;
  uint64_t next_zone_;
  const uint64_t end_;
  uint64_t start_[kMaxZones];
  uint64_t at_[kMaxZones];
  uint64_t turn_ = 0;
  uint64_t seed_ = 1;
};

enum class Op { kWrite, kAppend, kConventional, kRead };

void StartOne(ZonedDisk& disk, Places& places, Op op, uint16_t slot, uint32_t bytes) {
  switch (op) {
    case Op::kWrite:
      return disk.Start(slot, kOut, places.NextSequential().sector, bytes);
    case Op::kAppend:
      return disk.Start(slot, kZoneAppend, places.NextSequential().zone, bytes);
    case Op::kConventional:
      return disk.Start(slot, kOut, places.NextConventional(), bytes);
    case Op::kRead:
      return disk.Start(slot, kIn, places.NextConventional(), bytes);
  }
}

// One request on its own.
bool RunOne(ZonedDisk& disk, uint32_t type) {
  disk.Start(0, type, 0, 0);
  disk.Kick();
  return disk.Await([](uint16_t) {});
}

void Announce() {
  Print("@step\n");
  WaitForCharacter();
}

bool RunLoad(ZonedDisk& disk, const Settings& settings, Op op) {
  if (settings.depth == 0 || settings.depth > kMaxSlots || settings.zones == 0 ||
      settings.zones > kMaxZones || settings.size == 0 || settings.size > kMaxRequestBytes) {
    Print("@failed depth, zones or size is out of range\n");
    return false;
  }
  if ((op == Op::kWrite || op == Op::kAppend) && !RunOne(disk, kZoneResetAll)) return false;
  Announce();

  Places places(disk, settings);
  const auto bytes = static_cast<uint32_t>(settings.size);
  uint64_t count = 0;
  uint64_t in_flight = 0;
  const uint64_t begun = ReadTimestamp();
  for (; in_flight < settings.depth; ++in_flight) {
    StartOne(disk, places, op, static_cast<uint16_t>(in_flight), bytes);
  }
  disk.Kick();
  while (in_flight > 0) {
    const bool goes_on = ReadTimestamp() - begun < settings.ticks;
    if (goes_on && !places.HasRoom()) {
      Print("@failed the disk was full before the time was over\n");
      return false;
    }
    const bool succeeded = disk.Await([&](uint16_t slot) {
      ++count;
      if (goes_on) {
        StartOne(disk, places, op, slot, bytes);
      } else {
        --in_flight;
      }
    });
    if (!succeeded) return false;
    disk.Kick();
  }
  Print("@ran ", count, " ", ReadTimestamp() - begun, "\n");
  return true;
}

bool RunReports(ZonedDisk& disk, const Settings& settings) {
  Announce();
  const uint64_t zones = (disk.capacity_sectors() + disk.zone_sectors() - 1) / disk.zone_sectors();
  uint64_t count = 0;
  const uint64_t begun = ReadTimestamp();
  do {
    for (uint64_t zone = 0; zone < zones;) {
      disk.StartReport(0, zone * disk.zone_sectors());
      disk.Kick();
      if (!disk.Await([](uint16_t) {})) return false;
      const uint64_t expected =
          zones - zone < ZonedDisk::kReportZones ? zones - zone : ZonedDisk::kReportZones;
      if (disk.ReportedZones() != expected) {
        Print("@failed a report gave ", disk.ReportedZones(), " zones, not ", expected, "\n");
        return false;
      }
      zone += expected;
    }
    ++count;
  } while (ReadTimestamp() - begun < settings.ticks);
  Print("@ran ", count, " ", ReadTimestamp() - begun, "\n");
  return true;
}

bool OpenDisk(ZonedDisk& disk, uint64_t number) {
  PciFunction function;
  if (!FindPciFunction(kVirtioVendorId, kVirtioBlkDeviceId, number, &function)) {
    Print("@failed no virtio-blk function 1af4:1042 number ", number, " on PCI bus 0\n");
    return false;
  }
  if (const char* error = disk.Open(function)) {
    Print("@failed disk ", number, ": ", error, "\n");
    return false;
  }
  return true;
}

bool ObeyWord(ZonedDisk& disk, Settings& settings, const char* word) {
  uint64_t number = 0;
  if (const char* value = ValueOf(word, "disk=")) {
    return ParseNumber(value, &number) && OpenDisk(disk, number);
  }
  if (const char* value = ValueOf(word, "size=")) return ParseNumber(value, &settings.size);
  if (const char* value = ValueOf(word, "depth=")) return ParseNumber(value, &settings.depth);
  if (const char* value = ValueOf(word, "zones=")) return ParseNumber(value, &settings.zones);
  if (const char* value = ValueOf(word, "ticks=")) return ParseNumber(value, &settings.ticks);
  if (const char* value = ValueOf(word, "conventional=")) {
    return ParseNumber(value, &settings.conventional);
  }
  if (IsWord(word, "op=write")) return RunLoad(disk, settings, Op::kWrite);
  if (IsWord(word, "op=append")) return RunLoad(disk, settings, Op::kAppend);
  if (IsWord(word, "op=conventional")) return RunLoad(disk, settings, Op::kConventional);
  if (IsWord(word, "op=read")) return RunLoad(disk, settings, Op::kRead);
  if (IsWord(word, "op=report")) return RunReports(disk, settings);
  return false;
}

}  // namespace

bool RunSteps(ZonedDisk& disk, const char* command_line) {
  Settings settings;
  return ParseWords(command_line, [&](const char* word) { return ObeyWord(disk, settings, word); });
}

}  // namespace minivmm
