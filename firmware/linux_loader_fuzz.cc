// LoadLinux: a small ELF kernel with a PVH note, a small bzImage, or the input's own bytes as the
// file; changed here and there, with some memory, initrd and command line.
#include <asm/bootparam.h>
#include <elf.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/little_endian.h"
#include "blockcore/base/units.h"
#include "firmware/linux_loader.h"
#include "firmware/memory_layout.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

using Bytes = std::vector<std::byte>;

template <typename T>
void Append(Bytes& bytes, const T& value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

constexpr uint64_t kSegmentBytes = 64;

Bytes ElfKernel() {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof(Elf64_Ehdr);
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 3;
  const uint64_t contents = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);

  Elf64_Phdr text{};
  text.p_type = PT_LOAD;
  text.p_offset = contents;
  text.p_paddr = 16_MiB;
  text.p_filesz = text.p_memsz = kSegmentBytes;
  Elf64_Phdr data = text;
  data.p_offset = contents + kSegmentBytes;
  data.p_paddr = 17_MiB;
  data.p_memsz = 512_KiB;
  Elf64_Phdr note{};
  note.p_type = PT_NOTE;
  note.p_offset = contents + 2 * kSegmentBytes;
  note.p_filesz = note.p_memsz = 24;
  note.p_align = 4;

  Bytes file;
  Append(file, header);
  for (const Elf64_Phdr& program : {text, data, note}) Append(file, program);
  file.resize(contents + 2 * kSegmentBytes, std::byte{0x90});
  for (uint32_t word : {4u, 8u, 18u}) AppendLe<uint32_t>(file, word);
  Append(file, std::array{'X', 'e', 'n', '\0'});
  AppendLe<uint64_t>(file, 16_MiB + 16);
  return file;
}

constexpr uint64_t kSetupOffset = 0x1f1;

Bytes BzImage() {
  constexpr uint64_t kCodeBytes = 1024;
  setup_header header{};
  header.setup_sects = 1;
  header.syssize = kCodeBytes / 16;
  header.boot_flag = 0xaa55;
  header.jump = 0x6aeb;
  header.header = 0x5372'6448;
  header.version = 0x020f;
  header.loadflags = LOADED_HIGH;
  header.initrd_addr_max = 0x7fff'ffff;
  header.kernel_alignment = 2_MiB;
  header.relocatable_kernel = 1;
  header.xloadflags = XLF_KERNEL_64;
  header.cmdline_size = 2047;
  header.pref_address = 16_MiB;
  header.init_size = 4_MiB;
  Bytes file(1024 + kCodeBytes);
  std::memcpy(&file[kSetupOffset], &header, sizeof(header));
  return file;
}

// What boot_image.h promises of every image.
void CheckImage(const BootImage& image, uint64_t ram_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> extents;
  for (const Segment& segment : image.segments) {
    VMM_CHECK(std::ranges::any_of(RamRanges(ram_bytes), [&](const MemoryRange& range) {
      return segment.guest_address >= range.address &&
             RangeFits(segment.guest_address - range.address, segment.bytes.size(), range.bytes);
    }));
    extents.emplace_back(segment.guest_address, segment.guest_address + segment.bytes.size());
    // All of it can be read: a sanitizer watches.
    VMM_CHECK(std::ranges::count(segment.bytes, std::byte{0}) >= 0);
  }
  std::ranges::sort(extents);
  for (size_t i = 1; i < extents.size(); ++i) {
    VMM_CHECK(extents[i - 1].second <= extents[i].first);
  }
  VMM_CHECK(std::ranges::any_of(extents, [&](const auto& extent) {
    return image.entry.instruction_pointer >= extent.first &&
           image.entry.instruction_pointer < extent.second;
  }));
}

void Run(FuzzInput& input) {
  LinuxBoot boot;
  boot.kernel_name = "kernel";
  boot.initrd_name = "initrd";
  boot.rsdp_address = kAcpiAddress;
  // The command line's check: whole MiB.
  boot.ram_bytes = 1_MiB * (input.Below(4) == 1 ? 1 + input.Below(16384) : 64);
  boot.command_line.resize(input.Below(8) == 1 ? input.Below(70'000) : 10, 'x');
  const Bytes initrd(input.Below(4) == 1 ? input.Below(60'000) : 100);
  boot.initrd = initrd;

  const uint64_t kind = input.Below(8);
  Bytes file;
  if (kind == 0) {
    file.assign(input.rest().begin(), input.rest().end());
  } else {
    file = kind < 5 ? ElfKernel() : BzImage();
    const uint64_t headers = kind < 5 ? 0 : kSetupOffset;
    if (input.Below(8) == 1) file.resize(input.Below(file.size() + 1));
    for (uint64_t edits = input.Below(6); edits-- > 0;) {
      const uint64_t offset = input.Below(4) == 1 ? input.Below(4096) : headers + input.Below(256);
      const uint64_t width = input.Pick<uint64_t>({8, 4, 2, 1});
      const uint64_t value = input.Number();
      if (RangeFits(offset, width, file.size())) std::memcpy(&file[offset], &value, width);
    }
  }
  file.shrink_to_fit();
  boot.kernel = file;
  const auto image = LoadLinux(boot);
  if (!image) return CheckErrorText(image.error().message);
  CheckImage(*image, boot.ram_bytes);
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  minivmm::FuzzInput input(data, size);
  minivmm::Run(input);
  return 0;
}
