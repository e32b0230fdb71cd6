// VirtioBlk: a disk as a virtio block device (virtio 5.2), zoned or not. Translates the disk's
// limits into features and the configuration space, and spreads activation and reset over its
// queues; requests are the business of VirtioBlkQueue.
//
// One I/O thread for each queue, started here and living as long as the device, so that nothing is
// created while the guest runs. Called by the transport on vCPU threads, under its lock.
//
// Not offered: CONFIG_WCE, WRITE_ZEROES, SECURE_ERASE, LIFETIME, GEOMETRY.
#ifndef MINIVMM_DEVICES_VIRTIO_BLK_H_
#define MINIVMM_DEVICES_VIRTIO_BLK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"
#include "devices/virtio_blk_format.h"
#include "devices/virtio_blk_queue.h"
#include "devices/virtio_blk_request.h"
#include "devices/virtio_device.h"

namespace minivmm {

struct VirtioBlkOptions {
  std::string name;           // for messages and for the names of the threads
  std::string serial{};       // at most 20 bytes, what GET_ID answers
  uint16_t num_queues = 1;    // 1 to 64
  uint16_t queue_size = 256;  // power of two, 4 to 1024
};

class VirtioBlk : public VirtioDevice {
 public:
  // `disk` must outlive the device. Fails when an option is out of range, when the disk's zones
  // cannot be expressed, or when an I/O thread does not start. Warns of zones that Linux will
  // refuse.
  static Result<std::unique_ptr<VirtioBlk>> Create(const VirtioBlkOptions& options,
                                                   BlockNode& disk);
  // Resets.
  ~VirtioBlk() override;

  uint16_t device_id() const override { return kVirtioBlkDeviceId; }
  uint64_t offered_features() const override { return offered_features_; }
  std::span<const uint16_t> queue_max_sizes() const override { return queue_max_sizes_; }
  size_t config_bytes() const override { return sizeof(VirtioBlkConfig); }
  bool AcceptsFeatures(uint64_t features) const override;
  void ReadConfig(uint64_t features, uint64_t offset, std::span<std::byte> data) const override;
  // No field is writable.
  void WriteConfig(uint64_t, uint64_t, std::span<const std::byte>) override {}
  void Activate(Activation activation) override;
  void Reset() override;

 private:
  VirtioBlk() = default;

  uint64_t offered_features_ = 0;
  VirtioBlkConfig config_{};
  VirtioBlkRules rules_;  // but for the negotiated features
  std::vector<uint16_t> queue_max_sizes_;
  std::vector<std::unique_ptr<VirtioBlkQueue>> queues_;
  std::vector<VirtioBlkQueue*> active_;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_BLK_H_
