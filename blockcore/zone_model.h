// ZoneModel: the one zone state machine of the program (virtio 5.2.6, "zoned block device"). Pure:
// no I/O, no threads, no clock; who shares it between threads locks around it (ZoneQueue does).
//
//              write                  open
//    EMPTY ─────────────▶ IMPLICITLY ────────▶ EXPLICITLY     from EMPTY and CLOSED, too:
//      ▲                     OPEN                 OPEN          open ─▶ EXPLICITLY OPEN
//      │                      │ close              │ close      write ─▶ IMPLICITLY OPEN
//      │                      ▼                    ▼
//      ├◀──────────────────────── CLOSED ◀─────────┘          close with the write pointer at
//      │ reset, from all                                        the start ─▶ EMPTY
//     FULL ◀── the last writable byte written, or finish      READ-ONLY, OFFLINE: the medium's doing
//
//   a zone holds            EMPTY  IMPL. OPEN  EXPL. OPEN  CLOSED  FULL
//   an open resource          -        x           x         -      -      at most max_open_zones
//   an active resource        -        x           x         x      -      at most max_active_zones
//
// A request goes through it like this; each step is one function:
//
//   Decide*     may it be done now, what has the medium to do, does it need an open zone more
//   Reserve     takes the resources, or says that a zone has to be closed first (IdleVictim)
//      ... the caller does the medium's part ...
//   Apply*      it succeeded: the new state, the new write pointer
//   MarkStale + Reload   it failed: the truth is what the medium reports
//
// Nothing a guest can see changes before Apply or Reload. Offsets and lengths are in bytes and may
// have any value unless a function says otherwise.
#ifndef MINIVMM_BLOCKCORE_ZONE_MODEL_H_
#define MINIVMM_BLOCKCORE_ZONE_MODEL_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"
#include "blockcore/block_request.h"
#include "blockcore/zone.h"

namespace minivmm {

// Whether a request needs its zone to hold an open resource.
enum class OpenNeed : uint8_t {
  kNone,
  kRequired,   // refused without
  kToFill,     // as well, by a write that takes an empty zone to full at once
  kPreferred,  // some media want one for finishing a zone; if none can be had, the medium decides
};

struct ZoneDecision {
  BlockStatus status = BlockStatus::kOk;  // anything else: refused, the rest means nothing
  bool needs_medium = false;              // false: done already, nothing changes
  BlockOp medium_op = BlockOp::kWrite;    // kWrite for an append; kZoneReset for some closes
  uint64_t position_bytes = 0;            // where the medium writes; else the zone's start
  OpenNeed open_need = OpenNeed::kNone;
};

// The first bytes of a read which have one source.
struct ZoneExtent {
  uint64_t length_bytes = 0;
  bool from_medium = false;  // false: unwritten, reads as zeroes
};

class ZoneModel {
 public:
  // Builds the table from all of a medium's zones. The limits must describe a zoned disk. What a
  // medium may say but nobody can use is made safe: a zone of an unknown type counts as offline,
  // one in an unknown condition as read-only, one whose condition was reported only as "active" as
  // implicitly open; a write pointer is ignored where it means nothing. Fails, with a line that
  // names the zone, if the report contradicts itself or the limits.
  static Result<ZoneModel> Create(const BlockLimits& limits,
                                  std::span<const ZoneDescriptor> report);

  const BlockLimits& limits() const { return limits_; }
  uint32_t zone_count() const { return static_cast<uint32_t>(zones_.size()); }

  // The zone that holds a byte; `offset_bytes` < capacity.
  uint32_t IndexOf(uint64_t offset_bytes) const;
  // Below: `zone` < zone_count().
  uint64_t StartOf(uint32_t zone) const { return zone * limits_.zone_size_bytes; }
  uint64_t LengthOf(uint32_t zone) const;
  ZoneType TypeOf(uint32_t zone) const { return static_cast<ZoneType>(zones_[zone].type); }
  ZoneCondition ConditionOf(uint32_t zone) const {
    return static_cast<ZoneCondition>(zones_[zone].condition);
  }
  // What a zone report says of it.
  ZoneDescriptor Describe(uint32_t zone) const;

  // How much of a write from `offset_bytes` on is one piece. On a host-managed disk all of it; on
  // a host-aware one, where writes may cross zones, up to the end of the sequential zone or of the
  // run of conventional zones. The range lies within the disk.
  uint64_t FirstPiece(uint64_t offset_bytes, uint64_t length_bytes) const;

  // Decisions (status: the deterministic order of virtio-blk checks). `joined_bytes` stand before
  // this request in the same medium write and count as written. A conventional zone's write needs
  // the medium and nothing else. DecideWrite wants one piece (FirstPiece).
  ZoneDecision DecideWrite(uint64_t offset_bytes, uint64_t length_bytes,
                           uint64_t joined_bytes = 0) const;
  ZoneDecision DecideAppend(uint64_t offset_bytes, uint64_t length_bytes,
                            uint64_t joined_bytes = 0) const;
  // kZoneOpen, kZoneClose, kZoneFinish, kZoneReset.
  ZoneDecision DecideManagement(BlockOp op, uint64_t offset_bytes) const;
  BlockStatus DecideRead(uint64_t offset_bytes, uint64_t length_bytes) const;

  // `length_bytes` > 0, the range passed DecideRead. Never reaches beyond a sequential zone.
  ZoneExtent FirstExtent(uint64_t offset_bytes, uint64_t length_bytes) const;

  // Resources. Granted: the zone holds what it needs until Apply, Reload or GiveBack.
  enum class Grant : uint8_t {
    kGranted,
    kCloseFirst,   // after an implicitly open zone has been closed (or has let go by itself)
    kWait,         // after a zone on its way from empty to full has let go: it never was active
    kOpenLimit,    // all open zones were opened explicitly
    kActiveLimit,  // comes first where both limits are met
  };
  Grant Reserve(uint32_t zone, OpenNeed need);
  bool HoldsOpen(uint32_t zone) const { return zones_[zone].holds_open; }

  // The implicitly open zone that has been idle for the longest time. SetBusy keeps a zone from
  // being chosen. Both take constant time.
  std::optional<uint32_t> IdleVictim() const;
  void SetBusy(uint32_t zone, bool busy);

  // The medium has done what was decided.
  void ApplyWrite(uint32_t zone, uint64_t position_bytes, uint64_t length_bytes);
  void ApplyManagement(uint32_t zone, BlockOp op);
  void ApplyResetAll();

  // The medium has failed: the zone must be reloaded before its next medium operation. It keeps its
  // resources until then, or until GiveBack where that fails as well.
  void MarkStale(uint32_t zone) { zones_[zone].stale = true; }
  void GiveBack(uint32_t zone) { SetCondition(zone, ConditionOf(zone)); }
  bool IsStale(uint32_t zone) const { return zones_[zone].stale; }
  // Takes over what the medium says of the zone. False, and nothing changes, if it contradicts
  // what is fixed.
  bool Reload(uint32_t zone, const ZoneDescriptor& report);

  // Resources held, those of Reserve included.
  uint32_t open_zones() const { return open_; }
  uint32_t active_zones() const { return active_; }

 private:
  // 24 bytes: disks have more than 100,000 zones.
  struct Zone {
    // From the start to here reads come from the medium, above they are zeroes: start + written is
    // the write pointer where there is one. A finished zone keeps the value it had. `capacity`
    // where it is unknown how far a full or read-only zone was written.
    uint64_t written_bytes : 56;
    uint64_t condition : 4;
    uint64_t type : 2;
    uint64_t stale : 1;
    uint64_t busy : 1;
    uint64_t capacity_bytes : 56;
    uint64_t holds_open : 1;
    uint64_t holds_active : 1;
    uint64_t filling : 1;  // from empty to full at once, with resources of its own meanwhile
    uint64_t listed : 1;   // in the list of idle, implicitly open zones
    uint32_t previous;
    uint32_t next;
  };
  static_assert(sizeof(Zone) == 24);

  explicit ZoneModel(const BlockLimits& limits) : limits_(limits) {}

  // Checks a descriptor against what is fixed and takes over its state.
  Result<void> Adopt(uint32_t zone, const ZoneDescriptor& report);
  void SetCondition(uint32_t zone, ZoneCondition condition);
  void SetHolds(Zone& zone, bool open, bool active);
  void UpdateList(uint32_t index);
  uint64_t EndOf(uint32_t zone) const { return StartOf(zone) + LengthOf(zone); }

  BlockLimits limits_;
  std::vector<Zone> zones_;
  uint32_t open_ = 0;
  uint32_t active_ = 0;
  uint32_t explicitly_open_ = 0;
  uint32_t filling_ = 0;
  static constexpr uint32_t kNoZone = UINT32_MAX;
  uint32_t oldest_ = kNoZone;  // the list's two ends
  uint32_t newest_ = kNoZone;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONE_MODEL_H_
