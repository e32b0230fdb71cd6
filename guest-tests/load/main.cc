// The load guest: keeps a virtio-blk disk busy and says how long it took, for tools/bench.
//
//   @load ready                               with pause=yes, until a character comes
//   @load requests=N ns=N                     all of them successful
//
// Ends the VMM through isa-debug-exit with success only if every status byte it looked at was 0.
#include "guest-tests/bare-metal/console.h"
#include "guest-tests/bare-metal/cpu.h"
#include "guest-tests/bare-metal/interrupts.h"
#include "guest-tests/bare-metal/require.h"
#include "guest-tests/bare-metal/start_info.h"
#include "guest-tests/load/load.h"
#include "guest-tests/load/timestamp.h"
#include "guest-tests/load/user_mode.h"

namespace minivmm {
namespace {

constexpr uint64_t kDataAddress = 16 << 20;  // beyond what the loader has put anywhere
constexpr uint64_t kTicksToCalibrate = 5;

Load load;
uint64_t load_begun, load_ends;  // timestamps

// Of the timestamp counter, by the APIC's timer.
uint64_t TimestampsPerMs() {
  WaitFor([] { return false; }, 1);
  const uint64_t begun = ReadTimestamp();
  WaitFor([] { return false; }, kTicksToCalibrate);
  return (ReadTimestamp() - begun) / (kTicksToCalibrate * kTickMs);
}

// Bytes of memory from `address` on.
uint64_t MemoryFrom(const PvhStartInfo& start_info, uint64_t address) {
  const auto* ranges = reinterpret_cast<const PvhMemoryRange*>(start_info.memory_map);
  for (uint32_t i = 0; i < start_info.memory_map_entries; ++i) {
    const PvhMemoryRange& range = ranges[i];
    if (range.type == kPvhRam && range.address <= address &&
        address - range.address < range.bytes) {
      return range.bytes - (address - range.address);
    }
  }
  return 0;
}

bool Run(const PvhStartInfo& start_info) {
  if (start_info.magic != kPvhMagic) {
    Print("@load failed: the PVH start info has magic ", Hex{start_info.magic}, "\n");
    return false;
  }
  LoadOptions options;
  if (start_info.command_line != 0 &&
      !ParseOptions(reinterpret_cast<const char*>(start_info.command_line), &options)) {
    return false;
  }
  if (options.op == LoadOptions::Op::kExit) return true;

  StartInterrupts();
  PciFunction function;
  if (!FindPciFunction(kVirtioVendorId, kVirtioBlkDeviceId, 0, &function)) {
    Print("@load failed: no virtio-blk function 1af4:1042 on PCI bus 0\n");
    return false;
  }
  if (const char* error =
          load.Open(function, options, kDataAddress, MemoryFrom(start_info, kDataAddress))) {
    Print("@load failed: ", error, "\n");
    return false;
  }
  const uint64_t per_ms = TimestampsPerMs();
  PrepareUserMode();
  if (options.pauses) {
    Print("@load ready\n");
    WaitForCharacter();
  }
  load_begun = ReadTimestamp();
  load_ends = load_begun + options.ms * per_ms;
  RunInUserMode([] { load.Run(load_ends); });
  const uint64_t ns = (ReadTimestamp() - load_begun) * 1000 / (per_ms / 1000);
  if (load.failure() != 0) {
    Print("@load failed: a request ended with status ", unsigned{load.failure()}, "\n");
    return false;
  }
  Print("@load requests=", load.requests(), " ns=", ns, "\n");
  if (options.pauses) WaitForCharacter();
  return true;
}

}  // namespace

// A step of the virtio-pci driver did not do what it must: there is nothing to measure.
void FailCheck(const char* file, unsigned line, const char* text) {
  Print("@load failed: ", text, " does not hold (", file, ":", line, ")\n");
  ExitGuest(false);
}

void FailCheck(const char* file, unsigned line, const char* text, uint64_t got, uint64_t wanted) {
  Print("@load failed: ", text, " is ", Hex{got}, ", not ", Hex{wanted}, " (", file, ":", line,
        ")\n");
  ExitGuest(false);
}

}  // namespace minivmm

extern "C" [[noreturn]] void GuestMain(const minivmm::PvhStartInfo* start_info) {
  minivmm::ExitGuest(minivmm::Run(*start_info));
}
