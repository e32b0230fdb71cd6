#include "tools/img/manuals.h"

#include <fmt/format.h>

#include "tools/img/geometry_options.h"

namespace minivmm {
namespace {

std::string WordsOf(const Command& command) {
  std::string words;
  for (size_t i = 0; i < command.words.size(); ++i) {
    words += i < command.needed_words ? fmt::format(" {}", command.words[i])
                                      : fmt::format(" [{}]", command.words[i]);
  }
  return words;
}

std::vector<ManualEntry> OptionsOf(const Command& command) {
  std::vector<ManualEntry> entries;
  for (const OptionSpec& option : command.options) {
    std::string term = option.letter == 0 ? "" : fmt::format("-{}, ", option.letter);
    term += fmt::format("--{}", option.name);
    if (!option.value.empty()) term += fmt::format(" {}", option.value);
    entries.push_back({.term = std::move(term), .summary = std::string(option.summary)});
  }
  return entries;
}

std::vector<ManualEntry> EntriesOf(std::span<const GeometryWord> words) {
  std::vector<ManualEntry> entries;
  for (const GeometryWord& word : words) {
    entries.push_back({.term = std::string(word.term), .summary = std::string(word.summary)});
  }
  return entries;
}

}  // namespace

Manual ManualOf(std::span<const Command* const> commands) {
  ManualSection list{.title = "COMMANDS", .in_help = true};
  for (const Command* command : commands) {
    std::vector<ManualEntry> options = OptionsOf(*command);
    list.entries.push_back({.term = fmt::format("{}{}", command->name, WordsOf(*command)),
                            .summary = std::string(command->summary),
                            .details = std::string(command->details),
                            .entries = std::move(options)});
  }
  list.entries.push_back(
      {.term = "help [COMMAND]", .summary = "show the options of a command, or this list"});
  return {
      .name = "minivmm-img",
      .version = std::string(kToolVersion),
      .summary = "makes, shows and changes zoned disks in files, for minivmm's driver zoned",
      .usage = {"COMMAND [OPTION …] FILE …"},
      .help_footer =
          "minivmm-img help COMMAND says more, `man minivmm-img` all. Options take one "
          "dash or two, and their\n"
          "value behind a space or a '='. Exit status: 0, or 1 after an error; check "
          "has its own.",
      .sections =
          {
              {.title = "DESCRIPTION",
               .text =
                   "A zoned disk in a file has zones, write pointers and limits like a drive, and "
                   "keeps them. The file takes space for what is written; resetting a zone gives "
                   "it back. minivmm gives it to a guest with `--blockdev driver=zoned`.\n"
                   "\n"
                   "Options take one dash or two, and their value behind a space or a '='; `--` "
                   "ends them. A file that a guest uses cannot be opened."},
              std::move(list),
              {.title = "OPTIONS",
               .entries = {{"-h, --help[=man|bash]",
                            "show the commands, print this page, or print what completes the "
                            "command line in bash"},
                           {"--version", "show the version"}},
               .in_help = false},
              {.title = "KEYS OF -o",
               .text = "create and convert take them. In brackets stands what holds without them.",
               .entries = EntriesOf(GeometryKeys())},
              {.title = "PRESETS", .entries = EntriesOf(GeometryPresets())},
              {.title = "EXIT STATUS",
               .text = "0 after success, 1 after an error, which is one line on standard error. "
                       "check: 0 no errors (left), 1 the check could not be made, 2 errors found."},
              {.title = "EXAMPLES",
               .text = "A disk of 2 TiB, its first 16 zones conventional, and its zones:\n"
                       "\n"
                       "    minivmm-img create -o zone.size=256M,zone.conventional_zones=16 d.zbd "
                       "2T\n"
                       "    minivmm-img report d.zbd\n"
                       "\n"
                       "A copy of a zoned device with its write pointers:\n"
                       "\n"
                       "    minivmm-img convert -O zoned /dev/nullb0 copy.zbd"},
          },
      .see_also = {"minivmm(1)", "minivmm-io(1)", "blkzone(8)", "zbd(8)"},
  };
}

Manual ManualOf(const Command& command) {
  Manual manual{
      .name = fmt::format("minivmm-img {}", command.name),
      .version = std::string(kToolVersion),
      .summary = fmt::format("— {}", command.summary),
      .usage = {fmt::format("{}{}", command.options.empty() ? "" : "[OPTION …]", WordsOf(command))},
      .help_footer = std::string(command.details),
  };
  if (!manual.usage.front().empty() && manual.usage.front().front() == ' ') {
    manual.usage.front().erase(0, 1);
  }
  if (!command.options.empty()) {
    manual.sections.push_back({.title = "OPTIONS", .entries = OptionsOf(command), .in_help = true});
  }
  if (command.makes_zones) {
    manual.sections.push_back(
        {.title = "KEYS OF -o", .entries = EntriesOf(GeometryKeys()), .in_help = true});
    manual.sections.push_back(
        {.title = "PRESETS", .entries = EntriesOf(GeometryPresets()), .in_help = true});
  }
  return manual;
}

}  // namespace minivmm
