// ZoneQueue over media that complete on command, out of order and with errors. Test names carry the
// ids of the project's conformance checklist (Z-..).
#include "blockcore/zone_queue.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "blockcore/base/units.h"
#include "blockcore/fake_block_node.h"
#include "blockcore/fake_zoned_medium.h"

namespace {
std::atomic<size_t> allocations = 0;
}

// Not inline: with one of a pair inlined, GCC takes malloc and delete (or new and free) for a
// mistake.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace minivmm {
namespace {

using Condition = ZoneCondition;
using Status = BlockStatus;
using Mode = FakeBlockNode::Mode;

struct Disk {
  uint64_t zone_size = 64_KiB;
  uint64_t capacity = 48_KiB;  // of sequential zones
  uint32_t conventional = 1;
  uint32_t sequential = 7;
  uint32_t max_open = 0;
  uint32_t max_active = 0;
  uint32_t granularity = 512;
  ZonedModel zoned = ZonedModel::kHostManaged;
  bool read_only = false;

  BlockLimits Limits() const {
    return {.capacity_bytes = (conventional + sequential) * zone_size,
            .logical_block_bytes = 512,
            .physical_block_bytes = 512,
            .read_only = read_only,
            .zoned = zoned,
            .zone_size_bytes = zone_size,
            .zone_count = conventional + sequential,
            .max_open_zones = max_open,
            .max_active_zones = max_active,
            .max_append_bytes = zone_size,
            .write_granularity_bytes = granularity};
  }
  std::vector<ZoneDescriptor> Report() const {
    std::vector<ZoneDescriptor> zones(conventional + sequential);
    for (uint32_t i = 0; i < zones.size(); ++i) {
      uint64_t start = i * zone_size;
      zones[i] = {.start_bytes = start,
                  .length_bytes = zone_size,
                  .capacity_bytes = i < conventional ? zone_size : capacity,
                  .write_pointer_bytes = i < conventional ? start + zone_size : start,
                  .type = i < conventional                    ? ZoneType::kConventional
                          : zoned == ZonedModel::kHostManaged ? ZoneType::kSequentialRequired
                                                              : ZoneType::kSequentialPreferred,
                  .condition = i < conventional ? Condition::kNotWritePointer : Condition::kEmpty};
    }
    return zones;
  }
};

// A caller's request, and what became of it.
struct Call {
  BlockRequest request;
  std::vector<char> data;
  std::vector<iovec> iovecs;
  std::vector<ZoneDescriptor> zones;
  IoThread* thread = nullptr;
  std::atomic<bool> done = false;
  bool on_own_thread = false;
  std::atomic<int>* counter = nullptr;

  Status status() const {
    REQUIRE(done);
    return request.status;
  }
  uint64_t appended_at() const { return request.appended_at_bytes; }
};

std::vector<char> Pattern(size_t bytes, uint64_t seed) {
  std::vector<char> data(bytes);
  std::minstd_rand random(static_cast<uint32_t>(seed * 2654435761u + 1));
  for (char& c : data) c = static_cast<char>(random() >> 8);
  return data;
}

class Rig {
 public:
  explicit Rig(Disk disk = {}, int thread_count = 1, std::vector<ZoneDescriptor> report = {})
      : disk_(disk),
        medium(disk.Limits(), report.empty() ? disk.Report() : report),
        queue(medium, std::move(*ZoneModel::Create(disk.Limits(), medium.zones()))) {
    for (int i = 0; i < thread_count; ++i) {
      auto thread = IoThread::Start("io");
      REQUIRE(thread.has_value());
      threads.push_back(std::move(*thread));
    }
  }

  uint64_t Start(uint32_t zone) const { return zone * disk_.zone_size; }

  void SettleAll() {
    // More than once: one thread may have handed something to another, and that to the first.
    for (int round = 0; round < 3; ++round) {
      for (auto& thread : threads) Settle(*thread);
    }
  }

  // Prepares a call; `parts` iovecs.
  Call& Make(BlockOp op, uint64_t offset, uint64_t length = 0, int thread = 0, size_t parts = 1) {
    Call& call = calls.emplace_back();
    call.thread = threads[static_cast<size_t>(thread)].get();
    call.request.op = op;
    call.request.offset_bytes = offset;
    call.request.length_bytes = length;
    bool has_data = op == BlockOp::kRead || op == BlockOp::kWrite || op == BlockOp::kZoneAppend;
    if (has_data) {
      call.data =
          op == BlockOp::kRead ? std::vector<char>(length, 'r') : Pattern(length, calls.size());
      uint64_t part = length / parts;
      for (size_t i = 0; i < parts; ++i) {
        uint64_t begin = i * part;
        uint64_t bytes = i + 1 == parts ? length - begin : part;
        call.iovecs.push_back({call.data.data() + begin, bytes});
        call.iovecs.push_back({nullptr, 0});
      }
      call.request.buffers = call.iovecs;
    }
    call.request.PushCompletion(
        [](void* self, BlockRequest&) {
          Call& done = *static_cast<Call*>(self);
          done.on_own_thread = done.thread->IsCurrent();
          if (done.counter != nullptr) --*done.counter;
          done.done = true;
        },
        &call);
    return call;
  }

  // Submits the calls in one go, so that they meet in the queue.
  void Submit(std::initializer_list<Call*> batch) {
    for (Call* call : batch) {
      call->thread->RunAndWait([&] {
        queue.Submit(*call->thread, call->request);
        CHECK(!call->done);  // never inside Submit
      });
    }
    SettleAll();
  }

  Call& Do(BlockOp op, uint64_t offset, uint64_t length = 0, int thread = 0, size_t parts = 1) {
    Call& call = Make(op, offset, length, thread, parts);
    Submit({&call});
    return call;
  }
  Call& Write(uint64_t offset, uint64_t length = 512, int thread = 0) {
    return Do(BlockOp::kWrite, offset, length, thread);
  }
  Call& Append(uint32_t zone, uint64_t length = 512, int thread = 0) {
    return Do(BlockOp::kZoneAppend, Start(zone), length, thread);
  }
  Call& Read(uint64_t offset, uint64_t length = 512) { return Do(BlockOp::kRead, offset, length); }
  Call& Manage(BlockOp op, uint32_t zone, int thread = 0) { return Do(op, Start(zone), 0, thread); }

  ZoneDescriptor Describe(uint32_t zone) {
    Call& call = Make(BlockOp::kZoneReport, Start(zone));
    call.zones.resize(1);
    call.request.zones = call.zones;
    Submit({&call});
    REQUIRE(call.status() == Status::kOk);
    return call.zones[0];
  }
  Condition ConditionOf(uint32_t zone) { return Describe(zone).condition; }
  uint64_t Written(uint32_t zone) { return Describe(zone).write_pointer_bytes - Start(zone); }

  void Complete(size_t index = 0) {
    medium.Complete(index);
    SettleAll();
  }
  void Fail(Status status = Status::kIoError, size_t index = 0) {
    medium.Fail(index, status);
    SettleAll();
  }
  // What the medium holds, as "op@offset" with the offset in blocks of 512.
  std::string Held() const { return Text(medium.held()); }
  std::string Log() const { return Text(medium.log()); }

  // The medium and the queue agree about every zone, and nobody broke the medium's rules.
  void CheckCoherent() {
    CHECK(medium.violations() == 0);
    for (uint32_t zone = 0; zone < disk_.Limits().zone_count; ++zone) {
      ZoneDescriptor ours = Describe(zone);
      ZoneDescriptor theirs = medium.zones()[zone];
      CAPTURE(zone);
      CHECK(ours.condition == theirs.condition);
      if (ours.condition != Condition::kFull) {
        CHECK(ours.write_pointer_bytes == theirs.write_pointer_bytes);
      }
    }
  }

  ~Rig() {
    for (Call& call : calls) {
      CHECK(call.done);
      CHECK(call.on_own_thread);
    }
  }

 private:
  static std::string Text(const std::vector<FakeBlockNode::Arrival>& arrivals) {
    static const char* const kNames[] = {"read",   "write",  "flush",  "discard",
                                         "zeroes", "append", "report", "open",
                                         "close",  "finish", "reset",  "resetall"};
    std::string text;
    for (const auto& arrival : arrivals) {
      if (!text.empty()) text += ' ';
      text += kNames[static_cast<int>(arrival.op)];
      text += '@' + std::to_string(arrival.offset_bytes / 512);
      if (arrival.length_bytes != 0) text += '+' + std::to_string(arrival.length_bytes / 512);
    }
    return text;
  }

  Disk disk_;

 public:
  FakeZonedMedium medium;
  ZoneQueue queue;
  std::deque<Call> calls;
  std::vector<std::unique_ptr<IoThread>> threads;
};

// Zone 1 begins at block 128, zone 2 at 256.

TEST_CASE("writes to a zone go down one at a time, in the order of Submit") {
  Rig rig;
  Call& first = rig.Write(rig.Start(1), 512);
  Call& open = rig.Manage(BlockOp::kZoneOpen, 1);
  Call& second = rig.Write(rig.Start(1) + 512, 1024);
  CHECK(rig.Held() == "write@128+1");
  CHECK(rig.Written(1) == 0);  // the pointer moves after success only
  CHECK(rig.ConditionOf(1) == Condition::kEmpty);
  rig.Complete();
  CHECK(first.status() == Status::kOk);
  CHECK(rig.Written(1) == 512);
  CHECK(rig.Held() == "open@128");
  rig.Complete();
  CHECK(open.status() == Status::kOk);
  CHECK(!second.done);
  CHECK(rig.Held() == "write@129+2");
  rig.Complete();
  CHECK(second.status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE("zones are independent of each other and of reads") {
  Rig rig;
  rig.Write(rig.Start(1));
  Call& other = rig.Write(rig.Start(2));
  Call& read = rig.Read(0, 512);
  Call& conventional = rig.Write(512, 512);
  Call& flush = rig.Do(BlockOp::kFlush, 0);
  CHECK(rig.Held() == "write@128+1 write@256+1 read@0+1 write@1+1 flush@0");
  for (size_t i = 4; i > 0; --i) rig.Complete(i);
  CHECK(other.status() == Status::kOk);
  CHECK(read.status() == Status::kOk);
  CHECK(conventional.status() == Status::kOk);
  CHECK(flush.status() == Status::kOk);
  CHECK(rig.Held() == "write@128+1");
  rig.Complete();
}

TEST_CASE("what waits for a zone and continues becomes one vectored write, data in order (Z-26)") {
  Rig rig;
  Call& a = rig.Append(1, 1024);
  Call& b = rig.Append(1, 512);
  Call& c = rig.Write(rig.Start(1) + 1536, 512);
  Call& d = rig.Do(BlockOp::kZoneAppend, rig.Start(1), 1536, 0, 3);
  CHECK(rig.Held() == "write@128+2");
  rig.Complete();
  CHECK(rig.Held() == "write@130+5");
  CHECK(rig.medium.held()[0].buffer_count == 5);  // empty ones are left out
  rig.Complete();
  CHECK(rig.Held().empty());
  CHECK(a.appended_at() == rig.Start(1));
  CHECK(b.appended_at() == rig.Start(1) + 1024);
  CHECK(d.appended_at() == rig.Start(1) + 2048);
  for (auto [call, at] : {std::pair(&a, 0), {&b, 1024}, {&c, 1536}, {&d, 2048}}) {
    CHECK(call->status() == Status::kOk);
    CHECK(std::memcmp(rig.medium.data().data() + rig.Start(1) + static_cast<uint64_t>(at),
                      call->data.data(), call->data.size()) == 0);
  }
  rig.CheckCoherent();
}

TEST_CASE("joining stops at what does not continue, at management, and at the capacity") {
  Rig rig;
  rig.Append(1);
  Call& b = rig.Append(1);
  Call& wrong = rig.Write(rig.Start(1), 512);  // not where the pointer will be
  Call& c = rig.Append(1);
  Call& finish = rig.Manage(BlockOp::kZoneClose, 1);
  Call& d = rig.Append(1, 47_KiB);  // more than is left
  Call& e = rig.Append(1);
  rig.Complete();
  CHECK(rig.Held() == "write@129+1");
  rig.Complete();
  CHECK(b.status() == Status::kOk);
  CHECK(wrong.status() == Status::kZoneUnaligned);
  CHECK(rig.Held() == "write@130+1");
  rig.Complete();
  CHECK(c.status() == Status::kOk);
  CHECK(rig.Held() == "close@128");
  rig.Complete();
  CHECK(finish.status() == Status::kOk);
  CHECK(d.status() == Status::kZoneInvalid);
  CHECK(d.appended_at() == rig.Start(1));
  CHECK(rig.Held() == "write@131+1");
  rig.Complete();
  CHECK(e.status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE("a joined write has at most 1 MiB and 1024 iovecs") {
  Disk disk{.zone_size = 4_MiB, .capacity = 4_MiB, .sequential = 2};
  SUBCASE("bytes") {
    Rig rig(disk);
    rig.Append(1, 4096);
    for (int i = 0; i < 3; ++i) rig.Append(1, 512_KiB);
    rig.Complete();
    CHECK(rig.medium.held()[0].length_bytes == 1_MiB);
    rig.Complete();
    CHECK(rig.medium.held()[0].length_bytes == 512_KiB);
    rig.Complete();
  }
  SUBCASE("a larger one goes alone") {
    Rig rig(disk);
    rig.Append(1, 4096);
    rig.Append(1, 2_MiB);
    rig.Append(1, 512);
    rig.Complete();
    CHECK(rig.medium.held()[0].length_bytes == 2_MiB);
    rig.Complete();
    rig.Complete();
  }
  SUBCASE("iovecs") {
    Rig rig(disk);
    rig.Append(1, 4096);
    for (int i = 0; i < 3; ++i) rig.Do(BlockOp::kZoneAppend, rig.Start(1), 204800, 0, 200);
    rig.Complete();
    CHECK(rig.medium.held()[0].buffer_count <= 1024);
    CHECK(rig.medium.held()[0].length_bytes == 409600);
    rig.Complete();
    rig.Complete();
  }
}

TEST_CASE("64 appends in flight get disjoint positions without gaps (Z-53)") {
  Rig rig(Disk{}, 2);
  std::vector<Call*> appends;
  for (int i = 0; i < 64; ++i) appends.push_back(&rig.Append(1, 512, i / 16 % 2));
  size_t writes = 0;
  for (; !rig.Held().empty(); ++writes) rig.Complete();
  CHECK(writes == 5);  // the first, then one for each run from one thread
  for (size_t i = 0; i < appends.size(); ++i) {
    CHECK(appends[i]->status() == Status::kOk);
    CHECK(appends[i]->appended_at() == rig.Start(1) + i * 512);
    CHECK(std::memcmp(rig.medium.data().data() + appends[i]->appended_at(), appends[i]->data.data(),
                      512) == 0);
  }
  CHECK(rig.Written(1) == 64 * 512);
  rig.CheckCoherent();
}

TEST_CASE("after a failed write the zone is reported before its next write (Z-30, Z-52)") {
  Rig rig;
  Call& failing = rig.Append(1);
  Call& next = rig.Append(1);
  rig.Fail();
  CHECK(rig.Held() == "report@128");
  CHECK(!failing.done);
  CHECK(rig.Written(1) == 0);
  rig.Complete();
  CHECK(failing.status() == Status::kIoError);
  CHECK(failing.appended_at() == rig.Start(1));
  CHECK(rig.Written(1) == 0);
  CHECK(rig.Held() == "write@128+1");
  rig.Complete();
  CHECK(next.status() == Status::kOk);
  CHECK(next.appended_at() == rig.Start(1));
  rig.CheckCoherent();
}

TEST_CASE("a write off the pointer is refused here, and the next at the pointer succeeds (Z-30)") {
  Rig rig;
  rig.medium.set_mode(Mode::kImmediate);
  CHECK(rig.Write(rig.Start(1) + 512).status() == Status::kZoneUnaligned);
  CHECK(rig.Write(rig.Start(1)).status() == Status::kOk);
  CHECK(rig.Write(rig.Start(1)).status() == Status::kZoneUnaligned);
  CHECK(rig.Write(rig.Start(1) + 512).status() == Status::kOk);
  CHECK(rig.Log() == "write@128+1 write@129+1");
  rig.CheckCoherent();
}

TEST_CASE("all members of a failed joined write fail; the pointer is the medium's (Z-52)") {
  Rig rig;
  rig.Append(1);
  Call& a = rig.Append(1);
  Call& b = rig.Append(1);
  rig.Complete();
  Call& write = rig.Write(rig.Start(1) + 1536);  // where it would have been
  Call& append = rig.Append(1);
  rig.medium.fault = [](const BlockRequest& request) {
    return request.op == BlockOp::kWrite ? Status::kIoError : Status::kOk;
  };
  rig.Complete();  // writes one block, then fails
  rig.medium.fault = nullptr;
  CHECK(rig.Held() == "report@128");
  rig.Complete();
  CHECK(a.status() == Status::kIoError);
  CHECK(b.status() == Status::kIoError);
  CHECK(write.status() == Status::kZoneUnaligned);
  CHECK(rig.Written(1) == 1024);
  CHECK(rig.Held() == "write@130+1");
  rig.Complete();
  CHECK(append.appended_at() == rig.Start(1) + 1024);
  rig.CheckCoherent();
}

TEST_CASE("where the report fails as well it is repeated before the next write") {
  Rig rig;
  Call& failing = rig.Append(1);
  rig.Fail();
  rig.Fail();
  CHECK(failing.status() == Status::kIoError);
  CHECK(rig.Held().empty());
  Call& second = rig.Append(1);
  Call& third = rig.Append(1);
  CHECK(rig.Held() == "report@128");
  rig.Fail();
  CHECK(second.status() == Status::kIoError);
  CHECK(rig.Held() == "report@128");
  rig.Complete();
  CHECK(rig.Held() == "write@128+1");
  rig.Complete();
  CHECK(third.status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE("a zone that became read-only or offline is found by the failure (Z-32, Z-33)") {
  Rig rig;
  rig.medium.set_mode(Mode::kImmediate);
  REQUIRE(rig.Append(1).status() == Status::kOk);
  REQUIRE(rig.Append(2).status() == Status::kOk);
  REQUIRE(rig.Append(3).status() == Status::kOk);
  // A failure that has another cause changes nothing for those that come after it.
  rig.medium.fault = [](const BlockRequest& request) {
    return request.op == BlockOp::kRead ? Status::kIoError : Status::kOk;
  };
  CHECK(rig.Read(rig.Start(3)).status() == Status::kIoError);
  rig.medium.fault = nullptr;
  rig.medium.zones()[1].condition = Condition::kReadOnly;
  rig.medium.zones()[1].write_pointer_bytes = UINT64_MAX;
  rig.medium.zones()[2].condition = Condition::kOffline;
  CHECK(rig.ConditionOf(1) == Condition::kImplicitlyOpen);
  CHECK(rig.Append(1).status() == Status::kZoneInvalid);
  CHECK(rig.ConditionOf(1) == Condition::kReadOnly);
  CHECK(rig.Read(rig.Start(1)).status() == Status::kOk);
  CHECK(rig.Read(rig.Start(2)).status() == Status::kZoneInvalid);
  CHECK(rig.ConditionOf(2) == Condition::kOffline);
  rig.medium.ClearLog();
  CHECK(rig.Read(rig.Start(2)).status() == Status::kZoneInvalid);
  CHECK(rig.Manage(BlockOp::kZoneReset, 1).status() == Status::kZoneInvalid);
  CHECK(rig.Log().empty());
}

TEST_CASE("a failed read looks at its zone between writes, then tells its error") {
  Rig rig;
  Call& write = rig.Write(rig.Start(1), 1024);
  rig.Complete();
  Call& read = rig.Read(rig.Start(1));
  Call& second = rig.Append(1);
  CHECK(rig.Held() == "read@128+1 write@130+1");
  rig.Fail(Status::kIoError, 0);
  CHECK(rig.Held() == "write@130+1");
  CHECK(!read.done);
  rig.Complete();
  CHECK(second.status() == Status::kOk);
  CHECK(rig.Held() == "report@128");
  rig.Complete();
  CHECK(read.status() == Status::kIoError);
  CHECK(write.status() == Status::kOk);
  CHECK(rig.Written(1) == 1536);
  rig.CheckCoherent();
}

TEST_CASE("what the medium says of limits and support is passed on") {
  for (Status status : {Status::kZoneOpenLimit, Status::kZoneActiveLimit, Status::kUnsupported}) {
    Rig rig;
    Call& open = rig.Manage(BlockOp::kZoneOpen, 1);
    rig.Fail(status);
    CHECK(rig.Held() == "report@128");
    rig.Complete();
    CHECK(open.status() == status);
    CHECK(rig.ConditionOf(1) == Condition::kEmpty);
  }
}

TEST_CASE("reset waits for the writes before it, and what follows starts anew") {
  Rig rig;
  rig.Append(1);
  rig.Append(1);
  Call& reset = rig.Manage(BlockOp::kZoneReset, 1);
  Call& after = rig.Append(1);
  rig.Complete();
  CHECK(rig.Held() == "write@129+1");
  rig.Complete();
  CHECK(rig.Held() == "reset@128");
  rig.Complete();
  CHECK(reset.status() == Status::kOk);
  CHECK(rig.Held() == "write@128+1");
  rig.Complete();
  CHECK(after.appended_at() == rig.Start(1));
  rig.CheckCoherent();
}

TEST_CASE("what needs no medium costs none, but keeps its place in the order (Z-37, Z-41)") {
  Rig rig;
  rig.Manage(BlockOp::kZoneOpen, 1);
  Call& again = rig.Manage(BlockOp::kZoneOpen, 1);
  CHECK(!again.done);
  rig.Complete();
  CHECK(again.status() == Status::kOk);
  CHECK(rig.Write(rig.Start(1), 0).status() == Status::kOk);
  CHECK(rig.Write(rig.Start(2), 0).status() == Status::kOk);
  CHECK(rig.ConditionOf(2) == Condition::kEmpty);
  CHECK(rig.Manage(BlockOp::kZoneClose, 2).status() == Status::kZoneInvalid);
  CHECK(rig.Held().empty());
  // An opened zone without data is reset at the medium, so that it lets go of everything (Z-40).
  Call& close = rig.Manage(BlockOp::kZoneClose, 1);
  CHECK(rig.Held() == "reset@128");
  rig.Complete();
  CHECK(close.status() == Status::kOk);
  CHECK(rig.ConditionOf(1) == Condition::kEmpty);
  rig.CheckCoherent();
}

TEST_CASE("requests from two threads start in the order of Submit, each on its own thread") {
  Rig rig(Disk{}, 2);
  std::vector<Call*> calls;
  for (int i = 0; i < 6; ++i) calls.push_back(&rig.Append(1, 512, i % 2));
  for (int i = 0; i < 6; ++i) {
    REQUIRE(rig.medium.held().size() == 1);
    CHECK(rig.medium.held()[0].thread == rig.threads[static_cast<size_t>(i % 2)].get());
    CHECK(rig.medium.held()[0].offset_bytes == rig.Start(1) + static_cast<uint64_t>(i) * 512);
    rig.Complete();
    CHECK(calls[static_cast<size_t>(i)]->status() == Status::kOk);
  }
  rig.CheckCoherent();
}

// ---- Open and active resources ----

TEST_CASE("an idle zone is closed before the limit would be exceeded (Z-31)") {
  Rig rig(Disk{.max_open = 2});
  for (uint32_t zone : {1, 2}) {
    rig.Append(zone);
    rig.Complete();
  }
  Call& third = rig.Append(3);
  CHECK(rig.Held() == "close@128");
  CHECK(rig.ConditionOf(1) == Condition::kImplicitlyOpen);
  rig.Complete();
  CHECK(rig.ConditionOf(1) == Condition::kClosed);
  CHECK(rig.Held() == "write@384+1");
  rig.Complete();
  CHECK(third.status() == Status::kOk);
  // The closed one opens again in its turn.
  Call& first = rig.Append(1);
  CHECK(rig.Held() == "close@256");
  rig.Complete();
  rig.Complete();
  CHECK(first.appended_at() == rig.Start(1) + 512);
  rig.CheckCoherent();
}

TEST_CASE("while all open zones are busy, a request waits for the first to become idle") {
  Rig rig(Disk{.max_open = 2}, 2);
  rig.Append(1, 512, 0);
  rig.Append(2, 512, 0);
  Call& waiting = rig.Append(3, 512, 1);
  Call& behind = rig.Append(4, 512, 0);
  CHECK(rig.Held() == "write@128+1 write@256+1");
  rig.Complete(1);
  CHECK(rig.Held() == "write@128+1 close@256");
  rig.Complete(1);
  CHECK(rig.Held() == "write@128+1 write@384+1");
  CHECK(!behind.done);
  rig.Complete(1);
  CHECK(waiting.status() == Status::kOk);
  CHECK(rig.Held() == "write@128+1 close@384");
  rig.Complete(1);
  CHECK(rig.Held() == "write@128+1 write@512+1");
  rig.Complete(1);
  rig.Complete(0);
  CHECK(behind.status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE("zones that are never idle keep nobody waiting for an open one for ever") {
  // Two zones, one request of each of them always waiting behind another, on two threads.
  Rig rig(Disk{.max_open = 2}, 2);
  for (uint32_t zone : {1, 2, 1, 2}) rig.Append(zone, 512, static_cast<int>(zone - 1));
  Call& third = rig.Append(3, 512, 1);
  Call& fourth = rig.Manage(BlockOp::kZoneOpen, 4);
  int rounds = 0;
  for (; !(third.done && fourth.done); ++rounds) {
    REQUIRE(rounds < 50);
    rig.Append(1 + rounds % 2, 512, rounds % 2);
    rig.Complete();
  }
  // They go on as well, in turn.
  Call& next = rig.Append(1);
  while (!rig.Held().empty()) rig.Complete();
  CHECK(next.status() == Status::kOk);
  for (const Call& call : rig.calls) CHECK(call.status() == Status::kOk);
  CHECK(rig.ConditionOf(4) == Condition::kExplicitlyOpen);
  rig.CheckCoherent();
}

// Sends itself to the queue again each time that it comes back.
struct Again {
  static void Send(Again& self) {
    self.request.PushCompletion(
        [](void* again, BlockRequest&) {
          auto& back = *static_cast<Again*>(again);
          --*back.left > 0 ? Send(back) : void(--*back.under_way);
        },
        &self);
    self.queue->Submit(*self.thread, self.request);
  }
  ZoneQueue* queue;
  IoThread* thread;
  std::atomic<int>* left;
  std::atomic<int>* under_way;
  BlockRequest request;
  std::array<char, 512> data;
  iovec buffer{data.data(), data.size()};
};

TEST_CASE("nor do zones that are never idle because of what they refuse, or cannot read") {
  for (BlockOp op : {BlockOp::kWrite, BlockOp::kRead}) {
    CAPTURE((op == BlockOp::kRead));
    Rig rig(Disk{.max_open = 1}, 2);
    rig.Append(1, 512, 0);
    if (op == BlockOp::kRead) {
      rig.Complete();
      rig.medium.fault = [](const BlockRequest& request) {
        return request.op == BlockOp::kRead ? Status::kIoError : Status::kOk;
      };
    }
    std::atomic<int> left = 1'000'000;
    std::atomic<int> under_way = 32;
    std::deque<Again> again;
    for (int i = 0; i < under_way; ++i) {
      Again& one = again.emplace_back();
      one.queue = &rig.queue;
      one.thread = rig.threads[op == BlockOp::kRead ? 0 : static_cast<size_t>(i % 2)].get();
      one.left = &left;
      one.under_way = &under_way;
      one.request.op = op;
      one.request.offset_bytes = rig.Start(1) + (op == BlockOp::kRead ? 0 : 8_KiB);
      one.request.length_bytes = 512;
      one.request.buffers = {&one.buffer, 1};
      one.thread->RunAndWait([&] { Again::Send(one); });
    }
    if (op == BlockOp::kRead) rig.Complete();
    Call& waiting = rig.Append(2);
    for (int rounds = 0; !waiting.done && rounds < 1000; ++rounds) {
      if (!rig.Held().empty()) rig.medium.Complete(0);
      rig.SettleAll();
    }
    CHECK(waiting.done);
    CHECK(left > 0);
    left = 0;
    while (under_way > 0 || !rig.Held().empty()) {
      if (!rig.Held().empty()) rig.medium.Complete(0);
      rig.SettleAll();
    }
    CHECK(waiting.status() == Status::kOk);
  }
}

TEST_CASE("where a zone between two writes cannot be closed, who waited for that fails") {
  Rig rig(Disk{.max_open = 1});
  rig.Append(1);
  Call& own = rig.Append(1);
  Call& waiting = rig.Append(2);
  rig.Complete();
  CHECK(rig.Held() == "close@128");
  rig.Fail();
  CHECK(rig.Held() == "report@128");
  rig.Complete();
  CHECK(waiting.status() == Status::kIoError);
  CHECK(rig.Held() == "write@129+1");
  rig.Complete();
  CHECK(own.status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE("a request that waits is served when another zone is reset, finished or filled") {
  Rig rig(Disk{.max_open = 1});
  rig.Append(1);
  rig.Manage(BlockOp::kZoneReset, 1);
  Call& waiting = rig.Append(2);
  rig.Complete();
  CHECK(rig.Held() == "reset@128");
  rig.Complete();
  CHECK(rig.Held() == "write@256+1");
  rig.Complete();
  CHECK(waiting.status() == Status::kOk);
  rig.Append(2, 48_KiB - 512);
  Call& next = rig.Append(3);
  rig.Complete();  // full
  CHECK(rig.Held() == "write@384+1");
  rig.Complete();
  CHECK(next.status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE(
    "only explicitly open zones are the limit's refusal, the active limit first (Z-18, Z-36)") {
  Rig rig(Disk{.max_open = 2, .max_active = 3});
  rig.medium.set_mode(Mode::kImmediate);
  CHECK(rig.Manage(BlockOp::kZoneOpen, 1).status() == Status::kOk);
  CHECK(rig.Manage(BlockOp::kZoneOpen, 2).status() == Status::kOk);
  CHECK(rig.Append(3).status() == Status::kZoneOpenLimit);
  CHECK(rig.Manage(BlockOp::kZoneOpen, 3).status() == Status::kZoneOpenLimit);
  CHECK(rig.ConditionOf(3) == Condition::kEmpty);
  CHECK(rig.Manage(BlockOp::kZoneClose, 1).status() == Status::kOk);  // empty again
  CHECK(rig.Append(1).status() == Status::kOk);
  CHECK(rig.Append(3).status() == Status::kOk);  // closes zone 1
  CHECK(rig.Append(4).status() == Status::kZoneActiveLimit);
  CHECK(rig.Append(1).status() == Status::kOk);  // closed to open needs no active resource (Z-42)
  CHECK(rig.Manage(BlockOp::kZoneFinish, 3).status() == Status::kOk);
  CHECK(rig.Append(4).status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE("an open request in flight may become the refusal of one that waits") {
  Rig rig(Disk{.max_open = 1});
  rig.Manage(BlockOp::kZoneOpen, 1);
  Call& waiting = rig.Append(2);
  CHECK(!waiting.done);
  rig.Complete();
  CHECK(waiting.status() == Status::kZoneOpenLimit);
}

TEST_CASE("finishing an empty zone takes an active one from nobody: others wait (Z-18, H-26)") {
  for (bool finishes : {true, false}) {
    CAPTURE(finishes);
    Rig rig(Disk{.max_active = 1});
    Call& finish = rig.Manage(BlockOp::kZoneFinish, 1);
    Call& open = rig.Manage(BlockOp::kZoneOpen, 2);
    CHECK(rig.Held() == "finish@128");
    CHECK(!open.done);
    if (finishes) {
      rig.Complete();
    } else {
      rig.Fail();
      rig.Complete();  // the report
    }
    CHECK(finish.status() == (finishes ? Status::kOk : Status::kIoError));
    CHECK(rig.Held() == "open@256");
    rig.Complete();
    CHECK(open.status() == Status::kOk);
    rig.CheckCoherent();
  }
}

TEST_CASE("nor does a write that takes an empty zone to full (4.3, H-26)") {
  for (BlockOp op : {BlockOp::kWrite, BlockOp::kZoneAppend}) {
    for (BlockOp other_op : {BlockOp::kZoneOpen, BlockOp::kZoneFinish}) {
      for (bool fills : {true, false}) {
        CAPTURE(fills);
        const bool finishes = other_op == BlockOp::kZoneFinish;
        CAPTURE(finishes);
        Rig rig(Disk{.max_active = 1});
        Call& fill = rig.Do(op, rig.Start(1), 48_KiB);
        Call& other = rig.Manage(other_op, 2);
        CHECK(rig.Held() == "write@128+96");
        CHECK(!other.done);
        if (!fills) rig.medium.fault = [](const BlockRequest&) { return Status::kIoError; };
        rig.Complete();  // a fault: after the first block, so that the zone is active
        rig.medium.fault = nullptr;
        if (!fills) rig.Complete();  // the report
        if (fills || finishes) {     // what the medium decides
          CHECK(rig.Held() == (finishes ? "finish@256" : "open@256"));
          rig.Complete();
          if (!fills) rig.Complete();  // the report
        }
        CHECK(fill.status() == (fills ? Status::kOk : Status::kIoError));
        CHECK(other.status() == (fills ? Status::kOk : Status::kZoneActiveLimit));
        rig.CheckCoherent();
      }
    }
  }
}

TEST_CASE("finishing closes a zone first where the medium would want that (6.4 rule 5)") {
  Rig rig(Disk{.max_open = 1, .max_active = 2});
  rig.medium.set_mode(Mode::kImmediate);
  CHECK(rig.Append(1).status() == Status::kOk);
  CHECK(rig.Append(2).status() == Status::kOk);
  CHECK(rig.Manage(BlockOp::kZoneFinish, 1).status() == Status::kOk);  // was closed
  CHECK(rig.Append(3).status() == Status::kOk);
  // No active resource is left for zone 4: this medium says so.
  CHECK(rig.Manage(BlockOp::kZoneFinish, 4).status() == Status::kZoneActiveLimit);
  CHECK(rig.ConditionOf(4) == Condition::kEmpty);
  rig.CheckCoherent();
}

TEST_CASE("a close that fails ends the wait it was for, not the zone's life") {
  Rig rig(Disk{.max_open = 1});
  rig.Append(1);
  rig.Complete();
  Call& waiting = rig.Append(2);
  CHECK(rig.Held() == "close@128");
  Call& meanwhile = rig.Append(1);
  rig.Fail();
  CHECK(rig.Held() == "report@128");
  rig.Complete();
  CHECK(waiting.status() == Status::kIoError);
  CHECK(rig.Held() == "write@129+1");
  rig.Complete();
  CHECK(meanwhile.status() == Status::kOk);
  Call& retry = rig.Append(2);
  rig.Complete();
  rig.Complete();
  CHECK(retry.status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE("each of several that wait gets a close of its own, at the same time") {
  Rig rig(Disk{.max_open = 2});
  for (uint32_t zone : {1, 2}) {
    rig.Append(zone);
    rig.Complete();
  }
  rig.Append(3);
  rig.Append(4);
  CHECK(rig.Held() == "close@128 close@256");
  while (!rig.Held().empty()) rig.Complete();
  rig.CheckCoherent();
}

TEST_CASE("a zone of which nothing can be learnt does not keep an open resource") {
  Rig rig(Disk{.max_open = 1});
  rig.Append(1);
  rig.Fail();
  Call& other = rig.Append(2);
  CHECK(rig.Held() == "report@128");  // until then it may be open
  rig.Fail();
  CHECK(rig.Held() == "write@256+1");
  rig.Complete();
  CHECK(other.status() == Status::kOk);
}

TEST_CASE("a close that fails because the zone is gone makes room all the same") {
  Rig rig(Disk{.max_open = 1});
  rig.medium.set_mode(Mode::kImmediate);
  REQUIRE(rig.Append(1).status() == Status::kOk);
  rig.medium.zones()[1].condition = Condition::kReadOnly;
  CHECK(rig.Append(2).status() == Status::kOk);
  CHECK(rig.ConditionOf(1) == Condition::kReadOnly);
}

// ---- Reset-all ----

TEST_CASE("reset-all waits for every zone and holds back what comes later (Z-22)") {
  Rig rig(Disk{}, 2);
  rig.Append(1, 512, 0);
  rig.Append(2, 512, 0);
  Call& reset = rig.Do(BlockOp::kZoneResetAll, 0, 0, 1);  // on another thread than the last write
  Call& later = rig.Append(2, 512, 0);
  Call& second_reset = rig.Do(BlockOp::kZoneResetAll, 0, 0, 0);
  Call& last = rig.Append(3, 512, 1);
  rig.Write(0, 512);  // conventional zones are not concerned
  CHECK(rig.Held() == "write@128+1 write@256+1 write@0+1");
  rig.Complete(2);
  rig.Complete(0);
  CHECK(rig.Held() == "write@256+1");
  rig.Complete(0);
  CHECK(rig.Held() == "resetall@0");
  CHECK(rig.medium.held()[0].thread == rig.threads[1].get());
  CHECK(rig.Written(1) == 512);
  rig.Complete();
  CHECK(reset.status() == Status::kOk);
  CHECK(rig.Written(1) == 0);
  CHECK(rig.Held() == "write@256+1");
  rig.Complete();
  CHECK(later.appended_at() == rig.Start(2));
  CHECK(!last.done);
  CHECK(rig.Held() == "resetall@0");
  rig.Complete();
  CHECK(second_reset.status() == Status::kOk);
  CHECK(rig.Held() == "write@384+1");
  rig.Complete();
  CHECK(last.status() == Status::kOk);
  rig.CheckCoherent();
}

TEST_CASE("after a failed reset-all every zone is reloaded, in slices") {
  Disk disk{.zone_size = 4096, .capacity = 4096, .conventional = 1, .sequential = 2500};
  Rig rig(disk);
  rig.medium.set_mode(Mode::kImmediate);
  REQUIRE(rig.Append(1).status() == Status::kOk);
  REQUIRE(rig.Append(2000).status() == Status::kOk);
  rig.medium.fault = [](const BlockRequest& request) {
    return request.op == BlockOp::kZoneResetAll ? Status::kIoError : Status::kOk;
  };
  rig.medium.ClearLog();
  CHECK(rig.Do(BlockOp::kZoneResetAll, 0).status() == Status::kIoError);
  CHECK(rig.Log() == "resetall@0 report@0 report@8192 report@16384");
  CHECK(rig.Written(1) == 0);
  CHECK(rig.Written(2000) == 512);
  rig.CheckCoherent();
  // A report that fails too leaves the rest to be reloaded later, zone by zone.
  rig.medium.fault = [](const BlockRequest& request) {
    return request.op == BlockOp::kWrite ? Status::kOk : Status::kIoError;
  };
  CHECK(rig.Do(BlockOp::kZoneResetAll, 0).status() == Status::kIoError);
  rig.medium.fault = nullptr;
  rig.medium.ClearLog();
  Call& append = rig.Append(2000);
  CHECK(append.status() == Status::kOk);
  CHECK(append.appended_at() == rig.Start(2000) + 512);
  CHECK(rig.Log() == "report@16000 write@16001+1");
}

// ---- Reads ----

TEST_CASE("reads get data below the write pointer and zeroes above, never stale bytes (Z-34)") {
  Rig rig;
  rig.medium.set_mode(Mode::kImmediate);
  Call& write = rig.Write(rig.Start(1), 4096);
  auto check_read = [&](uint64_t within, uint64_t length, size_t parts) {
    Call& read = rig.Do(BlockOp::kRead, rig.Start(1) + within, length, 0, parts);
    REQUIRE(read.status() == Status::kOk);
    std::vector<char> expected(length);
    if (within < 4096) {
      std::copy(write.data.begin() + static_cast<std::ptrdiff_t>(within),
                write.data.begin() +
                    static_cast<std::ptrdiff_t>(std::min<uint64_t>(4096, within + length)),
                expected.begin());
    }
    CHECK(read.data == expected);
  };
  check_read(0, 4096, 1);
  check_read(512, 1024, 3);
  check_read(2048, 8192, 1);
  check_read(2048, 8192, 7);
  check_read(0, 64_KiB, 13);
  rig.medium.ClearLog();
  check_read(4096, 4096, 2);
  check_read(48_KiB, 16_KiB, 1);
  CHECK(rig.Log().empty());  // nothing to ask the medium for
  check_read(3584, 1024, 1);
  CHECK(rig.Log() == "read@135+1");

  CHECK(rig.Manage(BlockOp::kZoneFinish, 1).status() == Status::kOk);
  check_read(0, 64_KiB, 3);
  CHECK(rig.Manage(BlockOp::kZoneReset, 1).status() == Status::kOk);
  Call& empty = rig.Read(rig.Start(1), 64_KiB);
  CHECK(empty.status() == Status::kOk);
  CHECK(std::count(empty.data.begin(), empty.data.end(), 0) == 65536);
  rig.CheckCoherent();
}

TEST_CASE("the gap between capacity and zone end reads as zeroes in a zone found full (Z-34)") {
  Disk disk;
  auto report = disk.Report();
  report[1].condition = Condition::kFull;
  Rig rig(disk, 1, report);
  rig.medium.set_mode(Mode::kImmediate);
  Call& read = rig.Read(rig.Start(1) + 47_KiB, 2_KiB);
  CHECK(read.status() == Status::kOk);
  CHECK(std::count(read.data.begin(), read.data.end(), static_cast<char>(0xEE)) == 1024);
  CHECK(std::count(read.data.begin(), read.data.end(), 0) == 1024);
  CHECK(rig.Log() == "read@222+2");
}

TEST_CASE("a read may not cross out of a sequential zone, nor off the disk (Z-29)") {
  Rig rig(Disk{.conventional = 2});
  rig.medium.set_mode(Mode::kImmediate);
  CHECK(rig.Read(0, 128_KiB).status() == Status::kOk);
  CHECK(rig.Read(128_KiB - 512, 1024).status() == Status::kZoneInvalid);
  CHECK(rig.Read(192_KiB - 512, 1024).status() == Status::kZoneInvalid);
  CHECK(rig.Read(rig.queue.limits().capacity_bytes, 512).status() == Status::kOutOfRange);
  CHECK(rig.Read(0, 0).status() == Status::kOk);
  CHECK(rig.Log() == "read@0+256");
}

// ---- The rest ----

TEST_CASE(
    "reports come from the model: any byte of the first zone, no more than there is (Z-44, Z-46)") {
  Disk disk{.zone_size = 4096, .capacity = 4096, .conventional = 0, .sequential = 3000};
  Rig rig(disk);
  auto report = [&](uint64_t offset, size_t room) -> Call& {
    Call& call = rig.Make(BlockOp::kZoneReport, offset);
    call.zones.resize(room);
    call.request.zones = call.zones;
    rig.Submit({&call});
    return call;
  };
  Call& some = report(2 * 4096 + 17, 2);
  CHECK(some.status() == Status::kOk);
  CHECK(some.request.zones_reported == 2);
  CHECK(some.zones[0].start_bytes == 8192);
  Call& all = report(0, 5000);
  CHECK(all.request.zones_reported == 3000);
  CHECK(all.zones[2999].start_bytes == 2999 * 4096);
  CHECK(report(4096, 0).request.zones_reported == 0);
  CHECK(report(2998 * 4096, 10).request.zones_reported == 2);
  CHECK(report(3000 * 4096, 1).status() == Status::kZoneInvalid);
  CHECK(report(UINT64_MAX, 1).status() == Status::kZoneInvalid);
  CHECK(rig.Log().empty());
}

TEST_CASE("bad requests are answered without the medium (Z-24, Z-27, Z-51)") {
  Rig rig;
  uint64_t capacity = rig.queue.limits().capacity_bytes;
  CHECK(rig.Write(capacity, 512).status() == Status::kOutOfRange);
  CHECK(rig.Write(UINT64_MAX - 511, 512).status() == Status::kOutOfRange);
  CHECK(rig.Write(64_KiB - 512, 1024).status() == Status::kZoneInvalid);
  CHECK(rig.Do(BlockOp::kZoneAppend, capacity, 512).status() == Status::kZoneInvalid);
  CHECK(rig.Do(BlockOp::kZoneAppend, UINT64_MAX, 512).status() == Status::kZoneInvalid);
  CHECK(rig.Do(BlockOp::kZoneAppend, rig.Start(1) + 512, 512).status() == Status::kZoneInvalid);
  CHECK(rig.Append(1, 128_KiB).status() == Status::kZoneInvalid);
  CHECK(rig.Append(0).status() == Status::kZoneInvalid);
  CHECK(rig.Do(BlockOp::kZoneReset, capacity).status() == Status::kZoneInvalid);
  CHECK(rig.Do(BlockOp::kZoneReset, rig.Start(1) + 1).status() == Status::kZoneInvalid);
  CHECK(rig.Do(BlockOp::kZoneOpen, 0).status() == Status::kZoneInvalid);
  CHECK(rig.Do(BlockOp::kDiscard, 0, 512).status() == Status::kUnsupported);
  CHECK(rig.Log().empty());
}

TEST_CASE("nothing changes a read-only disk") {
  Rig rig(Disk{.read_only = true});
  rig.medium.set_mode(Mode::kImmediate);
  CHECK(rig.Write(0).status() == Status::kReadOnly);
  CHECK(rig.Write(rig.Start(1)).status() == Status::kReadOnly);
  CHECK(rig.Append(1).status() == Status::kReadOnly);
  CHECK(rig.Manage(BlockOp::kZoneReset, 1).status() == Status::kReadOnly);
  CHECK(rig.Do(BlockOp::kZoneResetAll, 0).status() == Status::kReadOnly);
  CHECK(rig.Log().empty());
  CHECK(rig.Read(rig.Start(1)).status() == Status::kOk);
  CHECK(rig.Do(BlockOp::kFlush, 0).status() == Status::kOk);
}

TEST_CASE("a host-aware disk takes writes and reads anywhere, also across zones (Z-57)") {
  Disk disk{.capacity = 64_KiB, .conventional = 2, .sequential = 4};
  disk.zoned = ZonedModel::kHostAware;
  Rig rig(disk);
  rig.medium.set_mode(Mode::kImmediate);
  Call& write = rig.Do(BlockOp::kWrite, 64_KiB, 192_KiB + 1024, 0, 11);
  CHECK(write.status() == Status::kOk);
  CHECK(rig.Log() == "write@128+128 write@256+128 write@384+128 write@512+2");
  CHECK(rig.ConditionOf(2) == Condition::kFull);
  CHECK(rig.Written(4) == 1024);
  CHECK(rig.Write(rig.Start(3) + 512, 512).status() == Status::kOk);  // again, in a full zone
  CHECK(rig.Append(4).status() == Status::kZoneInvalid);
  Call& read = rig.Do(BlockOp::kRead, 64_KiB, 5 * 64_KiB, 0, 3);
  REQUIRE(read.status() == Status::kOk);
  std::vector<char> expected = write.data;
  std::copy(rig.calls[rig.calls.size() - 3].data.begin(),
            rig.calls[rig.calls.size() - 3].data.end(),
            expected.begin() + static_cast<std::ptrdiff_t>(rig.Start(3) + 512 - 64_KiB));
  expected.resize(5 * 64_KiB);  // zeroes above the pointer
  CHECK(read.data == expected);
  rig.medium.fault = [&](const BlockRequest& request) {
    return request.offset_bytes == rig.Start(4) ? Status::kIoError : Status::kOk;
  };
  CHECK(rig.Do(BlockOp::kWrite, 64_KiB, 256_KiB).status() == Status::kIoError);
  rig.medium.fault = nullptr;
  CHECK(rig.Manage(BlockOp::kZoneReset, 2).status() == Status::kOk);
  rig.medium.ClearLog();
  CHECK(rig.Do(BlockOp::kDiscard, 0, 512).status() == Status::kUnsupported);
  CHECK(rig.Log().empty());
}

TEST_CASE("writes to a host-aware zone that do not continue each other are not joined (Z-57)") {
  Disk disk;
  disk.zoned = ZonedModel::kHostAware;
  Rig rig(disk);
  Call& first = rig.Write(rig.Start(1) + 4096);
  Call& second = rig.Write(rig.Start(1));
  Call& third = rig.Write(rig.Start(1) + 8192);
  CHECK(rig.Held() == "write@136+1");
  rig.Complete();
  CHECK(rig.Held() == "write@128+1");
  rig.Complete();
  CHECK(rig.Held() == "write@144+1");
  rig.Complete();
  for (Call* call : {&first, &second, &third}) CHECK(call->status() == Status::kOk);
  rig.medium.set_mode(Mode::kImmediate);
  CHECK(rig.Read(rig.Start(1) + 8192).data == third.data);
}

// ---- Several threads at once ----

// Each of the threads keeps `depth` calls in flight until it has made `total`.
class Hammer {
 public:
  using Next = std::function<Call&(Rig& rig, int thread, std::minstd_rand& random)>;

  static void Run(Rig& rig, int total, int depth, const Next& next) {
    std::minstd_rand random(7);
    for (int made = 0; made < total;) {
      // A batch for each thread, submitted by the threads at the same time.
      std::vector<std::vector<Call*>> batches(rig.threads.size());
      std::atomic<int> in_flight = 0;
      for (size_t thread = 0; thread < batches.size(); ++thread) {
        for (int i = 0; i < depth; ++i, ++made) {
          Call& call = next(rig, static_cast<int>(thread), random);
          call.counter = &in_flight;
          ++in_flight;
          batches[thread].push_back(&call);
        }
      }
      std::vector<std::unique_ptr<SubmitTask>> tasks;
      for (size_t thread = 0; thread < batches.size(); ++thread) {
        for (Call* call : batches[thread]) {
          auto task = std::make_unique<SubmitTask>();
          task->queue = &rig.queue;
          task->call = call;
          task->run = [](Task& posted) {
            auto& self = static_cast<SubmitTask&>(posted);
            self.queue->Submit(*self.call->thread, self.call->request);
          };
          tasks.push_back(std::move(task));
        }
      }
      for (size_t i = 0; i < tasks.size(); ++i) {
        size_t mixed = (i * 7919) % tasks.size();
        Call* call = tasks[mixed]->call;
        call->thread->Post(*tasks[mixed]);
      }
      while (in_flight != 0) rig.SettleAll();
    }
    rig.SettleAll();
  }

 private:
  struct SubmitTask : Task {
    ZoneQueue* queue = nullptr;
    Call* call = nullptr;
  };
};

TEST_CASE("three threads append to one zone: no gap, no overlap, all data in place (Z-53, H-26)") {
  Disk disk{.zone_size = 4_MiB, .capacity = 4_MiB, .conventional = 0, .sequential = 1};
  Rig rig(disk, 3);
  rig.medium.set_mode(Mode::kShuffle);
  Hammer::Run(rig, 3 * 40 * 8, 40, [](Rig& r, int thread, std::minstd_rand& random) -> Call& {
    return r.Make(BlockOp::kZoneAppend, 0, 512 * (1 + random() % 4), thread);
  });
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (Call& call : rig.calls) {
    REQUIRE(call.status() == Status::kOk);
    ranges.emplace_back(call.appended_at(), call.data.size());
    CHECK(std::memcmp(rig.medium.data().data() + call.appended_at(), call.data.data(),
                      call.data.size()) == 0);
  }
  std::sort(ranges.begin(), ranges.end());
  uint64_t position = 0;
  for (auto [at, bytes] : ranges) {
    REQUIRE(at == position);
    position += bytes;
  }
  CHECK(rig.Written(0) == position);
  CHECK(rig.medium.log().size() < rig.calls.size());  // some were joined
  rig.CheckCoherent();
}

TEST_CASE("everything at once, with faults: all requests end, medium and model agree (Z-56)") {
  Disk disk{.sequential = 12, .max_open = 3, .max_active = 5};
  Rig rig(disk, 3);
  rig.medium.set_mode(Mode::kShuffle);
  std::minstd_rand fault_random(3);
  rig.medium.fault = [&](const BlockRequest& request) {  // runs under the medium's lock
    // Where a report fails as well, the model cannot know of all open zones.
    bool fails = request.op != BlockOp::kZoneReport && fault_random() % 40 == 0;
    return fails ? Status::kIoError : Status::kOk;
  };
  Hammer::Run(rig, 3 * 30 * 40, 30, [&](Rig& r, int thread, std::minstd_rand& random) -> Call& {
    uint32_t zone = static_cast<uint32_t>(random() % 13);
    switch (random() % 16) {
      case 0:
        return r.Make(BlockOp::kZoneOpen, r.Start(zone), 0, thread);
      case 1:
        return r.Make(BlockOp::kZoneClose, r.Start(zone), 0, thread);
      case 2:
        return r.Make(BlockOp::kZoneFinish, r.Start(zone), 0, thread);
      case 3:
      case 4:
        return r.Make(BlockOp::kZoneReset, r.Start(zone), 0, thread);
      case 5:
        if (random() % 10 == 0) return r.Make(BlockOp::kZoneResetAll, 0, 0, thread);
        return r.Make(BlockOp::kFlush, 0, 0, thread);
      case 6:
      case 7:
        return r.Make(BlockOp::kRead, r.Start(zone) + 512 * (random() % 64), 16_KiB, thread, 3);
      case 8:
        return r.Make(BlockOp::kWrite, r.Start(zone) + 512 * (random() % 8), 512, thread);
      default:
        return r.Make(BlockOp::kZoneAppend, r.Start(zone), 512 * (1 + random() % 24), thread);
    }
  });
  std::set<Status> seen;
  for (Call& call : rig.calls) {
    REQUIRE(call.done);
    seen.insert(call.request.status);
  }
  CHECK(seen.contains(Status::kOk));
  CHECK(seen.contains(Status::kIoError));
  CHECK(seen.contains(Status::kZoneActiveLimit));
  rig.CheckCoherent();
}

// Does everything at once and keeps nothing.
class NullMedium : public BlockNode {
 public:
  explicit NullMedium(const BlockLimits& limits) : limits_(limits) {}
  const BlockLimits& limits() const override { return limits_; }
  void Submit(IoThread& thread, BlockRequest& request) override { thread.Complete(request); }

 private:
  const BlockLimits limits_;
};

TEST_CASE("in the steady state no request allocates") {
  Disk disk;
  NullMedium medium(disk.Limits());
  ZoneQueue queue(medium, std::move(*ZoneModel::Create(disk.Limits(), disk.Report())));
  auto thread = std::move(*IoThread::Start("io"));
  std::deque<Call> calls(64);
  for (size_t i = 0; i < calls.size(); ++i) {
    BlockRequest& request = calls[i].request;
    uint64_t start = (1 + i % 7) * disk.zone_size;
    calls[i].data.resize(1024);
    calls[i].iovecs = {{calls[i].data.data(), 512}, {calls[i].data.data() + 512, 512}};
    request.buffers = calls[i].iovecs;
    request.op = i < 56 ? BlockOp::kZoneAppend : BlockOp::kRead;
    if (i >= 50 && i < 56) request.op = BlockOp::kZoneReset;
    request.offset_bytes = start + (request.op == BlockOp::kRead ? 512 : 0);
    request.length_bytes = request.op == BlockOp::kZoneReset ? 0 : 1024;
  }
  struct Round {
    size_t allocations_before = 0;
    size_t allocations_after = 0;
    std::atomic<int> done = 0;
  };
  size_t allocated = 0;
  for (int i = 0; i < 5; ++i) {
    Round round;
    thread->RunAndWait([&] {
      round.allocations_before = allocations;
      for (Call& call : calls) {
        call.request.PushCompletion(
            [](void* self, BlockRequest&) {
              Round& current = *static_cast<Round*>(self);
              current.allocations_after = allocations;
              if (++current.done == 64) current.done.notify_one();
            },
            &round);
        queue.Submit(*thread, call.request);
      }
    });
    for (int seen = round.done; seen != 64; seen = round.done) round.done.wait(seen);
    thread->RunAndWait([] {});  // the last completion has let go of the round
    allocated = round.allocations_after - round.allocations_before;
  }
  CHECK(allocated == 0);  // of the last round: the first ones fill the pools
  for (Call& call : calls) CHECK(call.request.status == Status::kOk);
}

}  // namespace
}  // namespace minivmm
