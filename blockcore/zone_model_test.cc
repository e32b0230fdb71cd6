// The zone model against the rules of the virtio specification (5.2.6). Test names carry the ids of
// the project's conformance checklist (Z-..).
#include "blockcore/zone_model.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

using Condition = ZoneCondition;
using Status = BlockStatus;
using Grant = ZoneModel::Grant;

// A disk as a test wants it; Report() and Limits() are what a medium would say of it.
struct Disk {
  uint64_t zone_size = 4_MiB;
  uint64_t capacity = 3_MiB;  // of sequential zones
  uint32_t conventional = 1;
  uint32_t sequential = 8;
  uint64_t runt = 0;  // bytes of one more, shorter zone
  uint32_t max_open = 0;
  uint32_t max_active = 0;
  uint32_t block = 512;
  uint32_t granularity = 512;
  ZonedModel zoned = ZonedModel::kHostManaged;

  BlockLimits Limits() const {
    uint32_t count = conventional + sequential;
    return {.capacity_bytes = count * zone_size + runt,
            .logical_block_bytes = block,
            .physical_block_bytes = granularity,
            .zoned = zoned,
            .zone_size_bytes = zone_size,
            .zone_count = count + (runt != 0),
            .max_open_zones = max_open,
            .max_active_zones = max_active,
            .max_append_bytes = 1_MiB,
            .write_granularity_bytes = granularity};
  }

  std::vector<ZoneDescriptor> Report() const {
    BlockLimits limits = Limits();
    std::vector<ZoneDescriptor> zones(limits.zone_count);
    for (uint32_t i = 0; i < limits.zone_count; ++i) {
      ZoneDescriptor& zone = zones[i];
      zone.start_bytes = i * zone_size;
      zone.length_bytes = std::min(zone_size, limits.capacity_bytes - zone.start_bytes);
      zone.capacity_bytes = std::min(capacity, zone.length_bytes);
      zone.write_pointer_bytes = zone.start_bytes;
      zone.type = zoned == ZonedModel::kHostManaged ? ZoneType::kSequentialRequired
                                                    : ZoneType::kSequentialPreferred;
      if (i < conventional) {
        zone.type = ZoneType::kConventional;
        zone.condition = Condition::kNotWritePointer;
        zone.capacity_bytes = zone.length_bytes;
        zone.write_pointer_bytes = UINT64_MAX;
      }
    }
    return zones;
  }

  ZoneModel Model() const {
    auto model = ZoneModel::Create(Limits(), Report());
    REQUIRE(model.has_value());
    return std::move(*model);
  }
};

bool IsManagement(BlockOp op) {
  return op == BlockOp::kZoneOpen || op == BlockOp::kZoneClose || op == BlockOp::kZoneFinish ||
         op == BlockOp::kZoneReset;
}

ZoneDecision Decide(const ZoneModel& model, BlockOp op, uint64_t offset, uint64_t length = 0) {
  if (op == BlockOp::kWrite) return model.DecideWrite(offset, length);
  if (op == BlockOp::kZoneAppend) return model.DecideAppend(offset, length);
  return model.DecideManagement(op, offset);
}

// Does a request on a medium that always succeeds, closing zones where the model wants it.
Status Do(ZoneModel& model, BlockOp op, uint64_t offset, uint64_t length = 0) {
  ZoneDecision decision = Decide(model, op, offset, length);
  if (decision.status != Status::kOk || !decision.needs_medium) return decision.status;
  uint32_t zone = model.IndexOf(offset);
  for (;;) {
    Grant grant = model.Reserve(zone, decision.open_need);
    if (grant == Grant::kGranted) break;
    if (grant == Grant::kOpenLimit) return Status::kZoneOpenLimit;
    if (grant == Grant::kActiveLimit) return Status::kZoneActiveLimit;
    auto victim = model.IdleVictim();
    REQUIRE(victim.has_value());
    REQUIRE(*victim != zone);
    model.ApplyManagement(*victim, BlockOp::kZoneClose);
  }
  if (IsManagement(op)) {
    model.ApplyManagement(zone, op);
  } else {
    model.ApplyWrite(zone, decision.position_bytes, length);
  }
  return Status::kOk;
}

Status Open(ZoneModel& m, uint32_t zone) { return Do(m, BlockOp::kZoneOpen, m.StartOf(zone)); }
Status Close(ZoneModel& m, uint32_t zone) { return Do(m, BlockOp::kZoneClose, m.StartOf(zone)); }
Status Finish(ZoneModel& m, uint32_t zone) { return Do(m, BlockOp::kZoneFinish, m.StartOf(zone)); }
Status Reset(ZoneModel& m, uint32_t zone) { return Do(m, BlockOp::kZoneReset, m.StartOf(zone)); }
Status Append(ZoneModel& m, uint32_t zone, uint64_t length = 4096) {
  return Do(m, BlockOp::kZoneAppend, m.StartOf(zone), length);
}
// At the write pointer.
Status Write(ZoneModel& m, uint32_t zone, uint64_t length = 4096) {
  return Do(m, BlockOp::kWrite, m.Describe(zone).write_pointer_bytes, length);
}

// A model whose zone 1 is in the condition, with 8 KiB written where that makes sense.
ZoneModel ModelWith(Condition condition, Disk disk = {}) {
  auto report = disk.Report();
  ZoneDescriptor& zone = report[1];
  zone.condition = condition;
  if (condition != Condition::kEmpty) zone.write_pointer_bytes += 8_KiB;
  if (condition == Condition::kReadOnly || condition == Condition::kOffline) {
    zone.write_pointer_bytes = UINT64_MAX;
  }
  auto model = ZoneModel::Create(disk.Limits(), report);
  REQUIRE(model.has_value());
  return std::move(*model);
}

constexpr uint64_t kStart = 4_MiB;  // of zone 1
constexpr uint64_t kPointer = kStart + 8_KiB;

TEST_CASE(
    "every operation in every condition (table 4.2; Z-15 to Z-22, Z-32, Z-33, Z-37 to Z-41)") {
  constexpr Condition kAny[] = {
      Condition::kEmpty, Condition::kImplicitlyOpen, Condition::kExplicitlyOpen, Condition::kClosed,
      Condition::kFull,  Condition::kReadOnly,       Condition::kOffline};
  struct Outcome {
    Status status;
    Condition condition;
    bool needs_medium;
  };
  constexpr Status kOk = Status::kOk;
  constexpr Status kBad = Status::kZoneInvalid;
  using C = Condition;
  struct Row {
    BlockOp op;
    const char* name;
    Outcome from[7];  // in the order of kAny
  };
  constexpr Outcome kReadOnlyStays{kBad, C::kReadOnly, false};
  constexpr Outcome kOfflineStays{kBad, C::kOffline, false};
  const Row rows[] = {
      {BlockOp::kWrite,
       "write",
       {{kOk, C::kImplicitlyOpen, true},
        {kOk, C::kImplicitlyOpen, true},
        {kOk, C::kExplicitlyOpen, true},
        {kOk, C::kImplicitlyOpen, true},
        {kBad, C::kFull, false},
        kReadOnlyStays,
        kOfflineStays}},
      {BlockOp::kZoneAppend,
       "append",
       {{kOk, C::kImplicitlyOpen, true},
        {kOk, C::kImplicitlyOpen, true},
        {kOk, C::kExplicitlyOpen, true},
        {kOk, C::kImplicitlyOpen, true},
        {kBad, C::kFull, false},
        kReadOnlyStays,
        kOfflineStays}},
      {BlockOp::kZoneOpen,
       "open",
       {{kOk, C::kExplicitlyOpen, true},
        {kOk, C::kExplicitlyOpen, true},
        {kOk, C::kExplicitlyOpen, false},
        {kOk, C::kExplicitlyOpen, true},
        {kBad, C::kFull, false},
        kReadOnlyStays,
        kOfflineStays}},
      {BlockOp::kZoneClose,
       "close",
       {{kBad, C::kEmpty, false},
        {kOk, C::kClosed, true},
        {kOk, C::kClosed, true},
        {kOk, C::kClosed, false},
        {kBad, C::kFull, false},
        kReadOnlyStays,
        kOfflineStays}},
      {BlockOp::kZoneFinish,
       "finish",
       {{kOk, C::kFull, true},
        {kOk, C::kFull, true},
        {kOk, C::kFull, true},
        {kOk, C::kFull, true},
        {kOk, C::kFull, false},
        kReadOnlyStays,
        kOfflineStays}},
      {BlockOp::kZoneReset,
       "reset",
       {{kOk, C::kEmpty, true},
        {kOk, C::kEmpty, true},
        {kOk, C::kEmpty, true},
        {kOk, C::kEmpty, true},
        {kOk, C::kEmpty, true},
        kReadOnlyStays,
        kOfflineStays}},
  };
  for (const Row& row : rows) {
    for (size_t i = 0; i < std::size(kAny); ++i) {
      CAPTURE(row.name);
      CAPTURE(static_cast<int>(kAny[i]));
      ZoneModel model = ModelWith(kAny[i]);
      uint64_t offset = kStart;
      if (row.op == BlockOp::kWrite && kAny[i] != C::kEmpty) offset = kPointer;
      ZoneDecision decision = Decide(model, row.op, offset, 4096);
      CHECK(decision.status == row.from[i].status);
      CHECK(decision.needs_medium == row.from[i].needs_medium);
      CHECK(model.ConditionOf(1) == kAny[i]);  // deciding changes nothing
      CHECK(Do(model, row.op, offset, 4096) == row.from[i].status);
      CHECK(model.ConditionOf(1) == row.from[i].condition);
      bool open =
          model.ConditionOf(1) == C::kImplicitlyOpen || model.ConditionOf(1) == C::kExplicitlyOpen;
      CHECK(model.open_zones() == open);
      CHECK(model.active_zones() == (open || model.ConditionOf(1) == C::kClosed));
      if (model.ConditionOf(1) == C::kEmpty) {
        CHECK(model.Describe(1).write_pointer_bytes == kStart);
      }
    }
  }
}

TEST_CASE("reset-all empties what can be emptied and leaves the rest (table 4.2, Z-22)") {
  Disk disk;
  auto report = disk.Report();
  constexpr Condition kConditions[] = {
      Condition::kEmpty, Condition::kImplicitlyOpen, Condition::kExplicitlyOpen, Condition::kClosed,
      Condition::kFull,  Condition::kReadOnly,       Condition::kOffline};
  for (size_t i = 0; i < std::size(kConditions); ++i) {
    report[i + 1].condition = kConditions[i];
    if (i > 0) report[i + 1].write_pointer_bytes += 4096;
  }
  ZoneModel model = *ZoneModel::Create(disk.Limits(), report);
  CHECK(model.open_zones() == 2);
  CHECK(model.active_zones() == 3);
  model.ApplyResetAll();
  CHECK(model.ConditionOf(0) == Condition::kNotWritePointer);
  for (uint32_t zone = 1; zone <= 5; ++zone) {
    CHECK(model.ConditionOf(zone) == Condition::kEmpty);
    CHECK(model.Describe(zone).write_pointer_bytes == model.StartOf(zone));
  }
  CHECK(model.ConditionOf(6) == Condition::kReadOnly);
  CHECK(model.ConditionOf(7) == Condition::kOffline);
  CHECK(model.open_zones() == 0);
  CHECK(model.active_zones() == 0);
}

TEST_CASE("conventional zones take writes anywhere, no appends, no management (Z-15, Z-16, Z-49)") {
  ZoneModel model = Disk{.conventional = 2}.Model();
  CHECK(Do(model, BlockOp::kWrite, 1_MiB, 512) == Status::kOk);
  CHECK(model.DecideWrite(4_MiB - 512, 1024).status == Status::kOk);  // into the next of them
  CHECK(model.DecideWrite(8_MiB - 512, 1024).status == Status::kZoneInvalid);
  CHECK(Append(model, 0) == Status::kZoneInvalid);
  for (BlockOp op :
       {BlockOp::kZoneOpen, BlockOp::kZoneClose, BlockOp::kZoneFinish, BlockOp::kZoneReset}) {
    CHECK(Do(model, op, 0) == Status::kZoneInvalid);
  }
  ZoneDescriptor zone = model.Describe(0);
  CHECK(zone.condition == Condition::kNotWritePointer);
  CHECK(zone.type == ZoneType::kConventional);
  CHECK(zone.capacity_bytes == 4_MiB);
  CHECK(zone.write_pointer_bytes == 4_MiB);
}

TEST_CASE("a write's status follows the fixed order of checks (4.4; Z-25, Z-28 to Z-30, Z-37)") {
  Disk disk{.granularity = 4096};
  ZoneModel model = ModelWith(Condition::kImplicitlyOpen, disk);
  uint64_t capacity = model.limits().capacity_bytes;
  auto write = [&](uint64_t offset, uint64_t length) {
    return model.DecideWrite(offset, length).status;
  };
  CHECK(write(kStart + 512, 0) == Status::kOk);
  CHECK(write(UINT64_MAX, 0) == Status::kOk);
  CHECK(write(capacity, 4096) == Status::kOutOfRange);
  CHECK(write(capacity - 4096, 8192) == Status::kOutOfRange);
  CHECK(write(UINT64_MAX - 4095, 4096) == Status::kOutOfRange);
  CHECK(write(UINT64_MAX, UINT64_MAX) == Status::kOutOfRange);
  CHECK(write(kPointer, 4_MiB) == Status::kZoneInvalid);  // crosses the zone's end
  CHECK(write(kStart, 4096) == Status::kZoneUnaligned);
  CHECK(write(kPointer + 4096, 4096) == Status::kZoneUnaligned);
  CHECK(write(kPointer, 512) == Status::kZoneUnaligned);
  CHECK(write(kPointer, 3_MiB - 8_KiB + 4096) == Status::kZoneInvalid);  // capacity
  CHECK(write(kPointer, 3_MiB - 8_KiB) == Status::kOk);
  CHECK(write(kPointer, 4096) == Status::kOk);
}

TEST_CASE("an append's status follows the fixed order of checks (4.4; Z-24, Z-25, Z-27, Z-28)") {
  Disk disk{.granularity = 4096};
  ZoneModel model = ModelWith(Condition::kImplicitlyOpen, disk);
  auto append = [&](uint64_t offset, uint64_t length) {
    return model.DecideAppend(offset, length).status;
  };
  CHECK(append(model.limits().capacity_bytes, 4096) == Status::kZoneInvalid);
  CHECK(append(UINT64_MAX, 4096) == Status::kZoneInvalid);
  CHECK(append(kStart + 4096, 4096) == Status::kZoneInvalid);
  CHECK(append(kPointer, 4096) == Status::kZoneInvalid);
  CHECK(append(kStart, 0) == Status::kZoneInvalid);
  CHECK(append(kStart, 1_MiB + 4096) == Status::kZoneInvalid);  // max_append_bytes
  CHECK(append(kStart, 1_MiB) == Status::kOk);
  CHECK(append(kStart, 512) == Status::kZoneUnaligned);
  ZoneDecision decision = model.DecideAppend(kStart, 4096);
  CHECK(decision.medium_op == BlockOp::kWrite);
  CHECK(decision.position_bytes == kPointer);
  model.ApplyWrite(1, kPointer, 3_MiB - 16_KiB);
  CHECK(append(kStart, 12_KiB) == Status::kZoneInvalid);  // 8 KiB are left
  CHECK(append(kStart, 8_KiB) == Status::kOk);
}

TEST_CASE("without an append limit there are no appends (Z-27)") {
  Disk disk;
  BlockLimits limits = disk.Limits();
  limits.max_append_bytes = 0;
  ZoneModel model = *ZoneModel::Create(limits, disk.Report());
  CHECK(Append(model, 1) == Status::kUnsupported);
}

TEST_CASE("nothing changes a read-only disk") {
  Disk disk;
  BlockLimits limits = disk.Limits();
  limits.read_only = true;
  ZoneModel model = *ZoneModel::Create(limits, disk.Report());
  CHECK(Append(model, 1) == Status::kReadOnly);
  CHECK(Write(model, 1) == Status::kReadOnly);
  CHECK(model.DecideWrite(0, 512).status == Status::kReadOnly);
  CHECK(Reset(model, 1) == Status::kReadOnly);
  CHECK(model.DecideRead(kStart, 512) == Status::kOk);
}

TEST_CASE("management wants the start of a zone on the disk (Z-51)") {
  ZoneModel model = Disk{}.Model();
  uint64_t capacity = model.limits().capacity_bytes;
  for (BlockOp op : {BlockOp::kZoneOpen, BlockOp::kZoneFinish, BlockOp::kZoneReset}) {
    for (uint64_t offset : {kStart + 512, capacity, uint64_t{1} << 55, UINT64_MAX}) {
      CHECK(Do(model, op, offset) == Status::kZoneInvalid);
    }
  }
}

TEST_CASE("writes joined to one count the bytes before them") {
  ZoneModel model = ModelWith(Condition::kEmpty);
  CHECK(model.DecideWrite(kStart + 4096, 4096).status == Status::kZoneUnaligned);
  CHECK(model.DecideWrite(kStart + 4096, 4096, 4096).status == Status::kOk);
  CHECK(model.DecideAppend(kStart, 4096, 8192).position_bytes == kStart + 8192);
  CHECK(model.DecideAppend(kStart, 4096, 3_MiB - 4096).status == Status::kOk);
  CHECK(model.DecideAppend(kStart, 4096, 3_MiB).status == Status::kZoneInvalid);
  CHECK(model.DecideWrite(kStart + 3_MiB, 4096, 3_MiB).status == Status::kZoneInvalid);
}

TEST_CASE("the last writable byte makes a zone full and frees its resources (Z-26, Z-38)") {
  for (bool open_first : {false, true}) {
    for (bool append : {false, true}) {
      ZoneModel model = Disk{.max_open = 1, .max_active = 1}.Model();
      if (open_first) REQUIRE(Open(model, 1) == Status::kOk);
      for (int i = 0; i < 3; ++i) {
        CHECK((append ? Append(model, 1, 1_MiB) : Write(model, 1, 1_MiB)) == Status::kOk);
      }
      CHECK(model.ConditionOf(1) == Condition::kFull);
      CHECK(model.Describe(1).write_pointer_bytes == kStart + 4_MiB);
      CHECK(model.active_zones() == 0);
      CHECK(Open(model, 2) == Status::kOk);
    }
  }
}

TEST_CASE("open keeps through writes, and takes over an implicitly open zone (Z-39)") {
  ZoneModel model = Disk{}.Model();
  CHECK(Write(model, 1) == Status::kOk);
  CHECK(model.ConditionOf(1) == Condition::kImplicitlyOpen);
  CHECK(Open(model, 1) == Status::kOk);
  CHECK(Write(model, 1) == Status::kOk);
  CHECK(model.ConditionOf(1) == Condition::kExplicitlyOpen);
  CHECK(model.open_zones() == 1);
}

TEST_CASE("closing an open zone without data is a reset at the medium and leaves it empty (Z-40)") {
  ZoneModel model = Disk{}.Model();
  REQUIRE(Open(model, 1) == Status::kOk);
  ZoneDecision decision = model.DecideManagement(BlockOp::kZoneClose, kStart);
  CHECK(decision.medium_op == BlockOp::kZoneReset);
  CHECK(Close(model, 1) == Status::kOk);
  CHECK(model.ConditionOf(1) == Condition::kEmpty);
  CHECK(model.active_zones() == 0);
  REQUIRE(Open(model, 1) == Status::kOk);
  REQUIRE(Write(model, 1) == Status::kOk);
  CHECK(model.DecideManagement(BlockOp::kZoneClose, kStart).medium_op == BlockOp::kZoneClose);
}

TEST_CASE("explicitly open zones up to the limit, then refusal without change (Z-07, Z-18, Z-23)") {
  ZoneModel model = Disk{.max_open = 3}.Model();
  for (uint32_t zone = 1; zone <= 3; ++zone) CHECK(Open(model, zone) == Status::kOk);
  CHECK(Open(model, 4) == Status::kZoneOpenLimit);
  CHECK(Write(model, 4) == Status::kZoneOpenLimit);
  CHECK(Append(model, 4) == Status::kZoneOpenLimit);
  CHECK(model.ConditionOf(4) == Condition::kEmpty);
  CHECK(model.open_zones() == 3);
  CHECK(model.active_zones() == 3);
  CHECK(Write(model, 2) == Status::kOk);
}

TEST_CASE("active zones up to the limit, then refusal without change (Z-08, Z-23)") {
  ZoneModel model = Disk{.max_active = 3}.Model();
  for (uint32_t zone = 1; zone <= 3; ++zone) CHECK(Write(model, zone) == Status::kOk);
  CHECK(Write(model, 4) == Status::kZoneActiveLimit);
  CHECK(Open(model, 4) == Status::kZoneActiveLimit);
  CHECK(model.ConditionOf(4) == Condition::kEmpty);
  CHECK(model.active_zones() == 3);
}

TEST_CASE("where both limits are met the active one is named (Z-36)") {
  ZoneModel model = Disk{.max_open = 2, .max_active = 2}.Model();
  CHECK(Open(model, 1) == Status::kOk);
  CHECK(Open(model, 2) == Status::kOk);
  CHECK(Open(model, 3) == Status::kZoneActiveLimit);
  CHECK(Write(model, 3) == Status::kZoneActiveLimit);
}

TEST_CASE("the longest idle implicitly open zone is closed to make room (Z-31)") {
  ZoneModel model = Disk{.max_open = 2}.Model();
  CHECK(Write(model, 1) == Status::kOk);
  CHECK(Write(model, 2) == Status::kOk);
  CHECK(model.IdleVictim() == 1);
  CHECK(Write(model, 3) == Status::kOk);
  CHECK(model.ConditionOf(1) == Condition::kClosed);
  CHECK(model.ConditionOf(2) == Condition::kImplicitlyOpen);
  CHECK(Open(model, 4) == Status::kOk);
  CHECK(model.ConditionOf(2) == Condition::kClosed);
  CHECK(model.open_zones() == 2);
  CHECK(model.active_zones() == 4);
}

TEST_CASE("a busy zone is no victim, and the last used is the last to be chosen") {
  ZoneModel model = Disk{.max_open = 2}.Model();
  CHECK(Write(model, 1) == Status::kOk);
  CHECK(Write(model, 2) == Status::kOk);
  model.SetBusy(1, true);
  CHECK(model.IdleVictim() == 2);
  model.SetBusy(2, true);
  CHECK(!model.IdleVictim());
  CHECK(model.Reserve(3, OpenNeed::kRequired) == Grant::kCloseFirst);
  model.SetBusy(2, false);
  model.SetBusy(1, false);
  CHECK(model.IdleVictim() == 2);
}

TEST_CASE("a closed zone is active but not open (Z-42, Z-43)") {
  ZoneModel model = Disk{.max_open = 1, .max_active = 2}.Model();
  CHECK(Write(model, 1) == Status::kOk);
  CHECK(Close(model, 1) == Status::kOk);
  CHECK(Write(model, 2) == Status::kOk);
  CHECK(Write(model, 3) == Status::kZoneActiveLimit);
  CHECK(Write(model, 1) == Status::kOk);  // from closed, needs no active resource
  CHECK(model.ConditionOf(2) == Condition::kClosed);
  CHECK(Finish(model, 2) == Status::kOk);
  CHECK(Write(model, 3) == Status::kOk);
}

TEST_CASE(
    "finish makes room if it can and lets the medium decide if it cannot (6.4 rule 5, Z-20)") {
  ZoneModel model = Disk{.max_open = 1, .max_active = 2}.Model();
  CHECK(Write(model, 1) == Status::kOk);
  CHECK(Close(model, 1) == Status::kOk);
  CHECK(Write(model, 2) == Status::kOk);
  CHECK(model.Reserve(1, OpenNeed::kPreferred) == Grant::kCloseFirst);
  CHECK(Finish(model, 1) == Status::kOk);
  CHECK(model.ConditionOf(2) == Condition::kClosed);
  CHECK(model.open_zones() == 0);

  REQUIRE(Open(model, 3) == Status::kOk);
  CHECK(model.Reserve(2, OpenNeed::kPreferred) == Grant::kGranted);  // nothing can be closed
  CHECK(model.open_zones() == 1);
  CHECK(model.Reserve(4, OpenNeed::kPreferred) == Grant::kGranted);  // no active resource left
  CHECK(model.active_zones() == 2);
  CHECK(Finish(model, 4) == Status::kOk);
  CHECK(model.active_zones() == 2);
}

TEST_CASE("an empty zone that is being finished makes others wait for its resource, not fail") {
  ZoneModel model = Disk{.max_active = 1}.Model();
  CHECK(model.Reserve(1, OpenNeed::kPreferred) == Grant::kGranted);
  CHECK(model.Reserve(2, OpenNeed::kRequired) == Grant::kWait);
  CHECK(model.Reserve(3, OpenNeed::kPreferred) == Grant::kWait);
  CHECK(Finish(model, 1) == Status::kOk);
  CHECK(model.Reserve(2, OpenNeed::kRequired) == Grant::kGranted);
  CHECK(model.Reserve(3, OpenNeed::kRequired) == Grant::kActiveLimit);
  // One that could not be finished has let go as well.
  model.GiveBack(2);
  CHECK(model.Reserve(4, OpenNeed::kPreferred) == Grant::kGranted);
  model.GiveBack(4);
  REQUIRE(Open(model, 5) == Status::kOk);
  CHECK(model.Reserve(6, OpenNeed::kRequired) == Grant::kActiveLimit);
}

TEST_CASE("what is reserved counts until the outcome is known") {
  ZoneModel model = Disk{.max_open = 2, .max_active = 2}.Model();
  CHECK(model.Reserve(1, OpenNeed::kRequired) == Grant::kGranted);
  CHECK(model.Reserve(1, OpenNeed::kRequired) == Grant::kGranted);  // holds it already
  CHECK(model.ConditionOf(1) == Condition::kEmpty);
  CHECK(model.open_zones() == 1);
  model.GiveBack(1);
  CHECK(model.open_zones() == 0);
  CHECK(model.active_zones() == 0);

  CHECK(model.Reserve(1, OpenNeed::kRequired) == Grant::kGranted);
  model.MarkStale(1);
  CHECK(model.open_zones() == 1);
  ZoneDescriptor truth = model.Describe(1);
  truth.condition = Condition::kClosed;
  truth.write_pointer_bytes += 4096;
  CHECK(model.Reload(1, truth));
  CHECK(!model.IsStale(1));
  CHECK(model.open_zones() == 0);
  CHECK(model.active_zones() == 1);
  CHECK(model.Describe(1) == truth);
}

TEST_CASE("reads: range, offline zones, zone borders (4.4; Z-29, Z-33)") {
  Disk disk{.conventional = 2};
  auto report = disk.Report();
  report[3].condition = Condition::kOffline;
  report[4].condition = Condition::kReadOnly;
  ZoneModel model = *ZoneModel::Create(disk.Limits(), report);
  uint64_t capacity = model.limits().capacity_bytes;
  CHECK(model.DecideRead(0, 8_MiB) == Status::kOk);
  CHECK(model.DecideRead(8_MiB - 512, 1024) == Status::kZoneInvalid);
  CHECK(model.DecideRead(8_MiB, 4_MiB) == Status::kOk);
  CHECK(model.DecideRead(12_MiB - 512, 1024) == Status::kZoneInvalid);
  CHECK(model.DecideRead(12_MiB, 512) == Status::kZoneInvalid);
  CHECK(model.DecideRead(16_MiB, 512) == Status::kOk);
  CHECK(model.DecideRead(capacity, 512) == Status::kOutOfRange);
  CHECK(model.DecideRead(capacity - 512, 1024) == Status::kOutOfRange);
  CHECK(model.DecideRead(UINT64_MAX - 511, 512) == Status::kOutOfRange);
  CHECK(model.DecideRead(0, UINT64_MAX) == Status::kOutOfRange);
  CHECK(model.DecideRead(8_MiB, 0) == Status::kOk);
}

TEST_CASE("reads come from the medium below the data's end and are zeroes above it (Z-34)") {
  ZoneModel model = ModelWith(Condition::kImplicitlyOpen);
  auto extent = [&](uint64_t offset, uint64_t length) {
    ZoneExtent first = model.FirstExtent(offset, length);
    return std::pair(first.from_medium, first.length_bytes);
  };
  CHECK(extent(0, 4_MiB) == std::pair(true, 4_MiB));  // conventional
  CHECK(extent(kStart, 4_MiB) == std::pair(true, 8_KiB));
  CHECK(extent(kStart + 4096, 512) == std::pair(true, uint64_t{512}));
  CHECK(extent(kPointer, 4096) == std::pair(false, uint64_t{4096}));
  CHECK(extent(kStart + 3_MiB, 1_MiB) == std::pair(false, 1_MiB));
  // Finished: what was written is known still.
  REQUIRE(Finish(model, 1) == Status::kOk);
  CHECK(extent(kStart, 4_MiB) == std::pair(true, 8_KiB));
  // So it is after a look at the medium that shows nothing new.
  CHECK(model.Reload(1, model.Describe(1)));
  CHECK(extent(kStart, 4_MiB) == std::pair(true, 8_KiB));
  REQUIRE(Reset(model, 1) == Status::kOk);
  CHECK(extent(kStart, 4_MiB) == std::pair(false, 4_MiB));
  // Found full: it may be written up to the capacity.
  ZoneModel found = ModelWith(Condition::kFull);
  CHECK(found.FirstExtent(kStart, 4_MiB).length_bytes == 3_MiB);
  CHECK(found.FirstExtent(kStart, 4_MiB).from_medium);
  ZoneModel read_only = ModelWith(Condition::kReadOnly);
  CHECK(read_only.FirstExtent(kStart, 4_MiB).length_bytes == 3_MiB);
}

TEST_CASE("host-aware zones take writes anywhere, no appends, management as usual (Z-16, Z-57)") {
  Disk disk{.capacity = 4_MiB, .max_open = 2, .zoned = ZonedModel::kHostAware};
  ZoneModel model = disk.Model();
  CHECK(Append(model, 1) == Status::kZoneInvalid);
  CHECK(Do(model, BlockOp::kWrite, kStart + 1_MiB, 4096) == Status::kOk);
  CHECK(model.ConditionOf(1) == Condition::kImplicitlyOpen);
  CHECK(model.Describe(1).write_pointer_bytes == kStart + 1_MiB + 4096);
  CHECK(Do(model, BlockOp::kWrite, kStart, 4096) == Status::kOk);  // below: the pointer stays
  CHECK(model.Describe(1).write_pointer_bytes == kStart + 1_MiB + 4096);
  CHECK(Do(model, BlockOp::kWrite, kStart + 1_MiB, 1_MiB) == Status::kOk);
  CHECK(model.Describe(1).write_pointer_bytes == kStart + 2_MiB);
  CHECK(Do(model, BlockOp::kWrite, kStart + 4_MiB - 512, 512) == Status::kOk);
  CHECK(model.ConditionOf(1) == Condition::kFull);
  CHECK(Do(model, BlockOp::kWrite, kStart, 512) == Status::kOk);
  CHECK(model.ConditionOf(1) == Condition::kFull);
  CHECK(Open(model, 2) == Status::kOk);
  CHECK(Open(model, 3) == Status::kOk);
  CHECK(Write(model, 4) == Status::kZoneOpenLimit);
  CHECK(Reset(model, 1) == Status::kOk);
  CHECK(model.ConditionOf(1) == Condition::kEmpty);
  // Reads and writes may cross zones; a write is done zone by zone.
  CHECK(model.DecideRead(kStart - 512, 8_MiB) == Status::kOk);
  CHECK(model.FirstPiece(512, 8_MiB) == 4_MiB - 512);
  CHECK(model.FirstPiece(kStart + 512, 8_MiB) == 4_MiB - 512);
  CHECK(model.FirstPiece(kStart, 4096) == 4096);
}

TEST_CASE("odd geometries: any zone size, zones beyond 4 GiB, a short last zone (Z-06, Z-50)") {
  SUBCASE("not a power of two, short last zone") {
    Disk disk{.zone_size = 3 * 4096 * 5,
              .capacity = 3 * 4096 * 4,
              .conventional = 0,
              .sequential = 2,
              .runt = 8192,
              .granularity = 4096};
    ZoneModel model = disk.Model();
    CHECK(model.zone_count() == 3);
    uint64_t start = model.StartOf(2);
    CHECK(model.LengthOf(2) == 8192);
    CHECK(Append(model, 2, 12288) == Status::kZoneInvalid);
    CHECK(Write(model, 2, 4096) == Status::kOk);
    CHECK(model.DecideWrite(start + 4096, 8192).status == Status::kOutOfRange);
    CHECK(Append(model, 2, 4096) == Status::kOk);
    CHECK(model.ConditionOf(2) == Condition::kFull);
    CHECK(model.Describe(2).write_pointer_bytes == start + 8192);
    CHECK(model.DecideRead(start, 8192) == Status::kOk);
    CHECK(Reset(model, 2) == Status::kOk);
    CHECK(Finish(model, 2) == Status::kOk);
  }
  SUBCASE("zones of 8 GiB") {
    Disk disk{.zone_size = 8_GiB, .capacity = 8_GiB - 4096, .granularity = 4096};
    ZoneModel model = disk.Model();
    CHECK(Write(model, 3, 8_GiB - 8192) == Status::kOk);
    CHECK(model.Describe(3).write_pointer_bytes == 32_GiB - 8192);
    CHECK(model.IndexOf(32_GiB - 1) == 3);
    CHECK(Append(model, 3) == Status::kOk);
    CHECK(model.ConditionOf(3) == Condition::kFull);
    CHECK(model.FirstExtent(32_GiB - 4096, 4096).from_medium == false);
  }
  SUBCASE("112,000 zones, all of them open") {
    Disk disk{.zone_size = 256_MiB, .capacity = 256_MiB, .conventional = 0, .sequential = 112000};
    disk.max_open = 112000;
    ZoneModel model = disk.Model();
    for (uint32_t zone = 0; zone < 112000; ++zone) REQUIRE(Write(model, zone) == Status::kOk);
    CHECK(model.open_zones() == 112000);
    CHECK(model.IdleVictim() == 0);
    model.ApplyResetAll();
    CHECK(model.open_zones() == 0);
  }
  SUBCASE("no limits are no limits") {
    ZoneModel model = Disk{.sequential = 500}.Model();
    for (uint32_t zone = 1; zone <= 500; ++zone) CHECK(Open(model, zone) == Status::kOk);
  }
}

TEST_CASE("what a medium may report but nobody can use becomes harmless") {
  Disk disk;
  auto report = disk.Report();
  report[1].condition = static_cast<Condition>(0xFF);  // "active": open or closed
  report[1].write_pointer_bytes += 4096;
  report[2].condition = static_cast<Condition>(7);
  report[3].type = static_cast<ZoneType>(5);
  report[3].capacity_bytes = 0;
  report[4].condition = Condition::kReadOnly;
  report[4].write_pointer_bytes = UINT64_MAX;
  report[5].condition = Condition::kOffline;
  report[5].capacity_bytes = 0;
  report[6].condition = Condition::kFull;
  report[6].write_pointer_bytes = 1;
  report[7].condition = Condition::kNotWritePointer;  // not for sequential zones
  report[8].write_pointer_bytes = 12345;              // but it says to be empty
  auto model = ZoneModel::Create(disk.Limits(), report);
  REQUIRE(model.has_value());
  CHECK(model->ConditionOf(1) == Condition::kImplicitlyOpen);
  CHECK(model->Describe(1).write_pointer_bytes == kStart + 4096);
  CHECK(model->ConditionOf(2) == Condition::kReadOnly);
  CHECK(model->ConditionOf(3) == Condition::kOffline);
  CHECK(model->TypeOf(3) == ZoneType::kSequentialRequired);
  CHECK(model->ConditionOf(5) == Condition::kOffline);
  CHECK(model->ConditionOf(7) == Condition::kReadOnly);
  CHECK(model->Describe(8).write_pointer_bytes == model->StartOf(8));
  // As the others have it: Linux wants that.
  CHECK(model->Describe(3).capacity_bytes == report[6].capacity_bytes);
  CHECK(model->Describe(5).capacity_bytes == report[6].capacity_bytes);
  report[5].capacity_bytes = report[6].capacity_bytes - 8192;
  CHECK(ZoneModel::Create(disk.Limits(), report)->Describe(5).capacity_bytes ==
        report[5].capacity_bytes);
  for (uint32_t zone = 0; zone < model->zone_count(); ++zone) {
    ZoneDescriptor d = model->Describe(zone);
    CHECK(d.start_bytes == zone * 4_MiB);
    CHECK(d.capacity_bytes <= d.length_bytes);
    CHECK(d.write_pointer_bytes >= d.start_bytes);
    CHECK(d.write_pointer_bytes <= d.start_bytes + d.length_bytes);
  }
}

TEST_CASE("contradictions in a report are errors that name the zone") {
  Disk disk;
  auto error = [&](const std::function<void(std::vector<ZoneDescriptor>&, BlockLimits&)>& spoil) {
    auto report = disk.Report();
    BlockLimits limits = disk.Limits();
    spoil(report, limits);
    auto model = ZoneModel::Create(limits, report);
    REQUIRE(!model.has_value());
    return model.error().message;
  };
  using Report = std::vector<ZoneDescriptor>;
  CHECK(error([](Report& r, BlockLimits&) { r[2].start_bytes += 512; }) ==
        "cannot use the zone report: zone 2 starts at byte 8389120 instead of 8388608");
  CHECK(error([](Report& r, BlockLimits&) { r[8].length_bytes -= 512; }) ==
        "cannot use the zone report: zone 8 has 4193792 bytes instead of 4194304");
  CHECK(
      error([](Report& r, BlockLimits&) { r[1].capacity_bytes = 5_MiB; }) ==
      "cannot use the zone report: zone 1 has a capacity of 5242880 bytes in a length of 4194304");
  CHECK(error([](Report& r, BlockLimits&) {
          r[1].capacity_bytes = (1_GiB << 26) + 4096;
        }).starts_with("cannot use the zone report: zone 1 has a capacity of"));
  CHECK(error([](Report& r, BlockLimits&) {
          r[1].capacity_bytes = 0;
        }).starts_with("cannot use the zone report: zone 1 has a capacity of 0"));
  CHECK(error([](Report& r, BlockLimits&) { r.pop_back(); }) ==
        "cannot use the zone report: it has 8 zones, the disk 9");
  CHECK(error([](Report& r, BlockLimits&) { r[1].type = ZoneType::kSequentialPreferred; }) ==
        "cannot use the zone report: zone 1 is of type 3 instead of 2");
  for (uint64_t pointer : {kStart - 512, kStart + 3_MiB + 512, kStart + 1, UINT64_MAX}) {
    CHECK(error([&](Report& r, BlockLimits&) {
            r[1].condition = Condition::kClosed;
            r[1].write_pointer_bytes = pointer;
          })
              .starts_with("cannot use the zone report: zone 1 (bytes 4194304 to 7340032) has its "
                           "write pointer at"));
  }
  CHECK(error([](Report&, BlockLimits& l) {
          l.zone_count = 10;
        }).starts_with("cannot use the disk's zones: it says to have 10 zones"));
  CHECK(error([](Report&, BlockLimits& l) {
          l.zone_size_bytes = uint64_t{1} << 57;
          l.capacity_bytes = uint64_t{9} << 57;
        }).starts_with("cannot use the disk's zones: a zone size of 144115188075855872 bytes"));
  CHECK(error([](Report&, BlockLimits& l) {
          l.zone_size_bytes = 0;
        }).starts_with("cannot use the disk's zones: a zone size of 0 bytes"));
  CHECK(error([](Report&, BlockLimits& l) {
          l.write_granularity_bytes = 0;
        }).starts_with("cannot use the disk's zones: the write granularity of 0"));
  CHECK(error([](Report&, BlockLimits& l) { l.zoned = ZonedModel::kNone; }) ==
        "cannot use the disk's zones: it has none");
}

TEST_CASE("a report that contradicts what is fixed does not reload a zone (Z-52)") {
  ZoneModel model = ModelWith(Condition::kImplicitlyOpen);
  ZoneDescriptor before = model.Describe(1);
  model.MarkStale(1);
  ZoneDescriptor wrong = before;
  wrong.start_bytes += 4_MiB;
  CHECK(!model.Reload(1, wrong));
  wrong = before;
  wrong.capacity_bytes -= 512;
  CHECK(!model.Reload(1, wrong));
  wrong = before;
  wrong.write_pointer_bytes = UINT64_MAX;
  CHECK(!model.Reload(1, wrong));
  wrong = before;
  wrong.type = ZoneType::kConventional;
  CHECK(!model.Reload(1, wrong));
  CHECK(model.IsStale(1));
  CHECK(model.Describe(1) == before);
}

TEST_CASE("a zone that turns read-only or offline frees its resources and keeps its data") {
  for (Condition dead : {Condition::kReadOnly, Condition::kOffline}) {
    ZoneModel model = ModelWith(Condition::kExplicitlyOpen);
    ZoneDescriptor report = model.Describe(1);
    report.condition = dead;
    report.write_pointer_bytes = UINT64_MAX;
    CHECK(model.Reload(1, report));
    CHECK(model.open_zones() == 0);
    CHECK(model.active_zones() == 0);
    CHECK(model.FirstExtent(kStart, 1_MiB).length_bytes == 8_KiB);
    CHECK(!model.IdleVictim());
  }
}

// ---- Properties ----

// The rules once more, in the plainest words: whole blocks, and maps instead of counters.
struct Reference {
  struct Zone {
    Condition condition = Condition::kEmpty;
    uint64_t written = 0;
  };
  Disk disk;
  std::vector<Zone> zones = std::vector<Zone>(disk.sequential);

  uint32_t Count(std::initializer_list<Condition> conditions) const {
    return static_cast<uint32_t>(std::count_if(zones.begin(), zones.end(), [&](const Zone& z) {
      return std::find(conditions.begin(), conditions.end(), z.condition) != conditions.end();
    }));
  }
  uint32_t open() const { return Count({Condition::kImplicitlyOpen, Condition::kExplicitlyOpen}); }
  uint32_t active() const { return open() + Count({Condition::kClosed}); }

  // `victim`: which zone the model would close.
  Status Acquire(Zone& zone, std::optional<uint32_t> victim) {
    if (zone.condition != Condition::kEmpty && zone.condition != Condition::kClosed) {
      return Status::kOk;
    }
    if (zone.condition == Condition::kEmpty && disk.max_active && active() == disk.max_active) {
      return Status::kZoneActiveLimit;
    }
    if (disk.max_open && open() == disk.max_open) {
      if (Count({Condition::kImplicitlyOpen}) == 0) return Status::kZoneOpenLimit;
      RC_ASSERT(victim.has_value());
      Zone& closed = zones[*victim - disk.conventional];
      RC_ASSERT(closed.condition == Condition::kImplicitlyOpen);
      closed.condition = Condition::kClosed;
    }
    return Status::kOk;
  }

  Status Apply(BlockOp op, uint32_t index, uint64_t within, uint64_t length,
               std::optional<uint32_t> victim) {
    Zone& zone = zones[index];
    if (op == BlockOp::kWrite || op == BlockOp::kZoneAppend) {
      if (op == BlockOp::kWrite && within + length > disk.zone_size) {
        return index + 1 == disk.sequential ? Status::kOutOfRange : Status::kZoneInvalid;
      }
      if (zone.condition == Condition::kFull) return Status::kZoneInvalid;
      if (op == BlockOp::kWrite && within != zone.written) return Status::kZoneUnaligned;
      if (op == BlockOp::kZoneAppend && length > 1_MiB) return Status::kZoneInvalid;
      if (length % disk.granularity != 0) return Status::kZoneUnaligned;
      if (zone.written + length > disk.capacity) return Status::kZoneInvalid;
      if (Status status = Acquire(zone, victim); status != Status::kOk) return status;
      zone.written += length;
      if (zone.written == disk.capacity) {
        zone.condition = Condition::kFull;
      } else if (zone.condition != Condition::kExplicitlyOpen) {
        zone.condition = Condition::kImplicitlyOpen;
      }
      return Status::kOk;
    }
    bool is_open = zone.condition == Condition::kImplicitlyOpen ||
                   zone.condition == Condition::kExplicitlyOpen;
    if (op == BlockOp::kZoneOpen) {
      if (zone.condition == Condition::kFull) return Status::kZoneInvalid;
      if (Status status = Acquire(zone, victim); status != Status::kOk) return status;
      zone.condition = Condition::kExplicitlyOpen;
    } else if (op == BlockOp::kZoneClose) {
      if (zone.condition == Condition::kClosed) return Status::kOk;
      if (!is_open) return Status::kZoneInvalid;
      zone.condition = zone.written == 0 ? Condition::kEmpty : Condition::kClosed;
    } else if (op == BlockOp::kZoneFinish) {
      // A victim may have been closed for it; limits do not forbid it.
      if (zone.condition == Condition::kEmpty || zone.condition == Condition::kClosed) {
        bool active_full =
            zone.condition == Condition::kEmpty && disk.max_active && active() == disk.max_active;
        if (!active_full && Count({Condition::kImplicitlyOpen}) > 0) Acquire(zone, victim);
      }
      zone.condition = Condition::kFull;
    } else {
      zone = {};
    }
    return Status::kOk;
  }
};

TEST_CASE("any sequence of operations keeps counters, limits and pointers right") {
  bool ok = rc::check("zone model agrees with the reference", [] {
    Disk disk;
    disk.zone_size = 128_KiB;
    disk.capacity = *rc::gen::element<uint64_t>(128_KiB, 96_KiB, 4_KiB);
    disk.granularity = *rc::gen::element<uint32_t>(512, 4096);
    disk.conventional = *rc::gen::inRange<uint32_t>(0, 2);
    disk.max_open = *rc::gen::inRange<uint32_t>(0, 5);
    disk.max_active = *rc::gen::inRange<uint32_t>(0, 7);
    if (disk.max_active != 0) disk.max_open = std::min(disk.max_open, disk.max_active);
    Reference reference{disk};
    ZoneModel model = disk.Model();
    int steps = *rc::gen::inRange(1, 120);
    for (int step = 0; step < steps; ++step) {
      auto op = *rc::gen::weightedElement<BlockOp>({{6, BlockOp::kWrite},
                                                    {6, BlockOp::kZoneAppend},
                                                    {3, BlockOp::kZoneOpen},
                                                    {2, BlockOp::kZoneClose},
                                                    {2, BlockOp::kZoneFinish},
                                                    {2, BlockOp::kZoneReset}});
      auto index = *rc::gen::inRange<uint32_t>(0, disk.sequential);
      uint64_t length = 512 * *rc::gen::inRange<uint64_t>(1, 60);
      if (*rc::gen::inRange(0, 4) != 0) length = AlignUp(length, disk.granularity);
      uint32_t zone = index + disk.conventional;
      uint64_t within = 0;
      if (op == BlockOp::kWrite) {
        within = reference.zones[index].written;
        if (*rc::gen::inRange(0, 8) == 0 && within > 0) within -= disk.granularity;
      }
      uint64_t offset = model.StartOf(zone) + within;
      std::optional<uint32_t> victim = model.IdleVictim();
      uint64_t pointer_before = reference.zones[index].written;
      Status expected = reference.Apply(op, index, within, length, victim);
      ZoneDecision decision = Decide(model, op, offset, length);
      if (op == BlockOp::kZoneAppend && decision.status == Status::kOk) {
        RC_ASSERT(decision.position_bytes == model.StartOf(zone) + pointer_before);
      }
      RC_ASSERT(Do(model, op, offset, length) == expected);

      RC_ASSERT(model.open_zones() == reference.open());
      RC_ASSERT(model.active_zones() == reference.active());
      RC_ASSERT(disk.max_open == 0 || model.open_zones() <= disk.max_open);
      RC_ASSERT(disk.max_active == 0 || model.active_zones() <= disk.max_active);
      bool any_implicit = false;
      for (uint32_t i = 0; i < disk.sequential; ++i) {
        ZoneDescriptor d = model.Describe(i + disk.conventional);
        const Reference::Zone& want = reference.zones[i];
        RC_ASSERT(d.condition == want.condition);
        RC_ASSERT(d.write_pointer_bytes == (want.condition == Condition::kFull
                                                ? d.start_bytes + d.length_bytes
                                                : d.start_bytes + want.written));
        // The data's end is what was written, whatever became of the zone.
        ZoneExtent extent = model.FirstExtent(d.start_bytes, d.length_bytes);
        RC_ASSERT(extent.from_medium == (want.written > 0));
        if (want.written > 0) RC_ASSERT(extent.length_bytes == want.written);
        any_implicit |= want.condition == Condition::kImplicitlyOpen;
      }
      RC_ASSERT(model.IdleVictim().has_value() == any_implicit);
    }
  });
  CHECK(ok);
}

}  // namespace
}  // namespace minivmm
