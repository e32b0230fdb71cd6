#include "devices/virtio_pci.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/log.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr uint64_t kBarBytes = 64_KiB;
constexpr uint32_t kCommonOffset = 0x0000;
constexpr uint32_t kIsrOffset = 0x1000;
constexpr uint32_t kIsrBytes = 1;
constexpr uint32_t kDeviceOffset = 0x2000;
constexpr uint32_t kMaxDeviceConfigBytes = 0x1000;
constexpr uint32_t kNotifyOffset = 0x3000;
constexpr uint32_t kNotifyMultiplier = 4;
constexpr uint32_t kPendingOffset = 0x4000;
constexpr uint32_t kPendingBytes = kMaxMsixVectors / 8;
constexpr uint32_t kTableOffset = 0x8000;
static_assert(kNotifyOffset + VirtioPci::kMaxQueues * kNotifyMultiplier <= kPendingOffset);
static_assert(kTableOffset + kMaxMsixTableBytes <= kBarBytes);

// virtio 4.1.2.
constexpr uint16_t kVendorId = 0x1af4;
constexpr uint16_t kModernDeviceId = 0x1040;
constexpr uint8_t kModernRevision = 1;
constexpr uint16_t kDeviceIdBlock = 2;
constexpr uint32_t kClassMassStorage = 0x01'80'00;
constexpr uint32_t kClassUnassigned = 0xff'00'00;

// virtio 4.1.4.
constexpr uint8_t kVendorCapability = 0x09;
enum class ConfigType : uint8_t { kCommon = 1, kNotify = 2, kIsr = 3, kDevice = 4, kWindow = 5 };

struct VirtioCapability {
  PciCapabilityHeader header;
  uint8_t length;
  uint8_t type;
  uint8_t bar;
  uint8_t id;
  uint8_t padding[2];
  uint32_t region_offset;
  uint32_t region_length;
};
static_assert(sizeof(VirtioCapability) == 16);
static_assert(offsetof(VirtioCapability, bar) == 4 && offsetof(VirtioCapability, id) == 5);
static_assert(offsetof(VirtioCapability, region_offset) == 8);
static_assert(offsetof(VirtioCapability, region_length) == 12);

// virtio 4.1.4.4 and 4.1.4.9: the two with something behind the common part.
struct NotifyCapability {
  VirtioCapability common;
  uint32_t multiplier;
};
static_assert(sizeof(NotifyCapability) == 20);
struct WindowCapability {
  VirtioCapability common;
  uint8_t data[4];
};
static_assert(sizeof(WindowCapability) == 20);
constexpr uint64_t kWindowBytes = sizeof(WindowCapability::data);

// virtio 2.1.
constexpr uint8_t kStatusAcknowledge = 1;
constexpr uint8_t kStatusDriver = 2;
constexpr uint8_t kStatusDriverOk = 4;
constexpr uint8_t kStatusFeaturesOk = 8;
constexpr uint8_t kStatusNeedsReset = 64;
constexpr uint8_t kStatusFailed = 128;

constexpr uint8_t kIsrQueue = 1;  // virtio 4.1.4.5
constexpr uint8_t kIsrConfig = 2;
constexpr uint16_t kNoVector = 0xffff;  // virtio 4.1.5.1.2

PciIdentity IdentityOf(const VirtioDevice& device) {
  // The subsystem id of a modern device is 0x40 or more: this one is.
  uint16_t id = static_cast<uint16_t>(kModernDeviceId + device.device_id());
  bool is_block = device.device_id() == kDeviceIdBlock;
  return {.vendor_id = kVendorId,
          .device_id = id,
          .revision = kModernRevision,
          .class_code = is_block ? kClassMassStorage : kClassUnassigned,
          .subsystem_vendor_id = kVendorId,
          .subsystem_id = id};
}

template <typename T>
VirtioCapability Region(ConfigType type, uint32_t offset, uint64_t length) {
  return {.header = {.id = kVendorCapability},
          .length = sizeof(T),
          .type = static_cast<uint8_t>(type),
          .bar = VirtioPci::kBar,
          .id = 0,
          .padding = {},
          .region_offset = offset,
          .region_length = static_cast<uint32_t>(length)};
}

// The part of an access that lies within a region of the BAR; empty when it begins elsewhere.
template <typename Span>
Span Within(uint64_t offset, Span data, uint64_t region_offset, uint64_t region_bytes) {
  if (offset < region_offset || offset - region_offset >= region_bytes) return {};
  return data.first(std::min<uint64_t>(data.size(), region_bytes - (offset - region_offset)));
}

bool Overlaps(uint64_t offset, uint64_t length, uint64_t other_offset, uint64_t other_length) {
  return offset < other_offset + other_length && offset + length > other_offset;
}

}  // namespace

// virtio 4.1.4.3, with the 64-bit addresses as the two halves in which drivers write them.
struct VirtioPci::CommonRegisters {
  uint32_t device_feature_select;
  uint32_t device_feature;
  uint32_t driver_feature_select;
  uint32_t driver_feature;
  uint16_t config_vector;
  uint16_t queue_count;
  uint8_t status;
  uint8_t config_generation;
  uint16_t queue_select;
  uint16_t queue_size;
  uint16_t queue_vector;
  uint16_t queue_enable;
  uint16_t queue_notify_offset;
  uint32_t descriptor_low, descriptor_high;
  uint32_t driver_low, driver_high;
  uint32_t device_low, device_high;
  uint16_t queue_notify_config_data;  // of a feature that is not offered
  uint16_t queue_reset;
};

uint16_t VirtioPci::VectorCount(const VirtioDevice& device) {
  return static_cast<uint16_t>(1 + device.queue_max_sizes().size());
}

Result<std::unique_ptr<VirtioPci>> VirtioPci::Create(VirtioDevice& device,
                                                     const GuestMemory& memory, MsiSink& sink) {
  size_t queues = device.queue_max_sizes().size();
  if (queues == 0 || queues > kMaxQueues) {
    return Fail("cannot make a virtio device with {} queues: 1 to {} are possible", queues,
                kMaxQueues);
  }
  std::vector<EventFd> doorbells;
  for (size_t i = 0; i < queues; ++i) {
    TRY(EventFd doorbell, EventFd::Create());
    doorbells.push_back(std::move(doorbell));
  }
  TRY(EventFd queue_isr, EventFd::Create());
  return std::unique_ptr<VirtioPci>(
      new VirtioPci(device, memory, sink, std::move(doorbells), std::move(queue_isr)));
}

VirtioPci::VirtioPci(VirtioDevice& device, const GuestMemory& memory, MsiSink& sink,
                     std::vector<EventFd> doorbells, EventFd queue_isr)
    : PciDevice(IdentityOf(device)),
      device_(device),
      memory_(memory),
      msix_(VectorCount(device), sink),
      doorbells_(std::move(doorbells)),
      queues_(doorbells_.size()),
      queue_isr_(std::move(queue_isr)) {
  VMM_CHECK(device.config_bytes() <= kMaxDeviceConfigBytes);
  config_.AddMemoryBar(kBar, kBarBytes);
  config_.AddCapability(
      Region<VirtioCapability>(ConfigType::kCommon, kCommonOffset, sizeof(CommonRegisters)));
  config_.AddCapability(
      NotifyCapability{.common = Region<NotifyCapability>(ConfigType::kNotify, kNotifyOffset,
                                                          doorbells_.size() * kNotifyMultiplier),
                       .multiplier = kNotifyMultiplier});
  config_.AddCapability(Region<VirtioCapability>(ConfigType::kIsr, kIsrOffset, kIsrBytes));
  if (device.config_bytes() != 0) {
    config_.AddCapability(
        Region<VirtioCapability>(ConfigType::kDevice, kDeviceOffset, device.config_bytes()));
  }
  WindowCapability writable{};
  writable.common.bar = 0xff;
  writable.common.region_offset = 0xffff'ffff;
  writable.common.region_length = 0xffff'ffff;
  std::ranges::fill(writable.data, uint8_t{0xff});
  window_capability_ = config_.AddCapability(
      WindowCapability{.common = Region<WindowCapability>(ConfigType::kWindow, 0, 0), .data = {}},
      writable);
  msix_capability_ = config_.AddCapability(msix_.Capability(kBar, kTableOffset, kPendingOffset),
                                           Msix::WritableBits());
  Reset();
}

VirtioPci::~VirtioPci() { Deactivate(); }

uint64_t VirtioPci::doorbell_address(uint16_t queue) const {
  return bar_address(kBar) + kNotifyOffset + queue * kNotifyMultiplier;
}

void VirtioPci::Raise() {
  // virtio 4.1.4.5.1: the driver finds the reason when the interrupt comes.
  status_.fetch_or(kStatusNeedsReset);
  InterruptForConfig();
}

void VirtioPci::ChangeConfig(const std::function<void()>& change) {
  std::lock_guard lock(mutex_);
  change();
  CountGeneration();
  if ((status_.load() & kStatusDriverOk) != 0) InterruptForConfig();
}

// Only what was read can be outdated; counting no further keeps eight bits from coming round to the
// same number.
void VirtioPci::CountGeneration() {
  if (std::exchange(config_was_read_, false)) ++config_generation_;
}

void VirtioPci::InterruptForConfig() {
  isr_.fetch_or(kIsrConfig);
  if (const EventFd* interrupt = config_interrupt_.load()) interrupt->Notify();
}

void VirtioPci::OnReadConfig(uint64_t offset, std::span<std::byte> data) {
  uint64_t window_data = window_capability_ + offsetof(WindowCapability, data);
  uint32_t target, length;
  // virtio 4.1.4.9.1: the access to the BAR happens at each read of the data.
  if (Overlaps(offset, data.size(), window_data, kWindowBytes) && WindowTarget(target, length)) {
    std::array<std::byte, kWindowBytes> bytes;
    OnReadBar(kBar, target, std::span(bytes).first(length));
    for (size_t i = 0; i < length; ++i) {
      config_.Set(window_data + i, static_cast<uint8_t>(bytes[i]));
    }
  }
  config_.SetInterruptStatus(isr_.load() != 0 || queue_isr_.IsSet());  // virtio 4.1.4.5.1
  config_.Read(offset, data);
}

void VirtioPci::OnWriteConfig(uint64_t offset, std::span<const std::byte> data) {
  config_.Write(offset, data);
  uint64_t window_data = window_capability_ + offsetof(WindowCapability, data);
  uint32_t target, length;
  if (Overlaps(offset, data.size(), window_data, kWindowBytes) && WindowTarget(target, length)) {
    std::array<std::byte, kWindowBytes> bytes;
    config_.Read(window_data, bytes);
    OnWriteBar(kBar, target, std::span(bytes).first(length));
  }
  FollowConfigSpace();
}

bool VirtioPci::WindowTarget(uint32_t& offset, uint32_t& length) const {
  size_t capability = window_capability_;
  uint8_t bar = config_.Get<uint8_t>(capability + offsetof(VirtioCapability, bar));
  offset = config_.Get<uint32_t>(capability + offsetof(VirtioCapability, region_offset));
  length = config_.Get<uint32_t>(capability + offsetof(VirtioCapability, region_length));
  bool has_width = length == 1 || length == 2 || length == 4;
  return bar == kBar && has_width && IsAligned(offset, length) &&
         RangeFits(offset, length, kBarBytes);
}

void VirtioPci::FollowConfigSpace() {
  bool bus_master = config_.bus_master_enabled();
  uint16_t control = config_.Get<uint16_t>(msix_capability_ + offsetof(MsixCapability, control));
  const bool msix_enabled = (control & kMsixControlEnable) != 0;
  msix_.SetControl(msix_enabled && bus_master, (control & kMsixControlFunctionMask) != 0);
  if (msix_enabled != std::exchange(msix_enabled_, msix_enabled)) {
    for (Queue& queue : queues_) DirectInterrupt(queue);
    DirectConfigInterrupt();
  }
  if (!bus_master && active_) {
    Deactivate();
    Raise();
  }
}

void VirtioPci::OnReadBar(int, uint64_t offset, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0});
  uint64_t table_bytes = kMaxMsixTableBytes;
  if (auto part = Within(offset, data, kCommonOffset, sizeof(CommonRegisters)); !part.empty()) {
    ReadCommon(offset - kCommonOffset, part);
  } else if (part = Within(offset, data, kIsrOffset, kIsrBytes); !part.empty()) {
    const uint8_t queue_bit = queue_isr_.Drain() != 0 ? kIsrQueue : 0;
    part[0] = std::byte{static_cast<uint8_t>(isr_.exchange(0) | queue_bit)};
  } else if (part = Within(offset, data, kDeviceOffset, device_.config_bytes()); !part.empty()) {
    config_was_read_ = true;
    device_.ReadConfig(negotiated_features(), offset - kDeviceOffset, part);
  } else if (part = Within(offset, data, kPendingOffset, kPendingBytes); !part.empty()) {
    msix_.ReadPending(offset - kPendingOffset, part);
  } else if (part = Within(offset, data, kTableOffset, table_bytes); !part.empty()) {
    msix_.ReadTable(offset - kTableOffset, part);
  }
}

void VirtioPci::OnWriteBar(int, uint64_t offset, std::span<const std::byte> data) {
  uint64_t table_bytes = kMaxMsixTableBytes;
  uint64_t notify_bytes = doorbells_.size() * kNotifyMultiplier;
  if (auto part = Within(offset, data, kCommonOffset, sizeof(CommonRegisters)); !part.empty()) {
    WriteCommon(offset - kCommonOffset, part);
  } else if (part = Within(offset, data, kDeviceOffset, device_.config_bytes()); !part.empty()) {
    device_.WriteConfig(negotiated_features(), offset - kDeviceOffset, part);
  } else if (part = Within(offset, data, kNotifyOffset, notify_bytes); !part.empty()) {
    doorbells_[(offset - kNotifyOffset) / kNotifyMultiplier].Notify();
  } else if (part = Within(offset, data, kTableOffset, table_bytes); !part.empty()) {
    msix_.WriteTable(offset - kTableOffset, part);
  }
}

VirtioPci::CommonRegisters VirtioPci::RenderCommon() const {
  static_assert(sizeof(CommonRegisters) == 60);
  static_assert(offsetof(CommonRegisters, status) == 20);
  static_assert(offsetof(CommonRegisters, queue_enable) == 28);
  static_assert(offsetof(CommonRegisters, device_high) == 52);
  static_assert(offsetof(CommonRegisters, queue_reset) == 58);
  uint64_t offered = offered_features();
  auto half = [](uint64_t features, uint32_t select) {
    return select < 2 ? static_cast<uint32_t>(features >> (32 * select)) : 0;
  };
  CommonRegisters registers{};
  registers.device_feature_select = device_feature_select_;
  registers.device_feature = half(offered, device_feature_select_);
  registers.driver_feature_select = driver_feature_select_;
  registers.driver_feature = half(driver_features_, driver_feature_select_);
  registers.config_vector = config_vector_;
  registers.queue_count = queue_count();
  registers.status = status_.load();
  registers.config_generation = config_generation_;
  registers.queue_select = queue_select_;
  registers.queue_vector = kNoVector;
  if (const Queue* queue = selected_queue()) {
    registers.queue_size = queue->config.size;
    registers.queue_vector = queue->vector;
    registers.queue_enable = queue->enabled;
    registers.queue_notify_offset = queue_select_;
    registers.descriptor_low = static_cast<uint32_t>(queue->config.descriptor_address);
    registers.descriptor_high = static_cast<uint32_t>(queue->config.descriptor_address >> 32);
    registers.driver_low = static_cast<uint32_t>(queue->config.driver_address);
    registers.driver_high = static_cast<uint32_t>(queue->config.driver_address >> 32);
    registers.device_low = static_cast<uint32_t>(queue->config.device_address);
    registers.device_high = static_cast<uint32_t>(queue->config.device_address >> 32);
  }
  return registers;
}

void VirtioPci::ReadCommon(uint64_t offset, std::span<std::byte> data) const {
  CommonRegisters registers = RenderCommon();
  auto bytes = std::as_bytes(std::span(&registers, 1));
  std::ranges::copy(bytes.subspan(offset, data.size()), data.begin());
}

// An access may cover several registers, or a part of one. Each register that it touches gets its
// present value with the new bytes laid over, in rising order; registers before it have had their
// effect by then.
void VirtioPci::WriteCommon(uint64_t offset, std::span<const std::byte> data) {
  auto write = [&](auto member, auto&& apply) {
    static const CommonRegisters kLayout{};
    uint64_t at = static_cast<uint64_t>(reinterpret_cast<const std::byte*>(&(kLayout.*member)) -
                                        reinterpret_cast<const std::byte*>(&kLayout));
    uint64_t end = at + sizeof(kLayout.*member);
    if (!Overlaps(offset, data.size(), at, end - at)) return;
    CommonRegisters registers = RenderCommon();
    uint64_t from = std::max(offset, at);
    uint64_t to = std::min(offset + data.size(), end);
    std::memcpy(reinterpret_cast<std::byte*>(&registers) + from, &data[from - offset], to - from);
    apply(registers.*member);
  };
  // Registers of a queue that does not exist or is in use are not the driver's to write.
  auto write_address = [&](auto low_member, auto high_member, uint64_t QueueConfig::*address) {
    auto put = [&](uint32_t half, int shift) {
      Queue* queue = selected_queue();
      if (queue == nullptr || queue->enabled) return;
      uint64_t& value = queue->config.*address;
      value = (value & ~(uint64_t{0xffff'ffff} << shift)) | uint64_t{half} << shift;
    };
    write(low_member, [&](uint32_t half) { put(half, 0); });
    write(high_member, [&](uint32_t half) { put(half, 32); });
  };
  using R = CommonRegisters;
  write(&R::device_feature_select, [&](uint32_t value) { device_feature_select_ = value; });
  write(&R::driver_feature_select, [&](uint32_t value) { driver_feature_select_ = value; });
  write(&R::driver_feature, [&](uint32_t value) { WriteDriverFeature(value); });
  write(&R::config_vector, [&](uint16_t value) { SetConfigVector(value); });
  write(&R::status, [&](uint8_t value) { WriteStatus(value); });
  write(&R::queue_select, [&](uint16_t value) { queue_select_ = value; });
  write(&R::queue_size, [&](uint16_t value) { WriteQueueSize(value); });
  write(&R::queue_vector, [&](uint16_t value) {
    if (Queue* queue = selected_queue()) SetQueueVector(*queue, value);
  });
  write(&R::queue_enable, [&](uint16_t value) {
    if (value == 1) EnableQueue();
  });
  write_address(&R::descriptor_low, &R::descriptor_high, &QueueConfig::descriptor_address);
  write_address(&R::driver_low, &R::driver_high, &QueueConfig::driver_address);
  write_address(&R::device_low, &R::device_high, &QueueConfig::device_address);
  write(&R::queue_reset, [&](uint16_t value) {
    if (value == 1) ResetQueue();
  });
}

void VirtioPci::WriteDriverFeature(uint32_t bits) {
  if ((status_.load() & kStatusFeaturesOk) != 0) return;
  if (driver_feature_select_ >= 2) {
    // virtio 4.1.4.3.1: such bits may be dropped now, but not be accepted later.
    const uint64_t word = uint64_t{1} << std::min(driver_feature_select_, 63u);
    if (driver_feature_select_ >= 63 && driver_feature_select_ != far_feature_select_) {
      if (bits == 0) return;
      far_feature_select_ = (unknown_feature_words_ & word) == 0 ? driver_feature_select_ : 0;
    }
    unknown_feature_words_ &= ~word;
    if (bits != 0) unknown_feature_words_ |= word;
    return;
  }
  int shift = driver_feature_select_ == 0 ? 0 : 32;
  driver_features_ &= ~(uint64_t{0xffff'ffff} << shift);
  driver_features_ |= uint64_t{bits} << shift;
}

bool VirtioPci::FeaturesAreAcceptable() const {
  return unknown_feature_words_ == 0 && (driver_features_ & ~offered_features()) == 0 &&
         (driver_features_ & kFeatureVersion1) != 0 && device_.AcceptsFeatures(driver_features_);
}

// virtio 2.1. Only a reset clears bits; DEVICE_NEEDS_RESET is the device's own.
void VirtioPci::WriteStatus(uint8_t value) {
  if (value == 0) {
    Reset();
    return;
  }
  uint8_t added = value & ~status_.load();
  status_.fetch_or(added & (kStatusAcknowledge | kStatusDriver | kStatusFailed));
  if ((added & kStatusFeaturesOk) != 0 && FeaturesAreAcceptable()) {
    status_.fetch_or(kStatusFeaturesOk);
    CountGeneration();  // some fields depend on what was negotiated
  }
  if ((added & kStatusFailed) != 0) Deactivate();
  bool may_run = (status_.load() & (kStatusFeaturesOk | kStatusFailed)) == kStatusFeaturesOk;
  if ((added & kStatusDriverOk) != 0 && may_run) Activate();
}

void VirtioPci::WriteQueueSize(uint16_t size) {
  Queue* queue = selected_queue();
  if (queue == nullptr || queue->enabled) return;
  // virtio 4.1.4.3.1: a packed ring may have any size.
  bool is_size = IsPowerOfTwo(size) || (negotiated_features() & kFeatureRingPacked) != 0;
  if (size != 0 && is_size && size <= device_.queue_max_sizes()[queue_select_]) {
    queue->config.size = size;
  }
}

void VirtioPci::EnableQueue() {
  // virtio 3.1.1: queues are set up before DRIVER_OK; a queue enabled later would never run, unless
  // it was reset by itself (virtio 2.6.1).
  Queue* queue = selected_queue();
  if (queue == nullptr || queue->enabled) return;
  if ((status_.load() & kStatusDriverOk) != 0 && !queue->was_reset) return;
  queue->enabled = true;
  queue->was_reset = false;
  if (!active_) return;
  if (auto active = MakeActiveQueue(queue_select_)) device_.StartQueue(std::move(*active));
}

void VirtioPci::ResetQueue() {
  Queue* queue = selected_queue();
  if (queue == nullptr || !queue->enabled) return;
  if ((negotiated_features() & kFeatureRingReset) == 0) return;
  if (active_) device_.StopQueue(queue_select_);
  ClearQueue(queue_select_);
  queue->was_reset = true;
}

void VirtioPci::ClearQueue(uint16_t index) {
  Queue& queue = queues_[index];
  queue.config = {.size = device_.queue_max_sizes()[index]};
  queue.enabled = false;
  queue.was_reset = false;
  SetQueueVector(queue, kNoVector);
  doorbells_[index].Drain();
}

// virtio 4.1.5.1.2: a vector that does not exist reads back as none.
void VirtioPci::SetConfigVector(uint16_t vector) {
  config_vector_ = vector < msix_.vectors() ? vector : kNoVector;
  DirectConfigInterrupt();
}

void VirtioPci::DirectConfigInterrupt() {
  const bool has_vector = msix_enabled_ && config_vector_ != kNoVector;
  config_interrupt_.store(has_vector ? &msix_.interrupt(config_vector_) : nullptr);
}

void VirtioPci::SetQueueVector(Queue& queue, uint16_t vector) {
  queue.vector = vector < msix_.vectors() ? vector : kNoVector;
  DirectInterrupt(queue);
}

void VirtioPci::DirectInterrupt(Queue& queue) {
  const EventFd* interrupt = nullptr;
  if (!msix_enabled_) {
    interrupt = &queue_isr_;
  } else if (queue.vector != kNoVector) {
    interrupt = &msix_.interrupt(queue.vector);
  }
  queue.interrupt.store(interrupt);
}

void VirtioPci::Activate() {
  status_.fetch_or(kStatusDriverOk);
  if (!config_.bus_master_enabled()) {
    LOG_RATE_LIMITED("virtio: the guest's driver set DRIVER_OK without bus mastering");
    Raise();
    return;
  }
  Activation activation{.features = negotiated_features(), .queues = {}, .needs_reset = this};
  for (uint16_t i = 0; i < queue_count(); ++i) {
    if (!queues_[i].enabled) continue;
    std::optional<ActiveQueue> queue = MakeActiveQueue(i);
    if (!queue) return;
    activation.queues.push_back(std::move(*queue));
  }
  active_ = true;
  device_.Activate(std::move(activation));
}

std::optional<ActiveQueue> VirtioPci::MakeActiveQueue(uint16_t index) {
  const Queue& queue = queues_[index];
  Result<Virtqueue> ring = Virtqueue::Create(memory_, queue.config, negotiated_features());
  if (!ring) {
    LOG_RATE_LIMITED("virtio: queue {} of the guest's driver is not usable: {}", index,
                     ring.error().message);
    Raise();
    return std::nullopt;
  }
  return ActiveQueue{.index = index,
                     .ring = std::move(*ring),
                     .doorbell = &doorbells_[index],
                     .interrupt = &queue.interrupt};
}

void VirtioPci::Deactivate() {
  if (!active_) return;
  device_.Reset();
  active_ = false;
}

// virtio 2.4.1: the status reads 0 only after the last request is done, since reading it takes the
// lock that is held here.
void VirtioPci::Reset() {
  // An inactive device may still have configuration fields that the driver wrote.
  device_.Reset();
  active_ = false;
  device_feature_select_ = 0;
  driver_feature_select_ = 0;
  driver_features_ = 0;
  unknown_feature_words_ = 0;
  far_feature_select_ = 0;
  queue_select_ = 0;
  SetConfigVector(kNoVector);
  for (uint16_t i = 0; i < queue_count(); ++i) ClearQueue(i);
  msix_.ClearPending();
  queue_isr_.Drain();
  isr_.store(0);
  status_.store(0);
  CountGeneration();
}

VirtioPci::Queue* VirtioPci::selected_queue() {
  return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

const VirtioPci::Queue* VirtioPci::selected_queue() const {
  return queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
}

uint64_t VirtioPci::offered_features() const {
  return device_.offered_features() | kFeatureVersion1 | kFeatureNotificationData;
}

uint64_t VirtioPci::negotiated_features() const {
  return (status_.load() & kStatusFeaturesOk) != 0 ? driver_features_ : 0;
}

}  // namespace minivmm
