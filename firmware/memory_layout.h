// The guest-physical address map of the x86 machine, in one place: RAM, PCI windows, ACPI and boot
// structures.
//
//   0x0000'0000  RAM (first 640 KiB), with the boot structures:
//                0x6000 PVH start info, 0x7000 zero page, 0x9000 page tables, 0x2'0000 command line
//   0x000a'0000  hole (VGA, option ROMs); ACPI tables at 0x000e'0000
//   0x0010'0000  RAM: kernel, then everything else
//   0xc000'0000  end of low RAM; PCI MMIO window (BARs)
//   0xe000'0000  PCI ECAM (configuration space), bus 0 only: 1 MiB
//   0xfec0'0000  I/O APIC; 0xfee0'0000 local APIC; 0xfffb'c000 KVM's own pages (VMX only)
// 0x1'0000'0000  RAM above 4 GiB
#ifndef MINIVMM_FIRMWARE_MEMORY_LAYOUT_H_
#define MINIVMM_FIRMWARE_MEMORY_LAYOUT_H_

#include <cstdint>
#include <vector>

namespace minivmm {

constexpr uint64_t kLowRamEnd = 0xa'0000;    // end of conventional memory
constexpr uint64_t kAcpiAddress = 0xe'0000;  // RSDP and all tables, up to 1 MiB
constexpr uint64_t kHighRamStart = 0x10'0000;
constexpr uint64_t kRamBelow4GiBEnd = 0xc000'0000;
constexpr uint64_t kPciMmioStart = 0xc000'0000;
constexpr uint64_t kPciMmioEnd = 0xe000'0000;
constexpr uint64_t kPciEcamAddress = 0xe000'0000;
constexpr uint64_t kPciEcamBytes = 0x10'0000;
constexpr uint64_t kIoApicAddress = 0xfec0'0000;
constexpr uint64_t kLocalApicAddress = 0xfee0'0000;
constexpr uint64_t kKvmIdentityMapAddress = 0xfffb'c000;
constexpr uint64_t kKvmTssAddress = 0xfffb'd000;
constexpr uint64_t kRamAbove4GiBStart = 0x1'0000'0000;

// What a loader leaves for the kernel in the first 640 KiB; kernel and initrd never lie there.
constexpr uint64_t kPvhStartInfoAddress = 0x6000;  // with memory map and module list: one page
constexpr uint64_t kZeroPageAddress = 0x7000;      // Linux's boot_params: one page
constexpr uint64_t kPageTablesAddress = 0x9000;    // six pages
constexpr uint64_t kCommandLineAddress = 0x2'0000;
constexpr uint64_t kCommandLineAreaBytes = 0x1'0000;  // with the final NUL

// I/O ports of the machine's own devices.
constexpr uint16_t kSerialPort = 0x3f8;  // 8 ports, IRQ 4
constexpr uint32_t kSerialIrq = 4;
constexpr uint32_t kPowerButtonIrq = 9;
constexpr uint16_t kPciConfigPort = 0xcf8;  // 0xcf8 address, 0xcfc data
constexpr uint16_t kAcpiSleepControlPort = 0x600;
constexpr uint16_t kAcpiSleepStatusPort = 0x601;
constexpr uint16_t kAcpiResetPort = 0x602;
constexpr uint8_t kAcpiResetValue = 0x01;
constexpr uint16_t kPvpanicPort = 0x505;
constexpr uint8_t kAcpiSleepTypeS5 = 5;  // SLP_TYP value of the \_S5 object

struct MemoryRange {
  uint64_t address;
  uint64_t bytes;
};

// Where `ram_bytes` of RAM lie: [0, min(ram, 3 GiB)) and the rest from 4 GiB on.
inline std::vector<MemoryRange> RamRanges(uint64_t ram_bytes) {
  if (ram_bytes <= kRamBelow4GiBEnd) return {{0, ram_bytes}};
  return {{0, kRamBelow4GiBEnd}, {kRamAbove4GiBStart, ram_bytes - kRamBelow4GiBEnd}};
}

}  // namespace minivmm

#endif  // MINIVMM_FIRMWARE_MEMORY_LAYOUT_H_
