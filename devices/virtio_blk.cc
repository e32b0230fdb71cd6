#include "devices/virtio_blk.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/log.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr uint16_t kMaxQueues = 64;
constexpr uint16_t kMinRing = 4;
constexpr uint16_t kMaxRing = 1024;

// Not a limit of ours: Linux needs a page at least, and seg_max times this bounds the largest
// append (virtio 5.2.5.2). With the largest ring a full request stays below 4 GiB.
constexpr uint32_t kSizeMaxBytes = 1_MiB;

// Linux shifts max_append_sectors left by 9 in 32 bits; more would wrap there.
constexpr uint64_t kMaxAppendSectors = 0x7fffff;

// One discard or write-zeroes keeps the disk busy for so many bytes at most.
constexpr uint64_t kMaxRangeBytes = 2_GiB;

uint32_t SectorsOf(uint64_t bytes) { return static_cast<uint32_t>(bytes / kSectorBytes); }

// Block sizes that a guest may be told, QEMU's bounds.
constexpr uint32_t kMinBlockBytes = 512;
constexpr uint32_t kMaxBlockBytes = 2_MiB;

// Header and status take two descriptors. QEMU's number for devices without the adjustment is 126,
// which a shorter ring could not take from a driver without indirect descriptors.
uint32_t SegMax(const VirtioBlkOptions& options) {
  const uint32_t fitting = options.queue_size - 2u;
  return options.seg_max_adjust ? fitting : std::min(fitting, 126u);
}

bool IsHostManaged(const BlockLimits& limits) { return limits.zoned == ZonedModel::kHostManaged; }

// virtio 5.2.5.1 for discards. Zeroes in a sequential zone would have to move its write pointer.
bool OffersDiscard(const BlockLimits& limits, const VirtioBlkOptions& options) {
  return options.discard && limits.discard && !limits.read_only && !IsHostManaged(limits);
}
bool OffersWriteZeroes(const BlockLimits& limits, const VirtioBlkOptions& options) {
  return options.write_zeroes && limits.write_zeroes && !limits.read_only && !IsHostManaged(limits);
}

uint64_t OfferedFeatures(const BlockLimits& limits, const VirtioBlkOptions& options) {
  uint64_t features = kBlkFeatureSizeMax | kBlkFeatureSegMax | kBlkFeatureBlockSize |
                      kBlkFeatureTopology | kBlkFeatureFlush;
  auto offer = [&features](bool condition, uint64_t feature) {
    if (condition) features |= feature;
  };
  offer(options.indirect_desc, kFeatureIndirectDesc);
  offer(options.event_idx, kFeatureEventIdx);
  offer(options.packed, kFeatureRingPacked);
  offer(options.queue_reset, kFeatureRingReset);
  offer(options.config_wce, kBlkFeatureConfigWce);
  offer(options.num_queues > 1, kBlkFeatureMultiQueue);
  offer(limits.read_only, kBlkFeatureReadOnly);
  offer(OffersDiscard(limits, options), kBlkFeatureDiscard);
  offer(OffersWriteZeroes(limits, options), kBlkFeatureWriteZeroes);
  offer(limits.zoned != ZonedModel::kNone, kBlkFeatureZoned);
  return features;
}

// What the guest is told, or the disk's own where nothing was asked for.
uint32_t LogicalBytes(const BlockLimits& limits, const VirtioBlkOptions& options) {
  return options.logical_block_bytes != 0 ? options.logical_block_bytes
                                          : limits.logical_block_bytes;
}
uint32_t PhysicalBytes(const BlockLimits& limits, const VirtioBlkOptions& options) {
  return options.physical_block_bytes != 0
             ? options.physical_block_bytes
             : std::max(limits.physical_block_bytes, LogicalBytes(limits, options));
}

VirtioBlkConfig ConfigSpace(const BlockLimits& limits, const VirtioBlkOptions& options) {
  VirtioBlkConfig config{};
  config.capacity_sectors = limits.capacity_bytes / kSectorBytes;
  config.size_max_bytes = kSizeMaxBytes;
  config.seg_max = SegMax(options);
  config.block_size_bytes = LogicalBytes(limits, options);
  const uint32_t blocks_per_physical = PhysicalBytes(limits, options) / config.block_size_bytes;
  config.physical_block_exponent = static_cast<uint8_t>(std::bit_width(blocks_per_physical) - 1);
  config.min_io_size_blocks = static_cast<uint16_t>(blocks_per_physical);
  config.num_queues = options.num_queues;
  const uint32_t granularity_bytes =
      std::max(limits.discard_granularity_bytes, config.block_size_bytes);
  if (OffersDiscard(limits, options)) {
    config.max_discard_sectors = SectorsOf(AlignDown(kMaxRangeBytes, granularity_bytes));
    config.max_discard_segments = 1;
    config.discard_alignment_sectors = SectorsOf(granularity_bytes);
  }
  if (OffersWriteZeroes(limits, options)) {
    config.max_write_zeroes_sectors = SectorsOf(AlignDown(kMaxRangeBytes, granularity_bytes));
    config.max_write_zeroes_segments = 1;
    // Space is given back where discards give it back.
    config.write_zeroes_may_unmap = limits.discard;
  }
  if (limits.zoned != ZonedModel::kNone) {
    // The specification bounds max_append_sectors by seg_max times size_max, without saying whether
    // a product of bytes bounds sectors or bytes. Bytes is the stricter reading.
    const uint64_t max_append_bytes =
        std::min({limits.max_append_bytes, uint64_t{config.seg_max} * kSizeMaxBytes,
                  kMaxAppendSectors * kSectorBytes});
    config.zoned = {
        .zone_sectors = static_cast<uint32_t>(limits.zone_size_bytes / kSectorBytes),
        .max_open_zones = limits.max_open_zones,
        .max_active_zones = limits.max_active_zones,
        .max_append_sectors = static_cast<uint32_t>(
            AlignDown(max_append_bytes, limits.write_granularity_bytes) / kSectorBytes),
        .write_granularity_bytes = limits.write_granularity_bytes,
        .model = static_cast<uint8_t>(limits.zoned),
        .unused2 = {},
    };
  }
  return config;
}

Result<void> CheckOptions(const VirtioBlkOptions& options) {
  if (options.serial.size() > kBlkIdBytes) {
    return Fail("cannot create disk '{}': serial '{}' has {} bytes; use at most {}", options.name,
                options.serial, options.serial.size(), kBlkIdBytes);
  }
  if (options.num_queues < 1 || options.num_queues > kMaxQueues) {
    return Fail("cannot create disk '{}': num-queues is {}; use 1 to {}", options.name,
                options.num_queues, kMaxQueues);
  }
  if (!IsPowerOfTwo(options.queue_size) || options.queue_size < kMinRing ||
      options.queue_size > kMaxRing) {
    return Fail("cannot create disk '{}': queue-size is {}; use a power of two from {} to {}",
                options.name, options.queue_size, kMinRing, kMaxRing);
  }
  return {};
}

Result<void> CheckBlockSizes(const BlockLimits& limits, const VirtioBlkOptions& options) {
  auto fail = [&](std::string_view property, uint32_t value, std::string why) {
    return Fail("cannot create disk '{}': {}={}: {}", options.name, property, value, why);
  };
  const uint32_t logical = options.logical_block_bytes;
  const uint32_t physical = options.physical_block_bytes;
  auto is_size = [](uint32_t bytes) {
    return IsPowerOfTwo(bytes) && bytes >= kMinBlockBytes && bytes <= kMaxBlockBytes;
  };
  const std::string range =
      fmt::format("use a power of two from {} to {}", kMinBlockBytes, kMaxBlockBytes);
  if (logical != 0) {
    if (!is_size(logical)) return fail("logical_block_size", logical, range);
    if (limits.zoned != ZonedModel::kNone && logical != limits.logical_block_bytes) {
      return fail("logical_block_size", logical,
                  fmt::format("a zoned disk keeps its own block size, which is {}; leave it out",
                              limits.logical_block_bytes));
    }
    if (logical < limits.logical_block_bytes) {
      return fail(
          "logical_block_size", logical,
          fmt::format("the disk has blocks of {} bytes; use no less", limits.logical_block_bytes));
    }
    if (!IsAligned(limits.capacity_bytes, logical)) {
      return fail("logical_block_size", logical,
                  fmt::format("the disk's {} bytes are not a multiple of it; use a smaller one",
                              limits.capacity_bytes));
    }
  }
  if (physical != 0) {
    if (!is_size(physical)) return fail("physical_block_size", physical, range);
    if (physical < LogicalBytes(limits, options)) {
      return fail(
          "physical_block_size", physical,
          fmt::format("logical blocks have {} bytes; use no less", LogicalBytes(limits, options)));
    }
  }
  return {};
}

Result<void> CheckZones(const BlockLimits& limits, const VirtioBlkOptions& options) {
  if (limits.zoned == ZonedModel::kNone) return {};
  VMM_CHECK(limits.write_granularity_bytes != 0);
  if (limits.zone_size_bytes / kSectorBytes > UINT32_MAX) {
    return Fail(
        "cannot create disk '{}': zones of {} bytes do not fit virtio's 32 bits for a zone's "
        "sectors",
        options.name, limits.zone_size_bytes);
  }
  if (IsHostManaged(limits) && !IsPowerOfTwo(limits.zone_size_bytes)) {
    // At each reset, which a guest may ask for as often as it likes.
    LOG_RATE_LIMITED(
        "disk '{}': zones of {} bytes, not a power of two: Linux guests refuse such a disk",
        options.name, limits.zone_size_bytes);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<VirtioBlk>> VirtioBlk::Create(const VirtioBlkOptions& options,
                                                     BlockNode& disk,
                                                     const std::function<void()>& on_held) {
  const BlockLimits& limits = disk.limits();
  TRY_VOID(CheckOptions(options));
  TRY_VOID(CheckBlockSizes(limits, options));
  TRY_VOID(CheckZones(limits, options));

  std::unique_ptr<VirtioBlk> device(new VirtioBlk);
  device->write_cache_ = options.write_cache;
  device->offered_features_ = OfferedFeatures(limits, options);
  device->config_ = ConfigSpace(limits, options);
  device->rules_.read_only = limits.read_only;
  device->rules_.capacity_sectors = device->config_.capacity_sectors;
  device->rules_.max_append_sectors = device->config_.zoned.max_append_sectors;
  device->rules_.max_discard_sectors = device->config_.max_discard_sectors;
  device->rules_.max_write_zeroes_sectors = device->config_.max_write_zeroes_sectors;
  std::copy(options.serial.begin(), options.serial.end(), device->rules_.serial.begin());
  device->queue_max_sizes_.assign(options.num_queues, options.queue_size);
  for (uint16_t index = 0; index < options.num_queues; ++index) {
    TRY(std::unique_ptr<IoThread> thread,
        IoThread::Start(fmt::format("io/{}/{}", options.name, index), options.poll_max_ns));
    device->queues_.push_back(std::make_unique<VirtioBlkQueue>(
        fmt::format("disk '{}'", options.name), disk, device->write_through_, std::move(thread),
        options.queue_size, on_held));
  }
  return device;
}

VirtioBlk::~VirtioBlk() { Reset(); }

bool VirtioBlk::AcceptsFeatures(uint64_t features) const {
  // virtio 5.2.5.2: a driver that knows nothing of zones would corrupt a host-managed disk.
  return config_.zoned.model != static_cast<uint8_t>(ZonedModel::kHostManaged) ||
         (features & kBlkFeatureZoned) != 0;
}

void VirtioBlk::ReadConfig(uint64_t features, uint64_t offset, std::span<std::byte> data) const {
  VMM_CHECK(RangeFits(offset, data.size(), sizeof(config_)));
  VirtioBlkConfig config = config_;
  // virtio 5.2.5.2: readable before negotiation, all zero for a driver that went on without.
  if (features != 0 && !(features & kBlkFeatureZoned)) config.zoned = {};
  config.writeback = Writeback(features);
  const std::span bytes = std::as_bytes(std::span(&config, 1)).subspan(offset, data.size());
  std::copy(bytes.begin(), bytes.end(), data.begin());
}

void VirtioBlk::WriteConfig(uint64_t features, uint64_t offset, std::span<const std::byte> data) {
  constexpr uint64_t kWriteback = offsetof(VirtioBlkConfig, writeback);
  if (!(features & kBlkFeatureConfigWce)) return;
  if (offset > kWriteback || kWriteback - offset >= data.size()) return;
  const auto value = static_cast<uint8_t>(data[kWriteback - offset]);
  if (value > 1) return;
  driver_writeback_ = value == 1;
  UpdateWriteThrough(features);
}

bool VirtioBlk::Writeback(uint64_t features) const {
  if (driver_writeback_) return *driver_writeback_;
  // virtio 5.2.5.2: a driver that did not negotiate FLUSH cannot mean to flush.
  return write_cache_ && (features == 0 || (features & kBlkFeatureFlush));
}

void VirtioBlk::UpdateWriteThrough(uint64_t features) {
  write_through_.store(!Writeback(features), std::memory_order_release);
}

void VirtioBlk::SetCapacity(uint64_t capacity_sectors) {
  // Linux does not look at zones again (virtio 5.2.6.2 leaves it open).
  VMM_CHECK(config_.zoned.model == static_cast<uint8_t>(ZonedModel::kNone));
  VMM_CHECK(IsAligned(capacity_sectors, config_.block_size_bytes / kSectorBytes));
  config_.capacity_sectors = capacity_sectors;
  rules_.capacity_sectors = capacity_sectors;
  for (VirtioBlkQueue* queue : active_) queue->SetCapacity(capacity_sectors);
}

bool VirtioBlk::HoldsRequests() const {
  return std::ranges::any_of(queues_, [](const auto& queue) { return queue->HoldsRequests(); });
}

void VirtioBlk::RetryHeld() {
  for (const auto& queue : queues_) queue->RetryHeld();
}

void VirtioBlk::Activate(Activation activation) {
  VMM_CHECK(active_.empty());
  rules_.features = activation.features;
  needs_reset_ = activation.needs_reset;
  UpdateWriteThrough(activation.features);
  for (ActiveQueue& queue : activation.queues) StartQueue(std::move(queue));
}

void VirtioBlk::StartQueue(ActiveQueue queue) {
  VirtioBlkQueue* target = queues_.at(queue.index).get();
  active_.push_back(target);
  target->Start(std::move(queue), rules_, needs_reset_);
}

void VirtioBlk::StopQueue(uint16_t index) {
  VirtioBlkQueue* target = queues_.at(index).get();
  if (std::erase(active_, target) == 0) return;
  target->StopDoorbell();
  target->Drain();
}

void VirtioBlk::Reset() {
  // Two phases: a request of one queue may wait in a zone behind one of another queue.
  for (VirtioBlkQueue* queue : active_) queue->StopDoorbell();
  for (VirtioBlkQueue* queue : active_) queue->Drain();
  active_.clear();
  driver_writeback_.reset();
}

}  // namespace minivmm
