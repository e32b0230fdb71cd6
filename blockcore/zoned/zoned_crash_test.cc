// Power cuts. A guest works on an image; everything that reaches the disk is recorded; then the
// disk is cut off before each tick of the record, and what it might hold then (MemoryNode::Cut) is
// opened as an image and compared with what the guest was promised:
//
//   - what was done before the last flush that came back was sent is there;
//   - a write pointer is never before flushed data and never beyond what was written;
//   - the bytes below it are of one generation: what came after one reset and before the next;
//   - a finish or reset is seen as a whole or not at all; nothing is open;
//   - what was never written reads as zeroes;
//   - `check` finds nothing that cannot be repaired, and repairs the rest.
//
// MINIVMM_CRASH_REPLAYS sets the number of replays, MINIVMM_CRASH_SEED the first seed.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/memory_node.h"
#include "blockcore/zoned/zoned_create.h"
#include "blockcore/zoned/zoned_image.h"
#include "blockcore/zoned/zoned_load.h"

namespace minivmm {
namespace {

constexpr uint64_t kBlock = 512;
constexpr uint32_t kBlocksPerZone = 8;
constexpr uint32_t kConventionalZones = 4;
constexpr uint64_t kNever = UINT64_MAX;

ZonedGeometry GeometryOf(ZonedModel model) {
  ZonedGeometry g;
  g.model = model;
  g.zone_size_bytes = kBlocksPerZone * kBlock;
  g.zone_capacity_bytes = 7 * kBlock;
  g.capacity_bytes =
      259 * g.zone_size_bytes + 4 * kBlock;  // two pages of the table, a short last zone
  g.conventional_zones = kConventionalZones;
  g.max_append_bytes = kBlock;
  return g;
}

// Zones on both pages of the table, the short one among them. Few, so that slots change hands
// often.
const std::vector<uint32_t> kZonesInUse = {0, 1, 2, 3, 4, 5, 6, 252, 253, 254, 255, 258, 259};

// What a block says of itself.
struct Stamp {
  uint32_t zone;
  uint32_t block;
  uint64_t generation;
  uint64_t version;
};

using Block = std::array<std::byte, kBlock>;

Block MakeBlock(const Stamp& stamp) {
  Block block;
  for (size_t at = 0; at < kBlock; at += 32) {
    std::memset(block.data() + at, 0xA5, 32);
    std::memcpy(block.data() + at, &stamp, sizeof(stamp));
  }
  return block;
}

bool IsZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// ---- what the guest did to a zone, and when

struct Span {
  uint64_t issued = kNever;
  uint64_t acknowledged = kNever;
};

struct BlockWrite : Span {
  uint64_t version = 0;
};

struct Generation {
  uint64_t id = 0;
  Span born;  // by a reset, or before the record begins
  std::vector<std::vector<BlockWrite>> blocks{kBlocksPerZone};
  struct PointerMove : Span {
    uint32_t end = 0;
  };
  std::vector<PointerMove> pointer_moves;
  struct Finish : Span {
    uint32_t written = 0;
  };
  std::vector<Finish> finishes;
};

struct Zone {
  uint32_t index = 0;
  bool conventional = false;
  uint32_t capacity = 0;  // blocks
  std::vector<Generation> generations;

  // As the guest sees it now.
  uint32_t written = 0;
  bool full = false;
  bool busy = false;
};

struct History {
  std::vector<Zone> zones;
  std::vector<Span> flushes;
  uint64_t next_generation = 1;
  uint64_t next_version = 1;
};

struct SeenZone {
  ZoneDescriptor descriptor;
  std::vector<std::byte> bytes;
};

Span Past(uint64_t tick) { return {tick, tick}; }

// A history that begins with what was seen, all of it durable.
History HistoryFrom(const std::vector<SeenZone>& seen, const ZonedGeometry& g, uint64_t tick,
                    uint64_t first_number) {
  History history;
  history.next_generation = first_number;
  history.next_version = first_number;
  history.flushes.push_back({tick, tick});
  for (size_t i = 0; i < kZonesInUse.size(); ++i) {
    Zone zone;
    zone.index = kZonesInUse[i];
    zone.conventional = zone.index < kConventionalZones;
    zone.capacity = static_cast<uint32_t>(g.ZoneCapacity(zone.index) / kBlock);
    Generation generation;
    generation.born = Past(0);
    generation.id = history.next_generation++;
    uint32_t end = 0;
    for (uint32_t b = 0; b * kBlock < seen[i].bytes.size(); ++b) {
      std::span bytes = std::span(seen[i].bytes).subspan(b * kBlock, kBlock);
      if (IsZero(bytes)) continue;
      Stamp stamp;
      std::memcpy(&stamp, bytes.data(), sizeof(stamp));
      generation.id = stamp.generation;
      generation.blocks[b].push_back({Past(0), stamp.version});
      end = b + 1;
    }
    const ZoneDescriptor& descriptor = seen[i].descriptor;
    if (descriptor.condition == ZoneCondition::kClosed) {
      end =
          static_cast<uint32_t>((descriptor.write_pointer_bytes - descriptor.start_bytes) / kBlock);
    }
    generation.pointer_moves.push_back({Past(0), end});
    zone.written = end;
    if (descriptor.condition == ZoneCondition::kFull) {
      zone.full = true;
      generation.finishes.push_back({Past(0), end});
    }
    zone.generations.push_back(std::move(generation));
    history.zones.push_back(std::move(zone));
  }
  return history;
}

// ---- the guest

// Works on the I/O thread, several requests at a time, until its number of steps is used up.
class Guest {
 public:
  Guest(IoThread& thread, ZonedImage& image, MemoryNode& disk, History& history, uint32_t seed,
        int steps)
      : thread_(thread),
        image_(image),
        disk_(disk),
        history_(history),
        random_(seed),
        steps_(steps) {}

  void Run() {
    std::future<void> done = done_.get_future();
    thread_.RunAndWait([this] { Fill(); });
    done.wait();
    thread_.RunAndWait([] {});
  }

 private:
  struct Step {
    Guest* guest = nullptr;
    BlockRequest request;
    std::vector<std::byte> data;
    iovec buffer{};
    std::vector<Zone*> zones;
    std::vector<Span*> spans;  // to be acknowledged
    size_t flush = SIZE_MAX;
    std::function<void()> on_success;
  };

  void Fill() {
    while (in_flight_ < 5 && steps_ > 0) {
      --steps_;
      Next();
    }
    if (in_flight_ == 0 && steps_ == 0) done_.set_value();
  }

  Zone* PickIdle(bool sequential) {
    std::vector<Zone*> idle;
    for (Zone& zone : history_.zones) {
      if (!zone.busy && (!sequential || !zone.conventional)) idle.push_back(&zone);
    }
    return idle.empty() ? nullptr : idle[random_() % idle.size()];
  }

  void Next() {
    const uint32_t dice = random_() % 100;
    if (dice < 14) {
      auto step = NewStep(BlockOp::kFlush);
      step->flush = history_.flushes.size();
      history_.flushes.push_back({disk_.Tick(), kNever});
      Send(std::move(step));
    } else if (dice < 15 && in_flight_ == 0) {
      ResetAll();
    } else if (dice < 35) {
      if (Zone* zone = PickIdle(true)) Reset(*zone);
    } else if (dice < 41) {
      if (Zone* zone = PickIdle(true)) Finish(*zone);
    } else if (dice < 47) {
      Zone* zone = PickIdle(true);
      if (zone != nullptr && !zone->full) {
        auto step = NewStep(random_() % 2 == 0 ? BlockOp::kZoneOpen : BlockOp::kZoneClose);
        step->request.offset_bytes = zone->index * kBlocksPerZone * kBlock;
        step->zones.push_back(zone);
        Send(std::move(step));
      }
    } else if (Zone* zone = PickIdle(false)) {
      Write(*zone);
    }
  }

  std::unique_ptr<Step> NewStep(BlockOp op) {
    auto step = std::make_unique<Step>();
    step->guest = this;
    step->request.op = op;
    return step;
  }

  void Send(std::unique_ptr<Step> step) {
    ++in_flight_;
    for (Zone* zone : step->zones) zone->busy = true;
    step->request.PushCompletion(
        [](void* self, BlockRequest&) {
          std::unique_ptr<Step> done(static_cast<Step*>(self));
          done->guest->OnDone(*done);
        },
        step.get());
    BlockRequest& request = step.release()->request;
    image_.Submit(thread_, request);
  }

  void OnDone(Step& step) {
    --in_flight_;
    if (step.request.status == BlockStatus::kOk) {
      const uint64_t now = disk_.Tick();
      if (step.flush != SIZE_MAX) history_.flushes[step.flush].acknowledged = now;
      for (Span* span : step.spans) span->acknowledged = now;
      if (step.on_success) step.on_success();
    }
    for (Zone* zone : step.zones) zone->busy = false;
    Fill();
  }

  void Write(Zone& zone) {
    const bool host_aware = image_.limits().zoned == ZonedModel::kHostAware;
    uint32_t first = zone.written;
    if (zone.conventional || host_aware) {
      first = random_() % zone.capacity;
    } else if (zone.full) {
      return;
    }
    const uint32_t count = 1 + random_() % std::min<uint32_t>(3, zone.capacity - first);
    Generation& generation = zone.generations.back();
    auto step = NewStep(BlockOp::kWrite);
    const uint64_t now = disk_.Tick();
    for (uint32_t b = first; b < first + count; ++b) {
      const uint64_t version = history_.next_version++;
      Block block = MakeBlock({zone.index, b, generation.id, version});
      step->data.insert(step->data.end(), block.begin(), block.end());
      generation.blocks[b].push_back({{now, kNever}, version});
    }
    step->request.offset_bytes = (zone.index * kBlocksPerZone + first) * kBlock;
    step->request.length_bytes = step->data.size();
    step->buffer = {step->data.data(), step->data.size()};
    step->request.buffers = {&step->buffer, 1};
    generation.pointer_moves.push_back({{now, kNever}, std::max(zone.written, first + count)});
    step->zones.push_back(&zone);
    // Spans stay where they are until the zone's next step: it is busy.
    step->on_success = [&zone, &generation, first, count, this] {
      const uint64_t acknowledged = disk_.Tick();
      for (uint32_t b = first; b < first + count; ++b) {
        generation.blocks[b].back().acknowledged = acknowledged;
      }
      generation.pointer_moves.back().acknowledged = acknowledged;
      zone.written = std::max(zone.written, first + count);
      if (zone.written == zone.capacity && !zone.conventional) zone.full = true;
    };
    Send(std::move(step));
  }

  void Reset(Zone& zone) {
    auto step = NewStep(BlockOp::kZoneReset);
    step->request.offset_bytes = zone.index * kBlocksPerZone * kBlock;
    BeginGeneration(zone);
    step->zones.push_back(&zone);
    step->spans.push_back(&zone.generations.back().born);
    Send(std::move(step));
  }

  void ResetAll() {
    auto step = NewStep(BlockOp::kZoneResetAll);
    for (Zone& zone : history_.zones) {
      if (zone.conventional) continue;
      BeginGeneration(zone);
      step->zones.push_back(&zone);
      step->spans.push_back(&zone.generations.back().born);
    }
    Send(std::move(step));
  }

  void BeginGeneration(Zone& zone) {
    Generation generation;
    generation.id = history_.next_generation++;
    generation.born.issued = disk_.Tick();
    zone.generations.push_back(std::move(generation));
    zone.written = 0;
    zone.full = false;
  }

  void Finish(Zone& zone) {
    if (zone.full) return;
    auto step = NewStep(BlockOp::kZoneFinish);
    step->request.offset_bytes = zone.index * kBlocksPerZone * kBlock;
    zone.generations.back().finishes.push_back({{disk_.Tick(), kNever}, zone.written});
    step->zones.push_back(&zone);
    step->spans.push_back(&zone.generations.back().finishes.back());
    zone.full = true;
    Send(std::move(step));
  }

  IoThread& thread_;
  ZonedImage& image_;
  MemoryNode& disk_;
  History& history_;
  std::minstd_rand random_;
  int steps_;
  int in_flight_ = 0;
  std::promise<void> done_;
};

// ---- the comparison

std::vector<SeenZone> LookAt(IoThread& thread, ZonedImage& image) {
  SyncIo io(thread, image);
  std::vector<ZoneDescriptor> report = image.ReportZones();
  std::vector<SeenZone> seen;
  for (uint32_t zone : kZonesInUse) {
    SeenZone entry;
    entry.descriptor = report[zone];
    entry.bytes.resize(report[zone].length_bytes);
    REQUIRE(io.Read(report[zone].start_bytes, entry.bytes));
    seen.push_back(std::move(entry));
  }
  return seen;
}

// Each returns the promise that was broken, or nothing. (Plain text: there are millions of
// comparisons.)
#define PROMISE(condition)               \
  do {                                   \
    if (!(condition)) return #condition; \
  } while (false)

std::string CompareBlocks(const Zone& zone, const Generation& generation, const SeenZone& seen,
                          uint64_t flushed, uint64_t cut) {
  for (uint32_t b = 0; b * kBlock < seen.bytes.size(); ++b) {
    std::span bytes = std::span(seen.bytes).subspan(b * kBlock, kBlock);
    uint64_t oldest_possible = 0;
    for (const BlockWrite& write : generation.blocks[b]) {
      if (write.acknowledged < flushed) oldest_possible = write.version;
    }
    if (IsZero(bytes)) {
      PROMISE(oldest_possible == 0);
      continue;
    }
    Stamp stamp;
    std::memcpy(&stamp, bytes.data(), sizeof(stamp));
    Block intact = MakeBlock(stamp);
    PROMISE(std::equal(bytes.begin(), bytes.end(), intact.begin()));
    PROMISE(stamp.zone == zone.index);
    PROMISE(stamp.block == b);
    PROMISE(stamp.generation == generation.id);
    PROMISE(stamp.version >= oldest_possible);
    PROMISE(std::any_of(generation.blocks[b].begin(), generation.blocks[b].end(),
                        [&](const BlockWrite& write) {
                          return write.version == stamp.version && write.issued < cut;
                        }));
  }
  return "";
}

std::string CompareZone(const Zone& zone, const SeenZone& seen, ZonedModel model, uint64_t flushed,
                        uint64_t cut) {
  if (zone.conventional) {
    PROMISE(seen.descriptor.condition == ZoneCondition::kNotWritePointer);
    return CompareBlocks(zone, zone.generations.back(), seen, flushed, cut);
  }
  size_t oldest = 0;
  size_t newest = 0;
  for (size_t i = 0; i < zone.generations.size(); ++i) {
    if (zone.generations[i].born.acknowledged < flushed) oldest = i;
    if (zone.generations[i].born.issued < cut) newest = i;
  }
  const ZoneCondition condition = seen.descriptor.condition;
  const bool full = condition == ZoneCondition::kFull;
  // How far it was written: what the pointer says, or for a full zone where the data ends.
  uint32_t data_end = 0;
  size_t found = oldest;
  for (uint32_t b = 0; b * kBlock < seen.bytes.size(); ++b) {
    std::span bytes = std::span(seen.bytes).subspan(b * kBlock, kBlock);
    if (IsZero(bytes)) continue;
    data_end = b + 1;
    Stamp stamp;
    std::memcpy(&stamp, bytes.data(), sizeof(stamp));
    auto known = std::find_if(zone.generations.begin(), zone.generations.end(),
                              [&](const Generation& g) { return g.id == stamp.generation; });
    PROMISE(known != zone.generations.end());
    found = static_cast<size_t>(known - zone.generations.begin());
  }
  uint32_t written = data_end;
  if (condition == ZoneCondition::kClosed) {
    written = static_cast<uint32_t>(
        (seen.descriptor.write_pointer_bytes - seen.descriptor.start_bytes) / kBlock);
    PROMISE(written > 0);
    PROMISE(written < zone.capacity);
    // Every pointer was moved by a write that ends there.
    PROMISE(written == data_end);
  } else if (condition == ZoneCondition::kEmpty) {
    PROMISE(data_end == 0);
  } else {
    PROMISE(full);
  }

  // Nothing to be seen of a generation: each that is possible may be it.
  const bool anonymous = data_end == 0;
  PROMISE(found >= oldest);
  PROMISE(found <= newest);
  bool explained = false;
  for (size_t i = found; i <= (anonymous ? newest : found) && !explained; ++i) {
    const Generation& generation = zone.generations[i];
    uint32_t flushed_end = 0;
    uint32_t issued_end = 0;
    for (const auto& move : generation.pointer_moves) {
      if (move.acknowledged < flushed) flushed_end = std::max(flushed_end, move.end);
      if (move.issued < cut) issued_end = std::max(issued_end, move.end);
    }
    bool must_be_full = flushed_end == zone.capacity;
    bool may_be_full = written == zone.capacity;
    for (const auto& finish : generation.finishes) {
      if (finish.acknowledged < flushed) must_be_full = true;
      // A host-aware zone may grow after it was finished.
      const bool fits =
          model == ZonedModel::kHostAware ? finish.written <= written : finish.written == written;
      if (finish.issued < cut && fits) may_be_full = true;
    }
    explained = written >= flushed_end && written <= issued_end && (!must_be_full || full) &&
                (!full || may_be_full);
    if (explained) found = i;
  }
  PROMISE(explained);
  return CompareBlocks(zone, zone.generations[found], seen, flushed, cut);
}

std::string Compare(const History& history, const std::vector<SeenZone>& seen, ZonedModel model,
                    uint64_t cut) {
  uint64_t flushed = 0;
  for (const Span& flush : history.flushes) {
    if (flush.acknowledged < cut) flushed = std::max(flushed, flush.issued);
  }
  for (size_t i = 0; i < seen.size(); ++i) {
    std::string broken = CompareZone(history.zones[i], seen[i], model, flushed, cut);
    if (!broken.empty()) {
      return fmt::format("zone {}, power cut before tick {}, flushed before tick {}: broken: {}",
                         history.zones[i].index, cut, flushed, broken);
    }
  }
  return "";
}

#undef PROMISE

std::unique_ptr<ZonedImage> OpenImage(IoThread& thread, BlockNode& disk, bool read_only = false) {
  Result<std::unique_ptr<ZonedImage>> image = ZonedImage::Open(thread, disk, read_only);
  REQUIRE_MESSAGE(image.has_value(), (image ? "" : image.error().message));
  return std::move(*image);
}

std::vector<std::byte> FreshContent(ZonedModel model) {
  ZonedHeader header;
  header.id = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  header.geometry = GeometryOf(model);
  REQUIRE(CheckGeometry(header.geometry));
  std::vector<std::byte> content(header.data_offset_bytes());
  REQUIRE(FormatZonedImage(header, [&](uint64_t offset, std::span<const std::byte> data) {
    std::copy(data.begin(), data.end(), content.begin() + offset);
    return Result<void>{};
  }));
  return content;
}

int NumberFromEnvironment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

class PowerCuts {
 public:
  PowerCuts(ZonedModel model, uint32_t seed) : model_(model), random_(seed) {
    auto thread = IoThread::Start("crash-test");
    REQUIRE(thread.has_value());
    thread_ = std::move(*thread);
  }

  // One image's life through several cuts: what one of them leaves, the next one begins with.
  // Returns the number of replays.
  int Run(bool with_faults) {
    std::vector<std::byte> content = FreshContent(model_);
    for (int life = 0; life < 3; ++life) {
      MemoryNode disk(std::move(content));
      disk.set_shuffle(true);
      auto image = OpenImage(*thread_, disk);
      disk.StartRecording();
      History history =
          HistoryFrom(LookAt(*thread_, *image), GeometryOf(model_), disk.Tick(), next_number_);
      const uint64_t first_tick = disk.Tick();
      if (with_faults) AddFaults(disk);
      Guest(*thread_, *image, disk, history, static_cast<uint32_t>(random_()), 45).Run();
      image.reset();
      const uint64_t end_tick = disk.Tick();
      next_number_ = std::max(history.next_generation, history.next_version);

      const uint64_t next_life_tick = first_tick + random_() % (end_tick - first_tick + 1);
      for (uint64_t tick = first_tick; tick <= end_tick; ++tick) {
        for (MemoryNode::Keep keep : {MemoryNode::Keep::kNothing, MemoryNode::Keep::kDone,
                                      MemoryNode::Keep::kOperations, MemoryNode::Keep::kSectors}) {
          std::vector<std::byte> left = disk.Cut(tick, keep, random_);
          if (tick == next_life_tick) content = left;
          Replay(std::move(left), history, tick);
        }
        if (tick % 16 == 0) Kill(disk, history, tick);
      }
    }
    return replays_;
  }

 private:
  void AddFaults(MemoryNode& disk) {
    disk.set_fault([random = std::minstd_rand(static_cast<uint32_t>(random_()))](
                       const BlockRequest& request) mutable {
      const uint32_t dice = random() % 100;
      const bool fails = request.op != BlockOp::kRead && dice < 8;
      return fails ? BlockStatus::kIoError : BlockStatus::kOk;
    });
  }

  void Replay(std::vector<std::byte> content, const History& history, uint64_t tick) {
    ++replays_;
    MemoryNode disk(std::move(content));
    SyncIo io(*thread_, disk);
    const bool check_first = random_() % 4 == 0;
    if (check_first) {
      Result<ZonedCheck> check = CheckZonedImage(io, true);
      REQUIRE(check.has_value());
      CHECK(check->repaired);
      Result<ZonedCheck> again = CheckZonedImage(io, false);
      REQUIRE(again.has_value());
      CHECK(again->findings.empty());
    }
    const bool read_only = random_() % 4 == 0;
    auto image = OpenImage(*thread_, disk, read_only);
    const std::string broken = Compare(history, LookAt(*thread_, *image), model_, tick);
    REQUIRE_MESSAGE(broken.empty(), broken);
  }

  // The program dies, its host lives on: all that reached the disk is there but may not be durable.
  // A second life begins in the same disk, and there the power is cut.
  void Kill(MemoryNode& disk, const History& history, uint64_t kill_tick) {
    std::unique_ptr<MemoryNode> fork = disk.Fork(kill_tick);
    fork->set_shuffle(true);
    auto image = OpenImage(*thread_, *fork);
    std::vector<SeenZone> seen = LookAt(*thread_, *image);
    const std::string broken = Compare(history, seen, model_, kill_tick);
    REQUIRE_MESSAGE(broken.empty(), broken);
    History second = HistoryFrom(seen, GeometryOf(model_), fork->Tick(), next_number_);
    const uint64_t first_tick = fork->Tick();
    Guest(*thread_, *image, *fork, second, static_cast<uint32_t>(random_()), 12).Run();
    image.reset();
    const uint64_t end = fork->Tick();
    for (uint64_t tick = first_tick; tick <= end; tick += 3) {
      for (MemoryNode::Keep keep : {MemoryNode::Keep::kNothing, MemoryNode::Keep::kSectors}) {
        Replay(fork->Cut(tick, keep, random_), second, tick);
      }
    }
  }

  ZonedModel model_;
  std::minstd_rand random_;
  std::unique_ptr<IoThread> thread_;
  uint64_t next_number_ = 1;  // of generations and versions, so that none comes twice
  int replays_ = 0;
};

TEST_CASE("Every power cut leaves an image that keeps its promises") {
  const int wanted = NumberFromEnvironment("MINIVMM_CRASH_REPLAYS", 10'000);
  auto seed = static_cast<uint32_t>(NumberFromEnvironment("MINIVMM_CRASH_SEED", 1));
  int replays = 0;
  for (; replays < wanted; ++seed) {
    CAPTURE(seed);
    const ZonedModel model = seed % 2 == 0 ? ZonedModel::kHostAware : ZonedModel::kHostManaged;
    replays += PowerCuts(model, seed).Run(/*with_faults=*/seed % 4 >= 2);
  }
  MESSAGE(replays << " replays");
}

}  // namespace
}  // namespace minivmm
