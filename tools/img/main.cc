// minivmm-img's main: command line ─▶ command ─▶ exit status.
#include <csignal>
#include <cstdio>
#include <exception>

#include "blockcore/base/excerpt.h"
#include "blockcore/base/manual.h"
#include "blockcore/base/standard_files.h"
#include "tools/img/commands.h"
#include "tools/img/manuals.h"

namespace minivmm {
namespace {

constexpr const Command* kCommands[] = {
    &kCreateCommand,  &kInfoCommand,   &kReportCommand,  &kMapCommand,  &kCheckCommand,
    &kSetZoneCommand, &kResizeCommand, &kConvertCommand, &kDumpCommand, &kRestoreCommand,
};

std::string Help(const Call& call) {
  if (call.help_form == "man") return RenderManPage(ManualOf(kCommands));
  if (call.help_form == "bash") return RenderBashCompletion(ManualOf(kCommands));
  return RenderHelp(call.command == nullptr ? ManualOf(kCommands) : ManualOf(*call.command));
}

Result<int> Run(std::span<const char* const> arguments) {
  TRY(Call call, ParseArguments(kCommands, arguments));
  if (call.version) {
    fmt::print("minivmm-img {}\n", kToolVersion);
  } else if (call.help) {
    fmt::print("{}", Help(call));
  } else {
    return call.command->run(call.arguments);
  }
  return 0;
}

}  // namespace
}  // namespace minivmm

int main(int argc, char** argv) {
  minivmm::OpenMissingStandardFiles();
  // A limit of file sizes (ulimit -f) is an error to tell of.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    const minivmm::Result<int> status =
        minivmm::Run({argv + 1, argc > 0 ? static_cast<size_t>(argc - 1) : 0});
    if (!status) {
      std::fflush(stdout);
      fmt::print(stderr, "minivmm-img: {}\n",
                 minivmm::Excerpt(status.error().message, /*max_bytes=*/10'000));
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
