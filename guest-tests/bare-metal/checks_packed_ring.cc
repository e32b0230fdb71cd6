// Checks of packed rings alone (virtio 1.3, 2.8): descriptors written by hand into the ring of a
// disk that was just started, from its first place and lap on.

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

BlkHeader header;
uint8_t status;

uint64_t AddressOf(const void* data) { return reinterpret_cast<uint64_t>(data); }

void Prepare(uint32_t type) {
  header = {type, 0, 0};
  status = kStatusNotWritten;
}

// A descriptor of the first lap; the first of a list is written last.
void Put(Disk& disk, uint16_t index, const PackedDescriptor& descriptor,
         uint16_t lap_flags = kDescriptorAvailable) {
  volatile PackedDescriptor& target = disk.queue(0).packed_descriptor(index);
  target.address = descriptor.address;
  target.bytes = descriptor.bytes;
  target.id = descriptor.id;
  CompilerBarrier();
  target.flags = descriptor.flags | lap_flags;
  FullBarrier();
}

// The three descriptors of a read at `index`, with an id of its own for each.
void PutRead(Disk& disk, uint16_t index, uint16_t id) {
  Prepare(kIn);
  Put(disk, index + 2, {AddressOf(&status), 1, id, kDescriptorWrite});
  Put(disk, index + 1,
      {AddressOf(read_buffer), kBlockBytes, 0x1111, kDescriptorWrite | kDescriptorNext});
  Put(disk, index, {AddressOf(&header), sizeof(header), 0x2222, kDescriptorNext});
}

bool IsUsed(Disk& disk, uint16_t index) {
  constexpr uint16_t kBoth = kDescriptorAvailable | kDescriptorUsed;
  return (disk.queue(0).packed_descriptor(index).flags & kBoth) == kBoth;
}

void NotifyAndAwait(Disk& disk, uint16_t index) {
  disk.pci().Notify(0);
  const bool was_used = WaitFor([&] { return IsUsed(disk, index); });
  REQUIRE(was_used);
}

void RequireBroken(Disk& disk) {
  disk.pci().Notify(0);
  disk.RequireNeedsReset();
  RequireWorksAfterReset(disk);
}

void ListComesBackAsOne(Disk& disk) {
  PutRead(disk, 0, 0x7777);
  NotifyAndAwait(disk, 0);
  REQUIRE_EQ(status, kOk);
  const volatile PackedDescriptor& used = disk.queue(0).packed_descriptor(0);
  REQUIRE_EQ(used.id, 0x7777);
  REQUIRE_EQ(used.bytes, kBlockBytes + 1);
  REQUIRE_EQ(used.flags & kDescriptorWrite, kDescriptorWrite);
  REQUIRE_EQ(disk.queue(0).packed_descriptor(1).id, 0x1111);
  REQUIRE(!IsUsed(disk, 1));
  // The next list is looked for behind it.
  PutRead(disk, 3, 0x8888);
  NotifyAndAwait(disk, 3);
  REQUIRE_EQ(disk.queue(0).packed_descriptor(3).id, 0x8888);
}

void WrongLapIsNotAvailable(Disk& disk) {
  Prepare(kGetId);
  const PackedDescriptor descriptor = {AddressOf(&header), sizeof(header), 5, 0};
  for (const uint16_t flags : {uint16_t{0}, kDescriptorUsed,
                               static_cast<uint16_t>(kDescriptorUsed | kDescriptorAvailable)}) {
    Put(disk, 0, descriptor, flags);
    disk.pci().Notify(0);
    WaitForStragglers();
    REQUIRE_EQ(disk.queue(0).packed_descriptor(0).flags, flags);
    REQUIRE(!disk.NeedsReset());
  }
  PutRead(disk, 0, 6);
  NotifyAndAwait(disk, 0);
  REQUIRE_EQ(status, kOk);
}

void NothingWrittenNothingClaimed(Disk& disk) {
  Prepare(kFlush);
  // Not even a status byte.
  Put(disk, 0, {AddressOf(&header), sizeof(header), 9, 0});
  NotifyAndAwait(disk, 0);
  REQUIRE_EQ(disk.queue(0).packed_descriptor(0).flags & kDescriptorWrite, 0);
  REQUIRE_EQ(disk.queue(0).packed_descriptor(0).id, 9);
}

// The data in front of the status was not written.
void StatusAloneIsWritten(Disk& disk) {
  PutRead(disk, 0, 9);
  header.sector = disk.capacity_sectors();
  NotifyAndAwait(disk, 0);
  REQUIRE_EQ(status, kIoError);
  REQUIRE_EQ(disk.queue(0).packed_descriptor(0).flags & kDescriptorWrite, kDescriptorWrite);
}

void TableFlagsAreIgnored(Disk& disk) {
  if (!disk.Has(kFeatureIndirect)) SkipCheck("INDIRECT_DESC is not offered");
  Prepare(kIn);
  static PackedDescriptor table[3];
  constexpr uint16_t kNoise = 0xffff & ~(kDescriptorWrite | kDescriptorIndirect);
  table[0] = {AddressOf(&header), sizeof(header), 0x1234, kNoise};
  table[1] = {AddressOf(read_buffer), kBlockBytes, 0x5678, kNoise | kDescriptorWrite};
  table[2] = {AddressOf(&status), 1, 0x9abc, kDescriptorWrite};
  Put(disk, 0,
      {AddressOf(table), sizeof(table), 3,
       static_cast<uint16_t>(kDescriptorIndirect | kDescriptorWrite)});
  NotifyAndAwait(disk, 0);
  REQUIRE_EQ(status, kOk);
  REQUIRE_EQ(disk.queue(0).packed_descriptor(0).id, 3);
}

// One read with the driver's event suppression set so, and the interrupts that it brings.
void RequireInterrupts(Disk& disk, uint16_t index, uint16_t descriptor, uint16_t flags,
                       uint64_t expected) {
  // Of checks before that did not wait for theirs.
  WaitForStragglers();
  TakePendingInterrupts();
  const uint64_t before = disk.QueueInterrupts(0);
  disk.queue(0).driver_event().descriptor = descriptor;
  disk.queue(0).driver_event().flags = flags;
  PutRead(disk, index, 1);
  NotifyAndAwait(disk, index);
  WaitFor([&] { return disk.QueueInterrupts(0) - before >= expected; });
  WaitForStragglers();
  REQUIRE_EQ(disk.QueueInterrupts(0) - before, expected);
}

void FlagsSuppressInterrupts(Disk& disk) {
  for (const uint64_t events : {uint64_t{0}, kFeatureEventIdx}) {
    disk.Start((kDriverFeatures & ~kFeatureEventIdx) | events);
    RequireInterrupts(disk, 0, 0, kEventEnable, 1);
    RequireInterrupts(disk, 3, 0, kEventDisable, 0);
    RequireInterrupts(disk, 6, 0, kEventEnable, 1);
  }
}

void EventsSuppressInterrupts(Disk& disk) {
  if (!disk.Has(kFeatureEventIdx)) SkipCheck("EVENT_IDX is not offered");
  constexpr uint16_t kFirstLap = 0x8000;
  RequireInterrupts(disk, 0, kFirstLap | 0, kEventDescriptor, 1);
  RequireInterrupts(disk, 3, kFirstLap | 6, kEventDescriptor, 0);
  RequireInterrupts(disk, 6, kFirstLap | 8, kEventDescriptor, 1);
  RequireInterrupts(disk, 9, kFirstLap | 8, kEventDescriptor, 0);
}

void DeviceEventIsSound(Disk& disk) {
  for (const uint64_t events : {uint64_t{0}, kFeatureEventIdx}) {
    disk.Start((kDriverFeatures & ~kFeatureEventIdx) | events);
    for (int i = 0; i < 20; ++i) {
      REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
      const uint16_t flags = disk.queue(0).device_event().flags;
      REQUIRE(flags == kEventEnable || flags == kEventDisable ||
              (flags == kEventDescriptor && disk.Has(kFeatureEventIdx)));
    }
  }
}

void OddSizesWork(Disk& disk) {
  for (const uint16_t size : {uint16_t{3}, uint16_t{5}, uint16_t{7}, uint16_t{100}}) {
    disk.Negotiate(kDriverFeatures);
    disk.EnableQueues(size);
    REQUIRE_EQ(disk.pci().MaxQueueSize(0), size);
    disk.GoLive();
    for (int i = 0; i < 50; ++i) REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
  }
}

void LongListsWrap(Disk& disk) {
  disk.Negotiate(kDriverFeatures);
  disk.EnableQueues(16);
  disk.GoLive();
  // As long as the ring, and one less: each begins elsewhere.
  Segment segments[14];
  for (uint16_t i = 0; i < 14; ++i) {
    segments[i] = Writable(read_buffer + i * kSectorBytes, kSectorBytes);
  }
  for (int i = 0; i < 40; ++i) {
    REQUIRE_EQ(disk.Run(kIn, 0, segments, i % 2 == 0 ? 14 : 13), kOk);
  }
}

void ManyLapsWork(Disk& disk) {
  static Request requests[32];
  uint8_t id[20];
  const Segment data = Writable(id, sizeof(id));
  for (int round = 0; round < 200; ++round) {
    for (Request& request : requests) disk.Submit(&request, kGetId, 0, &data, 1);
    disk.Kick();
    disk.AwaitAll();
    for (const Request& request : requests) {
      REQUIRE(request.done);
      REQUIRE_EQ(request.status, kOk);
    }
  }
}

void ListIntoUnavailable(Disk& disk) {
  Prepare(kIn);
  Put(disk, 0, {AddressOf(&header), sizeof(header), 0, kDescriptorNext});
  RequireBroken(disk);
}

void ListWithoutEnd(Disk& disk) {
  Prepare(kIn);
  for (uint16_t i = disk.queue(0).size(); i-- > 0;) {
    Put(disk, i, {AddressOf(&header), 0, 0, kDescriptorNext});
  }
  RequireBroken(disk);
}

void IndirectInAList(Disk& disk) {
  if (!disk.Has(kFeatureIndirect)) SkipCheck("INDIRECT_DESC is not offered");
  Prepare(kIn);
  static PackedDescriptor table[1];
  table[0] = {AddressOf(&status), 1, 0, kDescriptorWrite};
  Put(disk, 1, {AddressOf(table), sizeof(table), 0, kDescriptorIndirect});
  Put(disk, 0, {AddressOf(&header), sizeof(header), 0, kDescriptorNext});
  RequireBroken(disk);
}

void IndirectWithoutNegotiation(Disk& disk) {
  disk.Start(kDriverFeatures & ~kFeatureIndirect);
  Prepare(kIn);
  static PackedDescriptor table[1];
  table[0] = {AddressOf(&status), 1, 0, kDescriptorWrite};
  Put(disk, 0, {AddressOf(table), sizeof(table), 0, kDescriptorIndirect});
  RequireBroken(disk);
}

constexpr unsigned kNeeds = kNeedsStart | kNeedsPacked;

const Check kChecks[] = {
    {"K-02", "a descriptor of another lap is not available", kNeeds, WrongLapIsNotAvailable},
    {"K-03", "a list comes back as one descriptor with the id of its last", kNeeds,
     ListComesBackAsOne},
    {"K-04", "WRITE in a used descriptor says whether anything was written", kNeeds,
     NothingWrittenNothingClaimed},
    {"K-04", "WRITE in a used descriptor says so when only the status was written", kNeeds,
     StatusAloneIsWritten},
    {"K-05", "in an indirect table only WRITE counts", kNeeds, TableFlagsAreIgnored},
    {"K-06", "the driver's flags suppress interrupts", kNeeds, FlagsSuppressInterrupts},
    {"K-06", "the driver's event decides on interrupts with EVENT_IDX", kNeeds,
     EventsSuppressInterrupts},
    {"K-06", "the device's event suppression is sound", kNeeds, DeviceEventIsSound},
    {"K-07", "rings of 3, 5, 7 and 100 work", kNeeds, OddSizesWork},
    {"K-07", "lists as long as the ring go around its end", kNeeds, LongListsWrap},
    {"K-07", "many laps work", kNeeds, ManyLapsWork},
    {"H-03", "a list without an end", kNeeds, ListWithoutEnd},
    {"H-03", "a list into a descriptor that is not available", kNeeds, ListIntoUnavailable},
    {"H-05", "an indirect descriptor at the end of a list", kNeeds, IndirectInAList},
    {"H-05", "an indirect table that was not negotiated, in a packed ring", kNeeds,
     IndirectWithoutNegotiation},
};

}  // namespace

const CheckTable kPackedRingChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
