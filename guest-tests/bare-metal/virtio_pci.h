// A modern virtio device behind PCI: its register regions, feature negotiation, MSI-X table and
// queue registers. Register access is open to the checks (Common(), SetCommon(), the regions); the
// named steps are what a driver does.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_VIRTIO_PCI_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_VIRTIO_PCI_H_

#include <cstdint>

#include "guest-tests/bare-metal/cpu.h"
#include "guest-tests/bare-metal/interrupts.h"
#include "guest-tests/bare-metal/pci.h"
#include "guest-tests/bare-metal/virtio.h"
#include "guest-tests/bare-metal/virtqueue.h"

namespace minivmm {

// One virtio capability and the part of a BAR that it names.
struct VirtioRegion {
  uint64_t address = 0;  // of the region in guest-physical memory; 0: no such capability
  uint32_t offset = 0;   // in its BAR
  uint32_t length = 0;
  uint8_t bar = 0;
  uint8_t capability = 0;  // its address in configuration space
  uint8_t capability_length = 0;
};

class VirtioPci {
 public:
  // Finds the regions and the MSI-X table, and turns on memory decoding, bus mastering and MSI-X.
  // Null on success, otherwise what is missing.
  const char* Open(const PciFunction& function);

  const PciFunction& function() const { return function_; }
  const VirtioRegion& region(uint8_t type) const { return regions_[type]; }

  template <typename T>
  T Common(uint32_t offset) const {
    return MmioRead<T>(regions_[kCommonConfig].address + offset);
  }
  template <typename T>
  void SetCommon(uint32_t offset, T value) const {
    MmioWrite<T>(regions_[kCommonConfig].address + offset, value);
  }
  template <typename T>
  T Config(uint32_t offset) const {
    return MmioRead<T>(regions_[kDeviceConfig].address + offset);
  }

  uint8_t Status() const { return Common<uint8_t>(kDeviceStatus); }
  void AddStatus(uint8_t bits) const { SetCommon<uint8_t>(kDeviceStatus, Status() | bits); }
  void Reset() const;
  uint64_t OfferedFeatures() const;
  void WriteDriverFeatures(uint64_t features) const;
  // Reset, ACKNOWLEDGE, DRIVER, the features, FEATURES_OK. Returns whether the device kept
  // FEATURES_OK.
  bool Negotiate(uint64_t features) const;

  uint16_t QueueCount() const { return Common<uint16_t>(kNumQueues); }
  uint16_t MaxQueueSize(uint16_t queue) const;
  // Writes size, addresses and vector of a queue and enables it.
  void EnableQueue(uint16_t queue, uint16_t size, const RingMemory& memory, uint16_t entry) const;
  void Notify(uint16_t queue) const { NotifyWith(queue, queue); }
  // Any 16-bit value to the address of any queue.
  void NotifyWith(uint16_t queue, uint16_t value) const;
  // Where a notification of this queue is written to.
  uint64_t DoorbellOf(uint16_t queue) const;
  uint32_t notify_multiplier() const { return notify_multiplier_; }

  uint16_t msix_entries() const { return msix_entries_; }
  // Table entry n raises CPU vector kFirstMsiVector + n.
  static uint8_t VectorOfEntry(uint16_t entry) {
    return static_cast<uint8_t>(kFirstMsiVector + entry);
  }
  // Points every table entry at its own CPU vector, unmasked.
  void ResetMsixTable() const;
  void WriteMsixEntry(uint16_t entry, uint8_t vector) const;
  void MaskMsixEntry(uint16_t entry, bool masked) const;
  void MaskMsixFunction(bool masked) const;
  void EnableMsix(bool enabled) const;
  bool IsMsixPending(uint16_t entry) const;
  uint64_t msix_table() const { return msix_table_; }
  uint64_t msix_pending() const { return msix_pending_; }
  uint8_t msix_capability() const { return msix_capability_; }

 private:
  void WriteMsixControl(uint32_t control) const;

  PciFunction function_;
  VirtioRegion regions_[kCapabilityTypes];
  uint64_t msix_table_ = 0;
  uint64_t msix_pending_ = 0;
  uint32_t notify_multiplier_ = 0;
  uint16_t msix_entries_ = 0;
  uint8_t msix_capability_ = 0;
};

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_VIRTIO_PCI_H_
