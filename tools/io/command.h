// IoCommand: one command of minivmm-io, with all that is said of it: the table of them is what the
// prompt, `help`, --help and the manual page are made from.
//
// The words behind a command's name are taken apart as getopt does it: options are letters, alone
// or together, with their value in the same word or the next, at any place; `--` ends them. Pure.
#ifndef MINIVMM_TOOLS_IO_COMMAND_H_
#define MINIVMM_TOOLS_IO_COMMAND_H_

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"

namespace minivmm {

class IoSession;

struct CommandArguments {
  std::map<char, std::string> options;
  std::vector<std::string> words;

  bool Has(char option) const { return options.find(option) != options.end(); }
  // Null when it was not given.
  const std::string* Value(char option) const;
};

struct IoCommand {
  std::string_view name;
  std::string_view alias;      // empty: none
  std::string_view arguments;  // "[-p] off len [len..]"
  std::string_view summary;
  std::string_view details;  // for `help NAME`: paragraphs, each line of at most 80 characters
  // Letters, each with ':' behind it if it takes a value. Empty: a word that begins with '-' is one
  // like all others.
  std::string_view options = {};
  // Options of qemu-io that there are not here, and why: "b" "there is no VM state".
  std::string_view refused = {};
  std::string_view refused_because = {};
  // Words behind the options; -1: any number.
  int min_words = 0;
  int max_words = 0;
  bool needs_disk = true;
  // Prints what it has to say; false if it failed.
  bool (*run)(IoSession& session, const CommandArguments& arguments) = nullptr;
};

// All commands, by name. (commands.cc)
std::span<const IoCommand> IoCommands();

// By name or alias; null if there is none.
const IoCommand* FindIoCommand(std::string_view name);

// `words`: those behind `name`, which the user typed; there are enough. Fails with a line such as
// "read: invalid option -- 'Z'".
Result<CommandArguments> ParseCommandArguments(const IoCommand& command, std::string_view name,
                                               std::span<const std::string> words);

// Before its options are known: "bad argument count 1 to NAME, expected …", with the name that the
// user typed.
Result<void> CheckWordCount(const IoCommand& command, std::string_view name, size_t count);

// "NAME ARGUMENTS -- SUMMARY\n"
std::string CommandUsage(const IoCommand& command);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_COMMAND_H_
