// Random zone operations, a million in a run, against a reference that knows only the
// specification's tables; over a medium in memory that is as unforgiving as real ones and fails now
// and then, and over the node `zoned`. Then several I/O threads on one disk: some order of what
// they did must explain all that they were told. Ids (Z-..) are those of the project's conformance
// checklist.
//
//   MINIVMM_STORM_OPERATIONS=N   that many operations of one queue, and a fifth of it of several
//   MINIVMM_STORM_SEED=N         another storm; a failure shows N, and which disk of it
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/fake_zoned_medium.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_request.h"
#include "blockcore/zone_history.h"
#include "blockcore/zone_queue.h"
#include "blockcore/zone_reference.h"
#include "blockcore/zoned/memory_node.h"
#include "blockcore/zoned/zoned.h"
#include "blockcore/zoned/zoned_create.h"

namespace minivmm {
namespace {

using Bytes = std::vector<std::byte>;
using Condition = ZoneCondition;
using Random = std::mt19937_64;
constexpr uint64_t kBlock = ZoneReference::kBlock;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

uint64_t TotalOperations() { return FromEnvironment("MINIVMM_STORM_OPERATIONS", 1'000'000); }
uint64_t StormSeed() { return FromEnvironment("MINIVMM_STORM_SEED", 1); }
// Of one of its disks.
uint64_t SeedOf(uint64_t disk) { return StormSeed() * 1'000'000 + disk; }

// How often each status was answered.
using Answers = std::array<uint64_t, 16>;

// ---- Content: a block tells its tag ----

// Of a block that nobody wrote as it is. Zeroes have the tag 0, the fake medium's filling has
// kFill.
constexpr uint64_t kTorn = ZoneReference::kFill - 1;
constexpr uint64_t kFillWord = 0xEEEE'EEEE'EEEE'EEEE;
using Words = std::array<uint64_t, kBlock / 8>;

void FillBlock(std::byte* block, uint64_t tag) {
  Words words;
  words[0] = tag;
  for (size_t i = 1; i < words.size(); ++i) words[i] = (tag + i) * 0x9E37'79B9'7F4A'7C15;
  std::memcpy(block, words.data(), kBlock);
}

uint64_t TagOf(const std::byte* block) {
  Words words;
  std::memcpy(words.data(), block, kBlock);
  const uint64_t tag = words[0];
  bool torn = false;
  if (tag == 0 || tag == kFillWord) {
    for (uint64_t word : words) torn |= word != tag;
    return torn ? kTorn : tag == 0 ? 0 : ZoneReference::kFill;
  }
  for (size_t i = 1; i < words.size(); ++i) torn |= words[i] != (tag + i) * 0x9E37'79B9'7F4A'7C15;
  return torn ? kTorn : tag;
}

// ---- Disks ----

BlockLimits LimitsOf(const ZonedGeometry& g) {
  return {.capacity_bytes = g.capacity_bytes,
          .logical_block_bytes = g.logical_block_bytes,
          .physical_block_bytes = g.physical_block_bytes,
          .zoned = g.model,
          .zone_size_bytes = g.zone_size_bytes,
          .zone_count = g.zone_count(),
          .max_open_zones = g.max_open_zones,
          .max_active_zones = g.max_active_zones,
          .max_append_bytes = g.max_append_bytes,
          .write_granularity_bytes = g.write_granularity_bytes};
}

// Of a new disk.
std::vector<ZoneDescriptor> ReportOf(const ZonedGeometry& g) {
  std::vector<ZoneDescriptor> zones(g.zone_count());
  for (uint32_t i = 0; i < zones.size(); ++i) {
    const bool conventional = i < g.conventional_zones;
    const uint64_t start = i * g.zone_size_bytes;
    zones[i] = {.start_bytes = start,
                .length_bytes = g.ZoneLength(i),
                .capacity_bytes = g.ZoneCapacity(i),
                .write_pointer_bytes = start,
                .type = conventional                          ? ZoneType::kConventional
                        : g.model == ZonedModel::kHostManaged ? ZoneType::kSequentialRequired
                                                              : ZoneType::kSequentialPreferred,
                .condition = conventional ? Condition::kNotWritePointer : Condition::kEmpty};
  }
  return zones;
}

// A disk under test: a ZoneQueue over the fake medium, or the node `zoned` over memory.
class StormDisk {
 public:
  // The fake medium, with any zones that a device may come with.
  StormDisk(const BlockLimits& limits, std::vector<ZoneDescriptor> zones)
      : medium_(std::make_unique<FakeZonedMedium>(limits, std::move(zones))),
        limits_(limits),
        report_(medium_->zones()) {
    auto model = ZoneModel::Create(limits, report_);
    if (!model) FAIL(model.error().message);
    queue_ = std::make_unique<ZoneQueue>(*medium_, std::move(*model));
    medium_->fault = [this](const BlockRequest& request) { return Fault(request); };
  }

  explicit StormDisk(const ZonedGeometry& geometry) {
    ZonedHeader header;
    header.id = {7};
    header.geometry = geometry;
    Bytes content(header.data_offset_bytes());
    const auto formatted =
        FormatZonedImage(header, [&](uint64_t offset, std::span<const std::byte> data) {
          std::ranges::copy(data, content.begin() + static_cast<ptrdiff_t>(offset));
          return Result<void>{};
        });
    REQUIRE(formatted.has_value());
    file_ = std::make_unique<MemoryNode>(std::move(content));
    file_->set_fault([this](const BlockRequest& request) { return Fault(request); });
    Reopen();
    limits_ = node_->limits();
    report_ = ReportOf(geometry);
  }

  const BlockLimits& limits() const { return limits_; }
  const std::vector<ZoneDescriptor>& report() const { return report_; }  // at first
  bool is_image() const { return file_ != nullptr; }
  ZoneReference::Medium medium() const {
    if (is_image()) return {};
    return {.fresh_tag = ZoneReference::kFill, .keeps_old_data = true, .finish_needs_open = true};
  }

  void Submit(IoThread& thread, BlockRequest& request) {
    if (is_image()) return node_->Submit(thread, request);
    queue_->Submit(thread, request);
  }

  // As after a flush and a new start of the program. Nothing is in flight.
  void Reopen() {
    node_.reset();
    file_->Reopen();
    auto opened = OpenZoned(*file_, {});
    if (!opened) FAIL(opened.error().message);
    node_ = std::move(*opened);
  }

  void Shuffle() {
    if (is_image()) {
      file_->set_shuffle(true);
    } else {
      medium_->set_mode(FakeBlockNode::Mode::kShuffle);
    }
  }
  void RunAtOnce() {
    if (!is_image()) medium_->set_mode(FakeBlockNode::Mode::kImmediate);
  }
  void ForgetArrivals() {
    if (is_image()) {
      file_->TakeArrivals();
    } else {
      medium_->ClearLog();
    }
  }

  // About one request to the medium in `rate` fails; none: 0.
  void FailOneIn(uint32_t rate) { fault_rate_ = rate; }
  uint64_t faults() const { return faults_; }
  int violations() const { return is_image() ? 0 : medium_->violations(); }
  // Of a device, which has nothing to do: what it holds.
  const std::vector<ZoneDescriptor>& medium_zones() const { return medium_->zones(); }

 private:
  // Runs under the medium's lock. Of a zone that cannot be reported even, the queue knows nothing.
  BlockStatus Fault(const BlockRequest& request) {
    if (fault_rate_ == 0 || request.op == BlockOp::kZoneReport) return BlockStatus::kOk;
    if (fault_random_() % fault_rate_ != 0) return BlockStatus::kOk;
    ++faults_;
    return BlockStatus::kIoError;
  }

  std::unique_ptr<FakeZonedMedium> medium_;
  std::unique_ptr<ZoneQueue> queue_;
  std::unique_ptr<MemoryNode> file_;
  std::unique_ptr<BlockNode> node_;
  BlockLimits limits_;
  std::vector<ZoneDescriptor> report_;
  std::atomic<uint32_t> fault_rate_ = 0;
  std::atomic<uint64_t> faults_ = 0;
  std::minstd_rand fault_random_{3};
};

// Numbers in [0, limit).
struct Dice {
  Random& random;

  uint64_t operator()(uint64_t limit) const { return random() % limit; }
  bool OneIn(uint64_t n) const { return random() % n == 0; }
};

ZonedGeometry AnyGeometry(Dice dice) {
  ZonedGeometry g;
  g.model = dice.OneIn(4) ? ZonedModel::kHostAware : ZonedModel::kHostManaged;
  g.write_granularity_bytes = dice.OneIn(3) ? 4096 : 512;
  g.physical_block_bytes = g.write_granularity_bytes;
  g.logical_block_bytes = dice.OneIn(2) ? g.write_granularity_bytes : 512;
  const uint64_t unit = g.write_granularity_bytes;
  g.zone_size_bytes = unit * (1 + dice(dice.OneIn(3) ? 5 : 64_KiB / unit));
  g.zone_capacity_bytes = g.zone_size_bytes;
  if (dice.OneIn(2)) g.zone_capacity_bytes = unit * (1 + dice(g.zone_size_bytes / unit));
  const auto zones = static_cast<uint32_t>(1 + dice(24));
  g.capacity_bytes = zones * g.zone_size_bytes;
  if (dice.OneIn(3)) g.capacity_bytes -= unit * dice(g.zone_size_bytes / unit);
  if (dice.OneIn(2)) g.conventional_zones = static_cast<uint32_t>(dice(zones));
  g.max_active_zones = static_cast<uint32_t>(dice.OneIn(3) ? 0 : 1 + dice(8));
  g.max_open_zones = static_cast<uint32_t>(dice.OneIn(3) ? 0 : 1 + dice(6));
  if (g.max_active_zones != 0) g.max_open_zones = std::min(g.max_open_zones, g.max_active_zones);
  g.max_append_bytes = unit * (1 + dice(g.zone_capacity_bytes / unit));
  if (dice.OneIn(12)) g.max_append_bytes = 0;
  return g;
}

// Like it, with what no image has but a device may: conventional zones anywhere, zones that are
// full, read-only or offline from the start.
std::unique_ptr<StormDisk> AnyDevice(Dice dice) {
  const ZonedGeometry g = AnyGeometry(dice);
  std::vector<ZoneDescriptor> zones = ReportOf(g);
  const bool mixed = dice.OneIn(4);
  const bool odd = dice.OneIn(3);
  for (ZoneDescriptor& zone : zones) {
    const uint64_t end = zone.start_bytes + zone.length_bytes;
    if (mixed && dice.OneIn(4)) {
      zone.type = ZoneType::kConventional;
      zone.condition = Condition::kNotWritePointer;
      zone.capacity_bytes = zone.length_bytes;
    } else if (odd && zone.condition == Condition::kEmpty && dice.OneIn(4)) {
      zone.condition = Condition::kFull;
      zone.write_pointer_bytes = end;
    }
    if (!odd || !dice.OneIn(10)) continue;
    zone.condition = dice.OneIn(2) ? Condition::kReadOnly : Condition::kOffline;
    zone.write_pointer_bytes = end;
    // Nobody can know that of an offline zone.
    if (zone.condition == Condition::kOffline) zone.capacity_bytes = zone.length_bytes;
  }
  return std::make_unique<StormDisk>(LimitsOf(g), std::move(zones));
}

std::unique_ptr<IoThread> StartThread() {
  auto thread = IoThread::Start("storm");
  REQUIRE(thread.has_value());
  return std::move(*thread);
}

bool HasData(BlockOp op) {
  return op == BlockOp::kRead || op == BlockOp::kWrite || op == BlockOp::kZoneAppend;
}

// The memory of one request, cut into pieces at random.
class Buffers {
 public:
  explicit Buffers(uint64_t bytes) : bytes_(bytes) {}

  std::byte* data() { return bytes_.data(); }

  void Prepare(BlockRequest& request, uint64_t tag, Dice dice) {
    request.buffers = {};
    if (!HasData(request.op)) return;
    const uint64_t length = request.length_bytes;
    if (length > bytes_.size()) bytes_.resize(length);
    if (request.op == BlockOp::kRead) {
      std::memset(bytes_.data(), 0x55, length);
    } else {
      for (uint64_t at = 0; at < length; at += kBlock) FillBlock(&bytes_[at], tag++);
    }
    pieces_.clear();
    for (uint64_t at = 0; at < length;) {
      uint64_t piece = length - at;
      if (pieces_.size() < 6 && dice.OneIn(2)) piece = dice(piece + 1);
      pieces_.push_back({bytes_.data() + at, piece});
      at += piece;
    }
    request.buffers = pieces_;
  }

 private:
  Bytes bytes_;
  std::vector<iovec> pieces_;
};

// ---- One queue, one request after the other ----

// Does operations on one disk from the completion frame of the one before, and compares each with
// the reference.
class Walk {
 public:
  Walk(IoThread& thread, StormDisk& disk, uint64_t seed)
      : thread_(thread),
        disk_(disk),
        reference_(disk.limits(), disk.report(), disk.medium()),
        random_(seed),
        zones_(disk.limits().zone_count),
        buffers_(256_KiB) {}

  // Empty, or what went wrong. Ends with nothing in flight.
  std::string Run(uint64_t operations) {
    left_ = operations;
    finished_ = false;
    thread_.RunAndWait([this] { Next(); });
    finished_.wait(false);
    thread_.RunAndWait([] {});
    return failure_;
  }

  // Empty, or what went wrong. Of an image.
  std::string Restart() {
    final_ = BlockOp::kFlush;
    if (!Run(1).empty()) return failure_;
    final_.reset();
    disk_.Reopen();
    reference_.Restart();
    learns_ = true;
    return Run(1);
  }

  const Answers& answers() const { return answers_; }

 private:
  using Zone = ZoneReference::Zone;

  void Next() {
    if (!failure_.empty() || (left_ == 0 && !learns_)) {
      finished_ = true;
      finished_.notify_one();
      return;
    }
    request_ = {};
    if (learns_ || ++since_report_ > 200) {
      since_report_ = 0;
      learns_ = true;
      request_.op = BlockOp::kZoneReport;
      request_.zones = zones_;
    } else {
      Choose();
      expected_ = reference_.Expect(request_);
      tag_ += 1024;
      buffers_.Prepare(request_, tag_, dice_);
      --left_;
    }
    faults_ = disk_.faults();
    request_.PushCompletion([](void* self, BlockRequest&) { static_cast<Walk*>(self)->OnDone(); },
                            this);
    disk_.Submit(thread_, request_);
  }

  void OnDone() {
    if (std::exchange(learns_, false)) {
      if (request_.status != BlockStatus::kOk) {
        failure_ = "a report of all zones failed";
      } else {
        failure_ = reference_.Learn(std::span(zones_).first(request_.zones_reported));
      }
    } else {
      failure_ = Judge();
    }
    if (!failure_.empty()) {
      failure_ += fmt::format("; after operation {} at {}, {} bytes, status {}",
                              static_cast<int>(request_.op), request_.offset_bytes,
                              request_.length_bytes, static_cast<int>(request_.status));
    }
    Next();
  }

  std::string Judge() {
    // An image whose file did not give back space may run out of it later.
    const uint64_t before = disk_.is_image() ? 0 : faults_;
    const bool failed = request_.status == BlockStatus::kIoError && disk_.faults() != before;
    ++answers_[static_cast<size_t>(request_.status)];
    if (!failed && !expected_.Has(request_.status)) {
      return fmt::format("the answer should be {}", expected_.Text());
    }
    if (disk_.violations() != 0) return "the medium was sent what it must not be";
    const bool ok = request_.status == BlockStatus::kOk;
    if (request_.op == BlockOp::kZoneAppend) {
      const uint64_t at = request_.appended_at_bytes;
      if (ok) {
        const Zone& zone = reference_.zones()[reference_.IndexOf(request_.offset_bytes)];
        if (at != zone.start + zone.written) return fmt::format("the data was put at {}", at);
      } else if (request_.offset_bytes < disk_.limits().capacity_bytes) {
        const uint64_t start = AlignDownTo(request_.offset_bytes);
        if (at != start) return "the position of a failed append is not the zone's start";
      }
    }
    if (ok && request_.op == BlockOp::kRead) {
      if (std::string wrong = CheckContent(); !wrong.empty()) return wrong;
    }
    if (ok && request_.op == BlockOp::kZoneReport) {
      const uint32_t first = reference_.IndexOf(request_.offset_bytes);
      const size_t there = reference_.zones().size() - first;
      if (request_.zones_reported != std::min(there, request_.zones.size())) {
        return "the report has another number of zones";
      }
      return reference_.CheckShown(first, request_.zones.first(request_.zones_reported));
    }
    learns_ = reference_.Apply(request_, tag_, failed);
    return "";
  }

  std::string CheckContent() {
    for (uint64_t done = 0; done < request_.length_bytes; done += kBlock) {
      const uint64_t tag = TagOf(buffers_.data() + done);
      const uint64_t at = request_.offset_bytes + done;
      if (!reference_.SeeBlock(at, tag)) {
        return fmt::format("byte {} reads as of {:#x}; {}", at, tag, reference_.DescribeBlock(at));
      }
    }
    return "";
  }

  uint64_t AlignDownTo(uint64_t at) const { return at - at % disk_.limits().zone_size_bytes; }

  void Choose() {
    request_.op = final_.value_or(BlockOp::kFlush);
    if (final_) return;
    // Often the same zone again, so that some come far.
    if (!dice_.OneIn(3)) zone_ = static_cast<uint32_t>(dice_(zones_.size()));
    const Zone& zone = reference_.zones()[zone_];
    request_.offset_bytes = zone.start;
    const uint64_t choice = dice_(100);
    if (choice < 45) {
      ChooseWrite(zone);
    } else if (choice < 65) {
      ChooseRead(zone);
    } else if (choice < 73) {
      request_.op = BlockOp::kZoneOpen;
    } else if (choice < 80) {
      request_.op = BlockOp::kZoneClose;
    } else if (choice < 83) {
      request_.op = BlockOp::kZoneFinish;
    } else if (choice < 91) {
      request_.op = BlockOp::kZoneReset;
    } else if (choice < 93) {
      request_.op = BlockOp::kFlush;
    } else if (choice < 96) {
      request_.op = BlockOp::kZoneReport;
      request_.offset_bytes += dice_(zone.length);
      request_.zones = std::span(zones_).first(dice_(zones_.size() + 1));
    } else if (choice < 97) {
      request_.op = dice_.OneIn(8) ? BlockOp::kZoneResetAll : BlockOp::kZoneReset;
    } else {
      ChooseOddity(zone);
    }
  }

  uint64_t Blocks(uint64_t most) {
    const uint64_t unit = dice_.OneIn(30) ? kBlock : disk_.limits().write_granularity_bytes;
    const uint64_t few = std::max<uint64_t>(1, std::min(most / unit, 1 + dice_(12)));
    return unit * (1 + dice_(few));
  }

  void ChooseWrite(const Zone& zone) {
    const uint64_t room = zone.capacity - std::min(zone.capacity, zone.written);
    request_.op = BlockOp::kWrite;
    request_.length_bytes = Blocks(room);
    if (dice_.OneIn(8)) request_.length_bytes = room;  // to the last byte
    if (dice_.OneIn(40)) request_.length_bytes = room + Blocks(64_KiB);
    switch (zone.type) {
      case ZoneType::kSequentialRequired:
        if (dice_.OneIn(2)) {
          request_.op = BlockOp::kZoneAppend;
          if (disk_.limits().max_append_bytes != 0 && !dice_.OneIn(40)) {
            request_.length_bytes =
                std::min(request_.length_bytes, disk_.limits().max_append_bytes);
          }
        } else {
          request_.offset_bytes += std::min(zone.written, zone.length - kBlock);
          if (dice_.OneIn(25)) request_.offset_bytes = zone.start + AnyBlock(zone.length);
        }
        return;
      case ZoneType::kSequentialPreferred:
        request_.offset_bytes +=
            dice_.OneIn(2) ? std::min(zone.written, zone.length - kBlock) : AnyBlock(zone.capacity);
        if (!dice_.OneIn(4)) {
          const uint64_t left = zone.start + zone.capacity - request_.offset_bytes;
          request_.length_bytes = std::min(Blocks(64_KiB), left);
          if (request_.offset_bytes > zone.start + zone.capacity) request_.length_bytes = kBlock;
        }
        return;
      case ZoneType::kConventional:
        request_.offset_bytes += AnyBlock(zone.length);
        request_.length_bytes = Blocks(64_KiB);
        if (!dice_.OneIn(8)) {
          request_.length_bytes =
              std::min(request_.length_bytes, zone.start + zone.length - request_.offset_bytes);
        }
        return;
    }
  }

  void ChooseRead(const Zone& zone) {
    request_.op = BlockOp::kRead;
    request_.offset_bytes += AnyBlock(zone.length);
    request_.length_bytes = kBlock * (1 + dice_(24));
    if (!dice_.OneIn(10)) {
      request_.length_bytes =
          std::min(request_.length_bytes, zone.start + zone.length - request_.offset_bytes);
    }
  }

  // What no sensible driver sends.
  void ChooseOddity(const Zone& zone) {
    constexpr BlockOp kAll[] = {BlockOp::kRead,      BlockOp::kWrite,      BlockOp::kZoneAppend,
                                BlockOp::kZoneOpen,  BlockOp::kZoneClose,  BlockOp::kZoneFinish,
                                BlockOp::kZoneReset, BlockOp::kZoneReport, BlockOp::kWriteZeroes};
    request_.op = kAll[dice_(std::size(kAll))];
    if (request_.op == BlockOp::kZoneReport) request_.zones = zones_;
    if (HasData(request_.op) && !dice_.OneIn(3)) request_.length_bytes = Blocks(64_KiB);
    const uint64_t capacity = disk_.limits().capacity_bytes;
    switch (dice_(5)) {
      case 0:
        request_.offset_bytes = zone.start + AnyBlock(zone.length);
        return;
      case 1:
        request_.offset_bytes = capacity;
        return;
      case 2:
        request_.offset_bytes = capacity - kBlock * (1 + dice_(capacity / kBlock));
        return;
      case 3:
        request_.offset_bytes = ~uint64_t{0} - kBlock * dice_(4);
        return;
      default:
        request_.offset_bytes = uint64_t{1} << (9 + dice_(55));
        return;
    }
  }

  uint64_t AnyBlock(uint64_t bytes) {
    return kBlock * dice_(std::max<uint64_t>(1, bytes / kBlock));
  }

  IoThread& thread_;
  StormDisk& disk_;
  ZoneReference reference_;
  Random random_;
  Dice dice_{random_};
  std::vector<ZoneDescriptor> zones_;
  Buffers buffers_;
  BlockRequest request_;
  Statuses expected_{};
  std::optional<BlockOp> final_;  // the only one to be done
  uint32_t zone_ = 0;
  uint64_t tag_ = 0;
  uint64_t left_ = 0;
  uint64_t faults_ = 0;
  uint64_t since_report_ = 0;
  bool learns_ = true;
  std::atomic<bool> finished_ = false;
  std::string failure_;
  Answers answers_{};
};

// ---- Several queues at once ----

// What a client did and was told.
struct Record {
  BlockOp op;
  BlockStatus status;
  uint64_t invoked;
  uint64_t answered;
  int thread;
  uint32_t zone;
  uint64_t at;  // from the zone's start; of an append: where it went
  uint64_t length;
  uint64_t tag;
  std::vector<ZoneDescriptor> zones;  // of a report
  std::vector<uint64_t> tags;         // of a read
};

// What all clients of one disk share.
struct Shared {
  StormDisk& disk;
  bool appends_only;
  std::atomic<uint64_t> clock = 1;
  std::atomic<uint64_t> next_tag = 1024;
  // Where the next write may go: a guess.
  std::vector<std::atomic<uint64_t>> pointers =
      std::vector<std::atomic<uint64_t>>(disk.limits().zone_count);
};

// One queue: keeps `depth` requests in flight, from its thread's completion frames.
class Client {
 public:
  Client(Shared& shared, int index, size_t depth, uint64_t operations, uint64_t seed)
      : shared_(shared), index_(index), left_(operations), random_(seed), thread_(StartThread()) {
    for (size_t i = 0; i < depth; ++i) slots_.push_back(std::make_unique<Slot>(*this));
  }

  void Start() {
    busy_ = slots_.size();
    start_.client = this;
    start_.run = [](Task& task) {
      Client& client = *static_cast<StartTask&>(task).client;
      for (auto& slot : client.slots_) client.Next(*slot);
    };
    thread_->Post(start_);
  }
  void Wait() {
    for (size_t busy = busy_; busy != 0; busy = busy_) busy_.wait(busy);
    thread_->RunAndWait([] {});
  }

  const std::vector<Record>& records() const { return records_; }

 private:
  struct StartTask : Task {
    Client* client = nullptr;
  };
  struct Slot {
    explicit Slot(Client& owner) : client(owner), buffers(64_KiB), zones(owner.zone_count()) {}
    Client& client;
    BlockRequest request;
    Record record{};
    Buffers buffers;
    std::vector<ZoneDescriptor> zones;
  };

  size_t zone_count() const { return shared_.disk.limits().zone_count; }

  void Next(Slot& slot) {
    if (left_ == 0) {
      if (--busy_ == 0) busy_.notify_one();
      return;
    }
    --left_;
    slot.request = {};
    slot.record = {};
    Choose(slot);
    slot.record.op = slot.request.op;
    slot.record.thread = index_;
    slot.record.tag = shared_.next_tag.fetch_add(64);
    slot.record.length = slot.request.length_bytes;
    slot.buffers.Prepare(slot.request, slot.record.tag, dice_);
    slot.request.PushCompletion(
        [](void* self, BlockRequest&) {
          Slot& done = *static_cast<Slot*>(self);
          done.client.OnDone(done);
        },
        &slot);
    slot.record.invoked = shared_.clock++;
    shared_.disk.Submit(*thread_, slot.request);
  }

  void OnDone(Slot& slot) {
    Record& record = slot.record;
    record.answered = shared_.clock++;
    record.status = slot.request.status;
    const uint64_t start = record.zone * shared_.disk.limits().zone_size_bytes;
    if (record.status == BlockStatus::kOk) {
      switch (record.op) {
        case BlockOp::kZoneAppend:
          record.at = slot.request.appended_at_bytes - start;
          [[fallthrough]];
        case BlockOp::kWrite:
          shared_.pointers[record.zone] = record.at + record.length;
          break;
        case BlockOp::kZoneReport:
          record.zones.assign(slot.zones.begin(), slot.zones.begin() + slot.request.zones_reported);
          break;
        case BlockOp::kRead:
          for (uint64_t done = 0; done < record.length; done += kBlock) {
            record.tags.push_back(TagOf(slot.buffers.data() + done));
          }
          break;
        default:
          break;
      }
    }
    records_.push_back(std::move(record));
    Next(slot);
  }

  void Choose(Slot& slot) {
    BlockRequest& request = slot.request;
    const BlockLimits& limits = shared_.disk.limits();
    const uint64_t unit = limits.write_granularity_bytes;
    slot.record.zone = static_cast<uint32_t>(dice_(zone_count()));
    request.offset_bytes = slot.record.zone * limits.zone_size_bytes;
    const uint64_t choice = shared_.appends_only ? dice_(58) : dice_(100);
    if (choice < 46) {
      request.op = BlockOp::kZoneAppend;
      request.length_bytes = std::min(limits.max_append_bytes, unit * (1 + dice_(4)));
    } else if (choice < 52) {
      request.op = BlockOp::kZoneReport;
      request.offset_bytes = dice_(limits.capacity_bytes);
      request.zones = std::span(slot.zones).first(1 + dice_(slot.zones.size()));
    } else if (choice < 57) {
      request.op = BlockOp::kRead;
      slot.record.at = kBlock * dice_(limits.zone_size_bytes / kBlock);
      request.offset_bytes += slot.record.at;
      request.length_bytes =
          std::min(kBlock * (1 + dice_(16)), limits.zone_size_bytes - slot.record.at);
    } else if (choice < 58) {
      request.op = BlockOp::kFlush;
    } else if (choice < 76) {
      request.op = BlockOp::kWrite;
      slot.record.at =
          std::min(shared_.pointers[slot.record.zone].load(), limits.zone_size_bytes - unit);
      request.offset_bytes += slot.record.at;
      request.length_bytes =
          std::min(unit * (1 + dice_(4)), limits.zone_size_bytes - slot.record.at);
    } else if (choice < 82) {
      request.op = BlockOp::kZoneOpen;
    } else if (choice < 89) {
      request.op = BlockOp::kZoneClose;
    } else if (choice < 91) {
      request.op = BlockOp::kZoneFinish;
    } else if (choice < 99) {
      request.op = BlockOp::kZoneReset;
      shared_.pointers[slot.record.zone] = 0;
    } else {
      request.op = BlockOp::kZoneResetAll;
    }
  }

  Shared& shared_;
  const int index_;
  uint64_t left_;
  Random random_;
  Dice dice_{random_};
  std::unique_ptr<IoThread> thread_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Record> records_;
  StartTask start_;
  std::atomic<size_t> busy_ = 0;
};

// All that was recorded of one zone.
class ZoneStory {
 public:
  ZoneStory(const StormDisk& disk, uint32_t zone, bool with_faults,
            const std::vector<const Record*>& records, std::vector<uint64_t> final_tags)
      : disk_(disk),
        zone_(zone),
        with_faults_(with_faults),
        records_(records),
        final_tags_(std::move(final_tags)) {
    for (const Record* record : records) {
      if (WritesHere(*record)) writes_.push_back(record);
      if (Resets(*record)) resets_.push_back(record);
    }
  }

  // Each: empty, or what cannot be.

  // Some order explains it.
  std::string CheckOrder(const ZoneDescriptor& final_zone) const {
    const BlockLimits& limits = disk_.limits();
    ZoneHistory history({.capacity = disk_.report()[zone_].capacity_bytes,
                         .open_limit = limits.max_open_zones != 0,
                         .active_limit = limits.max_active_zones != 0,
                         .finish_needs_open = !disk_.is_image(),
                         .failed_write_leaves = with_faults_ && !disk_.is_image()
                                                    ? limits.write_granularity_bytes
                                                    : 0});
    uint64_t last = 0;
    for (const Record* record : records_) {
      last = std::max(last, record->answered);
      ZoneEvent event{.invoked = record->invoked,
                      .answered = record->answered,
                      .thread = record->thread,
                      .op = Resets(*record) ? BlockOp::kZoneReset : record->op,
                      .status = record->status,
                      .length = record->length,
                      .at = record->at};
      if (record->status == BlockStatus::kIoError && !with_faults_) return "an I/O error";
      if (record->op == BlockOp::kZoneReport) {
        const ZoneDescriptor* seen = Find(record->zones);
        if (seen == nullptr) continue;
        See(event, *seen);
      } else if (record->op == BlockOp::kRead || record->op == BlockOp::kFlush) {
        continue;
      } else if (WritesHere(*record)) {
        event.survives = record->status == BlockStatus::kOk && Survives(*record);
      }
      history.Add(event);
    }
    ZoneEvent end{.invoked = last + 1, .answered = last + 2};
    See(end, final_zone);
    history.Add(end);
    return history.Explain();
  }

  // What is there at the end came from somebody, without gaps.
  std::string CheckFinalContent(const ZoneDescriptor& final_zone) const {
    bool ended = false;
    for (size_t block = 0; block < final_tags_.size(); ++block) {
      const uint64_t tag = final_tags_[block];
      const bool full = final_zone.condition == Condition::kFull;
      const uint64_t at = block * kBlock;
      if (!full && (tag != 0) != (at < final_zone.write_pointer_bytes - final_zone.start_bytes)) {
        return fmt::format("block {} reads as {:#x} at the end", block, tag);
      }
      if (tag == 0) ended = true;
      if (tag == 0) continue;
      if (ended || Writer(tag, at) == nullptr) {
        return fmt::format("block {} holds {:#x} at the end, of nobody", block, tag);
      }
    }
    return "";
  }

  // Each block of a read holds what was there at some time during the read.
  std::string CheckReads() const {
    for (const Record* read : records_) {
      if (read->op != BlockOp::kRead) continue;
      if (read->status == BlockStatus::kIoError && with_faults_) continue;
      if (read->status != BlockStatus::kOk) return "a read was refused";
      uint64_t last_reset = 0;  // that may have been before its end
      for (const Record* reset : resets_) {
        if (reset->invoked < read->answered) last_reset = std::max(last_reset, reset->answered);
      }
      for (size_t i = 0; i < read->tags.size(); ++i) {
        const uint64_t at = read->at + i * kBlock;
        const uint64_t tag = read->tags[i];
        if (tag == 0 ? MustHaveData(*read, at, last_reset) : !MayHold(*read, at, tag)) {
          return fmt::format("a read in ticks {} to {} saw {:#x} at byte {}", read->invoked,
                             read->answered, tag, at);
        }
      }
    }
    return "";
  }

  // Without resets and finishes: positions are distinct, without gaps, and in real-time order.
  std::string CheckAppends() const {
    std::vector<const Record*> appends;
    for (const Record* write : writes_) {
      if (write->status == BlockStatus::kOk) appends.push_back(write);
    }
    std::ranges::sort(appends, {}, &Record::at);
    uint64_t position = 0;
    uint64_t latest_invoked = 0;
    std::array<uint64_t, 64> last_of_thread{};
    for (const Record* append : appends) {
      if (append->at != position)
        return fmt::format("no append at {}, but one at {}", position, append->at);
      position += append->length;
      if (append->answered < latest_invoked) return "an append went before an earlier one";
      latest_invoked = std::max(latest_invoked, append->invoked);
      uint64_t& last = last_of_thread[static_cast<size_t>(append->thread)];
      if (append->invoked < last) return "appends of one queue changed their order";
      last = append->invoked;
    }
    return "";
  }

 private:
  uint64_t start() const { return zone_ * disk_.limits().zone_size_bytes; }

  static bool WritesHere(const Record& record) {
    return record.op == BlockOp::kWrite || record.op == BlockOp::kZoneAppend;
  }
  static bool Resets(const Record& record) {
    return record.op == BlockOp::kZoneReset || record.op == BlockOp::kZoneResetAll;
  }

  const ZoneDescriptor* Find(const std::vector<ZoneDescriptor>& zones) const {
    for (const ZoneDescriptor& zone : zones) {
      if (zone.start_bytes == start()) return &zone;
    }
    return nullptr;
  }
  void See(ZoneEvent& event, const ZoneDescriptor& zone) const {
    event.op = BlockOp::kZoneReport;
    event.seen = zone.condition;
    event.at = zone.write_pointer_bytes - start();
    event.length = 0;
  }

  bool Survives(const Record& record) const {
    for (uint64_t done = 0; done < record.length; done += kBlock) {
      if (final_tags_[(record.at + done) / kBlock] != record.tag + done / kBlock) return false;
    }
    return true;
  }

  // Who may have put this there.
  const Record* Writer(uint64_t tag, uint64_t at) const {
    // By tag: 64 for each request.
    for (const Record* write : writes_) {
      if (tag < write->tag || tag >= write->tag + write->length / kBlock) continue;
      const uint64_t within = (tag - write->tag) * kBlock;
      if (write->status == BlockStatus::kOk) return write->at + within == at ? write : nullptr;
      // Of one that failed, the first piece may be there, wherever it was to go.
      const bool possible =
          write->status == BlockStatus::kIoError && within < disk_.limits().write_granularity_bytes;
      return possible ? write : nullptr;
    }
    return nullptr;
  }

  bool MayHold(const Record& read, uint64_t at, uint64_t tag) const {
    const Record* write = Writer(tag, at);
    if (write == nullptr || write->invoked > read.answered) return false;
    // Not what a reset has certainly taken away.
    return std::ranges::none_of(resets_, [&](const Record* reset) {
      return reset->status == BlockStatus::kOk && reset->invoked > write->answered &&
             reset->answered < read.invoked;
    });
  }
  bool MustHaveData(const Record& read, uint64_t at, uint64_t last_reset) const {
    return std::ranges::any_of(writes_, [&](const Record* write) {
      return write->status == BlockStatus::kOk && write->answered < read.invoked &&
             write->invoked > last_reset && at >= write->at && at < write->at + write->length;
    });
  }

  const StormDisk& disk_;
  const uint32_t zone_;
  const bool with_faults_;
  const std::vector<const Record*>& records_;
  const std::vector<uint64_t> final_tags_;
  std::vector<const Record*> writes_;
  std::vector<const Record*> resets_;
};

constexpr uint64_t kOperationsPerContest = 2'000;

// A few sequential zones that all fight for.
ZonedGeometry ContestedGeometry(Dice dice, bool appends_only) {
  ZonedGeometry g;
  g.write_granularity_bytes = dice.OneIn(4) ? 4096 : 512;
  g.physical_block_bytes = g.write_granularity_bytes;
  const uint64_t unit = g.write_granularity_bytes;
  const auto zones = static_cast<uint32_t>(1 + dice(5));
  // Appends alone mostly find room; else zones are full now and then.
  const uint64_t blocks = appends_only ? 3 * kOperationsPerContest / zones : 16 + dice(48);
  g.zone_size_bytes = unit * (blocks + dice(8));
  g.zone_capacity_bytes = g.zone_size_bytes - unit * dice(8);
  g.capacity_bytes = zones * g.zone_size_bytes;
  g.max_append_bytes = unit * (1 + dice(4));
  if (dice.OneIn(2) && !appends_only) {
    g.max_open_zones = static_cast<uint32_t>(1 + dice(2));
    if (dice.OneIn(2)) g.max_active_zones = g.max_open_zones + static_cast<uint32_t>(dice(3));
  }
  return g;
}

// Empty, or what cannot be. At the end of all.
std::string CheckStories(StormDisk& disk, const std::vector<std::unique_ptr<Client>>& clients,
                         bool with_faults, bool appends_only) {
  auto thread = StartThread();
  std::vector<ZoneDescriptor> final_zones(disk.limits().zone_count);
  BlockRequest report;
  report.op = BlockOp::kZoneReport;
  report.zones = final_zones;
  if (SubmitAndWait(*thread, disk, report) != BlockStatus::kOk) return "the last report failed";
  for (uint32_t zone = 0; zone < final_zones.size(); ++zone) {
    const ZoneDescriptor& final_zone = final_zones[zone];
    Bytes content(final_zone.length_bytes);
    iovec buffer{content.data(), content.size()};
    BlockRequest read;
    read.offset_bytes = final_zone.start_bytes;
    read.length_bytes = content.size();
    read.buffers = {&buffer, 1};
    if (SubmitAndWait(*thread, disk, read) != BlockStatus::kOk) return "the last read failed";
    std::vector<uint64_t> tags;
    for (size_t at = 0; at < content.size(); at += kBlock) tags.push_back(TagOf(&content[at]));

    std::vector<const Record*> records;
    for (const auto& client : clients) {
      for (const Record& record : client->records()) {
        const bool everywhere =
            record.op == BlockOp::kZoneReport || record.op == BlockOp::kZoneResetAll;
        if (everywhere || record.zone == zone) records.push_back(&record);
      }
    }
    const ZoneStory story(disk, zone, with_faults, records, std::move(tags));
    std::string wrong = story.CheckOrder(final_zone);
    if (wrong.empty()) wrong = story.CheckFinalContent(final_zone);
    if (wrong.empty()) wrong = story.CheckReads();
    if (wrong.empty() && appends_only && !with_faults) wrong = story.CheckAppends();
    if (!wrong.empty()) return fmt::format("zone {}: {}", zone, wrong);
  }
  if (disk.violations() != 0) return "the medium was sent what it must not be";
  return "";
}

// One disk, used by several clients at the same time.
void Contest(uint64_t seed, bool image, Answers& answers) {
  CAPTURE(StormSeed());
  CAPTURE(seed);
  CAPTURE(image);
  Random random(seed);
  const Dice dice{random};
  const bool appends_only = dice.OneIn(3);
  const bool with_faults = dice.OneIn(3);
  const auto client_count = static_cast<int>(1 + dice(4));
  const ZonedGeometry g = ContestedGeometry(dice, appends_only);
  std::unique_ptr<StormDisk> disk = image ? std::make_unique<StormDisk>(g)
                                          : std::make_unique<StormDisk>(LimitsOf(g), ReportOf(g));
  disk->Shuffle();
  if (with_faults) disk->FailOneIn(100);
  Shared shared{*disk, appends_only};
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < client_count; ++i) {
    clients.push_back(std::make_unique<Client>(shared, i, 1 + dice(6),
                                               kOperationsPerContest / client_count, random()));
  }
  for (auto& client : clients) client->Start();
  for (auto& client : clients) client->Wait();
  disk->FailOneIn(0);
  const std::string wrong = CheckStories(*disk, clients, with_faults, appends_only);
  REQUIRE_MESSAGE(wrong.empty(), wrong);
  for (const auto& client : clients) {
    for (const Record& record : client->records()) ++answers[static_cast<size_t>(record.status)];
  }
}

// Whether a storm of the usual size has met everything that it should.
void CheckAnswers(const Answers& answers, std::initializer_list<BlockStatus> expected) {
  if (TotalOperations() < 1'000'000) return;
  for (BlockStatus status : expected) {
    CAPTURE(static_cast<int>(status));
    CHECK(answers[static_cast<size_t>(status)] > 0);
  }
}

void CheckAnswersOfWalks(const Answers& answers, bool with_faults) {
  CheckAnswers(answers, {BlockStatus::kOk, BlockStatus::kOutOfRange, BlockStatus::kUnsupported,
                         BlockStatus::kZoneInvalid, BlockStatus::kZoneUnaligned,
                         BlockStatus::kZoneOpenLimit, BlockStatus::kZoneActiveLimit});
  if (with_faults) CheckAnswers(answers, {BlockStatus::kIoError});
}

void CheckAnswersOfContests(const Answers& answers) {
  CheckAnswers(answers, {BlockStatus::kOk, BlockStatus::kIoError, BlockStatus::kZoneInvalid,
                         BlockStatus::kZoneUnaligned, BlockStatus::kZoneOpenLimit,
                         BlockStatus::kZoneActiveLimit});
}

void Collect(Answers& sum, const Answers& answers) {
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += answers[i];
}

// Whether the zones that the queue reports are those of the device.
std::string DifferenceToMedium(IoThread& thread, StormDisk& disk) {
  std::vector<ZoneDescriptor> zones(disk.limits().zone_count);
  BlockRequest report;
  report.op = BlockOp::kZoneReport;
  report.zones = zones;
  if (SubmitAndWait(thread, disk, report) != BlockStatus::kOk) return "the last report failed";
  for (size_t i = 0; i < zones.size(); ++i) {
    const ZoneDescriptor& medium = disk.medium_zones()[i];
    if (zones[i].condition != medium.condition) {
      return fmt::format("zone {}: condition {}, of the device {}", i,
                         static_cast<int>(zones[i].condition), static_cast<int>(medium.condition));
    }
    if (ZoneReference::HasPointer(medium.condition) &&
        zones[i].write_pointer_bytes != medium.write_pointer_bytes) {
      return fmt::format("zone {}: write pointer {}, of the device {}", i,
                         zones[i].write_pointer_bytes, medium.write_pointer_bytes);
    }
  }
  return "";
}

constexpr uint64_t kOperationsPerDisk = 5'000;

TEST_CASE("a device's zones do what the tables say, whatever is sent (Z-56)") {
  MESSAGE("MINIVMM_STORM_SEED=" << StormSeed());
  const uint64_t disks = TotalOperations() * 7 / 10 / kOperationsPerDisk + 2;
  auto thread = StartThread();
  for (bool with_faults : {false, true}) {
    Answers answers{};
    for (uint64_t i = 0; i < disks / 2; ++i) {
      const uint64_t seed = SeedOf(i);
      CAPTURE(StormSeed());
      CAPTURE(seed);
      CAPTURE(with_faults);
      Random random(seed);
      auto disk = AnyDevice({random});
      disk->RunAtOnce();
      if (with_faults) disk->FailOneIn(60);
      Walk walk(*thread, *disk, seed);
      std::string failure = walk.Run(kOperationsPerDisk);
      if (failure.empty()) failure = DifferenceToMedium(*thread, *disk);
      REQUIRE_MESSAGE(failure.empty(), failure);
      Collect(answers, walk.answers());
    }
    CheckAnswersOfWalks(answers, with_faults);
  }
}

TEST_CASE("a zoned image does what the tables say, also after a restart (Z-54, Z-56)") {
  const uint64_t disks = TotalOperations() * 3 / 10 / kOperationsPerDisk + 2;
  auto thread = StartThread();
  for (bool with_faults : {false, true}) {
    Answers answers{};
    for (uint64_t i = 0; i < disks / 2; ++i) {
      const uint64_t seed = SeedOf(500'000 + i);
      CAPTURE(StormSeed());
      CAPTURE(seed);
      CAPTURE(with_faults);
      Random random(seed);
      StormDisk disk(AnyGeometry({random}));
      Walk walk(*thread, disk, seed);
      for (uint64_t part = 0; part < 5; ++part) {
        if (with_faults) disk.FailOneIn(60);
        std::string failure = walk.Run(kOperationsPerDisk / 5);
        disk.FailOneIn(0);
        if (failure.empty()) failure = walk.Restart();
        REQUIRE_MESSAGE(failure.empty(), failure);
        disk.ForgetArrivals();
      }
      Collect(answers, walk.answers());
    }
    CheckAnswersOfWalks(answers, with_faults);
  }
}

TEST_CASE("what several queues do at once on one device has an order that explains it (Z-53)") {
  Answers answers{};
  for (uint64_t i = 0; i < TotalOperations() / 10 / kOperationsPerContest + 1; ++i) {
    Contest(SeedOf(i), /*image=*/false, answers);
  }
  CheckAnswersOfContests(answers);
}

TEST_CASE("what several queues do at once on a zoned image has an order that explains it (Z-53)") {
  Answers answers{};
  for (uint64_t i = 0; i < TotalOperations() / 10 / kOperationsPerContest + 1; ++i) {
    Contest(SeedOf(500'000 + i), /*image=*/true, answers);
  }
  CheckAnswersOfContests(answers);
}

// ---- The judge is judged ----

ZoneEvent Append(uint64_t invoked, uint64_t answered, int thread, uint64_t at) {
  return {.invoked = invoked,
          .answered = answered,
          .thread = thread,
          .op = BlockOp::kZoneAppend,
          .length = kBlock,
          .at = at * kBlock,
          .survives = true};
}
ZoneEvent Report(uint64_t invoked, uint64_t answered, int thread, uint64_t written,
                 Condition seen) {
  return {.invoked = invoked,
          .answered = answered,
          .thread = thread,
          .op = BlockOp::kZoneReport,
          .at = written * kBlock,
          .seen = seen};
}
ZoneEvent Other(uint64_t invoked, uint64_t answered, BlockOp op, BlockStatus status) {
  return {.invoked = invoked, .answered = answered, .thread = 5, .op = op, .status = status};
}

bool IsExplained(std::vector<ZoneEvent> events, bool open_limit = false) {
  ZoneHistory history({.capacity = 4 * kBlock, .open_limit = open_limit});
  for (const ZoneEvent& event : events) history.Add(event);
  return history.Explain().empty();
}

TEST_CASE("an order that nobody could have seen is found out") {
  constexpr auto kOk = BlockStatus::kOk;
  constexpr auto kOpen = Condition::kImplicitlyOpen;
  // At the same time: any order. One after the other: that one.
  CHECK(IsExplained({Append(1, 4, 0, 1), Append(2, 3, 1, 0)}));
  CHECK_FALSE(IsExplained({Append(1, 2, 0, 1), Append(3, 4, 1, 0)}));
  CHECK_FALSE(IsExplained({Append(1, 4, 0, 0), Append(2, 3, 1, 0)}));  // twice the same place
  CHECK_FALSE(IsExplained({Append(1, 4, 0, 0), Append(2, 3, 1, 2)}));  // a hole
  CHECK_FALSE(IsExplained({Append(1, 4, 0, 1), Append(2, 3, 0, 0)}));  // one queue's order
  // Reports show something that was there in between.
  CHECK(IsExplained({Append(1, 4, 0, 0), Report(2, 3, 1, 0, Condition::kEmpty)}));
  CHECK(IsExplained({Append(1, 4, 0, 0), Report(2, 3, 1, 1, kOpen)}));
  CHECK_FALSE(IsExplained({Append(1, 2, 0, 0), Report(3, 4, 1, 0, Condition::kEmpty)}));
  CHECK_FALSE(IsExplained(
      {Append(1, 6, 0, 0), Report(2, 3, 1, 1, kOpen), Report(4, 5, 1, 0, Condition::kEmpty)}));
  // Closed for another only where there is a limit.
  const std::vector<ZoneEvent> closed = {Append(1, 2, 0, 0),
                                         Report(3, 4, 1, 1, Condition::kClosed)};
  CHECK(IsExplained(closed, true));
  CHECK_FALSE(IsExplained(closed, false));
  // A reset takes the data with it; what is there at the end came after.
  const ZoneEvent reset = Other(3, 8, BlockOp::kZoneReset, kOk);
  ZoneEvent lost = Append(1, 2, 0, 0);
  lost.survives = false;
  CHECK(IsExplained({lost, reset, Append(4, 5, 1, 0)}));
  CHECK_FALSE(IsExplained({lost, Append(4, 5, 1, 1)}));
  CHECK_FALSE(IsExplained({Append(1, 2, 0, 0), reset, Append(9, 10, 1, 0)}));
  // Refusals need a reason.
  CHECK(IsExplained({Other(1, 2, BlockOp::kZoneFinish, kOk),
                     Other(3, 4, BlockOp::kZoneOpen, BlockStatus::kZoneInvalid)}));
  CHECK_FALSE(IsExplained({Other(3, 4, BlockOp::kZoneOpen, BlockStatus::kZoneInvalid)}));
  CHECK_FALSE(IsExplained({Other(1, 2, BlockOp::kZoneOpen, BlockStatus::kZoneOpenLimit)}));
}

}  // namespace
}  // namespace minivmm
