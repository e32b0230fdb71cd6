// Msix: the vector table and the pending bits of one function's MSI-X (PCI 3.0, 6.8.2), over a
// MsiSink. Turns what the guest writes into Connect and Disconnect; the signals themselves pass by
// here: whoever has an interrupt to send writes the vector's eventfd.
//
//   a vector is connected  ⇔  MSI-X enabled ∧ function not masked ∧ vector not masked
//   pending bit            =  its eventfd is set while it is not connected
//
//   entry, 16 bytes:  0 message address │ 8 message data │ 12 control; bit 0: masked, 1 at first
//
// Accesses of any width and offset are merged by bytes (PCI asks for dwords and qwords only). Not
// thread-safe: called with the lock of the function that owns it. While a Connect fails (the host
// is out of routes), the vector stays as if masked, and a line says so.
#ifndef MINIVMM_PCI_MSIX_H_
#define MINIVMM_PCI_MSIX_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pci/config_space.h"
#include "pci/msi_sink.h"

namespace minivmm {

constexpr uint16_t kMaxMsixVectors = 2048;
constexpr uint64_t kMsixEntryBytes = 16;
constexpr uint64_t kMaxMsixTableBytes = kMaxMsixVectors * kMsixEntryBytes;

// PCI 3.0, 6.8.2: the capability in configuration space.
#pragma pack(push, 1)
struct MsixCapability {
  PciCapabilityHeader header;
  uint16_t control;
  uint32_t table;    // offset in its BAR, index of the BAR in the low three bits
  uint32_t pending;  // the same for the pending bits
};
#pragma pack(pop)
static_assert(sizeof(MsixCapability) == 12);
static_assert(offsetof(MsixCapability, control) == 2 && offsetof(MsixCapability, pending) == 8);

constexpr uint16_t kMsixControlEnable = 1 << 15;
constexpr uint16_t kMsixControlFunctionMask = 1 << 14;

class Msix {
 public:
  // `vectors`: 1 to 2048, as many as `sink` was made for. `sink` must outlive this.
  Msix(uint16_t vectors, MsiSink& sink);

  uint16_t vectors() const { return static_cast<uint16_t>(entries_.size()); }
  const EventFd& interrupt(uint16_t vector) const { return sink_.interrupt(vector); }

  // The capability, and which of its bits the guest may write, for ConfigSpace::AddCapability.
  // Offsets are multiples of 8 within BAR `bar`.
  MsixCapability Capability(int bar, uint32_t table_offset, uint32_t pending_offset) const;
  static MsixCapability WritableBits();

  // What the guest has set in the capability's control.
  void SetControl(bool enabled, bool function_masked);

  // Offsets count from the start of the table and of the pending bits. What lies behind the last
  // entry reads as zeroes.
  void ReadTable(uint64_t offset, std::span<std::byte> data) const;
  void WriteTable(uint64_t offset, std::span<const std::byte> data);
  void ReadPending(uint64_t offset, std::span<std::byte> data) const;

  // Forgets what is pending; table and control stay, which belong to PCI. For the reset of the
  // device behind the function.
  void ClearPending();

 private:
  struct Entry {
    MsiMessage message;
    bool masked = true;
    std::optional<MsiMessage> connected;
  };

  void Update(uint16_t vector);

  MsiSink& sink_;
  std::vector<Entry> entries_;
  bool enabled_ = false;
  bool function_masked_ = false;
};

}  // namespace minivmm

#endif  // MINIVMM_PCI_MSIX_H_
