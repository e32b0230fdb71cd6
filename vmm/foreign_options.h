// Options of QEMU's command line that minivmm does not have: those that describe what it is anyway
// are accepted, the others refused with the reason, so that a QEMU line can be made into one of
// minivmm's without guessing. Pure; ParseCommandLine asks here about each option that is not its
// own.
#ifndef MINIVMM_VMM_FOREIGN_OPTIONS_H_
#define MINIVMM_VMM_FOREIGN_OPTIONS_H_

#include <optional>
#include <string>
#include <string_view>

#include "blockcore/base/manual.h"
#include "blockcore/base/result.h"

namespace minivmm {

struct ForeignOption {
  std::string_view name;
  bool has_value;
  std::string_view accepted;  // values, separated by '|'; "*" takes any; empty: refused
  std::string_view why;       // of the refusal
};

// Null when QEMU has no such option either, or none that matters. `name` without dashes.
const ForeignOption* FindForeignOption(std::string_view name);

// `as_given`: the option with its dashes, for messages.
Result<void> CheckForeignOption(const ForeignOption& option, std::string_view as_given,
                                const std::optional<std::string>& value);

ManualSection ForeignManual();

}  // namespace minivmm

#endif  // MINIVMM_VMM_FOREIGN_OPTIONS_H_
