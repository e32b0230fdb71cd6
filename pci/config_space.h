// ConfigSpace: the 256 bytes of configuration space of a type-0 function (PCI 3.0, 6.1 to 6.3):
// bytes, the mask of the bits that the guest may write, the list of capabilities and the BARs. What
// lies behind the 256 bytes, up to the 4 KiB of ECAM, reads as zeroes.
//
//   0x00 vendor, device, command, status     0x10 six BARs       0x2c subsystem
//   0x08 revision, class                     0x34 first capability, from 0x40 on
//
// BARs are 64-bit memory BARs whose place the VMM chooses; they never move. Sizing works as drivers
// do it (write all ones, read the mask, write the address back); a guest that writes another
// address reads back the old one, and must live with it. Not thread-safe: the function that owns it
// holds its lock. Does not act on what the guest wrote.
#ifndef MINIVMM_PCI_CONFIG_SPACE_H_
#define MINIVMM_PCI_CONFIG_SPACE_H_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace minivmm {

static_assert(std::endian::native == std::endian::little, "registers are copied as they lie");

struct PciIdentity {
  uint16_t vendor_id;
  uint16_t device_id;
  uint8_t revision = 0;
  uint32_t class_code;  // 24 bits: class, subclass, programming interface
  uint16_t subsystem_vendor_id = 0;
  uint16_t subsystem_id = 0;
};

// The first two bytes of every capability. `next` is filled in by AddCapability.
struct PciCapabilityHeader {
  uint8_t id;
  uint8_t next = 0;
};

constexpr size_t kPciConfigBytes = 256;
constexpr size_t kPciEcamBytesPerFunction = 4096;
constexpr int kPciBars = 6;

class ConfigSpace {
 public:
  explicit ConfigSpace(const PciIdentity& identity);

  // Appends `capability` to the list; the guest may write the bits set in `writable`. T is plain
  // bytes: it begins with a PciCapabilityHeader and has no padding. Returns the
  // offset of the capability. Set-up only: the list must fit.
  template <typename T>
  uint8_t AddCapability(const T& capability, const T& writable) {
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>,
                  "a capability is plain bytes without padding");
    static_assert(std::is_standard_layout_v<T> && sizeof(T) > sizeof(PciCapabilityHeader));
    return AppendCapability(std::as_bytes(std::span(&capability, 1)),
                            std::as_bytes(std::span(&writable, 1)));
  }
  template <typename T>
  uint8_t AddCapability(const T& capability) {
    return AddCapability(capability, T{});
  }

  // A 64-bit memory BAR in the slots `index` and `index` + 1. `size_bytes`: a power of two, at
  // least 16. Set-up only.
  void AddMemoryBar(int index, uint64_t size_bytes, bool prefetchable = false);
  // Where the BAR lies from now on; aligned to its size. Set-up only.
  void PlaceBar(int index, uint64_t address);
  uint64_t bar_size_bytes(int index) const { return bars_[index].size_bytes; }  // 0: no BAR there
  uint64_t bar_address(int index) const { return bars_[index].address; }

  // Any offset and any length; what lies outside of the 256 bytes reads as zeroes and swallows
  // writes.
  void Read(uint64_t offset, std::span<std::byte> data) const;
  void Write(uint64_t offset, std::span<const std::byte> data);

  // For the owner: a field within the 256 bytes, whatever the guest may write.
  template <typename T>
  T Get(size_t offset) const {
    static_assert(std::is_unsigned_v<T>);
    T value;
    CopyOut(offset, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  template <typename T>
  void Set(size_t offset, T value) {
    static_assert(std::is_unsigned_v<T>);
    CopyIn(offset, std::as_bytes(std::span(&value, 1)));
  }

  // The status register's Interrupt Status (PCI 3.0, 6.2.3).
  void SetInterruptStatus(bool pending);
  // Bits of the command register: whether BARs are decoded, and whether the function may do DMA and
  // send MSI.
  bool memory_enabled() const;
  bool bus_master_enabled() const;

 private:
  struct Bar {
    uint64_t size_bytes = 0;
    uint64_t address = 0;
    uint64_t flags = 0;
    uint64_t written = 0;  // as the guest left it, byte by byte
  };

  uint8_t AppendCapability(std::span<const std::byte> capability,
                           std::span<const std::byte> writable);
  void CopyOut(size_t offset, std::span<std::byte> data) const;
  void CopyIn(size_t offset, std::span<const std::byte> data);
  std::byte ReadBarByte(size_t offset) const;
  void WriteBarByte(size_t offset, std::byte value);

  std::array<std::byte, kPciConfigBytes> bytes_{};
  std::array<std::byte, kPciConfigBytes> writable_{};
  // A BAR of 64 bits lies in its first slot; the slot after it stays empty.
  std::array<Bar, kPciBars> bars_{};
  size_t capabilities_end_;
  size_t last_next_pointer_;
};

}  // namespace minivmm

#endif  // MINIVMM_PCI_CONFIG_SPACE_H_
