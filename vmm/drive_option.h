// --drive: QEMU's short form of a --blockdev and, with if=virtio, of the device for it. Here is
// what was asked for, which ParseCommandLine keeps; pure. Later, DescribeDrive
// (vmm/describe_drive.h) looks at the file and makes the block node's description.
//
//   --drive file=PATH,if=virtio,cache=none
//      ─▶ node virtio0: host_device, or raw over file, with cache.direct=on
//      ─▶ --device virtio-blk-pci,drive=virtio0
#ifndef MINIVMM_VMM_DRIVE_OPTION_H_
#define MINIVMM_VMM_DRIVE_OPTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "blockcore/base/manual.h"
#include "blockcore/base/result.h"
#include "blockcore/error_policy.h"
#include "vmm/value_text.h"

namespace minivmm {

struct DriveOption {
  std::string text;               // as given, for messages
  std::string id;                 // empty: the command line makes one
  std::string node_name;          // empty: as `id`
  std::string file;               // empty: the keys say all
  std::string format;             // driver; empty: by what the file is
  Description keys;               // of the node, besides
  bool write_cache = true;        // what cache= means for the device
  ErrorPolicy errors;             // what rerror= and werror= mean for the device
  bool makes_device = false;      // if=virtio
  std::optional<uint64_t> index;  // N in the name virtioN
};

// Pure. Fails with what is wrong at which key.
Result<DriveOption> ParseDrive(std::string_view text);

// The drive as JSON that ParseDrive reads back; with if=none, for its device stands for itself.
std::string DriveToJson(const DriveOption& drive);

ManualSection DriveManual();

}  // namespace minivmm

#endif  // MINIVMM_VMM_DRIVE_OPTION_H_
