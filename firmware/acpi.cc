#include "firmware/acpi.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/little_endian.h"
#include "blockcore/base/units.h"
#include "firmware/aml.h"
#include "firmware/memory_layout.h"

// Section numbers are those of the ACPI specification 6.5.
namespace minivmm {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::string_view kOemId = "MINVMM";  // six characters
constexpr std::string_view kOemTableId = "MINIVMM ";
constexpr std::string_view kCreatorId = "MVMM";

constexpr uint64_t kHeaderBytes = 36;
constexpr uint64_t kChecksumOffset = 9;
constexpr uint64_t kTableAlignment = 16;
constexpr uint64_t kRsdpBytes = 36;
constexpr uint64_t kRsdpVersion1Bytes = 20;

void AppendText(Bytes& bytes, std::string_view text) {
  for (char character : text) AppendLe<uint8_t>(bytes, static_cast<uint8_t>(character));
}

// The byte that makes the sum of `bytes` zero when it replaces a zero among them.
uint8_t Checksum(std::span<const std::byte> bytes) {
  uint8_t sum = 0;
  for (std::byte byte : bytes) sum = static_cast<uint8_t>(sum + static_cast<uint8_t>(byte));
  return static_cast<uint8_t>(-sum);
}

// 5.2.6: the header that all tables but the RSDP share.
Bytes Table(std::string_view signature, uint8_t revision, const Bytes& body) {
  Bytes table;
  AppendText(table, signature);
  AppendLe<uint32_t>(table, static_cast<uint32_t>(kHeaderBytes + body.size()));
  AppendLe<uint8_t>(table, revision);
  AppendLe<uint8_t>(table, 0);  // checksum, below
  AppendText(table, kOemId);
  AppendText(table, kOemTableId);
  AppendLe<uint32_t>(table, 1);  // OEM revision
  AppendText(table, kCreatorId);
  AppendLe<uint32_t>(table, 1);  // creator revision
  VMM_CHECK(table.size() == kHeaderBytes);
  table.insert(table.end(), body.begin(), body.end());
  StoreLe<uint8_t>(table, kChecksumOffset, Checksum(table));
  return table;
}

Bytes Dsdt(bool pvpanic) {
  using namespace aml;
  const auto low32 = [](uint64_t address) { return static_cast<uint32_t>(address); };
  const Bytes sleep_states =
      Name("\\_S5", Package({Integer(kAcpiSleepTypeS5), Integer(0), Integer(0), Integer(0)}));
  const Bytes host_bridge = Device(
      "PCI0", {
                  Name("_HID", EisaId("PNP0A08")),
                  Name("_CID", EisaId("PNP0A03")),
                  Name("_UID", Integer(0)),
                  Name("_SEG", Integer(0)),
                  Name("_BBN", Integer(0)),
                  Name("_CRS", ResourceTemplate({
                                   BusNumberWindow(0, 0),
                                   IoPorts(kPciConfigPort, 8),
                                   MemoryWindow(low32(kPciMmioStart), low32(kPciMmioEnd - 1)),
                               })),
              });
  // Linux trusts an MCFG window only if a device like this one (or the memory map) reserves it.
  const Bytes motherboard = Device(
      "MBRD", {
                  Name("_HID", EisaId("PNP0C02")),
                  Name("_UID", Integer(0)),
                  Name("_CRS", ResourceTemplate(
                                   {FixedMemory(low32(kPciEcamAddress), low32(kPciEcamBytes))})),
              });
  const Bytes serial_port = Device("COM1", {
                                               Name("_HID", EisaId("PNP0501")),
                                               Name("_UID", Integer(0)),
                                               Name("_CRS", ResourceTemplate({
                                                                IoPorts(kSerialPort, 8),
                                                                EdgeInterrupt(kSerialIrq),
                                                            })),
                                           });

  // 5.6.9: the interrupt, of which there is but one, means that the button was pressed.
  constexpr uint8_t kButtonPressed = 0x80;
  const Bytes power_button =
      Device("PWRB", {Name("_HID", EisaId("PNP0C0C")), Name("_UID", Integer(0))});
  const Bytes event_device =
      Device("GED", {
                        Name("_HID", String("ACPI0013")),
                        Name("_UID", Integer(0)),
                        Name("_CRS", ResourceTemplate({EdgeInterrupt(kPowerButtonIrq)})),
                        Method("_EVT", 1, {Notify("PWRB", kButtonPressed)}),
                    });

  std::vector<Bytes> on_system_bus = {host_bridge, motherboard, serial_port, power_button,
                                      event_device};
  if (pvpanic) {
    on_system_bus.push_back(
        Device("PANC", {
                           Name("_HID", String("QEMU0001")),
                           Name("_CRS", ResourceTemplate({IoPorts(kPvpanicPort, 1)})),
                       }));
  }

  Bytes body = sleep_states;
  const Bytes devices = Scope("\\_SB", on_system_bus);
  body.insert(body.end(), devices.begin(), devices.end());
  return Table("DSDT", 2, body);
}

// 5.2.3.2: a one-byte register in I/O space.
void StoreIoRegister(Bytes& table, uint64_t offset, uint16_t port) {
  constexpr uint8_t kSystemIo = 1;
  constexpr uint8_t kByteAccess = 1;
  StoreLe<uint8_t>(table, offset, kSystemIo);
  StoreLe<uint8_t>(table, offset + 1, 8);  // bits
  StoreLe<uint8_t>(table, offset + 2, 0);  // first bit
  StoreLe<uint8_t>(table, offset + 3, kByteAccess);
  StoreLe<uint64_t>(table, offset + 4, port);
}

// 5.2.9. What is not stored stays zero: no FACS, no PM blocks, no SCI.
Bytes Fadt(uint64_t dsdt_address) {
  constexpr uint64_t kFadtBytes = 276;
  constexpr uint64_t kBootArchitectureOffset = 109;
  constexpr uint64_t kFlagsOffset = 112;
  constexpr uint64_t kResetRegisterOffset = 116;
  constexpr uint64_t kResetValueOffset = 128;
  constexpr uint64_t kMinorVersionOffset = 131;
  constexpr uint64_t kXDsdtOffset = 140;
  constexpr uint64_t kSleepControlOffset = 244;
  constexpr uint64_t kSleepStatusOffset = 256;

  // 5.2.9.3: each of these saves Linux a probe for hardware that is not there. 8042 and
  // user-visible legacy devices are said to be absent by flags that are not set.
  constexpr uint16_t kVgaNotPresent = 1 << 2;
  constexpr uint16_t kNoAspm = 1 << 4;
  constexpr uint16_t kCmosRtcNotPresent = 1 << 5;

  constexpr uint32_t kWbinvd = 1 << 0;
  constexpr uint32_t kC1OnAllCpus = 1 << 2;
  constexpr uint32_t kNoFixedPowerButton = 1 << 4;
  constexpr uint32_t kNoFixedSleepButton = 1 << 5;
  constexpr uint32_t kResetRegisterSupported = 1 << 10;
  constexpr uint32_t kHardwareReduced = 1 << 20;

  Bytes body(kFadtBytes - kHeaderBytes);
  // Offsets in the specification count from the start of the header.
  const auto at = [](uint64_t offset) { return offset - kHeaderBytes; };
  StoreLe<uint16_t>(body, at(kBootArchitectureOffset),
                    kVgaNotPresent | kNoAspm | kCmosRtcNotPresent);
  StoreLe<uint32_t>(body, at(kFlagsOffset),
                    kWbinvd | kC1OnAllCpus | kNoFixedPowerButton | kNoFixedSleepButton |
                        kResetRegisterSupported | kHardwareReduced);
  StoreIoRegister(body, at(kResetRegisterOffset), kAcpiResetPort);
  StoreLe<uint8_t>(body, at(kResetValueOffset), kAcpiResetValue);
  StoreLe<uint8_t>(body, at(kMinorVersionOffset), 5);
  StoreLe<uint64_t>(body, at(kXDsdtOffset), dsdt_address);
  StoreIoRegister(body, at(kSleepControlOffset), kAcpiSleepControlPort);
  StoreIoRegister(body, at(kSleepStatusOffset), kAcpiSleepStatusPort);
  return Table("FACP", 6, body);
}

// 5.2.12. PCAT_COMPAT is not set and there are no source overrides: KVM's 8259 exists, but nothing
// is wired to it alone, and the serial port's interrupt reaches the I/O APIC on the pin of the same
// number.
Bytes Madt(uint32_t cpu_count) {
  constexpr uint8_t kLocalApic = 0;
  constexpr uint8_t kIoApic = 1;
  constexpr uint32_t kEnabled = 1;

  Bytes body;
  AppendLe<uint32_t>(body, static_cast<uint32_t>(kLocalApicAddress));
  AppendLe<uint32_t>(body, 0);  // flags
  for (uint32_t cpu = 0; cpu < cpu_count; ++cpu) {
    AppendLe<uint8_t>(body, kLocalApic);
    AppendLe<uint8_t>(body, 8);                          // length
    AppendLe<uint8_t>(body, static_cast<uint8_t>(cpu));  // processor UID
    AppendLe<uint8_t>(body, static_cast<uint8_t>(cpu));  // APIC id
    AppendLe<uint32_t>(body, kEnabled);
  }
  AppendLe<uint8_t>(body, kIoApic);
  AppendLe<uint8_t>(body, 12);  // length
  AppendLe<uint8_t>(body, 0);   // I/O APIC id, as KVM's register has it
  AppendLe<uint8_t>(body, 0);   // reserved
  AppendLe<uint32_t>(body, static_cast<uint32_t>(kIoApicAddress));
  AppendLe<uint32_t>(body, 0);  // first global interrupt
  return Table("APIC", 5, body);
}

// PCI Firmware Specification 3.3, 4.1.2.
Bytes Mcfg() {
  static_assert(kPciEcamBytes == 1_MiB, "one bus");
  Bytes body;
  AppendLe<uint64_t>(body, 0);  // reserved
  AppendLe<uint64_t>(body, kPciEcamAddress);
  AppendLe<uint16_t>(body, 0);  // segment
  AppendLe<uint8_t>(body, 0);   // first bus
  AppendLe<uint8_t>(body, 0);   // last bus
  AppendLe<uint32_t>(body, 0);  // reserved
  return Table("MCFG", 1, body);
}

Bytes Xsdt(const std::vector<uint64_t>& table_addresses) {
  Bytes body;
  for (uint64_t address : table_addresses) AppendLe<uint64_t>(body, address);
  return Table("XSDT", 1, body);
}

// 5.2.5.3; with a checksum over the part that ACPI 1.0 knew and one over all.
Bytes Rsdp(uint64_t xsdt_address) {
  constexpr uint64_t kVersion1ChecksumOffset = 8;
  constexpr uint64_t kExtendedChecksumOffset = 32;
  Bytes rsdp;
  AppendText(rsdp, "RSD PTR ");
  AppendLe<uint8_t>(rsdp, 0);  // checksum, below
  AppendText(rsdp, kOemId);
  AppendLe<uint8_t>(rsdp, 2);   // revision
  AppendLe<uint32_t>(rsdp, 0);  // no RSDT
  AppendLe<uint32_t>(rsdp, kRsdpBytes);
  AppendLe<uint64_t>(rsdp, xsdt_address);
  AppendLe<uint32_t>(rsdp, 0);  // extended checksum and three reserved bytes
  VMM_CHECK(rsdp.size() == kRsdpBytes);
  StoreLe<uint8_t>(rsdp, kVersion1ChecksumOffset,
                   Checksum(std::span(rsdp).first(kRsdpVersion1Bytes)));
  StoreLe<uint8_t>(rsdp, kExtendedChecksumOffset, Checksum(rsdp));
  return rsdp;
}

}  // namespace

AcpiTables BuildAcpiTables(const AcpiConfig& config) {
  VMM_CHECK(config.cpu_count >= 1 && config.cpu_count <= kMaxCpus);

  // The RSDP comes first, where a guest that scans for it looks first; every table is placed before
  // the one that points to it.
  Bytes image(kRsdpBytes);
  const auto place = [&image](const Bytes& table) {
    const uint64_t offset = AlignUp(image.size(), kTableAlignment);
    image.resize(offset);
    image.insert(image.end(), table.begin(), table.end());
    return kAcpiAddress + offset;
  };
  const uint64_t dsdt = place(Dsdt(config.pvpanic));
  const uint64_t fadt = place(Fadt(dsdt));
  const uint64_t madt = place(Madt(config.cpu_count));
  const uint64_t mcfg = place(Mcfg());
  const uint64_t xsdt = place(Xsdt({fadt, madt, mcfg}));
  const Bytes rsdp = Rsdp(xsdt);
  std::copy(rsdp.begin(), rsdp.end(), image.begin());
  VMM_CHECK(kAcpiAddress + image.size() <= kHighRamStart);
  return {kAcpiAddress, Segment::Own(kAcpiAddress, std::move(image))};
}

}  // namespace minivmm
