// ManualTerm: the term of an entry taken apart, for the forms that need more than its text. Used by
// the renderers of manual.h only. Pure.
//
//   "-m, --memory SIZE"         names -m --memory, operand SIZE
//   "--help[=man|bash]"         name  --help,      operand man|bash, which may be missing
//   "zone_report, zrp OFFSET"   names zone_report zrp, operand OFFSET
#ifndef MINIVMM_BLOCKCORE_BASE_MANUAL_TERM_H_
#define MINIVMM_BLOCKCORE_BASE_MANUAL_TERM_H_

#include <string_view>
#include <vector>

namespace minivmm {

struct ManualTerm {
  std::vector<std::string_view> names;
  std::string_view operand;  // all that follows the last name; empty: nothing does
  bool operand_optional = false;

  bool is_option() const { return !names.empty() && names.front().starts_with('-'); }
};

// Borrows from `term`.
ManualTerm ParseManualTerm(std::string_view term);

// The lines of `text`, without their ends.
std::vector<std::string_view> SplitLines(std::string_view text);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_MANUAL_TERM_H_
