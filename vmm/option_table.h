// The table of minivmm's options: what ParseCommandLine parses with, and what the manual is made
// of. Pure.
#ifndef MINIVMM_VMM_OPTION_TABLE_H_
#define MINIVMM_VMM_OPTION_TABLE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/manual.h"
#include "blockcore/base/result.h"
#include "vmm/command_line.h"
#include "vmm/disk_properties.h"

namespace minivmm {

// The command line while it is being read.
struct CommandLineRequest {
  CommandLine line;
  std::vector<DiskRequest> disks;
  std::string config_path;  // a --config that is to be read now
  bool print_given = false;
};

struct KnownOption {
  enum class Value : uint8_t { kNone, kNeeded, kOptional };  // optional: only behind a `=`

  std::string_view name;
  std::string_view other_name;  // empty: none
  Value value;
  bool repeatable;        // each one adds; otherwise the last one counts
  std::string_view term;  // in the manual
  std::string_view summary;
  std::string_view details;
  std::vector<std::string> completions;
  // `text` is empty when there is no value.
  Result<void> (*set)(CommandLineRequest& request, std::string_view text);
};

std::span<const KnownOption> KnownOptions();

// Null when there is none. `name` without dashes.
const KnownOption* FindOption(std::string_view name);

}  // namespace minivmm

#endif  // MINIVMM_VMM_OPTION_TABLE_H_
