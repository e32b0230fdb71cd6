#include "guest-tests/bare-metal/virtio_pci.h"

#include "guest-tests/bare-metal/require.h"

namespace minivmm {
namespace {

constexpr uint32_t kMsixEnable = 1u << 31;  // in the first 4 bytes of the capability
constexpr uint32_t kMsixFunctionMask = 1u << 30;
constexpr uint32_t kMsixTableSizeShift = 16;
constexpr uint32_t kMsixTableSizeMask = 0x7ff;
constexpr uint64_t kMsixEntryBytes = 16;
constexpr uint16_t kMaxMsixEntries = kLastMsiVector - kFirstMsiVector + 1;

}  // namespace

const char* VirtioPci::Open(const PciFunction& function) {
  function_ = function;
  PciBar bars[kPciBarCount];
  for (unsigned i = 0; i < kPciBarCount; i += bars[i].is_64bit ? 2 : 1) {
    bars[i] = ReadBar(function, i);
    if (!bars[i].is_io && bars[i].address != 0) MapMmio(bars[i].address);
  }

  for (uint8_t at = function.NextCapability(kPciCapabilityVendor, 0); at != 0;
       at = function.NextCapability(kPciCapabilityVendor, at)) {
    const uint8_t type = function.Read8(static_cast<uint8_t>(at + 3));
    const uint8_t bar = function.Read8(static_cast<uint8_t>(at + 4));
    if (type == 0 || type >= kCapabilityTypes || bar >= kPciBarCount) continue;
    if (regions_[type].capability != 0) continue;  // the first of a type is the device's favourite
    VirtioRegion& region = regions_[type];
    region.capability = at;
    region.capability_length = function.Read8(static_cast<uint8_t>(at + 2));
    region.bar = bar;
    region.offset = function.Read32(static_cast<uint8_t>(at + 8));
    region.length = function.Read32(static_cast<uint8_t>(at + 12));
    if (bars[bar].address != 0) region.address = bars[bar].address + region.offset;
    if (type == kNotifyConfig) {
      notify_multiplier_ = function.Read32(static_cast<uint8_t>(at + 16));
    }
  }
  if (regions_[kCommonConfig].address == 0) return "no common configuration region";
  if (regions_[kNotifyConfig].address == 0) return "no notification region";
  if (regions_[kIsrConfig].address == 0) return "no ISR region";
  if (regions_[kDeviceConfig].address == 0) return "no device configuration region";

  msix_capability_ = function.NextCapability(kPciCapabilityMsix, 0);
  if (msix_capability_ == 0) return "no MSI-X capability";
  const uint32_t control = function.Read32(msix_capability_);
  const uint32_t table = function.Read32(static_cast<uint8_t>(msix_capability_ + 4));
  const uint32_t pending = function.Read32(static_cast<uint8_t>(msix_capability_ + 8));
  if ((table & 7) >= kPciBarCount || (pending & 7) >= kPciBarCount) return "bad MSI-X table BAR";
  msix_entries_ = static_cast<uint16_t>((control >> kMsixTableSizeShift & kMsixTableSizeMask) + 1);
  if (msix_entries_ > kMaxMsixEntries) msix_entries_ = kMaxMsixEntries;
  msix_table_ = bars[table & 7].address + (table & ~7u);
  msix_pending_ = bars[pending & 7].address + (pending & ~7u);

  function.WriteCommand(kPciCommandMemory | kPciCommandBusMaster | kPciCommandNoIntx);
  WriteMsixControl(kMsixEnable);
  return nullptr;
}

void VirtioPci::WriteMsixControl(uint32_t control) const {
  function_.Write32(msix_capability_, control);
}

void VirtioPci::Reset() const {
  SetCommon<uint8_t>(kDeviceStatus, 0);
  REQUIRE(WaitFor([this] { return Status() == 0; }));
}

uint64_t VirtioPci::OfferedFeatures() const {
  SetCommon<uint32_t>(kDeviceFeatureSelect, 0);
  const uint64_t low = Common<uint32_t>(kDeviceFeature);
  SetCommon<uint32_t>(kDeviceFeatureSelect, 1);
  return low | uint64_t{Common<uint32_t>(kDeviceFeature)} << 32;
}

void VirtioPci::WriteDriverFeatures(uint64_t features) const {
  SetCommon<uint32_t>(kDriverFeatureSelect, 0);
  SetCommon<uint32_t>(kDriverFeature, static_cast<uint32_t>(features));
  SetCommon<uint32_t>(kDriverFeatureSelect, 1);
  SetCommon<uint32_t>(kDriverFeature, static_cast<uint32_t>(features >> 32));
}

bool VirtioPci::Negotiate(uint64_t features) const {
  Reset();
  AddStatus(kStatusAcknowledge);
  AddStatus(kStatusDriver);
  WriteDriverFeatures(features);
  AddStatus(kStatusFeaturesOk);
  return (Status() & kStatusFeaturesOk) != 0;
}

uint16_t VirtioPci::MaxQueueSize(uint16_t queue) const {
  SetCommon<uint16_t>(kQueueSelect, queue);
  return Common<uint16_t>(kQueueSize);
}

void VirtioPci::EnableQueue(uint16_t queue, uint16_t size, const RingMemory& memory,
                            uint16_t entry) const {
  SetCommon<uint16_t>(kQueueSelect, queue);
  SetCommon<uint16_t>(kQueueSize, size);
  const uint64_t addresses[] = {reinterpret_cast<uint64_t>(memory.descriptors),
                                reinterpret_cast<uint64_t>(&memory.available),
                                reinterpret_cast<uint64_t>(&memory.used)};
  const uint32_t offsets[] = {kQueueDesc, kQueueDriver, kQueueDevice};
  for (int i = 0; i < 3; ++i) {
    SetCommon<uint32_t>(offsets[i], static_cast<uint32_t>(addresses[i]));
    SetCommon<uint32_t>(offsets[i] + 4, static_cast<uint32_t>(addresses[i] >> 32));
  }
  SetCommon<uint16_t>(kQueueMsixVector, entry);
  REQUIRE_EQ(Common<uint16_t>(kQueueMsixVector), entry);
  SetCommon<uint16_t>(kQueueEnable, 1);
}

void VirtioPci::NotifyWith(uint16_t queue, uint16_t value) const {
  MmioWrite<uint16_t>(DoorbellOf(queue), value);
}

uint64_t VirtioPci::DoorbellOf(uint16_t queue) const {
  SetCommon<uint16_t>(kQueueSelect, queue);
  const uint64_t offset = uint64_t{Common<uint16_t>(kQueueNotifyOff)} * notify_multiplier_;
  return regions_[kNotifyConfig].address + offset;
}

void VirtioPci::ResetMsixTable() const {
  for (uint16_t entry = 0; entry < msix_entries_; ++entry) {
    WriteMsixEntry(entry, VectorOfEntry(entry));
    MaskMsixEntry(entry, false);
  }
  WriteMsixControl(kMsixEnable);
}

void VirtioPci::WriteMsixEntry(uint16_t entry, uint8_t vector) const {
  const uint64_t address = msix_table_ + entry * kMsixEntryBytes;
  MmioWrite<uint32_t>(address, static_cast<uint32_t>(MsiAddress()));
  MmioWrite<uint32_t>(address + 4, static_cast<uint32_t>(MsiAddress() >> 32));
  MmioWrite<uint32_t>(address + 8, MsiData(vector));
}

void VirtioPci::MaskMsixEntry(uint16_t entry, bool masked) const {
  MmioWrite<uint32_t>(msix_table_ + entry * kMsixEntryBytes + 12, masked ? 1 : 0);
}

void VirtioPci::MaskMsixFunction(bool masked) const {
  WriteMsixControl(kMsixEnable | (masked ? kMsixFunctionMask : 0));
}

void VirtioPci::EnableMsix(bool enabled) const { WriteMsixControl(enabled ? kMsixEnable : 0); }

bool VirtioPci::IsMsixPending(uint16_t entry) const {
  const auto word = MmioRead<uint32_t>(msix_pending_ + entry / 32 * 4);
  return (word >> entry % 32 & 1) != 0;
}

}  // namespace minivmm
