// Numbers and lines in the form that scripts know from qemu-io: what its commands take, and what
// they print. Pure; any thread.
#ifndef MINIVMM_TOOLS_IO_TEXT_H_
#define MINIVMM_TOOLS_IO_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/zone.h"

namespace minivmm {

// The words of a command line, separated by spaces and tabs; there are no quotes.
std::vector<std::string> SplitWords(std::string_view line);

// Bytes: decimal or 0x…, with k, M, G, T, P or E behind it (powers of 1024, either case; a decimal
// number may have a fraction then). Less than 2^63. Fails with "Parsing error: … -- TEXT".
Result<uint64_t> ParseBytes(std::string_view text);

// A byte to fill buffers with: 0 to 255; decimal, 0x… or octal 0….
Result<uint8_t> ParsePattern(std::string_view text);

// "4 KiB", "1.500 KiB", "512 bytes"; a rate that is no whole number of bytes has six decimals.
std::string FormatBytes(double bytes);

// "00.25 sec"; from one second on "0:00:01.25".
std::string FormatElapsed(uint64_t elapsed_ns);

// What a command that moved data says: two lines, or with `machine` one with commas.
//
//   wrote 4096/4096 bytes at offset 0
//   4 KiB, 1 ops; 00.00 sec (4.052 MiB/sec and 1037.2917 ops/sec)
struct TransferReport {
  std::string_view verb;  // "read", "wrote"
  uint64_t offset_bytes = 0;
  uint64_t done_bytes = 0;
  uint64_t asked_bytes = 0;
  uint64_t operations = 1;
  uint64_t elapsed_ns = 0;
};
std::string FormatTransfer(const TransferReport& report, bool machine);
// The second of these lines.
std::string FormatRate(uint64_t bytes, uint64_t operations, uint64_t elapsed_ns);

// 16 bytes a line: "00001000:  41 41 …  AA…".
std::string FormatDump(uint64_t offset_bytes, std::span<const std::byte> data);

// A zone in sectors: "start: 0x8000, len 0x2000, cap 0x1800, wptr 0x8000, zcond:1, [type: 2]".
std::string FormatZone(const ZoneDescriptor& zone);

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_IO_TEXT_H_
