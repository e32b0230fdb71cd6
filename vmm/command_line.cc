#include "vmm/command_line.h"

#include <algorithm>
#include <set>
#include <utility>

#include "blockcore/base/excerpt.h"
#include "vmm/config_file.h"
#include "vmm/foreign_options.h"
#include "vmm/option_table.h"

namespace minivmm {
namespace {

// Of an error's message, which may hold long things that the user gave.
constexpr size_t kMaxErrorBytes = 1000;

// Reads options one after the other, wherever they come from.
class CommandLineReader {
 public:
  explicit CommandLineReader(const FileReader& read) : read_(read) {}

  Result<void> ReadArguments(std::span<const std::string> arguments) {
    for (size_t i = 0; i < arguments.size(); ++i) {
      const std::string& argument = arguments[i];
      std::string_view name = argument;
      if (!name.starts_with('-') || name == "-" || name == "--") {
        return Fail("'{}' is not an option: options begin with a dash (--help shows all)",
                    argument);
      }
      name.remove_prefix(name.starts_with("--") ? 2 : 1);
      std::optional<std::string> value;
      if (size_t equals = name.find('='); equals != std::string_view::npos) {
        value = name.substr(equals + 1);
        name = name.substr(0, equals);
      }
      if (!value && NeedsValue(name)) {
        if (++i == arguments.size()) return Fail("option {} needs a value", argument);
        value = arguments[i];
      }
      TRY_VOID(ReadOption(name, argument, value));
      if (!request_.config_path.empty()) {
        TRY_VOID(ReadConfig(std::exchange(request_.config_path, {})));
      }
      if (printing()) return {};
    }
    return {};
  }

  bool printing() const { return request_.line.action == CommandLine::Action::kPrint; }
  CommandLineRequest& request() { return request_; }

 private:
  static bool NeedsValue(std::string_view name) {
    if (const KnownOption* option = FindOption(name)) {
      return option->value == KnownOption::Value::kNeeded;
    }
    const ForeignOption* foreign = FindForeignOption(name);
    // The reason why it is refused is worth more than a complaint about its value.
    return foreign != nullptr && foreign->has_value && !foreign->accepted.empty();
  }

  // `as_given`: with its dashes, for messages. `off`: it is checked, but not set.
  Result<void> ReadOption(std::string_view name, std::string_view as_given,
                          const std::optional<std::string>& value, bool off = false) {
    const KnownOption* option = FindOption(name);
    if (option == nullptr) {
      if (const ForeignOption* foreign = FindForeignOption(name)) {
        if (off) return {};
        return CheckForeignOption(*foreign, as_given.substr(0, as_given.find('=')), value);
      }
      std::vector<std::string_view> names;
      for (const KnownOption& known : KnownOptions()) {
        names.push_back(known.name);
        if (!known.other_name.empty()) names.push_back(known.other_name);
      }
      return Fail("unknown option '{}'{} (--help shows all)", Excerpt(as_given),
                  SuggestionFor(name, names));
    }
    if (value && option->value == KnownOption::Value::kNone) {
      return Fail("option {} takes no value", as_given.substr(0, as_given.find('=')));
    }
    if (!value && option->value == KnownOption::Value::kNeeded) {
      return Fail("option {} needs a value", as_given);
    }
    if (off) return {};
    return option->set(request_, value.value_or(""));
  }

  Result<void> ReadConfig(const std::string& path) {
    Result<std::string> text = read_(path);
    if (!text) return Fail("--config {}: {}", path, text.error().message);
    Result<std::vector<ConfiguredOption>> options = ParseConfig(*text);
    if (!options) return Fail("--config {}: {}", path, options.error().message);
    std::set<const KnownOption*> seen;
    for (const ConfiguredOption& given : *options) {
      const KnownOption* option = FindOption(given.name);
      if (option != nullptr && !option->repeatable && !seen.insert(option).second) {
        return Fail("--config {}: '{}'{} can have one value only", path, option->name,
                    option->other_name.empty() ? "" : fmt::format(" or '{}'", option->other_name));
      }
      Result<void> read = ReadOption(given.name, given.name, given.value, given.off);
      if (!read) return Fail("--config {}: {}", path, read.error().message);
      if (!request_.config_path.empty()) {
        return Fail("--config {}: it cannot name another configuration, '{}'", path,
                    request_.config_path);
      }
    }
    return {};
  }

  const FileReader& read_;
  CommandLineRequest request_;
};

// A device's drive= is an id or a node-name, so that no name may lead to two disks.
Result<void> CheckDriveIds(const CommandLine& line) {
  std::multiset<std::string> nodes;
  const auto add_nodes = [&nodes](const Description& description) {
    for (const auto& [key, value] : description) {
      if (key == "node-name" || key.ends_with(".node-name")) nodes.insert(value);
    }
  };
  for (const BlockDevice& blockdev : line.blockdevs) add_nodes(blockdev.options.KeysAndValues());
  for (const DriveOption& drive : line.drives) {
    nodes.insert(drive.node_name);
    add_nodes(drive.keys);
  }
  for (const DriveOption& drive : line.drives) {
    const size_t own = drive.node_name == drive.id ? 1 : 0;
    if (nodes.count(drive.id) > own) {
      return Fail("--drive {}: id '{}' is the node-name of another node: choose another",
                  drive.text, drive.id);
    }
  }
  return {};
}

// QEMU's names for those that have none, and the devices of if=virtio.
Result<void> CompleteDrives(CommandLineRequest& request) {
  std::set<std::string> ids;
  std::set<uint64_t> indexes;
  uint64_t next_nameless = 0;
  for (DriveOption& drive : request.line.drives) {
    if (drive.makes_device) {
      uint64_t index = drive.index.value_or(0);
      while (!drive.index && indexes.contains(index)) ++index;
      if (!indexes.insert(index).second) {
        return Fail("--drive {}: index={} is in use by another drive", drive.text, index);
      }
      if (drive.id.empty()) drive.id = fmt::format("virtio{}", index);
    } else if (drive.id.empty()) {
      drive.id = fmt::format("none{}", next_nameless++);
    }
    if (drive.node_name.empty()) drive.node_name = drive.id;
    if (!ids.insert(drive.id).second) {
      return Fail("--drive {}: id '{}' is in use by another drive: choose another", drive.text,
                  drive.id);
    }
    if (drive.makes_device) {
      TRY(DiskRequest disk, ReadDiskProperties({{"drive", drive.id}}));
      request.disks.push_back(std::move(disk));
    }
  }
  return CheckDriveIds(request.line);
}

Result<void> CompleteDisks(CommandLineRequest& request) {
  CommandLine& line = request.line;
  std::set<std::string> drives;
  std::set<std::string> ids;
  std::set<int> bootindexes;
  for (DiskRequest& disk : request.disks) {
    DiskDevice& device = disk.device;
    bool write_cache = true;
    ErrorPolicy errors;
    for (const DriveOption& drive : line.drives) {
      if (device.drive != drive.id && device.drive != drive.node_name) continue;
      device.drive = drive.node_name;
      write_cache = drive.write_cache;
      errors = drive.errors;
      break;
    }
    device.errors = {.reads = disk.read_errors.value_or(errors.reads),
                     .writes = disk.write_errors.value_or(errors.writes)};
    device.options.write_cache = disk.write_cache.value_or(write_cache);
    device.options.num_queues = disk.num_queues.value_or(static_cast<uint16_t>(line.cpu_count));
    if (!drives.insert(device.drive).second) {
      return Fail(
          "--device virtio-blk-pci: drive '{}' is in use by another device: give each its own",
          device.drive);
    }
    if (!ids.insert(device.id).second) {
      return Fail("--device virtio-blk-pci: id '{}' is in use by another device: choose another",
                  device.id);
    }
    if (device.bootindex && !bootindexes.insert(*device.bootindex).second) {
      return Fail("--device virtio-blk-pci,id={}: bootindex={} is in use by another device",
                  device.id, *device.bootindex);
    }
    line.disks.push_back(std::move(device));
  }
  std::ranges::stable_sort(line.disks, {}, [](const DiskDevice& disk) {
    return std::pair(!disk.bootindex, disk.bootindex.value_or(0));
  });
  return {};
}

Result<void> CheckQmp(const CommandLine& line) {
  std::set<std::string> paths;
  bool stdio = false;
  for (const QmpSocket& socket : line.qmp) {
    if (socket.stdio && std::exchange(stdio, true)) return Fail("--qmp stdio: it is given twice");
    if (!socket.stdio && !paths.insert(socket.path).second) {
      return Fail("--qmp: socket '{}' is given twice", socket.path);
    }
  }
  if (stdio && line.serial.kind == SerialOutput::Kind::kStdio) {
    return Fail(
        "--qmp stdio: the guest's console is there already: add --serial file:PATH, null or none");
  }
  return {};
}

Result<CommandLine> Read(std::span<const char* const> arguments, const FileReader& read) {
  TRY(const std::vector<std::string> words, ExpandArgumentFiles(arguments, read));
  CommandLineReader reader(read);
  TRY_VOID(reader.ReadArguments(words));
  CommandLineRequest& request = reader.request();
  if (reader.printing()) return std::move(request.line);
  if (request.line.kernel.empty()) {
    return Fail("no kernel: say --kernel FILE, a vmlinux or a bzImage (--help shows all options)");
  }
  if (request.print_given && request.line.action != CommandLine::Action::kDryRun) {
    return Fail("--print goes with --dry-run");
  }
  TRY_VOID(CompleteDrives(request));
  TRY_VOID(CompleteDisks(request));
  TRY_VOID(CheckQmp(request.line));
  return std::move(request.line);
}

}  // namespace

Result<CommandLine> ParseCommandLine(std::span<const char* const> arguments,
                                     const FileReader& read) {
  Result<CommandLine> line = Read(arguments, read);
  if (!line) return Unexpected(Error{Excerpt(line.error().message, kMaxErrorBytes)});
  return line;
}

}  // namespace minivmm
