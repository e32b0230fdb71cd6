// The zone load guest: keeps the zones of a virtio-blk disk busy, for those rows of tools/bench
// that need a disk with real zones. Unlike guest-tests/load it runs where the CPU executes the
// guest's code itself, and sleeps while it waits.
#include "guest-tests/bare-metal/console.h"
#include "guest-tests/bare-metal/interrupts.h"
#include "guest-tests/bare-metal/require.h"
#include "guest-tests/bare-metal/start_info.h"
#include "guest-tests/zone-load/disk.h"
#include "guest-tests/zone-load/steps.h"

namespace minivmm {
namespace {

ZonedDisk disk;

bool Run(const PvhStartInfo& start_info) {
  if (start_info.magic != kPvhMagic || start_info.command_line == 0) {
    Print("@failed there is no command line\n");
    return false;
  }
  StartInterrupts();
  return RunSteps(disk, reinterpret_cast<const char*>(start_info.command_line));
}

}  // namespace

// A step of the virtio-pci driver did not do what it must.
void FailCheck(const char* file, unsigned line, const char* text) {
  Print("@failed ", text, " does not hold (", file, ":", line, ")\n");
  ExitGuest(false);
}

void FailCheck(const char* file, unsigned line, const char* text, uint64_t got, uint64_t wanted) {
  Print("@failed ", text, " is ", Hex{got}, ", not ", Hex{wanted}, " (", file, ":", line, ")\n");
  ExitGuest(false);
}

}  // namespace minivmm

extern "C" [[noreturn]] void GuestMain(const minivmm::PvhStartInfo* start_info) {
  const bool succeeded = minivmm::Run(*start_info);
  if (!succeeded) minivmm::Print("@failed\n");
  minivmm::ExitGuest(succeeded);
}
