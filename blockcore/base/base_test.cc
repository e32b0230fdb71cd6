#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blockcore/base/event_fd.h"
#include "blockcore/base/excerpt.h"
#include "blockcore/base/log.h"
#include "blockcore/base/result.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Fail("{} is odd", n);
  return n / 2;
}

Result<int> Quarter(int n) {
  TRY(int half, Half(n));
  TRY(int quarter, Half(half));
  return quarter;
}

Result<void> MustBeEven(int n) {
  TRY_VOID(Half(n));
  return {};
}

TEST_CASE("An excerpt is one bounded line of whole characters") {
  CHECK(Excerpt("") == "");
  CHECK(Excerpt("drive0") == "drive0");
  CHECK(Excerpt("a\nb\x7f\x1b[2J") == "a?b??[2J");
  CHECK(Excerpt("12345678", 8) == "12345678");
  CHECK(Excerpt("123456789", 8) == "12345…");
  CHECK(Excerpt("12é", 4) == "12é");
  CHECK(Excerpt("123é5678", 8) == "123é…");
  CHECK(Excerpt("1234é678", 8) == "1234…");
  CHECK(Excerpt("\x80\x80\x80\x80", 3) == "…");
  CHECK(Excerpt(std::string(100, 'a')) == std::string(77, 'a') + "…");
}

TEST_CASE("TRY hands on the value or the first error") {
  CHECK(*Quarter(8) == 2);
  CHECK(Quarter(6).error().message == "3 is odd");
  CHECK(MustBeEven(2).has_value());
  CHECK(MustBeEven(3).error().message == "3 is odd");
}

TEST_CASE("EventFd counts and drains") {
  EventFd event = *EventFd::Create();
  CHECK_FALSE(event.IsSet());
  CHECK(event.Drain() == 0);
  event.Notify();
  event.Notify();
  CHECK(event.IsSet());
  CHECK(event.Drain() == 2);
  CHECK_FALSE(event.IsSet());
}

TEST_CASE("RangeFits never wraps") {
  CHECK(RangeFits(0, 10, 10));
  CHECK(RangeFits(10, 0, 10));
  CHECK_FALSE(RangeFits(11, 0, 10));
  CHECK_FALSE(RangeFits(1, ~uint64_t{0}, 10));
  CHECK_FALSE(RangeFits(~uint64_t{0}, 2, 10));
}

TEST_CASE("A log line that nobody reads is given up") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  REQUIRE(::fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
  const std::string filling(4096, 'x');
  while (::write(ends[1], filling.data(), filling.size()) > 0) {
  }
  REQUIRE(::fcntl(ends[1], F_SETFL, 0) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::alarm(30);
    for (int i = 0; i < 1000; ++i) LOG("a line");  // only the first takes its time
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("A log budget admits five lines a second and counts the rest") {
  LogBudget budget;
  uint64_t dropped = 0;
  for (int i = 0; i < 5; ++i) CHECK(budget.Admit(5000, dropped));
  for (int i = 0; i < 3; ++i) CHECK_FALSE(budget.Admit(5001, dropped));
  CHECK(budget.Admit(6000, dropped));
  CHECK(dropped == 3);
}

}  // namespace
}  // namespace minivmm
