// Little-endian numbers in plain bytes, at any alignment: what boot structures, ACPI tables and
// images are made of. Pure; any thread. The caller has checked that the field lies within the bytes
// (for input: RangeFits); a field outside is our own bug.
#ifndef MINIVMM_BLOCKCORE_BASE_LITTLE_ENDIAN_H_
#define MINIVMM_BLOCKCORE_BASE_LITTLE_ENDIAN_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"

namespace minivmm {

template <std::unsigned_integral T>
T LoadLe(std::span<const std::byte> bytes, uint64_t offset) {
  VMM_CHECK(RangeFits(offset, sizeof(T), bytes.size()));
  uint64_t value = 0;
  for (size_t i = sizeof(T); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[offset + i]);
  return static_cast<T>(value);
}

// StoreLe<uint32_t>(table, 4, value): the width is always named.
template <std::unsigned_integral T>
void StoreLe(std::span<std::byte> bytes, uint64_t offset, std::type_identity_t<T> value) {
  VMM_CHECK(RangeFits(offset, sizeof(T), bytes.size()));
  for (size_t i = 0; i < sizeof(T); ++i)
    bytes[offset + i] = static_cast<std::byte>(uint64_t{value} >> (8 * i));
}

template <std::unsigned_integral T>
void AppendLe(std::vector<std::byte>& bytes, std::type_identity_t<T> value) {
  bytes.resize(bytes.size() + sizeof(T));
  StoreLe<T>(bytes, bytes.size() - sizeof(T), value);
}

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_LITTLE_ENDIAN_H_
