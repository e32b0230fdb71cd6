#include "vmm/value_text.h"

#include <boost/json.hpp>
#include <charconv>
#include <optional>

#include "blockcore/base/units.h"
#include "blockcore/options.h"

namespace minivmm {
namespace {

struct Number {
  uint64_t value;
  std::string_view suffix;
};

constexpr std::pair<std::string_view, OnError> kOnErrors[] = {{"report", OnError::kReport},
                                                              {"ignore", OnError::kIgnore},
                                                              {"enospc", OnError::kEnospc},
                                                              {"stop", OnError::kStop}};

// Decimal, or hexadecimal with 0x.
std::optional<Number> ParseNumber(std::string_view text) {
  int base = 10;
  std::string_view digits = text;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    digits.remove_prefix(2);
    base = 16;
  }
  Number number{};
  auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number.value, base);
  if (error != std::errc()) return std::nullopt;
  number.suffix = digits.substr(static_cast<size_t>(end - digits.data()));
  return number;
}

}  // namespace

Result<uint64_t> ParseInRange(std::string_view where, std::string_view text, uint64_t min,
                              uint64_t max) {
  std::optional<Number> number = ParseNumber(text);
  if (!number || !number->suffix.empty() || number->value < min || number->value > max) {
    return Fail("{}: '{}' is not a number from {} to {}", where, text, min, max);
  }
  return number->value;
}

Result<bool> ParseSwitch(std::string_view where, std::string_view text) {
  if (text == "on" || text == "yes" || text == "true") return true;
  if (text == "off" || text == "no" || text == "false") return false;
  return Fail("{}: '{}' is neither on nor off", where, text);
}

Result<uint64_t> ParseMemory(std::string_view where, std::string_view text) {
  constexpr uint64_t kMaxMebibytes = uint64_t{1} << 20;
  std::optional<Number> number = ParseNumber(text);
  uint64_t factor = 1;
  if (number && (number->suffix == "G" || number->suffix == "g")) {
    factor = 1024;
  } else if (!number ||
             !(number->suffix.empty() || number->suffix == "M" || number->suffix == "m")) {
    return Fail("{}: '{}' is not a size of memory: say 512, 512M or 2G", where, text);
  }
  if (number->value == 0) {
    return Fail("{}: a guest cannot run with no memory: say 512, 512M or 2G", where);
  }
  if (number->value > kMaxMebibytes / factor) {
    return Fail("{}: '{}' is more than 1 TiB: say 512, 512M or 2G", where, text);
  }
  return number->value * factor * 1_MiB;
}

Result<uint32_t> ParseBlockSize(std::string_view where, std::string_view text) {
  std::optional<Number> number = ParseNumber(text);
  uint64_t factor = 1;
  if (number && (number->suffix == "k" || number->suffix == "K")) factor = 1_KiB;
  if (number && (number->suffix == "m" || number->suffix == "M")) factor = 1_MiB;
  if (number && (factor > 1 || number->suffix.empty()) && number->value <= 2_MiB / factor) {
    uint64_t bytes = number->value * factor;
    if (bytes == 0 || (bytes >= 512 && IsPowerOfTwo(bytes))) return static_cast<uint32_t>(bytes);
  }
  return Fail("{}: '{}' is not a power of two from 512 to 2 MiB (0: the disk's own)", where, text);
}

Result<OnError> ParseOnError(std::string_view where, std::string_view text, ErrorsOf errors) {
  for (const auto& [name, on_error] : kOnErrors) {
    if (text != name) continue;
    if (on_error == OnError::kEnospc && errors == ErrorsOf::kReads) {
      return Fail("{}: a read needs no space: say report, ignore or stop", where);
    }
    return on_error;
  }
  return Fail("{}: '{}' is not known: say report, ignore{} or stop", where, text,
              errors == ErrorsOf::kWrites ? ", enospc" : "");
}

std::string OnErrorText(OnError on_error) {
  for (const auto& [name, value] : kOnErrors) {
    if (value == on_error) return std::string(name);
  }
  return "";
}

Result<Description> ParseDescription(std::string_view text, std::string_view implied_key) {
  TRY(Options options, Options::Parse(text, implied_key));
  return options.KeysAndValues();
}

std::string DescriptionToJson(const Description& description) {
  boost::json::object object;
  for (const auto& [key, value] : description) object[key] = value;
  return boost::json::serialize(object);
}

}  // namespace minivmm
