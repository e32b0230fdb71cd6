// MainLoop: what the main thread does while vCPUs run or stand still: it waits for signals, for
// keys on standard input, for control clients (vmm/qmp), and for a reason to stop. It outlives the
// machines that run one after the other when a guest resets.
//
//   SIGINT, SIGTERM, SIGHUP ─┐
//   Ctrl-a x ────────────────┼──▶ stop requests, first come first served ──▶ Run returns one
//   vCPU threads ────────────┘
//   control clients ─────────┘
//   keys ──▶ ConsoleKeys ──▶ console sink (the serial port)
#ifndef MINIVMM_VMM_MAIN_LOOP_H_
#define MINIVMM_VMM_MAIN_LOOP_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>

#include "blockcore/base/result.h"
#include "vmm/stop_request.h"

namespace boost::asio {
class io_context;
}

namespace minivmm {

class MainLoop {
 public:
  // Takes over the signals: from now on they do not end the program but are seen by Run.
  static Result<std::unique_ptr<MainLoop>> Create();
  ~MainLoop();

  // Where keys go, on the main thread within Run. Returns how many bytes it took; the rest is kept
  // until ResumeConsole or the next sink, and all of it while there is none (empty).
  using ConsoleSink = std::function<size_t(std::string_view)>;
  void SetConsoleSink(ConsoleSink sink);
  // The sink has room again. Any thread.
  void ResumeConsole();

  // Reads standard input from now on, raw if it is a terminal. Main thread, once.
  Result<void> OpenConsole();

  // For others who wait for something on the main thread. Their handlers run within Run.
  boost::asio::io_context& context();

  // Any thread.
  void RequestStop(StopRequest request);

  // Main thread: returns with the next stop request, which may have come before.
  StopRequest Run();
  // Main thread: whether Run would return at once; for those who run the context themselves.
  bool HasStopRequest() const;

 private:
  struct State;

  MainLoop();

  std::unique_ptr<State> state_;
};

}  // namespace minivmm

#endif  // MINIVMM_VMM_MAIN_LOOP_H_
