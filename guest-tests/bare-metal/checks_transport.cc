// Checks of the common configuration: features, status, queue registers, reset
// (virtio 1.3, 2.1, 2.2, 2.4, 4.1.4.3).

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

void CapacityReadsInHalves(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const uint64_t high = pci.Config<uint32_t>(kBlkCapacity + 4);
  const uint64_t low = pci.Config<uint32_t>(kBlkCapacity);
  REQUIRE_EQ(high << 32 | low, disk.capacity_sectors());
}

void OddAccessesDoNoHarm(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const uint64_t common = pci.region(kCommonConfig).address;
  for (uint32_t offset = 0; offset < pci.region(kCommonConfig).length; ++offset) {
    MmioRead<uint8_t>(common + offset);
    if (offset % 2 == 0) MmioRead<uint16_t>(common + offset);
    if (offset % 8 == 0) MmioRead<uint64_t>(common + offset);
  }
  const uint64_t config = pci.region(kDeviceConfig).address;
  const uint32_t end = pci.region(kDeviceConfig).length;
  for (uint32_t offset = 0; offset + 8 <= end; offset += 8) MmioRead<uint64_t>(config + offset);
  REQUIRE_EQ(MmioRead<uint8_t>(config + 1), disk.capacity_sectors() >> 8 & 0xff);
  REQUIRE_EQ(pci.QueueCount() >= 1, true);
}

void HigherFeatureWordsAreEmpty(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  for (const uint32_t select : {2u, 3u, 4u, 31u, 0x8000'0000u, 0xffff'ffffu}) {
    pci.SetCommon<uint32_t>(kDeviceFeatureSelect, select);
    REQUIRE_EQ(pci.Common<uint32_t>(kDeviceFeature), 0);
  }
}

void DriverFeaturesReadBack(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.Reset();
  pci.AddStatus(kStatusAcknowledge | kStatusDriver);
  pci.WriteDriverFeatures(disk.offered());
  pci.SetCommon<uint32_t>(kDriverFeatureSelect, 0);
  REQUIRE_EQ(pci.Common<uint32_t>(kDriverFeature), disk.offered() & 0xffff'ffff);
  pci.SetCommon<uint32_t>(kDriverFeatureSelect, 1);
  REQUIRE_EQ(pci.Common<uint32_t>(kDriverFeature), disk.offered() >> 32);
}

void ResetClearsEverything(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.Reset();
  REQUIRE_EQ(pci.Common<uint16_t>(kConfigMsixVector), kNoVector);
  for (uint16_t queue = 0; queue < pci.QueueCount(); ++queue) {
    pci.SetCommon<uint16_t>(kQueueSelect, queue);
    REQUIRE_EQ(pci.Common<uint16_t>(kQueueEnable), 0);
    REQUIRE_EQ(pci.Common<uint16_t>(kQueueMsixVector), kNoVector);
    REQUIRE_EQ(pci.Common<uint32_t>(kQueueDesc), 0);
  }
  pci.SetCommon<uint32_t>(kDriverFeatureSelect, 0);
  REQUIRE_EQ(pci.Common<uint32_t>(kDriverFeature), 0);
}

void ResetDisablesQueues(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
    pci.SetCommon<uint16_t>(kQueueSelect, queue);
    REQUIRE_EQ(pci.Common<uint16_t>(kQueueEnable), 1);
  }
  pci.Reset();
  for (uint16_t queue = 0; queue < disk.queue_count(); ++queue) {
    pci.SetCommon<uint16_t>(kQueueSelect, queue);
    REQUIRE_EQ(pci.Common<uint16_t>(kQueueEnable), 0);
  }
}

void ConfigIsReadableBeforeNegotiation(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const auto model = disk.IsZoned() ? pci.Config<uint8_t>(kBlkZonedModel) : uint8_t{0};
  const auto seg_max = pci.Config<uint32_t>(kBlkSegMax);
  pci.Reset();
  REQUIRE_EQ(pci.Config<uint32_t>(kBlkCapacity), disk.capacity_sectors() & 0xffff'ffff);
  REQUIRE_EQ(pci.Config<uint32_t>(kBlkSegMax), seg_max);
  if (disk.IsZoned()) {
    REQUIRE(model != 0);
    REQUIRE_EQ(pci.Config<uint8_t>(kBlkZonedModel), model);
  }
}

void AbsentQueueHasSizeZero(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.Reset();
  for (const uint16_t queue : {pci.QueueCount(), uint16_t{0xffff}}) {
    REQUIRE_EQ(pci.MaxQueueSize(queue), 0);
    pci.SetCommon<uint16_t>(kQueueSize, 8);
    pci.SetCommon<uint16_t>(kQueueEnable, 1);
    REQUIRE_EQ(pci.Common<uint16_t>(kQueueSize), 0);
    REQUIRE_EQ(pci.Common<uint16_t>(kQueueEnable), 0);
  }
}

void QueueSizeStaysPowerOfTwo(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.Reset();
  const uint16_t max = pci.MaxQueueSize(0);
  REQUIRE(max > 0);
  for (const uint16_t bad : {uint16_t{3}, uint16_t{0}, static_cast<uint16_t>(max * 2),
                             uint16_t{0xffff}, static_cast<uint16_t>(max - 1)}) {
    pci.SetCommon<uint16_t>(kQueueSize, bad);
    const auto size = pci.Common<uint16_t>(kQueueSize);
    REQUIRE_EQ(size & (size - 1), 0);
    REQUIRE(size <= max);
  }
}

void SmallerQueueWorks(Disk& disk) {
  disk.Negotiate(kDriverFeatures);
  disk.EnableQueues(4);
  REQUIRE_EQ(disk.pci().MaxQueueSize(0), 4);
  disk.GoLive();
  for (int i = 0; i < 9; ++i) REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

void EnabledQueueKeepsItsAddresses(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  pci.SetCommon<uint16_t>(kQueueSelect, 0);
  pci.SetCommon<uint16_t>(kQueueEnable, 0);
  REQUIRE_EQ(pci.Common<uint16_t>(kQueueEnable), 1);
  pci.SetCommon<uint32_t>(kQueueDesc, 0x1000);
  pci.SetCommon<uint32_t>(kQueueDevice, 0x2000);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

void NothingIsConsumedBeforeDriverOk(Disk& disk) {
  disk.Negotiate(kDriverFeatures);
  disk.EnableQueues();
  static Request request;
  const Segment data = Writable(read_buffer, kBlockBytes);
  disk.Submit(&request, kIn, 0, &data, 1);
  disk.Kick();
  disk.pci().Notify(0);
  WaitForStragglers();
  REQUIRE_EQ(disk.queue(0).UsedCount(), 0);
  disk.GoLive();
  disk.AwaitAll();
  REQUIRE_EQ(request.status, kOk);
}

void OffersOnlyWhatIsDefined(Disk& disk) {
  constexpr uint64_t kLegacyOnly = Feature(0) | Feature(7);
  constexpr uint64_t kReserved = Feature(42) | Feature(44) | ~(Feature(45) - 1);
  REQUIRE_EQ(disk.offered() & (kLegacyOnly | kReserved), 0);
  if (disk.Offers(kFeatureConfigWce)) REQUIRE(disk.Offers(kFeatureFlush));
}

void OffersVersion1(Disk& disk) { REQUIRE(disk.Offers(kFeatureVersion1)); }

void OffersNothingItCannotDo(Disk& disk) {
  REQUIRE(!disk.Offers(kFeatureSrIov));
  REQUIRE(!disk.Offers(kFeatureAccessPlatform));
  REQUIRE(!disk.Offers(kFeatureAdminVq));
}

void SuspendIsNotOffered(Disk& disk) {
  REQUIRE(!disk.Offers(kFeatureSuspend));
  disk.pci().AddStatus(16);
  REQUIRE_EQ(disk.pci().Status() & 16, 0);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

void RefusesFeaturesItDidNotOffer(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const uint64_t good = disk.offered() & kDriverFeatures;
  for (unsigned bit = 0; bit < 64; ++bit) {
    if (disk.Offers(Feature(bit))) continue;
    REQUIRE(!pci.Negotiate(good | Feature(bit)));
    REQUIRE_EQ(pci.Status(), kStatusAcknowledge | kStatusDriver);
  }
  REQUIRE(pci.Negotiate(good));
  REQUIRE(pci.Negotiate(good));
}

void RefusesDriversWithoutVersion1(Disk& disk) {
  REQUIRE(!disk.pci().Negotiate(disk.offered() & kDriverFeatures & ~kFeatureVersion1));
}

void FeaturesAreFrozenAfterFeaturesOk(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const uint64_t good = disk.offered() & kDriverFeatures;
  REQUIRE(pci.Negotiate(good));
  pci.SetCommon<uint32_t>(kDriverFeatureSelect, 0);
  pci.SetCommon<uint32_t>(kDriverFeature, 0);
  REQUIRE_EQ(pci.Common<uint32_t>(kDriverFeature), good & 0xffff'ffff);
}

void WorksWithoutRingFeatures(Disk& disk) {
  disk.Start(kDriverFeatures & ~(kFeatureIndirect | kFeatureEventIdx | kFeatureMq));
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
  RequireWorksAfterReset(disk);
}

void IgnoresWrongNotifications(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const uint64_t notify = pci.region(kNotifyConfig).address;
  for (const uint16_t value : {pci.QueueCount(), uint16_t{0xffff}}) pci.NotifyWith(0, value);
  MmioWrite<uint8_t>(notify, 0xff);
  MmioWrite<uint32_t>(notify, 0xffff'ffff);
  MmioWrite<uint16_t>(notify + pci.region(kNotifyConfig).length - 2, 0xffff);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
  pci.Reset();
  pci.Notify(0);
  RequireWorksAfterReset(disk);
}

// Many reads at once, a reset in their midst: once the status reads 0, the device no longer touches
// memory.
void ResetStopsAllAccess(Disk& disk) {
  static Request requests[32];
  constexpr uint32_t kBytes = kBlockBytes;
  const Segment data = Writable(read_buffer, kBytes);
  for (Request& request : requests) disk.Submit(&request, kIn, 0, &data, 1);
  disk.Kick();
  disk.pci().Reset();
  const uint16_t used = disk.queue(0).UsedCount();
  __builtin_memset(read_buffer, 0x5a, kBytes);
  for (Request& request : requests) request.status = kStatusNotWritten;
  WaitForStragglers();
  REQUIRE_EQ(disk.queue(0).UsedCount(), used);
  for (const Request& request : requests) REQUIRE_EQ(request.status, kStatusNotWritten);
  for (uint32_t i = 0; i < kBytes; i += 64) REQUIRE_EQ(read_buffer[i], 0x5a);
  RequireWorksAfterReset(disk);
}

template <typename T>
void WriteAllOver(uint64_t address, uint32_t bytes, uint32_t except) {
  for (uint32_t offset = 0; offset + sizeof(T) <= bytes; ++offset) {
    if (offset <= except && except < offset + sizeof(T)) continue;
    MmioWrite<T>(address + offset, static_cast<T>(0xa55a'c33c'f00f'1ee1u >> (offset % 8)));
  }
}

// All but writeback, which is a register.
void ConfigurationTakesNoWrites(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const VirtioRegion& config = pci.region(kDeviceConfig);
  uint8_t before[kBlkConfigBytes];
  const uint32_t bytes = config.length < kBlkConfigBytes ? config.length : kBlkConfigBytes;
  for (uint32_t i = 0; i < bytes; ++i) before[i] = pci.Config<uint8_t>(i);
  WriteAllOver<uint8_t>(config.address, bytes, kBlkWriteback);
  WriteAllOver<uint16_t>(config.address, bytes, kBlkWriteback);
  WriteAllOver<uint32_t>(config.address, bytes, kBlkWriteback);
  WriteAllOver<uint64_t>(config.address, bytes, kBlkWriteback);
  for (uint32_t i = 0; i < bytes; ++i) REQUIRE_EQ(pci.Config<uint8_t>(i), before[i]);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

void ReadOnlyRegistersTakeNoWrites(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const uint16_t queues = pci.QueueCount();
  const auto generation = pci.Common<uint8_t>(kConfigGeneration);
  const auto features = pci.Common<uint32_t>(kDeviceFeature);
  const auto notify_offset = pci.Common<uint16_t>(kQueueNotifyOff);
  pci.SetCommon<uint16_t>(kNumQueues, 0xffff);
  pci.SetCommon<uint8_t>(kConfigGeneration, generation + 1);
  pci.SetCommon<uint32_t>(kDeviceFeature, ~features);
  pci.SetCommon<uint16_t>(kQueueNotifyOff, notify_offset + 1);
  REQUIRE_EQ(pci.QueueCount(), queues);
  REQUIRE_EQ(pci.Common<uint8_t>(kConfigGeneration), generation);
  REQUIRE_EQ(pci.Common<uint32_t>(kDeviceFeature), features);
  REQUIRE_EQ(pci.Common<uint16_t>(kQueueNotifyOff), notify_offset);
  REQUIRE_EQ(disk.Read(0, read_buffer, kBlockBytes), kOk);
}

// Of any width, anywhere but in the status: no driver would go live with what is left.
void NoiseInRegistersEndsWithAReset(Disk& disk) {
  const VirtioPci& pci = disk.pci();
  const VirtioRegion& common = pci.region(kCommonConfig);
  for (const uint16_t queue : {uint16_t{0}, uint16_t{1}, disk.queue_count(), uint16_t{0xffff}}) {
    pci.Reset();
    pci.SetCommon<uint16_t>(kQueueSelect, queue);
    WriteAllOver<uint8_t>(common.address, common.length, kDeviceStatus);
    WriteAllOver<uint16_t>(common.address, common.length, kDeviceStatus);
    WriteAllOver<uint32_t>(common.address, common.length, kDeviceStatus);
    WriteAllOver<uint64_t>(common.address, common.length, kDeviceStatus);
    const VirtioRegion& isr = pci.region(kIsrConfig);
    WriteAllOver<uint8_t>(isr.address, isr.length, ~uint32_t{0});
  }
  RequireWorksAfterReset(disk);
}

void NotificationDataIsAHint(Disk& disk) {
  if (!disk.Offers(kFeatureNotificationData)) SkipCheck("NOTIFICATION_DATA is not offered");
  disk.Start(kDriverFeatures | kFeatureNotificationData);
  const VirtioPci& pci = disk.pci();
  const Segment data = Writable(read_buffer, kBlockBytes);
  // Queue index, and where the driver says that its ring ends: right, and wrong.
  for (const uint32_t offset : {0u, 1u, 0x7fffu, 0xffffu}) {
    static Request request;
    disk.Submit(&request, kIn, 0, &data, 1);
    disk.queue(0).Publish();
    MmioWrite<uint32_t>(pci.region(kNotifyConfig).address, offset << 16);
    disk.PollAll();
    REQUIRE_EQ(request.status, kOk);
  }
}

void FailedStatusStopsTheDevice(Disk& disk) {
  disk.pci().AddStatus(kStatusFailed);
  REQUIRE((disk.pci().Status() & kStatusFailed) != 0);
  RequireWorksAfterReset(disk);
}

const Check kChecks[] = {
    {"P-01", "capacity reads as two halves in either order", kNeedsNothing, CapacityReadsInHalves},
    {"P-02", "accesses of any width do no harm", kNeedsNothing, OddAccessesDoNoHarm},
    {"P-04", "feature words from 2 on read 0", kNeedsNothing, HigherFeatureWordsAreEmpty},
    {"P-05", "driver features read back", kNeedsNothing, DriverFeaturesReadBack},
    {"P-07", "a reset clears status, vectors, queues and features", kNeedsStart,
     ResetClearsEverything},
    {"P-08", "a reset disables queues", kNeedsStart, ResetDisablesQueues},
    {"P-09", "a queue that is not there has size 0 and cannot be enabled", kNeedsNothing,
     AbsentQueueHasSizeZero},
    {"P-28", "the configuration can be read before FEATURES_OK", kNeedsStart,
     ConfigIsReadableBeforeNegotiation},
    {"P-10", "the queue size stays a power of two", kNeedsNothing, QueueSizeStaysPowerOfTwo},
    {"P-10", "a queue of four entries works", kNeedsNothing, SmallerQueueWorks},
    {"P-13", "an enabled queue keeps its addresses", kNeedsStart, EnabledQueueKeepsItsAddresses},
    {"P-14", "nothing is consumed before DRIVER_OK, and then it is", kNeedsNothing,
     NothingIsConsumedBeforeDriverOk},
    {"P-17", "only defined features with their dependencies are offered", kNeedsNothing,
     OffersOnlyWhatIsDefined},
    {"P-18", "features that were not offered are refused, and the good set works after",
     kNeedsNothing, RefusesFeaturesItDidNotOffer},
    {"P-18", "a subset of the features works, and the full set after it", kNeedsNothing,
     WorksWithoutRingFeatures},
    {"P-18", "features are frozen after FEATURES_OK", kNeedsNothing,
     FeaturesAreFrozenAfterFeaturesOk},
    {"P-19", "VERSION_1 is offered", kNeedsNothing, OffersVersion1},
    {"P-19", "a driver without VERSION_1 is refused", kNeedsNothing, RefusesDriversWithoutVersion1},
    {"P-23", "the data of a notification is a hint", kNeedsNothing, NotificationDataIsAHint},
    {"K-08", "the data of a notification is a hint for packed rings too", kNeedsPacked,
     NotificationDataIsAHint},
    {"P-23", "wrong notifications are ignored", kNeedsStart, IgnoresWrongNotifications},
    {"P-29", "after a reset in the midst of requests memory is left alone", kNeedsStart,
     ResetStopsAllAccess},
    {"H-23", "the configuration takes no writes of any width", kNeedsStart,
     ConfigurationTakesNoWrites},
    {"H-23", "registers that can only be read take no writes", kNeedsStart,
     ReadOnlyRegistersTakeNoWrites},
    {"H-23", "after noise in all registers a reset makes the device work", kNeedsNothing,
     NoiseInRegistersEndsWithAReset},
    {"P-38", "SR_IOV, ACCESS_PLATFORM and ADMIN_VQ are not offered", kNeedsNothing,
     OffersNothingItCannotDo},
    {"P-39", "SUSPEND is not offered and its status bit ignored", kNeedsStart, SuspendIsNotOffered},
    {"P-1.5", "FAILED can be set, and a reset recovers", kNeedsStart, FailedStatusStopsTheDevice},
};

}  // namespace

const CheckTable kTransportChecks = {kChecks, sizeof(kChecks) / sizeof(kChecks[0])};

}  // namespace minivmm
