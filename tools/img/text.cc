#include "tools/img/text.h"

#include <fmt/format.h>

namespace minivmm {

std::string FormatSize(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  double value = static_cast<double>(bytes);
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  std::string number = fmt::format("{:.2f}", value);
  number.erase(number.find_last_not_of('0') + 1);
  if (number.back() == '.') number.pop_back();
  return fmt::format("{} {}", number, kUnits[unit]);
}

std::string_view ConditionShort(ZoneCondition condition) {
  switch (condition) {
    case ZoneCondition::kNotWritePointer:
      return "nw";
    case ZoneCondition::kEmpty:
      return "em";
    case ZoneCondition::kImplicitlyOpen:
      return "oi";
    case ZoneCondition::kExplicitlyOpen:
      return "oe";
    case ZoneCondition::kClosed:
      return "cl";
    case ZoneCondition::kReadOnly:
      return "ro";
    case ZoneCondition::kFull:
      return "fu";
    case ZoneCondition::kOffline:
      return "of";
  }
  return "??";
}

std::string_view TypeName(ZoneType type) {
  switch (type) {
    case ZoneType::kConventional:
      return "CONVENTIONAL";
    case ZoneType::kSequentialRequired:
      return "SEQ_WRITE_REQUIRED";
    case ZoneType::kSequentialPreferred:
      return "SEQ_WRITE_PREFERRED";
  }
  return "UNKNOWN";
}

}  // namespace minivmm
