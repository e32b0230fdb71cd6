// ZonedDevice: the node of a zoned block device of the host that is open already (host_device opens
// it). ZoneQueue decides every request from the zones' state; what it sends on goes to the kernel:
// data by io_uring on the request's I/O thread, zone operations by ioctls on a thread of their own.
//
//   ZonedDevice:  request ─▶ ZoneQueue ─▶ ZoneMedium ─┬─▶ DiskTransfer ─────▶ io_uring
//                                                     └─▶ ZoneIoctlThread ─▶ ioctl
#ifndef MINIVMM_BLOCKCORE_ZONED_DEVICE_H_
#define MINIVMM_BLOCKCORE_ZONED_DEVICE_H_

#include <utility>

#include "blockcore/base/unique_fd.h"
#include "blockcore/block_node.h"
#include "blockcore/disk_transfer.h"
#include "blockcore/io_thread.h"
#include "blockcore/zone_ioctl.h"
#include "blockcore/zone_model.h"
#include "blockcore/zone_queue.h"

namespace minivmm {

// Does what it is told: one operation per zone at a time, which must be right.
class ZoneMedium : public BlockNode {
 public:
  // `transfer.fd` is `fd`.
  ZoneMedium(UniqueFd fd, const BlockLimits& limits, DiskTransferOptions transfer)
      : fd_(std::move(fd)),
        limits_(limits),
        ioctls_(fd_.get(), transfer.filename, limits.capacity_bytes, limits.zone_size_bytes),
        transfer_(std::move(transfer)) {}

  const BlockLimits& limits() const override { return limits_; }

  void Submit(IoThread& thread, BlockRequest& request) override {
    switch (request.op) {
      case BlockOp::kZoneReport:
      case BlockOp::kZoneOpen:
      case BlockOp::kZoneClose:
      case BlockOp::kZoneFinish:
      case BlockOp::kZoneReset:
      case BlockOp::kZoneResetAll:
        ioctls_.Submit(thread, request);
        return;
      default:
        transfer_.Submit(thread, request);
    }
  }

 private:
  UniqueFd fd_;
  BlockLimits limits_;
  ZoneIoctlThread ioctls_;
  DiskTransfer transfer_;
};

class ZonedDevice : public BlockNode {
 public:
  // `fd` is a zoned disk, which `model` describes; `transfer.fd` is the same.
  ZonedDevice(UniqueFd fd, DiskTransferOptions transfer, ZoneModel model)
      : medium_(std::move(fd), model.limits(), std::move(transfer)),
        queue_(medium_, std::move(model)) {}

  const BlockLimits& limits() const override { return queue_.limits(); }
  void Submit(IoThread& thread, BlockRequest& request) override { queue_.Submit(thread, request); }

 private:
  ZoneMedium medium_;
  ZoneQueue queue_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_DEVICE_H_
