#include "firmware/linux_loader.h"

#include <asm/bootparam.h>
#include <elf.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "firmware/memory_layout.h"
#include "firmware/page_tables.h"

namespace minivmm {
namespace {

static_assert(std::endian::native == std::endian::little, "structures are copied as they are");

constexpr uint64_t kPageBytes = 4096;

using Bytes = std::vector<std::byte>;

// Types of memory, the same numbers in an e820 map and in a PVH memory map.
constexpr uint32_t kRam = 1;
constexpr uint32_t kReserved = 2;

struct MemoryMapEntry {
  MemoryRange range;
  uint32_t type;
};

// In ascending order. The PCI window and the interrupt controllers stay out of it: what is not in
// the map is not RAM.
std::vector<MemoryMapEntry> BuildMemoryMap(uint64_t ram_bytes) {
  std::vector<MemoryMapEntry> map;
  for (const MemoryRange& range : RamRanges(ram_bytes)) {
    if (range.address != 0) {
      map.push_back({range, kRam});
      continue;
    }
    map.push_back({{0, kLowRamEnd}, kRam});
    map.push_back({{kLowRamEnd, kHighRamStart - kLowRamEnd}, kReserved});
    map.push_back({{kHighRamStart, range.bytes - kHighRamStart}, kRam});
    map.push_back({{kPciEcamAddress, kPciEcamBytes}, kReserved});
  }
  return map;
}

uint64_t LowRamEnd(uint64_t ram_bytes) { return std::min(ram_bytes, kRamBelow4GiBEnd); }

// [start, end) in guest memory.
struct Extent {
  uint64_t start;
  uint64_t end;

  bool Overlaps(const Extent& other) const { return start < other.end && other.start < end; }
};

template <typename T>
T CopyAt(std::span<const std::byte> bytes, uint64_t offset) {
  static_assert(std::is_trivially_copyable_v<T>);
  VMM_CHECK(RangeFits(offset, sizeof(T), bytes.size()));
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

template <typename T>
void AppendObject(Bytes& bytes, const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  bytes.resize(bytes.size() + sizeof(T));
  std::memcpy(bytes.data() + bytes.size() - sizeof(T), &value, sizeof(T));
}

std::string SizeText(uint64_t bytes) {
  if (bytes >= 1_MiB) return fmt::format("{} MiB", (bytes + 1_MiB - 1) / 1_MiB);
  if (bytes >= 1_KiB) return fmt::format("{} KiB", (bytes + 1_KiB - 1) / 1_KiB);
  return fmt::format("{} bytes", bytes);
}

// What each kind of kernel file comes down to, before initrd and command line have a place.
struct LoadedKernel {
  std::vector<Segment> segments;
  std::vector<Extent> occupied;  // with bss and, for a bzImage, the room in which it unpacks itself
  uint64_t entry = 0;
  uint64_t max_command_line_bytes = 0;  // without the final NUL
  uint64_t initrd_end = 0;              // the initrd ends there or below
};

Result<void> CheckRam(const LinuxBoot& boot, const std::vector<Extent>& occupied) {
  uint64_t needed_bytes = 0;
  for (const Extent& extent : occupied) needed_bytes = std::max(needed_bytes, extent.end);
  if (needed_bytes <= LowRamEnd(boot.ram_bytes)) return {};
  return Fail("kernel '{}' needs {} of memory below 3 GiB, the guest has {}; give it more with -m",
              boot.kernel_name, SizeText(needed_bytes), SizeText(LowRamEnd(boot.ram_bytes)));
}

// ---- ELF and PVH --------------------------------------------------------------------------------

constexpr uint32_t kPvhEntryNote = 18;  // XEN_ELFNOTE_PHYS32_ENTRY
constexpr uint64_t kMaxProgramHeaders = 128;

// Linux's COMMAND_LINE_SIZE on x86; an ELF file does not say.
constexpr uint64_t kPvhMaxCommandLineBytes = 2047;

// Linux keeps the address and the size of an initrd in 32 bits; 2 GiB is also what a bzImage asks
// for.
constexpr uint64_t kPvhInitrdEnd = 2_GiB;

// xen/include/public/arch-x86/hvm/start_info.h
struct PvhStartInfo {
  uint32_t magic = 0x336e'c578;
  uint32_t version = 1;
  uint32_t flags = 0;
  uint32_t module_count = 0;
  uint64_t modules_address = 0;
  uint64_t command_line_address = 0;
  uint64_t rsdp_address = 0;
  uint64_t memory_map_address = 0;
  uint32_t memory_map_entries = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(PvhStartInfo) == 56);

struct PvhModule {
  uint64_t address = 0;
  uint64_t size_bytes = 0;
  uint64_t command_line_address = 0;
  uint64_t reserved = 0;
};
static_assert(sizeof(PvhModule) == 32);

struct PvhMemoryMapEntry {
  uint64_t address = 0;
  uint64_t size_bytes = 0;
  uint32_t type = 0;
  uint32_t reserved = 0;
};
static_assert(sizeof(PvhMemoryMapEntry) == 24);

// Finds the PVH entry in one PT_NOTE segment: records of {name size, descriptor size, type}, name,
// descriptor, the latter two padded to the alignment of the segment.
Result<std::optional<uint64_t>> FindPvhEntry(const LinuxBoot& boot,
                                             std::span<const std::byte> notes, uint64_t alignment) {
  constexpr std::string_view kXenName("Xen\0", 4);
  uint64_t offset = 0;
  while (offset < notes.size()) {
    if (!RangeFits(offset, sizeof(Elf64_Nhdr), notes.size()))
      return Fail("kernel '{}' is damaged: an ELF note runs over the end of its segment",
                  boot.kernel_name);
    const auto header = CopyAt<Elf64_Nhdr>(notes, offset);
    // All are 32-bit numbers in 64 bits: nothing here wraps.
    const uint64_t name_offset = offset + sizeof(Elf64_Nhdr);
    const uint64_t descriptor_offset = AlignUp(name_offset + header.n_namesz, alignment);
    if (!RangeFits(name_offset, header.n_namesz, notes.size()) ||
        !RangeFits(descriptor_offset, header.n_descsz, notes.size())) {
      return Fail("kernel '{}' is damaged: an ELF note runs over the end of its segment",
                  boot.kernel_name);
    }
    if (header.n_type == kPvhEntryNote && header.n_namesz == kXenName.size() &&
        std::memcmp(notes.data() + name_offset, kXenName.data(), kXenName.size()) == 0) {
      if (header.n_descsz == 8) return std::optional(CopyAt<uint64_t>(notes, descriptor_offset));
      if (header.n_descsz == 4)
        return std::optional<uint64_t>(CopyAt<uint32_t>(notes, descriptor_offset));
      return Fail("kernel '{}' is damaged: its PVH entry note has {} bytes in place of 4 or 8",
                  boot.kernel_name, header.n_descsz);
    }
    offset = AlignUp(descriptor_offset + header.n_descsz, alignment);
  }
  return std::optional<uint64_t>();
}

Result<LoadedKernel> LoadElf(const LinuxBoot& boot) {
  const std::span<const std::byte> file = boot.kernel;
  if (file.size() < sizeof(Elf64_Ehdr)) {
    return Fail("kernel '{}' is truncated: {} bytes are less than an ELF header", boot.kernel_name,
                file.size());
  }
  const auto header = CopyAt<Elf64_Ehdr>(file, 0);
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != EM_X86_64) {
    return Fail("kernel '{}' is an ELF file, but not for x86-64", boot.kernel_name);
  }
  if (header.e_phnum == 0 || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return Fail("kernel '{}' is an ELF file without program headers: not a linked vmlinux",
                boot.kernel_name);
  }
  if (header.e_phnum > kMaxProgramHeaders) {
    return Fail("kernel '{}' is an ELF file with {} program headers; at most {} are accepted",
                boot.kernel_name, header.e_phnum, kMaxProgramHeaders);
  }
  if (!RangeFits(header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr), file.size())) {
    return Fail("kernel '{}' is truncated: its program headers lie beyond its end of {} bytes",
                boot.kernel_name, file.size());
  }

  LoadedKernel kernel;
  kernel.max_command_line_bytes = kPvhMaxCommandLineBytes;
  kernel.initrd_end = kPvhInitrdEnd;
  std::optional<uint64_t> entry;
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    const auto program = CopyAt<Elf64_Phdr>(file, header.e_phoff + i * sizeof(Elf64_Phdr));
    if (program.p_type != PT_LOAD && program.p_type != PT_NOTE) continue;
    if (!RangeFits(program.p_offset, program.p_filesz, file.size())) {
      return Fail("kernel '{}' is truncated: its segment {} lies beyond its end of {} bytes",
                  boot.kernel_name, i, file.size());
    }
    const auto bytes = file.subspan(program.p_offset, program.p_filesz);
    if (program.p_type == PT_NOTE) {
      if (entry) continue;
      TRY(entry, FindPvhEntry(boot, bytes, program.p_align == 8 ? 8 : 4));
      continue;
    }
    if (program.p_filesz > program.p_memsz) {
      return Fail(
          "kernel '{}' is damaged: its segment {} has {} bytes in the file, but {} in memory",
          boot.kernel_name, i, program.p_filesz, program.p_memsz);
    }
    if (program.p_memsz == 0) continue;
    if (program.p_paddr < kHighRamStart) {
      return Fail("kernel '{}' is linked at {:#x}; it must lie at 1 MiB or above", boot.kernel_name,
                  program.p_paddr);
    }
    if (!RangeFits(program.p_paddr, program.p_memsz, kRamBelow4GiBEnd)) {
      return Fail("kernel '{}' has a segment of {:#x} bytes at {:#x}; it must end below 3 GiB",
                  boot.kernel_name, program.p_memsz, program.p_paddr);
    }
    const Extent extent{program.p_paddr, program.p_paddr + program.p_memsz};
    for (const Extent& other : kernel.occupied) {
      if (extent.Overlaps(other)) {
        return Fail("kernel '{}' is damaged: two of its segments overlap at {:#x}",
                    boot.kernel_name, std::max(extent.start, other.start));
      }
    }
    kernel.occupied.push_back(extent);
    if (!bytes.empty()) kernel.segments.push_back(Segment::Borrow(program.p_paddr, bytes));
  }
  TRY_VOID(CheckRam(boot, kernel.occupied));
  if (!entry) {
    return Fail("kernel '{}' is an ELF file without a PVH entry; Linux needs CONFIG_PVH=y for it",
                boot.kernel_name);
  }
  const bool entry_is_loaded =
      std::any_of(kernel.segments.begin(), kernel.segments.end(), [&](const Segment& segment) {
        return *entry >= segment.guest_address &&
               *entry - segment.guest_address < segment.bytes.size();
      });
  if (!entry_is_loaded) {
    return Fail("kernel '{}' is damaged: its PVH entry {:#x} lies in none of its segments",
                boot.kernel_name, *entry);
  }
  kernel.entry = *entry;
  return kernel;
}

BootImage FinishPvh(const LinuxBoot& boot, LoadedKernel kernel,
                    const std::optional<Extent>& initrd) {
  const std::vector<MemoryMapEntry> map = BuildMemoryMap(boot.ram_bytes);
  PvhStartInfo info;
  info.module_count = initrd ? 1 : 0;
  info.modules_address = initrd ? kPvhStartInfoAddress + sizeof(PvhStartInfo) : 0;
  info.command_line_address = kCommandLineAddress;
  info.rsdp_address = boot.rsdp_address;
  info.memory_map_address = kPvhStartInfoAddress + sizeof(PvhStartInfo) + sizeof(PvhModule);
  info.memory_map_entries = static_cast<uint32_t>(map.size());

  PvhModule module;
  if (initrd) {
    module.address = initrd->start;
    module.size_bytes = boot.initrd.size();
  }

  Bytes page;
  AppendObject(page, info);
  AppendObject(page, module);
  for (const MemoryMapEntry& entry : map)
    AppendObject(page, PvhMemoryMapEntry{entry.range.address, entry.range.bytes, entry.type});
  VMM_CHECK(page.size() <= kPageBytes);

  BootImage image;
  image.segments = std::move(kernel.segments);
  image.segments.push_back(Segment::Own(kPvhStartInfoAddress, std::move(page)));
  image.entry.mode = BootMode::kPvh;
  image.entry.instruction_pointer = kernel.entry;
  image.entry.boot_parameters = kPvhStartInfoAddress;
  return image;
}

// ---- bzImage and the 64-bit boot protocol -------------------------------------------------------

constexpr uint64_t kSetupHeaderOffset = offsetof(boot_params, hdr);
constexpr uint64_t kSetupHeaderRoomEnd = offsetof(boot_params, edd_mbr_sig_buffer);
constexpr uint32_t kHdrS = 0x5372'6448;
constexpr uint16_t kBootFlag = 0xaa55;
constexpr uint16_t kMinProtocol = 0x020c;   // 2.12 brought xloadflags
constexpr uint64_t kEntry64Offset = 0x200;  // from the start of the protected-mode code
constexpr uint64_t kSetupSectorBytes = 512;
constexpr uint8_t kUnknownLoader = 0xff;
constexpr uint16_t kNormalVideoMode = 0xffff;
static_assert(kSetupHeaderOffset == 0x1f1 && kSetupHeaderRoomEnd == 0x290);
static_assert(offsetof(boot_params, acpi_rsdp_addr) == 0x70);
static_assert(offsetof(boot_params, e820_table) == 0x2d0 && sizeof(boot_params) == kPageBytes);

// 0x1f1, the setup header: as long as a file of protocol 2.12 has it at least.
constexpr uint64_t kSmallestSetupHeaderBytes =
    offsetof(setup_header, init_size) + sizeof(setup_header::init_size);

bool IsBzImage(std::span<const std::byte> file) {
  constexpr uint64_t kMagicOffset = kSetupHeaderOffset + offsetof(setup_header, header);
  return RangeFits(kMagicOffset, sizeof(uint32_t), file.size()) &&
         CopyAt<uint32_t>(file, kMagicOffset) == kHdrS;
}

// The header without what this version of the struct does not know; what the file does not have is
// zero.
setup_header ReadSetupHeader(std::span<const std::byte> file) {
  setup_header header{};
  std::memcpy(&header, file.data() + kSetupHeaderOffset,
              std::min<uint64_t>(sizeof(header), file.size() - kSetupHeaderOffset));
  return header;
}

Result<LoadedKernel> LoadBzImage(const LinuxBoot& boot) {
  const std::span<const std::byte> file = boot.kernel;
  if (file.size() < kSetupHeaderOffset + kSmallestSetupHeaderBytes) {
    return Fail("kernel '{}' is truncated: {} bytes are less than a bzImage's header",
                boot.kernel_name, file.size());
  }
  const setup_header header = ReadSetupHeader(file);
  if (header.boot_flag != kBootFlag)
    return Fail("kernel '{}' is damaged: its boot sector has no signature", boot.kernel_name);
  if (header.version < kMinProtocol) {
    return Fail("kernel '{}' speaks boot protocol {}.{:02}; 2.12 or newer is needed (Linux 3.8)",
                boot.kernel_name, header.version >> 8, header.version & 0xff);
  }
  if ((header.xloadflags & XLF_KERNEL_64) == 0)
    return Fail("kernel '{}' is a bzImage without a 64-bit entry point; it must be for x86-64",
                boot.kernel_name);

  // No setup sectors means four, for the sake of very old kernels.
  const uint64_t setup_bytes =
      ((header.setup_sects == 0 ? 4 : header.setup_sects) + 1) * kSetupSectorBytes;
  const uint64_t code_bytes = uint64_t{header.syssize} * 16;
  if (!RangeFits(setup_bytes, code_bytes, file.size())) {
    return Fail("kernel '{}' is truncated: {} bytes in place of {}", boot.kernel_name, file.size(),
                setup_bytes + code_bytes);
  }
  if (code_bytes <= kEntry64Offset) {
    return Fail("kernel '{}' is damaged: {} bytes of code do not hold the 64-bit entry point",
                boot.kernel_name, code_bytes);
  }

  // Where the kernel unpacks itself: it needs init_size bytes from there on.
  uint64_t run_address = header.pref_address;
  if (header.relocatable_kernel != 0) {
    if (!IsPowerOfTwo(header.kernel_alignment)) {
      return Fail("kernel '{}' is damaged: its alignment {:#x} is not a power of two",
                  boot.kernel_name, uint32_t{header.kernel_alignment});
    }
    run_address = std::max(run_address, AlignUp(kHighRamStart, header.kernel_alignment));
  }
  if (run_address < kHighRamStart || !RangeFits(run_address, header.init_size, kRamBelow4GiBEnd)) {
    return Fail("kernel '{}' wants {:#x} bytes at {:#x}; it must lie between 1 MiB and 3 GiB",
                boot.kernel_name, uint32_t{header.init_size}, run_address);
  }

  LoadedKernel kernel;
  kernel.occupied.push_back({kHighRamStart, kHighRamStart + code_bytes});
  kernel.occupied.push_back({run_address, run_address + header.init_size});
  TRY_VOID(CheckRam(boot, kernel.occupied));
  kernel.segments.push_back(Segment::Borrow(kHighRamStart, file.subspan(setup_bytes, code_bytes)));
  kernel.entry = kHighRamStart + kEntry64Offset;
  kernel.max_command_line_bytes = header.cmdline_size;
  kernel.initrd_end = uint64_t{header.initrd_addr_max} + 1;
  return kernel;
}

BootImage FinishBzImage(const LinuxBoot& boot, LoadedKernel kernel,
                        const std::optional<Extent>& initrd) {
  boot_params zero_page{};
  // The byte of the jump instruction at 0x201 says where the header ends; a newer kernel's may be
  // longer than setup_header.
  const uint64_t header_end = 0x202 + CopyAt<uint8_t>(boot.kernel, 0x201);
  const uint64_t copied_end =
      std::min<uint64_t>({header_end, kSetupHeaderRoomEnd, boot.kernel.size()});
  std::memcpy(reinterpret_cast<std::byte*>(&zero_page) + kSetupHeaderOffset,
              boot.kernel.data() + kSetupHeaderOffset, copied_end - kSetupHeaderOffset);

  zero_page.hdr.type_of_loader = kUnknownLoader;
  zero_page.hdr.loadflags =
      static_cast<uint8_t>((zero_page.hdr.loadflags | LOADED_HIGH) & ~CAN_USE_HEAP);
  zero_page.hdr.vid_mode = kNormalVideoMode;
  zero_page.hdr.code32_start = static_cast<uint32_t>(kHighRamStart);
  zero_page.hdr.cmd_line_ptr = static_cast<uint32_t>(kCommandLineAddress);
  zero_page.hdr.ramdisk_image = initrd ? static_cast<uint32_t>(initrd->start) : 0;
  zero_page.hdr.ramdisk_size = static_cast<uint32_t>(boot.initrd.size());
  zero_page.hdr.setup_data = 0;
  zero_page.acpi_rsdp_addr = boot.rsdp_address;

  for (const MemoryMapEntry& entry : BuildMemoryMap(boot.ram_bytes)) {
    VMM_CHECK(zero_page.e820_entries < E820_MAX_ENTRIES_ZEROPAGE);
    zero_page.e820_table[zero_page.e820_entries++] = {entry.range.address, entry.range.bytes,
                                                      entry.type};
  }

  Bytes page;
  AppendObject(page, zero_page);
  BootImage image;
  image.segments = std::move(kernel.segments);
  image.segments.push_back(Segment::Own(kZeroPageAddress, std::move(page)));
  image.segments.push_back(BuildIdentityPageTables(kPageTablesAddress));
  image.entry.mode = BootMode::kLong64;
  image.entry.instruction_pointer = kernel.entry;
  image.entry.boot_parameters = kZeroPageAddress;
  image.entry.page_table_address = kPageTablesAddress;
  return image;
}

// ---- common -------------------------------------------------------------------------------------

// Page-aligned and as high as possible: below `kernel.initrd_end`, beside what the kernel occupies.
Result<std::optional<Extent>> PlaceInitrd(const LinuxBoot& boot, const LoadedKernel& kernel) {
  if (boot.initrd.empty()) return std::optional<Extent>();
  const uint64_t size_bytes = boot.initrd.size();
  uint64_t end = std::min(LowRamEnd(boot.ram_bytes), kernel.initrd_end);
  while (size_bytes <= end) {
    const uint64_t start = AlignDown(end - size_bytes, kPageBytes);
    if (start < kHighRamStart) break;
    const Extent extent{start, start + size_bytes};
    const auto in_the_way =
        std::find_if(kernel.occupied.begin(), kernel.occupied.end(),
                     [&extent](const Extent& occupied) { return extent.Overlaps(occupied); });
    if (in_the_way == kernel.occupied.end()) return std::optional(extent);
    end = in_the_way->start;
  }
  if (kernel.initrd_end < LowRamEnd(boot.ram_bytes)) {
    return Fail(
        "initrd '{}' ({}) does not fit below {}, which is as high as kernel '{}' accepts it",
        boot.initrd_name, SizeText(size_bytes), SizeText(kernel.initrd_end), boot.kernel_name);
  }
  return Fail(
      "initrd '{}' ({}) does not fit into {} of memory beside the kernel; give the guest more "
      "with -m",
      boot.initrd_name, SizeText(size_bytes), SizeText(boot.ram_bytes));
}

Result<Segment> BuildCommandLine(const LinuxBoot& boot, uint64_t max_bytes) {
  const uint64_t limit = std::min(max_bytes, kCommandLineAreaBytes - 1);
  if (boot.command_line.size() > limit) {
    return Fail("the command line has {} bytes; kernel '{}' takes at most {}",
                boot.command_line.size(), boot.kernel_name, limit);
  }
  Bytes bytes(boot.command_line.size() + 1);
  std::memcpy(bytes.data(), boot.command_line.data(), boot.command_line.size());
  return Segment::Own(kCommandLineAddress, std::move(bytes));
}

bool IsElf(std::span<const std::byte> file) {
  return file.size() >= SELFMAG && std::memcmp(file.data(), ELFMAG, SELFMAG) == 0;
}

Unexpected UnknownKind(const LinuxBoot& boot) {
  if (boot.kernel.empty()) return Fail("kernel '{}' is empty", boot.kernel_name);
  std::string first_bytes;
  for (std::byte byte : boot.kernel.first(std::min<size_t>(boot.kernel.size(), 4)))
    first_bytes += fmt::format(" {:02x}", static_cast<unsigned>(byte));
  return Fail("kernel '{}': neither an ELF vmlinux nor a bzImage ({} bytes, the first are{})",
              boot.kernel_name, boot.kernel.size(), first_bytes);
}

}  // namespace

Result<BootImage> LoadLinux(const LinuxBoot& boot) {
  const bool is_elf = IsElf(boot.kernel);
  if (!is_elf && !IsBzImage(boot.kernel)) return UnknownKind(boot);
  if (boot.ram_bytes <= kHighRamStart) {
    return Fail("the guest has {} of memory, too little for any kernel; give it more with -m",
                SizeText(boot.ram_bytes));
  }

  TRY(LoadedKernel kernel, is_elf ? LoadElf(boot) : LoadBzImage(boot));
  TRY(Segment command_line, BuildCommandLine(boot, kernel.max_command_line_bytes));
  TRY(const std::optional<Extent> initrd, PlaceInitrd(boot, kernel));

  BootImage image = is_elf ? FinishPvh(boot, std::move(kernel), initrd)
                           : FinishBzImage(boot, std::move(kernel), initrd);
  image.segments.push_back(std::move(command_line));
  if (initrd) image.segments.push_back(Segment::Borrow(initrd->start, boot.initrd));
  return image;
}

}  // namespace minivmm
