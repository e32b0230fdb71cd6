#include "vmm/device_option.h"

#include <algorithm>

namespace minivmm {
namespace {

constexpr std::string_view kDisk = "virtio-blk-pci";
constexpr std::string_view kDebugExit = "isa-debug-exit";
constexpr std::string_view kPvpanic = "pvpanic";

struct DeviceName {
  std::string_view name;
  std::string_view stands_for;
};

constexpr DeviceName kNames[] = {
    {kDisk, kDisk},           {"virtio-blk", kDisk}, {"virtio-blk-pci-non-transitional", kDisk},
    {kDebugExit, kDebugExit}, {kPvpanic, kPvpanic},
};

struct KnownDevice {
  std::string_view name;
  std::string_view help;
};

constexpr KnownDevice kDevices[] = {
    {kDisk, "a disk on PCI, zoned if its drive is"},
    {kDebugExit, "I/O ports through which the guest ends minivmm with an exit status"},
    {kPvpanic, "an I/O port through which the guest tells that its kernel has panicked"},
};

// Devices that QEMU's users ask for, and what to do instead.
constexpr KnownDevice kElsewhere[] = {
    {"nvme", "disks are virtio-blk-pci"},
    {"nvme-ns", "disks are virtio-blk-pci; driver=zoned makes a zoned one in a file"},
    {"scsi-block", "disks are virtio-blk-pci; driver=host_device takes a SCSI disk with its zones"},
    {"scsi-hd", "disks are virtio-blk-pci"},
    {"vfio-pci", "devices of the host cannot be passed on"},
    {"virtio-blk-pci-transitional", "devices are modern ones (virtio 1): say virtio-blk-pci"},
    {"virtio-scsi", "disks are virtio-blk-pci"},
    {"virtio-scsi-pci", "disks are virtio-blk-pci"},
};

using Where = std::string_view;
using Value = const std::string&;

const Property<DebugExitPorts> kDebugExitProperties[] = {
    {"iobase", "PORT", "first I/O port (default 0x501)",
     [](DebugExitPorts& device, Where where, Value value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 0, 0xffff));
       device.iobase = static_cast<uint16_t>(number);
       return {};
     },
     [](const DebugExitPorts& device) { return fmt::format("{:#x}", device.iobase); }},
    {"iosize", "N", "number of I/O ports, 1 to 8 (default 2)",
     [](DebugExitPorts& device, Where where, Value value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 1, 8));
       device.iosize = static_cast<uint16_t>(number);
       return {};
     },
     [](const DebugExitPorts& device) { return fmt::format("{}", device.iosize); }},
};

constexpr std::span<const Property<PvpanicRequest>> kPvpanicProperties;
constexpr FixedProperty kPvpanicFixed[] = {{"ioport", "0x505", "the port is 0x505"}};

Result<DebugExitPorts> ReadDebugExit(const Description& given) {
  DebugExitPorts ports;
  TRY_VOID(ReadProperties<DebugExitPorts>(kDebugExit, given, kDebugExitProperties, {}, ports));
  constexpr uint32_t kPorts = 0x1'0000;
  if (uint32_t{ports.iobase} + ports.iosize > kPorts) {
    return Fail("--device {}: iosize={} runs over the last port, {:#x}", kDebugExit, ports.iosize,
                kPorts - 1);
  }
  return ports;
}

Unexpected UnknownDevice(std::string_view name) {
  if (const auto* found = std::ranges::find(kElsewhere, name, &KnownDevice::name);
      found != std::end(kElsewhere)) {
    return Fail("--device: there is no '{}': {}", name, found->help);
  }
  std::vector<std::string_view> names;
  for (const KnownDevice& device : kDevices) names.push_back(device.name);
  return Fail("--device: unknown device '{}'{}", name, SuggestionFor(name, names));
}

std::string DevicesHelp() {
  std::string text;
  for (const KnownDevice& device : kDevices) {
    text += fmt::format("{:<16} {}\n", device.name, device.help);
  }
  return text + "--device DEVICE,help lists the properties of a device\n";
}

std::string HelpFor(std::string_view device) {
  if (device == kDisk) return PropertiesHelp<DiskRequest>(kDisk, DiskProperties());
  if (device == kDebugExit) return PropertiesHelp<DebugExitPorts>(kDebugExit, kDebugExitProperties);
  return fmt::format("{} has no properties\n", device);
}

}  // namespace

Result<DeviceRequest> ParseDevice(std::string_view text) {
  constexpr std::string_view kHelpSuffix = ",help";
  const bool wants_help = text.ends_with(kHelpSuffix);
  if (wants_help) text.remove_suffix(kHelpSuffix.size());
  Result<Description> given = ParseDescription(text, "driver");
  if (!given) return Fail("--device '{}': {}", text, given.error().message);
  auto driver = std::ranges::find(*given, "driver", &Description::value_type::first);
  if (driver == given->end()) return Fail("--device '{}': it does not begin with a device", text);
  const std::string name = driver->second;
  given->erase(driver);

  if (name == "help") return HelpText{DevicesHelp()};
  const auto* known = std::ranges::find(kNames, name, &DeviceName::name);
  if (known == std::end(kNames)) return UnknownDevice(name);
  if (wants_help) return HelpText{HelpFor(known->stands_for)};
  if (known->stands_for == kDisk) return ReadDiskProperties(*given);
  if (known->stands_for == kDebugExit) return ReadDebugExit(*given);
  PvpanicRequest pvpanic;
  TRY_VOID(ReadProperties(kPvpanic, *given, kPvpanicProperties, kPvpanicFixed, pvpanic));
  return pvpanic;
}

std::string DiskToJson(const DiskDevice& disk) {
  return PropertiesToJson<DiskRequest>(kDisk, DiskProperties(),
                                       {disk, disk.options.num_queues, disk.options.write_cache,
                                        disk.errors.reads, disk.errors.writes});
}

std::string DebugExitToJson(const DebugExitPorts& ports) {
  return PropertiesToJson<DebugExitPorts>(kDebugExit, kDebugExitProperties, ports);
}

std::string PvpanicToJson() {
  return PropertiesToJson<PvpanicRequest>(kPvpanic, kPvpanicProperties, {});
}

std::vector<ManualSection> DeviceManual() {
  ManualSection devices{.title = "DEVICES"};
  for (const KnownDevice& device : kDevices) {
    devices.entries.push_back(
        {.term = std::string(device.name), .summary = std::string(device.help)});
  }
  return {std::move(devices),
          {.title = "PROPERTIES OF virtio-blk-pci",
           .text = "Switches are on unless the text says otherwise.",
           .entries = PropertiesManual<DiskRequest>(DiskProperties())},
          {.title = "PROPERTIES OF isa-debug-exit",
           .entries = PropertiesManual<DebugExitPorts>(kDebugExitProperties)}};
}

std::vector<std::string> DeviceNames() {
  std::vector<std::string> names = {"help"};
  for (const KnownDevice& device : kDevices) names.emplace_back(device.name);
  return names;
}

}  // namespace minivmm
