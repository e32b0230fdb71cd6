// FakeZonedMedium: a zoned disk in memory for tests, as unforgiving as real ones together. It
//
//   - takes writes to sequential zones at the write pointer only, one at a time,
//   - refuses what exceeds its open and active limits and never closes a zone by itself,
//   - wants an open resource even for finishing an empty or closed zone,
//   - keeps an opened zone without data as closed, with its active resource, when told to close it,
//   - after a failed write refuses all writes to the zone until it has been reported or reset,
//   - reads 0xEE where nothing was written, and old data after a reset,
//
// and counts as a violation whatever a caller who knows the rules would never send. Fields are to
// be set while nothing is in flight.
#ifndef MINIVMM_BLOCKCORE_FAKE_ZONED_MEDIUM_H_
#define MINIVMM_BLOCKCORE_FAKE_ZONED_MEDIUM_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <vector>

#include "blockcore/fake_block_node.h"
#include "blockcore/zone.h"

namespace minivmm {

class FakeZonedMedium : public FakeBlockNode {
 public:
  FakeZonedMedium(const BlockLimits& limits, std::vector<ZoneDescriptor> zones)
      : FakeBlockNode(limits, [this](BlockRequest& request) { return Run(request); }),
        zones_(std::move(zones)),
        data_(limits.capacity_bytes, static_cast<char>(0xEE)),
        poisoned_(zones_.size()),
        in_flight_(zones_.size()) {}

  void Submit(IoThread& thread, BlockRequest& request) override {
    if (ChangesZone(request) && in_flight_[ZoneOf(request)].fetch_add(1) != 0) ++violations_;
    FakeBlockNode::Submit(thread, request);
  }

  std::vector<ZoneDescriptor>& zones() { return zones_; }
  std::vector<char>& data() { return data_; }
  int violations() const { return violations_; }

  // Called for each request before its effect; anything but kOk makes it fail, a write to a
  // sequential zone after its first block.
  std::function<BlockStatus(const BlockRequest& request)> fault;

 private:
  using Condition = ZoneCondition;

  void Completing(const BlockRequest& request) override {
    if (ChangesZone(request)) --in_flight_[ZoneOf(request)];
  }

  // Whether it is one of those of which a zone has one in flight at most.
  bool ChangesZone(const BlockRequest& request) const {
    switch (request.op) {
      case BlockOp::kWrite:
        return zones_[ZoneOf(request)].type != ZoneType::kConventional;
      case BlockOp::kZoneOpen:
      case BlockOp::kZoneClose:
      case BlockOp::kZoneFinish:
      case BlockOp::kZoneReset:
        return true;
      default:
        return false;
    }
  }

  size_t ZoneOf(const BlockRequest& request) const {
    return request.offset_bytes / limits().zone_size_bytes;
  }

  static bool IsOpen(const ZoneDescriptor& zone) {
    return zone.condition == Condition::kImplicitlyOpen ||
           zone.condition == Condition::kExplicitlyOpen;
  }
  static bool IsActive(const ZoneDescriptor& zone) {
    return IsOpen(zone) || zone.condition == Condition::kClosed;
  }

  BlockStatus Violation(BlockStatus status = BlockStatus::kIoError) {
    ++violations_;
    return status;
  }

  void Copy(const BlockRequest& request, uint64_t limit_bytes, bool to_medium) {
    char* position = data_.data() + request.offset_bytes;
    uint64_t total = 0;
    for (const iovec& buffer : request.buffers) {
      uint64_t bytes = std::min<uint64_t>(buffer.iov_len, limit_bytes - total);
      if (bytes == 0) continue;
      std::memcpy(to_medium ? position : buffer.iov_base, to_medium ? buffer.iov_base : position,
                  bytes);
      position += bytes;
      total += bytes;
    }
    if (limit_bytes == request.length_bytes && total != request.length_bytes) ++violations_;
  }

  BlockStatus Run(BlockRequest& request) {
    BlockStatus injected = fault ? fault(request) : BlockStatus::kOk;
    switch (request.op) {
      case BlockOp::kFlush:
        return injected;
      case BlockOp::kRead:
        if (injected != BlockStatus::kOk) return injected;
        if (zones_[ZoneOf(request)].condition == Condition::kOffline) return BlockStatus::kIoError;
        Copy(request, request.length_bytes, false);
        return BlockStatus::kOk;
      case BlockOp::kWrite:
        return Write(request, injected);
      case BlockOp::kZoneReport:
        if (injected != BlockStatus::kOk) return injected;
        for (size_t zone = ZoneOf(request);
             zone < zones_.size() && request.zones_reported < request.zones.size(); ++zone) {
          poisoned_[zone] = false;
          request.zones[request.zones_reported++] = zones_[zone];
        }
        return BlockStatus::kOk;
      case BlockOp::kZoneResetAll:
        for (ZoneDescriptor& zone : zones_) {
          if (injected != BlockStatus::kOk && zone.start_bytes > limits().capacity_bytes / 2) break;
          if (IsActive(zone) || zone.condition == Condition::kFull) Reset(zone);
        }
        return injected;
      case BlockOp::kDiscard:
      case BlockOp::kZoneAppend:
        return Violation(BlockStatus::kUnsupported);
      default:
        return injected != BlockStatus::kOk ? injected : Manage(request);
    }
  }

  // Takes what the zone needs to become open.
  BlockStatus Acquire(const ZoneDescriptor& zone) {
    if (IsOpen(zone)) return BlockStatus::kOk;
    auto open = std::count_if(zones_.begin(), zones_.end(), IsOpen);
    auto active = std::count_if(zones_.begin(), zones_.end(), IsActive);
    if (limits().max_active_zones != 0 && !IsActive(zone) && active >= limits().max_active_zones) {
      return BlockStatus::kZoneActiveLimit;
    }
    if (limits().max_open_zones != 0 && open >= limits().max_open_zones) {
      return BlockStatus::kZoneOpenLimit;
    }
    return BlockStatus::kOk;
  }

  BlockStatus Write(const BlockRequest& request, BlockStatus injected) {
    ZoneDescriptor& zone = zones_[ZoneOf(request)];
    if (zone.type != ZoneType::kSequentialRequired) {
      if (injected != BlockStatus::kOk) return injected;
      Copy(request, request.length_bytes, true);
      if (zone.type == ZoneType::kSequentialPreferred) {
        Advance(zone, request.offset_bytes + request.length_bytes);
      }
      return BlockStatus::kOk;
    }
    char& poisoned = poisoned_[ZoneOf(request)];
    if (poisoned) return Violation();
    poisoned = true;
    if (zone.condition == Condition::kReadOnly || zone.condition == Condition::kOffline) {
      return BlockStatus::kIoError;
    }
    uint64_t end = request.offset_bytes + request.length_bytes;
    if (request.offset_bytes != zone.write_pointer_bytes || zone.condition == Condition::kFull ||
        end > zone.start_bytes + zone.capacity_bytes) {
      return Violation();
    }
    if (BlockStatus status = Acquire(zone); status != BlockStatus::kOk) return Violation(status);
    if (injected != BlockStatus::kOk) {
      end = request.offset_bytes + limits().write_granularity_bytes;
      Copy(request, limits().write_granularity_bytes, true);
    } else {
      poisoned = false;
      Copy(request, request.length_bytes, true);
    }
    Advance(zone, end);
    return injected;
  }

  static void Advance(ZoneDescriptor& zone, uint64_t end) {
    if (zone.condition == Condition::kFull) return;
    zone.write_pointer_bytes = std::max(zone.write_pointer_bytes, end);
    if (zone.write_pointer_bytes == zone.start_bytes + zone.capacity_bytes) {
      zone.condition = Condition::kFull;
    } else if (zone.condition != Condition::kExplicitlyOpen) {
      zone.condition = Condition::kImplicitlyOpen;
    }
  }

  static void Reset(ZoneDescriptor& zone) {
    zone.condition = Condition::kEmpty;
    zone.write_pointer_bytes = zone.start_bytes;
  }

  BlockStatus Manage(const BlockRequest& request) {
    ZoneDescriptor& zone = zones_[ZoneOf(request)];
    if (zone.condition == Condition::kReadOnly || zone.condition == Condition::kOffline) {
      return BlockStatus::kIoError;
    }
    if (zone.type == ZoneType::kConventional || request.offset_bytes != zone.start_bytes) {
      return Violation();
    }
    switch (request.op) {
      case BlockOp::kZoneOpen:
        if (zone.condition == Condition::kFull) return Violation();
        if (BlockStatus status = Acquire(zone); status != BlockStatus::kOk) {
          return Violation(status);
        }
        zone.condition = Condition::kExplicitlyOpen;
        return BlockStatus::kOk;
      case BlockOp::kZoneClose:
        if (!IsOpen(zone)) return Violation();
        zone.condition = Condition::kClosed;
        return BlockStatus::kOk;
      case BlockOp::kZoneFinish:
        if (zone.condition == Condition::kFull) return Violation();
        if (BlockStatus status = Acquire(zone); status != BlockStatus::kOk) return status;
        zone.condition = Condition::kFull;
        return BlockStatus::kOk;
      default:
        poisoned_[ZoneOf(request)] = false;
        Reset(zone);
        return BlockStatus::kOk;
    }
  }

  std::vector<ZoneDescriptor> zones_;
  std::vector<char> data_;
  std::vector<char> poisoned_;
  std::vector<std::atomic<int>> in_flight_;
  std::atomic<int> violations_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_FAKE_ZONED_MEDIUM_H_
