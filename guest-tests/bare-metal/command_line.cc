#include "guest-tests/bare-metal/command_line.h"

namespace minivmm {

const char* ValueOf(const char* word, const char* key) {
  for (; *key != '\0'; ++word, ++key) {
    if (*word != *key) return nullptr;
  }
  return word;
}

bool IsWord(const char* text, const char* word) {
  const char* end = ValueOf(text, word);
  return end != nullptr && IsEndOfWord(*end);
}

bool ParseNumber(const char* text, uint64_t* number) {
  unsigned base = 10;
  if (const char* digits = ValueOf(text, "0x"); digits != nullptr) {
    base = 16;
    text = digits;
  }
  if (IsEndOfWord(*text)) return false;
  *number = 0;
  for (; !IsEndOfWord(*text); ++text) {
    unsigned digit = 16;
    if (*text >= '0' && *text <= '9') digit = static_cast<unsigned>(*text - '0');
    if (*text >= 'a' && *text <= 'f') digit = static_cast<unsigned>(*text - 'a') + 10;
    if (digit >= base) return false;
    *number = *number * base + digit;
  }
  return true;
}

}  // namespace minivmm
