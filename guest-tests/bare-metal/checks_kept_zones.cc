// Zones that outlive the VMM, over two boots of one disk. The first (phase=write, phase=crash)
// makes known zones and data and flushes them; with phase=crash it then changes them without an
// end, while the VMM may be killed at any moment. The second (phase=verify) checks what is left.
//
//   sequential zone   when it was flushed              and then, with phase=crash
//   0 growing         24 granules, implicitly open     one granule more in each round
//   1 rewritten       4 granules, finished             reset, written anew, finished in each round
//   2 full            written to its capacity
//   3 finished        3 granules, finished
//   4 emptied         written, flushed, reset
//   5 opened          5 granules, explicitly open      ┐ where the disk's limits allow it
//   6 bare            nothing, explicitly open         ┘
//
// Every granule tells whose it is: zone, round and place (struct Stamp).

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/console.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

enum ZoneRole : uint64_t { kGrowing, kRewritten, kFull, kFinished, kEmptied, kOpened, kBare };
constexpr uint64_t kRoles = 7;

constexpr uint64_t kGrowingGranules = 24;
constexpr uint64_t kRewrittenGranules = 4;
constexpr uint64_t kFinishedGranules = 3;
constexpr uint64_t kOpenedGranules = 5;
constexpr uint64_t kConventionalGranules = 6;
constexpr uint64_t kConventionalTag = 100;
constexpr uint64_t kRoundsPerFlush = 8;

// At the beginning and at the end of each granule.
struct Stamp {
  uint64_t tag;  // ZoneRole, or kConventionalTag
  uint64_t round;
  uint64_t place;  // in granules from the zone's start
  bool operator==(const Stamp&) const = default;
};

uint64_t Granule() { return TheGeometry().granule_sectors; }
uint32_t GranuleBytes() { return static_cast<uint32_t>(Granule() * kSectorBytes); }

void PutStamp(uint8_t* granule, const Stamp& stamp) {
  *reinterpret_cast<Stamp*>(granule) = stamp;
  *reinterpret_cast<Stamp*>(granule + GranuleBytes() - sizeof(Stamp)) = stamp;
}

bool HasStamp(const uint8_t* granule, const Stamp& stamp) {
  return *reinterpret_cast<const Stamp*>(granule) == stamp &&
         *reinterpret_cast<const Stamp*>(granule + GranuleBytes() - sizeof(Stamp)) == stamp;
}

uint64_t GranulesPerBuffer() { return kBufferBytes / GranuleBytes(); }

uint64_t AtMost(uint64_t value, uint64_t limit) { return value < limit ? value : limit; }

// Granules `from` to `to` of a zone.
void WriteStamped(Disk& disk, uint64_t start, uint64_t tag, uint64_t round, uint64_t from,
                  uint64_t to) {
  while (from < to) {
    const uint64_t count = AtMost(to - from, GranulesPerBuffer());
    for (uint64_t i = 0; i < count; ++i) {
      PutStamp(write_buffer + i * GranuleBytes(), {tag, round, from + i});
    }
    REQUIRE_EQ(WriteSectors(disk, start + from * Granule(), count * Granule()), kOk);
    from += count;
  }
}

void RequireStamped(Disk& disk, uint64_t start, uint64_t tag, uint64_t round, uint64_t from,
                    uint64_t to) {
  while (from < to) {
    const uint64_t count = AtMost(to - from, GranulesPerBuffer());
    const auto bytes = static_cast<uint32_t>(count * GranuleBytes());
    REQUIRE_EQ(disk.Read(start + from * Granule(), read_buffer, bytes), kOk);
    for (uint64_t i = 0; i < count; ++i) {
      const bool granule_has_its_stamp =
          HasStamp(read_buffer + i * GranuleBytes(), {tag, round, from + i});
      REQUIRE(granule_has_its_stamp);
    }
    from += count;
  }
}

void RequireZeroes(Disk& disk, uint64_t start, uint64_t from, uint64_t to) {
  const auto bytes = static_cast<uint32_t>((to - from) * GranuleBytes());
  REQUIRE_EQ(disk.Read(start + from * Granule(), read_buffer, bytes), kOk);
  for (uint32_t i = 0; i < bytes; i += 8) {
    REQUIRE_EQ(*reinterpret_cast<const uint64_t*>(read_buffer + i), 0);
  }
}

uint64_t CapacityGranules(Disk& disk, uint64_t start) {
  return ReportZone(disk, start).capacity / Granule();
}

bool LimitsAllow(uint32_t open, uint32_t active) {
  const Geometry& geometry = TheGeometry();
  return (geometry.max_open == 0 || geometry.max_open >= open) &&
         (geometry.max_active == 0 || geometry.max_active >= active);
}

// Beside the growing zone, and the rewritten one while it is written.
bool HasOpenedZone() { return LimitsAllow(2, 3); }
bool HasBareZone() { return LimitsAllow(3, 4); }

void Flush(Disk& disk) { REQUIRE_EQ(disk.Command(kFlush, 0), kOk); }

void Rewrite(Disk& disk, uint64_t round) {
  const uint64_t start = SequentialZone(kRewritten);
  REQUIRE_EQ(disk.Command(kZoneReset, start), kOk);
  WriteStamped(disk, start, kRewritten, round, 0, kRewrittenGranules);
  REQUIRE_EQ(disk.Command(kZoneFinish, start), kOk);
}

// Until the growing zone has one granule left.
uint64_t GrownGranules(Disk& disk, uint64_t rounds) {
  return AtMost(kGrowingGranules + rounds, CapacityGranules(disk, SequentialZone(kGrowing)) - 1);
}

// Ends with the VMM. The number is that of the rounds that have been flushed.
[[noreturn]] void ChangeForEver(Disk& disk) {
  const uint64_t growing = SequentialZone(kGrowing);
  const uint64_t most = CapacityGranules(disk, growing) - 1;
  for (uint64_t round = 1;; ++round) {
    const uint64_t place = kGrowingGranules + round - 1;
    if (place < most) WriteStamped(disk, growing, kGrowing, 0, place, place + 1);
    Rewrite(disk, round);
    if (round % kRoundsPerFlush == 0) {
      Flush(disk);
      Print("baremetal: flushed ", round, "\n");
    }
  }
}

void MakeKnownZones(Disk& disk) {
  SequentialZone(kRoles - 1);
  WriteStamped(disk, SequentialZone(kEmptied), kEmptied, 0, 0, 8);
  Flush(disk);
  REQUIRE_EQ(disk.Command(kZoneReset, SequentialZone(kEmptied)), kOk);

  const uint64_t full = SequentialZone(kFull);
  WriteStamped(disk, full, kFull, 0, 0, CapacityGranules(disk, full));
  const uint64_t finished = SequentialZone(kFinished);
  WriteStamped(disk, finished, kFinished, 0, 0, kFinishedGranules);
  REQUIRE_EQ(disk.Command(kZoneFinish, finished), kOk);
  Rewrite(disk, 0);

  const uint64_t growing = SequentialZone(kGrowing);
  WriteStamped(disk, growing, kGrowing, 0, 0, kGrowingGranules);
  REQUIRE_EQ(StateOf(disk, growing), kStateImplicitlyOpen);
  if (HasOpenedZone()) {
    REQUIRE_EQ(disk.Command(kZoneOpen, SequentialZone(kOpened)), kOk);
    WriteStamped(disk, SequentialZone(kOpened), kOpened, 0, 0, kOpenedGranules);
  }
  if (HasBareZone()) REQUIRE_EQ(disk.Command(kZoneOpen, SequentialZone(kBare)), kOk);

  const ZoneDescriptor first = ReportZone(disk, 0);
  if (first.type == kZoneConventional) {
    WriteStamped(disk, first.start, kConventionalTag, 0, 3, 3 + kConventionalGranules);
  }
  Flush(disk);
  if (TheOptions().phase == Phase::kCrash) ChangeForEver(disk);
}

void GrowingZoneIsClosed(Disk& disk) {
  const uint64_t start = SequentialZone(kGrowing);
  REQUIRE_EQ(StateOf(disk, start), kStateClosed);
  const uint64_t granules = WrittenSectors(disk, start) / Granule();
  REQUIRE(granules >= GrownGranules(disk, TheOptions().flushed));
  REQUIRE(granules < CapacityGranules(disk, start));
  RequireStamped(disk, start, kGrowing, 0, 0, granules);
  RequireZeroes(disk, start, granules, granules + 1);
}

// A round that was not flushed may be there as well, whole or up to a pointer; two rounds at once
// may not. Of the round that was flushed, so was the finish.
void RewrittenZoneIsOfOneRound(Disk& disk) {
  const uint64_t start = SequentialZone(kRewritten);
  const uint8_t state = StateOf(disk, start);
  if (state == kStateEmpty) {
    REQUIRE(TheOptions().flushed > 0);
    return RequireZeroes(disk, start, 0, kRewrittenGranules);
  }
  REQUIRE(state == kStateClosed || state == kStateFull);
  uint64_t granules = kRewrittenGranules;
  if (state == kStateClosed) granules = WrittenSectors(disk, start) / Granule();
  REQUIRE(granules > 0);
  REQUIRE(granules <= kRewrittenGranules);
  REQUIRE_EQ(disk.Read(start, read_buffer, GranuleBytes()), kOk);
  const uint64_t round = reinterpret_cast<const Stamp*>(read_buffer)->round;
  REQUIRE(round >= TheOptions().flushed);
  if (round == TheOptions().flushed) REQUIRE_EQ(state, kStateFull);
  RequireStamped(disk, start, kRewritten, round, 0, granules);
  RequireZeroes(disk, start, granules, granules + 4);
}

void FullZoneKeepsItsData(Disk& disk) {
  const uint64_t start = SequentialZone(kFull);
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
  RequireStamped(disk, start, kFull, 0, 0, CapacityGranules(disk, start));
}

void FinishedZoneKeepsItsData(Disk& disk) {
  const uint64_t start = SequentialZone(kFinished);
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
  RequireStamped(disk, start, kFinished, 0, 0, kFinishedGranules);
  RequireZeroes(disk, start, kFinishedGranules, kFinishedGranules + 8);
}

void EmptiedZoneIsEmpty(Disk& disk) {
  const uint64_t start = SequentialZone(kEmptied);
  REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
  REQUIRE_EQ(WrittenSectors(disk, start), 0);
  RequireZeroes(disk, start, 0, 8);
}

void OpenedZoneIsClosed(Disk& disk) {
  if (!HasOpenedZone()) SkipCheck("the disk's limits leave no room for one");
  const uint64_t start = SequentialZone(kOpened);
  REQUIRE_EQ(StateOf(disk, start), kStateClosed);
  REQUIRE_EQ(WrittenSectors(disk, start), kOpenedGranules * Granule());
  RequireStamped(disk, start, kOpened, 0, 0, kOpenedGranules);
}

void BareZoneIsEmpty(Disk& disk) {
  if (!HasBareZone()) SkipCheck("the disk's limits leave no room for one");
  REQUIRE_EQ(StateOf(disk, SequentialZone(kBare)), kStateEmpty);
}

void ConventionalDataIsKept(Disk& disk) {
  const ZoneDescriptor first = ReportZone(disk, 0);
  if (first.type != kZoneConventional) SkipCheck("the disk has no conventional zone");
  RequireStamped(disk, first.start, kConventionalTag, 0, 3, 3 + kConventionalGranules);
}

void OtherZonesAreUntouched(Disk& disk) {
  const Geometry& geometry = TheGeometry();
  const uint64_t last_used = SequentialZone(kRoles - 1);
  for (uint64_t zone = 0; zone < geometry.zone_count;) {
    const ZoneReport& report = ReportZones(disk, zone * geometry.zone_sectors, 64);
    REQUIRE(report.zone_count > 0);
    for (uint64_t i = 0; i < report.zone_count; ++i, ++zone) {
      const uint8_t state = report.zones[i].state;
      REQUIRE(state != kStateImplicitlyOpen);
      REQUIRE(state != kStateExplicitlyOpen);
      if (report.zones[i].start <= last_used) continue;
      REQUIRE(state == kStateEmpty || state == kStateReadOnly || state == kStateOffline);
    }
  }
}

void WritingGoesOnAtThePointer(Disk& disk) {
  const uint64_t start = SequentialZone(kGrowing);
  const uint64_t granules = WrittenSectors(disk, start) / Granule();
  WriteStamped(disk, start, kGrowing, 0, granules, granules + 1);
  RequireStamped(disk, start, kGrowing, 0, granules - 1, granules + 1);
  REQUIRE_EQ(StateOf(disk, start),
             granules + 1 == CapacityGranules(disk, start) ? kStateFull : kStateImplicitlyOpen);
}

const Check kKeeping[] = {
    {"Z-54", "known zones are made and flushed", kNeedsZoned | kNeedsWritable, MakeKnownZones},
};

const Check kKept[] = {
    {"Z-54", "an implicitly open zone comes back closed, with pointer and data", kNeedsZonesAsFound,
     GrowingZoneIsClosed},
    {"Z-54", "a zone that is rewritten again and again is of one round", kNeedsZonesAsFound,
     RewrittenZoneIsOfOneRound},
    {"Z-54", "a full zone keeps its data", kNeedsZonesAsFound, FullZoneKeepsItsData},
    {"Z-54", "a finished zone keeps its data", kNeedsZonesAsFound, FinishedZoneKeepsItsData},
    {"Z-54", "an emptied zone is empty and reads as zeroes", kNeedsZonesAsFound,
     EmptiedZoneIsEmpty},
    {"Z-54", "an explicitly open zone comes back closed, with pointer and data", kNeedsZonesAsFound,
     OpenedZoneIsClosed},
    {"Z-54", "an explicitly open zone without data comes back empty", kNeedsZonesAsFound,
     BareZoneIsEmpty},
    {"Z-54", "a conventional zone keeps its data", kNeedsZonesAsFound, ConventionalDataIsKept},
    {"Z-54", "no zone is open, and those never written are empty", kNeedsZonesAsFound,
     OtherZonesAreUntouched},
    {"Z-54", "writing goes on at the write pointer", kNeedsZonesAsFound | kNeedsWritable,
     WritingGoesOnAtThePointer},
};

}  // namespace

const CheckTable kKeepingChecks = {kKeeping, sizeof(kKeeping) / sizeof(kKeeping[0])};
const CheckTable kKeptZonesChecks = {kKept, sizeof(kKept) / sizeof(kKept[0])};

}  // namespace minivmm
