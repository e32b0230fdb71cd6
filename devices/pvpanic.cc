#include "devices/pvpanic.h"

#include <algorithm>
#include <utility>

namespace minivmm {
namespace {

constexpr std::byte kPanicked{1 << 0};

}  // namespace

Pvpanic::Pvpanic(std::function<void()> on_panic) : on_panic_(std::move(on_panic)) {}

void Pvpanic::Read(uint64_t, std::span<std::byte> data) {
  std::ranges::fill(data, std::byte{0});
  if (!data.empty()) data[0] = kPanicked;
}

void Pvpanic::Write(uint64_t, std::span<const std::byte> data) {
  if (!data.empty() && (data[0] & kPanicked) != std::byte{0}) on_panic_();
}

}  // namespace minivmm
