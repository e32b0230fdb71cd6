#include "vmm/command_line.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "blockcore/options.h"
#include "firmware/acpi.h"

namespace minivmm {
namespace {

constexpr std::string_view kHelp =
    R"(minivmm boots a Linux guest on KVM, with zoned (and other) disks as virtio-blk-pci.

usage: minivmm --kernel FILE [option ...]

  --kernel FILE        vmlinux (ELF with a PVH note) or bzImage
  --initrd FILE        initial RAM disk
  --append TEXT        kernel command line, e.g. "console=ttyS0 root=/dev/vda"
  -m, --memory SIZE    memory: MiB, or with suffix M or G (default 512)
  --smp N              virtual CPUs, 1 to 16 (default 1)
  --blockdev LIST      a disk of the host: node-name=NAME,driver=DRIVER,...  or the same as JSON
                         driver  host_device, file, raw or null-co
                         e.g. node-name=drive0,driver=host_device,filename=/dev/nullb0
  --device LIST        a device of the guest: virtio-blk-pci,drive=NAME,... or
                         isa-debug-exit,iobase=0xf4,iosize=4
                         `--device help` lists the devices, `--device DEVICE,help` its properties
  --serial WHERE       the guest's console: stdio (default), file:PATH, null or none
  --no-reboot          end, with exit status 0, when the guest reboots
  --dry-run            check everything, print the machine, start nothing
  --version, --help

Options take one dash or two, and their value behind a space or a `=`.
With --serial stdio, Ctrl-a x quits and Ctrl-a h helps.
Exit status: 0 after power-off or quitting, 1 after an error or when the guest died, and
(value * 2 + 1) when the guest wrote value to isa-debug-exit.
)";

struct Number {
  uint64_t value;
  std::string_view suffix;
};

// Decimal, or hexadecimal with 0x.
std::optional<Number> ParseNumber(std::string_view text) {
  int base = 10;
  std::string_view digits = text;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    digits.remove_prefix(2);
    base = 16;
  }
  Number number{};
  auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number.value, base);
  if (error != std::errc()) return std::nullopt;
  number.suffix = digits.substr(static_cast<size_t>(end - digits.data()));
  return number;
}

Result<uint64_t> ParseInRange(std::string_view where, std::string_view text, uint64_t min,
                              uint64_t max) {
  std::optional<Number> number = ParseNumber(text);
  if (!number || !number->suffix.empty() || number->value < min || number->value > max) {
    return Fail("{}: '{}' is not a number from {} to {}", where, text, min, max);
  }
  return number->value;
}

Result<uint64_t> ParseMemory(std::string_view text) {
  constexpr uint64_t kMaxMebibytes = uint64_t{1} << 20;  // 1 TiB
  std::optional<Number> number = ParseNumber(text);
  uint64_t factor = 1;
  if (number && (number->suffix == "G" || number->suffix == "g")) {
    factor = 1024;
  } else if (!number ||
             !(number->suffix.empty() || number->suffix == "M" || number->suffix == "m")) {
    return Fail("-m: '{}' is not a size of memory: say 512, 512M or 2G", text);
  }
  if (number->value == 0) return Fail("-m: a guest cannot run with no memory: say 512, 512M or 2G");
  if (number->value > kMaxMebibytes / factor) {
    return Fail("-m: '{}' is more than 1 TiB: say 512, 512M or 2G", text);
  }
  return number->value * factor * 1_MiB;
}

Result<SerialOutput> ParseSerial(std::string_view text) {
  using Kind = SerialOutput::Kind;
  constexpr std::string_view kFilePrefix = "file:";
  if (text == "stdio") return SerialOutput{.kind = Kind::kStdio, .text = std::string(text)};
  if (text == "null") return SerialOutput{.kind = Kind::kNull, .text = std::string(text)};
  if (text == "none") return SerialOutput{.kind = Kind::kNone, .text = std::string(text)};
  if (text.starts_with(kFilePrefix) && text.size() > kFilePrefix.size()) {
    return SerialOutput{.kind = Kind::kFile,
                        .path = std::string(text.substr(kFilePrefix.size())),
                        .text = std::string(text)};
  }
  return Fail("--serial: '{}' is not known: say stdio, file:PATH, null or none", text);
}

// ---- --device ----------------------------------------------------------------------------------

// A property of a device: what its help says, and how its value is taken over. `where` names the
// property in messages.
template <typename Device>
struct Property {
  std::string_view name;
  std::string_view help;
  Result<void> (*set)(Device& device, std::string_view where, const std::string& value);
};

const Property<DiskDevice> kDiskProperties[] = {
    {"drive", "node-name of the --blockdev to use",
     [](DiskDevice& disk, std::string_view, const std::string& value) -> Result<void> {
       disk.drive = value;
       return {};
     }},
    {"id", "name of the device, for messages",
     [](DiskDevice& disk, std::string_view, const std::string& value) -> Result<void> {
       disk.id = value;
       return {};
     }},
    {"serial", "serial number that the guest sees, at most 20 bytes",
     [](DiskDevice& disk, std::string_view where, const std::string& value) -> Result<void> {
       if (value.size() > 20) {
         return Fail("{}: '{}' has {} bytes, a serial number at most 20", where, value,
                     value.size());
       }
       disk.serial = value;
       return {};
     }},
    {"num-queues", "number of queues, each with its own thread, 1 to 64 (default: one per vCPU)",
     [](DiskDevice& disk, std::string_view where, const std::string& value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 1, 64));
       disk.num_queues = static_cast<uint16_t>(number);
       return {};
     }},
    {"queue-size", "entries of each queue, a power of two, 4 to 1024 (default 256)",
     [](DiskDevice& disk, std::string_view where, const std::string& value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 4, 1024));
       if (!IsPowerOfTwo(number)) return Fail("{}: {} is not a power of two", where, number);
       disk.queue_size = static_cast<uint16_t>(number);
       return {};
     }},
    {"addr", "PCI slot, 1 to 0x1f (default: the first free one)",
     [](DiskDevice& disk, std::string_view where, const std::string& value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 1, 31));
       disk.slot = static_cast<int>(number);
       return {};
     }},
};

const Property<DebugExitPorts> kDebugExitProperties[] = {
    {"iobase", "first I/O port (default 0x501)",
     [](DebugExitPorts& device, std::string_view where, const std::string& value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 0, 0xffff));
       device.iobase = static_cast<uint16_t>(number);
       return {};
     }},
    {"iosize", "number of I/O ports, 1 to 8 (default 2)",
     [](DebugExitPorts& device, std::string_view where, const std::string& value) -> Result<void> {
       TRY(uint64_t number, ParseInRange(where, value, 1, 8));
       device.iosize = static_cast<uint16_t>(number);
       return {};
     }},
};

constexpr std::string_view kDisk = "virtio-blk-pci";
constexpr std::string_view kDebugExit = "isa-debug-exit";
constexpr std::string_view kDevices[] = {kDisk, kDebugExit};

constexpr std::string_view kDevicesHelp =
    "virtio-blk-pci   a disk on PCI, zoned if its drive is\n"
    "isa-debug-exit   I/O ports through which the guest ends minivmm with an exit status\n"
    "--device DEVICE,help lists the properties of a device\n";

template <typename Device>
std::string PropertiesHelp(std::string_view name, std::span<const Property<Device>> properties) {
  std::string text = fmt::format("{} properties:\n", name);
  for (const auto& property : properties) {
    text += fmt::format("  {:<12} {}\n", fmt::format("{}=", property.name), property.help);
  }
  return text;
}

template <typename Device>
Result<void> TakeProperties(Options& given, std::string_view name,
                            std::span<const Property<Device>> properties, Device& device) {
  for (const auto& property : properties) {
    if (std::optional<std::string> value = given.TakeString(property.name)) {
      TRY_VOID(property.set(device, fmt::format("--device {}: {}", name, property.name), *value));
    }
  }
  return given.CheckAllTaken(fmt::format("--device {}", name));
}

Result<void> AddDisk(Options& given, CommandLine& line) {
  DiskDevice disk;
  TRY_VOID(TakeProperties<DiskDevice>(given, kDisk, kDiskProperties, disk));
  if (disk.drive.empty()) {
    return Fail("--device {}: no drive: add drive=NAME with the node-name of a --blockdev", kDisk);
  }
  if (disk.id.empty()) disk.id = disk.drive;
  line.disks.push_back(std::move(disk));
  return {};
}

Result<void> AddDebugExit(Options& given, CommandLine& line) {
  if (line.debug_exit) return Fail("--device {}: there can be only one", kDebugExit);
  DebugExitPorts ports;
  TRY_VOID(TakeProperties<DebugExitPorts>(given, kDebugExit, kDebugExitProperties, ports));
  constexpr uint32_t kPorts = 0x1'0000;
  if (uint32_t{ports.iobase} + ports.iosize > kPorts) {
    return Fail("--device {}: iosize={} runs over the last port, {:#x}", kDebugExit, ports.iosize,
                kPorts - 1);
  }
  line.debug_exit = ports;
  return {};
}

void Print(CommandLine& line, std::string text) {
  line.action = CommandLine::Action::kPrint;
  line.text = std::move(text);
}

Result<void> AddDevice(std::string_view text, CommandLine& line) {
  constexpr std::string_view kHelpSuffix = ",help";
  bool wants_help = text.ends_with(kHelpSuffix);
  if (wants_help) text.remove_suffix(kHelpSuffix.size());
  Result<Options> given = Options::Parse(text);
  if (!given) return Fail("--device '{}': {}", text, given.error().message);
  std::string name = given->TakeString("driver").value_or("");
  if (name == "help") {
    Print(line, std::string(kDevicesHelp));
  } else if (name == kDisk && wants_help) {
    Print(line, PropertiesHelp<DiskDevice>(kDisk, kDiskProperties));
  } else if (name == kDebugExit && wants_help) {
    Print(line, PropertiesHelp<DebugExitPorts>(kDebugExit, kDebugExitProperties));
  } else if (name == kDisk) {
    return AddDisk(*given, line);
  } else if (name == kDebugExit) {
    return AddDebugExit(*given, line);
  } else {
    return Fail("--device: unknown device '{}'{}", name, SuggestionFor(name, kDevices));
  }
  return {};
}

// ---- the command line --------------------------------------------------------------------------

// An option of the command line, without its dashes. Those without a value have `flag`.
struct KnownOption {
  std::string_view name;
  void (*flag)(CommandLine& line);
  Result<void> (*value)(CommandLine& line, std::string_view value);
};

Result<void> SetMemory(CommandLine& line, std::string_view value) {
  TRY(line.memory_bytes, ParseMemory(value));
  return {};
}

void AskForHelp(CommandLine& line) { Print(line, std::string(kHelp)); }

const KnownOption kKnownOptions[] = {
    {"append", nullptr,
     [](CommandLine& line, std::string_view value) -> Result<void> {
       line.command_line = value;
       return {};
     }},
    {"blockdev", nullptr,
     [](CommandLine& line, std::string_view value) -> Result<void> {
       line.blockdevs.emplace_back(value);
       return {};
     }},
    {"device", nullptr,
     [](CommandLine& line, std::string_view value) { return AddDevice(value, line); }},
    {"dry-run", [](CommandLine& line) { line.action = CommandLine::Action::kDryRun; }, nullptr},
    {"h", AskForHelp, nullptr},
    {"help", AskForHelp, nullptr},
    {"initrd", nullptr,
     [](CommandLine& line, std::string_view value) -> Result<void> {
       line.initrd = value;
       return {};
     }},
    {"kernel", nullptr,
     [](CommandLine& line, std::string_view value) -> Result<void> {
       line.kernel = value;
       return {};
     }},
    {"m", nullptr, SetMemory},
    {"memory", nullptr, SetMemory},
    {"no-reboot", [](CommandLine& line) { line.no_reboot = true; }, nullptr},
    {"serial", nullptr,
     [](CommandLine& line, std::string_view value) -> Result<void> {
       TRY(line.serial, ParseSerial(value));
       return {};
     }},
    {"smp", nullptr,
     [](CommandLine& line, std::string_view value) -> Result<void> {
       if (value.starts_with("cpus=")) value.remove_prefix(5);
       TRY(uint64_t number, ParseInRange("--smp", value, 1, kMaxCpus));
       line.cpu_count = static_cast<uint32_t>(number);
       return {};
     }},
    {"version", [](CommandLine& line) { Print(line, fmt::format("minivmm {}\n", kVersion)); },
     nullptr},
};

Result<void> Complete(CommandLine& line) {
  if (line.kernel.empty()) {
    return Fail("no kernel: say --kernel FILE, a vmlinux or a bzImage (--help shows all options)");
  }
  std::set<std::string> drives;
  std::set<std::string> ids;
  for (DiskDevice& disk : line.disks) {
    if (!drives.insert(disk.drive).second) {
      return Fail(
          "--device {}: drive '{}' is in use by another device: give each its own --blockdev",
          kDisk, disk.drive);
    }
    if (!ids.insert(disk.id).second) {
      return Fail("--device {}: id '{}' is in use by another device: choose another", kDisk,
                  disk.id);
    }
    if (disk.num_queues == 0) disk.num_queues = static_cast<uint16_t>(line.cpu_count);
  }
  return {};
}

}  // namespace

Result<CommandLine> ParseCommandLine(std::span<const char* const> arguments) {
  CommandLine line;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    std::string_view name = argument;
    if (!name.starts_with('-') || name == "-" || name == "--") {
      return Fail("'{}' is not an option: options begin with a dash (--help shows all)", argument);
    }
    name.remove_prefix(name.starts_with("--") ? 2 : 1);
    std::optional<std::string_view> value;
    if (size_t equals = name.find('='); equals != std::string_view::npos) {
      value = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    auto option = std::ranges::find(kKnownOptions, name, &KnownOption::name);
    if (option == std::end(kKnownOptions)) {
      std::vector<std::string_view> names;
      for (const KnownOption& known : kKnownOptions) names.push_back(known.name);
      return Fail("unknown option '{}'{} (--help shows all)", argument, SuggestionFor(name, names));
    }
    if (option->flag != nullptr) {
      if (value) return Fail("option --{} takes no value", name);
      option->flag(line);
    } else {
      if (!value) {
        if (++i == arguments.size()) return Fail("option --{} needs a value", name);
        value = arguments[i];
      }
      TRY_VOID(option->value(line, *value));
    }
    if (line.action == CommandLine::Action::kPrint) return line;
  }
  TRY_VOID(Complete(line));
  return line;
}

}  // namespace minivmm
