// ParseCommandLine: arguments from the lines of the input. Files named by @FILE and --config are a
// few made-up ones, among them those that name each other. What --print json says of a machine must
// be read back as the same.
#include <array>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/check.h"
#include "tools/bazel/fuzz/fuzz_input.h"
#include "vmm/command_line.h"
#include "vmm/config_file.h"

namespace minivmm {
namespace {

Result<std::string> ReadMadeUpFile(const std::string& path) {
  if (path == "args") return std::string("-m 256 # memory\n-smp 'cpus=2' \"-append\" a\\ b");
  if (path == "loop") return std::string("@loop @loop");
  if (path == "config") return std::string(R"({"m": "64M", "device": ["isa-debug-exit"]})");
  if (path.size() > 8) return path.substr(8);  // its own name is its content
  return Fail("cannot read '{}': No such file or directory", path.substr(0, 80));
}

void CheckCommandLine(const CommandLine& line) {
  if (line.action == CommandLine::Action::kPrint) {
    VMM_CHECK(!line.text.empty());
    return;
  }
  VMM_CHECK(line.memory_bytes != 0 && line.memory_bytes % 1_MiB == 0);
  VMM_CHECK(line.cpu_count >= 1 && line.cpu_count <= 16);
  std::set<std::string> ids;
  for (const DiskDevice& disk : line.disks) {
    VMM_CHECK(!disk.drive.empty() && ids.insert(disk.id).second);
    VMM_CHECK(!disk.slot || (*disk.slot >= 0 && *disk.slot < 32));
  }
  const std::string printed = RenderConfig(line);
  const auto read_back =
      ParseCommandLine(std::array{"--config", "printed"},
                       [&printed](const std::string&) -> Result<std::string> { return printed; });
  VMM_CHECK(read_back.has_value() && RenderConfig(*read_back) == printed);
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace minivmm;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    // Arguments of a program have no zero bytes.
    words.emplace_back(text.substr(0, std::min(text.find('\0'), end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  std::vector<const char*> arguments;
  for (const std::string& word : words) arguments.push_back(word.c_str());
  const auto line = ParseCommandLine(arguments, ReadMadeUpFile);
  if (line) {
    CheckCommandLine(*line);
  } else {
    CheckErrorText(line.error().message);
  }
  return 0;
}
