// Options: the description of one thing on the command line, taken apart.
//
//   node-name=d0,driver=raw,file.driver=file,file.filename=a,,b.img   ,, is a comma
//   raw,node-name=d0,file=other                              first word without "=": the driver
//   {"node-name": "d0", "driver": "raw", "file": {"driver": "file", "filename": "a,b.img"}}
//
// All three become a flat list of dotted keys with text values. The one who is described takes each
// key by name and type, and at the end checks that all were taken: what he asked for, and nothing
// else, are the known keys, so that an error can name the nearest. Set-up only; any thread, one at
// a time.
#ifndef MINIVMM_BLOCKCORE_OPTIONS_H_
#define MINIVMM_BLOCKCORE_OPTIONS_H_

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blockcore/base/result.h"

namespace minivmm {

// The candidate that `word` is most likely a misspelling of; none if all are far away.
std::optional<std::string_view> NearestWord(std::string_view word,
                                            std::span<const std::string_view> candidates);

// The end of a message about an unknown word: "; did you mean 'file'?", or "; known are: a, b".
// Empty without candidates.
std::string SuggestionFor(std::string_view word, std::span<const std::string_view> candidates);

class Options {
 public:
  static constexpr size_t kMaxKeys = 1000;

  // `implied_key`: the key of a first word without '='. Fails with what is wrong at which key; the
  // text may be anything, and a long one costs little time: it has at most kMaxKeys keys.
  static Result<Options> Parse(std::string_view text, std::string_view implied_key = "driver");

  // Each returns nothing when the key was not given. `key` need not outlive the call.
  std::optional<std::string> TakeString(std::string_view key);
  // on|off, yes|no, true|false.
  Result<std::optional<bool>> TakeBool(std::string_view key);
  // Bytes: a number, whole or with a decimal point, and k, M, G, T, P or E (powers of 1024; either
  // case, optionally B after it).
  Result<std::optional<uint64_t>> TakeSize(std::string_view key);
  // A decimal number in [minimum, maximum].
  Result<std::optional<uint64_t>> TakeNumber(std::string_view key, uint64_t minimum,
                                             uint64_t maximum);
  // One of `words`.
  Result<std::optional<std::string>> TakeWord(std::string_view key,
                                              std::initializer_list<std::string_view> words);

  // All keys "PREFIX.rest", as Options of their own with keys "rest"; nothing if there are none.
  std::optional<Options> TakeNested(std::string_view prefix);

  // Fails for the first key that nobody took: "unknown option 'filname' for driver 'file'; did you
  // mean 'filename'?". `whose` is that "driver 'file'".
  Result<void> CheckAllTaken(std::string_view whose) const;

  // All that was given, taken or not, in its order, for who hands it on without knowing the keys.
  std::vector<std::pair<std::string, std::string>> KeysAndValues() const;
  // Whether the key was given, taken or not.
  bool Has(std::string_view key) const;
  // Adds a key unless it was given, as a default from outside.
  void AddDefault(std::string_view key, std::string_view value);

 private:
  struct Entry {
    std::string key;
    std::string value;
    bool taken = false;
  };
  class JsonDescription;

  static Unexpected TooManyKeys();
  Result<void> Add(std::string key, std::string value);
  Result<void> CheckNesting() const;
  Result<void> ParseKeyValues(std::string_view text, std::string_view implied_key);
  Result<void> ParseJson(std::string_view text);

  std::string prefix_;  // of a nested description, "file.", for messages
  std::vector<Entry> entries_;
  std::vector<std::string> known_keys_;  // what was asked for
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_OPTIONS_H_
