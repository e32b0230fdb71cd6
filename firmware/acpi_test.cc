#include "firmware/acpi.h"

#include <doctest/doctest.h>

#include <map>
#include <string>

#include "blockcore/base/little_endian.h"
#include "firmware/memory_layout.h"

namespace minivmm {
namespace {

using View = std::span<const std::byte>;

uint8_t Sum(View bytes) {
  uint8_t sum = 0;
  for (std::byte byte : bytes) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(byte));
  return sum;
}

std::string Text(View bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// What lies at a guest address, to the end of the segment.
View At(const Segment& segment, uint64_t address) {
  REQUIRE(address >= segment.guest_address);
  REQUIRE(address < segment.guest_address + segment.bytes.size());
  return segment.bytes.subspan(address - segment.guest_address);
}

View TableAt(const Segment& segment, uint64_t address) {
  const View rest = At(segment, address);
  REQUIRE(rest.size() >= 36);
  const uint32_t length = LoadLe<uint32_t>(rest, 4);
  REQUIRE(length >= 36);
  REQUIRE(length <= rest.size());
  return rest.first(length);
}

// All tables by signature, found as a guest finds them.
std::map<std::string, View> FindTables(const AcpiTables& tables) {
  std::map<std::string, View> found;
  const View rsdp = At(tables.segment, tables.rsdp_address);
  const View xsdt = TableAt(tables.segment, LoadLe<uint64_t>(rsdp, 24));
  found[Text(xsdt.first(4))] = xsdt;
  for (size_t offset = 36; offset < xsdt.size(); offset += 8) {
    const View table = TableAt(tables.segment, LoadLe<uint64_t>(xsdt, offset));
    found[Text(table.first(4))] = table;
  }
  REQUIRE(found.contains("FACP"));
  const View dsdt = TableAt(tables.segment, LoadLe<uint64_t>(found["FACP"], 140));
  found[Text(dsdt.first(4))] = dsdt;
  return found;
}

TEST_CASE("the tables lie between 0xe0000 and 1 MiB, with the RSDP where a scan finds it") {
  for (uint32_t cpus : {1u, 16u}) {
    const AcpiTables tables = BuildAcpiTables({.cpu_count = cpus});
    CHECK(tables.segment.guest_address == kAcpiAddress);
    CHECK(tables.segment.guest_address + tables.segment.bytes.size() <= kHighRamStart);
    CHECK(tables.rsdp_address % 16 == 0);
    CHECK(Text(At(tables.segment, tables.rsdp_address).first(8)) == "RSD PTR ");
  }
}

TEST_CASE("the RSDP is of revision 2 with both checksums right") {
  const AcpiTables tables = BuildAcpiTables({.cpu_count = 1});
  const View rsdp = At(tables.segment, tables.rsdp_address).first(36);
  CHECK(LoadLe<uint8_t>(rsdp, 15) == 2);
  CHECK(LoadLe<uint32_t>(rsdp, 20) == 36);
  CHECK(Sum(rsdp.first(20)) == 0);
  CHECK(Sum(rsdp) == 0);
}

TEST_CASE("every table is reachable, complete and sums to zero") {
  for (uint32_t cpus : {1u, 2u, 16u}) {
    const AcpiTables tables = BuildAcpiTables({.cpu_count = cpus});
    const auto found = FindTables(tables);
    CHECK(found.size() == 5);
    for (const char* signature : {"XSDT", "FACP", "DSDT", "APIC", "MCFG"}) {
      CAPTURE(signature);
      REQUIRE(found.contains(signature));
      CHECK(Sum(found.at(signature)) == 0);
    }
  }
}

TEST_CASE("the FADT says hardware-reduced and names the sleep and reset ports") {
  const AcpiTables tables = BuildAcpiTables({.cpu_count = 1});
  const View fadt = FindTables(tables).at("FACP");
  CHECK(fadt.size() == 276);
  CHECK(LoadLe<uint8_t>(fadt, 8) == 6);
  const uint32_t flags = LoadLe<uint32_t>(fadt, 112);
  CHECK((flags & 1u << 20) != 0);  // HW_REDUCED_ACPI
  CHECK((flags & 1u << 10) != 0);  // RESET_REG_SUP
  const uint16_t boot_architecture = LoadLe<uint16_t>(fadt, 109);
  CHECK((boot_architecture & 1u << 1) == 0);  // no 8042
  CHECK((boot_architecture & 1u << 2) != 0);  // no VGA
  CHECK((boot_architecture & 1u << 5) != 0);  // no CMOS RTC
  CHECK((boot_architecture & 1u << 3) == 0);  // MSI is supported
  const auto check_register = [&fadt](size_t offset, uint16_t port) {
    CHECK(LoadLe<uint8_t>(fadt, offset) == 1);  // I/O space
    CHECK(LoadLe<uint8_t>(fadt, offset + 1) == 8);
    CHECK(LoadLe<uint64_t>(fadt, offset + 4) == port);
  };
  check_register(116, kAcpiResetPort);
  CHECK(LoadLe<uint8_t>(fadt, 128) == kAcpiResetValue);
  check_register(244, kAcpiSleepControlPort);
  check_register(256, kAcpiSleepStatusPort);
}

TEST_CASE("the DSDT has a power button and the event device that notifies it") {
  const AcpiTables tables = BuildAcpiTables({.cpu_count = 1});
  const std::string dsdt = Text(FindTables(tables).at("DSDT"));
  CHECK(dsdt.find("PWRB") != std::string::npos);
  CHECK(dsdt.find("ACPI0013") != std::string::npos);
  CHECK(dsdt.find(std::string("_EVT\x09\x86PWRB\x0a\x80", 12)) != std::string::npos);
}

TEST_CASE("the DSDT names the pvpanic port only if the machine has it") {
  for (bool pvpanic : {false, true}) {
    const AcpiTables tables = BuildAcpiTables({.cpu_count = 1, .pvpanic = pvpanic});
    const View dsdt = FindTables(tables).at("DSDT");
    CHECK(Sum(dsdt) == 0);
    CHECK((Text(dsdt).find("QEMU0001") != std::string::npos) == pvpanic);
  }
}

TEST_CASE("the MADT lists each CPU once and one I/O APIC") {
  for (uint32_t cpus : {1u, 16u}) {
    const AcpiTables tables = BuildAcpiTables({.cpu_count = cpus});
    const View madt = FindTables(tables).at("APIC");
    CHECK(LoadLe<uint32_t>(madt, 36) == kLocalApicAddress);
    uint32_t local_apics = 0;
    uint32_t io_apics = 0;
    for (size_t offset = 44; offset < madt.size();) {
      const auto type = LoadLe<uint8_t>(madt, offset);
      const auto length = LoadLe<uint8_t>(madt, offset + 1);
      REQUIRE(length >= 2);
      if (type == 0) {
        CHECK(length == 8);
        CHECK(LoadLe<uint8_t>(madt, offset + 3) == local_apics);
        CHECK(LoadLe<uint32_t>(madt, offset + 4) == 1);
        ++local_apics;
      } else {
        CHECK(type == 1);
        CHECK(length == 12);
        CHECK(LoadLe<uint32_t>(madt, offset + 4) == kIoApicAddress);
        ++io_apics;
      }
      offset += length;
    }
    CHECK(local_apics == cpus);
    CHECK(io_apics == 1);
  }
}

TEST_CASE("the MCFG gives the ECAM of bus 0") {
  const AcpiTables tables = BuildAcpiTables({.cpu_count = 1});
  const View mcfg = FindTables(tables).at("MCFG");
  REQUIRE(mcfg.size() == 60);
  CHECK(LoadLe<uint64_t>(mcfg, 44) == kPciEcamAddress);
  CHECK(LoadLe<uint32_t>(mcfg, 52) == 0);  // segment, first and last bus
}

}  // namespace
}  // namespace minivmm
