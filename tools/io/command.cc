#include "tools/io/command.h"

#include <algorithm>

namespace minivmm {

const std::string* CommandArguments::Value(char option) const {
  auto found = options.find(option);
  return found == options.end() ? nullptr : &found->second;
}

const IoCommand* FindIoCommand(std::string_view name) {
  if (name.empty()) return nullptr;
  for (const IoCommand& command : IoCommands()) {
    if (command.name == name || command.alias == name) return &command;
  }
  return nullptr;
}

Result<CommandArguments> ParseCommandArguments(const IoCommand& command, std::string_view name,
                                               std::span<const std::string> words) {
  CommandArguments arguments;
  bool options_end = command.options.empty();
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (options_end || word.size() < 2 || word[0] != '-') {
      arguments.words.push_back(word);
      continue;
    }
    if (word == "--") {
      options_end = true;
      continue;
    }
    for (size_t letter = 1; letter < word.size(); ++letter) {
      const char option = word[letter];
      if (command.refused.find(option) != std::string_view::npos) {
        return Fail("{}: -{}: {}", name, option, command.refused_because);
      }
      const size_t known = option == ':' ? std::string_view::npos : command.options.find(option);
      if (known == std::string_view::npos) {
        return Fail("{}: invalid option -- '{}'", name, option);
      }
      std::string& value = arguments.options[option];
      if (known + 1 == command.options.size() || command.options[known + 1] != ':') continue;
      if (letter + 1 == word.size() && i + 1 == words.size()) {
        return Fail("{}: option requires an argument -- '{}'", name, option);
      }
      value = letter + 1 < word.size() ? word.substr(letter + 1) : words[++i];
      break;
    }
  }
  return arguments;
}

Result<void> CheckWordCount(const IoCommand& command, std::string_view name, size_t count) {
  const int given = static_cast<int>(std::min<size_t>(count, INT32_MAX));
  const bool any_more = command.max_words < 0 || !command.options.empty();
  if (given >= command.min_words && (any_more || given <= command.max_words)) return {};
  std::string expected;
  if (any_more) {
    expected = fmt::format("at least {} arguments", command.min_words);
  } else if (command.min_words == command.max_words) {
    expected = fmt::format("{} arguments", command.min_words);
  } else {
    expected = fmt::format("between {} and {} arguments", command.min_words, command.max_words);
  }
  return Fail("bad argument count {} to {}, expected {}", given, name, expected);
}

std::string CommandUsage(const IoCommand& command) {
  return fmt::format("{}{}{} -- {}\n", command.name, command.arguments.empty() ? "" : " ",
                     command.arguments, command.summary);
}

}  // namespace minivmm
