// The init of the measured guest: says that it runs, then does what the lines on its console ask
// for, one at a time, with an answer for each. What is timed has only the kernel below it: no
// shell, no C library, no other process.
//
//   disks                          loads virtio_blk             @disks
//   report DISK                    all zones, 4096 a call       @report ZONES NANOSECONDS
//   read DISK DEPTH BYTES COUNT    DEPTH reads at a time, at    @read COUNT NANOSECONDS
//                                  random places of the first
//                                  64 MiB
//   off                            powers the machine off
//
// A DISK is a path. Whatever fails gives `@failed WHAT ERRNO`.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/blkzoned.h>
#include <linux/reboot.h>
#include <linux/time.h>
#include <linux/time_types.h>

#include "syscalls.h"

namespace minivmm {
namespace {

constexpr int kConsoleIn = 0;
constexpr int kConsoleOut = 1;
constexpr unsigned kZonesPerCall = 4096;  // as many as blkzone asks for
constexpr unsigned kMaxDepth = 64;
constexpr unsigned kMaxBytes = 128 * 1024;
constexpr unsigned long kReadSpan = 64ul << 20;
constexpr unsigned kMaxWords = 5;

alignas(4096) char buffers[kMaxDepth][kMaxBytes];
alignas(
    blk_zone_report) char report_memory[sizeof(blk_zone_report) + kZonesPerCall * sizeof(blk_zone)];

// One answer on the console, in one write.
class Answer {
 public:
  explicit Answer(const char* name) {
    Add("@");
    Add(name);
  }
  Answer& operator<<(const char* text) {
    Add(" ");
    Add(text);
    return *this;
  }
  Answer& operator<<(unsigned long value) {
    char digits[24];
    unsigned first = sizeof(digits) - 1;
    digits[first] = '\0';
    do {
      digits[--first] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value != 0);
    return *this << &digits[first];
  }
  ~Answer() {
    Add("\n");
    Write(kConsoleOut, text_);
  }

 private:
  void Add(const char* text) {
    while (*text != '\0' && length_ + 1 < sizeof(text_)) text_[length_++] = *text++;
    text_[length_] = '\0';
  }
  char text_[160] = {};
  unsigned length_ = 0;
};

// Says so when a system call failed.
bool Succeeded(const char* what, long result) {
  if (result >= 0) return true;
  Answer("failed") << what << static_cast<unsigned long>(-result);
  return false;
}

unsigned long Now() {
  __kernel_timespec time = {};
  SystemCall(SYS_clock_gettime, CLOCK_MONOTONIC, Address(&time));
  return static_cast<unsigned long>(time.tv_sec) * 1'000'000'000 +
         static_cast<unsigned long>(time.tv_nsec);
}

bool Equal(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

unsigned long Number(const char* digits) {
  unsigned long value = 0;
  for (; *digits >= '0' && *digits <= '9'; ++digits) {
    value = value * 10 + static_cast<unsigned long>(*digits - '0');
  }
  return value;
}

void LoadDisks() {
  const long module = SystemCall(SYS_open, Address("/virtio_blk.ko"), O_RDONLY);
  if (!Succeeded("open:virtio_blk.ko", module)) return;
  if (!Succeeded("finit_module", SystemCall(SYS_finit_module, module, Address(""), 0))) return;
  SystemCall(SYS_close, module);
  const long mounted = SystemCall(SYS_mount, Address("devtmpfs"), Address("/dev"),
                                  Address("devtmpfs"), 0, Address(""));
  if (Succeeded("mount:/dev", mounted)) Answer("disks");
}

void Report(long disk) {
  auto& report = *reinterpret_cast<blk_zone_report*>(report_memory);
  unsigned long zones = 0;
  const unsigned long started = Now();
  report.sector = 0;
  for (;;) {
    report.nr_zones = kZonesPerCall;
    const long result = SystemCall(SYS_ioctl, disk, BLKREPORTZONE, Address(&report));
    if (!Succeeded("BLKREPORTZONE", result)) return;
    if (report.nr_zones == 0) break;
    zones += report.nr_zones;
    const blk_zone& last = report.zones[report.nr_zones - 1];
    report.sector = last.start + last.len;
  }
  Answer("report") << zones << Now() - started;
}

// Reads at random places, as a linear congruential generator gives them.
class Reader {
 public:
  Reader(long disk, unsigned long bytes) : disk_(disk), bytes_(bytes) {}

  long Submit(aio_context_t context, unsigned slot) {
    seed_ = seed_ * 6364136223846793005ul + 1442695040888963407ul;
    iocb& request = requests_[slot];
    request = {};
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = static_cast<unsigned>(disk_);
    request.aio_buf = static_cast<unsigned long>(Address(buffers[slot]));
    request.aio_nbytes = bytes_;
    request.aio_offset = static_cast<long>((seed_ >> 20) % (kReadSpan / bytes_) * bytes_);
    request.aio_data = slot;
    iocb* list = &request;
    return SystemCall(SYS_io_submit, static_cast<long>(context), 1, Address(&list));
  }

 private:
  const long disk_;
  const unsigned long bytes_;
  unsigned long seed_ = 1;
  iocb requests_[kMaxDepth] = {};
};

void Read(long disk, unsigned depth, unsigned long bytes, unsigned long count) {
  if (depth == 0 || depth > kMaxDepth || bytes == 0 || bytes > kMaxBytes) {
    Answer("failed") << "read:arguments" << 22ul;
    return;
  }
  aio_context_t context = 0;
  if (!Succeeded("io_setup", SystemCall(SYS_io_setup, kMaxDepth, Address(&context)))) return;
  Reader reader(disk, bytes);
  io_event events[kMaxDepth];
  unsigned long submitted = 0;
  unsigned long done = 0;
  const unsigned long started = Now();
  for (; submitted < depth && submitted < count; ++submitted) {
    const unsigned slot = static_cast<unsigned>(submitted);
    if (!Succeeded("io_submit", reader.Submit(context, slot))) return;
  }
  while (done < count) {
    const long got =
        SystemCall(SYS_io_getevents, static_cast<long>(context), 1, kMaxDepth, Address(events), 0);
    if (!Succeeded("io_getevents", got)) return;
    for (long i = 0; i < got; ++i, ++done) {
      if (!Succeeded("read", events[i].res)) return;
      if (submitted == count) continue;
      ++submitted;
      const unsigned slot = static_cast<unsigned>(events[i].data);
      if (!Succeeded("io_submit", reader.Submit(context, slot))) return;
    }
  }
  const unsigned long elapsed = Now() - started;
  SystemCall(SYS_io_destroy, static_cast<long>(context));
  Answer("read") << done << elapsed;
}

[[noreturn]] void PowerOff() {
  for (;;) {
    SystemCall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF);
  }
}

void Obey(char* const* words, unsigned count) {
  if (Equal(words[0], "off")) PowerOff();
  if (Equal(words[0], "disks")) return LoadDisks();
  if (count < 2) {
    Answer("failed") << words[0] << 22ul;
    return;
  }
  const long disk = SystemCall(SYS_open, Address(words[1]), O_RDONLY | O_DIRECT);
  if (!Succeeded(words[1], disk)) return;
  if (Equal(words[0], "report")) {
    Report(disk);
  } else if (Equal(words[0], "read") && count == 5) {
    Read(disk, static_cast<unsigned>(Number(words[2])), Number(words[3]), Number(words[4]));
  } else {
    Answer("failed") << words[0] << 22ul;
  }
  SystemCall(SYS_close, disk);
}

[[noreturn]] void Run() {
  Write(kConsoleOut, "@init\n");
  char line[128];
  for (;;) {
    // The console hands over whole lines. Its end is a machine whose user has gone.
    const long length = SystemCall(SYS_read, kConsoleIn, Address(line), sizeof(line) - 1);
    if (length <= 0) PowerOff();
    line[length] = '\0';
    char* words[kMaxWords];
    unsigned count = 0;
    for (char* c = line; *c != '\0' && count < kMaxWords;) {
      while (*c == ' ' || *c == '\n') *c++ = '\0';
      if (*c == '\0') break;
      words[count++] = c;
      while (*c != '\0' && *c != ' ' && *c != '\n') ++c;
    }
    if (count != 0) Obey(words, count);
  }
}

}  // namespace
}  // namespace minivmm

extern "C" [[noreturn]] void Start() { minivmm::Run(); }

// What the compiler calls for the copies and clearings that it puts in by itself.
extern "C" void* memset(void* to, int value, unsigned long bytes) {
  void* const start = to;
  asm volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return start;
}

asm(".globl _start\n_start:\n  and $-16, %rsp\n  call Start\n");
