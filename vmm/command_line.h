// CommandLine: what the user wants, checked as far as that is possible without touching the host:
// syntax, names, ranges, references. Pure; called once by main. QEMU's names and forms: every
// option with one or two dashes, the value behind a space or a `=`.
#ifndef MINIVMM_VMM_COMMAND_LINE_H_
#define MINIVMM_VMM_COMMAND_LINE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/base/units.h"
#include "devices/debug_exit.h"

namespace minivmm {

constexpr std::string_view kVersion = "0.1";

// --device virtio-blk-pci
struct DiskDevice {
  std::string id;     // its own, or made of the drive's name
  std::string drive;  // node-name of a --blockdev
  std::string serial;
  uint16_t num_queues = 0;  // as many as vCPUs unless given
  uint16_t queue_size = 256;
  std::optional<int> slot;  // addr=; else the first free one
};

struct SerialOutput {
  enum class Kind : uint8_t { kStdio, kFile, kNull, kNone };
  Kind kind = Kind::kStdio;
  std::string path = {};       // kFile
  std::string text = "stdio";  // as given
};

struct CommandLine {
  // kPrint: `text` is all that was asked for.
  enum class Action : uint8_t { kRun, kDryRun, kPrint };
  Action action = Action::kRun;
  std::string text;

  std::vector<std::string> blockdevs;  // as given; blockcore reads them
  std::vector<DiskDevice> disks;
  std::optional<DebugExitPorts> debug_exit;
  std::string kernel;
  std::string initrd;  // empty: none
  std::string command_line;
  uint64_t memory_bytes = 512_MiB;  // a multiple of 1 MiB
  uint32_t cpu_count = 1;           // 1 to 16
  SerialOutput serial;
  bool no_reboot = false;
};

// `arguments` without the program's name.
Result<CommandLine> ParseCommandLine(std::span<const char* const> arguments);

}  // namespace minivmm

#endif  // MINIVMM_VMM_COMMAND_LINE_H_
