// --config FILE: the machine as a JSON object. Its keys are the names of options, its values are
// text, numbers, true or false (for options without a value), objects (for those that take a list:
// blockdev, drive, device), or arrays of these:
//
//   {"kernel": "vmlinux", "memory": "2G", "no-reboot": true,
//    "blockdev": [{"driver": "null-co", "node-name": "d0"}], "device": ["virtio-blk-pci,drive=d0"]}
//
// Pure: ParseCommandLine reads the file, and main prints what RenderConfig makes.
#ifndef MINIVMM_VMM_CONFIG_FILE_H_
#define MINIVMM_VMM_CONFIG_FILE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"
#include "vmm/command_line.h"

namespace minivmm {

struct ConfiguredOption {
  std::string name;
  std::optional<std::string> value;  // none: it is only mentioned
  bool off = false;                  // the value is `false`: nothing is to be set
};

// In their order, arrays taken apart. No object may have a key twice.
Result<std::vector<ConfiguredOption>> ParseConfig(std::string_view json);

// The machine of a checked command line, all defaults filled in; --config reads it back.
std::string RenderConfig(const CommandLine& line);

}  // namespace minivmm

#endif  // MINIVMM_VMM_CONFIG_FILE_H_
