// acpi_dump DIRECTORY CPUS: writes each ACPI table of a machine with CPUS processors and all
// devices to DIRECTORY/<signature>.dat, for a disassembler; all but the RSDP, which is none. A tool
// of acpi_iasl_test.
#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <span>
#include <string>

#include "blockcore/base/little_endian.h"
#include "firmware/acpi.h"

namespace {

using minivmm::LoadLe;

bool WriteFile(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file) fmt::print(stderr, "acpi_dump: cannot write {}\n", path);
  return static_cast<bool>(file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: acpi_dump DIRECTORY CPUS\n");
    return 2;
  }
  const std::string directory = argv[1];
  const minivmm::AcpiTables tables = minivmm::BuildAcpiTables(
      {.cpu_count = static_cast<uint32_t>(std::atoi(argv[2])), .pvpanic = true});
  const auto from = [&tables](uint64_t address) {
    return tables.segment.bytes.subspan(address - tables.segment.guest_address);
  };
  const auto write_table = [&](uint64_t address) {
    const std::span<const std::byte> rest = from(address);
    const std::string signature(reinterpret_cast<const char*>(rest.data()), 4);
    return WriteFile(fmt::format("{}/{}.dat", directory, signature),
                     rest.first(LoadLe<uint32_t>(rest, 4)));
  };

  const uint64_t xsdt_address = LoadLe<uint64_t>(from(tables.rsdp_address), 24);
  const std::span<const std::byte> xsdt = from(xsdt_address);
  bool written = write_table(xsdt_address);
  for (uint32_t offset = 36; offset < LoadLe<uint32_t>(xsdt, 4); offset += 8) {
    const uint64_t address = LoadLe<uint64_t>(xsdt, offset);
    written = written && write_table(address);
    const std::span<const std::byte> table = from(address);
    if (LoadLe<uint32_t>(table, 0) == 0x5043'4146)  // "FACP"
      written = written && write_table(LoadLe<uint64_t>(table, 140));
  }
  return written ? EXIT_SUCCESS : EXIT_FAILURE;
}
