// Checks of MSI-X and the ISR: vectors per queue, masking, pending bits
// (virtio 1.3, 4.1.4.5, 4.1.5; PCI 6.8.2).

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

void HasEnoughVectors(Disk& disk) {
  REQUIRE(disk.pci().msix_entries() >= 2);
  REQUIRE(disk.pci().msix_entries() <= 0x800);
}

void EveryCompletionInterrupts(Disk& disk) {
  constexpr uint64_t kRounds = 20;
  const uint64_t before = disk.QueueInterrupts(0);
  for (uint64_t i = 0; i < kRounds; ++i) {
    REQUIRE_EQ(disk.Read(i * kBlockSectors, read_buffer, kBlockBytes), kOk);
  }
  WaitForStragglers();
  REQUIRE_EQ(disk.QueueInterrupts(0) - before, kRounds);
}

void EachQueueHasItsVector(Disk& disk) {
  if (disk.pci().msix_entries() <= disk.queue_count()) SkipCheck("fewer vectors than queues");
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
    uint64_t before[kMaxQueues];
    for (uint16_t i = 0; i < disk.queue_count(); ++i) before[i] = disk.QueueInterrupts(i);
    const Segment data = Writable(read_buffer, kBlockBytes);
    REQUIRE_EQ(disk.Run(kIn, 0, &data, 1, queue), kOk);
    for (uint16_t i = 0; i < disk.queue_count(); ++i) {
      REQUIRE_EQ(disk.QueueInterrupts(i) - before[i], i == queue ? 1 : 0);
    }
  }
}

// Starts the disk with queue 0 on a table entry of the check's choice.
void StartWithEntry(Disk& disk, uint16_t entry) {
  disk.Negotiate(kDriverFeatures);
  disk.EnableQueues();
  disk.pci().SetCommon<uint16_t>(kQueueSelect, 0);
  disk.pci().SetCommon<uint16_t>(kQueueMsixVector, entry);
  REQUIRE_EQ(disk.pci().Common<uint16_t>(kQueueMsixVector), entry);
  disk.GoLive();
}

void AnyEntryServesAnyQueue(Disk& disk) {
  for (uint16_t entry = 0; entry < disk.pci().msix_entries(); ++entry) {
    StartWithEntry(disk, entry);
    static Request request;
    const Segment data = Writable(read_buffer, kBlockBytes);
    const uint8_t vector = VirtioPci::VectorOfEntry(entry);
    const uint64_t before = InterruptCount(vector);
    disk.Submit(&request, kIn, 0, &data, 1);
    disk.Kick();
    const bool interrupt_came = WaitFor([&] { return InterruptCount(vector) > before; });
    REQUIRE(interrupt_came);
    disk.PollAll();
    REQUIRE_EQ(request.status, kOk);
  }
}

void InvalidEntryReadsNoVector(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.Reset();
  pci.SetCommon<uint16_t>(kQueueSelect, 0);
  for (const uint16_t bad : {pci.msix_entries(), uint16_t{0x7ff}, uint16_t{0xfffe}}) {
    pci.SetCommon<uint16_t>(kQueueMsixVector, bad);
    REQUIRE_EQ(pci.Common<uint16_t>(kQueueMsixVector), kNoVector);
    pci.SetCommon<uint16_t>(kConfigMsixVector, bad);
    REQUIRE_EQ(pci.Common<uint16_t>(kConfigMsixVector), kNoVector);
  }
}

uint64_t AllMsiInterrupts() {
  uint64_t sum = 0;
  for (unsigned vector = kFirstMsiVector; vector <= kLastMsiVector; ++vector) {
    sum += InterruptCount(static_cast<uint8_t>(vector));
  }
  return sum;
}

void NoVectorMeansNoInterrupt(Disk& disk) {
  StartWithEntry(disk, kNoVector);
  const uint64_t before = AllMsiInterrupts();
  static Request request;
  const Segment data = Writable(read_buffer, kBlockBytes);
  disk.Submit(&request, kIn, 0, &data, 1);
  disk.Kick();
  disk.PollAll();
  WaitForStragglers();
  REQUIRE_EQ(request.status, kOk);
  REQUIRE_EQ(AllMsiInterrupts(), before);
}

void VectorsCanBeTakenAway(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.SetCommon<uint16_t>(kQueueSelect, 0);
  REQUIRE_EQ(pci.Common<uint16_t>(kQueueMsixVector), disk.EntryOfQueue(0));
  pci.SetCommon<uint16_t>(kQueueMsixVector, kNoVector);
  pci.SetCommon<uint16_t>(kConfigMsixVector, kNoVector);
  REQUIRE_EQ(pci.Common<uint16_t>(kQueueMsixVector), kNoVector);
  REQUIRE_EQ(pci.Common<uint16_t>(kConfigMsixVector), kNoVector);
  disk.Start();
  pci.Reset();
  REQUIRE_EQ(pci.Common<uint16_t>(kConfigMsixVector), kNoVector);
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
    pci.SetCommon<uint16_t>(kQueueSelect, queue);
    REQUIRE_EQ(pci.Common<uint16_t>(kQueueMsixVector), kNoVector);
  }
}

// One read whose interrupt is held back by `mask`, then let through.
template <typename Mask>
void MaskedInterruptStaysPending(Disk& disk, Mask mask) {
  const uint16_t entry = disk.EntryOfQueue(0);
  mask(true);
  const uint64_t before = disk.QueueInterrupts(0);
  static Request request;
  const Segment data = Writable(read_buffer, kBlockBytes);
  disk.Submit(&request, kIn, 0, &data, 1);
  disk.Kick();
  disk.PollAll();
  const bool became_pending = WaitFor([&] { return disk.pci().IsMsixPending(entry); });
  REQUIRE(became_pending);
  WaitForStragglers();
  REQUIRE_EQ(request.status, kOk);
  REQUIRE_EQ(disk.QueueInterrupts(0), before);
  mask(false);
  const bool interrupt_came = WaitFor([&] { return disk.QueueInterrupts(0) > before; });
  REQUIRE(interrupt_came);
  REQUIRE(!disk.pci().IsMsixPending(entry));
  WaitForStragglers();
  REQUIRE_EQ(disk.QueueInterrupts(0), before + 1);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

void MaskedEntryStaysPending(Disk& disk) {
  MaskedInterruptStaysPending(
      disk, [&](bool masked) { disk.pci().MaskMsixEntry(disk.EntryOfQueue(0), masked); });
}

void MaskedFunctionStaysPending(Disk& disk) {
  MaskedInterruptStaysPending(disk, [&](bool masked) { disk.pci().MaskMsixFunction(masked); });
}

void MessageCanChangeWhileMasked(Disk& disk) {
  const uint16_t entry = disk.EntryOfQueue(0);
  constexpr uint8_t kOtherVector = kLastMsiVector;
  disk.pci().MaskMsixEntry(entry, true);
  disk.pci().WriteMsixEntry(entry, kOtherVector);
  disk.pci().MaskMsixEntry(entry, false);
  const uint64_t before = InterruptCount(kOtherVector);
  static Request request;
  const Segment data = Writable(read_buffer, kBlockBytes);
  disk.Submit(&request, kIn, 0, &data, 1);
  disk.Kick();
  const bool interrupt_came = WaitFor([&] { return InterruptCount(kOtherVector) > before; });
  REQUIRE(interrupt_came);
  disk.PollAll();
}

void MsixTableReadsBack(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  for (uint16_t entry = 0; entry < pci.msix_entries(); ++entry) {
    const uint64_t address = pci.msix_table() + entry * 16;
    REQUIRE_EQ(MmioRead<uint32_t>(address), MsiAddress());
    REQUIRE_EQ(MmioRead<uint32_t>(address + 8), VirtioPci::VectorOfEntry(entry));
    REQUIRE_EQ(MmioRead<uint32_t>(address + 12) & 1, 0);
  }
}

void PendingBitsAreReadOnly(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  MmioWrite<uint32_t>(pci.msix_pending(), 0xffff'ffff);
  REQUIRE_EQ(MmioRead<uint32_t>(pci.msix_pending()), 0);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

// A readable buffer behind a writable one breaks the device, which says so by a configuration
// interrupt.
void BreakRing(Disk& disk) {
  const Segment segments[] = {Writable(read_buffer, 1), Readable(write_buffer, 16)};
  disk.SubmitChain(nullptr, disk.queue(0).Place(segments, 2));
  disk.queue(0).Publish();
  disk.pci().Notify(0);
  disk.RequireNeedsReset();
}

void BrokenDeviceInterrupts(Disk& disk) {
  const uint64_t before = disk.ConfigInterrupts();
  BreakRing(disk);
  const bool interrupt_came = WaitFor([&] { return disk.ConfigInterrupts() > before; });
  REQUIRE(interrupt_came);
  const auto isr = MmioRead<uint8_t>(disk.pci().region(kIsrConfig).address);
  REQUIRE_EQ(isr & 2, 2);
  RequireWorksAfterReset(disk);
}

void ReadingIsrClearsIt(Disk& disk) {
  const uint64_t isr = disk.pci().region(kIsrConfig).address;
  const uint64_t before = disk.ConfigInterrupts();
  BreakRing(disk);
  const bool interrupt_came = WaitFor([&] { return disk.ConfigInterrupts() > before; });
  REQUIRE(interrupt_came);
  REQUIRE_EQ(MmioRead<uint8_t>(isr) & 2, 2);
  REQUIRE_EQ(MmioRead<uint8_t>(isr), 0);
}

// With MSI-X off, what would raise INTx.
void IsrTellsOfQueuesWithoutMsix(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const PciFunction& function = pci.function();
  constexpr uint8_t kPciStatus = 6;
  constexpr uint16_t kInterruptStatus = 1 << 3;
  const uint64_t isr = pci.region(kIsrConfig).address;
  disk.Negotiate(kDriverFeatures);
  disk.EnableQueues();
  pci.EnableMsix(false);
  disk.GoLive();
  static Request request;
  const Segment data = Writable(read_buffer, kBlockBytes);
  disk.Submit(&request, kIn, 0, &data, 1);
  disk.Kick();
  const bool is_pending =
      WaitFor([&] { return (function.Read16(kPciStatus) & kInterruptStatus) != 0; });
  const auto first = MmioRead<uint8_t>(isr);
  const bool is_pending_after = (function.Read16(kPciStatus) & kInterruptStatus) != 0;
  const auto second = MmioRead<uint8_t>(isr);
  pci.EnableMsix(true);
  REQUIRE(is_pending);
  REQUIRE_EQ(first, 1);
  REQUIRE(!is_pending_after);
  REQUIRE_EQ(second, 0);
  RequireWorksAfterReset(disk);
}

// Bytes, words and quadwords, at any offset, up to one entry behind the last one. Masked meanwhile:
// nobody knows where such messages would go.
void MsixTableTakesAnyWidth(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.MaskMsixFunction(true);
  const uint32_t bytes = (pci.msix_entries() + 1u) * 16;
  for (uint32_t offset = 0; offset < bytes; ++offset) {
    const uint64_t noise = 0x9e37'79b9'7f4a'7c15u * (offset + 1);
    const uint64_t address = pci.msix_table() + offset;
    MmioWrite<uint8_t>(address, static_cast<uint8_t>(noise));
    if (offset % 2 == 0) MmioWrite<uint16_t>(address, static_cast<uint16_t>(noise));
    if (offset % 8 == 0) MmioWrite<uint64_t>(address, noise);
    MmioRead<uint8_t>(address);
    if (offset % 8 == 0) MmioRead<uint64_t>(address);
  }
  pci.ResetMsixTable();
  pci.MaskMsixFunction(false);
  MsixTableReadsBack(disk);
  RequireWorksAfterReset(disk);
}

// To all registers that name one.
void VectorsThatAreNotThere(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  disk.Negotiate(kDriverFeatures);
  disk.EnableQueues();
  for (const uint16_t bad : {pci.msix_entries(), uint16_t{0x7fff}, uint16_t{0x8000}}) {
    pci.SetCommon<uint16_t>(kConfigMsixVector, bad);
    for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
      pci.SetCommon<uint16_t>(kQueueSelect, queue);
      pci.SetCommon<uint16_t>(kQueueMsixVector, bad);
      REQUIRE_EQ(pci.Common<uint16_t>(kQueueMsixVector), kNoVector);
    }
  }
  disk.GoLive();
  static Request request;
  const Segment data = Writable(read_buffer, kBlockBytes);
  disk.Submit(&request, kIn, 0, &data, 1);
  disk.Kick();
  disk.PollAll();
  REQUIRE_EQ(request.status, kOk);
}

void ConfigWithoutVectorStaysSilent(Disk& disk) {
  disk.pci().SetCommon<uint16_t>(kConfigMsixVector, kNoVector);
  const uint64_t before = AllMsiInterrupts();
  BreakRing(disk);
  WaitForStragglers();
  REQUIRE_EQ(AllMsiInterrupts(), before);
}

const Check kChecks[] = {
    {"P-30", "there are at least two MSI-X vectors", kNeedsNothing, HasEnoughVectors},
    {"P-30", "each of 20 completions gives exactly one interrupt", kNeedsStart,
     EveryCompletionInterrupts},
    {"P-31", "each queue interrupts through its own vector", kNeedsStart | kNeedsQueues,
     EachQueueHasItsVector},
    {"P-31", "any table entry can serve a queue", kNeedsNothing, AnyEntryServesAnyQueue},
    {"P-32", "an entry that is not there reads back as none", kNeedsNothing,
     InvalidEntryReadsNoVector},
    {"P-33", "vectors can be taken away, and a reset takes all", kNeedsStart,
     VectorsCanBeTakenAway},
    {"P-34", "a queue without vector completes without an interrupt", kNeedsNothing,
     NoVectorMeansNoInterrupt},
    {"P-36", "the MSI-X table reads back", kNeedsStart, MsixTableReadsBack},
    {"P-36", "pending bits ignore writes", kNeedsStart, PendingBitsAreReadOnly},
    {"P-36", "a masked entry stays pending and comes when unmasked", kNeedsStart,
     MaskedEntryStaysPending},
    {"P-36", "a masked function stays pending and comes when unmasked", kNeedsStart,
     MaskedFunctionStaysPending},
    {"P-36", "a message changed while masked takes effect", kNeedsStart,
     MessageCanChangeWhileMasked},
    {"P-24", "with MSI-X off the ISR and the PCI status tell of a used buffer", kNeedsNothing,
     IsrTellsOfQueuesWithoutMsix},
    {"H-25", "the MSI-X table takes writes of any width", kNeedsStart, MsixTableTakesAnyWidth},
    {"H-25", "queues without a vector that is there are served all the same", kNeedsNothing,
     VectorsThatAreNotThere},
    {"P-25", "reading the ISR clears it", kNeedsStart, ReadingIsrClearsIt},
    {"P-15", "a device that needs a reset sends a configuration interrupt", kNeedsStart,
     BrokenDeviceInterrupts},
    {"P-35", "no configuration interrupt without a vector for it", kNeedsStart,
     ConfigWithoutVectorStaysSilent},
};

}  // namespace

const CheckTable kInterruptChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
