#include "blockcore/zone_model.h"

#include <algorithm>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

// What fits into Zone::capacity_bytes.
constexpr uint64_t kMaxZoneBytes = uint64_t{1} << 55;

// <linux/blkzoned.h> has it since 6.19 for reports from a cache: one of the open conditions, or
// closed.
constexpr uint8_t kConditionActive = 0xFF;

ZoneDecision Refuse(BlockStatus status) { return {.status = status}; }

// Writes nothing in these conditions, whatever the type of the zone.
bool IsDead(ZoneCondition condition) {
  return condition == ZoneCondition::kReadOnly || condition == ZoneCondition::kOffline;
}

bool IsOpen(ZoneCondition condition) {
  return condition == ZoneCondition::kImplicitlyOpen || condition == ZoneCondition::kExplicitlyOpen;
}

bool IsActive(ZoneCondition condition) {
  return IsOpen(condition) || condition == ZoneCondition::kClosed;
}

// A zone that must take an open resource before anything is written to it. `fills`: all of it is.
OpenNeed NeedToWrite(ZoneCondition condition, bool fills = false) {
  if (condition == ZoneCondition::kEmpty && fills) return OpenNeed::kToFill;
  bool rests = condition == ZoneCondition::kEmpty || condition == ZoneCondition::kClosed;
  return rests ? OpenNeed::kRequired : OpenNeed::kNone;
}

// The nearest condition that our rules know.
ZoneCondition SaneCondition(ZoneCondition reported, bool conventional) {
  if (IsDead(reported)) return reported;
  if (conventional) return ZoneCondition::kNotWritePointer;
  switch (reported) {
    case ZoneCondition::kEmpty:
    case ZoneCondition::kImplicitlyOpen:
    case ZoneCondition::kExplicitlyOpen:
    case ZoneCondition::kClosed:
    case ZoneCondition::kFull:
      return reported;
    default:
      break;
  }
  if (static_cast<uint8_t>(reported) == kConditionActive) return ZoneCondition::kImplicitlyOpen;
  return ZoneCondition::kReadOnly;
}

bool IsKnown(ZoneType type) {
  return type == ZoneType::kConventional || type == ZoneType::kSequentialRequired ||
         type == ZoneType::kSequentialPreferred;
}

// A zone that nobody can use may be reported with any capacity, and may keep one that is possible:
// Linux refuses a disk whose zones differ in it.
bool TellsCapacity(const ZoneDescriptor& report) {
  return IsKnown(report.type) && report.condition != ZoneCondition::kOffline;
}

Result<void> CheckLimits(const BlockLimits& limits) {
  if (limits.zoned == ZonedModel::kNone) return Fail("cannot use the disk's zones: it has none");
  uint64_t zone_size = limits.zone_size_bytes;
  uint32_t granularity = limits.write_granularity_bytes;
  if (limits.logical_block_bytes == 0 || granularity == 0 ||
      !IsAligned(granularity, limits.logical_block_bytes)) {
    return Fail(
        "cannot use the disk's zones: the write granularity of {} bytes is not a multiple of "
        "the logical block of {} bytes",
        granularity, limits.logical_block_bytes);
  }
  if (zone_size == 0 || zone_size > kMaxZoneBytes || !IsAligned(zone_size, granularity)) {
    return Fail(
        "cannot use the disk's zones: a zone size of {} bytes is not possible with writes of "
        "{} bytes",
        zone_size, granularity);
  }
  if (limits.capacity_bytes == 0 || !IsAligned(limits.capacity_bytes, limits.logical_block_bytes)) {
    return Fail(
        "cannot use the disk's zones: its capacity of {} bytes is not a multiple of the "
        "logical block of {} bytes",
        limits.capacity_bytes, limits.logical_block_bytes);
  }
  uint64_t zone_count = (limits.capacity_bytes - 1) / zone_size + 1;
  if (zone_count != limits.zone_count) {
    return Fail(
        "cannot use the disk's zones: it says to have {} zones, but {} bytes in zones of {} "
        "bytes make {}",
        limits.zone_count, limits.capacity_bytes, zone_size, zone_count);
  }
  return {};
}

}  // namespace

Result<ZoneModel> ZoneModel::Create(const BlockLimits& limits,
                                    std::span<const ZoneDescriptor> report) {
  TRY_VOID(CheckLimits(limits));
  if (report.size() != limits.zone_count) {
    return Fail("cannot use the zone report: it has {} zones, the disk {}", report.size(),
                limits.zone_count);
  }
  ZoneModel model(limits);
  model.zones_.resize(limits.zone_count);
  ZoneType sequential = limits.zoned == ZonedModel::kHostManaged ? ZoneType::kSequentialRequired
                                                                 : ZoneType::kSequentialPreferred;
  auto is_possible = [&limits](uint64_t capacity, uint64_t length) {
    return capacity != 0 && capacity <= length && IsAligned(capacity, limits.logical_block_bytes);
  };
  auto tells_usual = std::ranges::find_if(report, [](const ZoneDescriptor& descriptor) {
    return descriptor.type != ZoneType::kConventional && TellsCapacity(descriptor);
  });
  const uint64_t usual_capacity =
      tells_usual == report.end() ? limits.zone_size_bytes : tells_usual->capacity_bytes;
  for (uint32_t zone = 0; zone < limits.zone_count; ++zone) {
    const ZoneDescriptor& descriptor = report[zone];
    // What stays fixed from here on: type and capacity.
    bool conventional = descriptor.type == ZoneType::kConventional;
    Zone& entry = model.zones_[zone];
    entry.type = static_cast<uint64_t>(conventional ? ZoneType::kConventional : sequential);
    const uint64_t length = model.LengthOf(zone);
    uint64_t capacity = conventional ? length : descriptor.capacity_bytes;
    if (!conventional && !TellsCapacity(descriptor) &&
        !(IsKnown(descriptor.type) && is_possible(capacity, length))) {
      capacity = std::min(usual_capacity, length);
    }
    if (!is_possible(capacity, length)) {
      return Fail(
          "cannot use the zone report: zone {} has a capacity of {} bytes in a length of {}", zone,
          capacity, length);
    }
    entry.capacity_bytes = capacity;
    // No other zone is in this condition when it is adopted: how far it was written is not known.
    entry.condition = static_cast<uint64_t>(ZoneCondition::kNotWritePointer);
    TRY_VOID(model.Adopt(zone, descriptor));
  }
  return model;
}

Result<void> ZoneModel::Adopt(uint32_t index, const ZoneDescriptor& report) {
  Zone& zone = zones_[index];
  uint64_t start = StartOf(index);
  bool conventional = TypeOf(index) == ZoneType::kConventional;
  if (report.start_bytes != start) {
    return Fail("cannot use the zone report: zone {} starts at byte {} instead of {}", index,
                report.start_bytes, start);
  }
  if (report.length_bytes != LengthOf(index)) {
    return Fail("cannot use the zone report: zone {} has {} bytes instead of {}", index,
                report.length_bytes, LengthOf(index));
  }
  if (IsKnown(report.type) && report.type != TypeOf(index)) {
    return Fail("cannot use the zone report: zone {} is of type {} instead of {}", index,
                static_cast<int>(report.type), static_cast<int>(TypeOf(index)));
  }
  if (!conventional && TellsCapacity(report) && report.capacity_bytes != zone.capacity_bytes) {
    return Fail("cannot use the zone report: zone {} has a capacity of {} bytes instead of {}",
                index, report.capacity_bytes, uint64_t{zone.capacity_bytes});
  }

  ZoneCondition condition = SaneCondition(report.condition, conventional);
  if (!IsKnown(report.type)) condition = ZoneCondition::kOffline;
  uint64_t written = zone.capacity_bytes;
  if (condition == ZoneCondition::kEmpty) {
    written = 0;
  } else if (IsActive(condition)) {
    uint64_t pointer = report.write_pointer_bytes;
    // A zone that takes random writes takes any sector.
    const bool any_sector = report.type == ZoneType::kSequentialPreferred;
    if (pointer < start || pointer - start > zone.capacity_bytes ||
        !IsAligned(pointer, any_sector ? kSectorBytes : limits_.logical_block_bytes)) {
      return Fail(
          "cannot use the zone report: zone {} (bytes {} to {}) has its write pointer at {}", index,
          start, start + zone.capacity_bytes, pointer);
    }
    written = pointer - start;
  } else if (IsDead(condition) || condition == ConditionOf(index)) {
    // Nothing has been written since we knew how far the data goes (at first: all of it).
    if (ConditionOf(index) != ZoneCondition::kNotWritePointer) written = zone.written_bytes;
  }
  zone.written_bytes = written;
  zone.stale = false;
  SetCondition(index, condition);
  return {};
}

uint32_t ZoneModel::IndexOf(uint64_t offset_bytes) const {
  VMM_CHECK(offset_bytes < limits_.capacity_bytes);
  return static_cast<uint32_t>(offset_bytes / limits_.zone_size_bytes);
}

uint64_t ZoneModel::LengthOf(uint32_t zone) const {
  return std::min(limits_.zone_size_bytes, limits_.capacity_bytes - StartOf(zone));
}

ZoneDescriptor ZoneModel::Describe(uint32_t index) const {
  const Zone& zone = zones_[index];
  ZoneCondition condition = ConditionOf(index);
  bool has_pointer = condition == ZoneCondition::kEmpty || IsActive(condition);
  return {.start_bytes = StartOf(index),
          .length_bytes = LengthOf(index),
          .capacity_bytes = zone.capacity_bytes,
          .write_pointer_bytes = has_pointer ? StartOf(index) + zone.written_bytes : EndOf(index),
          .type = TypeOf(index),
          .condition = condition};
}

uint64_t ZoneModel::FirstPiece(uint64_t offset_bytes, uint64_t length_bytes) const {
  if (limits_.zoned == ZonedModel::kHostManaged || length_bytes == 0) return length_bytes;
  uint32_t zone = IndexOf(offset_bytes);
  uint64_t end = offset_bytes + length_bytes;
  if (TypeOf(zone) == ZoneType::kConventional) {
    while (EndOf(zone) < end && TypeOf(zone + 1) == ZoneType::kConventional) ++zone;
  }
  return std::min(end, EndOf(zone)) - offset_bytes;
}

ZoneDecision ZoneModel::DecideWrite(uint64_t offset_bytes, uint64_t length_bytes,
                                    uint64_t joined_bytes) const {
  if (limits_.read_only) return Refuse(BlockStatus::kReadOnly);
  if (length_bytes == 0) return {};
  if (!RangeFits(offset_bytes, length_bytes, limits_.capacity_bytes)) {
    return Refuse(BlockStatus::kOutOfRange);
  }
  uint32_t index = IndexOf(offset_bytes);
  uint32_t last = IndexOf(offset_bytes + length_bytes - 1);
  ZoneDecision decision{.needs_medium = true, .position_bytes = offset_bytes};
  if (TypeOf(index) == ZoneType::kConventional) {
    for (uint32_t i = index; i <= last; ++i) {
      if (TypeOf(i) != ZoneType::kConventional || IsDead(ConditionOf(i))) {
        return Refuse(BlockStatus::kZoneInvalid);
      }
    }
    return decision;
  }

  const Zone& zone = zones_[index];
  ZoneCondition condition = ConditionOf(index);
  if (IsDead(condition) || last != index) return Refuse(BlockStatus::kZoneInvalid);
  uint64_t within = offset_bytes - StartOf(index);
  decision.open_need = NeedToWrite(condition, length_bytes == zone.capacity_bytes);
  if (TypeOf(index) == ZoneType::kSequentialPreferred) {
    return RangeFits(within, length_bytes, zone.capacity_bytes) ? decision
                                                                : Refuse(BlockStatus::kZoneInvalid);
  }
  uint64_t written = zone.written_bytes + joined_bytes;
  if (condition == ZoneCondition::kFull || written >= zone.capacity_bytes) {
    return Refuse(BlockStatus::kZoneInvalid);
  }
  if (within != written ||
      !IsAligned(offset_bytes + length_bytes, limits_.write_granularity_bytes)) {
    return Refuse(BlockStatus::kZoneUnaligned);
  }
  if (length_bytes > zone.capacity_bytes - written) return Refuse(BlockStatus::kZoneInvalid);
  return decision;
}

ZoneDecision ZoneModel::DecideAppend(uint64_t offset_bytes, uint64_t length_bytes,
                                     uint64_t joined_bytes) const {
  if (limits_.read_only) return Refuse(BlockStatus::kReadOnly);
  if (limits_.max_append_bytes == 0) return Refuse(BlockStatus::kUnsupported);
  if (offset_bytes >= limits_.capacity_bytes) return Refuse(BlockStatus::kZoneInvalid);
  uint32_t index = IndexOf(offset_bytes);
  const Zone& zone = zones_[index];
  ZoneCondition condition = ConditionOf(index);
  uint64_t written = zone.written_bytes + joined_bytes;
  if (TypeOf(index) != ZoneType::kSequentialRequired || offset_bytes != StartOf(index) ||
      length_bytes == 0 || length_bytes > limits_.max_append_bytes || IsDead(condition) ||
      condition == ZoneCondition::kFull || written >= zone.capacity_bytes) {
    return Refuse(BlockStatus::kZoneInvalid);
  }
  if (!IsAligned(length_bytes, limits_.write_granularity_bytes)) {
    return Refuse(BlockStatus::kZoneUnaligned);
  }
  if (length_bytes > zone.capacity_bytes - written) return Refuse(BlockStatus::kZoneInvalid);
  return {.needs_medium = true,
          .position_bytes = offset_bytes + written,
          .open_need = NeedToWrite(condition, length_bytes == zone.capacity_bytes)};
}

ZoneDecision ZoneModel::DecideManagement(BlockOp op, uint64_t offset_bytes) const {
  if (limits_.read_only) return Refuse(BlockStatus::kReadOnly);
  if (offset_bytes >= limits_.capacity_bytes) return Refuse(BlockStatus::kZoneInvalid);
  uint32_t index = IndexOf(offset_bytes);
  ZoneCondition condition = ConditionOf(index);
  if (offset_bytes != StartOf(index) || TypeOf(index) == ZoneType::kConventional ||
      IsDead(condition)) {
    return Refuse(BlockStatus::kZoneInvalid);
  }
  ZoneDecision nothing_to_do;
  ZoneDecision decision{.needs_medium = true, .medium_op = op, .position_bytes = offset_bytes};
  switch (op) {
    case BlockOp::kZoneOpen:
      if (condition == ZoneCondition::kFull) return Refuse(BlockStatus::kZoneInvalid);
      if (condition == ZoneCondition::kExplicitlyOpen) return nothing_to_do;
      decision.open_need = NeedToWrite(condition);
      return decision;
    case BlockOp::kZoneClose:
      if (condition == ZoneCondition::kClosed) return nothing_to_do;
      if (!IsOpen(condition)) return Refuse(BlockStatus::kZoneInvalid);
      // Closed without data, a zone is empty; some media would call it closed and keep its active
      // resource. A reset leads all of them to the same end.
      if (zones_[index].written_bytes == 0) decision.medium_op = BlockOp::kZoneReset;
      return decision;
    case BlockOp::kZoneFinish:
      if (condition == ZoneCondition::kFull) return nothing_to_do;
      if (NeedToWrite(condition) == OpenNeed::kRequired) decision.open_need = OpenNeed::kPreferred;
      return decision;
    case BlockOp::kZoneReset:
      // An empty zone's too: after an error it is how the guest clears the medium's own memory of
      // it.
      return decision;
    default:
      VMM_CHECK(!"an operation on one zone");
      return Refuse(BlockStatus::kUnsupported);
  }
}

BlockStatus ZoneModel::DecideRead(uint64_t offset_bytes, uint64_t length_bytes) const {
  if (!RangeFits(offset_bytes, length_bytes, limits_.capacity_bytes)) {
    return BlockStatus::kOutOfRange;
  }
  if (length_bytes == 0) return BlockStatus::kOk;
  uint32_t first = IndexOf(offset_bytes);
  uint32_t last = IndexOf(offset_bytes + length_bytes - 1);
  for (uint32_t zone = first; zone <= last; ++zone) {
    if (ConditionOf(zone) == ZoneCondition::kOffline) return BlockStatus::kZoneInvalid;
    if (first != last && TypeOf(zone) == ZoneType::kSequentialRequired) {
      return BlockStatus::kZoneInvalid;
    }
  }
  return BlockStatus::kOk;
}

ZoneExtent ZoneModel::FirstExtent(uint64_t offset_bytes, uint64_t length_bytes) const {
  VMM_CHECK(length_bytes > 0);
  uint32_t index = IndexOf(offset_bytes);
  uint64_t end = offset_bytes + length_bytes;
  if (TypeOf(index) == ZoneType::kConventional) {
    while (EndOf(index) < end && TypeOf(index + 1) == ZoneType::kConventional) ++index;
    return {std::min(end, EndOf(index)) - offset_bytes, true};
  }
  uint64_t data_end = StartOf(index) + zones_[index].written_bytes;
  bool from_medium = offset_bytes < data_end;
  return {std::min(end, from_medium ? data_end : EndOf(index)) - offset_bytes, from_medium};
}

ZoneModel::Grant ZoneModel::Reserve(uint32_t index, OpenNeed need) {
  Zone& zone = zones_[index];
  if (need == OpenNeed::kNone || zone.holds_open) return Grant::kGranted;
  bool preferred = need == OpenNeed::kPreferred;
  bool active_full =
      !zone.holds_active && limits_.max_active_zones != 0 && active_ >= limits_.max_active_zones;
  if (active_full) {
    if (filling_ > 0) return Grant::kWait;
    return preferred ? Grant::kGranted : Grant::kActiveLimit;
  }
  if (limits_.max_open_zones != 0 && open_ >= limits_.max_open_zones) {
    // What is open and not explicitly so is implicitly open, or about to become something that
    // will be known soon.
    if (open_ > explicitly_open_) return Grant::kCloseFirst;
    return preferred ? Grant::kGranted : Grant::kOpenLimit;
  }
  SetHolds(zone, true, true);
  const bool to_full = preferred || need == OpenNeed::kToFill;
  if (to_full && ConditionOf(index) == ZoneCondition::kEmpty) {
    zone.filling = true;
    ++filling_;
  }
  return Grant::kGranted;
}

std::optional<uint32_t> ZoneModel::IdleVictim() const {
  if (oldest_ == kNoZone) return std::nullopt;
  return oldest_;
}

void ZoneModel::SetBusy(uint32_t zone, bool busy) {
  zones_[zone].busy = busy;
  UpdateList(zone);
}

void ZoneModel::ApplyWrite(uint32_t index, uint64_t position_bytes, uint64_t length_bytes) {
  Zone& zone = zones_[index];
  if (TypeOf(index) == ZoneType::kConventional || length_bytes == 0) return;
  uint64_t end = position_bytes - StartOf(index) + length_bytes;
  VMM_CHECK(end <= zone.capacity_bytes);
  // In a sequential-preferred zone a write below the pointer leaves it, one beyond takes it along.
  zone.written_bytes = std::max<uint64_t>(zone.written_bytes, end);
  ZoneCondition condition = ConditionOf(index);
  if (condition == ZoneCondition::kFull) return;
  if (zone.written_bytes == zone.capacity_bytes) {
    SetCondition(index, ZoneCondition::kFull);
  } else if (condition != ZoneCondition::kExplicitlyOpen) {
    SetCondition(index, ZoneCondition::kImplicitlyOpen);
  }
}

void ZoneModel::ApplyManagement(uint32_t zone, BlockOp op) {
  switch (op) {
    case BlockOp::kZoneOpen:
      return SetCondition(zone, ZoneCondition::kExplicitlyOpen);
    case BlockOp::kZoneClose:
      return SetCondition(
          zone, zones_[zone].written_bytes == 0 ? ZoneCondition::kEmpty : ZoneCondition::kClosed);
    case BlockOp::kZoneFinish:
      return SetCondition(zone, ZoneCondition::kFull);
    case BlockOp::kZoneReset:
      zones_[zone].written_bytes = 0;
      return SetCondition(zone, ZoneCondition::kEmpty);
    default:
      VMM_CHECK(!"an operation on one zone");
  }
}

void ZoneModel::ApplyResetAll() {
  for (uint32_t zone = 0; zone < zone_count(); ++zone) {
    if (TypeOf(zone) == ZoneType::kConventional || IsDead(ConditionOf(zone))) continue;
    zones_[zone].stale = false;
    ApplyManagement(zone, BlockOp::kZoneReset);
  }
}

bool ZoneModel::Reload(uint32_t zone, const ZoneDescriptor& report) {
  return Adopt(zone, report).has_value();
}

void ZoneModel::SetCondition(uint32_t index, ZoneCondition condition) {
  Zone& zone = zones_[index];
  explicitly_open_ -= ConditionOf(index) == ZoneCondition::kExplicitlyOpen;
  explicitly_open_ += condition == ZoneCondition::kExplicitlyOpen;
  zone.condition = static_cast<uint64_t>(condition);
  SetHolds(zone, IsOpen(condition), IsActive(condition));
  UpdateList(index);
}

void ZoneModel::SetHolds(Zone& zone, bool open, bool active) {
  open_ += static_cast<uint32_t>(open) - static_cast<uint32_t>(zone.holds_open);
  active_ += static_cast<uint32_t>(active) - static_cast<uint32_t>(zone.holds_active);
  zone.holds_open = open;
  zone.holds_active = active;
  filling_ -= zone.filling;
  zone.filling = false;
}

void ZoneModel::UpdateList(uint32_t index) {
  Zone& zone = zones_[index];
  bool belongs = !zone.busy && ConditionOf(index) == ZoneCondition::kImplicitlyOpen;
  if (belongs == static_cast<bool>(zone.listed)) return;
  zone.listed = belongs;
  if (belongs) {
    zone.previous = newest_;
    zone.next = kNoZone;
    (newest_ == kNoZone ? oldest_ : zones_[newest_].next) = index;
    newest_ = index;
  } else {
    (zone.previous == kNoZone ? oldest_ : zones_[zone.previous].next) = zone.next;
    (zone.next == kNoZone ? newest_ : zones_[zone.next].previous) = zone.previous;
  }
}

}  // namespace minivmm
