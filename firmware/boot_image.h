// What a loader hands to the machine: bytes to place into guest memory and the state in which the
// first vCPU starts. Plain values: the firmware directory knows neither guest memory nor KVM.
#ifndef MINIVMM_FIRMWARE_BOOT_IMAGE_H_
#define MINIVMM_FIRMWARE_BOOT_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace minivmm {

// Bytes at a guest-physical address. Either `bytes` borrows from the kernel or initrd mapping,
// which must outlive the image, or it points into `owned` (moving the Segment keeps it valid,
// copying would not: hence move-only).
struct Segment {
  uint64_t guest_address = 0;
  std::span<const std::byte> bytes;
  std::vector<std::byte> owned;

  static Segment Borrow(uint64_t guest_address, std::span<const std::byte> bytes) {
    return Segment(guest_address, bytes, {});
  }
  static Segment Own(uint64_t guest_address, std::vector<std::byte> owned) {
    std::span<const std::byte> bytes(owned);
    return Segment(guest_address, bytes, std::move(owned));
  }
  Segment(Segment&&) = default;
  Segment& operator=(Segment&&) = default;

 private:
  Segment(uint64_t address, std::span<const std::byte> view, std::vector<std::byte> storage)
      : guest_address(address), bytes(view), owned(std::move(storage)) {}
};

enum class BootMode {
  kPvh,  // 32-bit protected mode, flat segments, no paging; ebx = start info (Xen's x86/HVM direct
         // boot ABI)
  kLong64,  // 64-bit long mode with identity-mapped page tables; rsi = zero page (Linux 64-bit boot
            // protocol)
};

struct BootEntry {
  BootMode mode = BootMode::kPvh;
  uint64_t instruction_pointer = 0;
  uint64_t boot_parameters = 0;     // ebx (kPvh) or rsi (kLong64)
  uint64_t page_table_address = 0;  // cr3, kLong64 only
};

struct BootImage {
  std::vector<Segment> segments;  // non-overlapping, each within RAM
  BootEntry entry;
};

}  // namespace minivmm

#endif  // MINIVMM_FIRMWARE_BOOT_IMAGE_H_
