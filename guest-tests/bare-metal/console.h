// Text on the first serial port, and the end of the guest. Used everywhere, interrupt handlers
// included. Not a printf: Print() writes its arguments one after another.
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_CONSOLE_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_CONSOLE_H_

#include <cstdint>

namespace minivmm {

struct Hex {
  uint64_t value;
};

void PrintOne(const char* text);
void PrintOne(uint64_t value);
void PrintOne(Hex value);
inline void PrintOne(unsigned value) { PrintOne(uint64_t{value}); }

template <typename... Arguments>
void Print(Arguments... arguments) {
  (PrintOne(arguments), ...);
}

// Sleeps until a character comes in. Needs StartInterrupts().
void WaitForCharacter();

// The VMM ends with exit status 33 (success) or 35, through port 0xf4; resets the machine where
// that port has no device.
[[noreturn]] void ExitGuest(bool success);

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_CONSOLE_H_
