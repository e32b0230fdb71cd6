// The node `host_device`: a block device of the host, opened for us alone (O_EXCL). OpenHostDevice
// checks everything and says in one line what is wrong; afterwards the node serves any number of
// I/O threads.
//
//   ordinary disk   DiskTransfer ─▶ io_uring
//   zoned disk      ZoneQueue ─▶ zone medium ─┬▶ DiskTransfer ─▶ io_uring    always O_DIRECT
//                                             └▶ ZoneIoctlThread ─▶ BLK*ZONE
#ifndef MINIVMM_BLOCKCORE_HOST_DEVICE_H_
#define MINIVMM_BLOCKCORE_HOST_DEVICE_H_

#include <memory>
#include <optional>
#include <string>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"

namespace minivmm {

struct HostDeviceOptions {
  std::string filename;
  bool read_only = false;
  // O_DIRECT. Unless given: on for a zoned disk (off is refused there), off for others.
  std::optional<bool> cache_direct = std::nullopt;
  bool cache_no_flush = false;
  bool discard = false;
};

Result<std::unique_ptr<BlockNode>> OpenHostDevice(const HostDeviceOptions& options);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_HOST_DEVICE_H_
