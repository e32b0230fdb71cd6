// ConsoleKeys: what the user types on the guest's console, with QEMU's escape key. Pure state; the
// main loop feeds it.
//
//   Ctrl-a x       quit            Ctrl-a Ctrl-a  a Ctrl-a for the guest
//   Ctrl-a h       help            Ctrl-a other   nothing; everything else goes to the guest
#ifndef MINIVMM_VMM_CONSOLE_KEYS_H_
#define MINIVMM_VMM_CONSOLE_KEYS_H_

#include <string>
#include <string_view>

namespace minivmm {

class ConsoleKeys {
 public:
  struct Typed {
    std::string for_guest;
    bool quit = false;  // what was typed behind it is dropped
    bool help = false;
  };

  // The escape may lie at the end of one piece and its letter at the start of the next.
  Typed Feed(std::string_view keys);

 private:
  bool escaped_ = false;
};

constexpr std::string_view kConsoleHelp =
    "\r\nminivmm console keys:\r\n"
    "  Ctrl-a x       quit\r\n"
    "  Ctrl-a h       this help\r\n"
    "  Ctrl-a Ctrl-a  send Ctrl-a to the guest\r\n";

}  // namespace minivmm

#endif  // MINIVMM_VMM_CONSOLE_KEYS_H_
