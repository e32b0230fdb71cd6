#include "guest-tests/bare-metal/pci.h"

#include "guest-tests/bare-metal/console.h"
#include "guest-tests/bare-metal/cpu.h"

extern "C" uint64_t page_map_level4[512];  // boot.S

namespace minivmm {
namespace {

constexpr uint16_t kConfigAddress = 0xcf8;
constexpr uint16_t kConfigData = 0xcfc;
constexpr uint64_t kPagePresentWritable = 3;
constexpr uint64_t kPageUncached = 1 << 3 | 1 << 4;
constexpr uint64_t kPageLarge = 1 << 7;
constexpr uint64_t kPageAddressMask = 0x000f'ffff'ffff'f000;

alignas(4096) uint64_t spare_tables[8][512];
unsigned spare_tables_used;

void Select(const PciFunction& function, uint8_t offset) {
  Out32(kConfigAddress, 0x8000'0000u | function.device << 11 | function.function << 8 | offset);
}

// The table that `entry` points at, made when there is none yet.
uint64_t* TableBelow(uint64_t* entry) {
  if ((*entry & 1) == 0) {
    if (spare_tables_used == 8) {
      Print("baremetal: too many base addresses above 4 GiB\n");
      ExitGuest(false);
    }
    *entry = reinterpret_cast<uint64_t>(spare_tables[spare_tables_used++]) | kPagePresentWritable;
  }
  return reinterpret_cast<uint64_t*>(*entry & kPageAddressMask);
}

}  // namespace

uint32_t PciFunction::Read32(uint8_t offset) const {
  Select(*this, offset);
  return In32(kConfigData);
}

void PciFunction::Write32(uint8_t offset, uint32_t value) const {
  Select(*this, offset);
  Out32(kConfigData, value);
}

uint16_t PciFunction::Read16(uint8_t offset) const {
  return static_cast<uint16_t>(Read32(offset & ~3) >> (offset & 2) * 8);
}

uint8_t PciFunction::Read8(uint8_t offset) const {
  return static_cast<uint8_t>(Read32(offset & ~3) >> (offset & 3) * 8);
}

void PciFunction::WriteCommand(uint16_t value) const { Write32(kPciCommand, value); }

uint8_t PciFunction::NextCapability(uint8_t id, uint8_t previous) const {
  uint8_t offset = Read8(previous == 0 ? kPciCapabilities : static_cast<uint8_t>(previous + 1));
  // A list cannot have more than 48 members: a loop in it must not hang the guest.
  for (int i = 0; i < 48 && offset >= 0x40; ++i) {
    offset &= 0xfc;
    if (Read8(offset) == id) return offset;
    offset = Read8(static_cast<uint8_t>(offset + 1));
  }
  return 0;
}

PciBar ReadBar(const PciFunction& function, unsigned index) {
  const auto offset = static_cast<uint8_t>(kPciBar0 + index * 4);
  const auto upper = static_cast<uint8_t>(offset + 4);
  const uint16_t command = function.Read16(kPciCommand);
  function.WriteCommand(command & ~(kPciCommandMemory | 1));

  PciBar bar;
  const uint32_t low = function.Read32(offset);
  function.Write32(offset, 0xffff'ffff);
  const uint32_t low_mask = function.Read32(offset);
  function.Write32(offset, low);
  if (low_mask != 0) {
    bar.is_io = (low_mask & 1) != 0;
    bar.is_64bit = !bar.is_io && (low_mask & 6) == 4;
    const uint32_t flags = bar.is_io ? 3 : 15;
    bar.address = low & ~flags;
    uint64_t mask = 0xffff'ffff'0000'0000 | (low_mask & ~flags);
    if (bar.is_64bit) {
      const uint32_t high = function.Read32(upper);
      function.Write32(upper, 0xffff'ffff);
      mask = uint64_t{function.Read32(upper)} << 32 | (low_mask & ~flags);
      function.Write32(upper, high);
      bar.address |= uint64_t{high} << 32;
    }
    bar.bytes = ~mask + 1;
  }
  function.WriteCommand(command);
  return bar;
}

bool FindPciFunction(uint16_t vendor, uint16_t device, uint64_t n, PciFunction* found) {
  for (uint8_t slot = 0; slot < 32; ++slot) {
    for (uint8_t number = 0; number < 8; ++number) {
      const PciFunction function{slot, number};
      const uint32_t id = function.Read32(kPciVendorId);
      if (number == 0 && id == 0xffff'ffff) break;
      if (id != (uint32_t{device} << 16 | vendor)) continue;
      if (n-- == 0) {
        *found = function;
        return true;
      }
    }
  }
  return false;
}

void MapMmio(uint64_t address) {
  if (address < 1ull << 32) return;
  uint64_t* pointers = TableBelow(&page_map_level4[address >> 39 & 511]);
  uint64_t* directory = TableBelow(&pointers[address >> 30 & 511]);
  directory[address >> 21 & 511] =
      (address & ~0x1f'ffffull) | kPagePresentWritable | kPageUncached | kPageLarge;
}

}  // namespace minivmm
