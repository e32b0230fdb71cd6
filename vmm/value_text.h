// Values of options as text, taken apart: numbers, switches, memory sizes, and descriptions of
// things in the forms that blockcore/options.h documents. For the command line's parser; pure, any
// thread. `where` is what an error message begins with: the option, and the key in it.
#ifndef MINIVMM_VMM_VALUE_TEXT_H_
#define MINIVMM_VMM_VALUE_TEXT_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/error_policy.h"

namespace minivmm {

// Decimal, or hexadecimal with 0x; in [min, max].
Result<uint64_t> ParseInRange(std::string_view where, std::string_view text, uint64_t min,
                              uint64_t max);

// on|off, yes|no, true|false.
Result<bool> ParseSwitch(std::string_view where, std::string_view text);

// Bytes of a guest's memory: MiB, or with suffix M or G; 1 MiB to 1 TiB.
Result<uint64_t> ParseMemory(std::string_view where, std::string_view text);

// Bytes of a block: a power of two from 512 to 2 MiB, also as 4k; or 0.
Result<uint32_t> ParseBlockSize(std::string_view where, std::string_view text);

// QEMU's words for rerror= and werror=. Errors of reads have no enospc.
enum class ErrorsOf : uint8_t { kReads, kWrites };
Result<OnError> ParseOnError(std::string_view where, std::string_view text, ErrorsOf errors);
std::string OnErrorText(OnError on_error);

// Keys (dotted where they were nested) and values, in their order, of what Options::Parse takes.
using Description = std::vector<std::pair<std::string, std::string>>;
Result<Description> ParseDescription(std::string_view text, std::string_view implied_key);

// The same as JSON: an object with dotted keys, which ParseDescription reads back.
std::string DescriptionToJson(const Description& description);

}  // namespace minivmm

#endif  // MINIVMM_VMM_VALUE_TEXT_H_
