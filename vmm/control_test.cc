// The real program, its guest on this machine's KVM, and a control client on its socket. Skipped,
// with the reason, only where there is no /dev/kvm to use.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "blockcore/small_file_system.h"
#include "vmm/have_kvm.h"

namespace minivmm {
namespace {
namespace json = boost::json;

std::string program;
std::string guest;

// One end of a connection. What does not come within a minute never comes.
class Stream {
 public:
  explicit Stream(UniqueFd fd) : fd_(std::move(fd)) {}

  void Send(std::string_view text) const {
    REQUIRE(::write(fd_.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }

  // Nothing at the end of the stream.
  std::optional<char> Next() {
    if (position_ == buffer_.size()) {
      pollfd readable{fd_.get(), POLLIN, 0};
      REQUIRE(::poll(&readable, 1, 60'000) == 1);
      buffer_.resize(4096);
      ssize_t count = ::read(fd_.get(), buffer_.data(), buffer_.size());
      buffer_.resize(count > 0 ? static_cast<size_t>(count) : 0);
      position_ = 0;
      if (buffer_.empty()) return std::nullopt;
    }
    return buffer_[position_++];
  }

  std::string Line() {
    std::string line;
    for (std::optional<char> next = Next(); next && *next != '\n'; next = Next()) line += *next;
    return line;
  }

  bool IsSilent() const {
    pollfd readable{fd_.get(), POLLIN, 0};
    return position_ == buffer_.size() && ::poll(&readable, 1, 0) == 0;
  }

  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
  std::string buffer_;
  size_t position_ = 0;
};

std::array<UniqueFd, 2> Pipe() {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// The program under test, its guest's serial port, and a control client.
class Vmm {
 public:
  static constexpr int kPageBytes = 4096;
  static constexpr int kScreenBytes = 4 * kPageBytes;

  explicit Vmm(const std::vector<std::string>& more = {}, const std::string& serial = "stdio") {
    REQUIRE(::mkdtemp(directory_.data()) != nullptr);
    socket_path_ = directory_ + "/qmp";
    std::vector<std::string> arguments = {program,
                                          "--kernel",
                                          guest,
                                          "-m",
                                          "64",
                                          "--serial",
                                          serial,
                                          "--device",
                                          "pvpanic",
                                          "--qmp",
                                          "unix:" + socket_path_ + ",server=on,wait=off"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::array<UniqueFd, 2> input = Pipe();
    std::array<UniqueFd, 2> output = Pipe();
    std::vector<char*> raw;
    for (std::string& argument : arguments) raw.push_back(argument.data());
    raw.push_back(nullptr);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::dup2(input[0].get(), STDIN_FILENO);
      ::dup2(output[1].get(), STDOUT_FILENO);
      ::signal(SIGPIPE, SIG_DFL);
      // Some starters leave their signals blocked.
      sigset_t all;
      ::sigfillset(&all);
      ::sigprocmask(SIG_BLOCK, &all, nullptr);
      ::execv(raw[0], raw.data());
      ::_exit(127);
    }
    screen_fd_ = output[0].get();
    REQUIRE(::fcntl(screen_fd_, F_SETPIPE_SZ, kScreenBytes) == kScreenBytes);
    keyboard_.emplace(std::move(input[1]));
    screen_.emplace(std::move(output[0]));
    client_.emplace(Connect());
    CHECK(client_->Line().find("\"QMP\"") != std::string::npos);
    Command("qmp_capabilities");
  }

  ~Vmm() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  // Its answer; events that come before it are kept for Event.
  json::object Ask(const std::string& name, json::object arguments = {}) {
    client_->Send(
        json::serialize(json::object{{"execute", name}, {"arguments", std::move(arguments)}}) +
        "\n");
    for (;;) {
      json::object message = Message();
      if (!message.contains("event")) return message;
      events_.push_back(std::move(message));
    }
  }

  // The value of an answer that is no error.
  json::value Command(const std::string& name) {
    json::object answer = Ask(name);
    REQUIRE_MESSAGE(answer.contains("return"), json::serialize(answer));
    return answer["return"];
  }

  std::string Status() { return std::string(Command("query-status").at("status").as_string()); }

  // The next event: its name, and behind a colon why, if it says so.
  std::string Event() {
    json::object message;
    if (events_.empty()) {
      message = Message();
    } else {
      message = events_.front();
      events_.erase(events_.begin());
    }
    REQUIRE_MESSAGE(message.contains("event"), json::serialize(message));
    std::string text(message["event"].as_string());
    if (const json::value* data = message.if_contains("data")) {
      for (const char* key : {"reason", "action"}) {
        if (const json::value* why = data->as_object().if_contains(key)) {
          text += ":" + std::string(why->as_string());
        }
      }
    }
    return text;
  }

  // Returns when the guest has printed so much that the pipe takes no more.
  void AwaitFullScreen() {
    for (int waiting = 0; waiting <= kScreenBytes - kPageBytes;) {
      REQUIRE(::ioctl(screen_fd_, FIONREAD, &waiting) == 0);
    }
  }

  // Returns when the program has read all but so many of the bytes that were typed.
  void AwaitTyped(int left) const {
    for (int waiting = left + 1; waiting > left;) {
      REQUIRE(::ioctl(keyboard_->fd(), FIONREAD, &waiting) == 0);
    }
  }

  pid_t pid() const { return pid_; }
  void Type(std::string_view text) const { keyboard_->Send(text); }
  void Type(char character) const { Type(std::string_view(&character, 1)); }
  void CloseScreen() { screen_.reset(); }
  char Printed() { return screen_->Next().value_or('?'); }
  bool PrintsNothing() const { return screen_->IsSilent(); }
  void Signal(int number) const { ::kill(pid_, number); }

  // Of the program, once the client has seen the end of the connection.
  int ExitStatus() {
    while (client_->Next()) {
    }
    return WaitForEnd();
  }
  // The client reads nothing any more, but does not go away either.
  int WaitForEnd() {
    int status = 0;
    REQUIRE(::waitpid(std::exchange(pid_, 0), &status, 0) > 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  Stream& client() { return *client_; }

 private:
  json::object Message() {
    const std::string line = client_->Line();
    REQUIRE_FALSE(line.empty());
    return json::parse(line).as_object();
  }

  UniqueFd Connect() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(socket_path_.size() < sizeof(address.sun_path));
    std::memcpy(address.sun_path, socket_path_.c_str(), socket_path_.size() + 1);
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    while (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      REQUIRE(::waitpid(pid_, nullptr, WNOHANG) == 0);  // it is still on the way to its socket
      ::poll(nullptr, 0, 1);
    }
    return fd;
  }

  // TEST_TMPDIR can be too long for a socket's path.
  std::string directory_ = "/tmp/control-test-XXXXXX";
  std::string socket_path_;
  int screen_fd_ = -1;
  pid_t pid_ = 0;
  std::optional<Stream> keyboard_;
  std::optional<Stream> screen_;
  std::optional<Stream> client_;
  std::vector<json::object> events_;
};

TEST_CASE("stop halts the guest, cont lets it go on where it was") {
  if (!HaveKvm()) return;
  Vmm vmm;
  CHECK(vmm.Printed() == 'S');
  CHECK(vmm.Status() == "running");
  for (int round = 0; round < 20; ++round) {
    vmm.Command("stop");
    CHECK(vmm.Event() == "STOP");
    CHECK(vmm.Status() == "paused");
    vmm.Type('a');
    CHECK(vmm.Status() == "paused");  // the character has had its time
    CHECK(vmm.PrintsNothing());
    vmm.Command("cont");
    CHECK(vmm.Event() == "RESUME");
    CHECK(vmm.Printed() == 'a');
  }
  vmm.Type('o');
  CHECK(vmm.Event() == "SHUTDOWN:guest-shutdown");
  CHECK(vmm.ExitStatus() == 0);
}

TEST_CASE("a guest whose output nobody reads can be stopped, and none of it is lost") {
  if (!HaveKvm()) return;
  Vmm vmm;
  CHECK(vmm.Printed() == 'S');
  vmm.Type('f');
  char expected = '0';
  for (int round = 0; round < 5; ++round) {
    vmm.AwaitFullScreen();
    vmm.Type("\x01h");  // help that has no room on the screen
    vmm.AwaitTyped(0);
    vmm.Command("stop");
    CHECK(vmm.Event() == "STOP");
    vmm.Command("cont");
    CHECK(vmm.Event() == "RESUME");
    for (int i = 0; i < 20'000; ++i) {
      REQUIRE(vmm.Printed() == expected);
      expected = expected == '9' ? '0' : static_cast<char>(expected + 1);
    }
  }
  vmm.AwaitFullScreen();
  vmm.Command("stop");
  vmm.Command("quit");
  CHECK(vmm.Event() == "STOP");
  CHECK(vmm.Event() == "SHUTDOWN:host-qmp-quit");
  CHECK(vmm.ExitStatus() == 0);
}

TEST_CASE("what a pause kept from a full screen comes after it, though the guest says no more") {
  if (!HaveKvm()) return;
  Vmm vmm;
  CHECK(vmm.Printed() == 'S');
  constexpr int kFull = Vmm::kScreenBytes - Vmm::kPageBytes + 1;
  vmm.Type(std::string(kFull, 'a'));
  vmm.AwaitFullScreen();
  vmm.Type('b');
  vmm.AwaitTyped(0);
  ::poll(nullptr, 0, 50);  // the guest has it by then
  for (int pauses = 0; pauses < 2; ++pauses) {
    vmm.Command("stop");
    CHECK(vmm.Event() == "STOP");
    vmm.Command("cont");
    CHECK(vmm.Event() == "RESUME");
  }
  for (int i = 0; i < kFull; ++i) REQUIRE(vmm.Printed() == 'a');
  CHECK(vmm.Printed() == 'b');
  vmm.Command("quit");
  CHECK(vmm.Event() == "SHUTDOWN:host-qmp-quit");
  CHECK(vmm.ExitStatus() == 0);
}

TEST_CASE("what was typed ahead of a reset goes to the guest that starts, and Ctrl-a x is seen") {
  if (!HaveKvm()) return;
  // More than the program keeps for a guest that does not listen.
  constexpr int kTyped = 5000;
  constexpr int kKept = 4096;
  Vmm vmm;
  CHECK(vmm.Printed() == 'S');
  vmm.Type('f');
  CHECK(vmm.Printed() == '0');
  vmm.Type(std::string(kTyped, 'a'));
  vmm.AwaitTyped(kTyped - kKept);
  vmm.Command("system_reset");
  CHECK(vmm.Event() == "RESET:host-qmp-system-reset");
  while (vmm.Printed() != 'S') {
  }
  // One was in the receiver of the machine that is gone.
  for (int i = 1; i < kTyped; ++i) REQUIRE(vmm.Printed() == 'a');
  vmm.Type("\x01x");
  CHECK(vmm.Event() == "SHUTDOWN:host-qmp-quit");
  CHECK(vmm.ExitStatus() == 0);
}

TEST_CASE("a console whose reader has gone is no matter to the guest") {
  if (!HaveKvm()) return;
  Vmm vmm;
  CHECK(vmm.Printed() == 'S');
  vmm.CloseScreen();
  vmm.Type("aaa");
  vmm.Type('o');
  CHECK(vmm.Event() == "SHUTDOWN:guest-shutdown");
  CHECK(vmm.ExitStatus() == 0);
}

TEST_CASE("nor is a client on standard output that reads no more") {
  if (!HaveKvm()) return;
  Vmm vmm({"--qmp", "stdio"}, "null");
  vmm.CloseScreen();
  vmm.Type("{\"execute\":\"qmp_capabilities\"}");
  vmm.AwaitTyped(0);
  // The answer that nobody takes comes before the second of these.
  for (int i = 0; i < 2; ++i) CHECK(vmm.Status() == "running");
}

TEST_CASE("a machine that is to wait runs nothing before cont") {
  if (!HaveKvm()) return;
  Vmm vmm({"-S"});
  CHECK(vmm.Status() == "prelaunch");
  vmm.Type('a');
  vmm.AwaitTyped(0);
  CHECK(vmm.PrintsNothing());
  vmm.Command("cont");
  CHECK(vmm.Event() == "RESUME");
  CHECK(vmm.Printed() == 'S');
  CHECK(vmm.Printed() == 'a');
  vmm.Command("quit");
  CHECK(vmm.Event() == "SHUTDOWN:host-qmp-quit");
  CHECK(vmm.ExitStatus() == 0);
}

TEST_CASE("system_reset and the guest's own reset start it again, and the client stays connected") {
  if (!HaveKvm()) return;
  Vmm vmm({"--smp", "2"});
  CHECK(vmm.Printed() == 'S');
  for (int round = 0; round < 5; ++round) {
    vmm.Command("system_reset");
    CHECK(vmm.Event() == "RESET:host-qmp-system-reset");
    CHECK(vmm.Printed() == 'S');
    vmm.Type('r');
    CHECK(vmm.Event() == "RESET:guest-reset");
    CHECK(vmm.Printed() == 'S');
  }
  vmm.Command("stop");
  CHECK(vmm.Event() == "STOP");
  vmm.Command("system_reset");
  CHECK(vmm.Event() == "RESET:host-qmp-system-reset");
  CHECK(vmm.Status() == "prelaunch");
  CHECK(vmm.PrintsNothing());
  vmm.Command("cont");
  CHECK(vmm.Printed() == 'S');
}

TEST_CASE("system_powerdown raises the power button's interrupt, also of a paused guest") {
  if (!HaveKvm()) return;
  for (bool paused : {false, true}) {
    Vmm vmm;
    CHECK(vmm.Printed() == 'S');
    if (paused) {
      vmm.Command("stop");
      CHECK(vmm.Event() == "STOP");
    }
    vmm.Command("system_powerdown");
    CHECK(vmm.Event() == "POWERDOWN");
    if (paused) {
      CHECK(vmm.PrintsNothing());
      vmm.Command("cont");
    }
    CHECK(vmm.Printed() == 'B');
  }
}

TEST_CASE(
    "a guest that panics, by pvpanic or by a triple fault, is reported and ends with status 1") {
  if (!HaveKvm()) return;
  for (char how : {'p', 't'}) {
    Vmm vmm;
    CHECK(vmm.Printed() == 'S');
    vmm.Type(how);
    CHECK(vmm.Event() == "GUEST_PANICKED:poweroff");
    CHECK(vmm.Event() == "SHUTDOWN:guest-panic");
    CHECK(vmm.ExitStatus() == 1);
  }
}

TEST_CASE("with --no-reboot a reset by guest or client ends the program") {
  if (!HaveKvm()) return;
  for (bool by_client : {false, true}) {
    Vmm vmm({"--no-reboot"});
    CHECK(vmm.Printed() == 'S');
    if (by_client) {
      vmm.Command("system_reset");
    } else {
      vmm.Type('r');
    }
    CHECK(vmm.Event().starts_with("SHUTDOWN:"));
    CHECK(vmm.ExitStatus() == 0);
  }
}

TEST_CASE("a signal ends a paused machine, and the client is told") {
  if (!HaveKvm()) return;
  Vmm vmm;
  vmm.Command("stop");
  CHECK(vmm.Event() == "STOP");
  vmm.Signal(SIGTERM);
  CHECK(vmm.Event() == "SHUTDOWN:host-signal");
  CHECK(vmm.ExitStatus() == 0);
}

// A file without content, for the disk of the guest's command 'd'.
void MakeSparse(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  REQUIRE(::ftruncate(fd.get(), 1 << 20) == 0);
}

std::vector<std::string> DiskOptions(const std::string& path, const std::string& on_error) {
  return {"--drive", "file=" + path + ",format=raw,if=none,id=d0," + on_error, "--device",
          "virtio-blk-pci,drive=d0,addr=1"};
}

// What write number `index` of the command put there: where it is, in sectors.
bool HasWrite(const std::string& path, uint32_t index) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  uint32_t sector = UINT32_MAX;
  REQUIRE(::pread(fd.get(), &sector, sizeof(sector), index * 4096) == sizeof(sector));
  return sector == index * 8;
}

TEST_CASE("a host that is full pauses the guest until there is room, and it never knows") {
  if (!HaveKvm()) return;
  SmallFileSystem host(1_MiB);
  if (!host.is_there()) return;
  const std::string path = host.Path("disk.img");
  MakeSparse(path);
  Vmm vmm(DiskOptions(path, "werror=enospc"));
  CHECK(vmm.Printed() == 'S');
  vmm.Type('d');
  CHECK(vmm.Printed() == '0');
  host.Fill();
  vmm.Type('d');
  CHECK(vmm.Event() == "BLOCK_IO_ERROR:No space left on device:stop");
  CHECK(vmm.Event() == "STOP");
  CHECK(vmm.Status() == "io-error");
  CHECK(vmm.Command("query-block").at(0).at("io-status") == "nospace");
  // There is still no room.
  vmm.Command("cont");
  CHECK(vmm.Event() == "RESUME");
  CHECK(vmm.Event() == "BLOCK_IO_ERROR:No space left on device:stop");
  CHECK(vmm.Event() == "STOP");
  CHECK(vmm.Status() == "io-error");
  CHECK(vmm.PrintsNothing());
  host.Empty();
  vmm.Command("cont");
  CHECK(vmm.Event() == "RESUME");
  CHECK(vmm.Printed() == '0');
  CHECK(vmm.Status() == "running");
  CHECK(vmm.Command("query-block").at(0).at("io-status") == "ok");
  CHECK(HasWrite(path, 1));

  host.Fill();
  vmm.Type('d');
  CHECK(vmm.Event() == "BLOCK_IO_ERROR:No space left on device:stop");
  CHECK(vmm.Event() == "STOP");
  SUBCASE("a reset gives the request up") {
    vmm.Command("system_reset");
    CHECK(vmm.Event() == "RESET:host-qmp-system-reset");
    CHECK(vmm.Status() == "prelaunch");
    host.Empty();
    vmm.Command("cont");
    CHECK(vmm.Event() == "RESUME");
    CHECK(vmm.Printed() == 'S');
    vmm.Type('d');
    CHECK(vmm.Printed() == '0');
    vmm.Type('o');
    CHECK(vmm.Event() == "SHUTDOWN:guest-shutdown");
  }
  SUBCASE("a signal ends it") {
    vmm.Signal(SIGTERM);
    CHECK(vmm.Event() == "SHUTDOWN:host-signal");
  }
  SUBCASE("a client ends it") {
    vmm.Command("quit");
    CHECK(vmm.Event() == "SHUTDOWN:host-qmp-quit");
  }
  CHECK(vmm.ExitStatus() == 0);
  CHECK(HasWrite(path, 0));
  CHECK(HasWrite(path, 1));
}

// Where no file system can be mounted, a limit of the process is a host that fails.
TEST_CASE("werror says what becomes of a write that the host fails") {
  if (!HaveKvm()) return;
  std::string path = "/tmp/control-disk-XXXXXX";
  UniqueFd(::mkostemp(path.data(), O_CLOEXEC));
  MakeSparse(path);
  rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
  struct Row {
    const char* on_error;
    const char* event;
    char printed;
  };
  for (const Row& row : {Row{"rerror=stop", "BLOCK_IO_ERROR:Input/output error:report", '1'},
                         Row{"werror=enospc", "BLOCK_IO_ERROR:Input/output error:report", '1'},
                         Row{"werror=ignore", "BLOCK_IO_ERROR:Input/output error:ignore", '0'},
                         Row{"werror=stop", "BLOCK_IO_ERROR:Input/output error:stop", '0'}}) {
    CAPTURE(row.on_error);
    const rlimit small{.rlim_cur = 4096, .rlim_max = old.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
    Vmm vmm(DiskOptions(path, row.on_error));
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK(vmm.Printed() == 'S');
    vmm.Type('d');
    CHECK(vmm.Printed() == '0');
    vmm.Type('d');
    CHECK(vmm.Event() == row.event);
    if (std::string_view(row.event).ends_with(":stop")) {
      CHECK(vmm.Event() == "STOP");
      CHECK(vmm.Status() == "io-error");
      REQUIRE(::prlimit(vmm.pid(), RLIMIT_FSIZE, &old, nullptr) == 0);
      vmm.Command("cont");
      CHECK(vmm.Event() == "RESUME");
    }
    CHECK(vmm.Printed() == row.printed);
    CHECK(vmm.Status() == "running");
    vmm.Type('o');
    CHECK(vmm.Event() == "SHUTDOWN:guest-shutdown");
    CHECK(vmm.ExitStatus() == 0);
  }
  CHECK(HasWrite(path, 1));
  ::unlink(path.c_str());
}

TEST_CASE("a disk whose file may not grow stays as it is, and the guest goes on") {
  if (!HaveKvm()) return;
  std::string path = "/tmp/control-disk-XXXXXX";
  UniqueFd(::mkostemp(path.data(), O_CLOEXEC));
  MakeSparse(path);
  Vmm vmm(DiskOptions(path, "werror=report"));
  const rlimit small{.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
  REQUIRE(::prlimit(vmm.pid(), RLIMIT_FSIZE, &small, nullptr) == 0);
  CHECK(vmm.Ask("block_resize", {{"node-name", "d0"}, {"size", 2 << 20}}).contains("error"));
  CHECK(vmm.Status() == "running");
  CHECK(std::filesystem::file_size(path) == 1 << 20);
  ::unlink(path.c_str());
}

TEST_CASE("each thread is confined, in the first machine and after a reset") {
  if (!HaveKvm()) return;
  std::string path = "/tmp/control-disk-XXXXXX";
  UniqueFd(::mkostemp(path.data(), O_CLOEXEC));
  MakeSparse(path);
  Vmm vmm(DiskOptions(path, "werror=report"));
  for (int round = 0; round < 2; ++round) {
    CHECK(vmm.Printed() == 'S');
    // With those that main may still open, for a machine like this.
    std::ifstream limits("/proc/" + std::to_string(vmm.pid()) + "/limits");
    for (std::string line; std::getline(limits, line);) {
      if (line.starts_with("Max open files")) CHECK(std::stoi(line.substr(14)) < 200);
    }
    std::set<std::string> names;
    for (const auto& thread :
         std::filesystem::directory_iterator("/proc/" + std::to_string(vmm.pid()) + "/task")) {
      std::ifstream status(thread.path() / "status");
      std::string name;
      std::getline(status, name);
      name = name.substr(name.find('\t') + 1);
      CAPTURE(name);
      // A filter of its own besides that of main, for those that main started when it had one. (KVM
      // makes itself a thread when the guest first runs.)
      const bool is_late =
          name == "vcpu/0" || name.starts_with("kvm-") || (name == "io/d0/0" && round == 1);
      std::set<std::string> expected = {"CapEff:\t0000000000000000", "NoNewPrivs:\t1",
                                        "Seccomp:\t2",
                                        is_late ? "Seccomp_filters:\t2" : "Seccomp_filters:\t1"};
      for (std::string line; std::getline(status, line);) expected.erase(line);
      for (const std::string& missing : expected) CHECK(missing == "");
      names.insert(name);
    }
    for (const char* name : {"minivmm", "vcpu/0", "io/d0/0", "io/qmp"}) CHECK(names.contains(name));
    vmm.Command("system_reset");
    CHECK(vmm.Event() == "RESET:host-qmp-system-reset");
  }
  ::unlink(path.c_str());
}

TEST_CASE("a client that does not read does not hold up the end") {
  if (!HaveKvm()) return;
  Vmm vmm;
  CHECK(vmm.Printed() == 'S');
  std::string commands;
  for (int i = 0; i < 200; ++i) commands += "{\"execute\":\"query-version\"}\n";
  vmm.client().Send(commands);
  vmm.Type('o');
  CHECK(vmm.WaitForEnd() == 0);
}

}  // namespace
}  // namespace minivmm

// Arguments: minivmm, the guest.
int main(int argc, char** argv) {
  if (argc < 3) return 2;
  minivmm::program = argv[1];
  minivmm::guest = argv[2];
  ::signal(SIGPIPE, SIG_IGN);  // a program that has died is a check that fails
  return doctest::Context(argc - 2, argv + 2).run();
}
