#include "blockcore/base/manual.h"

#include <fmt/format.h>

#include <algorithm>

#include "blockcore/base/manual_term.h"

namespace minivmm {
namespace {

constexpr size_t kColumns = 100;
// Longer terms stand on a line of their own.
constexpr size_t kMaxTermColumns = 32;

// Characters, not bytes: the texts are UTF-8.
size_t Width(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

// `text` in words, from the column `at` on; further lines begin in column `indent`.
std::string Wrap(std::string_view text, size_t at, size_t indent) {
  std::string wrapped;
  size_t column = at;
  bool line_start = true;
  while (!text.empty()) {
    const size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    text.remove_prefix(std::min(space + 1, text.size()));
    if (!line_start && column + 1 + Width(word) > kColumns) {
      wrapped += fmt::format("\n{:{}}", "", indent);
      column = indent;
      line_start = true;
    }
    if (!line_start) {
      wrapped += ' ';
      ++column;
    }
    wrapped += word;
    column += Width(word);
    line_start = false;
  }
  return wrapped;
}

std::string Lowered(std::string_view text) {
  std::string lowered(text);
  for (char& c : lowered) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lowered;
}

void AppendEntry(std::string& help, const ManualEntry& entry, size_t term_columns) {
  const size_t indent = 2 + term_columns + 2;
  const size_t width = Width(entry.term);
  help += fmt::format("  {}", entry.term);
  if (width > term_columns) {
    help += fmt::format("\n{:{}}", "", indent);
  } else {
    help += fmt::format("{:{}}", "", term_columns - width + 2);
  }
  help += Wrap(entry.summary, indent, indent);
  help += '\n';
}

}  // namespace

ManualTerm ParseManualTerm(std::string_view term) {
  ManualTerm parsed;
  std::string_view rest = term;
  for (bool more_names = true; more_names && !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find_first_of(" ,[="));
    parsed.names.push_back(name);
    rest.remove_prefix(name.size());
    // "-c TEXT, --command TEXT" names its operand twice.
    const size_t next = rest.find(", -");
    more_names = rest.starts_with(", ") || next != std::string_view::npos;
    if (more_names) rest.remove_prefix(rest.starts_with(", ") ? 2 : next + 2);
  }
  parsed.operand_optional = rest.starts_with("[=");
  while (rest.starts_with('[') || rest.starts_with('=') || rest.starts_with(' ')) {
    if (!parsed.operand_optional && rest.starts_with('[')) break;
    rest.remove_prefix(1);
  }
  if (parsed.operand_optional && rest.ends_with(']')) rest.remove_suffix(1);
  parsed.operand = rest;
  return parsed;
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string RenderHelp(const Manual& manual) {
  std::string help = Wrap(fmt::format("{} {}", manual.name, manual.summary), 0, 2) + "\n\n";
  for (size_t i = 0; i < manual.usage.size(); ++i) {
    help += fmt::format("{} {} {}\n", i == 0 ? "usage:" : "      ", manual.name, manual.usage[i]);
  }
  size_t term_columns = 0;
  for (const ManualSection& section : manual.sections) {
    for (const ManualEntry& entry : section.entries) {
      const size_t width = Width(entry.term);
      if (!section.in_help || entry.summary.empty() || width > kMaxTermColumns) continue;
      term_columns = std::max(term_columns, width);
    }
  }
  const auto sections =
      std::ranges::count_if(manual.sections, [](const auto& section) { return section.in_help; });
  for (const ManualSection& section : manual.sections) {
    if (!section.in_help) continue;
    help += '\n';
    if (sections > 1) help += fmt::format("{}:\n", Lowered(section.title));
    for (const ManualEntry& entry : section.entries) {
      if (!entry.summary.empty()) AppendEntry(help, entry, term_columns);
    }
  }
  if (!manual.help_footer.empty()) {
    help +=
        fmt::format("\n{}{}", manual.help_footer, manual.help_footer.ends_with('\n') ? "" : "\n");
  }
  return help;
}

}  // namespace minivmm
