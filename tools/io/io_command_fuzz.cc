// What minivmm-io makes of a line before it touches a disk: words, command, options, numbers.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/check.h"
#include "tools/io/command.h"
#include "tools/io/text.h"

namespace minivmm {
namespace {

// One line, with what was typed quoted as it is: scripts know these texts from qemu-io.
void CheckComplaint(const Error& error, std::string_view line) {
  VMM_CHECK(!error.message.empty() && error.message.size() <= line.size() + 1000);
  VMM_CHECK(error.message.find('\n') == std::string::npos);
}

void ParseLine(std::string_view line) {
  const std::vector<std::string> words = SplitWords(line);
  for (const std::string& word : words) {
    VMM_CHECK(!word.empty());
    const auto bytes = ParseBytes(word);
    if (!bytes) CheckComplaint(bytes.error(), line);
    if (bytes) {
      VMM_CHECK(*bytes < uint64_t{1} << 63);
      VMM_CHECK(!FormatBytes(static_cast<double>(*bytes)).empty());
    }
    if (const auto pattern = ParsePattern(word); !pattern) CheckComplaint(pattern.error(), line);
  }
  if (words.empty()) return;
  const IoCommand* command = FindIoCommand(words[0]);
  if (command == nullptr) return;
  const auto rest = std::span(words).subspan(1);
  if (const auto enough = CheckWordCount(*command, words[0], rest.size()); !enough) {
    return CheckComplaint(enough.error(), line);
  }
  const auto arguments = ParseCommandArguments(*command, words[0], rest);
  if (!arguments) return CheckComplaint(arguments.error(), line);
  for (const auto& [option, value] : arguments->options) {
    VMM_CHECK(command->options.find(option) != std::string_view::npos);
    VMM_CHECK(arguments->Value(option) != nullptr);
  }
  VMM_CHECK(arguments->words.size() <= rest.size());
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    minivmm::ParseLine(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return 0;
}
