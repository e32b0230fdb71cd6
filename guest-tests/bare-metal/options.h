// The guest's options, from the kernel command line in the PVH start info:
//
//   only=ID[,ID…]     run only checks whose id begins with one of these (Z-30, P-, …)
//   except=ID[,ID…]   not these of them
//   expect=KIND       fail unless the disk is host-managed, host-aware or plain (no F_ZONED)
//   ring=packed       drive packed rings; RING_PACKED must be offered
//   data=dropped      the disk keeps nothing (null-co): skip what reads back
//   phase=write       in place of the checks: make known zones and data, and flush
//   phase=crash       the same, and then change them and flush for ever, counting on the console
//   phase=verify      check what one of these two, on an earlier boot, left on the disk
//   flushed=N         with verify: the last count that phase=crash printed (0)
//   disk=N            the N-th virtio-blk disk on bus 0, from 0
//   ecam=0xADDRESS    where the machine's ECAM lies (0xe0000000 unless told; ecam=0: none)
#ifndef MINIVMM_GUEST_TESTS_BARE_METAL_OPTIONS_H_
#define MINIVMM_GUEST_TESTS_BARE_METAL_OPTIONS_H_

#include <cstdint>

namespace minivmm {

enum class Expectation { kAny, kHostManaged, kHostAware, kPlain };
enum class Phase { kChecks, kWrite, kCrash, kVerify };

struct Options {
  const char* only =
      "";  // comma-separated prefixes, ended by a space or the end of the command line
  const char* except = "";  // the same
  Expectation expect = Expectation::kAny;
  bool ring_is_packed = false;
  bool data_is_kept = true;
  Phase phase = Phase::kChecks;
  uint64_t flushed = 0;
  uint64_t disk = 0;
  uint64_t ecam = 0xe000'0000;
};

// Words that it does not know are an error: it prints the first and returns false.
bool ParseOptions(const char* command_line, Options* options);

// Whether `only=` and `except=` let the check with this id run.
bool IsSelected(const Options& options, const char* id);

}  // namespace minivmm

#endif  // MINIVMM_GUEST_TESTS_BARE_METAL_OPTIONS_H_
