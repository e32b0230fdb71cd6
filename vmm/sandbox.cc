#include "vmm/sandbox.h"

#include <fcntl.h>
#include <linux/blkzoned.h>
#include <linux/capability.h>
#include <linux/kvm.h>
#include <linux/landlock.h>
#include <malloc.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "blockcore/base/unique_fd.h"

namespace minivmm {
namespace {

// ---- the table ---------------------------------------------------------------------------------

constexpr unsigned kMain = 1U << static_cast<unsigned>(ThreadKind::kMain);
constexpr unsigned kVcpu = 1U << static_cast<unsigned>(ThreadKind::kVcpu);
constexpr unsigned kIo = 1U << static_cast<unsigned>(ThreadKind::kIo);
constexpr unsigned kZoneIoctl = 1U << static_cast<unsigned>(ThreadKind::kZoneIoctl);
constexpr unsigned kAll = kMain | kVcpu | kIo | kZoneIoctl;

// What an argument must be: (argument & mask) == value.
struct Argument {
  unsigned index;
  uint64_t mask;
  uint64_t value;
};

struct Rule {
  int call;
  unsigned kinds;
  std::string_view reason;
  std::optional<Argument> only = {};
};

// ioctl looks at 32 bits of its request only.
constexpr Argument Request(uint32_t request) { return {1, 0xffff'ffff, request}; }

// KVM_SET_GSI_ROUTING: its structure ends in an array, and C++ sees a wrong size of it in the
// header.
constexpr uint32_t kSetGsiRouting = _IOC(_IOC_WRITE, KVMIO, _IOC_NR(KVM_SET_GSI_ROUTING), 8);

constexpr Argument kNotExecutable{2, PROT_EXEC, 0};

const Rule kRules[] = {
    {SCMP_SYS(futex), kAll, "locks, and waiting for other threads"},
    {SCMP_SYS(read), kAll, "eventfds; main: keys, control clients"},
    {SCMP_SYS(write), kAll, "eventfds, log lines, the guest's console; main: control clients"},
    {SCMP_SYS(close), kAll, "descriptors of what ends; doorbells and rings at a reset"},
    {SCMP_SYS(exit), kAll, "the end of a thread"},
    {SCMP_SYS(exit_group), kAll, "the end of the program, also by a failed check"},
    {SCMP_SYS(restart_syscall), kAll, "the kernel's own, after a stop signal"},
    {SCMP_SYS(rt_sigreturn), kAll, "return from the signal that calls vCPUs out of the guest"},
    {SCMP_SYS(rt_sigprocmask), kAll, "C library: threads begin and end with signals blocked"},
    {SCMP_SYS(sched_yield), kAll, "C++ library: short waits"},
    {SCMP_SYS(clock_gettime), kAll, "where the vDSO has no clock"},
    {SCMP_SYS(gettimeofday), kAll, "the same"},
    {SCMP_SYS(clock_nanosleep), kMain, "bounded waits: memory for a ring, a locked file"},
    {SCMP_SYS(brk), kAll, "malloc"},
    {SCMP_SYS(mmap), kAll, "malloc; main: a new machine's memory, stacks", kNotExecutable},
    {SCMP_SYS(mprotect), kAll, "malloc, stacks", kNotExecutable},
    {SCMP_SYS(munmap), kAll, "free"},
    {SCMP_SYS(madvise), kAll, "stacks of threads that end"},
    {SCMP_SYS(mremap), kAll, "realloc"},
    {SCMP_SYS(getpid), kAll, "C library: abort and thread signals"},
    {SCMP_SYS(gettid), kAll, "the same"},
    {SCMP_SYS(rt_sigaction), kAll, "abort; main: signal handlers"},
    {SCMP_SYS(poll), kAll, "log lines; main, vCPU: eventfds, the guest's console"},
    {SCMP_SYS(epoll_ctl), kAll, "Asio: any thread may post to the main loop"},

    {SCMP_SYS(io_uring_enter), kMain | kIo, "disk I/O"},
    {SCMP_SYS(io_uring_register), kMain | kIo, "an I/O thread's ring, when it begins and ends"},
    {SCMP_SYS(io_uring_setup), kMain, "the ring of an I/O thread, which is not one yet"},

    {SCMP_SYS(ioctl), kAll, "the terminal's mode, when a thread fails", Request(TCSETS)},
    {SCMP_SYS(ioctl), kAll, "the same: the C library looks what became of it", Request(TCGETS)},
    {SCMP_SYS(ioctl), kVcpu, "the guest runs", Request(KVM_RUN)},
    {SCMP_SYS(ioctl), kVcpu, "interrupts: a queue's vector", Request(KVM_IRQFD)},
    {SCMP_SYS(ioctl), kVcpu, "interrupts: a vector's message", Request(kSetGsiRouting)},
    {SCMP_SYS(ioctl), kVcpu, "how a guest died", Request(KVM_GET_REGS)},
    {SCMP_SYS(ioctl), kVcpu, "how a guest died", Request(KVM_GET_SREGS)},
    {SCMP_SYS(ioctl), kVcpu, "how a guest died", Request(KVM_TRANSLATE)},
    {SCMP_SYS(ioctl), kVcpu, "a guest that was paused", Request(KVM_KVMCLOCK_CTRL)},
    {SCMP_SYS(ioctl), kZoneIoctl, "zones", Request(BLKREPORTZONE)},
    {SCMP_SYS(ioctl), kZoneIoctl, "zones", Request(BLKOPENZONE)},
    {SCMP_SYS(ioctl), kZoneIoctl, "zones", Request(BLKCLOSEZONE)},
    {SCMP_SYS(ioctl), kZoneIoctl, "zones", Request(BLKFINISHZONE)},
    {SCMP_SYS(ioctl), kZoneIoctl, "zones", Request(BLKRESETZONE)},

    // A guest's reset makes a new machine, with new threads, which inherit these: so main has what
    // all others have.
    {SCMP_SYS(ioctl), kMain, "machines, the terminal, disks that a client adds"},
    {SCMP_SYS(clone), kMain, "threads, but no processes", Argument{0, CLONE_THREAD, CLONE_THREAD}},
    {SCMP_SYS(rseq), kMain, "a thread's beginning"},
    {SCMP_SYS(sched_getaffinity), kMain, "how many processors an I/O thread shares"},
    {SCMP_SYS(set_robust_list), kMain, "a thread's beginning"},
    {SCMP_SYS(prctl), kMain, "a thread's name, and what seccomp needs"},
    {SCMP_SYS(capset), kMain, "new threads give up capabilities"},
    {SCMP_SYS(seccomp), kMain, "new threads confine themselves"},
    {SCMP_SYS(eventfd2), kMain, "doorbells and interrupts of a new machine"},
    {SCMP_SYS(dup), kMain, "descriptors of a new machine"},
    {SCMP_SYS(epoll_wait), kMain, "the main loop"},
    {SCMP_SYS(timerfd_settime), kMain, "the main loop's timers"},
    {SCMP_SYS(timerfd_create), kMain, "the main loop's timers"},
    {SCMP_SYS(accept), kMain, "control clients"},
    {SCMP_SYS(accept4), kMain, "control clients"},
    {SCMP_SYS(recvmsg), kMain, "control clients"},
    {SCMP_SYS(recvfrom), kMain, "control clients"},
    {SCMP_SYS(sendmsg), kMain, "control clients"},
    {SCMP_SYS(sendto), kMain, "control clients"},
    {SCMP_SYS(shutdown), kMain, "control clients"},
    {SCMP_SYS(getsockopt), kMain, "control clients"},
    {SCMP_SYS(setsockopt), kMain, "control clients"},
    {SCMP_SYS(writev), kMain, "control clients, log lines"},
    {SCMP_SYS(readv), kMain, "control clients"},
    {SCMP_SYS(fcntl), kMain, "descriptors; locks of disks that a client adds"},
    {SCMP_SYS(openat), kMain, "disks that a client adds; Landlock says which"},
    {SCMP_SYS(newfstatat), kMain, "the same"},
    {SCMP_SYS(fstat), kMain, "the same; glibc 2.39 and newer"},
    {SCMP_SYS(access), kMain, "the same"},
    {SCMP_SYS(faccessat), kMain, "the same"},
    {SCMP_SYS(faccessat2), kMain, "the same"},
    {SCMP_SYS(statx), kMain, "the same"},
    {SCMP_SYS(fstatfs), kMain, "the same"},
    {SCMP_SYS(lseek), kMain, "the same"},
    {SCMP_SYS(pread64), kMain, "the same"},
    {SCMP_SYS(readlink), kMain, "the same"},
    {SCMP_SYS(getdents64), kMain, "the same"},
    {SCMP_SYS(ftruncate), kMain, "disks that a client makes larger"},
    {SCMP_SYS(unlink), kMain, "a control socket, at the end"},
};

struct ReleaseFilter {
  void operator()(void* filter) const { ::seccomp_release(filter); }
};

}  // namespace

// Besides the table: tgkill within the process, for abort and to call vCPUs out of the guest.
Result<void> ConfineThread(ThreadKind kind) {
  std::unique_ptr<void, ReleaseFilter> filter(::seccomp_init(SCMP_ACT_KILL_PROCESS));
  if (filter == nullptr) return Fail("cannot make a seccomp filter");
  // Else a call of another ABI (int 0x80, x32) ends its thread alone.
  int error = ::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  if (error != 0) return Fail("cannot make a seccomp filter: {}", ErrnoText(-error));
  const unsigned bit = 1U << static_cast<unsigned>(kind);
  for (const Rule& rule : kRules) {
    if ((rule.kinds & bit) == 0) continue;
    if (rule.only) {
      error = ::seccomp_rule_add(
          filter.get(), SCMP_ACT_ALLOW, rule.call, 1,
          scmp_arg_cmp{rule.only->index, SCMP_CMP_MASKED_EQ, rule.only->mask, rule.only->value});
    } else {
      error = ::seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, rule.call, 0);
    }
    if (error != 0) return Fail("cannot make a seccomp filter: {}", ErrnoText(-error));
  }
  error = ::seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                             SCMP_A0(SCMP_CMP_EQ, static_cast<uint64_t>(::getpid())));
  if (error != 0) return Fail("cannot make a seccomp filter: {}", ErrnoText(-error));
  // clone3's flags are in memory, where a filter cannot look: without it the C library takes clone.
  error = ::seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
  if (error == 0) error = ::seccomp_load(filter.get());
  if (error != 0) return Fail("cannot load a seccomp filter: {}", ErrnoText(-error));
  return {};
}

namespace {

void ConfineOrDie(ThreadKind kind) {
  // A thread that is older than main's own DropCapabilities still has them: they are each thread's.
  Result<void> confined = DropCapabilities().and_then([kind] { return ConfineThread(kind); });
  if (confined) return;
  // A thread that cannot be confined must not serve a guest, and there is nobody to tell.
  std::fprintf(stderr, "minivmm: a thread cannot be confined: %s\n",
               confined.error().message.c_str());
  std::abort();
}

// For the machines to come after guests' resets, which take as many as the first, for a control
// client and a few disks that it adds.
constexpr rlim_t kSpareDescriptors = 64;

Result<void> LimitDescriptors() {
  rlim_t highest = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    highest = std::max<rlim_t>(highest, std::strtoul(entry.path().filename().c_str(), nullptr, 10));
  }
  if (error) return {};  // no /proc: the limit that there is stays
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return {};
  limit.rlim_cur = std::min(limit.rlim_max, highest + 1 + kSpareDescriptors);
  limit.rlim_max = limit.rlim_cur;
  if (::setrlimit(RLIMIT_NOFILE, &limit) == 0) return {};
  return Fail("cannot limit the number of open files: {}", ErrnoText(errno));
}

// What Landlock can forbid, by the version of its interface in the kernel (landlock(7)).
uint64_t FileRights(long version) {
  constexpr uint64_t kVersion1 = (uint64_t{1} << 13) - 1;  // execute … make_sym
  constexpr uint64_t kRefer = uint64_t{1} << 13;
  constexpr uint64_t kTruncate = uint64_t{1} << 14;
  constexpr uint64_t kIoctlDevice = uint64_t{1} << 15;
  uint64_t rights = kVersion1;
  if (version >= 2) rights |= kRefer;
  if (version >= 3) rights |= kTruncate;
  if (version >= 5) rights |= kIoctlDevice;
  return rights;
}

// Files that are open stay usable.
Result<void> GiveUpFiles(const SandboxOptions& options) {
  long version =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (version < 1) return {};  // a kernel without Landlock
  const uint64_t rights = FileRights(version);
  landlock_ruleset_attr ruleset_options{};
  ruleset_options.handled_access_fs = rights;
  UniqueFd ruleset(static_cast<int>(
      ::syscall(SYS_landlock_create_ruleset, &ruleset_options, sizeof(ruleset_options), 0)));
  if (!ruleset) return Fail("cannot make a Landlock ruleset: {}", ErrnoText(errno));
  if (options.opens_files) {
    UniqueFd root(::open("/", O_PATH | O_CLOEXEC));
    landlock_path_beneath_attr everywhere{};
    everywhere.allowed_access =
        rights & ~uint64_t{LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                           LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
                           LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                           LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                           LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER};
    everywhere.parent_fd = root.get();
    if (!root || ::syscall(SYS_landlock_add_rule, ruleset.get(), LANDLOCK_RULE_PATH_BENEATH,
                           &everywhere, 0) != 0) {
      return Fail("cannot add a Landlock rule: {}", ErrnoText(errno));
    }
  }
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) == 0) return {};
  return Fail("cannot enter the Landlock ruleset: {}", ErrnoText(errno));
}

// Without CAP_IPC_LOCK, which goes with all others, I/O threads' rings count as locked memory on
// some kernels: who may have more of it, has it.
void RaiseLockedMemory() {
  rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_MEMLOCK, &limit) == 0 || ::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_MEMLOCK, &limit);
}

}  // namespace

Result<void> PrepareSandbox() {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_GET_SECCOMP) < 0) {
    return Fail(
        "this kernel has no seccomp to confine minivmm with: {}; --sandbox off does without",
        ErrnoText(errno));
  }
  // With a heap for each thread, malloc looks into /sys and /proc now and then. One heap does
  // without, and is enough: requests allocate nothing.
  ::mallopt(M_ARENA_MAX, 1);
  RaiseLockedMemory();
  SetThreadEntry(&ConfineOrDie);
  return {};
}

Result<void> DropCapabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capset, &header, none) == 0) return {};
  return Fail("cannot drop capabilities: {}", ErrnoText(errno));
}

Result<void> EnterSandbox(const SandboxOptions& options) {
  TRY_VOID(LimitDescriptors());
  TRY_VOID(GiveUpFiles(options));
  return ConfineThread(ThreadKind::kMain);
}

}  // namespace minivmm
