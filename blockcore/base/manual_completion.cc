#include <fmt/format.h>

#include <algorithm>

#include "blockcore/base/manual.h"
#include "blockcore/base/manual_term.h"

namespace minivmm {
namespace {

// The same for every program; @ stands for the name of its functions. The function in front of it
// knows the program: given what to complete, as COMMAND/OPTION (of an option's value), COMMAND/ (of
// a word that is none) or COMMAND/- (of an option's name), it sets `values` and `optional`.
constexpr std::string_view kDriver = R"(
# Offers the names of files that begin with $2, each behind $1.
@_files() {
  local file
  compopt -o filenames 2>/dev/null || true
  while IFS= read -r file; do
    replies+=("$1$file")
  done < <(compgen -f -- "$2")
}

# Offers those of the values that $2 may become, each behind $1.
@_offer() {
  local value context list='' item=$2 lead
  if [[ $2 == *,* ]]; then
    list=${2%,*},
    item=${2##*,}
  fi
  for value in "${values[@]}"; do
    if [[ $value == FILE ]]; then
      @_files "$1" "$2"
      continue
    elif [[ $value == *,* ]]; then
      context=${value%%,*}
      value=${value#*,}
      [[ ,$list == *",$context,"* ]] || continue
    elif [[ $list && $value != *=* ]]; then
      continue
    fi
    lead=${value%FILE}
    if [[ $value == *[=:]FILE && $item == "$lead"* ]]; then
      @_files "$1$list$lead" "${item#"$lead"}"
    elif [[ $lead == "$item"* ]]; then
      replies+=("$1$list$lead")
    fi
  done
}

@() {
  local words=() word name glue='' i current command='' option='' optional='' values=() replies=()
  local break=''
  COMPREPLY=()
  # The shell breaks words at = and :, which are parts of ours.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((i > 1)) && [[ $glue || $word == [=:]* ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
    glue=
    [[ $word == *[=:] && $COMP_WORDBREAKS == *[=:]* ]] && glue=1
  done
  current=${words[-1]}
  current=${current#[\"\']}
  unset 'words[-1]'

  for word in "${words[@]:1}"; do
    if [[ $option ]]; then
      option=
    elif [[ $word == -?* ]]; then
      name=${word#-}
      name=${name#-}
      if [[ $name != *=* ]] && @_values "$command/$name" && [[ ! $optional ]]; then
        option=$command/$name
      fi
    elif [[ ! $command ]] && @_is_command "$word"; then
      command=$word
    fi
  done

  if [[ $option ]]; then
    @_values "$option"
    @_offer '' "$current"
  elif [[ $current == -*=* ]]; then
    name=${current%%=*}
    word=${name#-}
    @_values "$command/${word#-}" && @_offer "$name=" "${current#*=}"
  elif [[ $current == -* ]]; then
    @_values "$command/-"
    for name in "${values[@]}"; do
      if [[ ${#name} == 1 || $current == -[!-]* ]]; then
        word=-$name
      else
        word=--$name
      fi
      [[ $word == "$current"* ]] && replies+=("$word")
    done
  else
    @_values "$command/" && @_offer '' "$current"
  fi

  # The shell replaces only what follows the last break.
  [[ $COMP_WORDBREAKS == *=* ]] && break+='='
  [[ $COMP_WORDBREAKS == *:* ]] && break+=':'
  if [[ $break && $current == *[$break]* ]]; then
    current=${current%"${current##*["$break"]}"}
    replies=("${replies[@]#"$current"}")
  fi
  COMPREPLY=("${replies[@]}")
  for word in "${replies[@]}"; do
    if [[ $word == *[=:,] ]]; then compopt -o nospace 2>/dev/null || true; fi
  done
  return 0
}

complete -F @ )";

constexpr std::string_view kCommandsTitle = "COMMANDS";

std::string Quoted(std::string_view text) {
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

std::vector<std::string> QuotedAll(const std::vector<std::string>& words) {
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(Quoted(word));
  return quoted;
}

std::string_view WithoutDashes(std::string_view name) {
  for (int i = 0; i < 2 && name.starts_with('-'); ++i) name.remove_prefix(1);
  return name;
}

// What completes an operand by its name alone: FILE (or PATH), COMMAND, a|b|c.
std::vector<std::string> CompletionsOf(std::string_view operand) {
  constexpr std::string_view kWord = "abcdefghijklmnopqrstuvwxyz0123456789-_|";
  operand = operand.substr(0, operand.find_first_of(" ,"));
  if (operand.starts_with('[')) operand.remove_prefix(1);
  if (operand.ends_with(']')) operand.remove_suffix(1);
  if (operand == "FILE" || operand == "PATH") return {"FILE"};
  if (operand == "COMMAND") return {"COMMAND"};
  std::vector<std::string> words;
  if (operand.find('|') == operand.npos || operand.find_first_not_of(kWord) != operand.npos) {
    return words;
  }
  while (!operand.empty()) {
    const size_t bar = std::min(operand.find('|'), operand.size());
    words.emplace_back(operand.substr(0, bar));
    operand.remove_prefix(std::min(bar + 1, operand.size()));
  }
  return words;
}

// Of "key=a|b": key=a and key=b; of "key=TEXT": key=. Nothing for other terms.
std::vector<std::string> CompletionsOfKey(const std::string& term) {
  const size_t equals = term.find('=');
  if (equals == term.npos || term.find_first_of(" ,[") < equals) return {};
  const std::string key = term.substr(0, equals + 1);
  std::vector<std::string> words = CompletionsOf(std::string_view(term).substr(equals + 1));
  if (words.empty()) return {key};
  for (std::string& word : words) word.insert(0, key);
  return words;
}

// The words of a usage line that belong to no option.
std::vector<std::string> CompletionsOfUsage(std::string_view usage) {
  std::vector<std::string> completions;
  bool after_option = false;
  while (!usage.empty()) {
    const size_t space = std::min(usage.find(' '), usage.size());
    const std::string_view word = usage.substr(0, space);
    usage.remove_prefix(std::min(space + 1, usage.size()));
    const bool is_option = word.starts_with('-') || word.starts_with("[-");
    if (!is_option && !after_option) {
      for (std::string& name : CompletionsOf(word)) completions.push_back(std::move(name));
      // What follows a command is the command's business.
      if (!completions.empty() && completions.back() == "COMMAND") return completions;
    }
    after_option = is_option && !word.ends_with(']') && word.find('=') == word.npos;
  }
  return completions;
}

class Script {
 public:
  explicit Script(const Manual& manual) : manual_(manual) {
    for (const ManualSection& section : manual.sections) {
      for (const ManualEntry& entry : section.entries) {
        if (section.title == kCommandsTitle) {
          for (std::string_view name : ParseManualTerm(entry.term).names) {
            commands_.emplace_back(name);
          }
        }
      }
    }
    const std::string usage = manual.usage.empty() ? "" : manual.usage.front();
    std::vector<std::string> words = CompletionsOfUsage(usage);
    takes_commands_ = std::ranges::count(words, "COMMAND") != 0;
    std::vector<std::string> global_options;
    for (const ManualSection& section : manual.sections) {
      if (section.title == kCommandsTitle) continue;
      AddOptions(section.entries, "*/", global_options);
    }
    if (takes_commands_) AddCommands(manual, global_options);
    AddCase("*/-", false, global_options);
    AddCase("/", false, std::move(words));
  }

  std::string Text(const Manual& manual) const {
    std::string function = "_" + manual.name;
    std::ranges::replace(function, '-', '_');
    std::string text =
        fmt::format("# Completion of {0} for bash: `source <({0} --help=bash)`.\n\n", manual.name);
    text += "# shellcheck disable=SC2034 # the values are for the caller\n";
    text += fmt::format("{}_values() {{\n  values=()\n  optional=\n  case $1 in\n", function);
    text += cases_;
    text += "    *) return 1 ;;\n  esac\n}\n\n";
    text += fmt::format("{}_is_command() {{\n", function);
    if (takes_commands_ && !commands_.empty()) {
      text += fmt::format("  case $1 in\n    {}) return 0 ;;\n  esac\n",
                          fmt::join(QuotedAll(commands_), " | "));
    }
    text += "  return 1\n}\n";
    for (size_t i = 0; i < kDriver.size(); ++i) {
      const bool is_subscript = i > 0 && kDriver[i - 1] == '[';  // of "${array[@]}"
      text += kDriver[i] == '@' && !is_subscript ? function : std::string(1, kDriver[i]);
    }
    return text + manual.name + "\n";
  }

 private:
  void AddCase(std::string_view pattern, bool optional, std::vector<std::string> words) {
    const auto commands = std::ranges::find(words, "COMMAND");
    if (commands != words.end()) {
      const auto place = words.erase(commands);
      words.insert(place, commands_.begin(), commands_.end());
    }
    cases_ += fmt::format("    {})\n", pattern);
    if (optional) cases_ += "      optional=1\n";
    cases_ += fmt::format("      values=({})\n      ;;\n", fmt::join(QuotedAll(words), " "));
  }

  // Appends their names, without dashes, to `names`.
  void AddOptions(const std::vector<ManualEntry>& entries, std::string_view scope,
                  std::vector<std::string>& names) {
    for (const ManualEntry& entry : entries) {
      const ManualTerm term = ParseManualTerm(entry.term);
      if (!term.is_option()) continue;
      std::string pattern;
      for (std::string_view name : term.names) {
        names.emplace_back(WithoutDashes(name));
        pattern += fmt::format("{}{}{}", pattern.empty() ? "" : " | ", scope, names.back());
      }
      if (term.operand.empty()) continue;
      AddCase(pattern, term.operand_optional, CompletionsOfOption(entry, term));
    }
  }

  std::vector<std::string> CompletionsOfOption(const ManualEntry& entry,
                                               const ManualTerm& term) const {
    std::vector<std::string> words =
        entry.completions.empty() ? CompletionsOf(term.operand) : entry.completions;
    const std::vector<std::string> first_items = words;
    for (const ManualSection& section : manual_.sections) {
      constexpr std::string_view kOf = " OF ";
      const size_t of = section.title.find(kOf);
      if (of == section.title.npos) continue;
      const std::string owner = section.title.substr(of + kOf.size());
      const bool is_option = std::ranges::count(term.names, owner) != 0;
      if (!is_option && std::ranges::count(first_items, owner) == 0) continue;
      for (const ManualEntry& key : section.entries) {
        for (const std::string& word : CompletionsOfKey(key.term)) {
          words.push_back(is_option ? word : fmt::format("{},{}", owner, word));
        }
      }
    }
    return words;
  }

  void AddCommands(const Manual& manual, const std::vector<std::string>& global_options) {
    for (const ManualSection& section : manual.sections) {
      if (section.title != kCommandsTitle) continue;
      for (const ManualEntry& entry : section.entries) {
        const ManualTerm term = ParseManualTerm(entry.term);
        for (std::string_view name : term.names) {
          const std::string scope = Quoted(name) + "/";
          std::vector<std::string> options;
          AddOptions(entry.entries, scope, options);
          options.insert(options.end(), global_options.begin(), global_options.end());
          AddCase(scope + "-", false, std::move(options));
          AddCase(scope, false,
                  entry.completions.empty() ? CompletionsOfUsage(term.operand) : entry.completions);
        }
      }
    }
  }

  const Manual& manual_;
  std::vector<std::string> commands_;
  bool takes_commands_ = false;
  std::string cases_;
};

}  // namespace

std::string RenderBashCompletion(const Manual& manual) { return Script(manual).Text(manual); }

}  // namespace minivmm
