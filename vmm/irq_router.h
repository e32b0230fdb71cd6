// IrqRouter: from eventfds to interrupts of the guest. It owns the VM's routing table: the 24 pins
// of the I/O APIC (and the PICs behind the first 16), then one entry for each MSI-X vector of each
// device. Lines and sinks are made on the main thread while the machine is built; Connect and
// Disconnect come from vCPU threads. Signalling an interrupt does not pass here: it is a write to
// an eventfd.
//
//   I/O thread ── write ──▶ eventfd ══ irqfd (exists while unmasked) ══▶ route: address, data ──▶
//   local APIC
#ifndef MINIVMM_VMM_IRQ_ROUTER_H_
#define MINIVMM_VMM_IRQ_ROUTER_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/result.h"
#include "pci/msi_sink.h"
#include "vmm/kvm.h"

namespace minivmm {

class IrqRouter {
 public:
  // Installs the routes of the interrupt pins. `vm` outlives the router.
  static Result<std::unique_ptr<IrqRouter>> Create(KvmVm& vm);

  // From now on each signal of `event` is an edge on the interrupt pin `line` (0 to 23).
  Result<void> ConnectLine(const EventFd& event, uint32_t line);

  // A device's vectors 0 to vector_count - 1, none connected. The sink must not outlive the router.
  Result<std::unique_ptr<MsiSink>> CreateMsiSink(uint16_t vector_count);

 private:
  class Sink;

  explicit IrqRouter(KvmVm& vm) : vm_(vm) {}

  Result<void> Route(uint32_t gsi, const MsiMessage& message);

  KvmVm& vm_;
  std::mutex mutex_;  // guards the two below; taken under the lock of a device, takes no other
  std::vector<kvm_irq_routing_entry> routes_;
  uint32_t next_gsi_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_IRQ_ROUTER_H_
