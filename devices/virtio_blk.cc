#include "devices/virtio_blk.h"

#include <algorithm>
#include <bit>
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

// One discard keeps the disk busy for so many bytes at most.
constexpr uint64_t kMaxDiscardBytes = 2_GiB;

uint32_t SegMax(uint16_t queue_size) { return queue_size - 2u; }  // header and status take two

bool IsHostManaged(const BlockLimits& limits) { return limits.zoned == ZonedModel::kHostManaged; }

bool OffersDiscard(const BlockLimits& limits) {
  return limits.discard && !limits.read_only && !IsHostManaged(limits);
}

uint64_t OfferedFeatures(const BlockLimits& limits, const VirtioBlkOptions& options) {
  uint64_t features = kBlkFeatureSizeMax | kBlkFeatureSegMax | kBlkFeatureBlockSize |
                      kBlkFeatureTopology | kBlkFeatureFlush | kFeatureIndirectDesc |
                      kFeatureEventIdx;
  if (options.num_queues > 1) features |= kBlkFeatureMultiQueue;
  if (limits.read_only) features |= kBlkFeatureReadOnly;
  if (OffersDiscard(limits)) features |= kBlkFeatureDiscard;
  if (limits.zoned != ZonedModel::kNone) features |= kBlkFeatureZoned;
  return features;
}

VirtioBlkConfig ConfigSpace(const BlockLimits& limits, const VirtioBlkOptions& options) {
  VirtioBlkConfig config{};
  config.capacity_sectors = limits.capacity_bytes / kSectorBytes;
  config.size_max_bytes = kSizeMaxBytes;
  config.seg_max = SegMax(options.queue_size);
  config.block_size_bytes = limits.logical_block_bytes;
  const uint32_t blocks_per_physical = limits.physical_block_bytes / limits.logical_block_bytes;
  config.physical_block_exponent = static_cast<uint8_t>(std::bit_width(blocks_per_physical) - 1);
  config.min_io_size_blocks = static_cast<uint16_t>(blocks_per_physical);
  config.num_queues = options.num_queues;
  if (OffersDiscard(limits)) {
    const uint32_t granularity_bytes =
        std::max(limits.discard_granularity_bytes, limits.logical_block_bytes);
    config.max_discard_sectors =
        static_cast<uint32_t>(AlignDown(kMaxDiscardBytes, granularity_bytes) / kSectorBytes);
    config.max_discard_segments = 1;
    config.discard_alignment_sectors = static_cast<uint32_t>(granularity_bytes / kSectorBytes);
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
    LOG("disk '{}': zones of {} bytes, not a power of two: Linux guests refuse such a disk",
        options.name, limits.zone_size_bytes);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<VirtioBlk>> VirtioBlk::Create(const VirtioBlkOptions& options,
                                                     BlockNode& disk) {
  const BlockLimits& limits = disk.limits();
  TRY_VOID(CheckOptions(options));
  TRY_VOID(CheckZones(limits, options));

  std::unique_ptr<VirtioBlk> device(new VirtioBlk);
  device->offered_features_ = OfferedFeatures(limits, options);
  device->config_ = ConfigSpace(limits, options);
  device->rules_.read_only = limits.read_only;
  device->rules_.capacity_sectors = device->config_.capacity_sectors;
  device->rules_.max_append_sectors = device->config_.zoned.max_append_sectors;
  device->rules_.max_discard_sectors = device->config_.max_discard_sectors;
  std::copy(options.serial.begin(), options.serial.end(), device->rules_.serial.begin());
  device->queue_max_sizes_.assign(options.num_queues, options.queue_size);
  for (uint16_t index = 0; index < options.num_queues; ++index) {
    TRY(std::unique_ptr<IoThread> thread,
        IoThread::Start(fmt::format("io/{}/{}", options.name, index)));
    device->queues_.push_back(std::make_unique<VirtioBlkQueue>(
        fmt::format("disk '{}'", options.name), disk, std::move(thread), options.queue_size));
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
  const std::span bytes = std::as_bytes(std::span(&config, 1)).subspan(offset, data.size());
  std::copy(bytes.begin(), bytes.end(), data.begin());
}

void VirtioBlk::Activate(Activation activation) {
  VMM_CHECK(active_.empty());
  VirtioBlkRules rules = rules_;
  rules.features = activation.features;
  for (ActiveQueue& queue : activation.queues) {
    VirtioBlkQueue* target = queues_.at(queue.index).get();
    active_.push_back(target);
    target->Start(std::move(queue), rules, activation.needs_reset);
  }
}

void VirtioBlk::Reset() {
  // Two phases: a request of one queue may wait in a zone behind one of another queue.
  for (VirtioBlkQueue* queue : active_) queue->StopDoorbell();
  for (VirtioBlkQueue* queue : active_) queue->Drain();
  active_.clear();
}

}  // namespace minivmm
