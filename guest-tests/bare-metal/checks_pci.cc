// Checks of the PCI function itself: identity, base addresses, ECAM, capabilities
// (virtio 1.3, 4.1.2 to 4.1.4).

#include "guest-tests/bare-metal/check.h"

namespace minivmm {
namespace {

void HasModernIdentity(Disk& disk) {
  const PciFunction& function = disk.pci().function();
  REQUIRE(function.Read8(kPciRevision) >= 1);
  REQUIRE(function.Read16(kPciSubsystem + 2) >= 0x40);
  REQUIRE((function.Read16(kPciCommand + 2) & kPciStatusCapabilities) != 0);
  REQUIRE_EQ(function.Read8(kPciCapabilities) & 3, 0);
}

void IdentityIsReadOnly(Disk& disk) {
  const PciFunction& function = disk.pci().function();
  for (const uint8_t offset : {kPciVendorId, kPciRevision, kPciSubsystem}) {
    const uint32_t before = function.Read32(offset);
    function.Write32(offset, ~before);
    REQUIRE_EQ(function.Read32(offset), before);
  }
}

void BarsHaveSizes(Disk& disk) {
  const PciFunction& function = disk.pci().function();
  unsigned memory_bars = 0;
  unsigned step;
  for (unsigned i = 0; i < kPciBarCount; i += step) {
    const auto offset = static_cast<uint8_t>(kPciBar0 + i * 4);
    const uint32_t before = function.Read32(offset);
    const PciBar bar = ReadBar(function, i);
    step = bar.is_64bit ? 2 : 1;
    REQUIRE_EQ(function.Read32(offset), before);
    if (bar.bytes == 0) continue;
    REQUIRE(bar.bytes >= 16 || bar.is_io);
    REQUIRE_EQ(bar.bytes & (bar.bytes - 1), 0);
    REQUIRE_EQ(bar.address % bar.bytes, 0);
    if (!bar.is_io) ++memory_bars;
  }
  REQUIRE(memory_bars >= 1);
}

void RegionsFitTheirBars(Disk& disk) {
  for (uint8_t type = kCommonConfig; type <= kDeviceConfig; ++type) {
    const VirtioRegion& region = disk.pci().region(type);
    const PciBar bar = ReadBar(disk.pci().function(), region.bar);
    REQUIRE(uint64_t{region.offset} + region.length <= bar.bytes);
  }
}

void MemoryDecodingCanBeOff(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  // Word 1 of the features is not 0 (VERSION_1), and what nothing answers reads all ones, or 0 with
  // some VMMs.
  pci.SetCommon<uint32_t>(kDeviceFeatureSelect, 1);
  const auto shown = pci.Common<uint32_t>(kDeviceFeature);
  const uint16_t command = pci.function().Read16(kPciCommand);
  pci.function().WriteCommand(command & ~kPciCommandMemory);
  const auto hidden = pci.Common<uint32_t>(kDeviceFeature);
  pci.function().WriteCommand(command);
  REQUIRE(shown != hidden);
  REQUIRE_EQ(pci.Common<uint32_t>(kDeviceFeature), shown);
}

void EcamShowsTheSameFunction(Disk& disk) {
  if (TheOptions().ecam == 0) SkipCheck("the machine has no ECAM (ecam=0)");
  const PciFunction& function = disk.pci().function();
  const uint64_t ecam = TheOptions().ecam + function.EcamOffset();
  MapMmio(ecam);
  for (unsigned offset = 0; offset < 256; offset += 4) {
    REQUIRE_EQ(MmioRead<uint32_t>(ecam + offset), function.Read32(static_cast<uint8_t>(offset)));
  }
  REQUIRE_EQ(MmioRead<uint16_t>(ecam + 2), kVirtioBlkDeviceId);
  REQUIRE_EQ(MmioRead<uint8_t>(ecam + kPciRevision), function.Read8(kPciRevision));
}

void AbsentFunctionsReadAllOnes(Disk& disk) {
  for (uint8_t slot = 31; slot > 0; --slot) {
    const PciFunction absent{slot, 0};
    if (absent.Read32(kPciVendorId) != 0xffff'ffff) continue;
    absent.Write32(kPciBar0, 0);
    REQUIRE_EQ(absent.Read32(kPciBar0), 0xffff'ffff);
    return;
  }
  static_cast<void>(disk);
  SkipCheck("every slot of the bus is taken");
}

void HasAllCapabilities(Disk& disk) {
  for (uint8_t type = kCommonConfig; type <= kPciConfigAccess; ++type) {
    REQUIRE(disk.pci().region(type).capability != 0);
  }
  REQUIRE(disk.pci().region(kCommonConfig).length >= 56);
  REQUIRE(disk.pci().region(kIsrConfig).length >= 1);
  REQUIRE_EQ(disk.pci().region(kCommonConfig).offset % 4, 0);
  REQUIRE_EQ(disk.pci().region(kDeviceConfig).offset % 4, 0);
}

void CapabilitiesCoverTheirData(Disk& disk) {
  REQUIRE(disk.pci().region(kCommonConfig).capability_length >= 16);
  REQUIRE(disk.pci().region(kIsrConfig).capability_length >= 16);
  REQUIRE(disk.pci().region(kDeviceConfig).capability_length >= 16);
  REQUIRE(disk.pci().region(kNotifyConfig).capability_length >= 20);
  REQUIRE(disk.pci().region(kPciConfigAccess).capability_length >= 20);
}

void DeviceConfigCoversZones(Disk& disk) {
  if (!disk.IsZoned()) SkipCheck("the disk is not zoned");
  REQUIRE(disk.pci().region(kDeviceConfig).length >= kBlkConfigBytes);
}

void NotifyRegionIsAligned(Disk& disk) {
  REQUIRE_EQ(disk.pci().region(kNotifyConfig).offset % 2, 0);
}

void NotifyMultiplierIsEvenPowerOfTwo(Disk& disk) {
  const uint32_t multiplier = disk.pci().notify_multiplier();
  REQUIRE_EQ(multiplier & (multiplier - 1), 0);
  REQUIRE(multiplier != 1);
}

void NotifyRegionCoversAllQueues(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  for (uint16_t queue = 0; queue < pci.QueueCount(); ++queue) {
    pci.SetCommon<uint16_t>(kQueueSelect, queue);
    const uint64_t offset =
        uint64_t{pci.Common<uint16_t>(kQueueNotifyOff)} * pci.notify_multiplier();
    REQUIRE(pci.region(kNotifyConfig).length >= offset + 2);
  }
}

// The window of capability 5: an access to a BAR without mapping it.
uint32_t ReadThroughWindow(const VirtioPci& pci, uint8_t bar, uint32_t offset, uint32_t length) {
  const uint8_t window = pci.region(kPciConfigAccess).capability;
  const uint32_t word = pci.function().Read32(static_cast<uint8_t>(window + 4));
  pci.function().Write32(static_cast<uint8_t>(window + 4), (word & 0xffff'ff00) | bar);
  pci.function().Write32(static_cast<uint8_t>(window + 8), offset);
  pci.function().Write32(static_cast<uint8_t>(window + 12), length);
  return pci.function().Read32(static_cast<uint8_t>(window + 16));
}

void WindowReadsRegisters(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const VirtioRegion& common = pci.region(kCommonConfig);
  pci.SetCommon<uint32_t>(kDeviceFeatureSelect, 1);
  REQUIRE_EQ(ReadThroughWindow(pci, common.bar, common.offset + kDeviceFeature, 4),
             disk.offered() >> 32);
  REQUIRE_EQ(ReadThroughWindow(pci, common.bar, common.offset + kNumQueues, 2) & 0xffff,
             pci.QueueCount());
  REQUIRE_EQ(ReadThroughWindow(pci, common.bar, common.offset + kDeviceStatus, 1) & 0xff,
             pci.Status());
}

void WindowWritesRegisters(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const VirtioRegion& common = pci.region(kCommonConfig);
  pci.SetCommon<uint32_t>(kDriverFeatureSelect, 0);
  ReadThroughWindow(pci, common.bar, common.offset + kDriverFeatureSelect, 4);
  const auto data = static_cast<uint8_t>(pci.region(kPciConfigAccess).capability + 16);
  pci.function().Write32(data, 1);
  REQUIRE_EQ(pci.Common<uint32_t>(kDriverFeatureSelect), 1);
}

void WindowSurvivesNonsense(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const VirtioRegion& common = pci.region(kCommonConfig);
  const auto data = static_cast<uint8_t>(pci.region(kPciConfigAccess).capability + 16);
  const struct {
    uint8_t bar;
    uint32_t offset;
    uint32_t length;
  } rows[] = {{0xff, 0, 4},
              {7, 0, 4},
              {common.bar, 0xffff'fffc, 4},
              {common.bar, common.offset, 3},
              {common.bar, common.offset, 0},
              {common.bar, common.offset + 1, 4},
              {common.bar, common.offset, 0xffff'ffff},
              {5, 0x7fff'ffff, 1}};
  for (const auto& row : rows) {
    ReadThroughWindow(pci, row.bar, row.offset, row.length);
    pci.function().Write32(data, 0);
  }
  REQUIRE_EQ(ReadThroughWindow(pci, common.bar, common.offset + kNumQueues, 2) & 0xffff,
             pci.QueueCount());
}

const Check kChecks[] = {
    {"P-1.1", "the function is a modern virtio-blk device", kNeedsNothing, HasModernIdentity},
    {"P-1.1", "identity registers ignore writes", kNeedsNothing, IdentityIsReadOnly},
    {"P-1.1", "base addresses size to powers of two and keep their value", kNeedsNothing,
     BarsHaveSizes},
    {"P-1.1", "with memory decoding off the registers are not there", kNeedsNothing,
     MemoryDecodingCanBeOff},
    {"P-1.1", "ECAM and configuration ports show the same function", kNeedsNothing,
     EcamShowsTheSameFunction},
    {"P-1.1", "an absent function reads all ones and ignores writes", kNeedsNothing,
     AbsentFunctionsReadAllOnes},
    {"P-1.2", "all five virtio capabilities are there", kNeedsNothing, HasAllCapabilities},
    {"P-1.2", "every region lies inside its BAR", kNeedsNothing, RegionsFitTheirBars},
    {"P-1.2", "the device configuration of a zoned disk has 96 bytes", kNeedsNothing,
     DeviceConfigCoversZones},
    {"P-03", "capability lengths cover what follows", kNeedsNothing, CapabilitiesCoverTheirData},
    {"P-20", "the notification region is aligned", kNeedsNothing, NotifyRegionIsAligned},
    {"P-21", "the notification multiplier is 0 or an even power of two", kNeedsNothing,
     NotifyMultiplierIsEvenPowerOfTwo},
    {"P-22", "the notification region covers all queues", kNeedsNothing,
     NotifyRegionCoversAllQueues},
    {"P-26", "the configuration window reads registers", kNeedsStart, WindowReadsRegisters},
    {"P-26", "the configuration window writes registers", kNeedsNothing, WindowWritesRegisters},
    {"P-27", "the configuration window survives nonsense", kNeedsNothing, WindowSurvivesNonsense},
};

}  // namespace

const CheckTable kPciChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
