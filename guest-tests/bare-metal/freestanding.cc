// The four functions that a compiler may call in code without a C library. Word loops, not rep
// movs: an emulating KVM runs both one element at a time. (BUILD keeps the compiler from turning
// the loops into calls of themselves.)
#include <cstddef>
#include <cstdint>

namespace {

using Word = uint64_t __attribute__((may_alias, aligned(1)));

}  // namespace

extern "C" {

void* memset(void* target, int value, size_t bytes) {
  auto* to = static_cast<uint8_t*>(target);
  const uint64_t word = 0x0101010101010101u * static_cast<uint8_t>(value);
  for (; bytes >= sizeof(Word); bytes -= sizeof(Word), to += sizeof(Word)) {
    *reinterpret_cast<Word*>(to) = word;
  }
  for (; bytes > 0; --bytes) *to++ = static_cast<uint8_t>(value);
  return target;
}

void* memcpy(void* target, const void* source, size_t bytes) {
  auto* to = static_cast<uint8_t*>(target);
  const auto* from = static_cast<const uint8_t*>(source);
  for (; bytes >= sizeof(Word); bytes -= sizeof(Word), to += sizeof(Word), from += sizeof(Word)) {
    *reinterpret_cast<Word*>(to) = *reinterpret_cast<const Word*>(from);
  }
  for (; bytes > 0; --bytes) *to++ = *from++;
  return target;
}

void* memmove(void* target, const void* source, size_t bytes) {
  auto* to = static_cast<uint8_t*>(target);
  const auto* from = static_cast<const uint8_t*>(source);
  if (to <= from) return memcpy(target, source, bytes);
  while (bytes > 0) {
    --bytes;
    to[bytes] = from[bytes];
  }
  return target;
}

int memcmp(const void* left, const void* right, size_t bytes) {
  const auto* a = static_cast<const uint8_t*>(left);
  const auto* b = static_cast<const uint8_t*>(right);
  while (bytes >= sizeof(Word) &&
         *reinterpret_cast<const Word*>(a) == *reinterpret_cast<const Word*>(b)) {
    a += sizeof(Word);
    b += sizeof(Word);
    bytes -= sizeof(Word);
  }
  for (; bytes > 0; --bytes, ++a, ++b) {
    if (*a != *b) return *a < *b ? -1 : 1;
  }
  return 0;
}

}  // extern "C"
