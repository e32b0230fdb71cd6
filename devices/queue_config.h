// What a ring is made of before it is a ring: the registers of one queue as the driver left them,
// and the feature bits that decide its layout and rules. Constants and a plain struct, any thread.
// Nothing here is checked: Virtqueue::Create does that.
#ifndef MINIVMM_DEVICES_QUEUE_CONFIG_H_
#define MINIVMM_DEVICES_QUEUE_CONFIG_H_

#include <cstdint>

namespace minivmm {

// Reserved feature bits (virtio 6) about rings.
constexpr uint64_t kFeatureIndirectDesc = uint64_t{1} << 28;
constexpr uint64_t kFeatureEventIdx = uint64_t{1} << 29;
constexpr uint64_t kFeatureRingPacked = uint64_t{1} << 34;
constexpr uint64_t kFeatureRingReset = uint64_t{1} << 40;  // the transport's: one queue alone

// virtio 2.7, 2.8: the largest ring of both layouts.
constexpr uint16_t kMaxQueueSize = 32768;

// The registers of one queue (virtio 4.1.4.3). In the words of split and packed rings:
struct QueueConfig {
  uint16_t size = 0;                // queue_size, in descriptors
  uint64_t descriptor_address = 0;  // queue_desc, guest addresses all three: table or ring
  uint64_t driver_address = 0;      // queue_driver: available ring, or driver's event suppression
  uint64_t device_address = 0;      // queue_device: used ring, or device's event suppression
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_QUEUE_CONFIG_H_
