// PCI configuration space of bus 0 through ports 0xcf8/0xcfc, and the base addresses of a function.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_PCI_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_PCI_H_

#include <cstdint>

namespace minivmm {

constexpr uint8_t kPciVendorId = 0x00;
constexpr uint8_t kPciCommand = 0x04;
constexpr uint8_t kPciRevision = 0x08;
constexpr uint8_t kPciBar0 = 0x10;
constexpr uint8_t kPciSubsystem = 0x2c;
constexpr uint8_t kPciCapabilities = 0x34;
constexpr uint16_t kPciCommandMemory = 1 << 1;
constexpr uint16_t kPciCommandBusMaster = 1 << 2;
constexpr uint16_t kPciCommandNoIntx = 1 << 10;
constexpr uint16_t kPciStatusCapabilities = 1 << 4;
constexpr uint8_t kPciCapabilityVendor = 0x09;
constexpr uint8_t kPciCapabilityMsix = 0x11;
constexpr unsigned kPciBarCount = 6;

struct PciFunction {
  uint8_t device = 0;
  uint8_t function = 0;

  uint32_t Read32(uint8_t offset) const;  // offset is 4-aligned
  void Write32(uint8_t offset, uint32_t value) const;
  uint16_t Read16(uint8_t offset) const;
  uint8_t Read8(uint8_t offset) const;
  // Only the command half of the command and status register: status bits are written as 0, which
  // keeps them.
  void WriteCommand(uint16_t value) const;

  uint64_t EcamOffset() const { return uint64_t{device} << 15 | uint64_t{function} << 12; }

  // The address of the first capability with this id after `previous` (0: from the start); 0 when
  // there is none.
  uint8_t NextCapability(uint8_t id, uint8_t previous) const;
};

struct PciBar {
  uint64_t address = 0;
  uint64_t bytes = 0;  // 0: not implemented
  bool is_io = false;
  bool is_64bit = false;
};

// Sizes one base address register and leaves it as it was. Memory decoding is off meanwhile.
PciBar ReadBar(const PciFunction& function, unsigned index);

// The n-th (from 0) function with this vendor and device id on bus 0; false when there are fewer.
bool FindPciFunction(uint16_t vendor, uint16_t device, uint64_t n, PciFunction* found);

// Makes device memory reachable that lies above 4 GiB; what lies below is already mapped.
void MapMmio(uint64_t address);

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_PCI_H_
