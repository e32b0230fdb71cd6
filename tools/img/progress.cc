#include "tools/img/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "blockcore/base/log.h"
#include "tools/img/text.h"

namespace minivmm {

Progress::Progress(std::string what, uint64_t total_bytes)
    : what_(std::move(what)),
      total_bytes_(total_bytes),
      start_ms_(MonotonicMs()),
      terminal_(::isatty(STDERR_FILENO) == 1) {
  interval_ms_ = terminal_ ? 200 : 10'000;
  next_ms_ = start_ms_ + interval_ms_;
}

Progress::~Progress() {
  if (line_shown_) fmt::print(stderr, "\r\033[K");
}

void Progress::Advance(uint64_t done_bytes, uint64_t moved_bytes) {
  done_bytes_ += done_bytes;
  moved_bytes_ += moved_bytes;
  const uint64_t now_ms = MonotonicMs();
  if (now_ms < next_ms_) return;
  next_ms_ = now_ms + interval_ms_;
  Print(now_ms);
}

void Progress::Print(uint64_t now_ms) {
  const double share =
      total_bytes_ == 0 ? 1 : static_cast<double>(done_bytes_) / static_cast<double>(total_bytes_);
  const double rate = static_cast<double>(moved_bytes_) * 1000 /
                      static_cast<double>(std::max<uint64_t>(1, now_ms - start_ms_));
  const std::string line = fmt::format("{}: {:.0f}%, {}/s", what_, std::min(share, 1.0) * 100,
                                       FormatSize(static_cast<uint64_t>(rate)));
  if (terminal_) {
    fmt::print(stderr, "\r\033[K{}", line);
    std::fflush(stderr);
    line_shown_ = true;
  } else {
    fmt::print(stderr, "minivmm-img: {}\n", line);
  }
}

}  // namespace minivmm
