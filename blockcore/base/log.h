// One line on standard error for the user of the program, "minivmm: …". What a guest can trigger
// goes through LOG_RATE_LIMITED: at most five lines a second from each place, then a count of what
// was left out. A line that standard error does not take within 100 ms is lost, and so is, at once,
// each that follows until one is taken: who writes it may be on its way to the end, or have a guest
// to serve. Any thread.
#ifndef MINIVMM_BLOCKCORE_BASE_LOG_H_
#define MINIVMM_BLOCKCORE_BASE_LOG_H_

#include <fmt/format.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

namespace minivmm {

void LogLine(std::string_view text);

// A budget of five lines in each second; Admit() says whether this one may be printed and how many
// were dropped since the last.
class LogBudget {
 public:
  bool Admit(uint64_t now_ms, uint64_t& dropped);

 private:
  std::atomic<uint64_t> window_start_ms_{0};
  std::atomic<uint64_t> used_{0};
  std::atomic<uint64_t> dropped_{0};
};

uint64_t MonotonicMs();

}  // namespace minivmm

#define LOG(...) ::minivmm::LogLine(::fmt::format(__VA_ARGS__))

#define LOG_RATE_LIMITED(...)                                                \
  do {                                                                       \
    static ::minivmm::LogBudget log_budget;                                  \
    uint64_t log_dropped = 0;                                                \
    if (log_budget.Admit(::minivmm::MonotonicMs(), log_dropped)) {           \
      if (log_dropped != 0) LOG("({} similar lines left out)", log_dropped); \
      LOG(__VA_ARGS__);                                                      \
    }                                                                        \
  } while (false)

#endif  // MINIVMM_BLOCKCORE_BASE_LOG_H_
