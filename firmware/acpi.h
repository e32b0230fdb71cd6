// The ACPI tables of the machine: how Linux learns of its CPUs, interrupt controller, PCI host
// bridge, serial port and power button, and how it powers off and resets. Pure; called once by main
// before the first vCPU runs; any thread. Hardware-reduced ACPI: no power management timer, no
// fixed events, no SCI, and Linux then touches neither the 8259 nor the 8254. What is an event of
// the fixed hardware elsewhere comes here by an interrupt of its own, of a generic event device.
//
//   RSDP ─▶ XSDT ─┬▶ FADT ─▶ DSDT   \_S5, \_SB.PCI0, \_SB.MBRD (reserves the ECAM), \_SB.COM1,
//                 │                 \_SB.PWRB and the \_SB.GED that notifies it, \_SB.PANC
//                 ├▶ MADT           local APICs with ids 0..cpu_count-1, one I/O APIC
//                 └▶ MCFG           ECAM of bus 0
#ifndef MINIVMM_FIRMWARE_ACPI_H_
#define MINIVMM_FIRMWARE_ACPI_H_

#include <cstdint>

#include "firmware/boot_image.h"

namespace minivmm {

constexpr uint32_t kMaxCpus = 16;

struct AcpiConfig {
  uint32_t cpu_count = 1;  // 1 to kMaxCpus, checked by the caller
  bool pvpanic = false;    // the machine has the port kPvpanicPort
};

struct AcpiTables {
  uint64_t rsdp_address;
  Segment segment;  // all tables, at kAcpiAddress, ending below 1 MiB
};

AcpiTables BuildAcpiTables(const AcpiConfig& config);

}  // namespace minivmm

#endif  // MINIVMM_FIRMWARE_ACPI_H_
