// ZoneReference: what a zoned disk may answer, written for tests from the specification's tables
// (virtio 5.2.6; state machine, resources and checks of the project's checklist, 4.2 to 4.4) and
// from nothing else: zones in a plain vector, counted anew each time, one operation at a time.
//
//   Expect ─▶ the set of acceptable statuses ... the disk answers ... Apply ─▶ what it may be now
//   Learn  ◀─ a report of all zones: must be one of those states, and is taken over
//
// Where several rules are broken at once, any of their statuses will do (Z-56). What the disk may
// choose for itself (which implicitly open zone it closes, how far a failed write got) is left open
// by Apply and settled by Learn. Content is a tag for each block of 512 bytes, 0 for zeroes.
#ifndef MINIVMM_BLOCKCORE_ZONE_REFERENCE_H_
#define MINIVMM_BLOCKCORE_ZONE_REFERENCE_H_

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "blockcore/block_node.h"
#include "blockcore/block_request.h"
#include "blockcore/zone.h"

namespace minivmm {

// A set of statuses.
class Statuses {
 public:
  Statuses(std::initializer_list<BlockStatus> statuses) {
    for (BlockStatus status : statuses) Add(status);
  }
  void Add(BlockStatus status) { bits_ |= 1u << static_cast<unsigned>(status); }
  bool Has(BlockStatus status) const { return (bits_ >> static_cast<unsigned>(status) & 1) != 0; }
  bool empty() const { return bits_ == 0; }
  std::string Text() const {
    std::string text;
    for (unsigned i = 0; i < 16; ++i) {
      if ((bits_ >> i & 1) != 0) text += (text.empty() ? "" : "|") + std::to_string(i);
    }
    return text;
  }

 private:
  unsigned bits_ = 0;
};

class ZoneReference {
 public:
  static constexpr uint64_t kBlock = 512;
  // Never written, and the medium does not have zeroes there.
  static constexpr uint64_t kFill = ~uint64_t{0};

  struct Zone {
    ZoneType type;
    ZoneCondition condition;
    uint64_t start;
    uint64_t length;
    uint64_t capacity;
    uint64_t written;  // below start + written there is data, above it zeroes

    bool operator==(const Zone&) const = default;
  };
  struct Medium {
    uint64_t fresh_tag = 0;          // of blocks that were never written
    bool keeps_old_data = false;     // a reset leaves the bytes where they are
    bool finish_needs_open = false;  // as null_blk wants it
  };

  // Zones in the report that hold data hold fresh_tag.
  ZoneReference(const BlockLimits& limits, std::span<const ZoneDescriptor> report,
                const Medium& medium)
      : limits_(limits), medium_(medium), tags_(limits.capacity_bytes / kBlock, medium.fresh_tag) {
    for (const ZoneDescriptor& d : report) {
      Zone zone{d.type, d.condition, d.start_bytes, d.length_bytes, d.capacity_bytes, 0};
      if (HasPointer(zone.condition)) {
        zone.written = d.write_pointer_bytes - d.start_bytes;
      } else {
        zone.written = d.capacity_bytes;
      }
      zones_.push_back(zone);
    }
    others_.resize(zones_.size());
  }

  const std::vector<Zone>& zones() const { return zones_; }
  const BlockLimits& limits() const { return limits_; }

  // All statuses that are right for this request now, if the medium does not fail.
  Statuses Expect(const BlockRequest& request) const {
    const uint64_t at = request.offset_bytes;
    const uint64_t length = request.length_bytes;
    switch (request.op) {
      case BlockOp::kRead:
        return ExpectRead(at, length);
      case BlockOp::kWrite:
        return ExpectWrite(at, length);
      case BlockOp::kZoneAppend:
        return ExpectAppend(at, length);
      case BlockOp::kZoneReport:
        if (at >= limits_.capacity_bytes) return {BlockStatus::kZoneInvalid};
        return {BlockStatus::kOk};
      case BlockOp::kFlush:
      case BlockOp::kZoneResetAll:
        return {BlockStatus::kOk};
      case BlockOp::kDiscard:
      case BlockOp::kWriteZeroes:
        return {BlockStatus::kUnsupported};
      default:
        return ExpectManagement(request.op, at);
    }
  }

  // The request has been answered with an acceptable status, or with `failed` (the medium was made
  // to fail) with an I/O error. Returns whether Learn is needed before the next Expect. `tag`: of
  // the first block written, the others follow.
  bool Apply(const BlockRequest& request, uint64_t tag, bool failed) {
    const bool ok = request.status == BlockStatus::kOk;
    // A medium's failure may have been that of an implicit close, or have kept one from happening.
    if (failed) max_closes_ += 1;
    switch (request.op) {
      case BlockOp::kWrite:
        ApplyWrite(request, tag, ok);
        break;
      case BlockOp::kZoneAppend: {
        if (!ok && !failed) break;
        Zone& zone = zones_[IndexOf(request.offset_bytes)];
        ApplySequentialWrite(zone, zone.start + zone.written, request.length_bytes, tag, ok);
        break;
      }
      case BlockOp::kZoneOpen:
      case BlockOp::kZoneClose:
      case BlockOp::kZoneFinish:
      case BlockOp::kZoneReset: {
        if (!ok && !failed) break;
        if (request.offset_bytes >= limits_.capacity_bytes) break;
        ApplyManagement(request.op, IndexOf(request.offset_bytes), ok);
        break;
      }
      case BlockOp::kZoneResetAll:
        for (uint32_t i = 0; i < zones_.size(); ++i) {
          if (zones_[i].type == ZoneType::kConventional || IsDead(zones_[i].condition)) continue;
          ApplyManagement(BlockOp::kZoneReset, i, ok);
        }
        break;
      default:
        break;
    }
    return NeedsLearning();
  }

  // Empty, or what is wrong with a report of all zones.
  std::string Learn(std::span<const ZoneDescriptor> report) {
    if (report.size() != zones_.size()) return "the report has another number of zones";
    uint32_t closes = 0;
    uint32_t open = 0;
    uint32_t active = 0;
    for (uint32_t i = 0; i < zones_.size(); ++i) {
      const ZoneDescriptor& seen = report[i];
      Zone& zone = zones_[i];
      if (seen.start_bytes != zone.start || seen.length_bytes != zone.length ||
          seen.capacity_bytes != zone.capacity || seen.type != zone.type) {
        return fmt::format("zone {}: start, length, capacity or type changed", i);
      }
      std::vector<Zone> possible = std::move(others_[i]);
      others_[i].clear();
      possible.push_back(zone);
      const size_t known = possible.size();
      for (size_t k = 0; k < known && max_closes_ > 0; ++k) {
        if (possible[k].condition != ZoneCondition::kImplicitlyOpen) continue;
        Zone closed = possible[k];
        closed.condition = ZoneCondition::kClosed;
        possible.push_back(closed);
      }
      // A report does not tell how far the data of a full zone goes: as far as it may, or less.
      size_t found = possible.size();
      uint64_t least = UINT64_MAX;
      for (size_t k = possible.size(); k-- > 0;) {
        if (!Shows(possible[k], seen) || (k >= known && least != UINT64_MAX)) continue;
        if (least == UINT64_MAX || possible[k].written > possible[found].written) found = k;
        least = std::min(least, possible[k].written);
      }
      if (found == possible.size()) {
        return fmt::format("zone {} is shown in condition {} with {} bytes, not {} with {}", i,
                           static_cast<int>(seen.condition),
                           seen.write_pointer_bytes - seen.start_bytes,
                           static_cast<int>(zone.condition), zone.written);
      }
      if (found >= known) ++closes;
      zone = possible[found];
      AddTags(zone.start + least, zone.written - least, 0);
      if (IsOpen(zone.condition)) ++open;
      if (IsActive(zone.condition)) ++active;
    }
    if (closes < min_closes_ || closes > max_closes_) {
      return fmt::format("{} zones were closed for others, not {} to {}", closes, min_closes_,
                         max_closes_);
    }
    if (limits_.max_open_zones != 0 && open > limits_.max_open_zones) return "too many open zones";
    if (limits_.max_active_zones != 0 && active > limits_.max_active_zones) {
      return "too many active zones";
    }
    min_closes_ = 0;
    max_closes_ = 0;
    return "";
  }

  // Empty, or what is wrong with a report that starts with zone `first`; nothing is to be learnt.
  std::string CheckShown(uint32_t first, std::span<const ZoneDescriptor> report) const {
    for (const ZoneDescriptor& seen : report) {
      if (!Shows(zones_[first], seen)) return fmt::format("zone {} is not shown as it is", first);
      ++first;
    }
    return "";
  }

  // Whether the block at this byte may read as `tag`. Where several are possible, it is settled.
  bool SeeBlock(uint64_t at, uint64_t tag) {
    const Zone& zone = zones_[IndexOf(at)];
    const uint64_t block = at / kBlock;
    if (at >= zone.start + zone.written) return tag == 0;
    auto unsure = unsure_.find(block);
    if (unsure != unsure_.end()) {
      if (std::ranges::find(unsure->second, tag) == unsure->second.end()) return false;
      // Zeroes may be the queue's, in place of what the medium holds.
      if (tag == 0) return true;
      tags_[block] = tag;
      unsure_.erase(unsure);
    }
    return tags_[block] == tag;
  }

  std::string DescribeBlock(uint64_t at) const {
    const Zone& zone = zones_[IndexOf(at)];
    return fmt::format("its zone has type {}, condition {}, {} of {} bytes written, {:#x} there",
                       static_cast<int>(zone.type), static_cast<int>(zone.condition), zone.written,
                       zone.capacity, tags_[at / kBlock]);
  }

  // The disk was flushed, closed and opened again.
  void Restart() {
    for (Zone& zone : zones_) {
      if (!IsOpen(zone.condition)) continue;
      zone.condition = zone.written == 0 ? ZoneCondition::kEmpty : ZoneCondition::kClosed;
    }
  }

  uint32_t IndexOf(uint64_t at) const {
    return static_cast<uint32_t>(at / limits_.zone_size_bytes);
  }

  static bool IsDead(ZoneCondition condition) {
    return condition == ZoneCondition::kReadOnly || condition == ZoneCondition::kOffline;
  }
  static bool IsOpen(ZoneCondition condition) {
    return condition == ZoneCondition::kImplicitlyOpen ||
           condition == ZoneCondition::kExplicitlyOpen;
  }
  static bool IsActive(ZoneCondition condition) {
    return IsOpen(condition) || condition == ZoneCondition::kClosed;
  }
  static bool HasPointer(ZoneCondition condition) {
    return condition == ZoneCondition::kEmpty || IsActive(condition);
  }

 private:
  template <typename Predicate>
  uint32_t Count(Predicate predicate) const {
    return static_cast<uint32_t>(
        std::ranges::count_if(zones_, [&](const Zone& zone) { return predicate(zone.condition); }));
  }

  bool OpenLimitMet() const {
    return limits_.max_open_zones != 0 && Count(IsOpen) >= limits_.max_open_zones;
  }
  bool ActiveLimitMet() const {
    return limits_.max_active_zones != 0 && Count(IsActive) >= limits_.max_active_zones;
  }
  uint32_t ImplicitlyOpen() const {
    return Count([](ZoneCondition c) { return c == ZoneCondition::kImplicitlyOpen; });
  }

  // 4.3: what a zone answers that has to become open.
  BlockStatus ResourceStatus(const Zone& zone) const {
    if (IsOpen(zone.condition) || zone.condition == ZoneCondition::kFull) return BlockStatus::kOk;
    if (zone.condition == ZoneCondition::kEmpty && ActiveLimitMet()) {
      return BlockStatus::kZoneActiveLimit;
    }
    if (OpenLimitMet() && ImplicitlyOpen() == 0) return BlockStatus::kZoneOpenLimit;
    return BlockStatus::kOk;
  }

  Statuses ExpectRead(uint64_t at, uint64_t length) const {
    if (at > limits_.capacity_bytes || length > limits_.capacity_bytes - at) {
      return {BlockStatus::kOutOfRange};
    }
    if (length == 0) return {BlockStatus::kOk};
    const uint32_t first = IndexOf(at);
    const uint32_t last = IndexOf(at + length - 1);
    bool bad = false;
    bool sequential = false;
    for (uint32_t i = first; i <= last; ++i) {
      bad |= zones_[i].condition == ZoneCondition::kOffline;
      sequential |= zones_[i].type == ZoneType::kSequentialRequired;
    }
    if (bad || (sequential && first != last)) return {BlockStatus::kZoneInvalid};
    return {BlockStatus::kOk};
  }

  Statuses ExpectWrite(uint64_t at, uint64_t length) const {
    if (length == 0) return {BlockStatus::kOk};
    if (at > limits_.capacity_bytes || length > limits_.capacity_bytes - at) {
      return {BlockStatus::kOutOfRange};
    }
    if (limits_.zoned == ZonedModel::kHostAware) return ExpectPieces(at, length);
    const uint32_t first = IndexOf(at);
    const uint32_t last = IndexOf(at + length - 1);
    const Zone& zone = zones_[first];
    Statuses broken{};
    for (uint32_t i = first; i <= last; ++i) {
      if (zones_[i].type != zone.type || IsDead(zones_[i].condition)) {
        broken.Add(BlockStatus::kZoneInvalid);
      }
    }
    if (zone.type == ZoneType::kConventional) {
      if (broken.empty()) broken.Add(BlockStatus::kOk);
      return broken;
    }
    // 4.2, 4.4: all rules at once, whichever is named.
    const bool has_pointer = HasPointer(zone.condition);
    if (first != last || zone.condition == ZoneCondition::kFull ||
        at + length > zone.start + zone.capacity) {
      broken.Add(BlockStatus::kZoneInvalid);
    }
    if ((has_pointer && at != zone.start + zone.written) ||
        (at + length) % limits_.write_granularity_bytes != 0) {
      broken.Add(BlockStatus::kZoneUnaligned);
    }
    if (broken.empty()) broken.Add(ResourceStatus(zone));
    return broken;
  }

  // A write on a host-aware disk, which may cross zones: the first piece that cannot be done.
  Statuses ExpectPieces(uint64_t at, uint64_t length) const {
    ZoneReference trial = WithoutContent();
    for (uint64_t end = at + length; at < end;) {
      Zone& zone = trial.zones_[IndexOf(at)];
      const uint64_t piece_end = std::min(end, zone.start + zone.length);
      if (IsDead(zone.condition)) return {BlockStatus::kZoneInvalid};
      if (zone.type != ZoneType::kConventional) {
        if (piece_end > zone.start + zone.capacity) return {BlockStatus::kZoneInvalid};
        const BlockStatus status = trial.ResourceStatus(zone);
        if (status != BlockStatus::kOk) return {status};
        trial.Acquire(zone);
        Advance(zone, piece_end);
      }
      at = piece_end;
    }
    return {BlockStatus::kOk};
  }

  Statuses ExpectAppend(uint64_t at, uint64_t length) const {
    Statuses broken{};
    if (limits_.max_append_bytes == 0) return {BlockStatus::kUnsupported};
    if (at >= limits_.capacity_bytes) return {BlockStatus::kZoneInvalid};
    const Zone& zone = zones_[IndexOf(at)];
    if (zone.type != ZoneType::kSequentialRequired || at != zone.start || length == 0 ||
        length > limits_.max_append_bytes || !HasPointer(zone.condition) ||
        length > zone.capacity - zone.written) {
      broken.Add(BlockStatus::kZoneInvalid);
    }
    if (length % limits_.write_granularity_bytes != 0) broken.Add(BlockStatus::kZoneUnaligned);
    if (broken.empty()) broken.Add(ResourceStatus(zone));
    return broken;
  }

  Statuses ExpectManagement(BlockOp op, uint64_t at) const {
    if (at >= limits_.capacity_bytes) return {BlockStatus::kZoneInvalid};
    const Zone& zone = zones_[IndexOf(at)];
    const ZoneCondition condition = zone.condition;
    if (at != zone.start || zone.type == ZoneType::kConventional || IsDead(condition)) {
      return {BlockStatus::kZoneInvalid};
    }
    switch (op) {
      case BlockOp::kZoneOpen:
        if (condition == ZoneCondition::kFull) return {BlockStatus::kZoneInvalid};
        return {ResourceStatus(zone)};
      case BlockOp::kZoneClose:
        if (IsActive(condition)) return {BlockStatus::kOk};
        return {BlockStatus::kZoneInvalid};
      case BlockOp::kZoneFinish:
        // The limits do not forbid it (4.2), but some media do (6.4).
        if (medium_.finish_needs_open) return {ResourceStatus(zone)};
        return {BlockStatus::kOk};
      default:
        return {BlockStatus::kOk};
    }
  }

  // The zone becomes open, maybe at the cost of another.
  void Acquire(const Zone& zone) {
    if (IsOpen(zone.condition) || zone.condition == ZoneCondition::kFull || !OpenLimitMet()) return;
    ++min_closes_;
    ++max_closes_;
  }

  // What a write up to `end` makes of a zone.
  static void Advance(Zone& zone, uint64_t end) {
    zone.written = std::max(zone.written, end - zone.start);
    if (zone.condition == ZoneCondition::kFull) return;
    if (zone.written == zone.capacity) {
      zone.condition = ZoneCondition::kFull;
    } else if (zone.condition != ZoneCondition::kExplicitlyOpen) {
      zone.condition = ZoneCondition::kImplicitlyOpen;
    }
  }

  void ApplySequentialWrite(Zone& zone, uint64_t at, uint64_t length, uint64_t tag, bool ok) {
    SetTags(at, length, tag);
    if (ok) {
      Acquire(zone);
      return Advance(zone, at + length);
    }
    for (uint64_t part = kBlock; part <= length; part += kBlock) {
      Zone other = zone;
      Advance(other, at + part);
      others_[IndexOf(zone.start)].push_back(other);
    }
  }

  void ApplyWrite(const BlockRequest& request, uint64_t tag, bool ok) {
    uint64_t at = request.offset_bytes;
    const uint64_t end = at + request.length_bytes;
    if (request.length_bytes == 0 || at > limits_.capacity_bytes || end > limits_.capacity_bytes) {
      return;
    }
    const Zone& first = zones_[IndexOf(at)];
    if (first.type == ZoneType::kSequentialRequired) {
      // Refused, it changes nothing.
      if (!ok && request.status != BlockStatus::kIoError) return;
      return ApplySequentialWrite(zones_[IndexOf(at)], at, request.length_bytes, tag, ok);
    }
    const bool pieces = limits_.zoned == ZonedModel::kHostAware;
    const bool failed = request.status == BlockStatus::kIoError;
    if (!ok && !pieces && !failed) return;
    // Refused, the pieces before the one that was refused are there; failed, any of them may be.
    uint32_t sequential = 0;
    while (at < end) {
      const uint32_t index = IndexOf(at);
      Zone& zone = zones_[index];
      const uint64_t piece_end = std::min(end, zone.start + zone.length);
      if (IsDead(zone.condition) || piece_end > zone.start + zone.capacity) break;
      if (zone.type != ZoneType::kConventional) {
        if (!ok && !failed && ResourceStatus(zone) != BlockStatus::kOk) break;
        ++sequential;
        if (failed) {
          others_[index].push_back(zone);
          Advance(others_[index].back(), piece_end);
        } else {
          Acquire(zone);
          Advance(zone, piece_end);
        }
      }
      // Neighbouring conventional zones may be refused as a whole.
      if (failed || (!ok && zone.type == ZoneType::kConventional)) {
        AddTags(at, piece_end - at, tag);
      } else {
        SetTags(at, piece_end - at, tag);
      }
      tag += (piece_end - at) / kBlock;
      at = piece_end;
    }
    // Which zones were closed on the way depends on the order.
    if (sequential > 1 || failed) {
      min_closes_ = 0;
      max_closes_ = sequential + 1;
    }
  }

  void ApplyManagement(BlockOp op, uint32_t index, bool ok) {
    Zone& zone = zones_[index];
    Zone after = zone;
    switch (op) {
      case BlockOp::kZoneOpen:
        if (ok) Acquire(zone);
        after.condition = ZoneCondition::kExplicitlyOpen;
        break;
      case BlockOp::kZoneClose:
        after.condition = zone.condition;
        if (IsOpen(zone.condition)) {
          after.condition = zone.written == 0 ? ZoneCondition::kEmpty : ZoneCondition::kClosed;
        }
        break;
      case BlockOp::kZoneFinish:
        // It may be made room for, or not.
        if (zone.condition != ZoneCondition::kFull && !IsOpen(zone.condition) && OpenLimitMet()) {
          ++max_closes_;
        }
        after.condition = ZoneCondition::kFull;
        break;
      default:
        after.condition = ZoneCondition::kEmpty;
        after.written = 0;
        if (ok && !medium_.keeps_old_data) SetTags(zone.start, zone.length, medium_.fresh_tag);
        break;
    }
    if (ok) {
      zone = after;
    } else {
      others_[index].push_back(after);
    }
  }

  void SetTags(uint64_t at, uint64_t length, uint64_t tag) {
    for (uint64_t block = at / kBlock; block < (at + length) / kBlock; ++block) {
      tags_[block] = NextTag(tag);
      if (!unsure_.empty()) unsure_.erase(block);
    }
  }
  // Some of the blocks may have been written.
  void AddTags(uint64_t at, uint64_t length, uint64_t tag) {
    for (uint64_t block = at / kBlock; block < (at + length) / kBlock; ++block) {
      std::vector<uint64_t>& tags = unsure_[block];
      if (tags.empty()) tags.push_back(tags_[block]);
      tags.push_back(NextTag(tag));
    }
  }
  static uint64_t NextTag(uint64_t& tag) { return tag == 0 || tag == kFill ? tag : tag++; }

  bool NeedsLearning() const {
    return max_closes_ > 0 ||
           std::ranges::any_of(others_, [](const auto& zones) { return !zones.empty(); });
  }

  static bool Shows(const Zone& zone, const ZoneDescriptor& seen) {
    if (zone.condition != seen.condition || zone.start != seen.start_bytes) return false;
    // Undefined for the others.
    return !HasPointer(zone.condition) || seen.write_pointer_bytes == zone.start + zone.written;
  }

  ZoneReference WithoutContent() const { return ZoneReference(limits_, medium_, zones_); }
  ZoneReference(const BlockLimits& limits, const Medium& medium, const std::vector<Zone>& zones)
      : limits_(limits), medium_(medium), zones_(zones) {}

  BlockLimits limits_;
  Medium medium_;
  std::vector<Zone> zones_;
  std::vector<std::vector<Zone>> others_;  // what each may be instead
  uint32_t min_closes_ = 0;                // implicit closes since the last Learn
  uint32_t max_closes_ = 0;
  std::vector<uint64_t> tags_;
  std::unordered_map<uint64_t, std::vector<uint64_t>> unsure_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONE_REFERENCE_H_
