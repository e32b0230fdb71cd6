// ZoneHistory: what several threads did to one sequential zone at the same time, as they saw it,
// and whether a zone that does one thing after another could have answered so.
//
//   thread 1   ├─ append 1 block: at 0 ─┤            ├─ append: at 2 ─┤
//   thread 2        ├─ append: at 1 ─┤     ├─ report: 2 written ─┤
//
//   one order explains it: append at 0, append at 1, report, append at 2
//
// An order must keep what was over before something else began, and for requests that go through
// the zone's queue also the order in which one thread sent them. Each step must be one that the
// specification's tables allow (virtio 5.2.6). Zones do not depend on each other but for open and
// active resources: with limits, a zone may be refused them or become closed at any time.
//
// The search tries orders depth first and remembers where it has been. Reports and refusals that
// fit are taken at once: later they would fit no better, and nothing depends on them.
#ifndef MINIVMM_BLOCKCORE_ZONE_HISTORY_H_
#define MINIVMM_BLOCKCORE_ZONE_HISTORY_H_

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "blockcore/block_request.h"
#include "blockcore/zone.h"

namespace minivmm {

struct ZoneEvent {
  uint64_t invoked = 0;  // before Submit; ticks of one clock for all threads
  uint64_t answered = 0;
  int thread = 0;
  // kZoneAppend, kWrite, kZoneOpen, kZoneClose, kZoneFinish, kZoneReset (of reset-all, too), and
  // kZoneReport.
  BlockOp op = BlockOp::kZoneReport;
  BlockStatus status = BlockStatus::kOk;
  uint64_t length = 0;  // of a write or append
  uint64_t at = 0;      // from the zone's start: write: where; append: result; report: the pointer
  ZoneCondition seen = ZoneCondition::kEmpty;  // by a report
  bool survives = false;                       // a write or append whose data was there at the end
};

class ZoneHistory {
 public:
  struct Rules {
    uint64_t capacity = 0;
    bool open_limit = false;
    bool active_limit = false;
    bool finish_needs_open = false;
    // A failed write may leave so many bytes at the pointer, or none.
    uint64_t failed_write_leaves = 0;
  };

  explicit ZoneHistory(const Rules& rules) : rules_(rules) {}

  void Add(const ZoneEvent& event) { events_.push_back(event); }

  // Empty: some order explains all events, from an empty zone on. Else how far the best one came.
  std::string Explain() {
    std::ranges::sort(events_, {}, &ZoneEvent::invoked);
    std::vector<Point> stack{{}};
    std::unordered_set<std::string> seen;
    Point best;
    while (!stack.empty()) {
      Point point = std::move(stack.back());
      stack.pop_back();
      TakeWhatChangesNothing(point);
      if (point.done_before == events_.size()) {
        if (point.state.generation != Generation::kLost) return "";
        continue;
      }
      if (point.taken() >= best.taken()) best = point;
      if (!seen.insert(Key(point)).second) continue;
      std::vector<State> next;
      const std::vector<size_t> candidates = Candidates(point);
      for (size_t i = candidates.size(); i-- > 0;) {
        next.clear();
        Step(events_[candidates[i]], point.state, next);
        for (const State& state : next) {
          Point after = point;
          after.state = state;
          Take(after, candidates[i]);
          stack.push_back(std::move(after));
        }
      }
    }
    std::string text = fmt::format(
        "no order explains these of {} events, after {} bytes in conditions {:#x}:", events_.size(),
        best.state.written, best.state.conditions);
    for (size_t candidate : Candidates(best)) text += "\n  " + Describe(events_[candidate]);
    return text;
  }

 private:
  // One bit for each condition that the zone may be in.
  using Conditions = uint32_t;
  static Conditions Bit(ZoneCondition condition) { return 1u << static_cast<unsigned>(condition); }
  static constexpr Conditions kEmpty = 1u << static_cast<unsigned>(ZoneCondition::kEmpty);
  static constexpr Conditions kImplicit = 1u
                                          << static_cast<unsigned>(ZoneCondition::kImplicitlyOpen);
  static constexpr Conditions kExplicit = 1u
                                          << static_cast<unsigned>(ZoneCondition::kExplicitlyOpen);
  static constexpr Conditions kClosed = 1u << static_cast<unsigned>(ZoneCondition::kClosed);
  static constexpr Conditions kFull = 1u << static_cast<unsigned>(ZoneCondition::kFull);

  // Of what the zone holds since its last reset, as far as it is told by the data at the end.
  enum class Generation : uint8_t { kOpen, kLost, kLast };

  struct State {
    uint64_t written = 0;
    Conditions conditions = kEmpty;
    Generation generation = Generation::kOpen;

    bool operator==(const State&) const = default;
  };

  // A way through the events: those before `done_before` and those in `ahead` (ascending) are
  // taken.
  struct Point {
    size_t done_before = 0;
    std::vector<size_t> ahead;
    State state;

    size_t taken() const { return done_before + ahead.size(); }
  };

  static std::string Describe(const ZoneEvent& event) {
    return fmt::format(
        "ticks {} to {}, thread {}: operation {}, status {}, at {}, {} bytes, condition {}{}",
        event.invoked, event.answered, event.thread, static_cast<int>(event.op),
        static_cast<int>(event.status), event.at, event.length, static_cast<int>(event.seen),
        event.survives ? ", there at the end" : "");
  }

  static void Take(Point& point, size_t event) {
    point.ahead.insert(std::ranges::lower_bound(point.ahead, event), event);
    while (!point.ahead.empty() && point.ahead.front() == point.done_before) {
      point.ahead.erase(point.ahead.begin());
      ++point.done_before;
    }
  }

  std::vector<size_t> Candidates(const Point& point) const {
    std::vector<size_t> candidates;
    uint64_t first_answer = UINT64_MAX;
    uint64_t sent_by = 0;  // threads with an earlier request in the zone's queue
    size_t ahead = 0;
    for (size_t i = point.done_before; i < events_.size(); ++i) {
      const ZoneEvent& event = events_[i];
      if (event.invoked > first_answer) break;
      if (ahead < point.ahead.size() && point.ahead[ahead] == i) {
        ++ahead;
        continue;
      }
      first_answer = std::min(first_answer, event.answered);
      if (event.op == BlockOp::kZoneReport) {
        candidates.push_back(i);
        continue;
      }
      const uint64_t thread = uint64_t{1} << event.thread;
      if ((sent_by & thread) == 0) candidates.push_back(i);
      sent_by |= thread;
    }
    return candidates;
  }

  // Changes no zone, in whichever state it is.
  static bool OnlyLooks(const ZoneEvent& event) {
    const bool done = event.status == BlockStatus::kOk || event.status == BlockStatus::kIoError;
    return event.op == BlockOp::kZoneReport || !done;
  }

  void TakeWhatChangesNothing(Point& point) const {
    std::vector<State> next;
    for (bool found = true; found;) {
      found = false;
      for (size_t candidate : Candidates(point)) {
        const ZoneEvent& event = events_[candidate];
        if (!OnlyLooks(event)) continue;
        next.clear();
        Step(event, point.state, next);
        if (next.size() != 1 || next[0] != point.state) continue;
        Take(point, candidate);
        found = true;
        break;
      }
    }
  }

  static std::string Key(const Point& point) {
    std::string key = fmt::format("{} {} {} {}", point.done_before, point.state.written,
                                  point.state.conditions, static_cast<int>(point.state.generation));
    for (size_t event : point.ahead) key += fmt::format(" {}", event);
    return key;
  }

  // An implicitly open zone may be closed for another at any time.
  Conditions WithCloses(Conditions conditions) const {
    return rules_.open_limit && (conditions & kImplicit) != 0 ? conditions | kClosed : conditions;
  }

  // All states in which the zone may be after it has answered so.
  void Step(const ZoneEvent& event, const State& state, std::vector<State>& next) const {
    // Those of the conditions in which this answer is possible lead on.
    auto stay_in = [&](Conditions possible) {
      State after = state;
      after.conditions = WithCloses(state.conditions & possible);
      if (after.conditions != 0) next.push_back(after);
    };
    auto become = [&](Conditions from, Conditions condition) {
      if ((state.conditions & from) == 0) return;
      State after = state;
      after.conditions = WithCloses(condition);
      next.push_back(after);
    };
    const bool writes = event.op == BlockOp::kWrite || event.op == BlockOp::kZoneAppend;
    switch (event.status) {
      case BlockStatus::kOk:
        break;
      case BlockStatus::kZoneOpenLimit:
      case BlockStatus::kZoneActiveLimit: {
        const bool open = event.status == BlockStatus::kZoneOpenLimit;
        const bool wants = writes || event.op == BlockOp::kZoneOpen ||
                           (event.op == BlockOp::kZoneFinish && rules_.finish_needs_open);
        if (!wants || !(open ? rules_.open_limit : rules_.active_limit)) return;
        return stay_in(open ? kEmpty | kClosed : kEmpty);
      }
      case BlockStatus::kIoError:
        stay_in(~0u);
        if (writes && rules_.failed_write_leaves != 0) {
          Write(event, state, rules_.failed_write_leaves, next);
        }
        // Of all zones, some may be reset.
        if (event.op == BlockOp::kZoneReset && state.generation != Generation::kLast) {
          next.push_back({});
        }
        return;
      default:
        return Refuse(event, state, stay_in);
    }
    switch (event.op) {
      case BlockOp::kWrite:
      case BlockOp::kZoneAppend:
        if (event.at == state.written) Write(event, state, event.length, next);
        return;
      case BlockOp::kZoneOpen:
        return become(~kFull, kExplicit);
      case BlockOp::kZoneClose:
        return become(kImplicit | kExplicit | kClosed, state.written == 0 ? kEmpty : kClosed);
      case BlockOp::kZoneFinish:
        return become(~0u, kFull);
      case BlockOp::kZoneReset:
        if (state.generation == Generation::kLast) return;
        next.push_back({});
        return;
      default:  // a report
        if (event.seen != ZoneCondition::kFull && event.at != state.written) return;
        return stay_in(Bit(event.seen));
    }
  }

  template <typename StayIn>
  void Refuse(const ZoneEvent& event, const State& state, const StayIn& stay_in) const {
    const bool invalid = event.status == BlockStatus::kZoneInvalid;
    switch (event.op) {
      case BlockOp::kWrite:
        if (!invalid) {
          if (event.status == BlockStatus::kZoneUnaligned && event.at != state.written) {
            stay_in(~kFull);
          }
          return;
        }
        return stay_in(event.at + event.length > rules_.capacity ? ~0u : kFull);
      case BlockOp::kZoneAppend:
        if (!invalid) return;
        return stay_in(state.written + event.length > rules_.capacity ? ~0u : kFull);
      case BlockOp::kZoneOpen:
        if (invalid) stay_in(kFull);
        return;
      case BlockOp::kZoneClose:
        if (invalid) stay_in(kEmpty | kFull);
        return;
      default:
        return;
    }
  }

  void Write(const ZoneEvent& event, const State& state, uint64_t bytes,
             std::vector<State>& next) const {
    const bool whole = event.status == BlockStatus::kOk;
    State after = state;
    after.written += bytes;
    if (after.written > rules_.capacity || (state.conditions & ~kFull) == 0) return;
    if (after.written == rules_.capacity) {
      after.conditions = kFull;
    } else {
      after.conditions = state.conditions == kExplicit ? kExplicit : WithCloses(kImplicit);
    }
    if (whole) {
      const Generation mine = event.survives ? Generation::kLast : Generation::kLost;
      if (state.generation != Generation::kOpen && state.generation != mine) return;
      after.generation = mine;
    }
    next.push_back(after);
  }

  Rules rules_;
  std::vector<ZoneEvent> events_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONE_HISTORY_H_
