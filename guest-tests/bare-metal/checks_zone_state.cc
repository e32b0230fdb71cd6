// Checks of zone states: open, close, finish, reset, and the limits of open and active zones
// (virtio 1.3, 5.2.6). Each begins with all zones reset.

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

uint64_t Granule() { return TheGeometry().granule_sectors; }

uint8_t Open(Disk& disk, uint64_t start) { return disk.Command(kZoneOpen, start); }
uint8_t Close(Disk& disk, uint64_t start) { return disk.Command(kZoneClose, start); }
uint8_t Finish(Disk& disk, uint64_t start) { return disk.Command(kZoneFinish, start); }
uint8_t Reset(Disk& disk, uint64_t start) { return disk.Command(kZoneReset, start); }

// Brings an EMPTY zone into a state.
void Bring(Disk& disk, uint64_t start, uint8_t state) {
  if (state == kStateImplicitlyOpen || state == kStateClosed) {
    REQUIRE_EQ(WriteGranule(disk, start), kOk);
  }
  if (state == kStateExplicitlyOpen) REQUIRE_EQ(Open(disk, start), kOk);
  if (state == kStateClosed) REQUIRE_EQ(Close(disk, start), kOk);
  if (state == kStateFull) REQUIRE_EQ(Finish(disk, start), kOk);
  REQUIRE_EQ(StateOf(disk, start), state);
}

// Every operation in every state: the answer, and the state after it.
void EveryOperationInEveryState(Disk& disk) {
  struct Row {
    uint8_t from;
    uint32_t operation;
    uint8_t status;
    uint8_t to;
  };
  constexpr Row kRows[] = {
      {kStateEmpty, kZoneOpen, kOk, kStateExplicitlyOpen},
      {kStateEmpty, kZoneClose, kZoneInvalidCommand, kStateEmpty},
      {kStateEmpty, kZoneFinish, kOk, kStateFull},
      {kStateEmpty, kZoneReset, kOk, kStateEmpty},
      {kStateImplicitlyOpen, kZoneOpen, kOk, kStateExplicitlyOpen},
      {kStateImplicitlyOpen, kZoneClose, kOk, kStateClosed},
      {kStateImplicitlyOpen, kZoneFinish, kOk, kStateFull},
      {kStateImplicitlyOpen, kZoneReset, kOk, kStateEmpty},
      {kStateExplicitlyOpen, kZoneOpen, kOk, kStateExplicitlyOpen},
      {kStateExplicitlyOpen, kZoneClose, kOk, kStateEmpty},
      {kStateExplicitlyOpen, kZoneFinish, kOk, kStateFull},
      {kStateExplicitlyOpen, kZoneReset, kOk, kStateEmpty},
      {kStateClosed, kZoneOpen, kOk, kStateExplicitlyOpen},
      {kStateClosed, kZoneClose, kOk, kStateClosed},
      {kStateClosed, kZoneFinish, kOk, kStateFull},
      {kStateClosed, kZoneReset, kOk, kStateEmpty},
      {kStateFull, kZoneOpen, kZoneInvalidCommand, kStateFull},
      {kStateFull, kZoneClose, kZoneInvalidCommand, kStateFull},
      {kStateFull, kZoneFinish, kOk, kStateFull},
      {kStateFull, kZoneReset, kOk, kStateEmpty},
  };
  const uint64_t start = SequentialZone(0);
  for (const Row& row : kRows) {
    REQUIRE_EQ(Reset(disk, start), kOk);
    Bring(disk, start, row.from);
    // The number in a failure's text is 0x100 * state + operation, so that the row can be found.
    const uint64_t row_id = uint64_t{row.from} << 8 | row.operation;
    const uint64_t status = disk.Command(row.operation, start);
    REQUIRE_EQ(row_id << 8 | status, row_id << 8 | row.status);
    const uint64_t state = StateOf(disk, start);
    REQUIRE_EQ(row_id << 8 | state, row_id << 8 | row.to);
  }
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
}

void ResetRewindsThePointer(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  for (const uint8_t state :
       {kStateImplicitlyOpen, kStateExplicitlyOpen, kStateClosed, kStateFull}) {
    Bring(disk, start, state);
    REQUIRE_EQ(Reset(disk, start), kOk);
    REQUIRE_EQ(WrittenSectors(disk, start), 0);
  }
}

void ConventionalZoneHasNoOperations(Disk& disk) {
  const uint64_t start = ConventionalZone();
  for (const uint32_t type : {kZoneOpen, kZoneClose, kZoneFinish, kZoneReset}) {
    REQUIRE_EQ(disk.Command(type, start), kZoneInvalidCommand);
  }
  REQUIRE_EQ(StateOf(disk, start), kStateNotWp);
}

void OperationsNeedAZoneStart(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  for (const uint32_t type : {kZoneOpen, kZoneClose, kZoneFinish, kZoneReset}) {
    for (const uint64_t sector :
         {start + 1, disk.capacity_sectors(), uint64_t{1} << 55, ~uint64_t{0}}) {
      REQUIRE_EQ(disk.Command(type, sector), kZoneInvalidCommand);
    }
  }
  REQUIRE_EQ(StateOf(disk, start), kStateImplicitlyOpen);
  REQUIRE_EQ(WrittenSectors(disk, start), Granule());
}

void ResetAllResetsAll(Disk& disk) {
  const uint64_t a = SequentialZone(0);
  const uint64_t b = SequentialZone(1);
  const uint64_t c = SequentialZone(2);
  Bring(disk, a, kStateFull);
  Bring(disk, b, kStateImplicitlyOpen);
  Bring(disk, c, kStateClosed);
  // The device ignores the sector.
  REQUIRE_EQ(disk.Command(kZoneResetAll, a + 1), kOk);
  for (const uint64_t start : {a, b, c}) {
    REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
    REQUIRE_EQ(WrittenSectors(disk, start), 0);
    // One at a time: the limit of active zones may be below three.
    REQUIRE_EQ(WriteGranule(disk, start), kOk);
    REQUIRE_EQ(Reset(disk, start), kOk);
  }
}

void ResetAllKeepsConventionalData(Disk& disk) {
  const uint64_t start = ConventionalZone();
  FillPattern(write_buffer, 512, 5);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  REQUIRE_EQ(disk.Command(kZoneResetAll, 0), kOk);
  REQUIRE_EQ(disk.Read(start, read_buffer, static_cast<uint32_t>(Granule() * kSectorBytes)), kOk);
  REQUIRE(HasPattern(read_buffer, 512, 5));
}

void ExplicitOpenPersists(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(Open(disk, start), kOk);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateExplicitlyOpen);
  REQUIRE_EQ(Close(disk, start), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateClosed);
  REQUIRE_EQ(WriteGranule(disk, start, Granule()), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateImplicitlyOpen);
}

void LastZoneHasItsRealLength(Disk& disk) {
  const Geometry& geometry = TheGeometry();
  const uint64_t start = (geometry.zone_count - 1) * geometry.zone_sectors;
  const ZoneDescriptor zone = ReportZone(disk, start);
  if (zone.type == kZoneConventional || zone.state != kStateEmpty) {
    SkipCheck("the last zone is not an empty sequential one");
  }
  REQUIRE(start + zone.capacity <= disk.capacity_sectors());
  FillZone(disk, start);
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
  REQUIRE_EQ(Reset(disk, start), kOk);
  REQUIRE_EQ(Finish(disk, start), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
  REQUIRE_EQ(Reset(disk, start), kOk);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
}

uint64_t MaxOpen() {
  if (TheGeometry().max_open == 0) SkipCheck("no limit of open zones");
  return TheGeometry().max_open;
}

uint64_t MaxActive() {
  if (TheGeometry().max_active == 0) SkipCheck("no limit of active zones");
  return TheGeometry().max_active;
}

// What one zone too many gets when `open_count` zones are open and as many active.
uint8_t ExhaustedStatus(uint64_t open_count) {
  return TheGeometry().max_active == open_count ? kZoneActiveResource : kZoneOpenResource;
}

void OneZoneTooManyOpen(Disk& disk) {
  const uint64_t limit = MaxOpen();
  const uint64_t extra = SequentialZone(limit);
  for (uint64_t i = 0; i < limit; ++i) REQUIRE_EQ(Open(disk, SequentialZone(i)), kOk);
  REQUIRE_EQ(Open(disk, extra), ExhaustedStatus(limit));
  REQUIRE_EQ(WriteGranule(disk, extra), ExhaustedStatus(limit));
  if (!disk.IsHostAware()) {
    REQUIRE_EQ(
        Append(disk, extra, write_buffer, static_cast<uint32_t>(Granule() * kSectorBytes)).status,
        ExhaustedStatus(limit));
  }
  REQUIRE_EQ(StateOf(disk, extra), kStateEmpty);
  REQUIRE_EQ(WrittenSectors(disk, extra), 0);
  REQUIRE_EQ(Close(disk, SequentialZone(0)), kOk);
  REQUIRE_EQ(Open(disk, extra), kOk);
}

void OneZoneTooManyActive(Disk& disk) {
  const uint64_t limit = MaxActive();
  const uint64_t extra = SequentialZone(limit);
  for (uint64_t i = 0; i < limit; ++i) {
    REQUIRE_EQ(WriteGranule(disk, SequentialZone(i)), kOk);
    REQUIRE_EQ(Close(disk, SequentialZone(i)), kOk);
  }
  REQUIRE_EQ(WriteGranule(disk, extra), kZoneActiveResource);
  REQUIRE_EQ(Open(disk, extra), kZoneActiveResource);
  REQUIRE_EQ(StateOf(disk, extra), kStateEmpty);
  REQUIRE_EQ(Finish(disk, SequentialZone(0)), kOk);
  REQUIRE_EQ(WriteGranule(disk, extra), kOk);
}

void ImplicitlyOpenZonesAreClosed(Disk& disk) {
  const uint64_t limit = MaxOpen();
  if (TheGeometry().max_active == limit) SkipCheck("as many active zones as open ones");
  SequentialZone(limit);
  uint64_t open = 0;
  uint64_t closed = 0;
  for (uint64_t i = 0; i <= limit; ++i) REQUIRE_EQ(WriteGranule(disk, SequentialZone(i)), kOk);
  for (uint64_t i = 0; i <= limit; ++i) {
    const uint8_t state = StateOf(disk, SequentialZone(i));
    if (state == kStateImplicitlyOpen) ++open;
    if (state == kStateClosed) ++closed;
  }
  REQUIRE_EQ(open, limit);
  REQUIRE_EQ(closed, 1);
  for (uint64_t i = 0; i <= limit; ++i) {
    REQUIRE_EQ(WriteGranule(disk, SequentialZone(i), Granule()), kOk);
  }
}

// At the limit of active zones, a closed zone needs only an open resource, which an implicitly open
// zone gives up.
void ClosedZoneReopensAtTheLimit(Disk& disk) {
  const uint64_t limit = MaxActive();
  SequentialZone(limit - 1);
  for (uint64_t i = 0; i < limit; ++i) REQUIRE_EQ(WriteGranule(disk, SequentialZone(i)), kOk);
  REQUIRE_EQ(Close(disk, SequentialZone(0)), kOk);
  REQUIRE_EQ(WriteGranule(disk, SequentialZone(0), Granule()), kOk);
  REQUIRE_EQ(Close(disk, SequentialZone(0)), kOk);
  REQUIRE_EQ(Open(disk, SequentialZone(0)), kOk);
}

void FullAndEmptyZonesFreeTheirResources(Disk& disk) {
  const uint64_t limit = MaxOpen();
  const uint64_t extra = SequentialZone(limit);
  for (uint64_t i = 0; i < limit; ++i) REQUIRE_EQ(Open(disk, SequentialZone(i)), kOk);
  REQUIRE_EQ(Finish(disk, SequentialZone(0)), kOk);
  REQUIRE_EQ(Open(disk, extra), kOk);
  REQUIRE_EQ(Reset(disk, extra), kOk);
  REQUIRE_EQ(Open(disk, extra), kOk);
  REQUIRE_EQ(Close(disk, extra), kOk);
  REQUIRE_EQ(StateOf(disk, extra), kStateEmpty);
  REQUIRE_EQ(Open(disk, extra), kOk);
  FillZone(disk, extra);
  REQUIRE_EQ(Reset(disk, SequentialZone(0)), kOk);
  REQUIRE_EQ(Open(disk, SequentialZone(0)), kOk);
}

void OpenWithoutResourcesChangesNothing(Disk& disk) {
  const uint64_t limit = MaxOpen();
  const uint64_t extra = SequentialZone(limit);
  for (uint64_t i = 0; i < limit; ++i) REQUIRE_EQ(Open(disk, SequentialZone(i)), kOk);
  REQUIRE_EQ(Open(disk, extra), ExhaustedStatus(limit));
  REQUIRE_EQ(StateOf(disk, extra), kStateEmpty);
  for (uint64_t i = 0; i < limit; ++i) {
    REQUIRE_EQ(StateOf(disk, SequentialZone(i)), kStateExplicitlyOpen);
  }
}

void WriteWithoutResourcesChangesNothing(Disk& disk) {
  const uint64_t limit = MaxOpen();
  const uint64_t extra = SequentialZone(limit);
  for (uint64_t i = 0; i < limit; ++i) REQUIRE_EQ(Open(disk, SequentialZone(i)), kOk);
  const auto bytes = static_cast<uint32_t>(Granule() * kSectorBytes);
  FillPattern(write_buffer, bytes, 23);
  REQUIRE_EQ(disk.Write(extra, write_buffer, bytes), ExhaustedStatus(limit));
  REQUIRE_EQ(StateOf(disk, extra), kStateEmpty);
  REQUIRE_EQ(WrittenSectors(disk, extra), 0);
  REQUIRE_EQ(disk.Read(extra, read_buffer, bytes), kOk);
  REQUIRE(!HasPattern(read_buffer, bytes, 23));
}

void BothLimitsGiveActiveResource(Disk& disk) {
  const uint64_t limit = MaxActive();
  if (MaxOpen() != limit) SkipCheck("the limits differ");
  const uint64_t extra = SequentialZone(limit);
  for (uint64_t i = 0; i < limit; ++i) REQUIRE_EQ(Open(disk, SequentialZone(i)), kOk);
  REQUIRE_EQ(Open(disk, extra), kZoneActiveResource);
  REQUIRE_EQ(WriteGranule(disk, extra), kZoneActiveResource);
}

void ClosedZonesAreNotOpen(Disk& disk) {
  const uint64_t limit = MaxOpen();
  if (TheGeometry().max_active == limit) SkipCheck("as many active zones as open ones");
  const uint64_t closed = SequentialZone(limit);
  Bring(disk, closed, kStateClosed);
  for (uint64_t i = 0; i < limit; ++i) REQUIRE_EQ(Open(disk, SequentialZone(i)), kOk);
  REQUIRE_EQ(StateOf(disk, closed), kStateClosed);
  REQUIRE_EQ(Open(disk, closed), kZoneOpenResource);
}

// What cannot be, from the states where it cannot.
void RequireInvalid(Disk& disk, uint32_t operation, std::initializer_list<uint8_t> states) {
  const uint64_t start = SequentialZone(0);
  for (const uint8_t state : states) {
    REQUIRE_EQ(Reset(disk, start), kOk);
    Bring(disk, start, state);
    REQUIRE_EQ(disk.Command(operation, start), kZoneInvalidCommand);
    REQUIRE_EQ(StateOf(disk, start), state);
  }
}

void FullZoneCannotBeOpened(Disk& disk) { RequireInvalid(disk, kZoneOpen, {kStateFull}); }

void EmptyAndFullZonesCannotBeClosed(Disk& disk) {
  RequireInvalid(disk, kZoneClose, {kStateEmpty, kStateFull});
}

void CloseOfAnEmptyOpenZoneEmptiesIt(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  // More often than there can be active zones: each close gives the resource back.
  for (int i = 0; i < 20; ++i) {
    const uint64_t zone = SequentialZone(i % 2);
    REQUIRE_EQ(Open(disk, zone), kOk);
    REQUIRE_EQ(Close(disk, zone), kOk);
    REQUIRE_EQ(StateOf(disk, zone), kStateEmpty);
  }
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
}

void RepeatedOperationsChangeNothing(Disk& disk) {
  struct Row {
    uint8_t state;
    uint32_t operation;
  };
  constexpr Row kRows[] = {{kStateEmpty, kZoneReset},
                           {kStateExplicitlyOpen, kZoneOpen},
                           {kStateClosed, kZoneClose},
                           {kStateFull, kZoneFinish}};
  const uint64_t start = SequentialZone(0);
  for (const Row& row : kRows) {
    REQUIRE_EQ(Reset(disk, start), kOk);
    Bring(disk, start, row.state);
    for (int i = 0; i < 3; ++i) REQUIRE_EQ(disk.Command(row.operation, start), kOk);
    REQUIRE_EQ(StateOf(disk, start), row.state);
  }
}

// A zone that the host made read-only or offline, where the disk has one.
uint64_t ZoneInState(Disk& disk, uint8_t state, const char* reason) {
  const Geometry& geometry = TheGeometry();
  for (uint64_t zone = 0; zone < geometry.zone_count && zone < 4096;) {
    const ZoneReport& report = ReportZones(disk, zone * geometry.zone_sectors, 64);
    for (uint64_t i = 0; i < report.zone_count; ++i, ++zone) {
      if (report.zones[i].state == state) return report.zones[i].start;
    }
  }
  SkipCheck(reason);
}

void RequireChangesAreInvalid(Disk& disk, uint64_t start) {
  for (const uint32_t type : {kZoneOpen, kZoneClose, kZoneFinish, kZoneReset}) {
    REQUIRE_EQ(disk.Command(type, start), kZoneInvalidCommand);
  }
  REQUIRE_EQ(WriteGranule(disk, start), kZoneInvalidCommand);
  REQUIRE_EQ(
      Append(disk, start, write_buffer, static_cast<uint32_t>(Granule() * kSectorBytes)).status,
      kZoneInvalidCommand);
}

void ReadOnlyZoneCanBeReadOnly(Disk& disk) {
  const uint64_t start = ZoneInState(disk, kStateReadOnly, "the disk has no read-only zone");
  RequireChangesAreInvalid(disk, start);
  REQUIRE_EQ(disk.Read(start, read_buffer, kSectorBytes), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateReadOnly);
}

void OfflineZoneRefusesEverything(Disk& disk) {
  const uint64_t start = ZoneInState(disk, kStateOffline, "the disk has no offline zone");
  RequireChangesAreInvalid(disk, start);
  REQUIRE_EQ(disk.Read(start, read_buffer, kSectorBytes), kZoneInvalidCommand);
  REQUIRE_EQ(StateOf(disk, start), kStateOffline);
}

constexpr unsigned kNeeds = kNeedsZoned | kNeedsWritable;

const Check kChecks[] = {
    {"Z-20", "every operation in every state (0xSSOORR: state, operation, result)", kNeeds,
     EveryOperationInEveryState},
    {"Z-07", "one zone too many open gets OPEN_RESOURCE", kNeeds, OneZoneTooManyOpen},
    {"Z-08", "one zone too many active gets ACTIVE_RESOURCE", kNeeds, OneZoneTooManyActive},
    {"Z-15", "a conventional zone has no operations", kNeeds, ConventionalZoneHasNoOperations},
    {"Z-17", "a full zone cannot be opened", kNeeds, FullZoneCannotBeOpened},
    {"Z-18", "OPEN without resources changes nothing", kNeeds, OpenWithoutResourcesChangesNothing},
    {"Z-19", "empty and full zones cannot be closed", kNeeds, EmptyAndFullZonesCannotBeClosed},
    {"Z-21", "a reset rewinds the write pointer", kNeeds, ResetRewindsThePointer},
    {"Z-22", "RESET_ALL resets all zones, whatever its sector", kNeeds, ResetAllResetsAll},
    {"Z-22", "RESET_ALL keeps the data of conventional zones", kNeeds | kNeedsKeptData,
     ResetAllKeepsConventionalData},
    {"Z-23", "a write without resources changes nothing", kNeeds,
     WriteWithoutResourcesChangesNothing},
    {"Z-31", "implicitly open zones are closed for others", kNeeds, ImplicitlyOpenZonesAreClosed},
    {"Z-32", "a read-only zone can only be read", kNeeds, ReadOnlyZoneCanBeReadOnly},
    {"Z-33", "an offline zone refuses everything", kNeeds, OfflineZoneRefusesEverything},
    {"Z-36", "where both limits are reached it is ACTIVE_RESOURCE", kNeeds,
     BothLimitsGiveActiveResource},
    {"Z-38", "full and empty zones free their resources", kNeeds,
     FullAndEmptyZonesFreeTheirResources},
    {"Z-39", "an explicitly open zone stays so", kNeeds, ExplicitOpenPersists},
    {"Z-40", "CLOSE of an open zone without data makes it empty", kNeeds,
     CloseOfAnEmptyOpenZoneEmptiesIt},
    {"Z-41", "operations that lead nowhere succeed", kNeeds, RepeatedOperationsChangeNothing},
    {"Z-42", "a closed zone reopens at the limit of active zones", kNeeds,
     ClosedZoneReopensAtTheLimit},
    {"Z-43", "a closed zone takes no open resource", kNeeds, ClosedZonesAreNotOpen},
    {"Z-50", "the last zone has its real length", kNeeds, LastZoneHasItsRealLength},
    {"Z-51", "operations must name the start of a zone", kNeeds, OperationsNeedAZoneStart},
};

}  // namespace

const CheckTable kZoneStateChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
