// VirtioPci: the modern virtio-pci transport (virtio 1.3, 4.1) of one VirtioDevice: PCI identity
// and capabilities, the common registers with the status machine, doorbells, MSI-X, and the
// configuration window. The only file that knows both PCI and virtio.
//
//   BAR 0, 64 KiB         capability    what lies there
//   0x0000  60 bytes      COMMON_CFG    registers of 4.1.4.3, up to queue_reset; no admin queue
//   0x1000  1             ISR_CFG       bit 0: used buffers, while MSI-X is off; bit 1: configuration
//                                       changed; read clears. Their OR is Interrupt Status of PCI
//   0x2000  config_bytes  DEVICE_CFG    VirtioDevice::ReadConfig, up to 4 KiB
//   0x3000  4 * queues    NOTIFY_CFG    the offset selects the queue, the value is not looked at
//   0x4000  256           (MSI-X)       pending bits
//   0x8000  16 * vectors  (MSI-X)       table, 1 + queues vectors
//
// vCPU threads come in by PciDevice, which takes the function's one mutex. A reset holds it until
// the device's last request is done. I/O threads never take it: they see atomics (a queue's
// interrupt, the status bit NEEDS_RESET) and eventfds.
//
// Doorbells: the machine registers doorbell(n) as ioeventfd at doorbell_address(n), any length, no
// datamatch, for good: it is heard with memory decoding off, too. A write that reaches the BAR by
// another way (the configuration window, an exit to user space) notifies the same eventfd. So the
// data of NOTIFICATION_DATA goes unread: it is a hint, and the ring says the same.
//
// Bus mastering: rings are used, and MSI-X messages sent, only while the driver has set the command
// register's bit. DRIVER_OK without it, and clearing it later, stop the device with
// DEVICE_NEEDS_RESET.
//
// RING_RESET: a queue stops within the write to queue_reset, which therefore never reads 1.
//
// Not there: legacy registers, INTx (no interrupt pin: with MSI-X off, the ISR must be asked),
// features beyond bit 63.
#ifndef MINIVMM_DEVICES_VIRTIO_PCI_H_
#define MINIVMM_DEVICES_VIRTIO_PCI_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/result.h"
#include "devices/guest_memory.h"
#include "devices/virtio_device.h"
#include "pci/msi_sink.h"
#include "pci/msix.h"
#include "pci/pci_device.h"

namespace minivmm {

// virtio 6: the transport's own features, always offered.
constexpr uint64_t kFeatureVersion1 = uint64_t{1} << 32;
constexpr uint64_t kFeatureNotificationData = uint64_t{1} << 38;

class VirtioPci final : public PciDevice, private NeedsReset {
 public:
  static constexpr int kBar = 0;
  static constexpr uint16_t kMaxQueues = 1024;

  // How many vectors the MsiSink of this device must have: one for configuration changes and one
  // for each queue.
  static uint16_t VectorCount(const VirtioDevice& device);

  // All three are borrowed. Fails when the device has no queue or more than kMaxQueues, or when
  // eventfds run out. Set-up only.
  static Result<std::unique_ptr<VirtioPci>> Create(VirtioDevice& device, const GuestMemory& memory,
                                                   MsiSink& sink);
  // Resets the device: it gives back its rings and this.
  ~VirtioPci() override;

  // Runs `change`, which changes the device's configuration space, under the function's lock: the
  // driver sees a new config_generation and, when it is running, gets a configuration interrupt
  // (virtio 2.5.2, 4.1.4.3.1). Any thread but the I/O threads.
  void ChangeConfig(const std::function<void()>& change);

  uint16_t queue_count() const { return static_cast<uint16_t>(doorbells_.size()); }
  // `queue` < queue_count(). The address is known once the function is on a bus. Constant from then
  // on; any thread.
  const EventFd& doorbell(uint16_t queue) const { return doorbells_[queue]; }
  uint64_t doorbell_address(uint16_t queue) const;

 private:
  struct Queue {
    QueueConfig config;
    uint16_t vector;
    bool enabled = false;
    bool was_reset = false;  // by queue_reset, and not enabled since
    // Of `vector`, or with MSI-X off queue_isr_; I/O threads load it.
    std::atomic<const EventFd*> interrupt = nullptr;
  };

  VirtioPci(VirtioDevice& device, const GuestMemory& memory, MsiSink& sink,
            std::vector<EventFd> doorbells, EventFd queue_isr);

  // NeedsReset; any thread, no lock.
  void Raise() override;

  // PciDevice; lock held.
  void OnReadConfig(uint64_t offset, std::span<std::byte> data) override;
  void OnWriteConfig(uint64_t offset, std::span<const std::byte> data) override;
  void OnReadBar(int index, uint64_t offset, std::span<std::byte> data) override;
  void OnWriteBar(int index, uint64_t offset, std::span<const std::byte> data) override;

  // ISR bit 1 and the interrupt, if MSI-X is on and there is a vector for it. Any thread, no lock.
  void InterruptForConfig();

  // All below: lock held.
  struct CommonRegisters;
  CommonRegisters RenderCommon() const;
  void ReadCommon(uint64_t offset, std::span<std::byte> data) const;
  void WriteCommon(uint64_t offset, std::span<const std::byte> data);
  void WriteDriverFeature(uint32_t bits);
  void WriteStatus(uint8_t value);
  void WriteQueueSize(uint16_t size);
  void EnableQueue();
  void ResetQueue();
  // Registers of a queue as after a reset.
  void ClearQueue(uint16_t index);
  // The ring of an enabled queue; what is wrong with it is logged, and needs a reset.
  std::optional<ActiveQueue> MakeActiveQueue(uint16_t index);
  uint64_t offered_features() const;
  void SetConfigVector(uint16_t vector);
  void SetQueueVector(Queue& queue, uint16_t vector);
  // By MSI-X or by the ISR.
  void DirectInterrupt(Queue& queue);
  void DirectConfigInterrupt();
  // The driver may have read another configuration than there is from now on.
  void CountGeneration();
  bool FeaturesAreAcceptable() const;
  void Activate();
  void Deactivate();
  void Reset();
  void FollowConfigSpace();
  // The window's BAR access as the driver has set it up; false: it has no meaning.
  bool WindowTarget(uint32_t& offset, uint32_t& length) const;
  // The selected queue; nullptr when there is none of that number.
  Queue* selected_queue();
  const Queue* selected_queue() const;
  uint64_t negotiated_features() const;

  VirtioDevice& device_;
  const GuestMemory& memory_;
  Msix msix_;
  std::vector<EventFd> doorbells_;
  std::vector<Queue> queues_;
  uint8_t msix_capability_;
  uint8_t window_capability_;

  uint32_t device_feature_select_ = 0;
  uint32_t driver_feature_select_ = 0;
  uint64_t driver_features_ = 0;
  // Which of the driver's feature words from 2 on are not 0, those from 63 on as one: that of
  // far_feature_select_ can be taken back, several (0) by a reset only.
  uint64_t unknown_feature_words_ = 0;
  uint32_t far_feature_select_ = 0;
  uint16_t queue_select_ = 0;
  uint16_t config_vector_;
  uint8_t config_generation_ = 0;
  bool config_was_read_ = false;  // since the generation changed
  bool active_ = false;           // between device_.Activate and device_.Reset
  bool msix_enabled_ = false;     // as the driver has it; bus mastering aside

  EventFd queue_isr_;  // set: bit 0 of the ISR; signalled as a vector would be
  // I/O threads change the first two by Raise, and load the third.
  std::atomic<uint8_t> status_ = 0;
  std::atomic<uint8_t> isr_ = 0;  // without bit 0
  std::atomic<const EventFd*> config_interrupt_ = nullptr;
};

}  // namespace minivmm

#endif  // MINIVMM_DEVICES_VIRTIO_PCI_H_
