// minivmm-io's main: command line ─▶ disk ─▶ commands ─▶ exit status.
#include <getopt.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <vector>

#include "blockcore/base/excerpt.h"
#include "blockcore/base/standard_files.h"
#include "blockcore/options.h"
#include "tools/io/disk.h"
#include "tools/io/io_manual.h"
#include "tools/io/prompt.h"
#include "tools/io/session.h"

namespace minivmm {
namespace {

enum LongOnly { kImageOptions = 256, kObject };

constexpr option kLongOptions[] = {
    {"help", optional_argument, nullptr, 'h'},
    {"version", no_argument, nullptr, 'V'},
    {"cmd", required_argument, nullptr, 'c'},
    {"format", required_argument, nullptr, 'f'},
    {"image-opts", no_argument, nullptr, kImageOptions},
    {"nocache", no_argument, nullptr, 'n'},
    {"read-only", no_argument, nullptr, 'r'},
    {"cache", required_argument, nullptr, 't'},
    {"discard", required_argument, nullptr, 'd'},
    {"aio", required_argument, nullptr, 'i'},
    {"native-aio", no_argument, nullptr, 'k'},
    {"misalign", no_argument, nullptr, 'm'},
    {"snapshot", no_argument, nullptr, 's'},
    {"copy-on-read", no_argument, nullptr, 'C'},
    {"force-share", no_argument, nullptr, 'U'},
    {"trace", optional_argument, nullptr, 'T'},
    {"object", required_argument, nullptr, kObject},
    {nullptr, 0, nullptr, 0},
};

struct Call {
  bool help = false;
  std::string help_form;
  bool version = false;
  std::vector<std::string> commands;
  bool has_disk = false;
  DiskOptions disk;
};

// What of qemu-io's there is not, and why.
Result<void> RefuseOption(int option) {
  switch (option) {
    case 'k':
      return Fail(
          "-k (--native-aio) is not there: all disk I/O goes through io_uring; leave it out");
    case 'm':
      return Fail(
          "-m (--misalign) is not there: buffers are always aligned; the tests misalign them");
    case 's':
      return Fail("-s (--snapshot) is not there: copy the file, and work on the copy");
    case 'C':
      return Fail("-C (--copy-on-read) is not there: there are no backing files");
    case 'U':
      return Fail(
          "-U (--force-share) is not there: readers share a disk, give -r to all its users");
    case 'T':
      return Fail("-T (--trace) is not there: try strace or perf");
    case kObject:
      return Fail("--object is not there: neither secrets nor throttle groups are");
    default:
      return Fail("see minivmm-io --help");
  }
}

Result<void> CheckAio(std::string_view mode) {
  if (mode == "io_uring") return {};
  if (mode == "threads" || mode == "native") {
    return Fail("-i {} is not there: all disk I/O goes through io_uring; leave it out", mode);
  }
  return Fail("-i {} is unknown: it is io_uring", Excerpt(mode));
}

Result<void> TakeOption(int option, const char* value, Call& call) {
  switch (option) {
    case 'h':
      call.help = true;
      if (value != nullptr) call.help_form = value;
      return {};
    case 'V':
      call.version = true;
      return {};
    case 'c':
      call.commands.emplace_back(value);
      return {};
    case 'f':
      call.disk.format = value;
      if (call.disk.format.empty()) return Fail("-f needs the name of a driver, such as raw");
      return {};
    case kImageOptions:
      call.disk.image_options = true;
      return {};
    case 'n':
      call.disk.cache = CacheMode{.direct = true};
      return {};
    case 'r':
      call.disk.read_only = true;
      return {};
    case 't': {
      TRY(call.disk.cache, ParseCacheMode(value));
      return {};
    }
    case 'd': {
      const std::string_view mode = value;
      call.disk.discard = mode == "unmap" || mode == "on";
      if (*call.disk.discard || mode == "ignore" || mode == "off") return {};
      return Fail("Invalid discard option: {}; known are unmap and ignore", Excerpt(mode));
    }
    case 'i':
      return CheckAio(value);
    default:
      return RefuseOption(option);
  }
}

Result<Call> ParseCall(int argc, char** argv) {
  Call call;
  while (true) {
    const int option = ::getopt_long(argc, argv, "hVc:f:nrt:d:i:kmsCUT::", kLongOptions, nullptr);
    if (option == -1) break;
    TRY_VOID(TakeOption(option, ::optarg, call));
  }
  if (::optind + 1 < argc) {
    return Fail("'{}' is one argument too many: a command stands behind -c", argv[::optind + 1]);
  }
  call.has_disk = ::optind < argc;
  if (call.has_disk) call.disk.text = argv[::optind];
  if (call.disk.image_options && !call.disk.format.empty()) {
    return Fail("--image-opts and -f are mutually exclusive");
  }
  if (call.disk.image_options && !call.has_disk) {
    return Fail("--image-opts needs the disk's description, such as driver=host_device,filename=…");
  }
  return call;
}

Result<void> PrintHelp(const std::string& form) {
  const Manual manual = IoManual();
  if (form.empty()) {
    fmt::print("{}", RenderHelp(manual));
  } else if (form == "man") {
    fmt::print("{}", RenderManPage(manual));
  } else if (form == "bash") {
    fmt::print("{}", RenderBashCompletion(manual));
  } else {
    return Fail("--help={} is unknown: it is man, bash or nothing", Excerpt(form));
  }
  return {};
}

void PrintOut(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

// Behind what stands on standard output already, where both go to one place.
void PrintComplaint(std::string_view text) {
  std::fflush(stdout);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

Result<int> Run(int argc, char** argv) {
  TRY(const Call call, ParseCall(argc, argv));
  if (call.help) {
    TRY_VOID(PrintHelp(call.help_form));
    return 0;
  }
  if (call.version) {
    fmt::print("minivmm-io 0.1\n");
    return 0;
  }
  std::optional<DiskOptions> options;
  if (call.has_disk) options = call.disk;
  Result<IoDisk> disk = OpenDisk(options);
  if (!disk) return Fail("can't open device {}: {}", call.disk.text, disk.error().message);

  IoSession session(*disk->thread, disk->backend.get(),
                    {.driver = disk->driver,
                     .writethrough = call.disk.cache.writethrough,
                     .show_progress = ::isatty(STDERR_FILENO) == 1},
                    PrintOut, PrintComplaint);
  for (const std::string& command : call.commands) {
    if (!session.ended()) session.Run(command);
  }
  if (call.commands.empty()) {
    if (::isatty(STDIN_FILENO) == 1) {
      RunPrompt(session);
    } else {
      RunLines(session);
    }
  }
  session.FinishTransfers();
  // What was written is there when the program has ended, as with any other.
  if (disk->backend && !disk->backend->limits().read_only) session.Run("flush");
  return session.failed() ? 1 : 0;
}

}  // namespace
}  // namespace minivmm

int main(int argc, char** argv) {
  minivmm::OpenMissingStandardFiles();
  // A limit of file sizes (ulimit -f) is an error to tell of.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    const minivmm::Result<int> status = minivmm::Run(argc, argv);
    if (!status) {
      std::fflush(stdout);
      fmt::print(stderr, "minivmm-io: {}\n",
                 minivmm::Excerpt(status.error().message, /*max_bytes=*/10'000));
      return 1;
    }
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      fmt::print(stderr, "minivmm-io: cannot write to standard output\n");
      return 1;
    }
    return *status;
  } catch (const std::exception& error) {
    fmt::print(stderr, "minivmm-io: {}\n", error.what());
    return 1;
  }
}
