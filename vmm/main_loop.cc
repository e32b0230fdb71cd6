#include "vmm/main_loop.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "vmm/console_keys.h"
#include "vmm/terminal.h"

namespace minivmm {
namespace asio = boost::asio;

namespace {

constexpr size_t kPieceBytes = 256;
// How far ahead of the guest standard input is read: enough that Ctrl-a x is seen while the guest
// does not listen.
constexpr size_t kMaxWaitingBytes = 4096;

// Or not, if its reader does not read: the main loop has others to serve.
void WriteToTerminal(std::string_view text) {
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  if (::poll(&output, 1, 0) <= 0) return;
  [[maybe_unused]] ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
}

}  // namespace

struct MainLoop::State {
  State() : context(1), signals(context), input(context) {}

  void WaitForSignal() {
    signals.async_wait([this](const boost::system::error_code& error, int number) {
      if (error) return;
      stops.push_back(
          {.kind = StopRequest::Kind::kSignal,
           .message = fmt::format("stopped by signal {} ({})", number, strsignal(number))});
      WaitForSignal();
    });
  }

  void WaitForInput() {
    reading = true;
    if (always_readable) {
      asio::post(context, [this] { ReadInput(); });
    } else {
      input.async_wait(asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (!error) ReadInput();
                       });
    }
  }

  void ReadInput() {
    reading = false;
    std::array<char, kPieceBytes> piece;
    ssize_t count = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) {
      WaitForInput();
      return;
    }
    if (count <= 0) {  // the end of the input is not the end of the guest
      at_end = true;
      return;
    }
    ConsoleKeys::Typed typed =
        keys.Feed(std::string_view(piece.data(), static_cast<size_t>(count)));
    if (typed.help) WriteToTerminal(kConsoleHelp);
    if (typed.quit) stops.push_back({.kind = StopRequest::Kind::kUserQuit});
    waiting += typed.for_guest;
    PassInput();
  }

  void PassInput() {
    if (!waiting.empty()) {
      size_t taken = sink ? sink(waiting) : 0;
      waiting.erase(0, taken);
    }
    if (!reading && !at_end && waiting.size() < kMaxWaitingBytes) WaitForInput();
  }

  asio::io_context context;
  asio::signal_set signals;
  // An epoll descriptor that watches standard input. Asio would make standard input itself
  // non-blocking, and with it everything that shares the terminal: our own output and the shell
  // after us.
  asio::posix::stream_descriptor input;
  bool always_readable = false;
  bool reading = false;  // a read is under way
  bool at_end = false;
  std::string waiting;  // typed, not taken by the sink yet
  ConsoleKeys keys;
  ConsoleSink sink;
  std::deque<StopRequest> stops;
  std::optional<RawTerminal> terminal;
};

MainLoop::MainLoop() : state_(std::make_unique<State>()) {}

MainLoop::~MainLoop() = default;

Result<std::unique_ptr<MainLoop>> MainLoop::Create() {
  std::unique_ptr<MainLoop> loop(new MainLoop);
  for (int number : {SIGINT, SIGTERM, SIGHUP}) {
    boost::system::error_code error;
    loop->state_->signals.add(number, error);
    if (error) return Fail("cannot handle signal {}: {}", number, error.message());
  }
  loop->state_->WaitForSignal();
  return loop;
}

void MainLoop::SetConsoleSink(ConsoleSink sink) {
  state_->sink = std::move(sink);
  if (state_->sink) ResumeConsole();
}

void MainLoop::ResumeConsole() {
  asio::post(state_->context, [state = state_.get()] {
    if (!state->waiting.empty()) state->PassInput();
  });
}

Result<void> MainLoop::OpenConsole() {
  State& state = *state_;
  int epoll_fd = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd < 0) return Fail("cannot watch standard input: {}", ErrnoText(errno));
  state.input.assign(epoll_fd);
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event) == 0) {
    state.terminal.emplace();
    state.WaitForInput();
  } else if (errno == EPERM) {  // regular files and /dev/null never make anybody wait
    state.always_readable = true;
    state.WaitForInput();
  } else {
    return Fail("cannot watch standard input: {}", ErrnoText(errno));
  }
  return {};
}

void MainLoop::RequestStop(StopRequest request) {
  asio::post(state_->context, [state = state_.get(), request = std::move(request)]() mutable {
    state->stops.push_back(std::move(request));
  });
}

asio::io_context& MainLoop::context() { return state_->context; }

bool MainLoop::HasStopRequest() const { return !state_->stops.empty(); }

StopRequest MainLoop::Run() {
  State& state = *state_;
  while (state.stops.empty()) state.context.run_one();
  StopRequest request = std::move(state.stops.front());
  state.stops.pop_front();
  return request;
}

}  // namespace minivmm
