// Machine: one power cycle of the guest's machine, from reset to power-off. Its members, in the
// order of their construction, are the architecture: each may use those above it and nothing below;
// destruction is the reverse. When the guest resets, main destroys the machine and builds another
// from the same MachineParts. Main thread.
//
//   guest RAM ─ KVM's VM ─ interrupt routes ─ disks' devices (I/O threads) ─ PCI functions
//   ─ PCI bus ─ serial port ─ buses ─ vCPUs
//
// Threads: main, vcpu/N, io/DISK/N. Locks, in the order in which they may be taken: a PCI
// function's ─▶ the interrupt router's.
#ifndef MINIVMM_VMM_MACHINE_H_
#define MINIVMM_VMM_MACHINE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_backend.h"
#include "devices/debug_exit.h"
#include "devices/guest_memory.h"
#include "devices/serial_16550.h"
#include "devices/virtio_blk.h"
#include "devices/virtio_pci.h"
#include "firmware/boot_image.h"
#include "pci/msi_sink.h"
#include "pci/pci_bus.h"
#include "vmm/command_line.h"
#include "vmm/guest_ram.h"
#include "vmm/io_bus.h"
#include "vmm/irq_router.h"
#include "vmm/kvm.h"
#include "vmm/main_loop.h"
#include "vmm/power_ports.h"
#include "vmm/stop_request.h"
#include "vmm/vcpu.h"

namespace minivmm {

using Drives = std::vector<std::unique_ptr<BlockBackend>>;

// What lasts longer than a power cycle. All references outlive the machine.
struct MachineParts {
  const CommandLine& options;
  const Kvm& kvm;
  MainLoop& loop;
  const BootImage& image;  // with the ACPI tables among its segments
  const Drives& drives;    // of options.disks, in their order
  int serial_fd;           // where the serial port's output goes
};

class Machine {
 public:
  // Builds all but starts nothing: no vCPU runs.
  static Result<std::unique_ptr<Machine>> Create(const MachineParts& parts);
  ~Machine();

  // Runs the guest until something asks to stop, once. When it returns no vCPU runs, and all
  // requests that the guest made of its disks are finished.
  StopRequest Run();

  // What has been built, for people.
  std::string Describe() const;

 private:
  struct Disk {
    std::unique_ptr<VirtioBlk> device;
    std::unique_ptr<MsiSink> interrupts;
    std::unique_ptr<VirtioPci> function;
  };

  Machine(const MachineParts& parts, GuestRam ram, KvmVm vm);

  // The steps of Create, in this order.
  Result<void> AddMemory();
  Result<void> AddDisks();
  Result<void> AddSerialPort();
  Result<void> FillBuses();
  Result<void> RegisterDoorbells();
  Result<void> AddVcpus();

  void WriteSerialOutput(std::string_view bytes);

  const MachineParts& parts_;
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> stopping_{false};                    // Run has seen a stop request
  const std::function<void(StopRequest)> stop_machine_;  // any thread
  GuestRam ram_;
  GuestMemory memory_;
  KvmVm vm_;
  std::unique_ptr<IrqRouter> irq_router_;
  std::vector<Disk> disks_;
  PciBus pci_;
  std::optional<EventFd> serial_interrupt_;
  std::optional<Serial16550> serial_;
  PowerPorts power_ports_;
  std::optional<DebugExit> debug_exit_;
  IoBus ports_;
  IoBus mmio_;
  VcpuEnvironment vcpu_environment_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_MACHINE_H_
