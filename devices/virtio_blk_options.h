// VirtioBlkOptions: the properties of a virtio-blk device, as the command line gives them and the
// device wants them. Names and defaults are those of QEMU's virtio-blk-pci.
#ifndef MINIVMM_DEVICES_VIRTIO_BLK_OPTIONS_H_
#define MINIVMM_DEVICES_VIRTIO_BLK_OPTIONS_H_

#include <cstdint>
#include <string>

namespace minivmm {

struct VirtioBlkOptions {
  std::string name;               // for messages and for the names of the threads
  std::string serial{};           // at most 20 bytes, what GET_ID answers
  uint16_t num_queues = 1;        // 1 to 64
  uint16_t queue_size = 256;      // power of two, 4 to 1024
  uint32_t poll_max_ns = 32'768;  // how long a queue's thread looks for requests before it sleeps
  // What the guest is told instead of the disk's own; 0: the disk's own. Powers of two from 512 to
  // 2 MiB, logical <= physical, logical not below the disk's.
  uint32_t logical_block_bytes = 0;
  uint32_t physical_block_bytes = 0;
  bool write_cache = true;     // at first and after a reset; false: each write is on stable storage
                               // before it is answered
  bool config_wce = true;      // the guest may change that
  bool discard = true;         // offered if the disk can
  bool write_zeroes = true;    // the same
  bool seg_max_adjust = true;  // seg_max is queue_size - 2; false: 126 where that fits
  bool packed = false;         // offer packed rings
  bool event_idx = true;
  bool indirect_desc = true;
  bool queue_reset = true;

  bool operator==(const VirtioBlkOptions&) const = default;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_BLK_OPTIONS_H_
