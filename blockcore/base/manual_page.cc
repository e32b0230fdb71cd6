#include <fmt/format.h>

#include "blockcore/base/manual.h"
#include "blockcore/base/manual_term.h"

namespace minivmm {
namespace {

// The code point at the start of `text`, which it takes away; one byte of what is not UTF-8.
uint32_t TakeCodePoint(std::string_view& text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const size_t length = byte(0) < 0xc0 ? 1 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : 4;
  uint32_t code = length == 1 ? byte(0) : byte(0) & (0x7fU >> length);
  if (length > text.size()) {
    text.remove_prefix(text.size());
    return '?';
  }
  for (size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3fU);
  text.remove_prefix(length);
  return code;
}

// Nothing that troff or its preprocessors would understand as more than text. Not for line starts.
std::string Escape(std::string_view text) {
  std::string escaped;
  while (!text.empty()) {
    const uint32_t code = TakeCodePoint(text);
    switch (code) {
      case '\\':
        escaped += "\\(rs";
        break;
      case '-':
        escaped += "\\-";
        break;
      case '\'':
        escaped += "\\(aq";
        break;
      case '`':
        escaped += "\\(ga";
        break;
      case '^':
        escaped += "\\(ha";
        break;
      case '~':
        escaped += "\\(ti";
        break;
      case '"':
        escaped += "\\(dq";
        break;
      default:
        if (code >= 0x80) {
          escaped += fmt::format("\\[u{:04X}]", code);
        } else {
          escaped += code < ' ' ? ' ' : static_cast<char>(code);
        }
    }
  }
  return escaped;
}

std::string AtLineStart(std::string line) {
  if (line.starts_with('.')) line.insert(0, "\\&");
  return line + '\n';
}

// A line of a paragraph: `words` in backquotes become bold.
std::string ProseLine(std::string_view line) {
  std::string prose;
  while (!line.empty()) {
    const size_t open = line.find('`');
    const size_t close = open == std::string_view::npos ? open : line.find('`', open + 1);
    if (close == std::string_view::npos) break;
    prose += Escape(line.substr(0, open));
    prose += fmt::format("\\fB{}\\fP", Escape(line.substr(open + 1, close - open - 1)));
    line.remove_prefix(close + 1);
  }
  return AtLineStart(prose + Escape(line));
}

// Literal words bold, words in capitals italic, brackets and the like as they are.
std::string Syntax(std::string_view text) {
  constexpr std::string_view kSeparators = " ,|[]=:/()";
  std::string page;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(kSeparators), text.size());
    const std::string_view word = text.substr(0, end == 0 ? 1 : end);
    text.remove_prefix(word.size());
    const bool is_operand = word[0] >= 'A' && word[0] <= 'Z' &&
                            word.find_first_of("abcdefghijklmnopqrstuvwxyz") == word.npos;
    if (end == 0 || word[0] == '.' || static_cast<uint8_t>(word[0]) >= 0x80) {
      page += Escape(word);
    } else {
      page += fmt::format("\\f{}{}\\fP", is_operand ? 'I' : 'B', Escape(word));
    }
  }
  return AtLineStart(page);
}

// In an entry the paragraphs are indented as its body is.
void AppendText(std::string& page, std::string_view text, bool in_entry) {
  constexpr std::string_view kExampleIndent = "    ";
  const std::string_view between = in_entry ? ".IP" : ".PP";
  const std::string_view example_end = in_entry ? ".EE\n.RE\n.RE\n" : ".EE\n.RE\n";
  enum class Last { kNothing, kProse, kExample, kGap } last = Last::kNothing;
  for (std::string_view line : SplitLines(text)) {
    const bool is_example = line.starts_with(kExampleIndent);
    if (last == Last::kExample && !is_example) {
      page += example_end;
      last = Last::kGap;
    }
    const size_t start = line.find_first_not_of(' ');
    if (start == std::string_view::npos) {
      if (last == Last::kProse) last = Last::kGap;
    } else if (is_example) {
      if (last != Last::kExample) {
        page += fmt::format("{}\n{}.RS 4\n.EX\n", between, in_entry ? ".RS\n" : "");
      }
      page += AtLineStart(Escape(line.substr(kExampleIndent.size())));
      last = Last::kExample;
    } else {
      if (last == Last::kGap) page += fmt::format("{}\n", between);
      page += ProseLine(line.substr(start));
      last = Last::kProse;
    }
  }
  if (last == Last::kExample) page += example_end;
}

void AppendEntries(std::string& page, const std::vector<ManualEntry>& entries) {
  for (const ManualEntry& entry : entries) {
    page += ".TP\n" + Syntax(entry.term);
    // An entry without a body would take the next one's macro for it.
    page += entry.summary.empty() && entry.details.empty() ? "\\&\n" : "";
    if (!entry.summary.empty()) {
      page += ProseLine(entry.summary);
      if (!entry.details.empty()) page += ".IP\n";
    }
    AppendText(page, entry.details, true);
    if (entry.entries.empty()) continue;
    page += ".RS\n";
    AppendEntries(page, entry.entries);
    page += ".RE\n";
  }
}

std::string Raised(std::string_view text) {
  std::string raised(text);
  for (char& c : raised) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return raised;
}

}  // namespace

std::string RenderManPage(const Manual& manual) {
  const std::string name = Escape(manual.name);
  std::string page = fmt::format(".TH \"{}\" 1 \"\" \"{} {}\" \"User Commands\"\n", Raised(name),
                                 name, Escape(manual.version));
  // Names of options are not broken, and lines not stretched around them.
  page += ".nh\n.ad l\n";
  page += fmt::format(".SH NAME\n{} \\- {}", name, ProseLine(manual.summary));
  page += ".SH SYNOPSIS\n";
  for (size_t i = 0; i < manual.usage.size(); ++i) {
    if (i != 0) page += ".br\n";
    page += fmt::format("\\fB{}\\fP {}", name, Syntax(manual.usage[i]));
  }
  for (const ManualSection& section : manual.sections) {
    page += fmt::format(".SH \"{}\"\n", Escape(section.title));
    AppendText(page, section.text, false);
    AppendEntries(page, section.entries);
  }
  if (!manual.see_also.empty()) {
    page += ".SH \"SEE ALSO\"\n";
    for (const std::string& other : manual.see_also) {
      const size_t end = std::min(other.find('('), other.size());
      page += fmt::format("\\fB{}\\fP{}{}\n", Escape(other.substr(0, end)),
                          Escape(other.substr(end)), &other == &manual.see_also.back() ? "" : ",");
    }
  }
  return page;
}

}  // namespace minivmm
