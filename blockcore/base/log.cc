#include "blockcore/base/log.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>

namespace minivmm {

void LogLine(std::string_view text) {
  constexpr int kWaitMs = 100;
  // Whoever lost one waits no more: a guest could make us wait for its lines again and again.
  static std::atomic<bool> lost_one = false;
  pollfd output{STDERR_FILENO, POLLOUT, 0};
  int writable = 0;
  while ((writable = ::poll(&output, 1, lost_one ? 0 : kWaitMs)) < 0 && errno == EINTR) {
  }
  lost_one = writable == 0;
  if (lost_one) return;
  // One write, so that lines of several threads do not mix.
  std::string line = fmt::format("minivmm: {}\n", text);
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

bool LogBudget::Admit(uint64_t now_ms, uint64_t& dropped) {
  constexpr uint64_t kWindowMs = 1000;
  constexpr uint64_t kLinesPerWindow = 5;
  uint64_t start = window_start_ms_.load(std::memory_order_relaxed);
  if (now_ms - start >= kWindowMs &&
      window_start_ms_.compare_exchange_strong(start, now_ms, std::memory_order_relaxed)) {
    used_.store(0, std::memory_order_relaxed);
  }
  if (used_.fetch_add(1, std::memory_order_relaxed) < kLinesPerWindow) {
    dropped = dropped_.exchange(0, std::memory_order_relaxed);
    return true;
  }
  dropped_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

uint64_t MonotonicMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace minivmm
