// Checks of reads, writes and appends in zones (virtio 1.3, 5.2.6). Each begins with all zones
// reset.

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

uint64_t Granule() { return TheGeometry().granule_sectors; }
uint32_t GranuleBytes() { return static_cast<uint32_t>(Granule() * kSectorBytes); }

void WritesAtTheWritePointer(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  for (uint64_t i = 0; i < 4; ++i) {
    FillPattern(write_buffer, GranuleBytes(), i);
    REQUIRE_EQ(WriteGranule(disk, start, i * Granule()), kOk);
    REQUIRE_EQ(WrittenSectors(disk, start), (i + 1) * Granule());
  }
  REQUIRE_EQ(StateOf(disk, start), kStateImplicitlyOpen);
  for (uint64_t i = 0; i < 4; ++i) {
    REQUIRE_EQ(disk.Read(start + i * Granule(), read_buffer, GranuleBytes()), kOk);
    REQUIRE(HasPattern(read_buffer, GranuleBytes(), i));
  }
}

// Several writes of one notification to one zone start in the order in which they came.
void QueuedWritesKeepTheirOrder(Disk& disk) {
  constexpr uint64_t kCount = 16;
  static Request requests[kCount];
  const uint64_t start = SequentialZone(0);
  const Segment data = Readable(write_buffer, GranuleBytes());
  for (uint64_t i = 0; i < kCount; ++i) {
    disk.Submit(&requests[i], kOut, start + i * Granule(), &data, 1);
  }
  disk.Kick();
  disk.AwaitAll();
  for (const Request& request : requests) REQUIRE_EQ(request.status, kOk);
  REQUIRE_EQ(WrittenSectors(disk, start), kCount * Granule());
}

void WriteOffThePointerIsUnaligned(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(WriteGranule(disk, start, Granule()), kZoneUnalignedWp);
  REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
  FillPattern(write_buffer, GranuleBytes(), 1);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  REQUIRE_EQ(WriteGranule(disk, start), kZoneUnalignedWp);
  REQUIRE_EQ(WrittenSectors(disk, start), Granule());
}

// The trap: a host kernel that saw a misplaced write rejects the next one as well.
void WriteAtThePointerSucceedsAfterAMiss(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  FillPattern(write_buffer, GranuleBytes(), 2);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  for (uint64_t i = 1; i < 4; ++i) {
    REQUIRE_EQ(WriteGranule(disk, start, (i + 1) * Granule()), kZoneUnalignedWp);
    REQUIRE_EQ(WriteGranule(disk, start, i * Granule()), kOk);
  }
  REQUIRE_EQ(disk.Read(start + 3 * Granule(), read_buffer, GranuleBytes()), kOk);
  REQUIRE(HasPattern(read_buffer, GranuleBytes(), 2));
}

void PartialGranulesAreUnaligned(Disk& disk) {
  if (Granule() == 1) SkipCheck("the write granularity is one sector");
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(WriteSectors(disk, start, 1), kZoneUnalignedWp);
  REQUIRE_EQ(Append(disk, start, write_buffer, kSectorBytes).status, kZoneUnalignedWp);
  REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
}

void EmptyWriteOpensNothing(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(disk.Command(kOut, start), kOk);
  REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
}

void EmptyAppendIsInvalid(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(Append(disk, start, nullptr, 0).status, kZoneInvalidCommand);
  REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
}

void AppendsReturnTheirSector(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  uint64_t expected = start;
  for (uint64_t i = 0; i < 6; ++i) {
    const uint32_t tail_bytes = i % 2 == 0 ? 16 : 9;
    FillPattern(write_buffer, GranuleBytes(), 10 + i);
    const AppendOutcome outcome = Append(disk, start, write_buffer, GranuleBytes(), tail_bytes);
    REQUIRE_EQ(outcome.status, kOk);
    REQUIRE_EQ(outcome.sector, expected);
    REQUIRE(disk.used_bytes() == 8 || disk.used_bytes() == tail_bytes);
    expected += Granule();
  }
  REQUIRE_EQ(WrittenSectors(disk, start), 6 * Granule());
  for (uint64_t i = 0; i < 6; ++i) {
    REQUIRE_EQ(disk.Read(start + i * Granule(), read_buffer, GranuleBytes()), kOk);
    REQUIRE(HasPattern(read_buffer, GranuleBytes(), 10 + i));
  }
}

void AppendTailShorterThanNineFails(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  static BlkHeader header;
  static uint8_t tail[8];
  header = {kZoneAppend, 0, start};
  __builtin_memset(tail, kStatusNotWritten, sizeof(tail));
  const Segment segments[] = {Readable(&header, sizeof(header)),
                              Readable(write_buffer, GranuleBytes()), Writable(tail, sizeof(tail))};
  disk.RunChain(segments, 3);
  REQUIRE(tail[7] != kOk);
  REQUIRE(tail[7] != kStatusNotWritten);
  REQUIRE_EQ(StateOf(disk, start), kStateEmpty);
}

// One append: header, data and a tail of 16 bytes that lives until it is done.
struct PendingAppend {
  BlkHeader header;
  uint64_t sector;
  uint8_t rest[8];
  uint8_t* status() { return &rest[7]; }
};

void ConcurrentAppendsDoNotOverlap(Disk& disk) {
  constexpr uint16_t kCount = 48;
  static PendingAppend appends[kCount];
  const uint64_t start = SequentialZone(0);
  if (kCount * Granule() * kSectorBytes > kBufferBytes) SkipCheck("a granule is too large");
  for (uint16_t i = 0; i < kCount; ++i) {
    PendingAppend& append = appends[i];
    append = {{kZoneAppend, 0, start}, ~uint64_t{0}, {}};
    *append.status() = kStatusNotWritten;
    uint8_t* data = write_buffer + i * GranuleBytes();
    FillPattern(data, 16, 200 + i);
    const Segment segments[] = {Readable(&append.header, sizeof(append.header)),
                                Readable(data, GranuleBytes()), Writable(&append.sector, 16)};
    const uint16_t queue = i % disk.queue_count();
    disk.SubmitChain(nullptr, disk.queue(queue).Place(segments, 3), queue);
  }
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) disk.Kick(queue);
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) disk.AwaitAll(queue);

  bool taken[kCount] = {};
  for (uint16_t i = 0; i < kCount; ++i) {
    REQUIRE_EQ(*appends[i].status(), kOk);
    const uint64_t place = (appends[i].sector - start) / Granule();
    REQUIRE(place < kCount);
    REQUIRE(!taken[place]);
    taken[place] = true;
    REQUIRE_EQ(disk.Read(appends[i].sector, read_buffer, GranuleBytes()), kOk);
    REQUIRE(HasPattern(read_buffer, 16, 200 + i));
  }
  REQUIRE_EQ(WrittenSectors(disk, start), kCount * Granule());
}

// From all queues at once. Whatever the order in which they were done, each answer is one that its
// request can have, and the zone is what one order can have left.
void OneZoneIsAskedForEverythingAtOnce(Disk& disk) {
  constexpr uint32_t kTypes[] = {kZoneAppend, kZoneOpen,   kZoneAppend, kZoneReset,
                                 kZoneAppend, kZoneFinish, kZoneClose,  kZoneAppend};
  constexpr uint16_t kCount = 32;
  static Request requests[kCount];
  static uint64_t sectors[kCount];
  const uint64_t start = SequentialZone(0);
  for (uint16_t round = 0; round < 8; ++round) {
    for (uint16_t i = 0; i < kCount; ++i) {
      const uint16_t queue = (i + round) % disk.queue_count();
      const uint32_t type = kTypes[i * (round + 1) % 8];
      const Segment data[] = {Readable(write_buffer, GranuleBytes()),
                              Writable(&sectors[i], sizeof(sectors[i]))};
      disk.Submit(&requests[i], type, start, data, type == kZoneAppend ? 2 : 0, queue);
    }
    for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) disk.Kick(queue);
    for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) disk.AwaitAll(queue);
    for (const Request& request : requests) {
      const bool may_be_invalid = request.header.type != kZoneReset;  // of a full zone
      REQUIRE(request.status == kOk || (may_be_invalid && request.status == kZoneInvalidCommand));
    }
    const ZoneDescriptor zone = ReportZone(disk, start);
    if (zone.state == kStateFull) continue;
    const uint64_t written = zone.write_pointer - start;
    REQUIRE(written < zone.capacity);
    REQUIRE_EQ(written % Granule(), 0);
    if (zone.state == kStateEmpty) REQUIRE_EQ(written, 0);
    if (zone.state == kStateClosed || zone.state == kStateImplicitlyOpen) REQUIRE(written > 0);
  }
  REQUIRE_EQ(disk.Command(kZoneReset, start), kOk);
  REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes()).sector, start);
}

// Each of these is wrong in several ways: any of them may be named, none may change the zone.
void OneAnswerForManyErrors(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  const Geometry& geometry = TheGeometry();
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  auto zone_error = [](uint8_t status) {
    return status == kZoneInvalidCommand || status == kZoneUnalignedWp;
  };
  const uint64_t last = start + geometry.zone_sectors - Granule();
  // Neither at the pointer nor within the capacity, and beyond the zone.
  REQUIRE(zone_error(WriteSectors(disk, last, 2 * Granule())));
  // Beside the zone's start, where the pointer is not.
  REQUIRE(zone_error(Append(disk, start + 2 * Granule(), write_buffer, GranuleBytes()).status));
  if (Granule() > 1) {
    // A part of a granule, elsewhere than at the pointer.
    REQUIRE(zone_error(disk.Write(start + 1, write_buffer, kSectorBytes)));
    REQUIRE(zone_error(Append(disk, start + 1, write_buffer, kSectorBytes).status));
  }
  if (disk.capacity_sectors() - start > geometry.zone_sectors) {
    REQUIRE(zone_error(disk.Command(kZoneOpen, start + 1)));
    REQUIRE(zone_error(disk.Command(kZoneReset, last)));
  }
  const uint8_t beyond = disk.Write(disk.capacity_sectors() + 1, write_buffer, GranuleBytes());
  REQUIRE(zone_error(beyond) || beyond == kIoError);
  const ZoneDescriptor zone = ReportZone(disk, start);
  REQUIRE_EQ(zone.write_pointer, start + Granule());
  REQUIRE_EQ(zone.state, kStateImplicitlyOpen);
}

void AppendAndWriteShareThePointer(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes()).sector, start + Granule());
  REQUIRE_EQ(WriteGranule(disk, start, 2 * Granule()), kOk);
  REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes()).sector, start + 3 * Granule());
}

void AppendNeedsTheZoneStart(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(Append(disk, start + Granule(), write_buffer, GranuleBytes()).status,
             kZoneInvalidCommand);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  REQUIRE_EQ(Append(disk, start + Granule(), write_buffer, GranuleBytes()).status,
             kZoneInvalidCommand);
  REQUIRE_EQ(Append(disk, disk.capacity_sectors(), write_buffer, GranuleBytes()).status,
             kZoneInvalidCommand);
  REQUIRE_EQ(WrittenSectors(disk, start), Granule());
}

void AppendToConventionalZoneIsInvalid(Disk& disk) {
  REQUIRE_EQ(Append(disk, ConventionalZone(), write_buffer, GranuleBytes()).status,
             kZoneInvalidCommand);
}

void LargestAppendSucceedsAndLargerFails(Disk& disk) {
  const uint64_t most = TheGeometry().max_append_sectors;
  const uint64_t start = SequentialZone(0);
  const uint64_t capacity = ReportZone(disk, start).capacity;
  if (most > capacity) SkipCheck("max_append_sectors is larger than a zone");
  if (most * kSectorBytes > 64 * kBufferBytes) SkipCheck("max_append_sectors is above 16 MiB");
  const auto bytes = static_cast<uint32_t>(most * kSectorBytes);
  REQUIRE_EQ(Append(disk, start, write_buffer, bytes).status, kOk);
  REQUIRE_EQ(WrittenSectors(disk, start), most);
  REQUIRE_EQ(Append(disk, start, write_buffer, bytes + GranuleBytes()).status, kZoneInvalidCommand);
  REQUIRE_EQ(WrittenSectors(disk, start), most);
}

void NothingGoesBeyondTheCapacity(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  const uint64_t capacity = ReportZone(disk, start).capacity;
  FillZone(disk, start, 0, Granule());
  REQUIRE_EQ(WriteSectors(disk, start + capacity - Granule(), 2 * Granule()), kZoneInvalidCommand);
  REQUIRE_EQ(Append(disk, start, write_buffer, 2 * GranuleBytes()).status, kZoneInvalidCommand);
  REQUIRE_EQ(WrittenSectors(disk, start), capacity - Granule());
  REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes()).sector,
             start + capacity - Granule());
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
  REQUIRE_EQ(WriteGranule(disk, start), kZoneInvalidCommand);
  REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes()).status, kZoneInvalidCommand);
}

void FilledZoneIsFull(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  REQUIRE_EQ(disk.Command(kZoneOpen, start), kOk);
  FillZone(disk, start);
  REQUIRE_EQ(StateOf(disk, start), kStateFull);
}

void RequestsDoNotCrossZones(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  const uint64_t size = TheGeometry().zone_sectors;
  if (start + size >= disk.capacity_sectors()) SkipCheck("no zone follows the first one");
  REQUIRE_EQ(disk.Read(start + size - Granule(), read_buffer, 2 * GranuleBytes()),
             kZoneInvalidCommand);
  if (ReportZone(disk, start).capacity == size) {
    FillZone(disk, start, 0, Granule());
    REQUIRE_EQ(WriteSectors(disk, start + size - Granule(), 2 * Granule()), kZoneInvalidCommand);
    REQUIRE_EQ(WrittenSectors(disk, start), size - Granule());
  }
}

bool IsUniform(const uint8_t* data, uint32_t bytes) {
  for (uint32_t i = 1; i < bytes; ++i) {
    if (data[i] != data[0]) return false;
  }
  return true;
}

void ReadsAboveThePointerAreConstant(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  FillPattern(write_buffer, 2 * GranuleBytes(), 3);
  REQUIRE_EQ(WriteSectors(disk, start, 2 * Granule()), kOk);
  REQUIRE_EQ(disk.Command(kZoneReset, start), kOk);
  REQUIRE_EQ(WriteGranule(disk, start), kOk);
  // Written, then never written since the reset: the pattern, then one constant and nothing from
  // before.
  REQUIRE_EQ(disk.Read(start, read_buffer, 2 * GranuleBytes()), kOk);
  REQUIRE(HasPattern(read_buffer, GranuleBytes(), 3));
  REQUIRE(IsUniform(read_buffer + GranuleBytes(), GranuleBytes()));
  const uint8_t fill = read_buffer[GranuleBytes()];
  const uint64_t last = TheGeometry().zone_sectors - Granule();
  REQUIRE_EQ(disk.Read(start + last, read_buffer, GranuleBytes()), kOk);
  REQUIRE(IsUniform(read_buffer, GranuleBytes()));
  REQUIRE_EQ(read_buffer[0], fill);
}

void ConventionalZoneTakesAnyOrder(Disk& disk) {
  const uint64_t start = ConventionalZone();
  constexpr uint64_t kOrder[] = {5, 1, 5};
  for (uint64_t i = 0; i < 3; ++i) {
    FillPattern(write_buffer, GranuleBytes(), 400 + i);
    REQUIRE_EQ(WriteGranule(disk, start, kOrder[i] * Granule()), kOk);
  }
  for (uint64_t i = 1; i < 3; ++i) {
    REQUIRE_EQ(disk.Read(start + kOrder[i] * Granule(), read_buffer, GranuleBytes()), kOk);
    REQUIRE(HasPattern(read_buffer, GranuleBytes(), 400 + i));
  }
}

void MisalignedAppendBuffersWork(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  uint64_t expected = start;
  for (const uint32_t shift : {1u, 256u, 511u}) {
    FillPattern(write_buffer + shift, GranuleBytes(), 300 + shift);
    const AppendOutcome outcome = Append(disk, start, write_buffer + shift, GranuleBytes());
    REQUIRE_EQ(outcome.status, kOk);
    REQUIRE_EQ(outcome.sector, expected);
    REQUIRE_EQ(disk.Read(expected, read_buffer + shift, GranuleBytes()), kOk);
    REQUIRE(HasPattern(read_buffer + shift, GranuleBytes(), 300 + shift));
    expected += Granule();
  }
}

void WritesAndFlushesInterleave(Disk& disk) {
  const uint64_t start = SequentialZone(0);
  if (!disk.Has(kFeatureFlush)) SkipCheck("FLUSH is not offered");
  REQUIRE_EQ(Append(disk, start, write_buffer, GranuleBytes()).status, kOk);
  REQUIRE_EQ(disk.Command(kFlush, 0), kOk);
  REQUIRE_EQ(WriteGranule(disk, start, Granule()), kOk);
  REQUIRE_EQ(disk.Command(kFlush, 0), kOk);
}

constexpr unsigned kNeeds = kNeedsZoned | kNeedsWritable;
constexpr unsigned kManaged = kNeedsHostManaged | kNeedsWritable;

const Check kChecks[] = {
    {"Z-10", "writes of one granule at the write pointer succeed and read back", kNeeds,
     WritesAtTheWritePointer},
    {"Z-10", "16 queued writes to one zone keep their order", kNeeds, QueuedWritesKeepTheirOrder},
    {"Z-10", "appends and flushes interleave", kManaged, WritesAndFlushesInterleave},
    {"Z-16", "an append to a conventional zone is invalid", kManaged,
     AppendToConventionalZoneIsInvalid},
    {"Z-24", "an append must name the start of a zone", kManaged, AppendNeedsTheZoneStart},
    {"Z-25", "nothing goes beyond a zone's capacity", kManaged, NothingGoesBeyondTheCapacity},
    {"Z-26", "appends return their sector, with tails of 16 and of 9 bytes", kManaged,
     AppendsReturnTheirSector},
    {"Z-26", "an append with a tail of 8 bytes fails", kManaged, AppendTailShorterThanNineFails},
    {"Z-26", "appends and writes share the write pointer", kManaged, AppendAndWriteShareThePointer},
    {"Z-26", "appends from misaligned buffers write what they should", kManaged,
     MisalignedAppendBuffersWork},
    {"Z-27", "the largest append succeeds and a larger one is invalid", kManaged,
     LargestAppendSucceedsAndLargerFails},
    {"Z-28", "a part of a granule is unaligned", kManaged, PartialGranulesAreUnaligned},
    {"Z-29", "reads and writes do not cross zones", kManaged, RequestsDoNotCrossZones},
    {"Z-30", "a write off the write pointer is unaligned and changes nothing", kManaged,
     WriteOffThePointerIsUnaligned},
    {"Z-30", "the next write at the pointer succeeds after one that missed", kManaged,
     WriteAtThePointerSucceedsAfterAMiss},
    {"Z-34", "reads above the write pointer give one constant", kNeeds,
     ReadsAboveThePointerAreConstant},
    {"Z-37", "a write of nothing opens no zone", kNeeds, EmptyWriteOpensNothing},
    {"Z-37", "an append of nothing is invalid", kManaged, EmptyAppendIsInvalid},
    {"Z-38", "a zone filled to its capacity is full", kNeeds, FilledZoneIsFull},
    {"Z-49", "a conventional zone takes writes in any order", kNeeds,
     ConventionalZoneTakesAnyOrder},
    {"Z-53", "48 appends at once over all queues do not overlap", kManaged,
     ConcurrentAppendsDoNotOverlap},
    {"Z-56", "requests that are wrong in several ways have one answer and change nothing", kManaged,
     OneAnswerForManyErrors},
    {"H-26", "one zone is asked for everything at once, over all queues", kManaged | kNeedsQueues,
     OneZoneIsAskedForEverythingAtOnce},
};

}  // namespace

const CheckTable kZoneWriteChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
