#include "blockcore/zoned/zoned_load.h"

#include <algorithm>
#include <array>
#include <utility>

#include "blockcore/base/units.h"

namespace minivmm {
namespace {

using PageView = std::span<const std::byte, kZonedPageBytes>;

PageView PageAt(std::span<const std::byte> bytes, size_t index) {
  return PageView(bytes.subspan(index * kZonedPageBytes, kZonedPageBytes));
}

// Commits count up from here without an end that anybody could reach.
constexpr uint64_t kMaxSequenceForWriting = uint64_t{1} << 62;

struct HeaderCopies {
  std::optional<ZonedHeader> header;
  std::optional<uint32_t> damaged_copy;
  std::vector<ZonedFinding> findings;
};

Result<HeaderCopies> ScanHeader(SyncIo& io) {
  std::array<std::byte, 2 * kZonedPageBytes> bytes{};
  TRY_VOID(io.Read(0, bytes));
  HeaderCopies result;
  std::array<Result<ZonedHeader>, 2> copies{DecodeHeader(PageAt(bytes, 0)),
                                            DecodeHeader(PageAt(bytes, 1))};
  for (uint32_t copy = 0; copy < 2; ++copy) {
    // A good copy beside it would be what a program that stopped half-way through a change of
    // versions has left.
    if (std::optional<uint32_t> version = ForeignVersion(PageAt(bytes, copy))) {
      result.findings.push_back(
          {fmt::format("its header has version {} of the format, which this program does not know: "
                       "use a newer one",
                       *version)});
      return result;
    }
  }
  if (!copies[0] && !copies[1]) {
    // The copy that has the magic says more.
    const bool second = !LooksZoned(PageAt(bytes, 0)) && LooksZoned(PageAt(bytes, 1));
    result.findings.push_back({copies[second ? 1 : 0].error().message});
    return result;
  }
  // Both good and different: a change of the header was cut off; the first copy is written first.
  const uint32_t good = copies[0] ? 0 : 1;
  result.header = *copies[good];
  if (!copies[1 - good]) {
    result.damaged_copy = 1 - good;
    result.findings.push_back({fmt::format("copy {} of the header is damaged: {}", 1 - good,
                                           copies[1 - good].error().message),
                               true});
  } else if (*copies[1 - good] != *copies[good]) {
    result.damaged_copy = 1 - good;
    result.findings.push_back({"the two copies of the header differ: the first counts", true});
  }
  return result;
}

// How many slots the medium has room for.
uint32_t SlotLimit(const ZonedHeader& header, const BlockLimits& medium) {
  if (medium.grows) return header.slot_count();
  if (medium.capacity_bytes <= header.data_offset_bytes()) return 0;
  return static_cast<uint32_t>(std::min<uint64_t>(
      header.slot_count(),
      (medium.capacity_bytes - header.data_offset_bytes()) / header.slot_bytes()));
}

// Fails for an image that can only be read; no program counts so far.
Result<void> CheckCommitsLeft(const ZonedTable& table) {
  if (table.highest_sequence() <= kMaxSequenceForWriting) return {};
  return Fail(
      "its table counts {} commits, which leaves too few: copy it with minivmm-img convert, or "
      "give read-only=on",
      table.highest_sequence());
}

struct Scan {
  HeaderCopies copies;
  std::optional<ZonedTable> table;
  std::vector<ZonedFinding> findings;
};

Result<Scan> ScanImage(SyncIo& io) {
  Scan scan;
  TRY(scan.copies, ScanHeader(io));
  scan.findings = std::move(scan.copies.findings);
  if (!scan.copies.header) return scan;
  const ZonedHeader& header = *scan.copies.header;
  ZonedTable& table = scan.table.emplace(header);

  constexpr uint32_t kPagesPerRead = 128;
  std::vector<std::byte> bytes;
  bool complete = true;
  for (uint32_t first = 0; first < header.table_pages(); first += kPagesPerRead) {
    const uint32_t count = std::min(kPagesPerRead, header.table_pages() - first);
    bytes.resize(size_t{count} * 2 * kZonedPageBytes);
    TRY_VOID(io.Read(header.PageOffset(first, 0), bytes));
    for (uint32_t i = 0; i < count; ++i) {
      Result<std::optional<uint32_t>> damaged =
          table.LoadPage(first + i, PageAt(bytes, 2 * i), PageAt(bytes, 2 * i + 1));
      if (!damaged) {
        complete = false;
        scan.findings.push_back({damaged.error().message});
      } else if (*damaged) {
        scan.findings.push_back(
            {fmt::format("place {} of page {} of the zone table is damaged: a commit was cut off",
                         **damaged, first + i),
             true});
      }
    }
  }
  if (!complete) return scan;

  if (Result<void> finished = table.FinishLoading(SlotLimit(header, io.limits())); !finished) {
    scan.findings.push_back({finished.error().message});
  }
  for (uint32_t zone = 0; zone < table.zone_count(); ++zone) {
    const ZoneRecord& record = table.record(zone);
    if (record.written_bytes == 0) continue;
    if (header.SlotOffset(record.slot) + record.written_bytes > io.limits().capacity_bytes) {
      scan.findings.push_back(
          {fmt::format("the data of zone {} lies behind the end: the image was cut off", zone)});
    }
  }
  return scan;
}

}  // namespace

Result<ZonedContents> LoadZonedContents(SyncIo& io) {
  TRY(Scan scan, ScanImage(io));
  for (const ZonedFinding& finding : scan.findings) {
    if (!finding.repairable) return Fail("{}", finding.text);
  }
  return ZonedContents{*scan.copies.header, std::move(*scan.table), scan.copies.damaged_copy,
                       std::move(scan.findings)};
}

Result<void> PrepareZonedForWriting(SyncIo& io, ZonedContents& contents) {
  const BlockLimits& medium = io.limits();
  const ZonedTable& table = contents.table;
  if (medium.read_only) return Fail("it cannot be written to: give read-only=on");
  if (!medium.discard) {
    return Fail(
        "it is on a node that cannot give back space: give discard=unmap to that node, if its "
        "device can do that, or read-only=on");
  }
  if (medium.logical_block_bytes > contents.header.geometry.logical_block_bytes) {
    return Fail(
        "it has blocks of {} bytes, but the node below takes writes of {} bytes: make the image "
        "with logical_block_size=4096, or leave cache.direct off if the node is a file",
        contents.header.geometry.logical_block_bytes, medium.logical_block_bytes);
  }
  const uint32_t room = SlotLimit(contents.header, medium);
  if (!medium.grows && table.first_untouched_slot() > room) {
    return Fail(
        "it has data in place {} of a node with room for {}: the image was cut off; give "
        "read-only=on to see what is left",
        table.first_untouched_slot(), room);
  }
  TRY_VOID(CheckCommitsLeft(table));
  // What was read may be in the host's memory only, after the program that wrote it was killed.
  // Slots that it does not name must not be used before it is on the medium, where an older table
  // may still name them.
  TRY_VOID(io.Flush());
  const uint64_t used_end = contents.header.SlotOffset(table.first_untouched_slot());
  // A host that cannot give back space is found out here, before a reset is: it would write the
  // zeroes of all holes. Behind the end a discard costs nothing.
  if (medium.grows || used_end < medium.capacity_bytes) {
    TRY_VOID(io.Discard(used_end, medium.logical_block_bytes));
  }
  if (used_end < medium.capacity_bytes) {
    TRY_VOID(io.PunchHole(used_end, medium.capacity_bytes - used_end));
  }
  if (contents.damaged_header_copy) {
    TRY_VOID(
        io.Write(*contents.damaged_header_copy * kZonedPageBytes, EncodeHeader(contents.header)));
    TRY_VOID(io.Flush());
    contents.damaged_header_copy.reset();
  }
  if (table.dirty()) TRY_VOID(CommitZonedTable(io, contents.table));
  return {};
}

Result<void> CommitZonedTable(SyncIo& io, ZonedTable& table) {
  std::vector<ZonedTable::PageWrite> writes;
  table.BeginCommit(writes);
  auto write_all = [&]() -> Result<void> {
    TRY_VOID(io.Flush());
    for (const ZonedTable::PageWrite& write : writes) {
      TRY_VOID(io.Write(write.offset_bytes, write.bytes));
    }
    return io.Flush();
  };
  Result<void> written = write_all();
  for (uint32_t slot : table.EndCommit(written.has_value())) {
    TRY_VOID(io.PunchHole(table.header().SlotOffset(slot), table.header().slot_bytes()));
    table.Recycle(slot);
  }
  return written;
}

Result<ZonedCheck> CheckZonedImage(SyncIo& io, bool repair) {
  TRY(Scan scan, ScanImage(io));
  ZonedCheck check{scan.copies.header, scan.findings};
  if (scan.table) {
    Result<void> left = CheckCommitsLeft(*scan.table);
    if (!left) check.findings.push_back({std::move(left.error().message)});
  }
  const bool repairable = std::ranges::all_of(check.findings, &ZonedFinding::repairable);
  if (!repair || !repairable) return check;
  ZonedContents contents{*scan.copies.header, std::move(*scan.table), scan.copies.damaged_copy, {}};
  TRY_VOID(PrepareZonedForWriting(io, contents));
  for (uint32_t slot : contents.table.TakeStraySlots()) {
    // One that the host cannot clear stays unused, as it does in an image in use.
    (void)io.PunchHole(contents.header.SlotOffset(slot), contents.header.slot_bytes());
  }
  check.repaired = true;
  return check;
}

}  // namespace minivmm
