#include "blockcore/options.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/system/error_code.hpp>
#include <charconv>
#include <utility>

#include "blockcore/base/excerpt.h"
#include "blockcore/json_listener.h"

namespace minivmm {
namespace {

// Keys longer than that are no keys of ours; keeps messages and the distance below short.
constexpr size_t kMaxKeyLength = 128;

// How many letters must be changed, added, left out or swapped with their neighbour.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> distance(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) distance[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) distance[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t changed = distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      distance[i][j] = std::min({distance[i - 1][j] + 1, distance[i][j - 1] + 1, changed});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
      }
    }
  }
  return distance[a.size()][b.size()];
}

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Words of letters, digits, '-' and '_', joined by dots.
bool IsKey(std::string_view key) {
  if (key.empty() || key.size() > kMaxKeyLength) return false;
  bool word_begins = true;
  for (char c : key) {
    if (c == '.') {
      if (word_begins) return false;
      word_begins = true;
    } else {
      if (!IsLetter(c) && !IsDigit(c) && c != '-' && c != '_') return false;
      word_begins = false;
    }
  }
  return !word_begins;
}

std::string Quoted(std::string_view text) { return "'" + Excerpt(text) + "'"; }

std::optional<uint64_t> ParseSize(std::string_view text) {
  size_t digits = 0;
  uint64_t whole = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (error != std::errc{}) return std::nullopt;
  digits = end - text.data();
  text.remove_prefix(digits);

  // Up to nine digits of a fraction, as a count of billionths.
  constexpr uint64_t kBillion = 1'000'000'000;
  uint64_t billionths = 0;
  bool has_fraction = false;
  if (!text.empty() && text[0] == '.') {
    text.remove_prefix(1);
    uint64_t unit = kBillion;
    while (!text.empty() && IsDigit(text[0])) {
      unit /= 10;
      if (unit == 0) return std::nullopt;
      billionths += unit * (text[0] - '0');
      text.remove_prefix(1);
      has_fraction = true;
    }
    if (!has_fraction) return std::nullopt;
  }

  int shift = 0;
  if (!text.empty()) {
    constexpr std::string_view kSuffixes = "bkmgtpe";
    char letter = static_cast<char>(text[0] | 0x20);
    size_t power = IsLetter(text[0]) ? kSuffixes.find(letter) : std::string_view::npos;
    if (power == std::string_view::npos) return std::nullopt;
    shift = static_cast<int>(power) * 10;
    text.remove_prefix(1);
    if (power != 0 && !text.empty() && (text[0] | 0x20) == 'b') text.remove_prefix(1);
    if (!text.empty()) return std::nullopt;
  }
  // A fraction of a byte means nothing.
  if (has_fraction && shift == 0) return std::nullopt;
  __extension__ using Wide = unsigned __int128;
  Wide bytes = (Wide{whole} << shift) + ((Wide{billionths} << shift) / kBillion);
  if (bytes > UINT64_MAX) return std::nullopt;
  return static_cast<uint64_t>(bytes);
}

// Cuts the text behind the next single comma; ",," stands for a comma in the part.
std::string NextPart(std::string_view& text) {
  std::string part;
  while (!text.empty()) {
    char c = text[0];
    text.remove_prefix(1);
    if (c == ',') {
      if (text.empty() || text[0] != ',') break;
      text.remove_prefix(1);
    }
    part += c;
  }
  return part;
}

std::string JoinWords(std::span<const std::string_view> words, std::string_view separator) {
  std::string joined;
  for (std::string_view word : words) {
    if (!joined.empty()) joined += separator;
    joined += word;
  }
  return joined;
}

}  // namespace

std::optional<std::string_view> NearestWord(std::string_view word,
                                            std::span<const std::string_view> candidates) {
  std::optional<std::string_view> nearest;
  size_t least = SIZE_MAX;
  if (word.size() > kMaxKeyLength) return nearest;
  for (std::string_view candidate : candidates) {
    size_t distance = EditDistance(word, candidate);
    // A third of the letters may be wrong, and one of a short word.
    if (distance < least && distance <= std::max<size_t>(1, candidate.size() / 3)) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

std::string SuggestionFor(std::string_view word, std::span<const std::string_view> candidates) {
  if (candidates.empty()) return "";
  if (auto nearest = NearestWord(word, candidates))
    return fmt::format("; did you mean '{}'?", *nearest);
  return fmt::format("; known are: {}", JoinWords(candidates, ", "));
}

Result<Options> Options::Parse(std::string_view text, std::string_view implied_key) {
  Options options;
  if (!text.empty() && text[0] == '{') {
    TRY_VOID(options.ParseJson(text));
  } else {
    TRY_VOID(options.ParseKeyValues(text, implied_key));
  }
  TRY_VOID(options.CheckNesting());
  return options;
}

Unexpected Options::TooManyKeys() {
  return Fail("the description has more than {} options; give fewer", kMaxKeys);
}

Result<void> Options::Add(std::string key, std::string value) {
  if (!IsKey(key)) {
    return Fail("{} is no option name (words of letters, digits, '-' and '_', joined by dots)",
                Quoted(key));
  }
  if (entries_.size() == kMaxKeys) return TooManyKeys();
  if (Has(key)) return Fail("option '{}' is given twice", key);
  // A zero byte would end a file name early.
  if (value.find('\0') != std::string::npos) {
    return Fail("option '{}' has a zero byte in its value", key);
  }
  entries_.push_back({std::move(key), std::move(value)});
  return {};
}

Result<void> Options::CheckNesting() const {
  for (const Entry& entry : entries_) {
    for (const Entry& other : entries_) {
      if (other.key.size() > entry.key.size() && other.key[entry.key.size()] == '.' &&
          other.key.starts_with(entry.key)) {
        return Fail("options '{}' and '{}' exclude each other", entry.key, other.key);
      }
    }
  }
  return {};
}

Result<void> Options::ParseKeyValues(std::string_view text, std::string_view implied_key) {
  if (text.empty()) return Fail("the description is empty; it has the form key=value,key=value");
  bool first = true;
  while (!text.empty()) {
    std::string part = NextPart(text);
    size_t equals = part.find('=');
    if (equals != std::string::npos) {
      TRY_VOID(Add(part.substr(0, equals), part.substr(equals + 1)));
    } else if (first && !implied_key.empty() && !part.empty()) {
      TRY_VOID(Add(std::string(implied_key), part));
    } else {
      return Fail(
          "{} has no '=': options have the form key=value, and a comma in a value is written "
          "',,'",
          Quoted(part));
    }
    first = false;
  }
  return {};
}

// Adds each value that it hears of, under the path of its keys.
class Options::JsonDescription : public JsonListener {
 public:
  explicit JsonDescription(Options& options) : options_(options) {}

  bool on_object_begin(Code& code) {
    if (std::find(objects_.begin(), objects_.end(), path_) != objects_.end()) {
      return Refuse(Fail("option {} is given twice", Quoted(path_)), code);
    }
    if (objects_.size() == kMaxKeys) return Refuse(TooManyKeys(), code);
    objects_.push_back(path_);
    key_starts_.push_back(path_.empty() ? 0 : path_.size() + 1);
    if (!path_.empty()) path_ += '.';
    return true;
  }
  bool on_object_end(size_t count, Code& code) {
    const size_t start = key_starts_.back();
    key_starts_.pop_back();
    path_.resize(start == 0 ? 0 : start - 1);
    if (count != 0 || path_.empty()) return true;
    return Refuse(Fail("option {} is an empty object", Quoted(path_)), code);
  }
  bool on_key(Text part, size_t, Code&) {
    path_.resize(key_starts_.back());
    path_ += TakeKey(part);
    return true;
  }
  bool on_string_part(Text part, size_t, Code&) {
    value_.append(part.data(), part.size());
    return true;
  }
  bool on_string(Text part, size_t, Code& code) {
    value_.append(part.data(), part.size());
    return Take(std::exchange(value_, {}), code);
  }
  bool on_bool(bool value, Code& code) { return Take(value ? "on" : "off", code); }
  bool on_int64(int64_t value, Text, Code& code) { return Take(std::to_string(value), code); }
  bool on_uint64(uint64_t value, Text, Code& code) { return Take(std::to_string(value), code); }
  bool on_double(double, Text, Code& code) { return RefuseType(code); }
  bool on_null(Code& code) { return RefuseType(code); }
  bool on_array_begin(Code& code) { return RefuseType(code); }

 private:
  bool Take(std::string value, Code& code) {
    Result<void> added = options_.Add(path_, std::move(value));
    return added ? true : Refuse(Unexpected(std::move(added).error()), code);
  }
  bool RefuseType(Code& code) {
    return Refuse(
        Fail("option {} must be a string, an integer, a boolean or an object", Quoted(path_)),
        code);
  }

  Options& options_;
  std::string path_;                  // of the value that comes next
  std::vector<size_t> key_starts_;    // in path_, for each open object
  std::vector<std::string> objects_;  // paths of all so far
  std::string value_;                 // what came of it
};

Result<void> Options::ParseJson(std::string_view text) {
  boost::json::basic_parser<JsonDescription> parser(JsonOfAnyBytes(), *this);
  boost::system::error_code error;
  const size_t parsed = parser.write_some(/*more=*/false, text.data(), text.size(), error);
  if (parser.handler().failure()) return Unexpected(*parser.handler().failure());
  if (error) return Fail("the description is not valid JSON: {}", error.message());
  if (parsed != text.size()) {
    return Fail("the JSON description has more after its end: {}", Quoted(text.substr(parsed)));
  }
  return {};
}

std::vector<std::pair<std::string, std::string>> Options::KeysAndValues() const {
  std::vector<std::pair<std::string, std::string>> all;
  for (const Entry& entry : entries_) all.emplace_back(entry.key, entry.value);
  return all;
}

bool Options::Has(std::string_view key) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [key](const Entry& entry) { return entry.key == key; });
}

void Options::AddDefault(std::string_view key, std::string_view value) {
  if (!Has(key)) entries_.push_back({std::string(key), std::string(value)});
}

std::optional<std::string> Options::TakeString(std::string_view key) {
  if (std::find(known_keys_.begin(), known_keys_.end(), key) == known_keys_.end()) {
    known_keys_.emplace_back(key);
  }
  for (Entry& entry : entries_) {
    if (entry.key != key) continue;
    entry.taken = true;
    return entry.value;
  }
  return std::nullopt;
}

Result<std::optional<bool>> Options::TakeBool(std::string_view key) {
  std::optional<std::string> text = TakeString(key);
  if (!text) return std::nullopt;
  if (*text == "on" || *text == "yes" || *text == "true") return true;
  if (*text == "off" || *text == "no" || *text == "false") return false;
  return Fail("option '{}{}' is {}, but must be 'on' or 'off'", prefix_, key, Quoted(*text));
}

Result<std::optional<uint64_t>> Options::TakeSize(std::string_view key) {
  std::optional<std::string> text = TakeString(key);
  if (!text) return std::nullopt;
  if (std::optional<uint64_t> bytes = ParseSize(*text)) return bytes;
  return Fail(
      "option '{}{}' is {}, but must be a size below 16 EiB such as 512, 64k, 1.5M, 10G or 2T",
      prefix_, key, Quoted(*text));
}

Result<std::optional<uint64_t>> Options::TakeNumber(std::string_view key, uint64_t minimum,
                                                    uint64_t maximum) {
  std::optional<std::string> text = TakeString(key);
  if (!text) return std::nullopt;
  uint64_t value = 0;
  const char* text_end = text->data() + text->size();
  auto [end, error] = std::from_chars(text->data(), text_end, value);
  if (error == std::errc{} && end == text_end && value >= minimum && value <= maximum) return value;
  return Fail("option '{}{}' is {}, but must be a number from {} to {}", prefix_, key,
              Quoted(*text), minimum, maximum);
}

Result<std::optional<std::string>> Options::TakeWord(
    std::string_view key, std::initializer_list<std::string_view> words) {
  std::optional<std::string> text = TakeString(key);
  if (!text) return std::nullopt;
  if (std::find(words.begin(), words.end(), *text) != words.end()) return text;
  return Fail("option '{}{}' is {}, but must be one of: {}", prefix_, key, Quoted(*text),
              JoinWords({words.begin(), words.size()}, ", "));
}

std::optional<Options> Options::TakeNested(std::string_view prefix) {
  std::string dotted = std::string(prefix) + ".";
  Options nested;
  nested.prefix_ = prefix_ + dotted;
  for (Entry& entry : entries_) {
    if (!entry.key.starts_with(dotted)) continue;
    entry.taken = true;
    nested.entries_.push_back({entry.key.substr(dotted.size()), entry.value});
  }
  if (nested.entries_.empty()) return std::nullopt;
  return nested;
}

Result<void> Options::CheckAllTaken(std::string_view whose) const {
  for (const Entry& entry : entries_) {
    if (entry.taken) continue;
    std::vector<std::string_view> known(known_keys_.begin(), known_keys_.end());
    return Fail("unknown option '{}{}' for {}{}", prefix_, entry.key, whose,
                SuggestionFor(entry.key, known));
  }
  return {};
}

}  // namespace minivmm
