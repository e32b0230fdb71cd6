// VirtioBlk: a disk as a virtio block device (virtio 5.2), zoned or not. Translates the disk's
// limits into features and the configuration space, and spreads activation and reset over its
// queues; requests are the business of VirtioBlkQueue.
//
// Requests that the host fails may wait in their queue until RetryHeld (the ErrorPolicy of their
// BlockBackend); a reset, of the device or of their queue, gives them up.
//
// One I/O thread for each queue, started here and living as long as the device, so that nothing is
// created while the guest runs. Called by the transport, as VirtioDevice says.
//
// Write-through is a flush behind each request that changes the disk. It is in force when the
// driver says so (CONFIG_WCE), when it knows of no flush, or when it has said nothing and the
// property write-cache is off.
//
// Not offered: SECURE_ERASE and LIFETIME (nothing below could keep the promise), GEOMETRY (disks
// have none), IN_ORDER (a request that waits in a zone would hold up all others of its queue).
#ifndef MINIVMM_DEVICES_VIRTIO_BLK_H_
#define MINIVMM_DEVICES_VIRTIO_BLK_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"
#include "devices/virtio_blk_format.h"
#include "devices/virtio_blk_options.h"
#include "devices/virtio_blk_queue.h"
#include "devices/virtio_blk_request.h"
#include "devices/virtio_device.h"

namespace minivmm {

class VirtioBlk : public VirtioDevice {
 public:
  // `disk` must outlive the device. `on_held` is called on an I/O thread when requests begin to
  // wait for RetryHeld: the machine is to stand still until then. It returns soon. Fails when an
  // option is out of range, when the disk's zones cannot be expressed, or when an I/O thread does
  // not start. Warns of zone sizes that Linux will refuse.
  static Result<std::unique_ptr<VirtioBlk>> Create(const VirtioBlkOptions& options, BlockNode& disk,
                                                   const std::function<void()>& on_held = {});
  // Resets.
  ~VirtioBlk() override;

  uint16_t device_id() const override { return kVirtioBlkDeviceId; }
  uint64_t offered_features() const override { return offered_features_; }
  std::span<const uint16_t> queue_max_sizes() const override { return queue_max_sizes_; }
  size_t config_bytes() const override { return sizeof(VirtioBlkConfig); }
  bool AcceptsFeatures(uint64_t features) const override;
  void ReadConfig(uint64_t features, uint64_t offset, std::span<std::byte> data) const override;
  // `writeback` is writable once CONFIG_WCE was negotiated, with 0 or 1; nothing else is.
  void WriteConfig(uint64_t features, uint64_t offset, std::span<const std::byte> data) override;
  // Another capacity from now on, for the configuration space and for the checks of requests. The
  // disk is not zoned, and has as many sectors, which are whole logical blocks. As the functions of
  // VirtioDevice: with the transport's lock held (VirtioPci::ChangeConfig, which tells the driver).
  void SetCapacity(uint64_t capacity_sectors);
  // Any thread: whether requests wait for RetryHeld.
  bool HoldsRequests() const;
  // Lets all that wait go to the disk again, in the order in which each queue had them, as soon as
  // nothing else of their queue is there. Main thread, while no vCPU runs.
  void RetryHeld();
  void Activate(Activation activation) override;
  void StopQueue(uint16_t index) override;
  void StartQueue(ActiveQueue queue) override;
  void Reset() override;

 private:
  VirtioBlk() = default;

  // The field as the driver of these features reads it.
  bool Writeback(uint64_t features) const;
  void UpdateWriteThrough(uint64_t features);

  bool write_cache_ = true;               // the property
  std::optional<bool> driver_writeback_;  // what the driver wrote since the last reset
  std::atomic<bool> write_through_ =
      false;  // for the queues; the rest is under the transport's lock

  uint64_t offered_features_ = 0;
  VirtioBlkConfig config_{};
  VirtioBlkRules rules_;               // `features`: of the last activation
  NeedsReset* needs_reset_ = nullptr;  // likewise
  std::vector<uint16_t> queue_max_sizes_;
  std::vector<std::unique_ptr<VirtioBlkQueue>> queues_;
  std::vector<VirtioBlkQueue*> active_;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_BLK_H_
