// read, readv, write, writev, discard, flush, and the aio_ commands.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "blockcore/base/unique_fd.h"
#include "blockcore/base/units.h"
#include "tools/io/commands.h"
#include "tools/io/text.h"
#include "tools/io/zone_words.h"

namespace minivmm {
namespace {

// The longest request that qemu-io makes.
constexpr uint64_t kMaxDataBytes = 2147483136;
constexpr uint8_t kWritePattern = 0xcd;
constexpr uint8_t kReadFill = 0xab;  // what a disk leaves as it was can be told

bool MovesData(BlockOp op) { return op != BlockOp::kDiscard && op != BlockOp::kWriteZeroes; }

// Fills the memory with the file's bytes, over and over.
Result<void> FillFromFile(const std::string& path, std::span<std::byte> memory) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Fail("{}: {}", path, ErrnoText(errno));
  size_t filled = 0;
  while (filled < memory.size()) {
    const ssize_t got = ::read(fd.get(), memory.data() + filled, memory.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Fail("{}: {}", path, ErrnoText(errno));
    if (got == 0) break;
    filled += got;
  }
  if (filled == 0 && !memory.empty()) return Fail("{}: file is empty", path);
  for (size_t i = filled; i < memory.size(); ++i) memory[i] = memory[i - filled];
  return {};
}

// What a read is compared with.
struct Expectation {
  std::byte pattern;
  uint64_t begin = 0;  // within the data
  uint64_t length = 0;
};

Result<std::optional<Expectation>> ParseExpectation(const CommandArguments& arguments,
                                                    uint64_t total_bytes) {
  const std::string* pattern = arguments.Value('P');
  if (pattern == nullptr) return std::nullopt;
  Expectation expected;
  TRY(const uint8_t byte, ParsePattern(*pattern));
  expected.pattern = std::byte{byte};
  if (const std::string* begin = arguments.Value('s')) {
    TRY(expected.begin, ParseBytes(*begin));
  }
  expected.length = total_bytes - std::min(total_bytes, expected.begin);
  if (const std::string* length = arguments.Value('l')) {
    TRY(expected.length, ParseBytes(*length));
  }
  if (!RangeFits(expected.begin, expected.length, total_bytes)) {
    return Fail("pattern verification range exceeds end of read data");
  }
  return expected;
}

TransferReport ReportOf(std::string_view verb, const Transfer& transfer) {
  const uint64_t total = transfer.plan().TotalBytes();
  return {.verb = verb,
          .offset_bytes = transfer.plan().offset_bytes,
          .done_bytes = total,
          .asked_bytes = total,
          .operations = 1,
          .elapsed_ns = transfer.elapsed_ns()};
}

// How what has become of a transfer is reported.
struct Report {
  std::string_view name;  // in "NAME failed: …"
  std::string_view verb;  // in "VERB 4096/4096 bytes at offset 0"
  bool quiet = false;
  bool machine = false;
  bool dump = false;
  std::optional<Expectation> expected = {};
};

bool PrintReport(IoSession& session, const Report& report, const Transfer& transfer) {
  if (transfer.status() != BlockStatus::kOk) {
    return session.Fails("{} failed: {}", report.name, ExplainTransfer(session, transfer));
  }
  bool as_expected = true;
  const std::span<const std::byte> data = transfer.plan().buffer.bytes();
  if (report.expected) {
    const auto part = data.subspan(report.expected->begin, report.expected->length);
    const std::byte pattern = report.expected->pattern;
    as_expected =
        std::all_of(part.begin(), part.end(), [pattern](std::byte b) { return b == pattern; });
    if (!as_expected) {
      session.Print("Pattern verification failed at offset {}, {} bytes\n",
                    transfer.plan().offset_bytes + report.expected->begin, report.expected->length);
    }
  }
  if (report.quiet) return as_expected;
  if (report.dump) session.PrintText(FormatDump(transfer.plan().offset_bytes, data));
  session.PrintText(FormatTransfer(ReportOf(report.verb, transfer), report.machine));
  return as_expected;
}

Report ReportFor(std::string_view name, std::string_view verb, const CommandArguments& arguments) {
  return {.name = name,
          .verb = verb,
          .quiet = arguments.Has('q'),
          .machine = arguments.Has('C'),
          .dump = arguments.Has('v')};
}

// Does it now, or starts it.
bool Perform(IoSession& session, TransferPlan plan, Report report, bool wait) {
  auto transfer = std::make_unique<Transfer>(session.disk(), std::move(plan));
  if (wait) {
    transfer->Run(session.thread());
    return PrintReport(session, report, *transfer);
  }
  session.Start(std::move(transfer), [&session, report](const Transfer& done) {
    return PrintReport(session, report, done);
  });
  return true;
}

bool Read(IoSession& session, const CommandArguments& arguments, Buffers buffers,
          std::string_view name, bool wait) {
  Report report = ReportFor(name, "read", arguments);
  Result<TransferPlan> plan = ParseTransfer(BlockOp::kRead, buffers, arguments);
  if (!plan) return session.Fails("{}", plan.error().message);
  const uint64_t total = plan->TotalBytes();
  Result<std::optional<Expectation>> expected = ParseExpectation(arguments, total);
  if (!expected) return session.Fails("{}", expected.error().message);
  report.expected = *expected;
  if (auto fits = CheckRange(session.limits(), plan->offset_bytes, total); !fits) {
    return session.Fails("{} failed: {}", name, fits.error().message);
  }
  Result<IoBuffer> buffer = IoBuffer::Allocate(total, kReadFill);
  if (!buffer) return session.Fails("{} failed: {}", name, buffer.error().message);
  plan->buffer = std::move(*buffer);
  return Perform(session, std::move(*plan), std::move(report), wait);
}

// The words about options that exclude or need each other.
Result<void> CheckWriteOptions(const IoSession& session, const CommandArguments& arguments) {
  const bool zeroes = arguments.Has('z');
  if (zeroes + arguments.Has('P') + arguments.Has('s') > 1) {
    return Fail("Only one of -z, -P, and -s can be specified at the same time");
  }
  if (arguments.Has('n') && !zeroes) return Fail("-n requires -z to be specified");
  if (arguments.Has('u') && !zeroes) return Fail("-u requires -z to be specified");
  if (zeroes && arguments.words.size() > 2) {
    return Fail("-z supports only a single length parameter");
  }
  if (arguments.Has('n') && !session.limits().write_zeroes) {
    return Fail("write failed: {}: the disk writes no zeroes by itself; leave out -n",
                ErrnoText(ENOTSUP));
  }
  return {};
}

bool Write(IoSession& session, const CommandArguments& arguments, Buffers buffers,
           std::string_view name, bool wait) {
  const Report report = ReportFor(name, "wrote", arguments);
  if (Result<void> sound = CheckWriteOptions(session, arguments); !sound) {
    return session.Fails("{}", sound.error().message);
  }
  const bool zeroes_by_disk = arguments.Has('z') && session.limits().write_zeroes;
  const BlockOp op = zeroes_by_disk ? BlockOp::kWriteZeroes : BlockOp::kWrite;
  Result<TransferPlan> plan = ParseTransfer(op, buffers, arguments);
  if (!plan) return session.Fails("{}", plan.error().message);
  if (auto fits = CheckRange(session.limits(), plan->offset_bytes, plan->TotalBytes()); !fits) {
    return session.Fails("{} failed: {}", name, fits.error().message);
  }
  if (!FillBuffer(session, arguments, *plan)) return false;
  plan->flush_after = arguments.Has('f') || session.settings().writethrough;
  plan->may_unmap = arguments.Has('u');
  return Perform(session, std::move(*plan), report, wait);
}

}  // namespace

Result<TransferPlan> ParseTransfer(BlockOp op, Buffers buffers, const CommandArguments& arguments) {
  TransferPlan plan;
  plan.op = op;
  TRY(plan.offset_bytes, ParseBytes(arguments.words[0]));
  uint64_t total = 0;
  for (const std::string& word : std::span(arguments.words).subspan(1)) {
    TRY(const uint64_t length, ParseBytes(word));
    if (MovesData(op)) {
      if (length > kMaxDataBytes) {
        if (buffers == Buffers::kOne) {
          return Fail("length cannot exceed {}, given {}", kMaxDataBytes, word);
        }
        return Fail("Argument '{}' exceeds maximum size {}", word, kMaxDataBytes);
      }
      total += length;
      if (total > kMaxDataBytes) {
        return Fail("The total number of bytes exceed the maximum size {}", kMaxDataBytes);
      }
    }
    plan.lengths.push_back(length);
  }
  return plan;
}

bool FillBuffer(IoSession& session, const CommandArguments& arguments, TransferPlan& plan) {
  if (!MovesData(plan.op)) return true;
  uint8_t pattern = arguments.Has('z') ? 0 : kWritePattern;
  if (const std::string* text = arguments.Value('P')) {
    const Result<uint8_t> parsed = ParsePattern(*text);
    if (!parsed) return session.Fails("{}", parsed.error().message);
    pattern = *parsed;
  }
  Result<IoBuffer> buffer = IoBuffer::Allocate(plan.TotalBytes(), pattern);
  if (!buffer) return session.Fails("{}", buffer.error().message);
  plan.buffer = std::move(*buffer);
  const std::string* path = arguments.Value('s');
  if (path == nullptr) return true;
  const Result<void> filled = FillFromFile(*path, plan.buffer.bytes());
  if (!filled) session.Complain(filled.error().message + "\n");
  return filled.has_value();
}

std::string ExplainTransfer(IoSession& session, const Transfer& transfer) {
  const TransferPlan& plan = transfer.plan();
  if (transfer.flush_failed()) {
    return fmt::format("{}: it was written, but the flush behind it failed: do not rely on it",
                       ErrnoText(EIO));
  }
  return session.Explain(plan.op, transfer.status(), transfer.failed_offset_bytes(),
                         plan.TotalBytes());
}

bool RunRead(IoSession& session, const CommandArguments& arguments) {
  if (!arguments.Has('P') && (arguments.Has('s') || arguments.Has('l'))) {
    session.PrintText(CommandUsage(*FindIoCommand("read")));
    return false;
  }
  return Read(session, arguments, Buffers::kOne, "read", true);
}

bool RunReadv(IoSession& session, const CommandArguments& arguments) {
  return Read(session, arguments, Buffers::kMany, "readv", true);
}

bool RunAioRead(IoSession& session, const CommandArguments& arguments) {
  return Read(session, arguments, Buffers::kMany, "readv", false);
}

bool RunWrite(IoSession& session, const CommandArguments& arguments) {
  return Write(session, arguments, Buffers::kOne, "write", true);
}

bool RunWritev(IoSession& session, const CommandArguments& arguments) {
  return Write(session, arguments, Buffers::kMany, "writev", true);
}

bool RunAioWrite(IoSession& session, const CommandArguments& arguments) {
  return Write(session, arguments, Buffers::kMany, "aio_write", false);
}

bool RunAioFlush(IoSession& session, const CommandArguments&) {
  session.FinishTransfers();
  return true;
}

bool RunDiscard(IoSession& session, const CommandArguments& arguments) {
  const Report report = ReportFor("discard", "discard", arguments);
  Result<TransferPlan> plan = ParseTransfer(BlockOp::kDiscard, Buffers::kOne, arguments);
  if (!plan) return session.Fails("{}", plan.error().message);
  if (auto fits = CheckRange(session.limits(), plan->offset_bytes, plan->TotalBytes()); !fits) {
    return session.Fails("discard failed: {}", fits.error().message);
  }
  return Perform(session, std::move(*plan), report, true);
}

bool RunFlush(IoSession& session, const CommandArguments&) {
  TransferPlan plan;
  plan.op = BlockOp::kFlush;
  plan.lengths = {0};
  Transfer transfer(session.disk(), std::move(plan));
  transfer.Run(session.thread());
  if (transfer.status() == BlockStatus::kOk) return true;
  return session.Fails("flush failed: {}: what was written may not be on stable storage",
                       ErrnoText(EIO));
}

}  // namespace minivmm
