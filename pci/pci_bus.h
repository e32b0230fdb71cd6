// PciBus: bus 0 of the machine: 32 slots with one function each, a host bridge in slot 0, and the
// two ways in which a guest reaches configuration space. The machine adds its devices, maps the two
// handlers and every BAR, then starts vCPUs; from then on the bus is constant, so that it needs no
// lock (each function has its own).
//
//   ports 0xcf8 … 0xcff   0xcf8: address = 1 << 31 │ bus << 16 │ slot << 11 │ fn << 8 │ register
//                         0xcfc: four bytes of data at that address
//   ECAM, 1 MiB           offset = bus << 20 │ slot << 15 │ fn << 12 │ register
//
// What is absent reads as all ones. No bridges, no hot plug, no functions other than 0.
#ifndef MINIVMM_PCI_PCI_BUS_H_
#define MINIVMM_PCI_PCI_BUS_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/base/result.h"
#include "pci/io_handler.h"
#include "pci/pci_device.h"

namespace minivmm {

constexpr int kPciSlots = 32;
constexpr uint64_t kPciConfigPortBytes = 8;  // 0xcf8 to 0xcff

// Where a BAR was placed: what the machine maps.
struct PlacedBar {
  uint64_t address;
  uint64_t size_bytes;
  IoHandler* handler;
};

class PciBus {
 public:
  // BARs are placed in [window_start, window_end), each aligned to its size.
  PciBus(uint64_t window_start, uint64_t window_end);
  PciBus(const PciBus&) = delete;
  PciBus& operator=(const PciBus&) = delete;

  // Puts `device` (borrowed, must outlive the bus) into a slot, 1 to 31, and places its BARs. Fails
  // when the slot does not exist or is taken, or when the window is full. Set-up only.
  Result<void> Add(int slot, PciDevice& device);
  // The same in the first free slot.
  Result<void> Add(PciDevice& device);

  // All BARs of all devices so far.
  const std::vector<PlacedBar>& bars() const { return bars_; }

  IoHandler& config_ports() { return config_ports_; }  // kPciConfigPortBytes from 0xcf8
  IoHandler& ecam() { return ecam_; }                  // 1 MiB

 private:
  class ConfigPorts final : public IoHandler {
   public:
    explicit ConfigPorts(PciBus& bus) : bus_(bus) {}
    void Read(uint64_t offset, std::span<std::byte> data) override;
    void Write(uint64_t offset, std::span<const std::byte> data) override;

   private:
    PciBus& bus_;
    std::atomic<uint32_t> address_{0};
  };
  class Ecam final : public IoHandler {
   public:
    explicit Ecam(PciBus& bus) : bus_(bus) {}
    void Read(uint64_t offset, std::span<std::byte> data) override;
    void Write(uint64_t offset, std::span<const std::byte> data) override;

   private:
    PciBus& bus_;
  };

  // nullptr when there is none. `bus_slot_function` as in both address forms: bus << 8 | slot << 3
  // | function.
  PciDevice* Find(uint64_t bus_slot_function) const;

  PciDevice host_bridge_;
  std::array<PciDevice*, kPciSlots> slots_{};
  std::vector<PlacedBar> bars_;
  uint64_t next_address_;
  uint64_t window_end_;
  ConfigPorts config_ports_;
  Ecam ecam_;
};

}  // namespace minivmm

#endif  // MINIVMM_PCI_PCI_BUS_H_
