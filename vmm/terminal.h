// RawTerminal: the terminal on standard input hands every key to us, unechoed and uninterpreted,
// for as long as the object lives. The former mode comes back with the destructor, at exit(), and
// when a fatal signal (abort, fault) ends the program. Main thread; at most one at a time. Output
// processing stays on, so that our own lines look as usual.
#ifndef MINIVMM_VMM_TERMINAL_H_
#define MINIVMM_VMM_TERMINAL_H_

namespace minivmm {

class RawTerminal {
 public:
  // Does nothing when standard input is no terminal, or when we are not in its foreground.
  RawTerminal();
  ~RawTerminal();

  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_TERMINAL_H_
