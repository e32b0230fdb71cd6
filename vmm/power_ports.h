// PowerPorts: the I/O ports through which a guest switches its machine off or resets it: ACPI's
// sleep control and reset registers, which firmware/acpi.h announces, and the keyboard controller's
// reset line, which older code pulls. vCPU threads; keeps no state.
#ifndef MINIVMM_VMM_POWER_PORTS_H_
#define MINIVMM_VMM_POWER_PORTS_H_

#include <functional>

#include "blockcore/base/result.h"
#include "firmware/boot_image.h"
#include "pci/io_handler.h"
#include "vmm/io_bus.h"
#include "vmm/stop_request.h"

namespace minivmm {

class PowerPorts {
 public:
  using StopMachine = std::function<void(StopRequest)>;

  explicit PowerPorts(const StopMachine& stop_machine)
      : acpi_(stop_machine), keyboard_controller_(stop_machine) {}

  // Puts the ports on the bus; the object outlives it.
  Result<void> AddTo(IoBus& ports);

 private:
  class Acpi : public IoHandler {
   public:
    explicit Acpi(const StopMachine& stop_machine) : stop_machine_(stop_machine) {}
    void Read(uint64_t offset, std::span<std::byte> data) override;
    void Write(uint64_t offset, std::span<const std::byte> data) override;

   private:
    const StopMachine& stop_machine_;
  };

  class KeyboardController : public IoHandler {
   public:
    explicit KeyboardController(const StopMachine& stop_machine) : stop_machine_(stop_machine) {}
    void Read(uint64_t offset, std::span<std::byte> data) override;
    void Write(uint64_t offset, std::span<const std::byte> data) override;

   private:
    const StopMachine& stop_machine_;
  };

  Acpi acpi_;
  KeyboardController keyboard_controller_;
};

// The code at a PC's reset vector, FFFF:0000, where a BIOS would be: it resets the machine by the
// ACPI port. Linux goes there when it reboots with hardware-reduced ACPI but without UEFI: it takes
// such a machine for one that UEFI resets, and falls back on the BIOS.
Segment BuildResetVector();

}  // namespace minivmm

#endif  // MINIVMM_VMM_POWER_PORTS_H_
