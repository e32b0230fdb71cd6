// CommandLine: what the user wants, checked as far as that is possible without touching the host:
// syntax, names, ranges, references. Pure but for the reader that it is given; called once by main.
// QEMU's names and forms: every option with one or two dashes, the value behind a space or a `=`.
//
//   arguments ─▶ @FILE is replaced by its words ─▶ table of options ─▶ CommandLine
//                --config FILE by its options ──┘
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
#include "blockcore/options.h"
#include "devices/debug_exit.h"
#include "vmm/argument_file.h"
#include "vmm/disk_properties.h"
#include "vmm/drive_option.h"
#include "vmm/qmp/qmp_socket.h"

namespace minivmm {

constexpr std::string_view kVersion = "0.1";

// --blockdev
struct BlockDevice {
  std::string text;  // as given, for messages
  Options options;   // for BlockGraph::Add
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
  bool json = false;  // kDryRun prints JSON

  std::vector<BlockDevice> blockdevs;
  std::vector<DriveOption> drives;  // each becomes a block node too, see vmm/describe_drive.h
  std::vector<DiskDevice> disks;    // those with a bootindex first, in its order
  std::optional<DebugExitPorts> debug_exit;
  bool pvpanic = false;
  std::vector<QmpSocket> qmp;
  std::string kernel;
  std::string initrd;  // empty: none
  std::string command_line;
  uint64_t memory_bytes = 512_MiB;  // a multiple of 1 MiB
  uint32_t cpu_count = 1;           // 1 to 16
  SerialOutput serial;
  bool no_reboot = false;
  bool start_paused = false;
  bool sandbox = true;
};

// `arguments` without the program's name; `read` is asked for the files of @FILE and --config. The
// error is one line.
Result<CommandLine> ParseCommandLine(std::span<const char* const> arguments,
                                     const FileReader& read = ReadTextFile);

}  // namespace minivmm

#endif  // MINIVMM_VMM_COMMAND_LINE_H_
