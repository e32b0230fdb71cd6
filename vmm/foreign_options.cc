#include "vmm/foreign_options.h"

#include <algorithm>
#include <string>

namespace minivmm {
namespace {

constexpr std::string_view kUseDrive = "say --drive file=PATH,if=virtio";
constexpr std::string_view kNoNetwork = "minivmm has no network";
constexpr std::string_view kNoScreen = "the guest has a serial console, no screen: see --serial";
constexpr std::string_view kNoSound = "minivmm has no sound";
constexpr std::string_view kNoUsb = "minivmm has no USB";
constexpr std::string_view kNoMigration = "guests do not migrate, and their state is not saved";
constexpr std::string_view kOneMachine = "there is one machine, and it is fixed: leave it out";
constexpr std::string_view kNoFirmware = "the guest starts its kernel at once: see --kernel";
constexpr std::string_view kNoChardevs = "--serial and --qmp take their place directly";
constexpr std::string_view kUseConfig = "use --config FILE (--dry-run --print json writes one)";
constexpr std::string_view kNoSharing = "minivmm has no file sharing: give the guest a disk";

constexpr ForeignOption kOptions[] = {
    {"M", true, "", kOneMachine},
    {"accel", true, "kvm", "minivmm runs on KVM only: leave it out, or say -accel kvm"},
    {"acpitable", true, "", kOneMachine},
    {"action", true, "", "use --no-reboot to end when the guest reboots"},
    {"add-fd", true, "", "name the file by its path"},
    {"audio", true, "", kNoSound},
    {"audiodev", true, "", kNoSound},
    {"bios", true, "", kNoFirmware},
    {"boot", true, "", "use --kernel; bootindex=N of a virtio-blk-pci orders the disks"},
    {"cdrom", true, "", "minivmm has disks only: say --drive file=PATH,if=virtio,read-only=on"},
    {"chardev", true, "", kNoChardevs},
    {"cpu", true, "host|max", "the guest's processors are those of the host: say host or max"},
    {"daemonize", false, "", "start it in the background with the shell or a service manager"},
    {"debugcon", true, "", "use --serial"},
    {"display", true, "none", kNoScreen},
    {"dtb", true, "", kOneMachine},
    {"enable-kvm", false, "*", ""},
    {"fda", true, "", "minivmm has no floppy disks"},
    {"fdb", true, "", "minivmm has no floppy disks"},
    {"fsdev", true, "", kNoSharing},
    {"full-screen", false, "", kNoScreen},
    {"fw_cfg", true, "", kNoFirmware},
    {"gdb", true, "", "minivmm has no debugger for guests"},
    {"global", true, "", "give the property to each --device"},
    {"hda", true, "", kUseDrive},
    {"hdb", true, "", kUseDrive},
    {"hdc", true, "", kUseDrive},
    {"hdd", true, "", kUseDrive},
    {"incoming", true, "", kNoMigration},
    {"k", true, "", kNoScreen},
    {"loadvm", true, "", kNoMigration},
    {"machine", true, "", kOneMachine},
    {"mem-path", true, "", "the guest's memory is anonymous memory of the host"},
    {"mem-prealloc", false, "", "the guest's memory is taken as it is used"},
    {"mon", true, "", "use --qmp unix:PATH,server=on,wait=off"},
    {"monitor", true, "none", "use --qmp unix:PATH,server=on,wait=off"},
    {"mtdblock", true, "", kUseDrive},
    {"name", true, "*", ""},
    {"net", true, "none", kNoNetwork},
    {"netdev", true, "", kNoNetwork},
    {"nic", true, "none", kNoNetwork},
    {"no-acpi", false, "", kOneMachine},
    {"no-hpet", false, "*", ""},
    {"no-shutdown", false, "", "minivmm ends when the guest is off"},
    {"no-user-config", false, "*", ""},
    {"nodefaults", false, "*", ""},
    {"nographic", false, "*", ""},
    {"numa", true, "", "the guest's memory is one node"},
    {"object", true, "", "there are no objects: each disk queue has its own I/O thread anyway"},
    {"parallel", true, "none", "minivmm has no parallel port"},
    {"pflash", true, "", kNoFirmware},
    {"pidfile", true, "", "a shell or a service manager knows the process id"},
    {"qmp-pretty", true, "", "use --qmp"},
    {"readconfig", true, "", kUseConfig},
    {"rtc", true, "", "the guest's clock is the host's (kvm-clock): leave it out"},
    {"s", false, "", "minivmm has no debugger for guests"},
    {"sd", true, "", kUseDrive},
    {"set", true, "", "give the property to the --device"},
    {"smbios", true, "", kOneMachine},
    {"snapshot", false, "", "there are no snapshots: copy the file, or give read-only=on"},
    {"spice", true, "", kNoScreen},
    {"tpmdev", true, "", "minivmm has no TPM"},
    {"usb", false, "", kNoUsb},
    {"usbdevice", true, "", kNoUsb},
    {"uuid", true, "", kOneMachine},
    {"vga", true, "none", kNoScreen},
    {"virtfs", true, "", kNoSharing},
    {"vnc", true, "none", kNoScreen},
    {"watchdog", true, "", "minivmm has no watchdog"},
    {"watchdog-action", true, "", "minivmm has no watchdog"},
    {"writeconfig", true, "", kUseConfig},
};

bool Accepts(const ForeignOption& option, std::string_view value) {
  if (option.accepted == "*") return true;
  std::string_view rest = option.accepted;
  while (!rest.empty()) {
    size_t end = std::min(rest.find('|'), rest.size());
    if (value == rest.substr(0, end)) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

}  // namespace

const ForeignOption* FindForeignOption(std::string_view name) {
  const auto* found = std::ranges::find(kOptions, name, &ForeignOption::name);
  return found == std::end(kOptions) ? nullptr : found;
}

Result<void> CheckForeignOption(const ForeignOption& option, std::string_view as_given,
                                const std::optional<std::string>& value) {
  if (option.accepted.empty()) {
    return Fail("QEMU's option {} is not there: {}", as_given, option.why);
  }
  if (value && !option.has_value) return Fail("option {} takes no value", as_given);
  if (!value && option.has_value) return Fail("option {} needs a value", as_given);
  if (Accepts(option, value.value_or(""))) return {};
  return Fail("option {}: '{}' is not there: {}", as_given, *value, option.why);
}

ManualSection ForeignManual() {
  ManualSection section{
      .title = "OPTIONS OF QEMU",
      .text =
          "These are accepted, and say what is so anyway. Other options of QEMU are refused "
          "by name, with what to do instead."};
  for (const ForeignOption& option : kOptions) {
    if (option.accepted.empty()) continue;
    std::string term = fmt::format("--{}", option.name);
    if (option.has_value) {
      term += fmt::format(" {}", option.accepted == "*" ? "TEXT" : option.accepted);
    }
    section.entries.push_back({.term = std::move(term), .summary = ""});
  }
  return section;
}

}  // namespace minivmm
