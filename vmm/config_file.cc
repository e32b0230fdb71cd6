#include "vmm/config_file.h"

#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/system/error_code.hpp>
#include <set>

#include "blockcore/base/excerpt.h"
#include "blockcore/json_listener.h"
#include "vmm/device_option.h"
#include "vmm/value_text.h"

namespace minivmm {
namespace {

namespace json = boost::json;

// Refuses a key that an object has already.
class EqualKeys : public JsonListener {
 public:
  bool on_object_begin(Code&) {
    keys_.emplace_back();
    return true;
  }
  bool on_object_end(size_t, Code&) {
    keys_.pop_back();
    return true;
  }
  bool on_key(Text part, size_t, Code& code) {
    const auto [key, is_new] = keys_.back().insert(TakeKey(part));
    if (is_new) return true;
    return Refuse(Fail("'{}' is given twice{}", Excerpt(*key),
                       keys_.size() == 1 ? ": give it once, with an array for several values"
                                         : " in one object: give it once"),
                  code);
  }

 private:
  std::vector<std::set<std::string>> keys_;  // of each open object
};

Result<void> AddOption(std::string_view name, const json::value& value,
                       std::vector<ConfiguredOption>& out) {
  ConfiguredOption option{std::string(name), std::nullopt};
  if (value.is_string()) {
    option.value = std::string(value.get_string());
    if (option.value->find('\0') != std::string::npos) {
      return Fail("'{}' has a zero byte in it", name);
    }
  } else if (value.is_int64() || value.is_uint64() || value.is_object()) {
    option.value = json::serialize(value);
  } else if (value.is_bool()) {
    option.off = !value.get_bool();
  } else {
    return Fail("'{}' must be text, an integer, true, false, an object, or an array of these",
                name);
  }
  out.push_back(std::move(option));
  return {};
}

// What is printed: one option a line, and each element of an array on its own.
class ConfigText {
 public:
  void Add(std::string_view name, const json::value& value) {
    std::string text = json::serialize(value);
    if (value.is_array()) {
      text.clear();
      for (const json::value& element : value.get_array()) {
        text += fmt::format("{}\n    {}", text.empty() ? "[" : ",", json::serialize(element));
      }
      text += "\n  ]";
    }
    text_ += fmt::format("{}\n  {}: {}", text_.empty() ? "{" : ",", json::serialize(name), text);
  }

  std::string Take() { return std::move(text_) + "\n}\n"; }

 private:
  std::string text_;
};

Result<void> RefuseEqualKeys(std::string_view text) {
  json::basic_parser<EqualKeys> parser(JsonOfAnyBytes());
  boost::system::error_code error;  // of the syntax: the tree's parser tells it
  parser.write_some(/*more=*/false, text.data(), text.size(), error);
  if (const auto& failure = parser.handler().failure()) return Unexpected(*failure);
  return {};
}

// What this program made itself.
json::value ParseOwn(const std::string& text) { return json::parse(text, {}, JsonOfAnyBytes()); }

json::array BlockDevices(const CommandLine& line) {
  json::array array;
  for (const BlockDevice& blockdev : line.blockdevs) {
    array.push_back(ParseOwn(DescriptionToJson(blockdev.options.KeysAndValues())));
  }
  return array;
}

json::array Devices(const CommandLine& line) {
  json::array array;
  for (const DiskDevice& disk : line.disks) array.push_back(ParseOwn(DiskToJson(disk)));
  if (line.debug_exit) array.push_back(ParseOwn(DebugExitToJson(*line.debug_exit)));
  if (line.pvpanic) array.push_back(ParseOwn(PvpanicToJson()));
  return array;
}

}  // namespace

Result<std::vector<ConfiguredOption>> ParseConfig(std::string_view text) {
  TRY_VOID(RefuseEqualKeys(text));
  boost::system::error_code error;
  json::value root = json::parse(text, error, {}, JsonOfAnyBytes());
  if (error) return Fail("it is not valid JSON: {}", error.message());
  if (!root.is_object()) return Fail("it must be a JSON object with the names of options");
  std::vector<ConfiguredOption> options;
  for (const auto& [key, value] : root.get_object()) {
    const std::string_view name(key.data(), key.size());
    if (!value.is_array()) {
      TRY_VOID(AddOption(name, value, options));
      continue;
    }
    for (const json::value& element : value.get_array()) {
      TRY_VOID(AddOption(name, element, options));
    }
  }
  return options;
}

std::string RenderConfig(const CommandLine& line) {
  ConfigText config;
  config.Add("kernel", json::value(line.kernel));
  if (!line.initrd.empty()) config.Add("initrd", json::value(line.initrd));
  config.Add("append", json::value(line.command_line));
  config.Add("memory", json::value(fmt::format("{}M", line.memory_bytes / 1_MiB)));
  config.Add("smp", json::value(line.cpu_count));
  if (json::array array = BlockDevices(line); !array.empty()) config.Add("blockdev", array);
  json::array drives;
  for (const DriveOption& drive : line.drives) drives.push_back(ParseOwn(DriveToJson(drive)));
  if (!drives.empty()) config.Add("drive", drives);
  if (json::array array = Devices(line); !array.empty()) config.Add("device", array);
  config.Add("serial", json::value(line.serial.text));
  json::array sockets;
  for (const QmpSocket& socket : line.qmp) sockets.push_back(json::value(socket.text));
  if (!sockets.empty()) config.Add("qmp", sockets);
  if (line.no_reboot) config.Add("no-reboot", true);
  if (line.start_paused) config.Add("S", true);
  if (!line.sandbox) config.Add("sandbox", "off");
  return config.Take();
}

}  // namespace minivmm
