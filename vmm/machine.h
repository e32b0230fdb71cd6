// Machine: one power cycle of the guest's machine, from reset to power-off. Its members, in the
// order of their construction, are the architecture: each may use those above it and nothing below;
// destruction is the reverse. On a reset the supervisor destroys the machine and builds another
// from the same MachineParts. Main thread.
//
//   guest RAM ─ KVM's VM ─ interrupt routes ─ power button ─ disks' devices (I/O threads) ─ PCI
//   functions ─ PCI bus ─ serial port ─ buses ─ vCPUs
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
#include <thread>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_backend.h"
#include "devices/debug_exit.h"
#include "devices/guest_memory.h"
#include "devices/pvpanic.h"
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
#include "vmm/power_cycle.h"
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

class Machine final : public PowerCycle {
 public:
  // Builds all but starts nothing: no vCPU runs. `power_cycle` is the number that stop requests of
  // its guest bear, of which there is at most one.
  static Result<std::unique_ptr<Machine>> Create(const MachineParts& parts, uint32_t power_cycle);
  ~Machine() override;

  void Resume() override;
  void Pause() override;
  bool HoldsRequests() const override;
  void PressPowerButton() override;
  void ShowDiskSize(size_t disk) override;
  void Stop() override;

  // What has been built, for people.
  std::string Describe() const;

 private:
  struct Disk {
    std::unique_ptr<VirtioBlk> device;
    std::unique_ptr<MsiSink> interrupts;
    std::unique_ptr<VirtioPci> function;
  };

  Machine(const MachineParts& parts, uint32_t power_cycle, GuestRam ram, KvmVm vm);

  // The steps of Create, in this order.
  Result<void> AddMemory();
  Result<void> AddPowerButton();
  Result<void> AddDisks();
  Result<void> AddSerialPort();
  Result<void> FillBuses();
  Result<void> RegisterDoorbells();
  Result<void> AddVcpus();

  // I/O threads: requests of the disk wait (werror=stop).
  void RequestPause(const std::string& disk);
  size_t WriteSerialOutput(std::string_view bytes);
  void FinishCutOutput();

  const MachineParts& parts_;
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> pausing_{false};   // vCPU threads must not wait for whoever reads our output
  std::atomic<bool> stopping_{false};  // what he does not read is lost
  // Whose output a pause has cut off.
  std::atomic<std::thread::id> cut_writer_{};
  bool started_ = false;
  const std::function<void(StopRequest)> stop_machine_;  // any thread
  const uint32_t power_cycle_;
  GuestRam ram_;
  GuestMemory memory_;
  KvmVm vm_;
  std::unique_ptr<IrqRouter> irq_router_;
  std::optional<EventFd> power_button_;
  std::vector<Disk> disks_;
  PciBus pci_;
  std::optional<EventFd> serial_interrupt_;
  std::optional<Serial16550> serial_;
  PowerPorts power_ports_;
  std::optional<DebugExit> debug_exit_;
  std::optional<Pvpanic> pvpanic_;
  IoBus ports_;
  IoBus mmio_;
  VcpuEnvironment vcpu_environment_;
  std::vector<std::unique_ptr<Vcpu>> vcpus_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_MACHINE_H_
