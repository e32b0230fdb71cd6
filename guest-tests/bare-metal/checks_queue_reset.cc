// Checks of RING_RESET: one queue stops, the others go on, and it comes back with a new ring
// (virtio 1.3, 2.6.1, 4.1.4.3).

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

void StartWithRingReset(Disk& disk) {
  if (!disk.Offers(kFeatureRingReset)) SkipCheck("RING_RESET is not offered");
  disk.Start(kDriverFeatures | kFeatureRingReset);
}

void ResetQueue(Disk& disk, uint16_t queue) {
  const VirtioPci& pci = disk.pci();
  pci.SetCommon<uint16_t>(kQueueSelect, queue);
  pci.SetCommon<uint16_t>(kQueueReset, 1);
  REQUIRE(WaitFor([&] { return pci.Common<uint16_t>(kQueueReset) == 0; }));
  REQUIRE_EQ(pci.Common<uint16_t>(kQueueEnable), 0);
}

void RequireQueueWorks(Disk& disk, uint16_t queue) {
  const Segment data = Writable(read_buffer, kBlockBytes);
  REQUIRE_EQ(disk.Run(kIn, 0, &data, 1, queue), kOk);
}

void QueueComesBack(Disk& disk) {
  StartWithRingReset(disk);
  for (const uint16_t size : {uint16_t{4}, kMaxQueueSize, uint16_t{16}}) {
    for (int i = 0; i < 9; ++i) RequireQueueWorks(disk, 0);
    ResetQueue(disk, 0);
    disk.EnableQueue(0, size);
    REQUIRE_EQ(disk.pci().Common<uint16_t>(kQueueEnable), 1);
    REQUIRE_EQ(disk.pci().Common<uint16_t>(kQueueReset), 0);
  }
  for (int i = 0; i < 9; ++i) RequireQueueWorks(disk, 0);
}

void QueueIsAsAfterAReset(Disk& disk) {
  StartWithRingReset(disk);
  const VirtioPci& pci = disk.pci();
  ResetQueue(disk, 0);
  REQUIRE_EQ(pci.Common<uint16_t>(kQueueMsixVector), kNoVector);
  // A queue that is off consumes nothing.
  static Request request;
  const Segment data = Writable(read_buffer, kBlockBytes);
  disk.Submit(&request, kIn, 0, &data, 1);
  disk.queue(0).Publish();
  pci.Notify(0);
  WaitForStragglers();
  REQUIRE_EQ(disk.queue(0).UsedCount(), 0);
  REQUIRE_EQ(pci.Status() & kStatusNeedsReset, 0);
}

void RequestsInFlightAreOver(Disk& disk) {
  StartWithRingReset(disk);
  static Request requests[32];
  const Segment data = Writable(read_buffer, kBlockBytes);
  for (Request& request : requests) disk.Submit(&request, kIn, 0, &data, 1);
  disk.Kick();
  ResetQueue(disk, 0);
  const uint16_t used = disk.queue(0).UsedCount();
  const uint64_t interrupts = disk.QueueInterrupts(0);
  __builtin_memset(read_buffer, 0x5a, kBlockBytes);
  for (Request& request : requests) request.status = kStatusNotWritten;
  WaitForStragglers();
  REQUIRE_EQ(disk.queue(0).UsedCount(), used);
  for (const Request& request : requests) REQUIRE_EQ(request.status, kStatusNotWritten);
  for (uint32_t i = 0; i < kBlockBytes; i += 64) REQUIRE_EQ(read_buffer[i], 0x5a);
  // At most the one that was on its way.
  REQUIRE(disk.QueueInterrupts(0) <= interrupts + 1);
  disk.EnableQueue(0, kMaxQueueSize);
  RequireQueueWorks(disk, 0);
}

void OtherQueuesGoOn(Disk& disk) {
  StartWithRingReset(disk);
  RequireQueueWorks(disk, 1);
  for (int i = 0; i < 20; ++i) {
    static Request request;
    const Segment data = Writable(read_buffer, kBlockBytes);
    disk.Submit(&request, kIn, 0, &data, 1, 1);
    disk.Kick(1);
    ResetQueue(disk, 0);
    disk.AwaitAll(1);
    REQUIRE_EQ(request.status, kOk);
    disk.EnableQueue(0, kMaxQueueSize);
    RequireQueueWorks(disk, 0);
  }
}

void NothingWithoutNegotiation(Disk& disk) {
  if (disk.pci().region(kCommonConfig).length < kQueueReset + 2) {
    SkipCheck("there is no such register");
  }
  disk.pci().SetCommon<uint16_t>(kQueueSelect, 0);
  disk.pci().SetCommon<uint16_t>(kQueueReset, 1);
  REQUIRE_EQ(disk.pci().Common<uint16_t>(kQueueEnable), 1);
  RequireQueueWorks(disk, 0);
}

const Check kChecks[] = {
    {"P-11", "a queue is reset and comes back, in any size", kNeedsNothing, QueueComesBack},
    {"P-11", "a queue that was reset has no vector and consumes nothing", kNeedsNothing,
     QueueIsAsAfterAReset},
    {"P-11", "queue_reset does nothing unless negotiated", kNeedsStart, NothingWithoutNegotiation},
    {"Q-13", "after a queue's reset its requests leave memory alone", kNeedsNothing,
     RequestsInFlightAreOver},
    {"Q-13", "the other queues go on", kNeedsQueues, OtherQueuesGoOn},
};

}  // namespace

const CheckTable kQueueResetChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
