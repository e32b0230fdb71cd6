#include "blockcore/sync_io.h"

#include "blockcore/sync_request.h"

namespace minivmm {

std::string_view DescribeStatus(BlockStatus status) {
  switch (status) {
    case BlockStatus::kOk:
      return "no error";
    case BlockStatus::kIoError:
      return "I/O error";
    case BlockStatus::kNoSpace:
      return "no space is left on the host";
    case BlockStatus::kOutOfRange:
      return "behind the end of the disk";
    case BlockStatus::kReadOnly:
      return "the disk is read-only";
    case BlockStatus::kUnsupported:
      return "not supported there";
    case BlockStatus::kZoneInvalid:
      return "the zone does not allow it";
    case BlockStatus::kZoneUnaligned:
      return "not at the zone's write pointer";
    case BlockStatus::kZoneOpenLimit:
      return "too many open zones";
    case BlockStatus::kZoneActiveLimit:
      return "too many active zones";
  }
  return "unknown error";
}

BlockStatus SyncIo::Run(BlockRequest& request) { return SubmitAndWait(thread_, node_, request); }

Result<void> SyncIo::Read(uint64_t offset_bytes, std::span<std::byte> data) {
  iovec buffer{data.data(), data.size()};
  BlockRequest request;
  request.op = BlockOp::kRead;
  request.offset_bytes = offset_bytes;
  request.length_bytes = data.size();
  request.buffers = {&buffer, 1};
  BlockStatus status = Run(request);
  if (status == BlockStatus::kOk) return {};
  return Fail("cannot read {} bytes at {}: {}", data.size(), offset_bytes, DescribeStatus(status));
}

Result<void> SyncIo::Write(uint64_t offset_bytes, std::span<const std::byte> data) {
  // An iovec serves both directions; a write only reads what it points to.
  iovec buffer{const_cast<std::byte*>(data.data()), data.size()};
  BlockRequest request;
  request.op = BlockOp::kWrite;
  request.offset_bytes = offset_bytes;
  request.length_bytes = data.size();
  request.buffers = {&buffer, 1};
  BlockStatus status = Run(request);
  if (status == BlockStatus::kOk) return {};
  return Fail("cannot write {} bytes at {}: {}", data.size(), offset_bytes, DescribeStatus(status));
}

Result<void> SyncIo::Flush() {
  BlockRequest request;
  request.op = BlockOp::kFlush;
  BlockStatus status = Run(request);
  if (status == BlockStatus::kOk) return {};
  return Fail("cannot bring written data to stable storage: {}", DescribeStatus(status));
}

Result<void> SyncIo::Discard(uint64_t offset_bytes, uint64_t length_bytes) {
  BlockRequest request;
  request.op = BlockOp::kDiscard;
  request.offset_bytes = offset_bytes;
  request.length_bytes = length_bytes;
  BlockStatus status = Run(request);
  if (status == BlockStatus::kOk) return {};
  return Fail("cannot give back the space of {} bytes at {}: {}", length_bytes, offset_bytes,
              DescribeStatus(status));
}

Result<void> SyncIo::PunchHole(uint64_t offset_bytes, uint64_t length_bytes) {
  BlockRequest request;
  request.op = BlockOp::kWriteZeroes;
  request.may_unmap = true;
  request.offset_bytes = offset_bytes;
  request.length_bytes = length_bytes;
  BlockStatus status = Run(request);
  if (status == BlockStatus::kOk) return {};
  return Fail("cannot punch a hole of {} bytes at {}: {}", length_bytes, offset_bytes,
              DescribeStatus(status));
}

Result<void> SyncIo::ChangeZone(BlockOp op, uint64_t zone_start_bytes) {
  BlockRequest request;
  request.op = op;
  request.offset_bytes = zone_start_bytes;
  BlockStatus status = Run(request);
  if (status == BlockStatus::kOk) return {};
  return Fail("cannot change the zone at {}: {}", zone_start_bytes, DescribeStatus(status));
}

Result<std::vector<ZoneDescriptor>> SyncIo::ReportZones() {
  std::vector<ZoneDescriptor> zones(limits().zone_count);
  size_t reported = 0;
  while (reported < zones.size()) {
    BlockRequest request;
    request.op = BlockOp::kZoneReport;
    request.offset_bytes = reported * limits().zone_size_bytes;
    request.zones = std::span(zones).subspan(reported);
    BlockStatus status = Run(request);
    if (status != BlockStatus::kOk || request.zones_reported == 0) {
      return Fail("cannot report the zones from {} on: {}", request.offset_bytes,
                  DescribeStatus(status));
    }
    reported += request.zones_reported;
  }
  return zones;
}

}  // namespace minivmm
