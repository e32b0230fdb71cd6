// The words of a kernel command line, which end at a space or with the text. Nothing is copied.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_COMMAND_LINE_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_COMMAND_LINE_H_

#include <cstdint>

#include "guest-tests/bare-metal/console.h"

namespace minivmm {

inline bool IsEndOfWord(char character) { return character == '\0' || character == ' '; }

// The text after `key` when `word` begins with it, else null.
const char* ValueOf(const char* word, const char* key);

// Whether `text` begins with this word and it ends there.
bool IsWord(const char* text, const char* word);

// A decimal number, or a hexadecimal one behind 0x.
bool ParseNumber(const char* text, uint64_t* number);

// Calls `parse` with each word. False when it said so of one, which is printed.
template <typename Parse>
bool ParseWords(const char* command_line, Parse parse) {
  for (const char* word = command_line; *word != '\0';) {
    if (*word != ' ' && !parse(word)) {
      Print("baremetal: cannot read the command line from here on: ", word, "\n");
      return false;
    }
    while (!IsEndOfWord(*word)) ++word;
    while (*word == ' ') ++word;
  }
  return true;
}

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_COMMAND_LINE_H_
