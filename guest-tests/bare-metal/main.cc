// The guest's beginning in C++: reads its options, finds the disk, runs the checks, ends the VMM
// with their result.

#include "guest-tests/bare-metal/check.h"
#include "guest-tests/bare-metal/console.h"
#include "guest-tests/bare-metal/disk.h"
#include "guest-tests/bare-metal/interrupts.h"
#include "guest-tests/bare-metal/options.h"
#include "guest-tests/bare-metal/start_info.h"

namespace minivmm {
namespace {

Disk disk;

const CheckTable* const kTables[] = {
    &kPciChecks,       &kTransportChecks,  &kInterruptChecks,  &kRingChecks,  &kHostileChecks,
    &kDisorderChecks,  &kPackedRingChecks, &kQueueResetChecks, &kBlockChecks, &kZoneFormatChecks,
    &kZoneWriteChecks, &kZoneStateChecks,  &kHostAwareChecks};
const CheckTable* const kKeepingTables[] = {&kKeepingChecks};
const CheckTable* const kKeptZonesTables[] = {&kKeptZonesChecks};

bool Run(const PvhStartInfo& start_info) {
  if (start_info.magic != kPvhMagic) {
    Print("baremetal: the PVH start info has magic ", Hex{start_info.magic}, "\n");
    return false;
  }
  const char* command_line =
      start_info.command_line == 0 ? "" : reinterpret_cast<const char*>(start_info.command_line);
  Print("baremetal: command line: ", command_line, "\n");
  Options options;
  if (!ParseOptions(command_line, &options)) return false;

  PciFunction function;
  if (!FindPciFunction(kVirtioVendorId, kVirtioBlkDeviceId, options.disk, &function)) {
    Print("baremetal: no virtio-blk function 1af4:1042 number ", options.disk, " on PCI bus 0\n");
    return false;
  }
  if (const char* error = disk.Open(function, options.ring_is_packed)) {
    Print("baremetal: the disk cannot be used: ", error, "\n");
    return false;
  }
  Print("baremetal: disk at 00:", unsigned{function.device}, ".", unsigned{function.function}, ", ",
        disk.capacity_sectors(), " sectors, ", unsigned{disk.queue_count()}, " queues, ",
        unsigned{disk.pci().msix_entries()}, " MSI-X vectors, features ", Hex{disk.offered()},
        "\n");
  if (options.phase == Phase::kVerify) return RunChecks(options, disk, kKeptZonesTables, 1);
  if (options.phase != Phase::kChecks) return RunChecks(options, disk, kKeepingTables, 1);
  const unsigned tables = sizeof(kTables) / sizeof(kTables[0]);
  return RunChecks(options, disk, kTables, tables);
}

}  // namespace
}  // namespace minivmm

extern "C" [[noreturn]] void GuestMain(const minivmm::PvhStartInfo* start_info) {
  minivmm::Print("\nbaremetal: started\n");
  minivmm::StartInterrupts();
  minivmm::ExitGuest(minivmm::Run(*start_info));
}
