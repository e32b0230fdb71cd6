// Checks with rings and requests that no driver should make: the device breaks itself or answers
// with an error, the VMM lives, and after a reset everything works again (conformance
// checklist 2.4).

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

BlkHeader header;
uint8_t status;
Descriptor table[8];
uint16_t head;  // of what was placed last

void PlaceRead(Disk& disk) {
  header = {kIn, 0, 0};
  status = kStatusNotWritten;
  const Segment segments[] = {Readable(&header, sizeof(header)), Writable(read_buffer, kBlockBytes),
                              Writable(&status, 1)};
  head = disk.queue(0).Place(segments, 3);
  disk.SubmitChain(nullptr, head);
}

void PlaceIndirectRead(Disk& disk) {
  if (!disk.Has(kFeatureIndirect)) SkipCheck("INDIRECT_DESC is not offered");
  header = {kIn, 0, 0};
  status = kStatusNotWritten;
  const Segment segments[] = {Readable(&header, sizeof(header)), Writable(read_buffer, kBlockBytes),
                              Writable(&status, 1)};
  head = disk.queue(0).PlaceIndirect(segments, 3, 0, table);
  disk.SubmitChain(nullptr, head);
}

// The n-th descriptor of what was placed last; of a packed ring's only address and length are where
// they seem to be.
Descriptor& PlacedDescriptor(Disk& disk, unsigned n = 0) {
  return disk.queue(0).memory().descriptors[head + n];
}

// The ring cannot be trusted any more.
void RequireBroken(Disk& disk) {
  disk.queue(0).Publish();
  disk.pci().Notify(0);
  disk.RequireNeedsReset();
  RequireWorksAfterReset(disk);
}

// The checklist leaves it to the device whether it breaks or answers with an error, as long as it
// does one of them.
void RequireBrokenOrRefused(Disk& disk) {
  disk.queue(0).Publish();
  disk.pci().Notify(0);
  const bool answered = WaitFor([&] { return disk.NeedsReset() || disk.queue(0).HasUsed(); });
  REQUIRE(answered);
  REQUIRE(status != kOk);
  RequireWorksAfterReset(disk);
}

void HeadOutsideRing(Disk& disk) {
  disk.queue(0).Push(disk.queue(0).size());
  RequireBroken(disk);
}

void NextOutsideRing(Disk& disk) {
  PlaceRead(disk);
  PlacedDescriptor(disk, 1).next = disk.queue(0).size();
  RequireBroken(disk);
}

void LoopInChain(Disk& disk) {
  PlaceRead(disk);
  PlacedDescriptor(disk, 1).next = 1;
  RequireBroken(disk);
}

void LoopOfReadableDescriptors(Disk& disk) {
  PlaceRead(disk);
  PlacedDescriptor(disk).next = 0;
  RequireBroken(disk);
}

void IndirectWithoutNegotiation(Disk& disk) {
  if (!disk.Has(kFeatureIndirect)) SkipCheck("INDIRECT_DESC is not offered");
  PlaceIndirectRead(disk);
  disk.Start(kDriverFeatures & ~kFeatureIndirect);
  header = {kIn, 0, 0};
  status = kStatusNotWritten;
  head = 0;
  PlacedDescriptor(disk) = {reinterpret_cast<uint64_t>(table), 3 * sizeof(Descriptor),
                            kDescriptorIndirect, 0};
  disk.queue(0).Push(0);
  RequireBrokenOrRefused(disk);
}

void IndirectWithNext(Disk& disk) {
  PlaceIndirectRead(disk);
  PlacedDescriptor(disk).flags |= kDescriptorNext;
  PlacedDescriptor(disk).next = 1;
  RequireBrokenOrRefused(disk);
}

void NestedIndirect(Disk& disk) {
  PlaceIndirectRead(disk);
  static Descriptor inner[1];
  inner[0] = table[2];
  table[2] = {reinterpret_cast<uint64_t>(inner), sizeof(inner), kDescriptorIndirect, 0};
  RequireBroken(disk);
}

void IndirectOfBadLength(Disk& disk) {
  for (const uint32_t bytes : {0u, 8u, 47u, 0xffff'fff0u}) {
    PlaceIndirectRead(disk);
    PlacedDescriptor(disk).bytes = bytes;
    RequireBrokenOrRefused(disk);
  }
}

void IndirectNextOutsideTable(Disk& disk) {
  PlaceIndirectRead(disk);
  table[1].next = 3;
  RequireBroken(disk);
}

void DataOutsideMemory(Disk& disk) {
  for (const uint64_t address : {0xffff'ffff'ffff'ff00ull, 0x7fff'ffff'0000ull, 0xfee0'0000ull}) {
    PlaceRead(disk);
    PlacedDescriptor(disk, 1).address = address;
    RequireBrokenOrRefused(disk);
  }
}

void HugeLength(Disk& disk) {
  PlaceRead(disk);
  PlacedDescriptor(disk, 1).bytes = 0xffff'fe00;
  RequireBrokenOrRefused(disk);
}

void ReadableAfterWritable(Disk& disk) {
  header = {kIn, 0, 0};
  status = kStatusNotWritten;
  const Segment segments[] = {Writable(read_buffer, kBlockBytes), Readable(&header, sizeof(header)),
                              Writable(&status, 1)};
  disk.SubmitChain(nullptr, disk.queue(0).Place(segments, 3));
  RequireBroken(disk);
}

void NoWritableByte(Disk& disk) {
  header = {kFlush, 0, 0};
  status = kStatusNotWritten;
  const Segment segments[] = {Readable(&header, sizeof(header))};
  disk.SubmitChain(nullptr, disk.queue(0).Place(segments, 1));
  RequireBrokenOrRefused(disk);
}

void ShortHeader(Disk& disk) {
  header = {kIn, 0, 0};
  status = kStatusNotWritten;
  const Segment segments[] = {Readable(&header, 15), Writable(&status, 1)};
  disk.SubmitChain(nullptr, disk.queue(0).Place(segments, 2));
  RequireBrokenOrRefused(disk);
}

void IndexJumpsTooFar(Disk& disk) {
  PlaceRead(disk);
  volatile auto& available = disk.queue(0).memory().available;
  available.index = static_cast<uint16_t>(disk.queue(0).size() + 1);
  disk.pci().Notify(0);
  disk.RequireNeedsReset();
  RequireWorksAfterReset(disk);
}

void RingOutsideMemory(Disk& disk) {
  disk.Negotiate(kDriverFeatures);
  disk.EnableQueues();
  const VirtioPci& pci = disk.pci();
  pci.Reset();
  disk.Negotiate(kDriverFeatures);
  pci.SetCommon<uint16_t>(kQueueSelect, 0);
  pci.SetCommon<uint32_t>(kQueueDesc, 0xffff'f000);
  pci.SetCommon<uint32_t>(kQueueDesc + 4, 0xffff'ffff);
  pci.SetCommon<uint32_t>(kQueueDriver, 0xfee0'0000);
  pci.SetCommon<uint32_t>(kQueueDevice, 0xd000'0000);
  pci.SetCommon<uint16_t>(kQueueEnable, 1);
  disk.GoLive();
  pci.Notify(0);
  WaitForStragglers();
  RequireWorksAfterReset(disk);
}

void OldTypesAreUnsupported(Disk& disk) {
  for (const uint32_t type : {2u, 3u, 5u, 6u, 7u, 9u, 12u, 17u, 19u, 21u, 23u, 25u, 27u, 255u}) {
    REQUIRE_EQ(disk.Command(type, 0), kUnsupported);
  }
}

void TypesHave32Bits(Disk& disk) {
  FillPattern(write_buffer, kBlockBytes, 31);
  const Segment out = Readable(write_buffer, kBlockBytes);
  const Segment in = Writable(read_buffer, kBlockBytes);
  for (const uint32_t type : {0x8000'0001u, 0x0001'0001u, 0x0000'0101u}) {
    REQUIRE_EQ(disk.Run(type, 0, &out, 1), kUnsupported);
  }
  REQUIRE_EQ(disk.Run(0x8000'0000, 0, &in, 1), kUnsupported);
  REQUIRE_EQ(disk.Command(0x8000'0004, 0), kUnsupported);
}

void ReservedFieldIsIgnored(Disk& disk) {
  header = {kIn, 0xdead'beef, 0};
  status = kStatusNotWritten;
  const Segment segments[] = {Readable(&header, sizeof(header)), Writable(read_buffer, kBlockBytes),
                              Writable(&status, 1)};
  disk.RunChain(segments, 3);
  REQUIRE_EQ(status, kOk);
}

void SectorsDoNotOverflow(Disk& disk) {
  const uint64_t rows[] = {disk.capacity_sectors(),
                           disk.capacity_sectors() - 1,
                           uint64_t{1} << 55,
                           (uint64_t{1} << 55) - 1,
                           ~uint64_t{0},
                           ~uint64_t{0} - 1,
                           uint64_t{1} << 63};
  for (const uint64_t sector : rows) {
    REQUIRE_EQ(disk.Read(sector, read_buffer, 2 * kBlockBytes), kIoError);
  }
}

void DoorbellsAtTheWrongTime(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.AddStatus(kStatusFailed);
  PlaceRead(disk);
  disk.queue(0).Publish();
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) pci.Notify(queue);
  WaitForStragglers();
  REQUIRE_EQ(status, kStatusNotWritten);
  pci.Reset();
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) pci.Notify(queue);
  WaitForStragglers();
  REQUIRE_EQ(status, kStatusNotWritten);
  REQUIRE_EQ(pci.Status(), 0);
  RequireWorksAfterReset(disk);
}

const Check kChecks[] = {
    {"H-01", "a head outside the ring", kNeedsStart | kNeedsSplit, HeadOutsideRing},
    {"H-02", "a successor outside the ring", kNeedsStart | kNeedsSplit, NextOutsideRing},
    {"H-02", "a successor outside the indirect table", kNeedsStart | kNeedsSplit,
     IndirectNextOutsideTable},
    {"H-03", "a loop of writable descriptors", kNeedsStart | kNeedsSplit, LoopInChain},
    {"H-03", "a loop of readable descriptors", kNeedsStart | kNeedsSplit,
     LoopOfReadableDescriptors},
    {"H-05", "an indirect table that was not negotiated", kNeedsStart | kNeedsSplit,
     IndirectWithoutNegotiation},
    {"H-05", "an indirect descriptor with a successor", kNeedsStart | kNeedsSplit,
     IndirectWithNext},
    {"H-05", "an indirect table in an indirect table", kNeedsStart | kNeedsSplit, NestedIndirect},
    {"H-06", "indirect tables of impossible lengths", kNeedsStart, IndirectOfBadLength},
    {"H-07", "data outside the memory", kNeedsStart, DataOutsideMemory},
    {"H-08", "a readable descriptor after a writable one", kNeedsStart, ReadableAfterWritable},
    {"H-09", "a request without a writable byte", kNeedsStart, NoWritableByte},
    {"H-09", "a header of 15 bytes", kNeedsStart, ShortHeader},
    {"H-11", "an index that jumps by more than the ring", kNeedsStart | kNeedsSplit,
     IndexJumpsTooFar},
    {"H-12", "rings outside the memory", kNeedsNothing, RingOutsideMemory},
    {"H-14", "doorbells after FAILED, and before a start", kNeedsStart, DoorbellsAtTheWrongTime},
    {"H-16", "a read of 4 GiB", kNeedsStart, HugeLength},
    {"H-17", "legacy and unknown types are unsupported", kNeedsStart, OldTypesAreUnsupported},
    {"H-17", "all 32 bits of the type count", kNeedsStart | kNeedsWritable, TypesHave32Bits},
    {"H-18", "the reserved header field is ignored", kNeedsStart, ReservedFieldIsIgnored},
    {"H-19", "sectors near the end and near 2^64 do not overflow", kNeedsStart,
     SectorsDoNotOverflow},
};

}  // namespace

const CheckTable kHostileChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
