#include "tools/io/bench_work.h"

#include <algorithm>

namespace minivmm {
namespace {

bool TakesWrites(ZoneCondition condition) {
  switch (condition) {
    case ZoneCondition::kReadOnly:
    case ZoneCondition::kFull:
    case ZoneCondition::kOffline:
      return false;
    default:
      return true;
  }
}

}  // namespace

Result<BenchWork> BenchWork::Create(const BlockLimits& limits,
                                    std::span<const ZoneDescriptor> zones,
                                    const BenchOptions& options) {
  BenchWork work(options);
  const uint64_t end = options.offset_bytes + options.length_bytes;
  if (limits.zoned == ZonedModel::kNone) work.AddLane(options.offset_bytes, end);
  const bool write = options.op != BlockOp::kRead;
  for (const ZoneDescriptor& zone : zones) {
    const bool sequential = zone.type != ZoneType::kConventional;
    uint64_t from = std::max(options.offset_bytes, zone.start_bytes);
    uint64_t to = std::min(end, zone.start_bytes + zone.length_bytes);
    if (zone.condition == ZoneCondition::kOffline) continue;
    if (options.op == BlockOp::kZoneAppend && !sequential) continue;
    if (write && !TakesWrites(zone.condition)) continue;
    if (write && sequential) {
      // A range that begins behind the write pointer leaves nothing to write in this zone.
      if (from > zone.write_pointer_bytes) continue;
      from = zone.write_pointer_bytes;
      to = std::min(to, zone.start_bytes + zone.capacity_bytes);
      work.endless_ = false;
    }
    work.AddLane(from, to);
  }
  if (work.lanes_.empty()) {
    return Fail("there is no place for a request of {} bytes in this range{}",
                options.request_bytes,
                write && limits.zoned != ZonedModel::kNone
                    ? ": its zones are full or too small; reset them with zrs"
                    : "");
  }
  if (options.random && !work.endless_) {
    return Fail("sequential zones are written in order only: leave out -r");
  }
  if (options.op == BlockOp::kZoneAppend) {
    // An append names its zone by the start.
    for (Lane& lane : work.lanes_) lane.begin_bytes -= lane.begin_bytes % limits.zone_size_bytes;
  }
  return work;
}

void BenchWork::AddLane(uint64_t begin_bytes, uint64_t end_bytes) {
  if (end_bytes <= begin_bytes || end_bytes - begin_bytes < options_.request_bytes) return;
  lanes_.push_back({begin_bytes, (end_bytes - begin_bytes) / options_.request_bytes});
}

std::optional<size_t> BenchWork::TakeLane() {
  if (next_lane_ == lanes_.size()) {
    if (!endless_) return std::nullopt;
    next_lane_ = 0;
    for (Lane& lane : lanes_) lane.used = 0;
  }
  return next_lane_++;
}

std::optional<uint64_t> BenchWork::Next() {
  if (options_.random) {
    const Lane& lane = lanes_[random_() % lanes_.size()];
    return lane.begin_bytes + random_() % lane.requests * options_.request_bytes;
  }
  if (current_.size() < std::min<uint64_t>(options_.lanes_at_once, lanes_.size()) &&
      next_lane_ < lanes_.size()) {
    turn_ = current_.size();
    current_.push_back(next_lane_++);
  }
  while (!current_.empty()) {
    if (turn_ >= current_.size()) turn_ = 0;
    Lane& lane = lanes_[current_[turn_]];
    if (lane.used == lane.requests) {
      if (std::optional<size_t> other = TakeLane()) {
        current_[turn_] = *other;
      } else {
        current_.erase(current_.begin() + static_cast<std::ptrdiff_t>(turn_));
      }
      continue;
    }
    ++turn_;
    const uint64_t place = lane.used++;
    if (options_.op == BlockOp::kZoneAppend) return lane.begin_bytes;
    return lane.begin_bytes + place * options_.request_bytes;
  }
  return std::nullopt;
}

}  // namespace minivmm
