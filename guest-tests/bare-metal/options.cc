#include "guest-tests/bare-metal/options.h"

#include "guest-tests/bare-metal/console.h"

namespace minivmm {
namespace {

bool IsEndOfWord(char character) { return character == '\0' || character == ' '; }

// The text after `key` when `word` begins with it, else null.
const char* ValueOf(const char* word, const char* key) {
  for (; *key != '\0'; ++word, ++key) {
    if (*word != *key) return nullptr;
  }
  return word;
}

bool IsWord(const char* text, const char* word) {
  const char* end = ValueOf(text, word);
  return end != nullptr && IsEndOfWord(*end);
}

bool ParseNumber(const char* text, uint64_t* number) {
  unsigned base = 10;
  if (const char* digits = ValueOf(text, "0x"); digits != nullptr) {
    base = 16;
    text = digits;
  }
  if (IsEndOfWord(*text)) return false;
  *number = 0;
  for (; !IsEndOfWord(*text); ++text) {
    unsigned digit = 16;
    if (*text >= '0' && *text <= '9') digit = static_cast<unsigned>(*text - '0');
    if (*text >= 'a' && *text <= 'f') digit = static_cast<unsigned>(*text - 'a') + 10;
    if (digit >= base) return false;
    *number = *number * base + digit;
  }
  return true;
}

bool ParseWord(const char* word, Options* options) {
  if (const char* value = ValueOf(word, "only=")) {
    options->only = value;
    return true;
  }
  if (const char* value = ValueOf(word, "except=")) {
    options->except = value;
    return true;
  }
  if (const char* value = ValueOf(word, "expect=")) {
    if (IsWord(value, "host-managed")) options->expect = Expectation::kHostManaged;
    if (IsWord(value, "host-aware")) options->expect = Expectation::kHostAware;
    if (IsWord(value, "plain")) options->expect = Expectation::kPlain;
    return options->expect != Expectation::kAny;
  }
  if (const char* value = ValueOf(word, "ring=")) {
    options->ring_is_packed = IsWord(value, "packed");
    return options->ring_is_packed || IsWord(value, "split");
  }
  if (const char* value = ValueOf(word, "data=")) {
    options->data_is_kept = IsWord(value, "kept");
    return options->data_is_kept || IsWord(value, "dropped");
  }
  if (const char* value = ValueOf(word, "phase=")) {
    if (IsWord(value, "write")) options->phase = Phase::kWrite;
    if (IsWord(value, "crash")) options->phase = Phase::kCrash;
    if (IsWord(value, "verify")) options->phase = Phase::kVerify;
    return options->phase != Phase::kChecks;
  }
  if (const char* value = ValueOf(word, "flushed=")) return ParseNumber(value, &options->flushed);
  if (const char* value = ValueOf(word, "disk=")) return ParseNumber(value, &options->disk);
  if (const char* value = ValueOf(word, "ecam=")) return ParseNumber(value, &options->ecam);
  return false;
}

// Whether the id begins with one of the comma-separated prefixes, of which there is at least one.
bool HasPrefixIn(const char* prefix, const char* id) {
  while (true) {
    const char* rest = id;
    while (*prefix != ',' && !IsEndOfWord(*prefix) && *prefix == *rest) {
      ++prefix;
      ++rest;
    }
    if (*prefix == ',' || IsEndOfWord(*prefix)) return true;
    while (*prefix != ',' && !IsEndOfWord(*prefix)) ++prefix;
    if (IsEndOfWord(*prefix)) return false;
    ++prefix;
  }
}

}  // namespace

bool ParseOptions(const char* command_line, Options* options) {
  const char* word = command_line;
  while (*word != '\0') {
    if (*word != ' ' && !ParseWord(word, options)) {
      Print("baremetal: cannot read the command line from here on: ", word, "\n");
      return false;
    }
    while (!IsEndOfWord(*word)) ++word;
    while (*word == ' ') ++word;
  }
  return true;
}

bool IsSelected(const Options& options, const char* id) {
  const bool is_named = IsEndOfWord(options.only[0]) || HasPrefixIn(options.only, id);
  return is_named && (IsEndOfWord(options.except[0]) || !HasPrefixIn(options.except, id));
}

}  // namespace minivmm
