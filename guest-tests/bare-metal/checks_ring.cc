// Checks of rings: framing, indirect tables, used lengths, and for split rings interrupt and
// notification suppression and index wraps (virtio 1.3, 2.7). What is of packed rings alone is in
// checks_packed_ring.cc.

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

// The parts of one request, to be cut up in odd ways.
BlkHeader header;
uint8_t status;
Descriptor table[kMaxSegments];

void Prepare(uint32_t type, uint64_t sector) {
  header = {type, 0, sector};
  status = kStatusNotWritten;
}

// Cuts `bytes` at `address` into pieces of at most `piece`, and appends them to `segments`.
uint16_t Cut(Segment* segments, uint16_t count, uint64_t address, uint32_t bytes, uint32_t piece,
             bool writable) {
  for (uint32_t at = 0; at < bytes; at += piece) {
    REQUIRE(count < kMaxSegments);
    const uint32_t length = bytes - at < piece ? bytes - at : piece;
    segments[count++] = {address + at, length, writable};
  }
  return count;
}

// The same identification string through many shapes of chain.
void HeaderMayBeCutAnywhere(Disk& disk) {
  uint8_t expected[20] = {};
  Segment id = Writable(expected, sizeof(expected));
  REQUIRE_EQ(disk.Run(kGetId, 0, &id, 1), kOk);
  const auto at = reinterpret_cast<uint64_t>(&header);
  for (const uint32_t cut : {1u, 4u, 8u, 15u}) {
    uint8_t got[20] = {};
    Prepare(kGetId, 0);
    const Segment segments[] = {{at, cut, false},
                                {at + cut, uint32_t{sizeof(header)} - cut, false},
                                Writable(got, sizeof(got)),
                                Writable(&status, 1)};
    disk.RunChain(segments, 4);
    REQUIRE_EQ(status, kOk);
    REQUIRE(__builtin_memcmp(got, expected, sizeof(got)) == 0);
  }
  uint8_t got[20] = {};
  Segment segments[kMaxSegments];
  Prepare(kGetId, 0);
  uint16_t count = Cut(segments, 0, at, sizeof(header), 1, false);
  count = Cut(segments, count, reinterpret_cast<uint64_t>(got), sizeof(got), 3, true);
  segments[count++] = Writable(&status, 1);
  disk.RunChain(segments, count);
  REQUIRE_EQ(status, kOk);
  REQUIRE(__builtin_memcmp(got, expected, sizeof(got)) == 0);
}

void StatusMayShareTheDataDescriptor(Disk& disk) {
  REQUIRE_EQ(disk.Read(0, write_buffer, kBlockBytes), kOk);
  Prepare(kIn, 0);
  read_buffer[kBlockBytes] = kStatusNotWritten;
  const Segment segments[] = {Readable(&header, sizeof(header)),
                              Writable(read_buffer, kBlockBytes + 1)};
  disk.RunChain(segments, 2);
  REQUIRE_EQ(read_buffer[kBlockBytes], kOk);
  REQUIRE(__builtin_memcmp(read_buffer, write_buffer, kBlockBytes) == 0);
}

void HeaderMayShareTheDataDescriptor(Disk& disk) {
  constexpr uint32_t kHeaderBytes = sizeof(header);
  Prepare(kOut, FreeSector(0));
  __builtin_memcpy(write_buffer, &header, kHeaderBytes);
  FillPattern(write_buffer + kHeaderBytes, kBlockBytes, 21);
  const Segment segments[] = {Readable(write_buffer, kHeaderBytes + kBlockBytes),
                              Writable(&status, 1)};
  disk.RunChain(segments, 2);
  REQUIRE_EQ(status, kOk);
  REQUIRE_EQ(disk.Read(FreeSector(0), read_buffer, kBlockBytes), kOk);
  REQUIRE(HasPattern(read_buffer, kBlockBytes, 21));
}

void DataMayBeCutIntoOddPieces(Disk& disk) {
  constexpr uint32_t kBytes = kBlockBytes;
  FillPattern(write_buffer, kBytes, 22);
  Segment segments[kMaxSegments];
  for (const uint32_t piece : {33u, 127u, 511u, 513u}) {
    Prepare(kOut, FreeSector(8));
    segments[0] = Readable(&header, sizeof(header));
    uint16_t count =
        Cut(segments, 1, reinterpret_cast<uint64_t>(write_buffer), kBytes, piece, false);
    segments[count++] = Writable(&status, 1);
    if (count > disk.queue(0).size()) continue;
    disk.RunChain(segments, count);
    REQUIRE_EQ(status, kOk);
    __builtin_memset(read_buffer, 0, kBytes);
    Prepare(kIn, FreeSector(8));
    count = Cut(segments, 1, reinterpret_cast<uint64_t>(read_buffer), kBytes, piece, true);
    segments[count++] = Writable(&status, 1);
    disk.RunChain(segments, count);
    REQUIRE_EQ(status, kOk);
    REQUIRE(HasPattern(read_buffer, kBytes, 22));
  }
}

void ZeroLengthDescriptorsAreSkipped(Disk& disk) {
  Prepare(kIn, 0);
  const Segment segments[] = {Readable(&header, 0), Readable(&header, sizeof(header)),
                              Writable(read_buffer, kBlockBytes), Writable(&status, 1),
                              Writable(read_buffer, 0)};
  disk.RunChain(segments, 5);
  REQUIRE_EQ(status, kOk);
}

// Whether a chain may hold as many descriptors as SEG_MAX says plus header and status.
void SegMaxIsAccepted(Disk& disk) {
  if (!disk.Has(kFeatureSegMax)) SkipCheck("SEG_MAX is not offered");
  const auto seg_max = disk.pci().Config<uint32_t>(kBlkSegMax);
  const uint32_t most = kMaxSegments - 2;
  const uint32_t count = seg_max < most ? seg_max : most;
  if (count + 2 > disk.queue(0).size()) SkipCheck("SEG_MAX is above the queue size");
  // Pieces of one sector, the last of so many that all are a multiple of any block size.
  const uint32_t sectors = (count + kBlockSectors - 1) / kBlockSectors * kBlockSectors;
  Segment segments[kMaxSegments];
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t piece = i + 1 < count ? 1 : sectors - i;
    segments[i] = Writable(read_buffer + i * kSectorBytes, piece * kSectorBytes);
  }
  REQUIRE_EQ(disk.Run(kIn, 0, segments, static_cast<uint16_t>(count)), kOk);
  REQUIRE_EQ(disk.used_bytes(), sectors * kSectorBytes + 1);
}

void IndirectTablesWork(Disk& disk) {
  if (!disk.Has(kFeatureIndirect)) SkipCheck("INDIRECT_DESC is not offered");
  // How many of header, data and status stay in the ring's own table, before the indirect
  // descriptor.
  const uint16_t most = disk.IsPacked() ? 0 : 2;
  for (uint16_t direct = 0; direct <= most; ++direct) {
    Prepare(kIn, 0);
    const Segment segments[] = {Readable(&header, sizeof(header)),
                                Writable(read_buffer, kBlockBytes), Writable(&status, 1)};
    disk.SubmitChain(nullptr, disk.queue(0).PlaceIndirect(segments, 3, direct, table));
    disk.Kick();
    disk.AwaitAll();
    REQUIRE_EQ(status, kOk);
    REQUIRE_EQ(disk.used_bytes(), kBlockBytes + 1);
  }
}

void WriteFlagOfIndirectIsIgnored(Disk& disk) {
  if (!disk.Has(kFeatureIndirect)) SkipCheck("INDIRECT_DESC is not offered");
  Prepare(kIn, 0);
  const Segment segments[] = {Readable(&header, sizeof(header)), Writable(read_buffer, kBlockBytes),
                              Writable(&status, 1)};
  const uint16_t head = disk.queue(0).PlaceIndirect(segments, 3, 0, table);
  disk.queue(0).memory().descriptors[head].flags |= kDescriptorWrite;
  disk.SubmitChain(nullptr, head);
  disk.Kick();
  disk.AwaitAll();
  REQUIRE_EQ(status, kOk);
}

void NextIsIgnoredWithoutItsFlag(Disk& disk) {
  Prepare(kIn, 0);
  const Segment segments[] = {Readable(&header, sizeof(header)), Writable(read_buffer, kBlockBytes),
                              Writable(&status, 1)};
  const uint16_t head = disk.queue(0).Place(segments, 3);
  disk.queue(0).memory().descriptors[head + 2].next = 0xffff;
  disk.SubmitChain(nullptr, head);
  disk.Kick();
  disk.AwaitAll();
  REQUIRE_EQ(status, kOk);
}

// Reads one sector, after which so many interrupts of the queue come, stragglers included.
void RequireInterrupts(Disk& disk, uint16_t available_flags, uint16_t used_event_ahead,
                       uint64_t expected) {
  static Request request;
  const Segment data = Writable(read_buffer, kBlockBytes);
  TakePendingInterrupts();
  const uint64_t before = disk.QueueInterrupts(0);
  Virtqueue& queue = disk.queue(0);
  disk.Submit(&request, kIn, 0, &data, 1);
  volatile auto& available = queue.memory().available;
  available.flags = available_flags;
  queue.Publish();
  // Publish() set the event for this request; the device is not told of it before the event is
  // where it should be.
  queue.used_event() = static_cast<uint16_t>(queue.used_event() + used_event_ahead);
  FullBarrier();
  disk.pci().Notify(0);
  disk.PollAll();
  WaitFor([&] { return disk.QueueInterrupts(0) - before >= expected; });
  WaitForStragglers();
  REQUIRE_EQ(request.status, kOk);
  REQUIRE_EQ(disk.QueueInterrupts(0) - before, expected);
}

void FlagsSuppressInterrupts(Disk& disk) {
  disk.Start(kDriverFeatures & ~kFeatureEventIdx);
  RequireInterrupts(disk, 0, 5, 1);
  RequireInterrupts(disk, kAvailableNoInterrupt, 0, 0);
  RequireInterrupts(disk, 0, 0, 1);
}

void UsedEventSuppressesInterrupts(Disk& disk) {
  if (!disk.Has(kFeatureEventIdx)) SkipCheck("EVENT_IDX is not offered");
  RequireInterrupts(disk, 0, 0, 1);
  RequireInterrupts(disk, 0, 1, 0);
  RequireInterrupts(disk, kAvailableNoInterrupt, 0, 1);
  RequireInterrupts(disk, 0, 0x7fff, 0);
}

void UsedFlagsAreSound(Disk& disk) {
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
  const volatile auto& used = disk.queue(0).memory().used;
  if (disk.Has(kFeatureEventIdx)) REQUIRE_EQ(used.flags, 0);
  disk.Start(kDriverFeatures & ~kFeatureEventIdx);
  for (int i = 0; i < 20; ++i) {
    REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
    REQUIRE(disk.queue(0).memory().used.flags <= kUsedNoNotify);
  }
}

void RingsAreNotWrittenByTheDevice(Disk& disk) {
  Prepare(kIn, 0);
  const BlkHeader header_before = header;
  const Segment segments[] = {Readable(&header, sizeof(header)), Writable(read_buffer, kBlockBytes),
                              Writable(&status, 1)};
  RingMemory& ring = disk.queue(0).memory();
  const uint16_t head = disk.queue(0).Place(segments, 3);
  Descriptor before[3];
  __builtin_memcpy(before, &ring.descriptors[head], sizeof(before));
  disk.SubmitChain(nullptr, head);
  disk.Kick();
  disk.AwaitAll();
  REQUIRE(__builtin_memcmp(before, &ring.descriptors[head], sizeof(before)) == 0);
  REQUIRE(__builtin_memcmp(&header_before, &header, sizeof(header)) == 0);
  if (!disk.Has(kFeatureIndirect)) return;
  disk.SubmitChain(nullptr, disk.queue(0).PlaceIndirect(segments, 3, 0, table));
  __builtin_memcpy(before, table, sizeof(before));
  disk.Kick();
  disk.AwaitAll();
  REQUIRE(__builtin_memcmp(before, table, sizeof(before)) == 0);
}

void UsedLengthIsHonest(Disk& disk) {
  REQUIRE_EQ(disk.Read(0, read_buffer, 3 * kBlockBytes), kOk);
  REQUIRE_EQ(disk.used_bytes(), 3 * kBlockBytes + 1);
  uint8_t id[20];
  const Segment segment = Writable(id, sizeof(id));
  REQUIRE_EQ(disk.Run(kGetId, 0, &segment, 1), kOk);
  REQUIRE_EQ(disk.used_bytes(), 21);
  REQUIRE_EQ(disk.Command(0x7fff'fff0, 0), kUnsupported);
  REQUIRE_EQ(disk.used_bytes(), 1);
  if (disk.Has(kFeatureFlush)) {
    REQUIRE_EQ(disk.Command(kFlush, 0), kOk);
    REQUIRE_EQ(disk.used_bytes(), 1);
  }
}

// Every byte that used.len claims must have been written: failed reads may claim nothing or must
// have filled.
void FailedReadClaimsNothingItDidNotWrite(Disk& disk) {
  __builtin_memset(read_buffer, 0xa5, kBlockBytes);
  REQUIRE(disk.Read(disk.capacity_sectors(), read_buffer, kBlockBytes) != kOk);
  const uint32_t claimed = disk.used_bytes() < kBlockBytes ? disk.used_bytes() : kBlockBytes;
  for (uint32_t i = 0; i < claimed; ++i) REQUIRE(read_buffer[i] != 0xa5);
}

void SpuriousNotificationsDoNothing(Disk& disk) {
  const uint64_t before = disk.QueueInterrupts(0);
  for (int i = 0; i < 1000; ++i) disk.pci().Notify(0);
  WaitForStragglers();
  REQUIRE_EQ(disk.queue(0).UsedCount(), 0);
  REQUIRE_EQ(disk.QueueInterrupts(0), before);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

// More than 65536 requests through one ring. The chains are placed once and only the index moves,
// so what takes time is the device's work, not the guest's.
void IndexWraps(Disk& disk) {
  Virtqueue& queue = disk.queue(0);
  const uint16_t batch = queue.size() / 2;
  static BlkHeader id_header = {kGetId, 0, 0};
  static uint8_t statuses[kMaxQueueSize];
  __builtin_memset(statuses, kStatusNotWritten, sizeof(statuses));
  // Both halves of the ring name the same chains.
  for (uint16_t i = 0; i < batch; ++i) {
    const Segment segments[] = {Readable(&id_header, sizeof(id_header)), Writable(&statuses[i], 1)};
    const uint16_t head = queue.Place(segments, 2);
    queue.memory().available.ring[i] = head;
    queue.memory().available.ring[batch + i] = head;
  }
  for (uint32_t sent = 0; sent < 0x1'0000 + 2u * batch; sent += batch) {
    queue.PushAgain(batch);
    disk.Kick();
    disk.Await();
    queue.SkipUsed();
  }
  for (uint16_t i = 0; i < batch; ++i) REQUIRE_EQ(statuses[i], kOk);
}

void FullRingCompletes(Disk& disk) {
  static Request requests[kMaxQueueSize];
  const Segment data = Writable(read_buffer, kBlockBytes);
  const uint16_t count = disk.queue(0).size() / 3;
  for (uint16_t i = 0; i < count; ++i) disk.Submit(&requests[i], kIn, i * kBlockSectors, &data, 1);
  disk.Kick();
  disk.AwaitAll();
  for (uint16_t i = 0; i < count; ++i) {
    REQUIRE(requests[i].done);
    REQUIRE_EQ(requests[i].status, kOk);
  }
}

const Check kChecks[] = {
    {"Q-01", "a header may be cut anywhere", kNeedsStart, HeaderMayBeCutAnywhere},
    {"Q-01", "status may share the descriptor of the data", kNeedsStart,
     StatusMayShareTheDataDescriptor},
    {"Q-01", "header and data may share a descriptor",
     kNeedsFreeWrites | kNeedsWritable | kNeedsKeptData, HeaderMayShareTheDataDescriptor},
    {"Q-01", "data may be cut into odd pieces", kNeedsFreeWrites | kNeedsWritable | kNeedsKeptData,
     DataMayBeCutIntoOddPieces},
    {"Q-02", "a chain of SEG_MAX segments works", kNeedsStart, SegMaxIsAccepted},
    {"Q-03", "what the device may only read stays as it was", kNeedsStart | kNeedsSplit,
     RingsAreNotWrittenByTheDevice},
    {"Q-04", "WRITE on an indirect descriptor is ignored", kNeedsStart | kNeedsSplit,
     WriteFlagOfIndirectIsIgnored},
    {"Q-05", "indirect tables work alone and after direct descriptors", kNeedsStart,
     IndirectTablesWork},
    {"Q-06", "next means nothing without its flag", kNeedsStart | kNeedsSplit,
     NextIsIgnoredWithoutItsFlag},
    {"Q-07", "available flags suppress interrupts without EVENT_IDX", kNeedsSplit,
     FlagsSuppressInterrupts},
    {"Q-08", "used_event decides on interrupts with EVENT_IDX", kNeedsStart | kNeedsSplit,
     UsedEventSuppressesInterrupts},
    {"Q-10", "used lengths are exact", kNeedsStart, UsedLengthIsHonest},
    {"Q-10", "a failed read claims nothing that it did not write", kNeedsStart,
     FailedReadClaimsNothingItDidNotWrite},
    {"Q-11", "used flags are sound", kNeedsStart | kNeedsSplit, UsedFlagsAreSound},
    {"Q-12", "1000 spurious notifications do nothing", kNeedsStart, SpuriousNotificationsDoNothing},
    {"Q-15", "a full ring of reads completes", kNeedsStart, FullRingCompletes},
    {"Q-15", "more than 65536 requests wrap the indices", kNeedsStart | kNeedsSplit, IndexWraps},
    {"H-10", "descriptors without bytes are skipped", kNeedsStart, ZeroLengthDescriptorsAreSkipped},
};

}  // namespace

const CheckTable kRingChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
