// Sizes and alignment. Units stand in names everywhere: `_bytes`, `_sectors` (512 bytes, on the
// wire and in zone ioctls only).
#ifndef MINIVMM_BLOCKCORE_BASE_UNITS_H_
#define MINIVMM_BLOCKCORE_BASE_UNITS_H_

#include <cstdint>

namespace minivmm {

constexpr uint64_t kSectorBytes = 512;

constexpr uint64_t operator""_KiB(unsigned long long n) { return n << 10; }
constexpr uint64_t operator""_MiB(unsigned long long n) { return n << 20; }
constexpr uint64_t operator""_GiB(unsigned long long n) { return n << 30; }

constexpr bool IsPowerOfTwo(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

// `alignment` need not be a power of two, but not 0.
constexpr bool IsAligned(uint64_t value, uint64_t alignment) { return value % alignment == 0; }
constexpr uint64_t AlignDown(uint64_t value, uint64_t alignment) {
  return value - value % alignment;
}
// The caller knows that value + alignment does not wrap.
constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return AlignDown(value + alignment - 1, alignment);
}

// Whether [offset, offset + length) lies within [0, size); never wraps.
constexpr bool RangeFits(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BASE_UNITS_H_
