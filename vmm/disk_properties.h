// The properties of --device virtio-blk-pci: QEMU's, as far as they mean something here, and the
// reasons why the others do not. Pure.
#ifndef MINIVMM_VMM_DISK_PROPERTIES_H_
#define MINIVMM_VMM_DISK_PROPERTIES_H_

#include <optional>
#include <span>
#include <string>

#include "blockcore/base/result.h"
#include "blockcore/error_policy.h"
#include "devices/virtio_blk_options.h"
#include "vmm/device_property.h"

namespace minivmm {

// --device virtio-blk-pci
struct DiskDevice {
  std::string id;                // its own, or made of the drive's name
  std::string drive;             // node-name of a --blockdev or --drive
  std::optional<int> slot;       // addr=, 1 to 31; else the first free one
  std::optional<int> bootindex;  // not negative
  ErrorPolicy errors;            // of the drive, as long as this device has it
  VirtioBlkOptions options;      // its name is the id
};

// While the rest of the command line is still unknown.
struct DiskRequest {
  DiskDevice device;
  std::optional<uint16_t> num_queues;   // none: as many as there are vCPUs
  std::optional<bool> write_cache;      // none: as the drive's cache= has it
  std::optional<OnError> read_errors;   // none: as the drive's rerror= has it
  std::optional<OnError> write_errors;  // none: as the drive's werror= has it
};

std::span<const Property<DiskRequest>> DiskProperties();

// `given` without the key "driver". Fails with what is wrong with which property.
Result<DiskRequest> ReadDiskProperties(const Description& given);

}  // namespace minivmm

#endif  // MINIVMM_VMM_DISK_PROPERTIES_H_
