#include "guest-tests/bare-metal/options.h"

#include "guest-tests/bare-metal/command_line.h"

namespace minivmm {
namespace {

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
  return ParseWords(command_line, [&](const char* word) { return ParseWord(word, options); });
}

bool IsSelected(const Options& options, const char* id) {
  const bool is_named = IsEndOfWord(options.only[0]) || HasPrefixIn(options.only, id);
  return is_named && (IsEndOfWord(options.except[0]) || !HasPrefixIn(options.except, id));
}

}  // namespace minivmm
