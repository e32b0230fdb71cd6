#include "vmm/option_table.h"

#include <variant>

#include "firmware/acpi.h"
#include "vmm/command_line_manual.h"
#include "vmm/device_option.h"
#include "vmm/qmp_option.h"

namespace minivmm {
namespace {

using Request = CommandLineRequest;
using Text = std::string_view;
using Value = KnownOption::Value;

Result<void> Print(Request& request, std::string text) {
  request.line.action = CommandLine::Action::kPrint;
  request.line.text = std::move(text);
  return {};
}

Result<void> SetHelp(Request& request, Text text) {
  if (text.empty()) return Print(request, RenderHelp(BuildManual()));
  if (text == "man") return Print(request, RenderManPage(BuildManual()));
  if (text == "bash") return Print(request, RenderBashCompletion(BuildManual()));
  return Fail("--help: '{}' is not known: say --help, --help=man or --help=bash", text);
}

// `first` alone, or QEMU's longer form with the one key that means something here.
Result<std::string> TakeOnlyKey(Text where, Text text, Text first, Text why_no_other) {
  Result<Description> given = ParseDescription(text, first);
  if (!given) return Fail("{}: {}", where, given.error().message);
  for (const auto& [key, value] : *given) {
    if (key != first) return Fail("{}: {} is not there: {}", where, key, why_no_other);
  }
  return given->front().second;
}

Result<void> SetMemory(Request& request, Text text) {
  std::string size(text);
  if (text.find('=') != Text::npos) {
    TRY(size, TakeOnlyKey("-m", text, "size", "memory cannot be added while the guest runs"));
  }
  TRY(request.line.memory_bytes, ParseMemory("-m", size));
  return {};
}

Result<void> SetCpus(Request& request, Text text) {
  std::string count(text);
  if (text.find('=') != Text::npos) {
    TRY(count, TakeOnlyKey("--smp", text, "cpus", "processors have no topology: say --smp N"));
  }
  TRY(uint64_t number, ParseInRange("--smp", count, 1, kMaxCpus));
  request.line.cpu_count = static_cast<uint32_t>(number);
  return {};
}

Result<void> SetSerial(Request& request, Text text) {
  using Kind = SerialOutput::Kind;
  constexpr Text kFilePrefix = "file:";
  SerialOutput serial{.text = std::string(text)};
  if (text == "stdio") {
    serial.kind = Kind::kStdio;
  } else if (text == "null") {
    serial.kind = Kind::kNull;
  } else if (text == "none") {
    serial.kind = Kind::kNone;
  } else if (text.starts_with(kFilePrefix) && text.size() > kFilePrefix.size()) {
    serial.kind = Kind::kFile;
    serial.path = text.substr(kFilePrefix.size());
  } else {
    return Fail("--serial: '{}' is not known: say stdio, file:PATH, null or none", text);
  }
  request.line.serial = std::move(serial);
  return {};
}

Result<void> AddBlockdev(Request& request, Text text) {
  Result<Options> options = Options::Parse(text);
  if (!options) return Fail("--blockdev {}: {}", text, options.error().message);
  request.line.blockdevs.push_back({std::string(text), std::move(*options)});
  return {};
}

Result<void> AddDrive(Request& request, Text text) {
  TRY(DriveOption drive, ParseDrive(text));
  request.line.drives.push_back(std::move(drive));
  return {};
}

Result<void> AddDevice(Request& request, Text text) {
  TRY(DeviceRequest device, ParseDevice(text));
  if (auto* help = std::get_if<HelpText>(&device)) return Print(request, std::move(help->text));
  if (auto* disk = std::get_if<DiskRequest>(&device)) {
    request.disks.push_back(std::move(*disk));
  } else if (auto* ports = std::get_if<DebugExitPorts>(&device)) {
    if (request.line.debug_exit) return Fail("--device isa-debug-exit: there can be only one");
    request.line.debug_exit = *ports;
  } else {
    if (request.line.pvpanic) return Fail("--device pvpanic: there can be only one");
    request.line.pvpanic = true;
  }
  return {};
}

Result<void> AddQmp(Request& request, Text text) {
  TRY(QmpSocket socket, ParseQmpSocket(text));
  request.line.qmp.push_back(std::move(socket));
  return {};
}

Result<void> SetSandbox(Request& request, Text text) {
  if (text != "on" && text != "off") {
    return Fail("--sandbox: '{}' is not known: say on or off", text);
  }
  request.line.sandbox = text == "on";
  return {};
}

Result<void> SetPrint(Request& request, Text text) {
  if (text != "text" && text != "json") {
    return Fail("--print: '{}' is not known: say text or json", text);
  }
  request.line.json = text == "json";
  request.print_given = true;
  return {};
}

const std::vector<KnownOption>& Table() {
  static const std::vector<KnownOption> table = {
      {"kernel",
       "",
       Value::kNeeded,
       false,
       "--kernel FILE",
       "vmlinux (ELF with a PVH note) or bzImage",
       "",
       {"FILE"},
       [](Request& request, Text text) -> Result<void> {
         request.line.kernel = text;
         return {};
       }},
      {"initrd",
       "",
       Value::kNeeded,
       false,
       "--initrd FILE",
       "initial RAM disk",
       "",
       {"FILE"},
       [](Request& request, Text text) -> Result<void> {
         request.line.initrd = text;
         return {};
       }},
      {"append",
       "",
       Value::kNeeded,
       false,
       "--append TEXT",
       "kernel command line, e.g. \"console=ttyS0 root=/dev/vda\"",
       "",
       {},
       [](Request& request, Text text) -> Result<void> {
         request.line.command_line = text;
         return {};
       }},
      {"m",
       "memory",
       Value::kNeeded,
       false,
       "-m, --memory SIZE",
       "memory: MiB, or with suffix M or G (default 512)",
       "",
       {},
       SetMemory},
      {"smp",
       "",
       Value::kNeeded,
       false,
       "--smp N",
       "virtual CPUs, 1 to 16 (default 1)",
       "",
       {},
       SetCpus},
      {"drive",
       "",
       Value::kNeeded,
       true,
       "--drive LIST",
       "a disk, in short: file=PATH,if=virtio[,format=raw|zoned|host_device]",
       "With if=virtio the guest has the disk as a virtio-blk-pci device; with if=none a --device "
       "names it by its id. See KEYS OF --drive.\n\n"
       "    --drive file=/dev/nullb0,driver=host_device,if=virtio",
       {"file=", "if=virtio,file="},
       AddDrive},
      {"blockdev",
       "",
       Value::kNeeded,
       true,
       "--blockdev LIST",
       "a disk of the host: node-name=NAME,driver=DRIVER,... or the same as JSON",
       "See BLOCK DRIVERS. A list nests with dots, and two commas are a comma in a value:\n\n"
       "    --blockdev node-name=drive0,driver=host_device,filename=/dev/nullb0\n"
       "    --blockdev driver=raw,node-name=d0,file.driver=file,file.filename=a,,b.img",
       {"driver=", "node-name="},
       AddBlockdev},
      {"device", "", Value::kNeeded, true, "--device LIST",
       "a device of the guest: virtio-blk-pci,drive=NAME,... (see --device help)",
       "--device help lists the devices, --device DEVICE,help the properties of one. JSON works "
       "as well.",
       DeviceNames(), AddDevice},
      {"serial",
       "",
       Value::kNeeded,
       false,
       "--serial WHERE",
       "the guest's console: stdio (default), file:PATH, null or none",
       "With stdio, Ctrl-a x quits and Ctrl-a h helps.",
       {"stdio", "file:", "null", "none"},
       SetSerial},
      {"qmp",
       "",
       Value::kNeeded,
       true,
       "--qmp WHERE",
       "control by QMP: unix:PATH,server=on,wait=off or stdio",
       "With wait=on, as without wait=, the guest starts when the first client is there.",
       {"unix:", "stdio"},
       AddQmp},
      {"S",
       "",
       Value::kNone,
       false,
       "-S",
       "wait for QMP's cont before the guest starts",
       "",
       {},
       [](Request& request, Text) -> Result<void> {
         request.line.start_paused = true;
         return {};
       }},
      {"no-reboot",
       "",
       Value::kNone,
       false,
       "--no-reboot",
       "end, with exit status 0, when the guest reboots",
       "",
       {},
       [](Request& request, Text) -> Result<void> {
         request.line.no_reboot = true;
         return {};
       }},
      {"sandbox",
       "",
       Value::kNeeded,
       false,
       "--sandbox on|off",
       "give up all that the guest's machine does not need (default on)",
       "System calls, files, capabilities and descriptors, before the guest starts. A system call "
       "that minivmm should not make then ends it with \"bad system call\"; off is for debugging.",
       {"on", "off"},
       SetSandbox},
      {"config",
       "",
       Value::kNeeded,
       false,
       "--config FILE",
       "read options from JSON: {\"kernel\": \"vmlinux\", \"device\": [...]}",
       "The keys are the names of options; the values are text, numbers, true or false, objects "
       "for the options that take a list, or arrays of these. What stands behind --config on the "
       "command line counts more.",
       {"FILE"},
       [](Request& request, Text text) -> Result<void> {
         request.config_path = text;
         return {};
       }},
      {"dry-run",
       "",
       Value::kNone,
       false,
       "--dry-run",
       "check everything, print the machine, start nothing",
       "",
       {},
       [](Request& request, Text) -> Result<void> {
         request.line.action = CommandLine::Action::kDryRun;
         return {};
       }},
      {"print",
       "",
       Value::kNeeded,
       false,
       "--print text|json",
       "how --dry-run prints it: for people, or for --config",
       "",
       {"text", "json"},
       SetPrint},
      {"version",
       "",
       Value::kNone,
       false,
       "--version",
       "print the version",
       "",
       {},
       [](Request& request, Text) {
         return Print(request, fmt::format("minivmm {}\n", kVersion));
       }},
      {"help",
       "h",
       Value::kOptional,
       false,
       "-h, --help[=man|bash]",
       "print this, the manual page, or completion for bash",
       "",
       {},
       SetHelp},
  };
  return table;
}

}  // namespace

std::span<const KnownOption> KnownOptions() { return Table(); }

const KnownOption* FindOption(std::string_view name) {
  for (const KnownOption& option : Table()) {
    if (option.name == name || (!option.other_name.empty() && option.other_name == name)) {
      return &option;
    }
  }
  return nullptr;
}

}  // namespace minivmm
