#include "devices/debug_exit.h"

#include <algorithm>
#include <utility>

namespace minivmm {

DebugExit::DebugExit(std::function<void(uint8_t exit_status)> on_exit)
    : on_exit_(std::move(on_exit)) {}

void DebugExit::Read(uint64_t, std::span<std::byte> data) { std::ranges::fill(data, std::byte{0}); }

void DebugExit::Write(uint64_t, std::span<const std::byte> data) {
  // Of 2 * v + 1 only the lowest byte is handed on, so only the lowest byte of v matters.
  if (!data.empty()) on_exit_(static_cast<uint8_t>(static_cast<uint8_t>(data[0]) << 1 | 1));
}

}  // namespace minivmm
