// A damaged zoned image, whole: checked, repaired, opened and used as a disk, on a host that may
// begin to fail. What can be opened for writing is sound afterwards.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"
#include "blockcore/block_node.h"
#include "blockcore/io_thread.h"
#include "blockcore/sync_io.h"
#include "blockcore/sync_request.h"
#include "blockcore/zoned/damaged_image.h"
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

// The file that the image is in. Pages that nobody wrote read as zeroes and take no memory, as in a
// file with holes: an image, however large its header says it is, costs what is written to it.
class FileInMemory : public BlockNode {
 public:
  explicit FileInMemory(bool read_only) {
    limits_.read_only = read_only;
    limits_.discard = true;
    limits_.grows = true;
  }

  BlockLimits& limits() { return limits_; }
  const BlockLimits& limits() const override { return limits_; }
  void Submit(IoThread& thread, BlockRequest& request) override {
    const bool fits = RangeFits(request.offset_bytes, request.length_bytes, limits_.capacity_bytes);
    request.status = limits_.grows || fits ? StatusOfNext() : BlockStatus::kOutOfRange;
    if (request.status != BlockStatus::kOk) return thread.Complete(request);
    switch (request.op) {
      case BlockOp::kRead:
        ForEachPiece(request, [this](uint64_t page, uint64_t within, std::byte* to, size_t bytes) {
          const auto found = pages_.find(page);
          if (found == pages_.end()) {
            std::memset(to, 0, bytes);
          } else {
            std::memcpy(to, &found->second[within], bytes);
          }
        });
        break;
      case BlockOp::kWrite:
        changed_ = true;
        ForEachPiece(request,
                     [this](uint64_t page, uint64_t within, std::byte* from, size_t bytes) {
                       std::memcpy(&pages_[page][within], from, bytes);
                     });
        end_bytes_ = std::max(end_bytes_, request.offset_bytes + request.length_bytes);
        break;
      case BlockOp::kDiscard:
        changed_ = true;  // and old data stays: a discard promises nothing
        break;
      case BlockOp::kWriteZeroes:
        changed_ = true;
        PunchHole(request.offset_bytes, request.offset_bytes + request.length_bytes);
        break;
      case BlockOp::kFlush:
        break;
      default:
        request.status = BlockStatus::kUnsupported;
    }
    thread.Complete(request);
  }

  void Put(uint64_t offset_bytes, const ZonedPage& page) {
    pages_[offset_bytes / kZonedPageBytes] = page;
  }
  // Cuts off or adds zeroes.
  void Resize(uint64_t bytes) {
    if (bytes < end_bytes_) PunchHole(bytes, end_bytes_);
    end_bytes_ = bytes;
  }
  // As if closed and opened again: the capacity is what there is.
  void Reopen() { limits_.capacity_bytes = AlignUp(end_bytes_, kSectorBytes); }
  // The request after `good_requests` more fails, and if `lasting`, all that come behind it.
  void FailAfter(uint64_t good_requests, BlockStatus status, bool lasting) {
    good_requests_ = good_requests;
    failure_ = status;
    failure_lasts_ = lasting;
  }
  void StopFailing() { failure_ = BlockStatus::kOk; }
  bool has_failed() const { return has_failed_; }
  // Whether anybody wrote or took away.
  bool changed() const { return changed_; }

 private:
  BlockStatus StatusOfNext() {
    if (failure_ == BlockStatus::kOk) return BlockStatus::kOk;
    if (good_requests_ > 0) {
      --good_requests_;
      return BlockStatus::kOk;
    }
    has_failed_ = true;
    return failure_lasts_ ? failure_ : std::exchange(failure_, BlockStatus::kOk);
  }

  // visit(page, offset in that page, pointer into the request's buffer, bytes)
  template <typename Visit>
  static void ForEachPiece(const BlockRequest& request, Visit visit) {
    uint64_t at = request.offset_bytes;
    for (const iovec& buffer : request.buffers) {
      auto* bytes = static_cast<std::byte*>(buffer.iov_base);
      for (size_t done = 0; done < buffer.iov_len;) {
        const uint64_t within = at % kZonedPageBytes;
        const size_t piece = std::min<size_t>(buffer.iov_len - done, kZonedPageBytes - within);
        visit(at / kZonedPageBytes, within, bytes + done, piece);
        done += piece;
        at += piece;
      }
    }
  }

  void PunchHole(uint64_t begin, uint64_t end) {
    auto it = pages_.lower_bound(begin / kZonedPageBytes);
    while (it != pages_.end() && it->first * kZonedPageBytes < end) {
      const uint64_t start = it->first * kZonedPageBytes;
      const uint64_t from = std::max(begin, start) - start;
      const uint64_t to = std::min(end - start, kZonedPageBytes);
      std::fill(it->second.begin() + static_cast<ptrdiff_t>(from),
                it->second.begin() + static_cast<ptrdiff_t>(to), std::byte{0});
      it = to - from == kZonedPageBytes ? pages_.erase(it) : std::next(it);
    }
  }

  BlockLimits limits_;
  std::map<uint64_t, ZonedPage> pages_;
  uint64_t end_bytes_ = 0;
  bool changed_ = false;
  uint64_t good_requests_ = 0;
  BlockStatus failure_ = BlockStatus::kOk;
  bool failure_lasts_ = false;
  bool has_failed_ = false;
};

// Both copies of the header, both places of the one table page, and four slots.
void PutDamagedImage(FuzzInput& input, FileInMemory& file) {
  ZonedHeader header;
  header.id = {42};
  header.geometry = SmallZonedGeometry();
  VMM_CHECK(header.table_pages() == 1);
  for (uint32_t copy : {0, 1}) {
    ZonedPage page = EncodeHeader(header);
    DamagePage(input, page, kZonedHeaderChecksumOffset, 128);
    file.Put(copy * kZonedPageBytes, page);
  }
  const std::vector<ZoneRecord> records = SmallZonedRecords();
  for (uint32_t place : {0, 1}) {
    ZonedPage page = EncodeTablePage(header, 0, 7 + place, records);
    DamagePage(input, page, kZonedPageChecksumOffset, 32 + 12 * 16);
    file.Put(header.PageOffset(0, place), page);
  }
  const uint64_t end = header.SlotOffset(4);
  file.Resize(end);
  if (input.Below(8) == 1) file.Resize(input.Below(end + 1));
  file.Reopen();
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

// What was written is read, unless the host fails.
void CheckWritten(SyncIo& disk, const FileInMemory& file, uint64_t offset_bytes,
                  const Bytes& data) {
  Bytes read(data.size());
  const Result<void> done = disk.Read(offset_bytes, read);
  VMM_CHECK(file.has_failed() || (done && read == data));
}

// At the write pointer or not at all.
void Append(BlockNode& disk, const FileInMemory& file, const ZoneDescriptor& zone, Bytes& data) {
  iovec buffer{data.data(), data.size()};
  BlockRequest append;
  append.op = BlockOp::kZoneAppend;
  append.offset_bytes = zone.start_bytes;
  append.length_bytes = data.size();
  append.buffers = {&buffer, 1};
  if (SubmitAndWait(Thread(), disk, append) != BlockStatus::kOk) return;
  VMM_CHECK(append.appended_at_bytes == zone.write_pointer_bytes);
  SyncIo io(Thread(), disk);
  CheckWritten(io, file, append.appended_at_bytes, data);
}

void UseDisk(FuzzInput& input, BlockNode& node, const FileInMemory& file) {
  const BlockLimits& limits = node.limits();
  // Of a disk with very many zones a report says nothing new.
  if (limits.zone_count > 1024) return;
  SyncIo disk(Thread(), node);
  for (uint64_t operations = 1 + input.Below(16); operations-- > 0;) {
    const auto report = disk.ReportZones();
    VMM_CHECK(report.has_value());
    CheckReport(*report, limits);
    const ZoneDescriptor zone = (*report)[input.Below(report->size())];
    const uint64_t kind = input.Below(8);
    const auto op =
        input.Pick<BlockOp>({BlockOp::kZoneOpen, BlockOp::kZoneClose, BlockOp::kZoneFinish,
                             BlockOp::kZoneReset, BlockOp::kZoneResetAll});
    const uint64_t position = zone.start_bytes + input.Below(4) * 4_KiB;
    Bytes data(4_KiB, static_cast<std::byte>(operations + 1));
    Result<void> done;
    switch (kind) {
      case 0:
        done = disk.Read(position, data);
        break;
      case 1:
        done = disk.Write(zone.write_pointer_bytes, data);
        if (done) CheckWritten(disk, file, zone.write_pointer_bytes, data);
        break;
      case 2:
        done = disk.Write(position, data);
        if (done) CheckWritten(disk, file, position, data);
        break;
      case 3:
        done = disk.Flush();
        break;
      case 4:
        Append(node, file, zone, data);
        break;
      default:
        done = disk.ChangeZone(op, zone.start_bytes);
        break;
    }
    if (!done) CheckErrorText(done.error().message);
  }
}

// Errors end this: the image has said what is wrong with it.
void OpenAndUse(FuzzInput& input, FileInMemory& file, bool read_only) {
  auto disk = OpenZoned(Thread(), file, {.read_only = read_only});
  if (!disk) return CheckErrorText(disk.error().message);
  UseDisk(input, **disk, file);
}

ZonedCheck Check(FileInMemory& file, bool repair) {
  SyncIo io(Thread(), file);
  auto check = CheckZonedImage(io, repair);
  if (!check) {
    CheckErrorText(check.error().message);
    return {};
  }
  for (const ZonedFinding& finding : check->findings) CheckErrorText(finding.text);
  // A made-up number may be the last that counts: then a commit is enough for this.
  std::erase_if(check->findings, [](const ZonedFinding& finding) {
    return finding.text.starts_with("its table counts");
  });
  return std::move(*check);
}

void Run(FuzzInput& input) {
  const bool read_only = input.Below(4) == 1;
  const bool repair = input.Below(4) == 1;
  FileInMemory file(read_only);
  PutDamagedImage(input, file);
  file.limits().grows = input.Below(8) != 1;
  file.limits().discard = input.Below(16) != 1;
  if (input.Below(16) == 1) file.limits().logical_block_bytes = 4096;
  const ZonedCheck before = Check(file, /*repair=*/false);
  if (repair && !read_only) {
    const ZonedCheck repaired = Check(file, /*repair=*/true);
    file.Reopen();
    if (repaired.repaired) VMM_CHECK(Check(file, false).findings.empty());
  }
  if (input.Below(4) == 1) {
    const uint64_t good_requests = input.Below(32);
    const auto failure = input.Pick<BlockStatus>(
        {BlockStatus::kIoError, BlockStatus::kNoSpace, BlockStatus::kUnsupported});
    file.FailAfter(good_requests, failure, /*lasting=*/input.TakeBool());
  }
  OpenAndUse(input, file, read_only);
  file.StopFailing();
  if (read_only) VMM_CHECK(!file.changed());
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
