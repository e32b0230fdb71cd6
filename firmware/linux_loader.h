// Turns a kernel file, an initrd and a command line into what the machine must put into guest
// memory and where the first vCPU starts. Pure: reads only the spans, checks every field of the
// files before use, logs nothing. Called once at set-up; any thread. It does not unpack compressed
// kernels: a bzImage unpacks itself inside the guest.
//
//   ELF64 vmlinux with a PVH note    ▶ PVH (Xen's x86/HVM direct boot ABI, start info version 1)
//   bzImage, boot protocol >= 2.12   ▶ Linux 64-bit boot protocol
//   (Documentation/arch/x86/boot.rst), identity-mapped page tables
//
//   start info or zero page, page tables, command line │ hole, ACPI │ kernel ─▶ …  free  … ◀─
//   initrd │ end of low RAM 0                                              640 KiB        1 MiB (at
//   most 2 GiB)
#ifndef MINIVMM_FIRMWARE_LINUX_LOADER_H_
#define MINIVMM_FIRMWARE_LINUX_LOADER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "blockcore/base/result.h"
#include "firmware/boot_image.h"

namespace minivmm {

struct LinuxBoot {
  std::span<const std::byte> kernel;  // the whole file
  std::string kernel_name;            // for messages, like initrd_name
  std::span<const std::byte> initrd;  // empty: none
  std::string initrd_name;
  std::string command_line;  // may be empty
  uint64_t ram_bytes = 0;    // placed as RamRanges() says
  uint64_t rsdp_address = 0;
};

// The segments borrow from boot.kernel and boot.initrd, which must outlive the image. Guest memory
// must be zero beforehand: bss is not among the segments. Fails, with one line that names the file,
// when the kernel is of no known kind or damaged, when kernel or initrd do not fit into RAM, and
// when the command line is too long for the kernel.
Result<BootImage> LoadLinux(const LinuxBoot& boot);

}  // namespace minivmm

#endif  // MINIVMM_FIRMWARE_LINUX_LOADER_H_
