// An image at rest: what opens one, and what tools do to it while no guest uses it. All calls block
// (SyncIo) and are made by any thread but an I/O thread. While an image is in use its node keeps
// the file locked; here the caller has opened it.
//
//   SyncIo io(thread, *file);
//   TRY(ZonedContents image, LoadZonedContents(io));          // info, report, map: reads only
//   TRY_VOID(PrepareZonedForWriting(io, image));              // before any change
//   image.table.SetFault(7, ZoneFault::kOffline);
//   TRY_VOID(CommitZonedTable(io, image.table));              // set-zone
#ifndef MINIVMM_BLOCKCORE_ZONED_ZONED_LOAD_H_
#define MINIVMM_BLOCKCORE_ZONED_ZONED_LOAD_H_

#include <optional>
#include <string>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/zoned_format.h"
#include "blockcore/zoned/zoned_table.h"

namespace minivmm {

// Something that is not as it should be. `text` is one line; whoever prints it names the image.
struct ZonedFinding {
  std::string text;
  bool repairable = false;  // nothing is lost: the other copy is good
};

struct ZonedContents {
  ZonedHeader header;
  ZonedTable table;
  std::optional<uint32_t> damaged_header_copy;  // 0 or 1
  std::vector<ZonedFinding> findings;           // all of them repairable
};

// Reads header and table, changes nothing. Fails with the reason when the image cannot be used.
Result<ZonedContents> LoadZonedContents(SyncIo& io);

// Makes what was loaded fit for writing: brings to stable storage what was read, writes the damaged
// copies anew, and gives back the space behind the last slot in use. Fails, before it writes
// anything, when the medium cannot punch holes (found out where there is room behind that slot) or
// ends before it. Slots between those in use are left to the caller (ZonedTable::TakeStraySlots).
Result<void> PrepareZonedForWriting(SyncIo& io, ZonedContents& contents);

// One commit: afterwards the medium says what the table says, and slots taken away are punched and
// free.
Result<void> CommitZonedTable(SyncIo& io, ZonedTable& table);

struct ZonedCheck {
  std::optional<ZonedHeader> header;  // none: not one of this version, or both copies damaged
  std::vector<ZonedFinding> findings;
  bool repaired = false;  // all of `findings` are past
};

// Reads all there is to read and lists what is wrong, nothing if all is well. `repair`: if all
// findings are repairable, repairs them, and gives back space that no zone owns, as far as the host
// can. Fails only when I/O does.
Result<ZonedCheck> CheckZonedImage(SyncIo& io, bool repair);

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ZONED_ZONED_LOAD_H_
