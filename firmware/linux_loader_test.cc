#include "firmware/linux_loader.h"

#include <asm/bootparam.h>
#include <doctest/doctest.h>
#include <elf.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "blockcore/base/little_endian.h"
#include "blockcore/base/units.h"
#include "firmware/memory_layout.h"

namespace minivmm {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kRsdp = kAcpiAddress;

// ---- synthetic kernels --------------------------------------------------------------------------

template <typename T>
void Put(Bytes& bytes, uint64_t offset, const T& value) {
  if (bytes.size() < offset + sizeof(T)) bytes.resize(offset + sizeof(T));
  std::memcpy(bytes.data() + offset, &value, sizeof(T));
}

template <typename T>
T Get(std::span<const std::byte> bytes, uint64_t offset) {
  REQUIRE(RangeFits(offset, sizeof(T), bytes.size()));
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

// One ELF note: header, name and descriptor, both padded to four bytes.
Bytes Note(const std::string& name, uint32_t type, const Bytes& descriptor) {
  Bytes note;
  AppendLe<uint32_t>(note, static_cast<uint32_t>(name.size() + 1));
  AppendLe<uint32_t>(note, static_cast<uint32_t>(descriptor.size()));
  AppendLe<uint32_t>(note, type);
  for (char character : name + '\0') AppendLe<uint8_t>(note, static_cast<uint8_t>(character));
  note.resize(AlignUp(note.size(), 4));
  note.insert(note.end(), descriptor.begin(), descriptor.end());
  note.resize(AlignUp(note.size(), 4));
  return note;
}

Bytes PvhNote(uint64_t entry) {
  Bytes descriptor;
  AppendLe<uint64_t>(descriptor, entry);
  return Note("Xen", 18, descriptor);
}

// The ELF files of this test: header, three program headers, a page of text, some data with bss
// behind it, notes.
constexpr uint64_t kTextAddress = 0x100'0000;
constexpr uint64_t kTextBytes = 0x1000;
constexpr uint64_t kDataAddress = 0x110'0000;
constexpr uint64_t kDataBytes = 0x300;
constexpr uint64_t kDataMemoryBytes = 0x8'0000;
constexpr uint64_t kElfEntry = kTextAddress + 0x10;
constexpr uint64_t kPhdrOffset = sizeof(Elf64_Ehdr);
constexpr uint64_t kTextHeader = kPhdrOffset;
constexpr uint64_t kDataHeader = kPhdrOffset + sizeof(Elf64_Phdr);
constexpr uint64_t kNoteHeader = kPhdrOffset + 2 * sizeof(Elf64_Phdr);
constexpr uint64_t kTextOffset = 0x200;
constexpr uint64_t kDataOffset = kTextOffset + kTextBytes;
constexpr uint64_t kNotesOffset = kDataOffset + kDataBytes;

Bytes ElfWithNotes(const Bytes& notes) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = kPhdrOffset;
  header.e_ehsize = sizeof(Elf64_Ehdr);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 3;

  Elf64_Phdr text{};
  text.p_type = PT_LOAD;
  text.p_offset = kTextOffset;
  text.p_paddr = kTextAddress;
  text.p_filesz = text.p_memsz = kTextBytes;
  Elf64_Phdr data = text;
  data.p_offset = kDataOffset;
  data.p_paddr = kDataAddress;
  data.p_filesz = kDataBytes;
  data.p_memsz = kDataMemoryBytes;
  Elf64_Phdr note{};
  note.p_type = PT_NOTE;
  note.p_offset = kNotesOffset;
  note.p_filesz = note.p_memsz = notes.size();
  note.p_align = 4;

  Bytes file;
  Put(file, 0, header);
  Put(file, kTextHeader, text);
  Put(file, kDataHeader, data);
  Put(file, kNoteHeader, note);
  file.resize(kTextOffset);
  file.resize(kDataOffset, std::byte{0x90});
  file.resize(kNotesOffset, std::byte{0xda});
  file.insert(file.end(), notes.begin(), notes.end());
  return file;
}

Bytes ElfKernel() {
  Bytes notes = Note("Linux", 0, Bytes(4));
  const Bytes other = Note("Xen", 5, Bytes(6));
  const Bytes entry = PvhNote(kElfEntry);
  notes.insert(notes.end(), other.begin(), other.end());
  notes.insert(notes.end(), entry.begin(), entry.end());
  return ElfWithNotes(notes);
}

void EditProgramHeader(Bytes& file, uint64_t offset, const std::function<void(Elf64_Phdr&)>& edit) {
  auto header = Get<Elf64_Phdr>(file, offset);
  edit(header);
  Put(file, offset, header);
}

void EditElfHeader(Bytes& file, const std::function<void(Elf64_Ehdr&)>& edit) {
  auto header = Get<Elf64_Ehdr>(file, 0);
  edit(header);
  Put(file, 0, header);
}

constexpr uint64_t kSetupOffset = 0x1f1;
constexpr uint64_t kSetupBytes = 2 * 512;
constexpr uint64_t kCodeBytes = 0x1000;
constexpr uint64_t kRunAddress = 0x100'0000;
constexpr uint32_t kInitBytes = 0x40'0000;

Bytes BzImage() {
  setup_header header{};
  header.setup_sects = 1;
  header.syssize = kCodeBytes / 16;
  header.boot_flag = 0xaa55;
  header.jump = 0x6aeb;  // jmp +0x6a: the header ends at 0x26c
  header.header = 0x5372'6448;
  header.version = 0x020f;
  header.loadflags = CAN_USE_HEAP | LOADED_HIGH;
  header.vid_mode = 0x1234;
  header.setup_data = 0x5678;
  header.initrd_addr_max = 0x7fff'ffff;
  header.kernel_alignment = 0x20'0000;
  header.relocatable_kernel = 1;
  header.xloadflags = XLF_KERNEL_64;
  header.cmdline_size = 2047;
  header.pref_address = kRunAddress;
  header.init_size = kInitBytes;
  header.hardware_subarch_data = 0x1122'3344'5566'7788;
  Bytes file(kSetupOffset, std::byte{0xff});  // the boot sector's code is not for the zero page
  file.resize(kSetupBytes);
  Put(file, kSetupOffset, header);
  file.resize(kSetupBytes + kCodeBytes, std::byte{0x90});
  return file;
}

void EditSetupHeader(Bytes& file, const std::function<void(setup_header&)>& edit) {
  auto header = Get<setup_header>(file, kSetupOffset);
  edit(header);
  Put(file, kSetupOffset, header);
}

// ---- what a test asks ---------------------------------------------------------------------------

LinuxBoot Boot(const Bytes& kernel, uint64_t ram_bytes = 64_MiB) {
  LinuxBoot boot;
  boot.kernel = kernel;
  boot.kernel_name = "vmlinux-test";
  boot.initrd_name = "initrd-test";
  boot.command_line = "console=ttyS0 panic=-1";
  boot.ram_bytes = ram_bytes;
  boot.rsdp_address = kRsdp;
  return boot;
}

std::string ErrorOf(const Result<BootImage>& image) {
  return image ? "no error" : image.error().message;
}

BootImage MustLoad(const LinuxBoot& boot) {
  auto image = LoadLinux(boot);
  REQUIRE_MESSAGE(image.has_value(), ErrorOf(image));
  return std::move(*image);
}

bool Contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// The bytes of the segment that starts at an address.
std::span<const std::byte> SegmentAt(const BootImage& image, uint64_t address) {
  for (const Segment& segment : image.segments)
    if (segment.guest_address == address) return segment.bytes;
  FAIL("no segment at ", address);
  return {};
}

std::string CommandLineOf(const BootImage& image) {
  const auto bytes = SegmentAt(image, kCommandLineAddress);
  REQUIRE(!bytes.empty());
  REQUIRE(bytes.back() == std::byte{0});
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size() - 1);
}

// What boot_image.h promises of every image; also that nothing lies in the hole below 1 MiB.
std::string BrokenPromise(const BootImage& image, uint64_t ram_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> extents;
  for (const Segment& segment : image.segments) {
    const uint64_t start = segment.guest_address;
    const uint64_t size_bytes = segment.bytes.size();
    bool in_ram = false;
    for (const MemoryRange& range : RamRanges(ram_bytes)) {
      in_ram = in_ram || (start >= range.address &&
                          RangeFits(start - range.address, size_bytes, range.bytes));
    }
    if (!in_ram) return "a segment lies outside RAM";
    if (start < kHighRamStart && start + size_bytes > kLowRamEnd)
      return "a segment lies in the hole";
    extents.emplace_back(start, start + size_bytes);
  }
  std::sort(extents.begin(), extents.end());
  for (size_t i = 1; i < extents.size(); ++i)
    if (extents[i].first < extents[i - 1].second) return "two segments overlap";
  for (const auto& [start, end] : extents) {
    if (image.entry.instruction_pointer >= start && image.entry.instruction_pointer < end)
      return "";
  }
  return "the entry point lies in no segment";
}

struct MapEntry {
  uint64_t address;
  uint64_t size_bytes;
  uint32_t type;
  bool operator==(const MapEntry&) const = default;
};

std::vector<MapEntry> ExpectedMap(uint64_t ram_bytes) {
  std::vector<MapEntry> map = {
      {0, 640_KiB, 1},
      {640_KiB, 384_KiB, 2},
      {1_MiB, std::min(ram_bytes, 3_GiB) - 1_MiB, 1},
      {0xe000'0000, 1_MiB, 2},
  };
  if (ram_bytes > 3_GiB) map.push_back({4_GiB, ram_bytes - 3_GiB, 1});
  return map;
}

std::vector<MapEntry> PvhMap(const BootImage& image) {
  const auto info = SegmentAt(image, kPvhStartInfoAddress);
  std::vector<MapEntry> map;
  const uint64_t offset = LoadLe<uint64_t>(info, 40) - kPvhStartInfoAddress;
  for (uint32_t i = 0; i < LoadLe<uint32_t>(info, 48); ++i) {
    const auto entry = info.subspan(offset + i * 24, 24);
    map.push_back(
        {LoadLe<uint64_t>(entry, 0), LoadLe<uint64_t>(entry, 8), LoadLe<uint32_t>(entry, 16)});
  }
  return map;
}

std::vector<MapEntry> E820Map(const BootImage& image) {
  const auto zero_page = SegmentAt(image, kZeroPageAddress);
  std::vector<MapEntry> map;
  for (uint8_t i = 0; i < LoadLe<uint8_t>(zero_page, 0x1e8); ++i) {
    const auto entry = zero_page.subspan(0x2d0 + i * 20, 20);
    map.push_back(
        {LoadLe<uint64_t>(entry, 0), LoadLe<uint64_t>(entry, 8), LoadLe<uint32_t>(entry, 16)});
  }
  return map;
}

// ---- PVH ----------------------------------------------------------------------------------------

TEST_CASE("an ELF kernel starts at its PVH entry with its segments where they are linked") {
  const Bytes kernel = ElfKernel();
  const LinuxBoot boot = Boot(kernel);
  const BootImage image = MustLoad(boot);
  CHECK(image.entry.mode == BootMode::kPvh);
  CHECK(image.entry.instruction_pointer == kElfEntry);
  CHECK(image.entry.boot_parameters == kPvhStartInfoAddress);
  CHECK(BrokenPromise(image, boot.ram_bytes) == "");
  const auto text = SegmentAt(image, kTextAddress);
  CHECK(text.size() == kTextBytes);
  CHECK(text.data() == kernel.data() + kTextOffset);  // borrowed, not copied
  CHECK(SegmentAt(image, kDataAddress).size() == kDataBytes);
  CHECK(CommandLineOf(image) == "console=ttyS0 panic=-1");
}

TEST_CASE(
    "the PVH start info names command line, RSDP and memory map, and no module without initrd") {
  const Bytes kernel = ElfKernel();
  const BootImage image = MustLoad(Boot(kernel));
  const auto info = SegmentAt(image, kPvhStartInfoAddress);
  CHECK(LoadLe<uint32_t>(info, 0) == 0x336e'c578);
  CHECK(LoadLe<uint32_t>(info, 4) == 1);   // version
  CHECK(LoadLe<uint32_t>(info, 8) == 0);   // flags
  CHECK(LoadLe<uint32_t>(info, 12) == 0);  // modules
  CHECK(LoadLe<uint64_t>(info, 24) == kCommandLineAddress);
  CHECK(LoadLe<uint64_t>(info, 32) == kRsdp);
  CHECK(PvhMap(image) == ExpectedMap(64_MiB));
}

TEST_CASE("the initrd is the PVH module, page-aligned at the end of low RAM") {
  const Bytes kernel = ElfKernel();
  const Bytes initrd(0x12345, std::byte{0x77});
  for (uint64_t ram_bytes : {64_MiB, 2_GiB, 3_GiB, 3_GiB + 4096, 6_GiB}) {
    CAPTURE(ram_bytes);
    LinuxBoot boot = Boot(kernel, ram_bytes);
    boot.initrd = initrd;
    const BootImage image = MustLoad(boot);
    CHECK(BrokenPromise(image, ram_bytes) == "");
    const auto info = SegmentAt(image, kPvhStartInfoAddress);
    REQUIRE(LoadLe<uint32_t>(info, 12) == 1);
    const auto module = info.subspan(LoadLe<uint64_t>(info, 16) - kPvhStartInfoAddress, 32);
    const uint64_t expected = AlignDown(std::min(ram_bytes, 2_GiB) - initrd.size(), 4096);
    CHECK(LoadLe<uint64_t>(module, 0) == expected);
    CHECK(LoadLe<uint64_t>(module, 8) == initrd.size());
    CHECK(SegmentAt(image, expected).data() == initrd.data());
    CHECK(PvhMap(image) == ExpectedMap(ram_bytes));
  }
}

TEST_CASE("a PVH entry of four bytes and notes aligned to eight are understood") {
  Bytes entry;
  AppendLe<uint32_t>(entry, static_cast<uint32_t>(kElfEntry));
  const Bytes short_entry = ElfWithNotes(Note("Xen", 18, entry));
  CHECK(MustLoad(Boot(short_entry)).entry.instruction_pointer == kElfEntry);

  // The first descriptor ends four bytes before the place of the next note.
  Bytes notes = Note("Xen", 5, Bytes(4));
  notes.resize(AlignUp(notes.size(), 8));
  const Bytes pvh = PvhNote(kElfEntry);
  notes.insert(notes.end(), pvh.begin(), pvh.end());
  Bytes kernel = ElfWithNotes(notes);
  EditProgramHeader(kernel, kNoteHeader, [](Elf64_Phdr& header) { header.p_align = 8; });
  CHECK(MustLoad(Boot(kernel)).entry.instruction_pointer == kElfEntry);
}

TEST_CASE("a note of another owner with the number of the PVH entry is not the entry") {
  Bytes notes = Note("GNU", 18, Bytes(8));
  const Bytes pvh = PvhNote(kElfEntry);
  notes.insert(notes.end(), pvh.begin(), pvh.end());
  const Bytes kernel = ElfWithNotes(notes);
  CHECK(MustLoad(Boot(kernel)).entry.instruction_pointer == kElfEntry);
}

TEST_CASE("an ELF program linked at 1 MiB loads") {
  Bytes kernel = ElfWithNotes(PvhNote(0x10'0000));
  EditProgramHeader(kernel, kTextHeader, [](Elf64_Phdr& header) { header.p_paddr = 0x10'0000; });
  EditProgramHeader(kernel, kDataHeader, [](Elf64_Phdr& header) { header.p_paddr = 0x10'1000; });
  CHECK(MustLoad(Boot(kernel, 2_MiB)).entry.instruction_pointer == 0x10'0000);
}

TEST_CASE("a segment of bss only needs no bytes but its place") {
  Bytes kernel = ElfKernel();
  EditProgramHeader(kernel, kDataHeader, [](Elf64_Phdr& header) { header.p_filesz = 0; });
  const BootImage image = MustLoad(Boot(kernel));
  for (const Segment& segment : image.segments) CHECK(segment.guest_address != kDataAddress);
  // An initrd keeps out of it, and it has to be in RAM.
  EditProgramHeader(kernel, kDataHeader, [](Elf64_Phdr& header) {
    header.p_paddr = 63_MiB;
    header.p_memsz = 1_MiB;
  });
  LinuxBoot boot = Boot(kernel, 64_MiB);
  const Bytes initrd(1_MiB, std::byte{1});
  boot.initrd = initrd;
  CHECK(SegmentAt(MustLoad(boot), 62_MiB).data() == initrd.data());
  EditProgramHeader(kernel, kDataHeader, [](Elf64_Phdr& header) { header.p_paddr = 64_MiB; });
  CHECK(Contains(ErrorOf(LoadLinux(Boot(kernel, 64_MiB))), "give it more with -m"));
}

// ---- bzImage ------------------------------------------------------------------------------------

TEST_CASE("a bzImage starts in long mode at its 64-bit entry") {
  const Bytes kernel = BzImage();
  const LinuxBoot boot = Boot(kernel);
  const BootImage image = MustLoad(boot);
  CHECK(image.entry.mode == BootMode::kLong64);
  CHECK(image.entry.instruction_pointer == 0x10'0200);
  CHECK(image.entry.boot_parameters == kZeroPageAddress);
  CHECK(image.entry.page_table_address == kPageTablesAddress);
  CHECK(BrokenPromise(image, boot.ram_bytes) == "");
  const auto code = SegmentAt(image, 0x10'0000);
  CHECK(code.size() == kCodeBytes);
  CHECK(code.data() == kernel.data() + kSetupBytes);
  CHECK(SegmentAt(image, kPageTablesAddress).size() == 6 * 4096);
  CHECK(CommandLineOf(image) == "console=ttyS0 panic=-1");
}

TEST_CASE("the zero page holds the kernel's setup header, what the loader adds to it, and e820") {
  const Bytes kernel = BzImage();
  const Bytes initrd(0x12345, std::byte{0x77});
  for (uint64_t ram_bytes : {64_MiB, 3_GiB, 5_GiB}) {
    CAPTURE(ram_bytes);
    LinuxBoot boot = Boot(kernel, ram_bytes);
    boot.initrd = initrd;
    const BootImage image = MustLoad(boot);
    CHECK(BrokenPromise(image, ram_bytes) == "");
    const auto zero_page = SegmentAt(image, kZeroPageAddress);
    REQUIRE(zero_page.size() == 4096);
    const uint64_t initrd_address = AlignDown(std::min(ram_bytes, 2_GiB) - initrd.size(), 4096);
    CHECK(LoadLe<uint64_t>(zero_page, 0x070) == kRsdp);
    CHECK(LoadLe<uint8_t>(zero_page, 0x1ef) == 0);        // sentinel
    CHECK(LoadLe<uint8_t>(zero_page, 0x210) == 0xff);     // type_of_loader
    CHECK(LoadLe<uint8_t>(zero_page, 0x211) == 1);        // LOADED_HIGH, and no heap
    CHECK(LoadLe<uint16_t>(zero_page, 0x1fa) == 0xffff);  // vid_mode: normal
    CHECK(LoadLe<uint64_t>(zero_page, 0x250) == 0);       // setup_data
    CHECK(LoadLe<uint32_t>(zero_page, 0x214) == 0x10'0000);
    CHECK(LoadLe<uint32_t>(zero_page, 0x218) == initrd_address);
    CHECK(LoadLe<uint32_t>(zero_page, 0x21c) == initrd.size());
    CHECK(LoadLe<uint32_t>(zero_page, 0x228) == kCommandLineAddress);
    CHECK(LoadLe<uint64_t>(zero_page, 0x240) == 0x1122'3344'5566'7788);  // copied from the file
    CHECK(LoadLe<uint32_t>(zero_page, 0x260) == kInitBytes);             // likewise
    CHECK(SegmentAt(image, initrd_address).data() == initrd.data());
    CHECK(E820Map(image) == ExpectedMap(ram_bytes));
  }
}

TEST_CASE("the setup header is copied as far as the file's jump instruction says, no further") {
  Bytes kernel = BzImage();
  Put<uint32_t>(kernel, 0x26c, 0xffff'ffff);
  CHECK(LoadLe<uint32_t>(SegmentAt(MustLoad(Boot(kernel)), kZeroPageAddress), 0x26c) == 0);
  kernel[0x201] = std::byte{0x6e};
  CHECK(LoadLe<uint32_t>(SegmentAt(MustLoad(Boot(kernel)), kZeroPageAddress), 0x26c) ==
        0xffff'ffff);
}

TEST_CASE("the initrd keeps below initrd_addr_max") {
  Bytes kernel = BzImage();
  EditSetupHeader(kernel, [](setup_header& header) { header.initrd_addr_max = 0x37ff'ffff; });
  const Bytes initrd(0x2001);
  LinuxBoot boot = Boot(kernel, 1_GiB);
  boot.initrd = initrd;
  const BootImage image = MustLoad(boot);
  CHECK(LoadLe<uint32_t>(SegmentAt(image, kZeroPageAddress), 0x218) == 0x3800'0000 - 0x3000);
}

TEST_CASE("the initrd keeps out of the room in which a bzImage unpacks itself") {
  const Bytes kernel = BzImage();
  LinuxBoot boot = Boot(kernel, kRunAddress + kInitBytes + 1_MiB);
  const Bytes fits(1_MiB);
  boot.initrd = fits;
  CHECK(LoadLe<uint32_t>(SegmentAt(MustLoad(boot), kZeroPageAddress), 0x218) ==
        kRunAddress + kInitBytes);
  const Bytes one_more(1_MiB + 1);
  boot.initrd = one_more;
  CHECK(LoadLe<uint32_t>(SegmentAt(MustLoad(boot), kZeroPageAddress), 0x218) ==
        AlignDown(kRunAddress - one_more.size(), 4096));
}

TEST_CASE("a kernel that asks for a coarser alignment than its preferred address gets it") {
  Bytes kernel = BzImage();
  EditSetupHeader(kernel, [](setup_header& header) { header.kernel_alignment = 0x200'0000; });
  MustLoad(Boot(kernel, 0x200'0000 + kInitBytes));
  const auto image = LoadLinux(Boot(kernel, 0x200'0000 + kInitBytes - 1));
  CHECK(Contains(ErrorOf(image), "needs 36 MiB of memory"));
}

// ---- bad input ----------------------------------------------------------------------------------

struct Damage {
  const char* name;
  std::function<void(Bytes&)> apply;
  const char* expected_message;
};

void CheckDamages(const Bytes& kernel, const std::vector<Damage>& damages) {
  MustLoad(Boot(kernel));
  for (const Damage& damage : damages) {
    CAPTURE(damage.name);
    Bytes damaged = kernel;
    damage.apply(damaged);
    const auto image = LoadLinux(Boot(damaged));
    CHECK_FALSE(image.has_value());
    const std::string message = ErrorOf(image);
    CAPTURE(message);
    CHECK(Contains(message, damage.expected_message));
    CHECK(Contains(message, "kernel 'vmlinux-test'"));
    CHECK_FALSE(Contains(message, "\n"));
  }
}

Damage ElfHeaderDamage(const char* name, std::function<void(Elf64_Ehdr&)> edit,
                       const char* expected) {
  return {name, [edit](Bytes& file) { EditElfHeader(file, edit); }, expected};
}

Damage ProgramDamage(const char* name, uint64_t offset, std::function<void(Elf64_Phdr&)> edit,
                     const char* expected) {
  return {name, [=](Bytes& file) { EditProgramHeader(file, offset, edit); }, expected};
}

Damage NotesDamage(const char* name, const Bytes& notes, const char* expected) {
  return {name, [notes](Bytes& file) { file = ElfWithNotes(notes); }, expected};
}

TEST_CASE("a damaged ELF kernel is refused with the reason") {
  constexpr uint64_t kMost = UINT64_MAX;
  using Ehdr = Elf64_Ehdr;
  using Phdr = Elf64_Phdr;
  Bytes overrun = PvhNote(kElfEntry);
  StoreLe<uint32_t>(overrun, 4, 0xffff'ffff);
  Bytes long_name = PvhNote(kElfEntry);
  StoreLe<uint32_t>(long_name, 0, 0xffff'ffff);
  Bytes stub = Note("Xen", 5, Bytes(4));
  stub.resize(stub.size() + 8);
  CheckDamages(
      ElfKernel(),
      {
          {"magic only", [](Bytes& f) { f.resize(4); }, "is truncated: 4 bytes"},
          {"half a header", [](Bytes& f) { f.resize(63); }, "is truncated: 63 bytes"},
          {"no program headers", [](Bytes& f) { f.resize(64); }, "is truncated: its program"},
          {"no text", [](Bytes& f) { f.resize(kTextOffset); }, "is truncated: its segment 0"},
          {"last byte missing", [](Bytes& f) { f.pop_back(); }, "is truncated: its segment 2"},
          ElfHeaderDamage(
              "32 bits", [](Ehdr& h) { h.e_ident[EI_CLASS] = ELFCLASS32; }, "not for x86-64"),
          ElfHeaderDamage(
              "big endian", [](Ehdr& h) { h.e_ident[EI_DATA] = ELFDATA2MSB; }, "not for x86-64"),
          ElfHeaderDamage(
              "arm64", [](Ehdr& h) { h.e_machine = EM_AARCH64; }, "not for x86-64"),
          ElfHeaderDamage(
              "object file", [](Ehdr& h) { h.e_phnum = 0; }, "without program headers"),
          ElfHeaderDamage(
              "entry size", [](Ehdr& h) { h.e_phentsize = 55; }, "without program headers"),
          ElfHeaderDamage(
              "many headers", [](Ehdr& h) { h.e_phnum = 0xffff; }, "65535 program headers"),
          ElfHeaderDamage(
              "headers far away", [](Ehdr& h) { h.e_phoff = kMost; }, "is truncated"),
          ElfHeaderDamage(
              "headers wrap", [](Ehdr& h) { h.e_phoff = kMost - 63; }, "is truncated"),
          ProgramDamage(
              "offset wraps", kTextHeader, [](Phdr& h) { h.p_offset = kMost - 0xfff; },
              "is truncated"),
          ProgramDamage(
              "file size wraps", kTextHeader, [](Phdr& h) { h.p_filesz = h.p_memsz = kMost; },
              "is truncated"),
          ProgramDamage(
              "more in the file than in memory", kTextHeader, [](Phdr& h) { h.p_memsz = 0xfff; },
              "has 4096 bytes in the file, but 4095 in memory"),
          ProgramDamage(
              "memory size wraps", kDataHeader, [](Phdr& h) { h.p_memsz = kMost; },
              "must end below 3 GiB"),
          ProgramDamage(
              "address wraps", kDataHeader, [](Phdr& h) { h.p_paddr = kMost - 0xff; },
              "must end below 3 GiB"),
          ProgramDamage(
              "above 4 GiB", kDataHeader, [](Phdr& h) { h.p_paddr = 5_GiB; },
              "must end below 3 GiB"),
          ProgramDamage(
              "outside RAM", kDataHeader, [](Phdr& h) { h.p_paddr = 64_MiB; },
              "needs 65 MiB of memory below 3 GiB, the guest has 64 MiB; give it more with -m"),
          ProgramDamage(
              "bss outside RAM", kDataHeader, [](Phdr& h) { h.p_memsz = 64_MiB; },
              "give it more with -m"),
          ProgramDamage(
              "at zero", kDataHeader, [](Phdr& h) { h.p_paddr = 0; }, "at 1 MiB or above"),
          ProgramDamage(
              "over the boot structures", kDataHeader,
              [](Phdr& h) { h.p_paddr = kPvhStartInfoAddress; }, "at 1 MiB or above"),
          ProgramDamage(
              "over the ACPI tables", kDataHeader, [](Phdr& h) { h.p_paddr = kAcpiAddress; },
              "at 1 MiB or above"),
          ProgramDamage(
              "segments overlap", kDataHeader,
              [](Phdr& h) { h.p_paddr = kTextAddress + kTextBytes - 1; }, "overlap at 0x1000fff"),
          ProgramDamage(
              "bss over text", kDataHeader, [](Phdr& h) { h.p_paddr = kTextAddress - kDataBytes; },
              "overlap at 0x1000000"),
          ProgramDamage(
              "notes outside the file", kNoteHeader, [](Phdr& h) { h.p_offset = kMost; },
              "is truncated: its segment 2"),
          ProgramDamage(
              "no notes", kNoteHeader, [](Phdr& h) { h.p_type = PT_NULL; }, "CONFIG_PVH=y"),
          ProgramDamage(
              "nothing to load", kTextHeader, [](Phdr& h) { h.p_type = PT_NULL; },
              "lies in none of its segments"),
          NotesDamage("no PVH note", Note("Xen", 17, Bytes(8)), "CONFIG_PVH=y"),
          NotesDamage("empty notes", {}, "CONFIG_PVH=y"),
          NotesDamage("note header cut", stub, "note runs over the end"),
          NotesDamage("note descriptor too long", overrun, "note runs over the end"),
          NotesDamage("note name too long", long_name, "note runs over the end"),
          NotesDamage("entry of six bytes", Note("Xen", 18, Bytes(6)), "has 6 bytes in place of"),
          NotesDamage("entry in the hole", PvhNote(0xf'0000), "lies in none of its segments"),
          NotesDamage("entry in bss", PvhNote(kDataAddress + kDataBytes), "lies in none"),
          NotesDamage("entry far away", PvhNote(kMost), "lies in none of its segments"),
      });
}

TEST_CASE("a damaged bzImage is refused with the reason") {
  using Setup = setup_header;
  const auto edit = [](const char* name, std::function<void(Setup&)> change, const char* expected) {
    return Damage{name, [change](Bytes& file) { EditSetupHeader(file, change); }, expected};
  };
  CheckDamages(
      BzImage(),
      {
          {"half a header", [](Bytes& f) { f.resize(0x263); }, "is truncated: 611 bytes"},
          {"no code", [](Bytes& f) { f.resize(kSetupBytes); }, "is truncated: 1024 bytes in"},
          {"last byte missing", [](Bytes& f) { f.pop_back(); }, "5119 bytes in place of 5120"},
          edit(
              "no signature", [](Setup& h) { h.boot_flag = 0; }, "has no signature"),
          edit(
              "old protocol", [](Setup& h) { h.version = 0x20b; }, "boot protocol 2.11; 2.12"),
          edit(
              "32 bits", [](Setup& h) { h.xloadflags = 0; }, "without a 64-bit entry point"),
          edit(
              "four setup sectors", [](Setup& h) { h.setup_sects = 0; }, "is truncated"),
          edit(
              "huge code", [](Setup& h) { h.syssize = 0xffff'ffff; }, "is truncated"),
          edit(
              "no entry", [](Setup& h) { h.syssize = 0x20; }, "512 bytes of code do not hold"),
          edit(
              "no alignment", [](Setup& h) { h.kernel_alignment = 0; }, "not a power of two"),
          edit(
              "odd alignment", [](Setup& h) { h.kernel_alignment = 3; }, "not a power of two"),
          edit(
              "runs at zero",
              [](Setup& h) {
                h.pref_address = 0;
                h.relocatable_kernel = 0;
              },
              "between 1 MiB and 3 GiB"),
          edit(
              "runs far away", [](Setup& h) { h.pref_address = UINT64_MAX; }, "1 MiB and 3 GiB"),
          edit(
              "unpacks to 3 GiB", [](Setup& h) { h.init_size = 0xc000'0000; }, "1 MiB and 3 GiB"),
          edit(
              "unpacks outside RAM", [](Setup& h) { h.init_size = 64 << 20; },
              "needs 80 MiB of memory below 3 GiB, the guest has 64 MiB; give it more with -m"),
      });
}

TEST_CASE("a file that is no kernel is named with its first bytes") {
  const auto message_for = [](const Bytes& file) { return ErrorOf(LoadLinux(Boot(file))); };
  CHECK(message_for({}) == "kernel 'vmlinux-test' is empty");
  CHECK(message_for(Bytes(3, std::byte{0x1f})) ==
        "kernel 'vmlinux-test': neither an ELF vmlinux nor a bzImage (3 bytes, the first are 1f "
        "1f 1f)");
  CHECK(Contains(message_for(Bytes(4096, std::byte{0x8b})),
                 "neither an ELF vmlinux nor a bzImage (4096 bytes, the first are 8b 8b 8b 8b)"));
}

TEST_CASE("an initrd that does not fit is refused with both sizes") {
  const Bytes initrd(70_MiB);
  for (const Bytes& kernel : {ElfKernel(), BzImage()}) {
    LinuxBoot boot = Boot(kernel, 64_MiB);
    boot.initrd = initrd;
    CHECK(ErrorOf(LoadLinux(boot)) ==
          "initrd 'initrd-test' (70 MiB) does not fit into 64 MiB of memory beside the kernel; "
          "give the guest more with -m");
  }
  Bytes kernel = BzImage();
  EditSetupHeader(kernel, [](setup_header& header) { header.initrd_addr_max = 0x3ff'ffff; });
  LinuxBoot boot = Boot(kernel, 1_GiB);
  boot.initrd = initrd;
  CHECK(Contains(ErrorOf(LoadLinux(boot)), "does not fit below 64 MiB, which is as high as"));
}

TEST_CASE("a command line may be empty and as long as the kernel takes, not longer") {
  for (const Bytes& kernel : {ElfKernel(), BzImage()}) {
    LinuxBoot boot = Boot(kernel);
    boot.command_line = "";
    CHECK(CommandLineOf(MustLoad(boot)).empty());
    boot.command_line = std::string(2047, 'x');
    CHECK(CommandLineOf(MustLoad(boot)) == boot.command_line);
    boot.command_line += 'x';
    CHECK(ErrorOf(LoadLinux(boot)) ==
          "the command line has 2048 bytes; kernel 'vmlinux-test' takes at most 2047");
  }
}

TEST_CASE("a bzImage that claims to take any command line gets what its place holds") {
  Bytes kernel = BzImage();
  EditSetupHeader(kernel, [](setup_header& header) { header.cmdline_size = 0xffff'ffff; });
  LinuxBoot boot = Boot(kernel);
  boot.command_line = std::string(kCommandLineAreaBytes - 1, 'x');
  CHECK(BrokenPromise(MustLoad(boot), boot.ram_bytes) == "");
  boot.command_line += 'x';
  CHECK(Contains(ErrorOf(LoadLinux(boot)), "at most 65535"));
}

TEST_CASE("a guest with next to no memory is refused") {
  for (const Bytes& kernel : {ElfKernel(), BzImage()}) {
    for (uint64_t ram_bytes : {uint64_t{0}, uint64_t{1}, 640_KiB, 1_MiB}) {
      CHECK(Contains(ErrorOf(LoadLinux(Boot(kernel, ram_bytes))), "too little for any kernel"));
    }
    CHECK(Contains(ErrorOf(LoadLinux(Boot(kernel, 1_MiB + 4096))), "give it more with -m"));
  }
}

TEST_CASE("a kernel cut short anywhere is refused") {
  for (const Bytes& kernel : {ElfKernel(), BzImage()}) {
    for (size_t size = 0; size < kernel.size(); ++size) {
      // A copy of exactly this size, so that a sanitizer sees a read beyond it.
      const Bytes cut(kernel.begin(), kernel.begin() + static_cast<ptrdiff_t>(size));
      REQUIRE_FALSE(LoadLinux(Boot(cut)).has_value());
    }
  }
}

TEST_CASE("whatever the bytes of a kernel are, loading ends with an error or a sound image") {
  constexpr int kRounds = 20'000;
  const Bytes initrd(3_MiB);
  std::mt19937_64 random(20'240'607);
  const auto below = [&random](uint64_t limit) { return random() % limit; };
  constexpr uint64_t kValues[] = {0, 1, 0x7f, 0xff, 0x7fff'ffff, 0xffff'ffff, UINT64_MAX};

  for (const Bytes& kernel : {ElfKernel(), BzImage()}) {
    // Where the fields are: most changes go there.
    const bool is_elf = kernel[0] == std::byte{0x7f};
    const uint64_t fields_start = is_elf ? 0 : kSetupOffset;
    const uint64_t fields_end = is_elf ? kTextOffset : 0x270;
    int loaded = 0;
    int refused = 0;
    for (int round = 0; round < kRounds; ++round) {
      Bytes changed = kernel;
      for (uint64_t changes = 1 + below(4); changes > 0; --changes) {
        uint64_t offset = fields_start + below(fields_end - fields_start - 8);
        if (below(4) == 0) offset = below(changed.size() - 8);
        if (is_elf && below(4) == 0)
          offset = kNotesOffset + below(changed.size() - kNotesOffset - 8);
        const uint64_t value = below(2) == 0 ? random() : kValues[below(std::size(kValues))];
        const uint64_t width = uint64_t{1} << below(4);
        std::memcpy(changed.data() + offset, &value, width);
      }
      if (below(8) == 0) changed.resize(below(changed.size() + 1));
      changed.shrink_to_fit();
      LinuxBoot boot = Boot(changed, below(2) == 0 ? 64_MiB : 17_MiB + below(4_GiB));
      boot.initrd = std::span(initrd).first(below(initrd.size()));
      const auto image = LoadLinux(boot);
      if (image) {
        ++loaded;
        REQUIRE(BrokenPromise(*image, boot.ram_bytes) == "");
      } else {
        ++refused;
        REQUIRE_FALSE(image.error().message.empty());
      }
    }
    // Otherwise the changes would test nothing.
    CHECK(loaded > kRounds / 20);
    CHECK(refused > kRounds / 20);
  }
}

}  // namespace
}  // namespace minivmm
