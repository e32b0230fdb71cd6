// VirtioDevice: what a device model is to its transport. The transport (virtio_pci) edits registers
// and negotiates; the device sees whole facts: accepted features, a configuration space of bytes,
// and at one moment checked rings.
//
//   status 0 ─ ACKNOWLEDGE ─ DRIVER ─ FEATURES_OK ─ DRIVER_OK ──▶ Activate(queues)
//        ▲                                 │                             │
//        │           AcceptsFeatures says no: the bit stays 0            │ NEEDS_RESET: rings broken
//        └────────────────────── 0 written: Reset ◀──────────────────────┘
//
// A queue, to a device, is a ring and two eventfds. All functions are called with the transport's
// lock held, or on the main thread while no vCPU runs; never on an I/O thread. Limits and features
// are constant.
#ifndef MINIVMM_DEVICES_VIRTIO_DEVICE_H_
#define MINIVMM_DEVICES_VIRTIO_DEVICE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/base/event_fd.h"
#include "devices/virtqueue.h"

namespace minivmm {

// How a queue that found its ring broken tells the driver: DEVICE_NEEDS_RESET and a configuration
// interrupt (virtio 2.1.2). Any thread, no lock, once for each ring that is found broken.
class NeedsReset {
 public:
  virtual ~NeedsReset() = default;
  virtual void Raise() = 0;
};

struct ActiveQueue {
  uint16_t index;
  Virtqueue ring;
  const EventFd* doorbell;  // written by KVM or the transport when the driver notifies
  // Where to signal used buffers; nullptr when the driver gave the queue no vector. May change
  // while the queue runs (the driver may remap a vector, or turn MSI-X off): load it for each
  // interrupt.
  const std::atomic<const EventFd*>* interrupt;
};

struct Activation {
  uint64_t features;
  std::vector<ActiveQueue> queues;  // the enabled ones, in order of index
  NeedsReset* needs_reset;
};

class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;

  virtual uint16_t device_id() const = 0;  // virtio 5: 2 = block
  // Device bits and ring bits; the transport adds VERSION_1 and NOTIFICATION_DATA.
  virtual uint64_t offered_features() const = 0;
  virtual std::span<const uint16_t> queue_max_sizes() const = 0;
  virtual size_t config_bytes() const = 0;  // size of the device configuration space
  // Whether FEATURES_OK may be set for this subset of the offered features (virtio 5.2.5.2:
  // host-managed needs ZONED).
  virtual bool AcceptsFeatures(uint64_t features) const = 0;
  // `features` is what the driver has accepted so far (0 before FEATURES_OK): some fields depend on
  // it. Offsets are within config_bytes().
  virtual void ReadConfig(uint64_t features, uint64_t offset, std::span<std::byte> data) const = 0;
  virtual void WriteConfig(uint64_t features, uint64_t offset, std::span<const std::byte> data) = 0;

  // DRIVER_OK: queues begin to run on their I/O threads; what is in the rings already is processed.
  virtual void Activate(Activation activation) = 0;
  // RING_RESET (virtio 2.6.1), of an active device: one queue stops, the others go on. As Reset,
  // but for this queue alone; no effect when the queue is not running.
  virtual void StopQueue(uint16_t index) = 0;
  // After StopQueue: the queue runs again, on a new ring.
  virtual void StartQueue(ActiveQueue queue) = 0;
  // Two phases: all queues stop listening, then all requests in flight complete. Returns when the
  // rings and guest memory are no longer touched. When not active, it only forgets what the driver
  // has written to the configuration space.
  virtual void Reset() = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_DEVICE_H_
