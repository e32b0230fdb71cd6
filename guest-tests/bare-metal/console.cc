#include "guest-tests/bare-metal/console.h"

#include "guest-tests/bare-metal/cpu.h"
#include "guest-tests/bare-metal/interrupts.h"

namespace minivmm {
namespace {

constexpr uint16_t kSerialData = 0x3f8;
constexpr uint16_t kSerialLineStatus = 0x3fd;
constexpr uint8_t kDataReady = 0x01;
constexpr uint8_t kTransmitterEmpty = 0x20;
constexpr uint16_t kDebugExit = 0xf4;
constexpr uint8_t kDebugExitSuccess = 0x10;  // exit status (0x10 << 1) | 1 = 33
constexpr uint8_t kDebugExitFailure = 0x11;
constexpr uint16_t kKeyboardController = 0x64;

void PutCharacter(char character) {
  // Bounded: text that gets lost is better than a guest that hangs.
  for (int i = 0; i < 100'000 && (In8(kSerialLineStatus) & kTransmitterEmpty) == 0; ++i) {
  }
  Out8(kSerialData, static_cast<uint8_t>(character));
}

}  // namespace

void PrintOne(const char* text) {
  for (; *text != '\0'; ++text) PutCharacter(*text);
}

void PrintOne(uint64_t value) {
  char digits[21];
  char* first = digits + sizeof(digits) - 1;
  *first = '\0';
  do {
    *--first = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  PrintOne(first);
}

void PrintOne(Hex hex) {
  PrintOne("0x");
  int shift = 60;
  while (shift > 0 && (hex.value >> shift) == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) PutCharacter("0123456789abcdef"[(hex.value >> shift) & 15]);
}

void WaitForCharacter() {
  // The port's interrupt is not set up: the timer's wakes it up.
  while ((In8(kSerialLineStatus) & kDataReady) == 0) HaltUntilInterrupt();
  In8(kSerialData);
}

void ExitGuest(bool success) {
  Out8(kDebugExit, success ? kDebugExitSuccess : kDebugExitFailure);
  // The VMM may take a moment to stop this CPU.
  for (int i = 0; i < 100'000; ++i) In8(kSerialLineStatus);
  Print("baremetal: port 0xf4 has no isa-debug-exit: resetting the machine\n");
  Out8(kKeyboardController, 0xfe);
  while (true) asm volatile("cli\n\thlt");
}

}  // namespace minivmm
