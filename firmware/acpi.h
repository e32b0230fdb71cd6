// The ACPI tables of the machine: how Linux learns of its CPUs, interrupt controller, PCI host
// bridge and serial port, and how it powers off and resets. Pure; called once by the machine before
// the first vCPU runs; any thread. Hardware-reduced ACPI: no power management timer, no fixed
// events, no SCI, and Linux then touches neither the 8259 nor the 8254.
//
//   RSDP ─▶ XSDT ─┬▶ FADT ─▶ DSDT   \_S5, \_SB.PCI0, \_SB.MBRD (reserves the ECAM), \_SB.COM1
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
};

struct AcpiTables {
  uint64_t rsdp_address;
  Segment segment;  // all tables, at kAcpiAddress, ending below 1 MiB
};

AcpiTables BuildAcpiTables(const AcpiConfig& config);

}  // namespace minivmm

#endif  // MINIVMM_FIRMWARE_ACPI_H_
