// The command line of minivmm-img, taken apart: `minivmm-img COMMAND [option ...] WORD ...`. Each
// command says which options and words it takes; everything else is refused with the nearest known
// name. Options take one dash or two, and their value behind a space or a '='; `--` ends them.
//
// Pure; main's thread. What values mean is the commands' business.
#ifndef MINIVMM_TOOLS_IMG_ARGUMENTS_H_
#define MINIVMM_TOOLS_IMG_ARGUMENTS_H_

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"

namespace minivmm {

class Arguments {
 public:
  bool Has(std::string_view option) const { return options_.find(option) != options_.end(); }
  // The last value given.
  std::optional<std::string> Value(std::string_view option) const;
  // All values given, joined by commas.
  std::string JoinedValues(std::string_view option) const;
  // The value of `option`, one of `choices`, of which the first is the default.
  Result<std::string_view> Choice(std::string_view option,
                                  std::initializer_list<std::string_view> choices) const;

  const std::vector<std::string>& words() const { return words_; }

 private:
  friend Result<struct Call> ParseArguments(std::span<const struct Command* const>,
                                            std::span<const char* const>);

  std::map<std::string, std::vector<std::string>, std::less<>> options_;
  std::vector<std::string> words_;
};

// An option, parsed and documented by the same table.
struct OptionSpec {
  std::string_view name;
  char letter = 0;              // a short name for it
  std::string_view value = {};  // what its value is called, or a|b|c; empty: it takes none
  std::string_view summary = {};
};

// One of the tool's commands. All of it is constant.
struct Command {
  std::string_view name;
  std::string_view summary;  // for the list of commands
  std::string_view details;  // paragraphs, lines of at most 100 columns
  std::span<const std::string_view> words;
  size_t needed_words = 0;
  std::span<const OptionSpec> options = {};
  bool makes_zones = false;  // it takes the keys of geometry_options.h
  // Returns the exit status; an error is printed and gives 1.
  Result<int> (*run)(const Arguments& arguments) = nullptr;
};

// What a command line asks for.
struct Call {
  const Command* command = nullptr;  // null: --help or --version without a command
  bool help = false;
  std::string_view help_form = {};  // "man" or "bash"; empty: for the screen
  bool version = false;
  Arguments arguments;
};

Result<Call> ParseArguments(std::span<const Command* const> commands,
                            std::span<const char* const> arguments);

// A size such as 512, 64k or 1.5T; `what` names it in the message.
Result<uint64_t> ParseSizeWord(std::string_view what, std::string_view text);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IMG_ARGUMENTS_H_
