#include "tools/io/io_manual.h"

#include <fmt/format.h>

#include <algorithm>

#include "tools/io/command.h"

namespace minivmm {
namespace {

std::vector<ManualEntry> OptionEntries() {
  return {
      {.term = "-c, --cmd COMMAND",
       .summary = "do this command; may be given several times",
       .details = "Without it, commands are read from standard input: at a prompt with line "
                  "editing, a history and completion, or as they come when it is no terminal."},
      {.term = "-f, --format DRIVER",
       .summary = "what FILE is: raw, zoned, file or host_device",
       .details = "Without it a block device is host_device, and a regular file raw; a file that "
                  "looks like a zoned image is refused until one of the two is named.",
       .completions = {"raw", "zoned", "file", "host_device"}},
      {.term = "--image-opts",
       .summary = "FILE is a description, as of minivmm's --blockdev",
       .details = "Such as driver=host_device,filename=/dev/nullb0, or a JSON object. A name "
                  "json:{…} is a description without this option, too."},
      {.term = "-n, --nocache", .summary = "short for --cache=none"},
      {.term = "-r, --read-only", .summary = "change nothing"},
      {.term = "-t, --cache MODE",
       .summary = "none, writeback (default), writethrough, directsync, unsafe",
       .details = "none and directsync go past the host's page cache; with writethrough and "
                  "directsync each write is followed by a flush; unsafe never flushes. A zoned "
                  "device is never cached, whatever the mode.",
       .completions = {"none", "writeback", "writethrough", "directsync", "unsafe"}},
      {.term = "-d, --discard MODE",
       .summary = "unmap (default, where the disk can) or ignore",
       .details = "Whether discard gives space back.",
       .completions = {"unmap", "ignore"}},
      {.term = "-i, --aio MODE", .summary = "io_uring", .completions = {"io_uring"}},
      {.term = "-h, --help[=man|bash]",
       .summary = "this text, the manual page, or a completion for bash",
       .details = {},
       .completions = {"man", "bash"}},
      {.term = "-V, --version", .summary = "name the version"},
  };
}

// Lines about options stay lines in the manual page.
std::string IndentOptions(std::string_view details) {
  std::string text;
  while (!details.empty()) {
    const size_t end = std::min(details.find('\n'), details.size());
    if (details.starts_with('-')) text += "    ";
    text += details.substr(0, std::min(end + 1, details.size()));
    details.remove_prefix(std::min(end + 1, details.size()));
  }
  return text;
}

std::vector<ManualEntry> CommandEntries() {
  std::vector<ManualEntry> entries;
  for (const IoCommand& command : IoCommands()) {
    std::string term(command.name);
    if (!command.alias.empty()) term += fmt::format(", {}", command.alias);
    ManualEntry entry;
    entry.term = term;
    entry.summary = command.summary;
    if (!command.arguments.empty()) {
      entry.details = fmt::format("    {} {}\n\n", command.name, command.arguments);
    }
    entry.details += IndentOptions(command.details);
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

Manual IoManual() {
  return {
      .name = "minivmm-io",
      .version = "0.1",
      .summary = "reads, writes and manages the zones of a disk by commands",
      .usage = {"[OPTION …] [-c COMMAND] … [FILE]"},
      .help_footer =
          "Offsets and lengths are in bytes, with 0x or k, M, G, T; zones are printed in sectors "
          "of\n"
          "512 bytes. `help COMMAND` says more: minivmm-io -c 'help zone_append'.\n",
      .sections =
          {
              {.title = "DESCRIPTION",
               .text =
                   "minivmm-io does single operations on one disk: a file, a block device of the "
                   "host, a zoned image, or any graph of nodes that minivmm could give to a guest. "
                   "Its commands, their output and its exit status are those of qemu-io, so that "
                   "scripts for that run unchanged; the texts of errors go on where those end, "
                   "with the zone, its condition and what to do.\n\n"
                   "A disk that a guest uses cannot be opened.",
               .entries = {}},
              {.title = "OPTIONS", .text = {}, .entries = OptionEntries(), .in_help = true},
              {.title = "COMMANDS",
               .text = "Offsets and lengths are bytes: decimal or 0x…, with k, M, G, T, P or E "
                       "behind them. No range that reaches behind the end of the disk is begun.",
               .entries = CommandEntries(),
               .in_help = true},
              {.title = "EXIT STATUS",
               .text = "0, or 1 if the disk could not be opened or any command failed, one of "
                       "aio_read and aio_write included.",
               .entries = {}},
              {.title = "EXAMPLES",
               .text = "The first four zones of a device:\n\n"
                       "    minivmm-io --image-opts -n driver=host_device,filename=/dev/nullb0 -c "
                       "\"zrp 0 4\"\n\n"
                       "An append to the second zone of an image, and where it went:\n\n"
                       "    minivmm-io -f zoned -c \"zap -p 256M 4k\" disk.zbd",
               .entries = {}},
          },
      .see_also = {"minivmm(1)", "minivmm-img(1)"},
  };
}

}  // namespace minivmm
