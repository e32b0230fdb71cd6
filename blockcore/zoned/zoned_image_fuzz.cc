// A damaged zoned image, whole: checked, repaired, opened and used as a disk. What can be opened for
// writing is sound afterwards.
#include <memory>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/zoned/damaged_image.h"
#include "blockcore/zoned/memory_node.h"
#include "blockcore/zoned/zoned.h"
#include "blockcore/zoned/zoned_load.h"
#include "tools/bazel/fuzz/fuzz_input.h"

namespace minivmm {
namespace {

using Bytes = std::vector<std::byte>;

IoThread& Thread() {
  // Never ended: a process that fuzzes has one all along.
  static IoThread& thread = *[] {
    auto started = IoThread::Start("fuzz");
    VMM_CHECK(started.has_value());
    return started->release();
  }();
  return thread;
}

// Both copies of the header, both places of the one table page, and four slots.
Bytes DamagedImage(FuzzInput& input) {
  ZonedHeader header;
  header.id = {42};
  header.geometry = SmallZonedGeometry();
  VMM_CHECK(header.table_pages() == 1);
  Bytes content(header.data_offset_bytes() + 4 * header.slot_bytes(), std::byte{0});
  const uint64_t slots = header.data_offset_bytes();
  std::fill(content.begin() + static_cast<ptrdiff_t>(slots), content.end(), std::byte{0xd5});
  for (uint32_t copy : {0, 1}) {
    ZonedPage page = EncodeHeader(header);
    DamagePage(input, page, kZonedHeaderChecksumOffset, 128);
    std::ranges::copy(page, content.begin() + static_cast<ptrdiff_t>(copy * kZonedPageBytes));
  }
  const std::vector<ZoneRecord> records = SmallZonedRecords();
  for (uint32_t place : {0, 1}) {
    ZonedPage page = EncodeTablePage(header, 0, 7 + place, records);
    DamagePage(input, page, kZonedPageChecksumOffset, 32 + 12 * 16);
    std::ranges::copy(page, content.begin() + static_cast<ptrdiff_t>(header.PageOffset(0, place)));
  }
  if (input.Below(8) == 1) content.resize(input.Below(content.size() + 1));
  return content;
}

void CheckReport(const std::vector<ZoneDescriptor>& zones, const BlockLimits& limits) {
  VMM_CHECK(zones.size() == limits.zone_count);
  uint64_t start = 0;
  for (const ZoneDescriptor& zone : zones) {
    VMM_CHECK(zone.start_bytes == start);
    VMM_CHECK(zone.length_bytes != 0 && zone.capacity_bytes <= zone.length_bytes);
    VMM_CHECK(zone.write_pointer_bytes >= start);
    VMM_CHECK(zone.write_pointer_bytes <= start + zone.length_bytes);
    start += zone.length_bytes;
  }
  VMM_CHECK(start == limits.capacity_bytes);
}

void UseDisk(FuzzInput& input, SyncIo& disk) {
  const BlockLimits& limits = disk.limits();
  // Of a disk with very many zones a report says nothing new.
  if (limits.zone_count > 1024) return;
  const auto report = disk.ReportZones();
  VMM_CHECK(report.has_value());
  CheckReport(*report, limits);
  Bytes buffer(4_KiB);
  for (uint64_t operations = input.Below(8); operations-- > 0;) {
    const ZoneDescriptor zone = (*report)[input.Below(report->size())];
    const uint64_t kind = input.Below(5);
    const auto op =
        input.Pick<BlockOp>({BlockOp::kZoneOpen, BlockOp::kZoneClose, BlockOp::kZoneFinish,
                             BlockOp::kZoneReset, BlockOp::kZoneResetAll});
    const uint64_t within = input.Below(4) * 4_KiB;
    Result<void> done;
    switch (kind) {
      case 0:
        done = disk.Read(zone.start_bytes + within, buffer);
        break;
      case 1:
        done = disk.Write(zone.write_pointer_bytes, buffer);
        break;
      case 2:
        done = disk.Flush();
        break;
      default:
        done = disk.ChangeZone(op, zone.start_bytes);
        break;
    }
    if (!done) CheckErrorText(done.error().message);
  }
}

// Errors end this: the image has said what is wrong with it.
void OpenAndUse(FuzzInput& input, MemoryNode& file, bool read_only) {
  auto disk = OpenZoned(file, {.read_only = read_only});
  if (!disk) return CheckErrorText(disk.error().message);
  SyncIo io(Thread(), **disk);
  UseDisk(input, io);
}

ZonedCheck Check(MemoryNode& file, bool repair) {
  SyncIo io(Thread(), file);
  auto check = CheckZonedImage(io, repair);
  if (!check) {
    CheckErrorText(check.error().message);
    return {};
  }
  for (const ZonedFinding& finding : check->findings) CheckErrorText(finding.text);
  return std::move(*check);
}

void Run(FuzzInput& input) {
  const bool read_only = input.Below(4) == 1;
  const bool repair = input.Below(4) == 1;
  const Bytes image = DamagedImage(input);
  MemoryNode file(image);
  file.mutable_limits().read_only = read_only;
  const ZonedCheck before = Check(file, /*repair=*/false);
  if (repair && !read_only) {
    const ZonedCheck repaired = Check(file, /*repair=*/true);
    file.Reopen();
    if (repaired.repaired) VMM_CHECK(Check(file, false).findings.empty());
  }
  OpenAndUse(input, file, read_only);
  if (read_only) VMM_CHECK(file.Content() == image);
  // An image that is beyond repair may be left as it is, but no sound one becomes bad.
  file.Reopen();
  const ZonedCheck after = Check(file, false);
  if (before.findings.empty()) VMM_CHECK(after.findings.empty());
}

}  // namespace
}  // namespace minivmm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  minivmm::FuzzInput input(data, size);
  minivmm::Run(input);
  return 0;
}
