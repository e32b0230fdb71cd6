// Checks of plain block requests: read, write, flush, identification, errors, queues
// (virtio 1.3, 5.2).

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

constexpr unsigned kFree = kNeedsFreeWrites | kNeedsWritable;

void IsOfTheExpectedKind(Disk& disk) {
  if (TheOptions().expect == Expectation::kAny) SkipCheck("no expect= on the command line");
  REQUIRE_EQ(disk.IsZoned(), TheOptions().expect != Expectation::kPlain);
  REQUIRE_EQ(disk.IsHostAware(), TheOptions().expect == Expectation::kHostAware);
}

void PlainDiskOffersNoZones(Disk& disk) {
  if (TheOptions().expect != Expectation::kPlain) SkipCheck("a zoned disk is expected");
  REQUIRE(!disk.Offers(kFeatureZoned));
}

void OffersFlush(Disk& disk) { REQUIRE(disk.Offers(kFeatureFlush)); }

void UnusedConfigIsZero(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  REQUIRE_EQ(pci.Config<uint8_t>(kBlkUnused0), 0);
  for (uint32_t i = 0; i < 3; ++i) REQUIRE_EQ(pci.Config<uint8_t>(kBlkUnused1 + i), 0);
}

void ConfigIsReadOnly(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const uint64_t config = pci.region(kDeviceConfig).address;
  MmioWrite<uint32_t>(config + kBlkCapacity, 1);
  MmioWrite<uint32_t>(config + kBlkSegMax, 0xffff'ffff);
  REQUIRE_EQ(pci.Config<uint32_t>(kBlkCapacity), disk.capacity_sectors() & 0xffff'ffff);
  REQUIRE(pci.Config<uint32_t>(kBlkSegMax) != 0xffff'ffff);
}

void BlockSizesAreSound(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  if (disk.Offers(kFeatureBlkSize)) {
    const auto bytes = pci.Config<uint32_t>(kBlkBlkSize);
    REQUIRE(bytes >= kSectorBytes);
    REQUIRE_EQ(bytes & (bytes - 1), 0);
  }
  if (disk.Offers(kFeatureSizeMax)) REQUIRE(pci.Config<uint32_t>(kBlkSizeMax) >= 4096);
  if (disk.Offers(kFeatureSegMax)) {
    REQUIRE(pci.Config<uint32_t>(kBlkSegMax) >= 1);
    REQUIRE(pci.Config<uint32_t>(kBlkSegMax) + 2u <= pci.MaxQueueSize(0));
  }
}

// Advice to drivers: a longer one is served all the same. The guest's own memory is data enough.
void SegmentsLongerThanSizeMaxWork(Disk& disk) {
  constexpr uint64_t kPlace = 0x10'0000;
  constexpr uint32_t kBytes = 0x20'0000;
  auto* last = reinterpret_cast<uint8_t*>(kPlace + kBytes - kBlockBytes);  // behind the guest
  FillPattern(last, kBlockBytes, 18);
  const Segment segment = {kPlace, kBytes, false};
  REQUIRE_EQ(disk.Run(kOut, FreeSector(0), &segment, 1), kOk);
  if (!TheOptions().data_is_kept) return;
  __builtin_memset(read_buffer, 0, kBlockBytes);
  REQUIRE_EQ(disk.Read(FreeSector((kBytes - kBlockBytes) / kSectorBytes), read_buffer, kBlockBytes),
             kOk);
  REQUIRE(HasPattern(read_buffer, kBlockBytes, 18));
}

void ReadsBackWhatWasWritten(Disk& disk) {
  for (const uint32_t sectors : {1u, 3u, 8u}) {
    const uint32_t bytes = sectors * kSectorBytes;
    FillPattern(write_buffer, bytes, sectors);
    REQUIRE_EQ(disk.Write(FreeSector(sectors), write_buffer, bytes), kOk);
    __builtin_memset(read_buffer, 0, bytes);
    REQUIRE_EQ(disk.Read(FreeSector(sectors), read_buffer, bytes), kOk);
    REQUIRE(HasPattern(read_buffer, bytes, sectors));
  }
}

void NeighboursStayAsTheyWere(Disk& disk) {
  FillPattern(write_buffer, 8 * kSectorBytes, 41);
  REQUIRE_EQ(disk.Write(FreeSector(0), write_buffer, 8 * kSectorBytes), kOk);
  FillPattern(write_buffer, kSectorBytes, 42);
  REQUIRE_EQ(disk.Write(FreeSector(3), write_buffer, kSectorBytes), kOk);
  REQUIRE_EQ(disk.Read(FreeSector(0), read_buffer, 8 * kSectorBytes), kOk);
  REQUIRE(HasPattern(read_buffer, 3 * kSectorBytes, 41));
  REQUIRE(HasPattern(read_buffer + 3 * kSectorBytes, kSectorBytes, 42));
  FillPattern(write_buffer, 8 * kSectorBytes, 41);
  REQUIRE(__builtin_memcmp(read_buffer + 4 * kSectorBytes, write_buffer + 4 * kSectorBytes,
                           4 * kSectorBytes) == 0);
}

void WritesSucceed(Disk& disk) {
  REQUIRE_EQ(disk.Write(FreeSector(0), write_buffer, 8 * kSectorBytes), kOk);
}

void LargeTransferWorks(Disk& disk) {
  constexpr uint32_t kBytes = kFreeSectors * kSectorBytes;
  for (uint32_t at = 0; at < kBytes; at += kSectorBytes) {
    FillPattern(write_buffer + at, 16, 100 + at);
  }
  constexpr uint16_t kPieces = 16;
  Segment segments[kPieces];
  for (uint16_t i = 0; i < kPieces; ++i) {
    segments[i] = Readable(write_buffer + i * (kBytes / kPieces), kBytes / kPieces);
  }
  REQUIRE_EQ(disk.Run(kOut, FreeSector(0), segments, kPieces), kOk);
  REQUIRE_EQ(disk.Read(FreeSector(0), read_buffer, kBytes), kOk);
  for (uint32_t at = 0; at < kBytes; at += kSectorBytes) {
    REQUIRE(HasPattern(read_buffer + at, 16, 100 + at));
  }
}

void MisalignedBuffersWork(Disk& disk) {
  constexpr uint32_t kBytes = 8 * kSectorBytes;
  for (const uint32_t shift : {1u, 7u, 256u, 4095u}) {
    FillPattern(write_buffer + shift, kBytes, shift);
    REQUIRE_EQ(disk.Write(FreeSector(16), write_buffer + shift, kBytes), kOk);
    __builtin_memset(read_buffer, 0, kBytes + shift + 8);
    REQUIRE_EQ(disk.Read(FreeSector(16), read_buffer + shift, kBytes), kOk);
    REQUIRE(HasPattern(read_buffer + shift, kBytes, shift));
    REQUIRE_EQ(read_buffer[shift - 1], 0);
    REQUIRE_EQ(read_buffer[shift + kBytes], 0);
  }
}

void SingleSectorsWork(Disk& disk) {
  FillPattern(write_buffer, kSectorBytes, 51);
  REQUIRE_EQ(disk.Write(FreeSector(9), write_buffer, kSectorBytes), kOk);
  REQUIRE_EQ(disk.Read(FreeSector(9), read_buffer, kSectorBytes), kOk);
  REQUIRE(HasPattern(read_buffer, kSectorBytes, 51));
}

void LastBlockCanBeRead(Disk& disk) {
  const uint64_t last = disk.capacity_sectors() - kBlockSectors;
  REQUIRE_EQ(disk.Read(last, read_buffer, kBlockBytes), kOk);
}

void AccessBeyondCapacityFails(Disk& disk) {
  const uint64_t capacity = disk.capacity_sectors();
  REQUIRE_EQ(disk.Read(capacity, read_buffer, kSectorBytes), kIoError);
  REQUIRE_EQ(disk.Read(capacity - 1, read_buffer, 2 * kSectorBytes), kIoError);
  REQUIRE_EQ(disk.Write(capacity, write_buffer, kSectorBytes), kIoError);
  REQUIRE_EQ(disk.Write(~uint64_t{0}, write_buffer, kSectorBytes), kIoError);
}

void PartialSectorsFail(Disk& disk) {
  for (const uint32_t bytes : {1u, 511u, 513u}) {
    REQUIRE_EQ(disk.Read(0, read_buffer, bytes), kIoError);
    REQUIRE_EQ(disk.Write(0, write_buffer, bytes), kIoError);
  }
}

void EmptyTransfersSucceed(Disk& disk) {
  REQUIRE_EQ(disk.Command(kIn, 0), kOk);
  if (!disk.Offers(kFeatureReadOnly)) REQUIRE_EQ(disk.Command(kOut, 0), kOk);
}

void FlushSucceeds(Disk& disk) {
  if (!disk.Has(kFeatureFlush)) SkipCheck("FLUSH is not offered");
  REQUIRE_EQ(disk.Command(kFlush, 0), kOk);
}

void IdentificationIsPadded(Disk& disk) {
  uint8_t id[24];
  __builtin_memset(id, 0xa5, sizeof(id));
  Segment segment = Writable(id, 20);
  REQUIRE_EQ(disk.Run(kGetId, 0, &segment, 1), kOk);
  bool ended = false;
  for (unsigned i = 0; i < 20; ++i) {
    if (ended) REQUIRE_EQ(id[i], 0);
    ended = ended || id[i] == 0;
  }
  REQUIRE_EQ(id[20], 0xa5);

  uint8_t start[5];
  __builtin_memset(start, 0xa5, sizeof(start));
  segment = Writable(start, 4);
  REQUIRE_EQ(disk.Run(kGetId, 0, &segment, 1), kOk);
  REQUIRE(__builtin_memcmp(start, id, 4) == 0);
  REQUIRE_EQ(start[4], 0xa5);
}

void UnofferedCommandsAreUnsupported(Disk& disk) {
  DiscardSegment range = {0, 8, 0};
  const Segment data = Readable(&range, sizeof(range));
  if (!disk.Has(kFeatureDiscard)) REQUIRE_EQ(disk.Run(kDiscard, 0, &data, 1), kUnsupported);
  if (!disk.Has(kFeatureWriteZeroes)) {
    REQUIRE_EQ(disk.Run(kWriteZeroes, 0, &data, 1), kUnsupported);
  }
  REQUIRE_EQ(disk.Run(kSecureErase, 0, &data, 1), kUnsupported);
  uint8_t lifetime[6];
  const Segment reply = Writable(lifetime, sizeof(lifetime));
  REQUIRE_EQ(disk.Run(kGetLifetime, 0, &reply, 1), kUnsupported);
}

void ReadOnlyDiskRefusesWrites(Disk& disk) {
  if (!disk.Offers(kFeatureReadOnly)) SkipCheck("the disk is not read-only");
  REQUIRE_EQ(disk.Write(0, write_buffer, kBlockBytes), kIoError);
  disk.Start(kDriverFeatures & ~kFeatureReadOnly);
  REQUIRE_EQ(disk.Write(0, write_buffer, kBlockBytes), kIoError);
}

// What DISCARD and WRITE_ZEROES have in common.
struct RangeCommand {
  uint32_t type;
  uint32_t unknown_flag;
  uint32_t max_sectors;
  uint32_t max_segments;
  uint32_t sparing_flags;  // with which nothing is allocated
};

RangeCommand Discard(Disk& disk) {
  if (!disk.Has(kFeatureDiscard)) SkipCheck("DISCARD is not offered");
  const VirtioPci& pci = disk.pci();
  return {kDiscard, 1, pci.Config<uint32_t>(kBlkMaxDiscardSectors),
          pci.Config<uint32_t>(kBlkMaxDiscardSeg), 0};
}

RangeCommand WriteZeroes(Disk& disk) {
  if (!disk.Has(kFeatureWriteZeroes)) SkipCheck("WRITE_ZEROES is not offered");
  const VirtioPci& pci = disk.pci();
  return {kWriteZeroes, 2, pci.Config<uint32_t>(kBlkMaxWriteZeroesSectors),
          pci.Config<uint32_t>(kBlkMaxWriteZeroesSeg), 1};
}

constexpr uint32_t kOneRange = sizeof(DiscardSegment);
constexpr uint32_t kMaxRanges = 300;
DiscardSegment ranges[kMaxRanges];

uint8_t RunRanges(Disk& disk, const RangeCommand& command, uint32_t bytes) {
  const Segment data = Readable(ranges, bytes);
  return disk.Run(command.type, 0, &data, 1);
}

void FlagsOfRangesAreChecked(Disk& disk, const RangeCommand& command) {
  ranges[0] = {FreeSector(0), 8, 0};
  REQUIRE_EQ(RunRanges(disk, command, kOneRange), kOk);
  for (const uint32_t flags : {command.unknown_flag, 0x8000'0000u}) {
    ranges[0].flags = flags;
    REQUIRE_EQ(RunRanges(disk, command, kOneRange), kUnsupported);
  }
}

void FlagsOfDiscardAreChecked(Disk& disk) { FlagsOfRangesAreChecked(disk, Discard(disk)); }

void FlagsOfWriteZeroesAreChecked(Disk& disk) {
  const RangeCommand command = WriteZeroes(disk);
  REQUIRE(disk.pci().Config<uint8_t>(kBlkWriteZeroesMayUnmap) <= 1);
  FlagsOfRangesAreChecked(disk, command);
}

// As many ranges as there may be, then one more and none; one as long as it may be, then a sector
// longer.
void LimitsOfRangesHold(Disk& disk, const RangeCommand& command) {
  REQUIRE(command.max_sectors > 0);
  REQUIRE(command.max_segments > 0);
  const bool tries_all = command.max_segments < kMaxRanges;
  for (DiscardSegment& range : ranges) range = {FreeSector(0), 8, 0};
  if (tries_all) {
    REQUIRE_EQ(RunRanges(disk, command, command.max_segments * kOneRange), kOk);
    REQUIRE_EQ(RunRanges(disk, command, (command.max_segments + 1) * kOneRange), kIoError);
  }
  REQUIRE_EQ(disk.Command(command.type, 0), kIoError);  // no range at all
  if (disk.IsZoned() || command.max_sectors >= disk.capacity_sectors()) return;
  ranges[0] = {0, command.max_sectors, command.sparing_flags};
  REQUIRE_EQ(RunRanges(disk, command, kOneRange), kOk);
  ++ranges[0].sectors;
  REQUIRE_EQ(RunRanges(disk, command, kOneRange), kIoError);
}

void LimitsOfDiscardHold(Disk& disk) { LimitsOfRangesHold(disk, Discard(disk)); }
void LimitsOfWriteZeroesHold(Disk& disk) { LimitsOfRangesHold(disk, WriteZeroes(disk)); }

void WrongRangesFail(Disk& disk, const RangeCommand& command) {
  ranges[0] = ranges[1] = {FreeSector(0), 8, 0};
  for (const uint32_t bytes : {1u, 15u, 17u, 31u}) {
    REQUIRE_EQ(RunRanges(disk, command, bytes), kIoError);
  }
  const uint64_t capacity = disk.capacity_sectors();
  const DiscardSegment beyond[] = {{capacity, 8, 0},          {capacity - 8, 16, 0},
                                   {~uint64_t{0}, 8, 0},      {~uint64_t{7}, 8, 0},
                                   {uint64_t{1} << 55, 8, 0}, {0, 0, 0},
                                   {0, 0xffff'ffff, 0}};
  for (const DiscardSegment& range : beyond) {
    ranges[0] = range;
    REQUIRE_EQ(RunRanges(disk, command, kOneRange), kIoError);
  }
}

void WrongRangesOfDiscardFail(Disk& disk) { WrongRangesFail(disk, Discard(disk)); }
void WrongRangesOfWriteZeroesFail(Disk& disk) { WrongRangesFail(disk, WriteZeroes(disk)); }

void SetWriteback(Disk& disk, uint8_t value) {
  MmioWrite<uint8_t>(disk.pci().region(kDeviceConfig).address + kBlkWriteback, value);
}

void WritebackIsZeroWithoutFlush(Disk& disk) {
  if (!disk.Offers(kFeatureConfigWce)) SkipCheck("CONFIG_WCE is not offered");
  disk.Start(kDriverFeatures & ~kFeatureFlush);
  REQUIRE_EQ(disk.pci().Config<uint8_t>(kBlkWriteback), 0);
  REQUIRE_EQ(disk.Command(kFlush, 0), kUnsupported);
}

void WritebackSwitches(Disk& disk) {
  if (!disk.Has(kFeatureConfigWce)) SkipCheck("CONFIG_WCE is not offered");
  const VirtioPci& pci = disk.pci();
  const auto at_first = pci.Config<uint8_t>(kBlkWriteback);
  for (const uint8_t value : {0, 1, 0, 0, 1}) {
    SetWriteback(disk, value);
    REQUIRE_EQ(pci.Config<uint8_t>(kBlkWriteback), value);
    FillPattern(write_buffer, kBlockBytes, 90 + value);
    REQUIRE_EQ(disk.Write(FreeSector(8), write_buffer, kBlockBytes), kOk);
    REQUIRE_EQ(disk.Command(kFlush, 0), kOk);
  }
  SetWriteback(disk, 1 - at_first);
  disk.Start();
  REQUIRE_EQ(pci.Config<uint8_t>(kBlkWriteback), at_first);
}

void WritebackIsReadOnlyUnlessNegotiated(Disk& disk) {
  disk.Start(kDriverFeatures & ~kFeatureConfigWce);
  const auto before = disk.pci().Config<uint8_t>(kBlkWriteback);
  SetWriteback(disk, before == 0 ? 1 : 0);
  REQUIRE_EQ(disk.pci().Config<uint8_t>(kBlkWriteback), before);
}

void WriteZeroesWrites(Disk& disk) {
  if (!disk.Has(kFeatureWriteZeroes)) SkipCheck("WRITE_ZEROES is not offered");
  for (const uint32_t unmap : {0u, 1u}) {
    FillPattern(write_buffer, 8 * kSectorBytes, 61);
    REQUIRE_EQ(disk.Write(FreeSector(0), write_buffer, 8 * kSectorBytes), kOk);
    DiscardSegment range = {FreeSector(2), 4, unmap};
    const Segment data = Readable(&range, sizeof(range));
    REQUIRE_EQ(disk.Run(kWriteZeroes, 0, &data, 1), kOk);
    REQUIRE_EQ(disk.Read(FreeSector(0), read_buffer, 8 * kSectorBytes), kOk);
    REQUIRE(HasPattern(read_buffer, 2 * kSectorBytes, 61));
    for (uint32_t i = 2 * kSectorBytes; i < 6 * kSectorBytes; i += 8) {
      REQUIRE_EQ(*reinterpret_cast<uint64_t*>(read_buffer + i), 0);
    }
    REQUIRE(__builtin_memcmp(read_buffer + 6 * kSectorBytes, write_buffer + 6 * kSectorBytes,
                             2 * kSectorBytes) == 0);
  }
}

void AllQueuesServeAtOnce(Disk& disk) {
  const auto configured = disk.pci().Config<uint16_t>(kBlkNumQueues);
  REQUIRE(disk.Has(kFeatureMq));
  REQUIRE_EQ(configured, disk.pci().QueueCount());
  static Request requests[kMaxQueues][4];
  const Segment data = Writable(read_buffer, kBlockBytes);
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
    for (Request& request : requests[queue]) {
      disk.Submit(&request, kIn, queue * kBlockSectors, &data, 1, queue);
    }
    disk.Kick(queue);
  }
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
    disk.AwaitAll(queue);
    for (const Request& request : requests[queue]) REQUIRE_EQ(request.status, kOk);
  }
}

void QueuesSeeEachOthersWrites(Disk& disk) {
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
    const uint16_t other = (queue + 1) % disk.queue_count();
    FillPattern(write_buffer, kSectorBytes, 70 + queue);
    const Segment out = Readable(write_buffer, kSectorBytes);
    const Segment in = Writable(read_buffer, kSectorBytes);
    REQUIRE_EQ(disk.Run(kOut, FreeSector(queue), &out, 1, queue), kOk);
    REQUIRE_EQ(disk.Run(kIn, FreeSector(queue), &in, 1, other), kOk);
    REQUIRE(HasPattern(read_buffer, kSectorBytes, 70 + queue));
  }
}

void DataSurvivesReset(Disk& disk) {
  FillPattern(write_buffer, kSectorBytes, 81);
  REQUIRE_EQ(disk.Write(FreeSector(5), write_buffer, kSectorBytes), kOk);
  disk.Start();
  REQUIRE_EQ(disk.Read(FreeSector(5), read_buffer, kSectorBytes), kOk);
  REQUIRE(HasPattern(read_buffer, kSectorBytes, 81));
}

void ZoneTypesAreUnsupportedOnPlainDisks(Disk& disk) {
  for (const uint32_t type :
       {kZoneReport, kZoneOpen, kZoneClose, kZoneFinish, kZoneReset, kZoneResetAll}) {
    REQUIRE_EQ(disk.Command(type, 0), kUnsupported);
  }
  REQUIRE_EQ(Append(disk, 0, write_buffer, kSectorBytes, 16).status, kUnsupported);
  REQUIRE_EQ(Append(disk, 0, write_buffer, kSectorBytes, 9).status, kUnsupported);
}

void PlainDiskHasNoZoneConfig(Disk& disk) {
  if (disk.pci().region(kDeviceConfig).length < kBlkConfigBytes) return;
  for (uint32_t offset = kBlkZoneSectors; offset < kBlkConfigBytes; offset += 4) {
    REQUIRE_EQ(disk.pci().Config<uint32_t>(offset), 0);
  }
}

const Check kChecks[] = {
    {"B-00", "the disk is of the kind that expect= names", kNeedsNothing, IsOfTheExpectedKind},
    {"B-01", "FLUSH is offered", kNeedsNothing, OffersFlush},
    {"B-03", "unused configuration bytes are 0", kNeedsNothing, UnusedConfigIsZero},
    {"B-04", "a read-only disk refuses writes", kNeedsStart, ReadOnlyDiskRefusesWrites},
    {"B-02", "CONFIG_WCE without FLUSH begins with write-through", kNeedsNothing,
     WritebackIsZeroWithoutFlush},
    {"B-05", "flags of DISCARD are checked", kFree, FlagsOfDiscardAreChecked},
    {"B-05", "flags of WRITE_ZEROES are checked", kFree, FlagsOfWriteZeroesAreChecked},
    {"B-17", "as many ranges as max_discard_seg says, and none longer than it may be", kFree,
     LimitsOfDiscardHold},
    {"B-17", "as many ranges as max_write_zeroes_seg says, and none longer than it may be", kFree,
     LimitsOfWriteZeroesHold},
    {"H-21", "parts of ranges, and ranges beyond the disk, fail: DISCARD", kFree,
     WrongRangesOfDiscardFail},
    {"H-21", "parts of ranges, and ranges beyond the disk, fail: WRITE_ZEROES", kFree,
     WrongRangesOfWriteZeroesFail},
    {"B-06", "WRITE_ZEROES zeroes its range and nothing else", kFree | kNeedsKeptData,
     WriteZeroesWrites},
    {"B-09", "FLUSH succeeds", kNeedsStart, FlushSucceeds},
    {"B-10", "the configuration is read-only", kNeedsNothing, ConfigIsReadOnly},
    {"B-10", "writeback switches at run time and goes back with a reset", kFree, WritebackSwitches},
    {"B-10", "writeback is read-only unless CONFIG_WCE was negotiated", kNeedsNothing,
     WritebackIsReadOnlyUnlessNegotiated},
    {"B-11", "access beyond the capacity fails", kNeedsStart, AccessBeyondCapacityFails},
    {"B-11", "the last 4 KiB can be read", kNeedsStart, LastBlockCanBeRead},
    {"B-11", "transfers of partial sectors fail", kNeedsStart, PartialSectorsFail},
    {"B-12", "single sectors can be written whatever the block size", kFree | kNeedsKeptData,
     SingleSectorsWork},
    {"B-13", "misaligned buffers work", kFree | kNeedsKeptData, MisalignedBuffersWork},
    {"B-14", "the identification is padded or cut to the buffer", kNeedsStart,
     IdentificationIsPadded},
    {"B-15", "commands that are not offered are unsupported", kNeedsStart,
     UnofferedCommandsAreUnsupported},
    {"B-16", "all queues serve requests at once", kNeedsStart | kNeedsQueues, AllQueuesServeAtOnce},
    {"B-16", "queues see each other's writes", kFree | kNeedsKeptData | kNeedsQueues,
     QueuesSeeEachOthersWrites},
    {"B-18", "block size, size_max and seg_max are sound", kNeedsStart, BlockSizesAreSound},
    {"B-18", "a segment longer than size_max is served", kFree | kNeedsUnzoned,
     SegmentsLongerThanSizeMaxWork},
    {"B-RW", "writes succeed", kFree, WritesSucceed},
    {"B-RW", "reads return what was written", kFree | kNeedsKeptData, ReadsBackWhatWasWritten},
    {"B-RW", "neighbours of a write stay as they were", kFree | kNeedsKeptData,
     NeighboursStayAsTheyWere},
    {"B-RW", "a transfer of 64 KiB in 16 pieces works", kFree | kNeedsKeptData, LargeTransferWorks},
    {"B-RW", "data survives a reset of the device", kFree | kNeedsKeptData, DataSurvivesReset},
    {"B-22", "transfers of nothing succeed", kNeedsStart, EmptyTransfersSucceed},
    {"Z-01", "a plain disk does not offer ZONED", kNeedsNothing, PlainDiskOffersNoZones},
    {"Z-04", "a plain disk has no zones in its configuration", kNeedsUnzoned,
     PlainDiskHasNoZoneConfig},
    {"Z-14", "zone requests to a plain disk are unsupported", kNeedsStart | kNeedsUnzoned,
     ZoneTypesAreUnsupportedOnPlainDisks},
};

}  // namespace

const CheckTable kBlockChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
