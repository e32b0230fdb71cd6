#include "guest-tests/bare-metal/check.h"

#include "guest-tests/bare-metal/console.h"
#include "guest-tests/bare-metal/zones.h"

namespace minivmm {
namespace {

enum class Result { kPassed, kFailed, kSkipped };

struct Failure {
  const char* file;
  unsigned line;
  const char* text;
  bool has_values;
  uint64_t got;
  uint64_t wanted;
};

void* way_out[5];  // of the running check, for __builtin_longjmp
bool is_running;
Failure failure;
const char* skip_reason;  // null: the check failed
Options the_options;

[[noreturn]] void LeaveCheck() {
  if (is_running) __builtin_longjmp(way_out, 1);
  Print("baremetal: outside of any check: ", failure.text, "\n");
  ExitGuest(false);
}

const char* WhyNot(const Check& check, const Disk& disk) {
  if ((check.needs & kNeedsWritable) != 0 && disk.Offers(kFeatureReadOnly)) {
    return "the disk is read-only";
  }
  if ((check.needs & kNeedsKeptData) != 0 && !the_options.data_is_kept) {
    return "the disk keeps no data (data=dropped)";
  }
  if ((check.needs & (kNeedsZoned | kNeedsZonesAsFound)) != 0 && !disk.IsZoned()) {
    return "the disk is not zoned";
  }
  if ((check.needs & kNeedsHostManaged) == kNeedsHostManaged && disk.IsHostAware()) {
    return "the disk is host-aware";
  }
  if ((check.needs & kNeedsHostAware) == kNeedsHostAware && !disk.IsHostAware()) {
    return "the disk is not host-aware";
  }
  if ((check.needs & kNeedsSplit) != 0 && disk.IsPacked()) return "the rings are packed";
  if ((check.needs & kNeedsPacked) != 0 && !disk.IsPacked()) return "the rings are split";
  if ((check.needs & kNeedsUnzoned) != 0 && disk.IsZoned()) return "the disk is zoned";
  if ((check.needs & kNeedsQueues) != 0 && disk.queue_count() < 2) {
    return "the disk has one queue";
  }
  return nullptr;
}

void Prepare(const Check& check, Disk& disk) {
  const bool uses_zones = (check.needs & (kNeedsZoned | kNeedsZonesAsFound)) != 0;
  if (uses_zones || (check.needs & (kNeedsStart | kNeedsFreeWrites)) != 0) disk.Start();
  if ((check.needs & kNeedsZoned) != 0 && !disk.Offers(kFeatureReadOnly)) {
    REQUIRE_EQ(disk.Command(kZoneResetAll, 0), kOk);
  }
  if (uses_zones) ReadGeometry(disk);
  if ((check.needs & kNeedsFreeWrites) != 0) FindFreeWriteArea(disk);
}

[[gnu::noinline]] void RunBody(const Check& check, Disk& disk) {
  Prepare(check, disk);
  check.run(disk);
}

[[gnu::noinline]] Result RunOne(const Check& check, Disk& disk) {
  skip_reason = WhyNot(check, disk);
  if (skip_reason != nullptr) return Result::kSkipped;
  if (__builtin_setjmp(way_out) == 0) {
    is_running = true;
    RunBody(check, disk);
    is_running = false;
    return Result::kPassed;
  }
  is_running = false;
  return skip_reason != nullptr ? Result::kSkipped : Result::kFailed;
}

const char* BaseName(const char* path) {
  const char* name = path;
  for (; *path != '\0'; ++path) {
    if (*path == '/') name = path + 1;
  }
  return name;
}

void PrintResult(const Check& check, Result result) {
  if (result == Result::kPassed) {
    Print("ok ", check.id, " ", check.name, "\n");
  } else if (result == Result::kSkipped) {
    Print("skip ", check.id, " ", check.name, ": ", skip_reason, "\n");
  } else {
    Print("not ok ", check.id, " ", check.name, ": ", failure.text);
    if (failure.has_values) {
      Print(" is ", Hex{failure.got}, ", should be ", Hex{failure.wanted});
    }
    Print(" (", BaseName(failure.file), ":", failure.line, ")\n");
  }
}

}  // namespace

const Options& TheOptions() { return the_options; }

bool RunChecks(const Options& options, Disk& disk, const CheckTable* const* tables,
               unsigned count) {
  the_options = options;
  unsigned totals[3] = {};
  for (unsigned t = 0; t < count; ++t) {
    for (unsigned i = 0; i < tables[t]->count; ++i) {
      const Check& check = tables[t]->checks[i];
      if (!IsSelected(options, check.id)) continue;
      const Result result = RunOne(check, disk);
      PrintResult(check, result);
      ++totals[static_cast<unsigned>(result)];
    }
  }
  Print("baremetal: ", totals[0], " passed, ", totals[1], " failed, ", totals[2], " skipped\n");
  return totals[1] == 0 && totals[0] > 0;
}

void FailCheck(const char* file, unsigned line, const char* text) {
  failure = {file, line, text, false, 0, 0};
  skip_reason = nullptr;
  LeaveCheck();
}

void FailCheck(const char* file, unsigned line, const char* text, uint64_t got, uint64_t wanted) {
  failure = {file, line, text, true, got, wanted};
  skip_reason = nullptr;
  LeaveCheck();
}

void SkipCheck(const char* reason) {
  skip_reason = reason;
  LeaveCheck();
}

}  // namespace minivmm
