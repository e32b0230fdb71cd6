#include "vmm/argument_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr int kMaxFiles = 64;
constexpr size_t kMaxWords = 10'000;

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Expansion {
 public:
  explicit Expansion(const FileReader& read) : read_(read) {}

  Result<void> Add(std::string word) {
    if (word.starts_with('@')) return AddFile(word.substr(1));
    if (words_.size() == kMaxWords) return Fail("there are more than {} arguments", kMaxWords);
    words_.push_back(std::move(word));
    return {};
  }

  std::vector<std::string> TakeWords() { return std::move(words_); }

 private:
  Result<void> AddFile(const std::string& path) {
    if (path.empty()) return Fail("'@': the name of a file must follow at once");
    if (++files_ > kMaxFiles) {
      return Fail("@{}: more than {} files of arguments: do they name each other?", path,
                  kMaxFiles);
    }
    Result<std::string> text = read_(path);
    if (!text) return Fail("@{}: {}", path, text.error().message);
    Result<std::vector<std::string>> words = SplitWords(*text);
    if (!words) return Fail("@{}: {}", path, words.error().message);
    for (std::string& word : *words) TRY_VOID(Add(std::move(word)));
    return {};
  }

  const FileReader& read_;
  std::vector<std::string> words_;
  int files_ = 0;
};

}  // namespace

Result<std::string> ReadTextFile(const std::string& path) {
  constexpr size_t kMaxBytes = 1_MiB;
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return Fail("cannot open '{}': {}", path, ErrnoText(errno));
  std::string text;
  for (;;) {
    char buffer[4096];
    ssize_t count = ::read(fd.get(), buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail("cannot read '{}': {}", path, ErrnoText(errno));
    if (count == 0) return text;
    text.append(buffer, static_cast<size_t>(count));
    if (text.size() > kMaxBytes) return Fail("cannot read '{}': it has more than 1 MiB", path);
  }
}

// Boost's split_unix takes either quotation mark for the end of the other, which breaks JSON.
Result<std::vector<std::string>> SplitWords(std::string_view text) {
  std::vector<std::string> words;
  std::optional<std::string> word;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\0') return Fail("a zero byte at offset {}: it is no text file", i);
    if (quote == 0 && IsBlank(c)) {
      if (word) words.push_back(*std::exchange(word, std::nullopt));
      continue;
    }
    if (quote == 0 && c == '#' && !word) {
      while (i + 1 < text.size() && text[i + 1] != '\n') ++i;
      continue;
    }
    if (quote != '\'' && text.substr(i).starts_with("\\\n")) {
      ++i;
      continue;
    }
    if (!word) word.emplace();
    if (c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == '\\' && quote != '\'') {
      if (++i == text.size()) return Fail("the last line ends in a backslash");
      if (quote == '"' && text[i] != '"' && text[i] != '\\') *word += c;
      *word += text[i];
    } else {
      *word += c;
    }
  }
  if (quote != 0) return Fail("a quotation mark {} is never closed", quote);
  if (word) words.push_back(std::move(*word));
  return words;
}

Result<std::vector<std::string>> ExpandArgumentFiles(std::span<const char* const> arguments,
                                                     const FileReader& read) {
  Expansion expansion(read);
  for (const char* argument : arguments) TRY_VOID(expansion.Add(argument));
  return expansion.TakeWords();
}

}  // namespace minivmm
