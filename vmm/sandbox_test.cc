#include "vmm/sandbox.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/blkzoned.h>
#include <linux/fs.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <functional>
#include <set>
#include <string>
#include <thread>

#include "blockcore/base/unique_fd.h"
#include "blockcore/host_device.h"

namespace minivmm {
namespace {

constexpr int kKilled = 1000;  // by SIGSYS

// What becomes of a process that does this: its exit status, or kKilled. A process of its own each
// time, because there is no way back.
int InChild(const std::function<int()>& work) {
  pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) ::_exit(work());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) {
    CHECK(WTERMSIG(status) == SIGSYS);
    return kKilled;
  }
  return WEXITSTATUS(status);
}

int Confined(ThreadKind kind, const std::function<int()>& work) {
  return InChild([&] {
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !ConfineThread(kind)) return 99;
    return work();
  });
}

bool MayCall(ThreadKind kind, long number, long first = -1, long second = -1, long third = -1) {
  return Confined(kind, [&] {
           ::syscall(number, first, second, third, -1, -1, -1);
           return 0;
         }) != kKilled;
}

// All that a thread of these kinds may call, whatever the arguments; besides exit, which a test
// cannot come back from, and clone, ioctl, mmap and mprotect, which depend on them.
std::set<long> CallsOf(ThreadKind kind) {
  std::set<long> calls = {
      SYS_futex,        SYS_read,           SYS_write,       SYS_close,         SYS_restart_syscall,
      SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_sched_yield, SYS_clock_gettime, SYS_gettimeofday,
      SYS_brk,          SYS_munmap,         SYS_madvise,     SYS_mremap,        SYS_getpid,
      SYS_gettid,

      SYS_rt_sigaction, SYS_epoll_ctl,      SYS_clone3,      SYS_poll,
  };
  if (kind == ThreadKind::kIo) calls.insert({SYS_io_uring_enter, SYS_io_uring_register});
  if (kind == ThreadKind::kMain) {
    // New threads and machines.
    calls.insert({SYS_clock_nanosleep, SYS_io_uring_setup, SYS_io_uring_enter,
                  SYS_io_uring_register, SYS_rseq, SYS_sched_getaffinity, SYS_set_robust_list,
                  SYS_prctl, SYS_capset, SYS_seccomp, SYS_eventfd2, SYS_dup});
    // The loop, and control clients.
    calls.insert({SYS_epoll_wait, SYS_timerfd_create, SYS_timerfd_settime, SYS_accept, SYS_accept4,
                  SYS_recvmsg, SYS_recvfrom, SYS_sendmsg, SYS_sendto, SYS_shutdown, SYS_getsockopt,
                  SYS_setsockopt, SYS_writev, SYS_readv, SYS_unlink});
    // Disks that they add.
    calls.insert({SYS_fcntl, SYS_openat, SYS_newfstatat, SYS_fstat, SYS_access, SYS_faccessat,
                  SYS_faccessat2, SYS_statx, SYS_fstatfs, SYS_lseek, SYS_pread64, SYS_readlink,
                  SYS_getdents64, SYS_ftruncate});
  }
  return calls;
}

TEST_CASE("a thread may call what its kind needs, and nothing else") {
  const std::set<long> depend_on_arguments = {SYS_exit, SYS_exit_group, SYS_clone,       SYS_ioctl,
                                              SYS_mmap, SYS_mprotect,   SYS_rt_sigreturn};
  constexpr long kAfterLast = 470;
  // uretprobe and uprobe: no filter sees them, and they do nothing outside the kernel's trampoline.
  const std::set<long> never_filtered = {335, 336};
  for (ThreadKind kind :
       {ThreadKind::kMain, ThreadKind::kVcpu, ThreadKind::kIo, ThreadKind::kZoneIoctl}) {
    const std::set<long> expected = CallsOf(kind);
    for (long number = 0; number < kAfterLast; ++number) {
      if (depend_on_arguments.contains(number) || never_filtered.contains(number)) continue;
      CAPTURE(static_cast<int>(kind));
      CAPTURE(number);
      CHECK(MayCall(kind, number) == expected.contains(number));
    }
  }
}

TEST_CASE("a thread may signal threads of its own process, for abort, and no others") {
  for (ThreadKind kind :
       {ThreadKind::kMain, ThreadKind::kVcpu, ThreadKind::kIo, ThreadKind::kZoneIoctl}) {
    CHECK(Confined(kind, [] {
            return ::syscall(SYS_tgkill, ::getpid(), ::gettid(), 0) == 0 ? 0 : 1;
          }) == 0);
    CHECK_FALSE(MayCall(kind, SYS_tgkill, 1, 1, 0));
  }
}

TEST_CASE("only a vCPU's thread runs guests, and it makes none") {
  CHECK(MayCall(ThreadKind::kVcpu, SYS_ioctl, -1, KVM_RUN));
  CHECK(MayCall(ThreadKind::kVcpu, SYS_ioctl, -1, KVM_IRQFD));
  CHECK_FALSE(MayCall(ThreadKind::kVcpu, SYS_ioctl, -1, KVM_CREATE_VM));
  CHECK_FALSE(MayCall(ThreadKind::kVcpu, SYS_ioctl, -1, KVM_SET_USER_MEMORY_REGION));
  CHECK_FALSE(MayCall(ThreadKind::kVcpu, SYS_ioctl, -1, BLKRESETZONE));
  CHECK_FALSE(MayCall(ThreadKind::kIo, SYS_ioctl, -1, KVM_RUN));
  CHECK_FALSE(MayCall(ThreadKind::kZoneIoctl, SYS_ioctl, -1, KVM_RUN));
}

TEST_CASE("only zone threads change zones, and nothing else of a device") {
  CHECK(MayCall(ThreadKind::kZoneIoctl, SYS_ioctl, -1, BLKRESETZONE));
  CHECK(MayCall(ThreadKind::kZoneIoctl, SYS_ioctl, -1, BLKREPORTZONE));
  CHECK_FALSE(MayCall(ThreadKind::kZoneIoctl, SYS_ioctl, -1, BLKDISCARD));
  CHECK_FALSE(MayCall(ThreadKind::kIo, SYS_ioctl, -1, BLKRESETZONE));
}

TEST_CASE("a thread that fails may give the terminal its mode back, and not feed it") {
  const UniqueFd terminal(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios mode{};
  REQUIRE(::tcgetattr(terminal.get(), &mode) == 0);
  for (ThreadKind kind :
       {ThreadKind::kMain, ThreadKind::kVcpu, ThreadKind::kIo, ThreadKind::kZoneIoctl}) {
    CAPTURE(static_cast<int>(kind));
    CHECK(Confined(kind, [&] { return ::tcsetattr(terminal.get(), TCSANOW, &mode); }) == 0);
    if (kind != ThreadKind::kMain) CHECK_FALSE(MayCall(kind, SYS_ioctl, -1, TIOCSTI));
  }
}

TEST_CASE("no kind of thread can make memory executable, or processes, sockets and programs") {
  for (ThreadKind kind :
       {ThreadKind::kMain, ThreadKind::kVcpu, ThreadKind::kIo, ThreadKind::kZoneIoctl}) {
    CAPTURE(static_cast<int>(kind));
    CHECK(MayCall(kind, SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE));
    CHECK_FALSE(MayCall(kind, SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC));
    CHECK(MayCall(kind, SYS_mprotect, 0, 0, PROT_READ));
    CHECK_FALSE(MayCall(kind, SYS_mprotect, 0, 0, PROT_EXEC));
    CHECK_FALSE(MayCall(kind, SYS_clone, SIGCHLD));
    for (long number : {SYS_fork, SYS_vfork, SYS_execve, SYS_execveat, SYS_socket, SYS_connect,
                        SYS_ptrace, SYS_process_vm_readv, SYS_kill, SYS_mount, SYS_unshare,
                        SYS_setuid, SYS_bpf, SYS_perf_event_open, SYS_open, SYS_chmod}) {
      CAPTURE(number);
      CHECK_FALSE(MayCall(kind, number));
    }
  }
}

// What a program that entered the sandbox finds.
int Sandboxed(bool opens_files, const std::function<int()>& work) {
  return InChild([&] {
    if (!PrepareSandbox() || !DropCapabilities() || !EnterSandbox({.opens_files = opens_files})) {
      return 99;
    }
    return work();
  });
}

int OpenResult(const char* path, int flags) {
  int fd = ::open(path, flags, 0600);
  return fd >= 0 ? 0 : errno;
}

bool HasLandlock() {
  return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1 /* version */) >= 1;
}

TEST_CASE("in the sandbox no file can be opened unless a control client may add disks") {
  if (!HasLandlock()) {
    MESSAGE("skipped: this kernel has no Landlock");
    return;
  }
  CHECK(Sandboxed(false, [] { return OpenResult("/dev/null", O_RDONLY); }) == EACCES);
  CHECK(Sandboxed(false, [] { return OpenResult("/etc/passwd", O_RDONLY); }) == EACCES);
  CHECK(Sandboxed(true, [] { return OpenResult("/dev/null", O_RDWR); }) == 0);
  CHECK(Sandboxed(true, [] { return OpenResult("new-file", O_RDWR | O_CREAT); }) == EACCES);
}

TEST_CASE("in the sandbox a device that may not be opened is an error, not the end") {
  std::string directory = "/tmp/sandbox-test-XXXXXX";
  REQUIRE(::mkdtemp(directory.data()) != nullptr);
  // Nobody gets in: in the sandbox root has no capabilities.
  REQUIRE(::chmod(directory.c_str(), 0) == 0);
  CHECK(Sandboxed(true, [&] {
          auto opened = OpenHostDevice({.filename = directory + "/disk"});
          if (opened) return 1;
          return opened.error().message.find("Permission denied") != std::string::npos ? 0 : 2;
        }) == 0);
  ::rmdir(directory.c_str());
}

TEST_CASE("main may look at the files of disks as the C library does it, the older and the newer") {
  for (long number : {SYS_newfstatat, SYS_fstat, SYS_statx}) {
    CAPTURE(number);
    CHECK(MayCall(ThreadKind::kMain, number));
  }
}

TEST_CASE("rings may have as much locked memory as the user") {
  CHECK(InChild([] {
          rlimit limit{};
          ::getrlimit(RLIMIT_MEMLOCK, &limit);
          limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
          if (::setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || !PrepareSandbox()) return 1;
          ::getrlimit(RLIMIT_MEMLOCK, &limit);
          return limit.rlim_cur == limit.rlim_max ? 0 : 2;
        }) == 0);
}

TEST_CASE("in the sandbox threads begin, confine themselves and end; new descriptors are few") {
  CHECK(Sandboxed(false, [] {
          int seen = 1;
          std::thread([&seen] {
            ThreadEntered(ThreadKind::kIo);
            seen = 0;
          }).join();
          return seen;
        }) == 0);
  CHECK(Sandboxed(false, [] {
          int count = 0;
          while (::dup(0) >= 0) ++count;
          return errno == EMFILE && count <= 100 ? 0 : 1;
        }) == 0);
}

TEST_CASE("a thread that leaves its table takes the whole program with it") {
  // The second is a call of another ABI, x32.
  for (long call : {long{SYS_dup}, long{SYS_getpid | 0x4000'0000}}) {
    CAPTURE(call);
    CHECK(Sandboxed(false, [call] {
            std::thread([call] {
              ThreadEntered(ThreadKind::kIo);
              ::syscall(call, 0);  // main may dup
            }).join();
            return 0;
          }) == kKilled);
  }
}

}  // namespace
}  // namespace minivmm
