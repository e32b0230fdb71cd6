// minivmm-img's main: command line ─▶ command ─▶ exit status.
#include <cstdio>
#include <exception>

#include "tools/img/commands.h"

namespace minivmm {
namespace {

constexpr const Command* kCommands[] = {
    &kCreateCommand,  &kInfoCommand,   &kReportCommand,  &kMapCommand,  &kCheckCommand,
    &kSetZoneCommand, &kResizeCommand, &kConvertCommand, &kDumpCommand, &kRestoreCommand,
};

void PrintHelp() {
  fmt::print(
      "minivmm-img makes, shows and changes zoned disks in files, for minivmm's driver 'zoned'.\n"
      "\n"
      "usage: minivmm-img COMMAND [option ...] FILE ...\n"
      "\n");
  for (const Command* command : kCommands) {
    fmt::print("  {:<10}{}\n", command->name, command->summary);
  }
  fmt::print(
      "\n"
      "minivmm-img COMMAND --help says more; --version names the version. Options take one or\n"
      "two dashes, and their value behind a space or a '='. An image that a guest uses cannot be\n"
      "opened. Exit status: 0, or 1 after an error; `check` has its own.\n");
}

Result<int> Run(std::span<const char* const> arguments) {
  TRY(Call call, ParseArguments(kCommands, arguments));
  if (call.version) {
    fmt::print("minivmm-img 0.1\n");
  } else if (call.help && call.command != nullptr) {
    fmt::print("{}", call.command->help);
  } else if (call.help) {
    PrintHelp();
  } else {
    return call.command->run(call.arguments);
  }
  return 0;
}

}  // namespace
}  // namespace minivmm

int main(int argc, char** argv) {
  try {
    const minivmm::Result<int> status =
        minivmm::Run({argv + 1, argc > 0 ? static_cast<size_t>(argc - 1) : 0});
    if (!status) {
      std::fflush(stdout);
      fmt::print(stderr, "minivmm-img: {}\n", status.error().message);
      return 1;
    }
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      fmt::print(stderr, "minivmm-img: cannot write to standard output\n");
      return 1;
    }
    return *status;
  } catch (const std::exception& error) {
    fmt::print(stderr, "minivmm-img: {}\n", error.what());
    return 1;
  }
}
