#include "tools/io/text.h"

#include <cctype>
#include <charconv>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

constexpr std::string_view kSuffixes = "bkmgtpe";

// How far the unit behind a number shifts it; nothing when it is none.
std::optional<int> ShiftOfSuffix(std::string_view suffix) {
  if (suffix.empty()) return 0;
  if (suffix.size() > 1) return std::nullopt;
  const size_t power =
      kSuffixes.find(static_cast<char>(std::tolower(static_cast<unsigned char>(suffix[0]))));
  if (power == std::string_view::npos) return std::nullopt;
  return static_cast<int>(power) * 10;
}

Unexpected NotANumber(std::string_view text) {
  return Fail("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- {}", text);
}

Unexpected TooLarge(std::string_view text) {
  return Fail("Parsing error: argument too large -- {}", text);
}

bool IsHexadecimal(std::string_view text) {
  return text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

// Takes ".digits" off the front: the fraction in billionths. Nothing when there are no digits;
// those behind the ninth do not count.
std::optional<uint64_t> TakeFraction(std::string_view& text) {
  text.remove_prefix(1);
  if (text.empty() || std::isdigit(static_cast<unsigned char>(text[0])) == 0) return std::nullopt;
  uint64_t billionths = 0;
  uint64_t unit = 100'000'000;
  for (; !text.empty() && std::isdigit(static_cast<unsigned char>(text[0])) != 0; unit /= 10) {
    billionths += unit * static_cast<uint64_t>(text[0] - '0');
    text.remove_prefix(1);
  }
  return billionths;
}

}  // namespace

std::vector<std::string> SplitWords(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  for (char c : line) {
    if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

Result<uint64_t> ParseBytes(std::string_view text) {
  constexpr uint64_t kLargest = INT64_MAX;
  std::string_view rest = text;
  if (!rest.empty() && rest[0] == '-') {
    // A negative number is one that a counter of bytes would take for a huge one.
    rest.remove_prefix(1);
    if (rest.empty() || std::isdigit(static_cast<unsigned char>(rest[0])) == 0) {
      return NotANumber(text);
    }
    return TooLarge(text);
  }
  const bool hexadecimal = IsHexadecimal(rest);
  if (hexadecimal) rest.remove_prefix(2);
  uint64_t whole = 0;
  auto [end, error] =
      std::from_chars(rest.data(), rest.data() + rest.size(), whole, hexadecimal ? 16 : 10);
  if (error == std::errc::result_out_of_range) return TooLarge(text);
  if (error != std::errc{}) return NotANumber(text);
  rest.remove_prefix(end - rest.data());

  uint64_t billionths = 0;
  if (!rest.empty() && rest[0] == '.') {
    std::optional<uint64_t> fraction = hexadecimal ? std::nullopt : TakeFraction(rest);
    if (!fraction) return NotANumber(text);
    billionths = *fraction;
  }
  const std::optional<int> shift = ShiftOfSuffix(rest);
  if (!shift || (billionths != 0 && *shift == 0)) return NotANumber(text);
  __extension__ using Wide = unsigned __int128;
  const Wide bytes = (Wide{whole} << *shift) + (Wide{billionths} << *shift) / 1'000'000'000;
  if (bytes > kLargest) return TooLarge(text);
  return static_cast<uint64_t>(bytes);
}

Result<uint8_t> ParsePattern(std::string_view text) {
  std::string_view digits = text;
  int base = 10;
  if (IsHexadecimal(digits)) {
    digits.remove_prefix(2);
    base = 16;
  } else if (digits.size() > 1 && digits[0] == '0') {
    base = 8;
  }
  uint8_t pattern = 0;
  const char* digits_end = digits.data() + digits.size();
  auto [end, error] = std::from_chars(digits.data(), digits_end, pattern, base);
  if (error != std::errc{} || end != digits_end)
    return Fail("{} is not a valid pattern byte", text);
  return pattern;
}

std::string FormatBytes(double bytes) {
  constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  std::string number = fmt::format("{:.6f}", bytes);
  std::string_view unit = "bytes";
  if (bytes >= 1024) {
    size_t index = 0;
    for (bytes /= 1024; bytes >= 1024 && index + 1 < std::size(kUnits); ++index) bytes /= 1024;
    number = fmt::format("{:.3f}", bytes);
    unit = kUnits[index];
  }
  if (const size_t zeroes = number.find(".000"); zeroes != std::string::npos) number.resize(zeroes);
  return fmt::format("{} {}", number, unit);
}

namespace {

std::string FormatClock(uint64_t elapsed_ns) {
  const uint64_t minutes = elapsed_ns / 60'000'000'000;
  const double seconds = static_cast<double>(elapsed_ns % 60'000'000'000) / 1e9;
  return fmt::format("{}:{:02}:{:05.2f}", minutes / 60, minutes % 60, seconds);
}

double PerSecond(uint64_t count, uint64_t elapsed_ns) {
  if (elapsed_ns == 0) elapsed_ns = 1;
  return static_cast<double>(count) * 1e9 / static_cast<double>(elapsed_ns);
}

}  // namespace

std::string FormatElapsed(uint64_t elapsed_ns) {
  if (elapsed_ns >= 1'000'000'000) return FormatClock(elapsed_ns);
  return fmt::format("{:05.2f} sec", static_cast<double>(elapsed_ns) / 1e9);
}

std::string FormatRate(uint64_t bytes, uint64_t operations, uint64_t elapsed_ns) {
  return fmt::format("{}, {} ops; {} ({}/sec and {:.4f} ops/sec)\n",
                     FormatBytes(static_cast<double>(bytes)), operations, FormatElapsed(elapsed_ns),
                     FormatBytes(PerSecond(bytes, elapsed_ns)), PerSecond(operations, elapsed_ns));
}

std::string FormatTransfer(const TransferReport& report, bool machine) {
  if (machine) {
    return fmt::format("{},{},{},{:.3f},{:.3f}\n", report.done_bytes, report.operations,
                       FormatClock(report.elapsed_ns),
                       PerSecond(report.done_bytes, report.elapsed_ns),
                       PerSecond(report.operations, report.elapsed_ns));
  }
  return fmt::format("{} {}/{} bytes at offset {}\n{}", report.verb, report.done_bytes,
                     report.asked_bytes, report.offset_bytes,
                     FormatRate(report.done_bytes, report.operations, report.elapsed_ns));
}

std::string FormatDump(uint64_t offset_bytes, std::span<const std::byte> data) {
  constexpr size_t kLineBytes = 16;
  std::string text;
  for (size_t done = 0; done < data.size(); done += kLineBytes) {
    const auto line = data.subspan(done, std::min(kLineBytes, data.size() - done));
    fmt::format_to(std::back_inserter(text), "{:08x}:  ", offset_bytes + done);
    for (std::byte byte : line) fmt::format_to(std::back_inserter(text), "{:02x} ", byte);
    text += ' ';
    for (std::byte byte : line) {
      const auto c = std::to_integer<unsigned char>(byte);
      text += std::isalnum(c) != 0 ? static_cast<char>(c) : '.';
    }
    text += '\n';
  }
  return text;
}

std::string FormatZone(const ZoneDescriptor& zone) {
  return fmt::format("start: 0x{:x}, len 0x{:x}, cap 0x{:x}, wptr 0x{:x}, zcond:{}, [type: {}]\n",
                     zone.start_bytes / kSectorBytes, zone.length_bytes / kSectorBytes,
                     zone.capacity_bytes / kSectorBytes, zone.write_pointer_bytes / kSectorBytes,
                     static_cast<unsigned>(zone.condition), static_cast<unsigned>(zone.type));
}

}  // namespace minivmm
