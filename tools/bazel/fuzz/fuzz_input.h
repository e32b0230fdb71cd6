// FuzzInput: a fuzzer's bytes as a sequence of choices, for targets that build something mostly
// valid out of them. Bytes that are used up read as zeroes, so that any input means something and a
// short one means something simple. One thread.
//
//   FuzzInput input(data, size);
//   uint16_t queue_size = input.Pick<uint16_t>({1, 4, 256});
//   while (!input.empty()) switch (input.Below(3)) { … }
#ifndef MINIVMM_TOOLS_BAZEL_FUZZ_FUZZ_INPUT_H_
#define MINIVMM_TOOLS_BAZEL_FUZZ_FUZZ_INPUT_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string_view>
#include <type_traits>

#include "blockcore/base/check.h"

namespace minivmm {

class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size)
      : rest_(reinterpret_cast<const std::byte*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  std::span<const std::byte> rest() const { return rest_; }

  // The next bytes, little-endian.
  template <typename T>
  T Take() {
    static_assert(std::is_unsigned_v<T>);
    T value = 0;
    const size_t part = std::min(sizeof(T), rest_.size());
    if (part != 0) std::memcpy(&value, rest_.data(), part);
    rest_ = rest_.subspan(part);
    return value;
  }
  // At most `bytes`, fewer at the end.
  std::span<const std::byte> TakeBytes(size_t bytes) {
    const auto taken = rest_.first(std::min(bytes, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

  bool TakeBool() { return (Take<uint8_t>() & 1) != 0; }
  // In [0, limit), from one byte if that is enough; `limit` is at least 1.
  uint64_t Below(uint64_t limit) {
    if (limit <= 0x100) return Take<uint8_t>() % limit;
    if (limit <= 0x1'0000) return Take<uint16_t>() % limit;
    return Take<uint64_t>() % limit;
  }
  template <typename T>
  T Pick(std::initializer_list<T> values) {
    return values.begin()[Below(values.size())];
  }
  // A number as tests like them: small, near a power of two, near all ones, or any.
  uint64_t Number() {
    const uint8_t choice = Take<uint8_t>();
    const uint64_t power = uint64_t{1} << (choice & 63);
    switch (choice >> 6) {
      case 0:
        return choice;
      case 1:
        return power - 1 + Below(3);
      case 2:
        return ~uint64_t{0} - Below(16);
      default:
        return Take<uint64_t>();
    }
  }

 private:
  std::span<const std::byte> rest_;
};

// What every error message must be: there, one line, and bounded whatever the input holds.
inline void CheckErrorText(std::string_view message) {
  constexpr size_t kMaxErrorBytes = 1000;
  VMM_CHECK(!message.empty());
  VMM_CHECK(message.size() <= kMaxErrorBytes);
  VMM_CHECK(std::ranges::none_of(
      message, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }));
}

}  // namespace minivmm

#endif  // MINIVMM_TOOLS_BAZEL_FUZZ_FUZZ_INPUT_H_
