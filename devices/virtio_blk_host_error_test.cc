// What a guest sees of a host that fails: the device, the block core and its nodes down to io_uring
// are the real ones, over files; the host's answers are the test's (FailingHost), or the kernel's
// own where a limit of the process can bring them about.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "blockcore/base/temporary.h"
#include "blockcore/base/units.h"
#include "blockcore/block_backend.h"
#include "blockcore/block_graph.h"
#include "blockcore/failing_host.h"
#include "blockcore/file.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/zoned_create.h"
#include "blockcore/zoned/zoned_load.h"
#include "devices/virtio_blk_driver.h"

namespace minivmm {
namespace {

using Kind = HostOperation::Kind;

// A disk as the command line describes it.
struct Description {
  explicit Description(const std::string& text) {
    auto added = graph.Add("node-name=d," + text);
    REQUIRE_MESSAGE(added.has_value(), (added ? "" : added.error().message));
    backend = std::move(*BlockBackend::Create(graph, "d", "device 'd'"));
  }
  BlockGraph graph;
  std::unique_ptr<BlockBackend> backend;
};

// Its device, and a driver for that.
class Machine : private Description, public VirtioBlkDriver {
 public:
  explicit Machine(const std::string& description)
      : Description(description), VirtioBlkDriver(*backend, {.name = "d"}) {
    Activate();
  }
};

constexpr uint64_t kPlainBytes = 1_MiB;

// A file of known content, and a machine over it.
struct PlainFile {
  PlainFile() {
    const std::string path = directory.File("disk.img");
    content = Data(kPlainBytes, 1);
    FILE* file = std::fopen(path.c_str(), "w");
    REQUIRE(file != nullptr);
    REQUIRE(std::fwrite(content.data(), 1, content.size(), file) == content.size());
    REQUIRE(std::fclose(file) == 0);
    machine = std::make_unique<Machine>("driver=file,discard=unmap,filename=" + path);
  }
  // Whether the disk holds what it should.
  bool IsIntact() {
    for (uint64_t at = 0; at < kPlainBytes; at += 64_KiB) {
      auto [status, data] = machine->Read(at, 64_KiB);
      if (status != kBlkStatusOk) return false;
      if (!std::equal(data.begin(), data.end(), content.begin() + static_cast<long>(at))) {
        return false;
      }
    }
    return true;
  }

  TemporaryDirectory directory;
  Bytes content;
  std::unique_ptr<Machine> machine;
};

// Each kind of request that goes to a plain disk, at 64 KiB.
struct PlainOperation {
  const char* name;
  Kind kind;
  uint8_t (*run)(Machine& machine, const Bytes& data);
  bool changes_data;
};
const PlainOperation kPlainOperations[] = {
    {"read", Kind::kRead, [](Machine& m, const Bytes&) { return m.Read(64_KiB, 8192).first; },
     false},
    {"write", Kind::kWrite, [](Machine& m, const Bytes& data) { return m.Write(64_KiB, data); },
     true},
    {"flush", Kind::kSync, [](Machine& m, const Bytes&) { return m.Do(kBlkTypeFlush); }, false},
    {"discard", Kind::kAllocate,
     [](Machine& m, const Bytes&) { return m.Range(kBlkTypeDiscard, 64_KiB, 8192, 0); }, true},
    {"write zeroes", Kind::kAllocate,
     [](Machine& m, const Bytes&) { return m.Range(kBlkTypeWriteZeroes, 64_KiB, 8192, 0); }, true},
    {"write zeroes with unmap", Kind::kAllocate,
     [](Machine& m, const Bytes&) {
       return m.Range(kBlkTypeWriteZeroes, 64_KiB, 8192, kBlkSegmentUnmap);
     },
     true},
};

TEST_CASE("each error of the host in each operation has its status, and the device goes on") {
  for (const PlainOperation& operation : kPlainOperations) {
    for (int error : {EIO, ENOSPC, EDQUOT, EFBIG, ENOMEM, EINTR, EAGAIN, ECANCELED, EOPNOTSUPP}) {
      CAPTURE(operation.name);
      CAPTURE(error);
      PlainFile disk;
      const Bytes data = Data(8192, 2);
      std::atomic<int> tries = 0;
      const bool is_flush = operation.kind == Kind::kSync;
      {
        FailingHost host([&](const HostOperation& asked) {
          if (asked.kind != operation.kind) return HostOutcome{};
          ++tries;
          return HostOutcome::Fail(error);
        });
        uint8_t expected = kBlkStatusIoError;
        if (error == EOPNOTSUPP && !is_flush) expected = kBlkStatusUnsupported;
        // Then they are written.
        if (error == EOPNOTSUPP && std::string(operation.name).starts_with("write zeroes")) {
          expected = kBlkStatusOk;
          std::fill_n(disk.content.begin() + 64_KiB, 8192, 0);
        }
        // Where a file cannot reach there is nothing to discard.
        if (error == EFBIG && operation.name == std::string("discard")) expected = kBlkStatusOk;
        CHECK(operation.run(*disk.machine, data) == expected);
        // What may pass by itself is tried again, but not for ever.
        const bool may_pass = error == EINTR || error == EAGAIN || error == ECANCELED;
        CHECK(tries == (may_pass ? 101 : 1));
      }
      CHECK(disk.IsIntact());
      // After a failed flush nobody knows what was lost, unless it was cancelled before it began;
      // all else is well again.
      const bool stays_failed = is_flush && error != ECANCELED;
      CHECK(operation.run(*disk.machine, data) ==
            (stays_failed ? kBlkStatusIoError : kBlkStatusOk));
      CHECK(disk.machine->Write(128_KiB, data) == kBlkStatusOk);
      CHECK(disk.machine->Read(128_KiB, 8192).second == data);
    }
  }
}

TEST_CASE("an interruption or two in any operation is not an error") {
  for (const PlainOperation& operation : kPlainOperations) {
    for (int error : {EINTR, EAGAIN, ECANCELED}) {
      CAPTURE(operation.name);
      CAPTURE(error);
      PlainFile disk;
      const Bytes data = Data(8192, 3);
      std::atomic<int> tries = 0;
      {
        FailingHost host([&](const HostOperation& asked) {
          return asked.kind == operation.kind && ++tries <= 2 ? HostOutcome::Fail(error)
                                                              : HostOutcome{};
        });
        CHECK(operation.run(*disk.machine, data) == kBlkStatusOk);
      }
      CHECK(tries == 3);
      if (operation.kind == Kind::kWrite) {
        std::copy(data.begin(), data.end(), disk.content.begin() + 64_KiB);
      } else if (operation.changes_data) {
        std::fill_n(disk.content.begin() + 64_KiB, 8192, 0);
      }
      CHECK(disk.IsIntact());
      CHECK(disk.machine->Do(kBlkTypeFlush) == kBlkStatusOk);
    }
  }
}

TEST_CASE("transfers that the host cuts short go on where they stopped") {
  for (uint64_t piece_bytes : {1, 511, 512, 1000, 4096}) {
    CAPTURE(piece_bytes);
    PlainFile disk;
    const Bytes data = Data(8192, 4);
    std::atomic<int> transfers = 0;
    {
      FailingHost host([&](const HostOperation&) {
        ++transfers;
        return HostOutcome::Cut(piece_bytes);
      });
      CHECK(disk.machine->Write(64_KiB, data) == kBlkStatusOk);
      CHECK(disk.machine->Read(64_KiB - 512, 512).second ==
            Bytes(disk.content.begin() + 64_KiB - 512, disk.content.begin() + 64_KiB));
      CHECK(disk.machine->Read(64_KiB, 8192).second == data);
      CHECK(transfers >= static_cast<int>(2 * 8192 / piece_bytes));
    }
    std::copy(data.begin(), data.end(), disk.content.begin() + 64_KiB);
    CHECK(disk.IsIntact());
  }
}

TEST_CASE("a transfer that is cut short and then fails, fails") {
  PlainFile disk;
  const Bytes data = Data(8192, 5);
  struct Row {
    HostOutcome second;
    uint8_t read, write;
  } rows[] = {
      {HostOutcome::Fail(EIO), kBlkStatusIoError, kBlkStatusIoError},
      {HostOutcome::Fail(ENOSPC), kBlkStatusIoError, kBlkStatusIoError},
      // A file that somebody has cut reads as zeroes from there on; a write cannot stop.
      {HostOutcome::Cut(0), kBlkStatusOk, kBlkStatusIoError},
  };
  for (const Row& row : rows) {
    std::atomic<int> transfers = 0;
    FailingHost host([&](const HostOperation&) {
      return ++transfers % 2 == 1 ? HostOutcome::Cut(1024) : row.second;
    });
    auto [status, read] = disk.machine->Read(64_KiB, 8192);
    CHECK(status == row.read);
    if (status == kBlkStatusOk) {
      CHECK(std::equal(read.begin(), read.begin() + 1024, disk.content.begin() + 64_KiB));
      CHECK(std::all_of(read.begin() + 1024, read.end(), [](uint8_t byte) { return byte == 0; }));
    }
    CHECK(disk.machine->Write(128_KiB, data) == row.write);
    CHECK(transfers == 4);
    std::copy_n(data.begin(), 1024, disk.content.begin() + 128_KiB);
  }
  CHECK(disk.IsIntact());
}

// --- Zoned images ---

constexpr uint64_t kZone = 256_KiB;
constexpr uint32_t kZones = 16;

struct ZonedFile {
  ZonedFile() : path(directory.File("disk.zbd")) {
    ZonedGeometry geometry;
    geometry.zone_size_bytes = kZone;
    geometry.zone_capacity_bytes = 192_KiB;
    geometry.capacity_bytes = kZones * kZone;
    geometry.conventional_zones = 1;
    geometry.max_open_zones = 6;
    geometry.max_active_zones = 8;
    geometry.max_append_bytes = 64_KiB;
    geometry.write_granularity_bytes = 4096;
    auto created = CreateZonedImage(path, geometry);
    REQUIRE_MESSAGE(created.has_value(), (created ? "" : created.error().message));
    Start();
  }

  void Start() {
    machine = std::make_unique<Machine>("driver=zoned,file.driver=file,file.filename=" + path);
  }
  void Stop() { machine.reset(); }

  uint64_t Written(uint32_t zone) {
    return machine->Report(kZones)[zone].write_pointer_sector * kSectorBytes - zone * kZone;
  }
  // Bytes of the zone from its start.
  bool Holds(uint32_t zone, const Bytes& data) {
    return machine->Read(zone * kZone, data.size()).second == data;
  }

  // What minivmm-img check finds while no machine uses the image.
  std::string Findings() {
    auto thread = IoThread::Start("check");
    REQUIRE(thread.has_value());
    auto file = OpenFile({.filename = path});
    REQUIRE_MESSAGE(file.has_value(), (file ? "" : file.error().message));
    SyncIo io(**thread, **file);
    auto check = CheckZonedImage(io, /*repair=*/false);
    REQUIRE(check.has_value());
    REQUIRE(check->header.has_value());
    std::string text;
    for (const ZonedFinding& finding : check->findings) text += finding.text + "\n";
    return text;
  }

  TemporaryDirectory directory;
  std::string path;
  std::unique_ptr<Machine> machine;
};

TEST_CASE("Z-52: a write or append that the host fails leaves the write pointer where it was") {
  for (int error : {EIO, ENOSPC, EINTR, EAGAIN}) {
    for (uint64_t torn_bytes : {0, 4096, 8192}) {
      CAPTURE(error);
      CAPTURE(torn_bytes);
      ZonedFile disk;
      Machine& machine = *disk.machine;
      const Bytes before = Data(8192, 1), failing = Data(12_KiB, 2), after = Data(16_KiB, 3);
      for (uint32_t zone : {2, 3}) REQUIRE(machine.Write(zone * kZone, before) == kBlkStatusOk);
      {
        std::atomic<uint64_t> left_bytes = torn_bytes;
        FailingHost host([&](const HostOperation& asked) {
          if (asked.kind != Kind::kWrite) return HostOutcome{};
          if (const uint64_t bytes = left_bytes.exchange(0); bytes != 0) {
            return HostOutcome::Cut(bytes);
          }
          return HostOutcome::Fail(error);
        });
        CHECK(machine.Write(2 * kZone + 8192, failing) == kBlkStatusIoError);
        left_bytes = torn_bytes;
        CHECK(machine.Append(3 * kZone, failing).first == kBlkStatusIoError);
        // A zone that nothing was in, and one without a pointer.
        CHECK(machine.Append(4 * kZone, failing).first == kBlkStatusIoError);
        CHECK(machine.Write(0, failing) == kBlkStatusIoError);
        CHECK(disk.Holds(2, before));
      }
      CHECK(disk.Written(2) == 8192);
      CHECK(disk.Written(3) == 8192);
      CHECK(disk.Written(4) == 0);
      CHECK(machine.Report(kZones)[4].condition == static_cast<uint8_t>(ZoneCondition::kEmpty));

      CHECK(machine.Write(2 * kZone + 8192, after) == kBlkStatusOk);
      CHECK(machine.Append(3 * kZone, after) == std::pair{kBlkStatusOk, 3 * kZone + 8192});
      CHECK(machine.Append(4 * kZone, after) == std::pair{kBlkStatusOk, 4 * kZone});
      CHECK(machine.Write(0, after) == kBlkStatusOk);
      CHECK(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
      disk.Stop();
      CHECK(disk.Findings() == "");
      disk.Start();
      CHECK(disk.Holds(2, before + after));
      CHECK(disk.Holds(3, before + after));
      CHECK(disk.Holds(4, after));
      CHECK(disk.Holds(0, after));
    }
  }
}

TEST_CASE("a read that the host fails is an error of this read alone") {
  for (int error : {EIO, EINTR, EAGAIN}) {
    ZonedFile disk;
    Machine& machine = *disk.machine;
    const Bytes data = Data(16_KiB, 1);
    REQUIRE(machine.Write(2 * kZone, data) == kBlkStatusOk);
    {
      FailingHost host([&](const HostOperation& asked) {
        return asked.kind == Kind::kRead ? HostOutcome::Fail(error) : HostOutcome{};
      });
      CHECK(machine.Read(2 * kZone, 16_KiB).first == kBlkStatusIoError);
      // Nothing was written there: the host is not asked.
      CHECK(machine.Read(5 * kZone, 16_KiB) == std::pair{kBlkStatusOk, Bytes(16_KiB)});
      CHECK(machine.Append(2 * kZone, data).second == 2 * kZone + 16_KiB);
    }
    CHECK(disk.Holds(2, data + data));
  }
}

// The zone table is in memory; a flush brings it to the host. Whatever that fails with, the
// operations before are not undone, and the guest is told that they are not safe.
TEST_CASE("zone operations go on over a host that fails, and the flush tells of it") {
  struct Row {
    const char* name;
    uint32_t type;
    ZoneCondition condition;  // of zone 2 afterwards
    ZoneCondition restarted;  // and after a restart
    uint64_t written_bytes;
  } rows[] = {
      {"open", kBlkTypeZoneOpen, ZoneCondition::kExplicitlyOpen, ZoneCondition::kClosed, 8192},
      {"close", kBlkTypeZoneClose, ZoneCondition::kClosed, ZoneCondition::kClosed, 8192},
      {"finish", kBlkTypeZoneFinish, ZoneCondition::kFull, ZoneCondition::kFull, kZone},
      {"reset", kBlkTypeZoneReset, ZoneCondition::kEmpty, ZoneCondition::kEmpty, 0},
      {"reset all", kBlkTypeZoneResetAll, ZoneCondition::kEmpty, ZoneCondition::kEmpty, 0},
  };
  for (const Row& row : rows) {
    for (Kind failing : {Kind::kWrite, Kind::kSync, Kind::kAllocate}) {
      for (int error : {EIO, ENOSPC, EINTR, EAGAIN, EOPNOTSUPP}) {
        CAPTURE(row.name);
        CAPTURE(static_cast<int>(failing));
        CAPTURE(error);
        ZonedFile disk;
        const Bytes data = Data(8192, 1);
        REQUIRE(disk.machine->Write(2 * kZone, data) == kBlkStatusOk);
        REQUIRE(disk.machine->Do(kBlkTypeFlush) == kBlkStatusOk);
        auto condition = [&] {
          return static_cast<ZoneCondition>(disk.machine->Report(kZones)[2].condition);
        };
        {
          FailingHost host([&](const HostOperation& asked) {
            return asked.kind == failing ? HostOutcome::Fail(error) : HostOutcome{};
          });
          CHECK(disk.machine->Do(row.type, 2 * kZone) == kBlkStatusOk);
          CHECK(condition() == row.condition);
          // Something that the flush has to write in any case.
          const Answer elsewhere =
              disk.machine->Send(Header(kBlkTypeZoneFinish, 9 * kZone / 512), 1);
          CHECK(elsewhere.status() == kBlkStatusOk);
          // A space that is not given back is a loss of space alone.
          CHECK(disk.machine->Do(kBlkTypeFlush) ==
                (failing == Kind::kAllocate ? kBlkStatusOk : kBlkStatusIoError));
          CHECK(condition() == row.condition);
        }
        CHECK(condition() == row.condition);
        CHECK(disk.machine->Report(kZones)[2].type ==
              static_cast<uint8_t>(ZoneType::kSequentialRequired));
        const bool flushes_again = failing != Kind::kSync;
        CHECK(disk.machine->Do(kBlkTypeFlush) ==
              (flushes_again ? kBlkStatusOk : kBlkStatusIoError));
        disk.Stop();
        CHECK(disk.Findings() == "");

        disk.Start();
        if (flushes_again) {
          CHECK(condition() == row.restarted);
          if (row.condition != ZoneCondition::kFull) CHECK(disk.Written(2) == row.written_bytes);
        }
        // Whatever was made of it: empty, full or closed behind the data.
        if (condition() != ZoneCondition::kEmpty) CHECK(disk.Holds(2, data));
        CHECK(disk.machine->Do(kBlkTypeZoneReset, 2 * kZone) == kBlkStatusOk);
        CHECK(disk.machine->Append(2 * kZone, data) == std::pair{kBlkStatusOk, 2 * kZone});
        CHECK(disk.machine->Do(kBlkTypeFlush) == kBlkStatusOk);
        CHECK(disk.Holds(2, data));
      }
    }
  }
}

// --- No space ---

// Ways to have no space behind some byte of the image, until the object goes.
class NoSpace {
 public:
  virtual ~NoSpace() = default;
};

// What a full file system does: what fits is written, and the next write fails.
class FullFileSystem : public NoSpace {
 public:
  explicit FullFileSystem(uint64_t end_bytes)
      : host_([end_bytes](const HostOperation& asked) {
          if (asked.kind != Kind::kWrite || asked.offset_bytes + asked.length_bytes <= end_bytes) {
            return HostOutcome{};
          }
          return asked.offset_bytes >= end_bytes ? HostOutcome::Fail(ENOSPC)
                                                 : HostOutcome::Cut(end_bytes - asked.offset_bytes);
        }) {}

 private:
  FailingHost host_;
};

// The kernel's own refusal (EFBIG), through the limit of a process's files.
class FileSizeLimit : public NoSpace {
 public:
  explicit FileSizeLimit(uint64_t end_bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_) == 0);
    const rlimit limit{.rlim_cur = end_bytes, .rlim_max = old_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() override { ::setrlimit(RLIMIT_FSIZE, &old_); }

 private:
  rlimit old_{};
};

using MakeNoSpace = std::unique_ptr<NoSpace> (*)(uint64_t end_bytes);
constexpr MakeNoSpace kNoSpace[] = {
    [](uint64_t end_bytes) -> std::unique_ptr<NoSpace> {
      return std::make_unique<FullFileSystem>(end_bytes);
    },
    [](uint64_t end_bytes) -> std::unique_ptr<NoSpace> {
      return std::make_unique<FileSizeLimit>(end_bytes);
    },
};

// Where the file of a fresh image will hold the data of the first zone that is written.
uint64_t DataStart(const ZonedFile& disk) {
  struct stat status {};
  REQUIRE(::stat(disk.path.c_str(), &status) == 0);
  return AlignUp(static_cast<uint64_t>(status.st_size), 1_MiB);
}

TEST_CASE("a sparse image that has no space: errors, right pointers, and on it goes with space") {
  for (const MakeNoSpace& make_no_space : kNoSpace)
    for (bool restart : {false, true}) {
      ZonedFile disk;
      Machine& machine = *disk.machine;
      const uint64_t data_start_bytes = DataStart(disk);
      const Bytes first = Data(8192, 1), second = Data(16_KiB, 2), third = Data(8192, 3);
      REQUIRE(machine.Write(2 * kZone, first) == kBlkStatusOk);
      REQUIRE(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
      {
        // Room for 4 KiB more in zone 2, none for a second zone.
        const auto no_space = make_no_space(data_start_bytes + 8192 + 4096);
        for (int again = 0; again < 3; ++again) {
          CHECK(machine.Write(2 * kZone + 8192, second) == kBlkStatusIoError);
          CHECK(machine.Append(2 * kZone, second).first == kBlkStatusIoError);
          CHECK(machine.Append(3 * kZone, second).first == kBlkStatusIoError);
          CHECK(machine.Write(0, second) == kBlkStatusIoError);
        }
        CHECK(disk.Written(2) == 8192);
        CHECK(disk.Written(3) == 0);
        CHECK(machine.Report(kZones)[3].condition == static_cast<uint8_t>(ZoneCondition::kEmpty));
        // The table has its space; what fits is written.
        CHECK(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
        CHECK(machine.Append(2 * kZone, Bytes(4096, 0x77)).second == 2 * kZone + 8192);
        CHECK(machine.Do(kBlkTypeZoneFinish, 5 * kZone) == kBlkStatusOk);
        CHECK(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
        CHECK(disk.Holds(2, first + Bytes(4096, 0x77)));
      }
      if (restart) {
        disk.Stop();
        CHECK(disk.Findings() == "");
        disk.Start();
      }
      CHECK(disk.Written(2) == 12_KiB);
      CHECK(disk.machine->Append(2 * kZone, third).second == 2 * kZone + 12_KiB);
      CHECK(disk.machine->Append(3 * kZone, third).second == 3 * kZone);
      CHECK(disk.machine->Write(0, third) == kBlkStatusOk);
      CHECK(disk.machine->Do(kBlkTypeFlush) == kBlkStatusOk);
      disk.Stop();
      CHECK(disk.Findings() == "");
      disk.Start();
      CHECK(disk.Holds(2, first + Bytes(4096, 0x77) + third));
      CHECK(disk.Holds(3, third + Bytes(16_KiB)));  // nothing of what failed
      CHECK(disk.Holds(0, third));
    }
}

TEST_CASE("a reset makes room for another zone where the host has none") {
  ZonedFile disk;
  Machine& machine = *disk.machine;
  const Bytes old_data = Data(64_KiB, 1), new_data = Data(48_KiB, 2);
  REQUIRE(machine.Write(2 * kZone, old_data) == kBlkStatusOk);
  REQUIRE(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
  auto allocated_bytes = [&disk] {
    struct stat status {};
    REQUIRE(::stat(disk.path.c_str(), &status) == 0);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  };
  {
    const uint64_t budget_bytes = allocated_bytes() + 16_KiB;
    FailingHost host([&](const HostOperation& asked) {
      return asked.kind == Kind::kWrite && allocated_bytes() + asked.length_bytes > budget_bytes
                 ? HostOutcome::Fail(ENOSPC)
                 : HostOutcome{};
    });
    CHECK(machine.Append(3 * kZone, new_data).first == kBlkStatusIoError);
    CHECK(machine.Do(kBlkTypeZoneReset, 2 * kZone) == kBlkStatusOk);
    CHECK(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
    // The space comes back some time behind the flush.
    std::pair<uint8_t, uint64_t> appended;
    for (int i = 0; i < 10'000; ++i) {
      appended = machine.Append(3 * kZone, new_data);
      if (appended.first == kBlkStatusOk) break;
    }
    CHECK(appended == std::pair{kBlkStatusOk, 3 * kZone});
    CHECK(machine.Do(kBlkTypeFlush) == kBlkStatusOk);
  }
  disk.Stop();
  CHECK(disk.Findings() == "");
  disk.Start();
  CHECK(disk.Holds(3, new_data + Bytes(16_KiB)));
  CHECK(disk.Holds(2, Bytes(64_KiB)));
}

TEST_CASE(
    "appends in flight when the space ends: those that succeed lie together from the pointer") {
  for (const MakeNoSpace& make_no_space : kNoSpace) {
    constexpr int kAppends = 16;
    ZonedFile disk;
    Machine& driver = *disk.machine;
    const uint64_t data_start_bytes = DataStart(disk);
    std::vector<uint64_t> targets;
    {
      const auto no_space = make_no_space(data_start_bytes + 26_KiB);
      for (int i = 0; i < kAppends; ++i) {
        targets.push_back(driver.Offer(
            Header(kBlkTypeZoneAppend, 2 * kZone / 512) + Bytes(4096, static_cast<uint8_t>(i + 1)),
            16));
      }
      driver.Ring();
      for (int i = 0; i < kAppends; ++i) driver.WaitUsed();
    }
    std::vector<std::pair<uint64_t, uint8_t>> placed;  // by position
    for (int i = 0; i < kAppends; ++i) {
      const auto status = driver.guest.Load<uint8_t>(targets[i] + 15);
      if (status == kBlkStatusOk) {
        placed.emplace_back(driver.guest.Load<uint64_t>(targets[i]) * 512,
                            static_cast<uint8_t>(i + 1));
      } else {
        CHECK(status == kBlkStatusIoError);
      }
    }
    std::sort(placed.begin(), placed.end());
    CHECK(placed.size() <= 6);
    Bytes expected;
    for (auto [position, value] : placed) {
      CHECK(position == 2 * kZone + expected.size());
      expected = expected + Bytes(4096, value);
    }
    CHECK(disk.Written(2) == expected.size());
    const Bytes rest = Data(8192, 9);
    CHECK(disk.machine->Append(2 * kZone, rest).second == 2 * kZone + expected.size());
    CHECK(disk.Holds(2, expected + rest + Bytes(16_KiB)));
    CHECK(disk.machine->Do(kBlkTypeFlush) == kBlkStatusOk);
    disk.Stop();
    CHECK(disk.Findings() == "");
  }
}

TEST_CASE("What waits after an error goes before what came into the ring since") {
  ZonedFile disk;
  disk.Stop();
  Description description("driver=zoned,file.driver=file,file.filename=" + disk.path);
  description.backend->SetErrorPolicy({.writes = OnError::kEnospc});
  VirtioBlkDriver driver(*description.backend, {.name = "d", .poll_max_ns = 0});
  driver.Activate();
  uint64_t held = 0, next = 0;
  {
    FailingHost host([](const HostOperation& asked) {
      return asked.kind == Kind::kWrite ? HostOutcome::Fail(ENOSPC) : HostOutcome{};
    });
    held = driver.Offer(Header(kBlkTypeOut, 2 * kZone / 512) + Bytes(4096, 1), 1);
    driver.Ring();
    while (!driver.device->HoldsRequests()) ::usleep(1000);
    ::usleep(20'000);  // asleep again
    // A vCPU is stopped after it wrote the available index, before it rings.
    next = driver.Offer(Header(kBlkTypeOut, (2 * kZone + 4096) / 512) + Bytes(4096, 2), 1);
  }
  driver.device->RetryHeld();
  driver.Ring();
  driver.WaitUsed();
  driver.WaitUsed();
  CHECK(driver.guest.Load<uint8_t>(held) == kBlkStatusOk);
  CHECK(driver.guest.Load<uint8_t>(next) == kBlkStatusOk);
}

}  // namespace
}  // namespace minivmm
