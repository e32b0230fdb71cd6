#include "vmm/terminal.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <initializer_list>

namespace minivmm {
namespace {

termios former_mode;
volatile sig_atomic_t raw = 0;

// Also from signal handlers: only functions that allow it.
void Restore() {
  if (raw == 0) return;
  raw = 0;
  tcsetattr(STDIN_FILENO, TCSANOW, &former_mode);
}

void RestoreAndDie(int signal_number) {
  Restore();
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

}  // namespace

RawTerminal::RawTerminal() {
  if (tcgetattr(STDIN_FILENO, &former_mode) != 0) return;
  // Changing the mode from the background would stop the whole process group.
  if (tcgetpgrp(STDIN_FILENO) != getpgrp()) return;
  termios mode = former_mode;
  mode.c_iflag &=
      ~static_cast<tcflag_t>(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
  mode.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
  mode.c_cc[VMIN] = 1;
  mode.c_cc[VTIME] = 0;
  if (tcsetattr(STDIN_FILENO, TCSANOW, &mode) != 0) return;
  raw = 1;
  static const int at_exit = std::atexit(Restore);
  (void)at_exit;
  for (int fatal : {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGQUIT})
    signal(fatal, RestoreAndDie);
}

RawTerminal::~RawTerminal() { Restore(); }

}  // namespace minivmm
