#include "vmm/console_keys.h"

#include <utility>

namespace minivmm {
namespace {

constexpr char kEscape = 0x01;  // Ctrl-a

}  // namespace

ConsoleKeys::Typed ConsoleKeys::Feed(std::string_view keys) {
  Typed typed;
  for (char key : keys) {
    if (!std::exchange(escaped_, false)) {
      if (key == kEscape) {
        escaped_ = true;
      } else {
        typed.for_guest.push_back(key);
      }
      continue;
    }
    switch (key) {
      case 'x':
      case 'X':
        typed.quit = true;
        return typed;
      case 'h':
      case 'H':
      case '?':
        typed.help = true;
        break;
      case kEscape:
        typed.for_guest.push_back(key);
        break;
      default:
        break;
    }
  }
  return typed;
}

}  // namespace minivmm
