#include "tools/img/arguments.h"

#include <algorithm>

#include "blockcore/options.h"

namespace minivmm {
namespace {

struct GivenOption {
  std::string_view name;
  std::optional<std::string_view> value;
};

GivenOption SplitOption(std::string_view text) {
  text.remove_prefix(text.starts_with("--") ? 2 : 1);
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) return {text, std::nullopt};
  return {text.substr(0, equals), text.substr(equals + 1)};
}

bool IsOption(std::string_view text) { return text.size() > 1 && text[0] == '-'; }

Result<const Command*> FindCommand(std::span<const Command* const> commands,
                                   std::string_view name) {
  std::vector<std::string_view> names;
  for (const Command* command : commands) {
    if (command->name == name) return command;
    names.push_back(command->name);
  }
  return Fail("unknown command '{}'{}", name, SuggestionFor(name, names));
}

Result<const OptionSpec*> FindOption(const Command& command, std::string_view name) {
  std::vector<std::string_view> names;
  for (const OptionSpec& option : command.options) {
    if (option.name == name) return &option;
    if (name.size() == 1 && option.letter == name[0]) return &option;
    names.push_back(option.name);
  }
  return Fail("{}: unknown option '{}'{}", command.name, name, SuggestionFor(name, names));
}

}  // namespace

std::optional<std::string> Arguments::Value(std::string_view option) const {
  auto found = options_.find(option);
  if (found == options_.end()) return std::nullopt;
  return found->second.back();
}

std::string Arguments::JoinedValues(std::string_view option) const {
  auto found = options_.find(option);
  if (found == options_.end()) return "";
  return fmt::format("{}", fmt::join(found->second, ","));
}

Result<std::string_view> Arguments::Choice(std::string_view option,
                                           std::initializer_list<std::string_view> choices) const {
  std::optional<std::string> given = Value(option);
  if (!given) return *choices.begin();
  auto found = std::find(choices.begin(), choices.end(), *given);
  if (found != choices.end()) return *found;
  return Fail("--{} '{}' is unknown{}", option, *given,
              SuggestionFor(*given, {choices.begin(), choices.size()}));
}

Result<Call> ParseArguments(std::span<const Command* const> commands,
                            std::span<const char* const> arguments) {
  Call call;
  bool options_end = false;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view text = arguments[i];
    if (options_end || !IsOption(text)) {
      if (call.command != nullptr) {
        call.arguments.words_.emplace_back(text);
      } else if (text == "help") {
        call.help = true;
        if (i + 1 < arguments.size()) {
          TRY(call.command, FindCommand(commands, arguments[i + 1]));
        }
        return call;
      } else {
        TRY(call.command, FindCommand(commands, text));
      }
      continue;
    }
    if (text == "--") {
      options_end = true;
      continue;
    }
    const GivenOption given = SplitOption(text);
    if (given.name == "help" || given.name == "h") {
      constexpr std::string_view kForms[] = {"man", "bash"};
      call.help = true;
      call.help_form = given.value.value_or("");
      if (given.value && std::ranges::count(kForms, *given.value) == 0) {
        return Fail("--help has no form '{}'{}", *given.value, SuggestionFor(*given.value, kForms));
      }
      return call;
    }
    if (given.name == "version") {
      call.version = true;
      return call;
    }
    if (call.command == nullptr) {
      return Fail("option '{}' stands before the command: minivmm-img COMMAND [option ...]",
                  given.name);
    }
    TRY(const OptionSpec* option, FindOption(*call.command, given.name));
    std::string value;
    if (!option->value.empty()) {
      if (!given.value && i + 1 == arguments.size()) {
        return Fail("{}: option '{}' needs a value", call.command->name, given.name);
      }
      value = given.value ? *given.value : arguments[++i];
    } else if (given.value) {
      return Fail("{}: option '{}' takes no value", call.command->name, given.name);
    }
    call.arguments.options_[std::string(option->name)].push_back(std::move(value));
  }
  if (call.command == nullptr) return Fail("no command given: see minivmm-img --help");

  const Command& command = *call.command;
  const std::vector<std::string>& words = call.arguments.words();
  if (words.size() < command.needed_words) {
    return Fail("{}: {} is missing: see minivmm-img {} --help", command.name,
                command.words[words.size()], command.name);
  }
  if (words.size() > command.words.size()) {
    return Fail("{}: '{}' is one argument too many: see minivmm-img {} --help", command.name,
                words[command.words.size()], command.name);
  }
  return call;
}

Result<uint64_t> ParseSizeWord(std::string_view what, std::string_view text) {
  std::string description(what);
  description += '=';
  for (char c : text) description.append(c == ',' ? 2 : 1, c);
  TRY(Options options, Options::Parse(description));
  TRY(std::optional<uint64_t> size, options.TakeSize(what));
  return *size;
}

}  // namespace minivmm
