#include "devices/virtio_blk_request.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "blockcore/base/check.h"
#include "blockcore/base/units.h"

namespace minivmm {
namespace {

uint64_t TotalBytes(std::span<const iovec> elements) {
  uint64_t total = 0;
  for (const iovec& element : elements) total += element.iov_len;
  return total;
}

// Moves the first bytes of `elements` into `target`; false when there are fewer, `elements` is used
// up then.
bool TakeFront(std::span<iovec>& elements, std::span<std::byte> target) {
  while (!target.empty()) {
    if (elements.empty()) return false;
    iovec& front = elements.front();
    const size_t part = std::min(front.iov_len, target.size());
    std::memcpy(target.data(), front.iov_base, part);
    target = target.subspan(part);
    front.iov_base = static_cast<std::byte*>(front.iov_base) + part;
    front.iov_len -= part;
    if (front.iov_len == 0) elements = elements.subspan(1);
  }
  // What was copied is judged from here on: the compiler must not go back to guest memory.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return true;
}

// Takes the last byte off `elements`; nullptr when there is none.
std::byte* TakeLastByte(std::span<iovec>& elements) {
  if (elements.empty()) return nullptr;
  iovec& back = elements.back();
  std::byte* last = static_cast<std::byte*>(back.iov_base) + --back.iov_len;
  if (back.iov_len == 0) elements = elements.first(elements.size() - 1);
  return last;
}

// Writes `source` at `offset` bytes into `elements[0]` and moves both on; stops where the room
// ends.
void Scatter(std::span<const iovec>& elements, size_t& offset, std::span<const std::byte> source) {
  while (!source.empty() && !elements.empty()) {
    const iovec& front = elements.front();
    const size_t part = std::min(front.iov_len - offset, source.size());
    std::memcpy(static_cast<std::byte*>(front.iov_base) + offset, source.data(), part);
    source = source.subspan(part);
    offset += part;
    if (offset == front.iov_len) {
      elements = elements.subspan(1);
      offset = 0;
    }
  }
}

void ScatterAtStart(std::span<const iovec> elements, std::span<const std::byte> source) {
  size_t offset = 0;
  Scatter(elements, offset, source);
}

// `prefix_bytes` of the reply were written from its start on.
uint32_t WriteStatus(const VirtioBlkRequest& request, uint8_t status, uint64_t prefix_bytes) {
  VMM_CHECK(prefix_bytes <= request.reply_bytes);
  if (request.status == nullptr) return 0;
  *request.status = std::byte{status};
  // The status byte counts only when no gap is before it.
  if (prefix_bytes == request.reply_bytes) ++prefix_bytes;
  return static_cast<uint32_t>(prefix_bytes);  // a chain is shorter than 4 GiB
}

bool Negotiated(const VirtioBlkRules& rules, uint64_t feature) {
  return (rules.features & feature) != 0;
}

// Parsing in progress: `request.kind` stays kAnswered until something is to be done by the disk.
struct Parser {
  const VirtioBlkRules& rules;
  VirtioBlkHeader header;
  std::span<iovec> payload;  // readable bytes behind the header
  VirtioBlkRequest& request;

  void Answer(uint8_t status) { request.answer = status; }

  // Reads or writes `elements`; the caller has judged sector and length.
  void Disk(BlockOp op, std::span<const iovec> elements, uint64_t length_bytes) {
    request.kind = VirtioBlkRequest::Kind::kDisk;
    request.op = op;
    request.offset_bytes = header.sector * kSectorBytes;
    request.length_bytes = length_bytes;
    request.data = elements;
  }

  bool SectorExists() const { return header.sector < rules.capacity_sectors; }

  void ParseTransfer(BlockOp op, std::span<const iovec> elements, uint64_t length_bytes) {
    if (op == BlockOp::kWrite && rules.read_only) return Answer(kBlkStatusIoError);
    if (!IsAligned(length_bytes, kSectorBytes)) return Answer(kBlkStatusIoError);
    if (length_bytes == 0) return Answer(kBlkStatusOk);
    if (!RangeFits(header.sector, length_bytes / kSectorBytes, rules.capacity_sectors)) {
      return Answer(kBlkStatusIoError);
    }
    Disk(op, elements, length_bytes);
  }

  // A discard or write-zeroes: one segment, max_discard_seg and max_write_zeroes_seg being 1.
  void ParseSegment(BlockOp op, uint64_t feature, uint32_t known_flags, uint64_t max_sectors) {
    if (!Negotiated(rules, feature)) return Answer(kBlkStatusUnsupported);
    if (rules.read_only) return Answer(kBlkStatusIoError);
    const uint64_t length_bytes = TotalBytes(payload);
    VirtioBlkSegment segment;
    if (!TakeFront(payload, std::as_writable_bytes(std::span(&segment, 1)))) {
      return Answer(kBlkStatusIoError);
    }
    if ((segment.flags & ~known_flags) != 0) return Answer(kBlkStatusUnsupported);
    if (length_bytes != sizeof(segment) || segment.num_sectors == 0 ||
        segment.num_sectors > max_sectors ||
        !RangeFits(segment.sector, segment.num_sectors, rules.capacity_sectors)) {
      return Answer(kBlkStatusIoError);
    }
    header.sector = segment.sector;
    Disk(op, {}, segment.num_sectors * kSectorBytes);
    request.may_unmap = (segment.flags & kBlkSegmentUnmap) != 0;
  }

  void ParseAppend() {
    if (rules.read_only) return Answer(kBlkStatusIoError);
    if (rules.max_append_sectors == 0) return Answer(kBlkStatusUnsupported);
    // The place of the answer, append_sector: 8 bytes at the start of the reply.
    if (request.reply_bytes < sizeof(uint64_t)) return Answer(kBlkStatusIoError);
    const uint64_t length_bytes = TotalBytes(payload);
    if (!SectorExists() || !IsAligned(length_bytes, kSectorBytes) || length_bytes == 0 ||
        length_bytes / kSectorBytes > rules.max_append_sectors) {
      return Answer(kBlkStatusZoneInvalid);
    }
    Disk(BlockOp::kZoneAppend, payload, length_bytes);
  }

  void ParseZoneOperation(BlockOp op) {
    if (rules.read_only) return Answer(kBlkStatusIoError);
    if (op == BlockOp::kZoneResetAll) {
      header.sector = 0;  // the driver's is to be ignored
    } else if (!SectorExists()) {
      return Answer(kBlkStatusZoneInvalid);
    }
    Disk(op, {}, 0);
  }

  void ParseReport() {
    if (!SectorExists() || request.reply_bytes < sizeof(VirtioBlkZoneReport)) {
      return Answer(kBlkStatusZoneInvalid);
    }
    Disk(BlockOp::kZoneReport, {}, 0);
    request.kind = VirtioBlkRequest::Kind::kZoneReport;
  }

  void Parse() {
    switch (header.type) {
      case kBlkTypeIn:
        return ParseTransfer(BlockOp::kRead, request.reply, request.reply_bytes);
      case kBlkTypeOut:
        return ParseTransfer(BlockOp::kWrite, payload, TotalBytes(payload));
      case kBlkTypeFlush:
        if (!Negotiated(rules, kBlkFeatureFlush)) return Answer(kBlkStatusUnsupported);
        header.sector = 0;
        return Disk(BlockOp::kFlush, {}, 0);
      case kBlkTypeGetId:
        return Answer(kBlkStatusOk);
      case kBlkTypeDiscard:
        // No flag is defined for a discard, unmap included (virtio 5.2.6.2).
        return ParseSegment(BlockOp::kDiscard, kBlkFeatureDiscard, 0, rules.max_discard_sectors);
      case kBlkTypeWriteZeroes:
        return ParseSegment(BlockOp::kWriteZeroes, kBlkFeatureWriteZeroes, kBlkSegmentUnmap,
                            rules.max_write_zeroes_sectors);
    }
    if (!Negotiated(rules, kBlkFeatureZoned)) return Answer(kBlkStatusUnsupported);
    switch (header.type) {
      case kBlkTypeZoneAppend:
        return ParseAppend();
      case kBlkTypeZoneReport:
        return ParseReport();
      case kBlkTypeZoneOpen:
        return ParseZoneOperation(BlockOp::kZoneOpen);
      case kBlkTypeZoneClose:
        return ParseZoneOperation(BlockOp::kZoneClose);
      case kBlkTypeZoneFinish:
        return ParseZoneOperation(BlockOp::kZoneFinish);
      case kBlkTypeZoneReset:
        return ParseZoneOperation(BlockOp::kZoneReset);
      case kBlkTypeZoneResetAll:
        return ParseZoneOperation(BlockOp::kZoneResetAll);
      default:
        return Answer(kBlkStatusUnsupported);
    }
  }
};

}  // namespace

VirtioBlkRequest ParseRequest(DescriptorChain& chain, const VirtioBlkRules& rules) {
  VirtioBlkRequest request;
  std::span<iovec> readable = chain.readable();
  std::span<iovec> writable = chain.writable();
  request.status = TakeLastByte(writable);
  request.reply = writable;
  request.reply_bytes = TotalBytes(writable);

  VirtioBlkHeader header;
  if (!TakeFront(readable, std::as_writable_bytes(std::span(&header, 1)))) return request;
  request.type = header.type;
  // Nobody would learn of the result.
  if (request.status == nullptr) return request;
  Parser{rules, header, readable, request}.Parse();
  return request;
}

uint8_t ToVirtioStatus(BlockStatus status) {
  switch (status) {
    case BlockStatus::kOk:
      return kBlkStatusOk;
    case BlockStatus::kIoError:
    case BlockStatus::kNoSpace:
    case BlockStatus::kOutOfRange:
    case BlockStatus::kReadOnly:
      return kBlkStatusIoError;
    case BlockStatus::kUnsupported:
      return kBlkStatusUnsupported;
    case BlockStatus::kZoneInvalid:
      return kBlkStatusZoneInvalid;
    case BlockStatus::kZoneUnaligned:
      return kBlkStatusZoneUnaligned;
    case BlockStatus::kZoneOpenLimit:
      return kBlkStatusZoneOpenLimit;
    case BlockStatus::kZoneActiveLimit:
      return kBlkStatusZoneActiveLimit;
  }
  VMM_CHECK(!"a BlockStatus");
}

BlockStatus StatusForDriver(BlockStatus status, const VirtioBlkRules& rules) {
  const bool of_zones = status >= BlockStatus::kZoneInvalid;
  const bool knows_zones = (rules.features & kBlkFeatureZoned) != 0;
  return of_zones && !knows_zones ? BlockStatus::kIoError : status;
}

uint32_t EncodeAnswer(const VirtioBlkRequest& request, const VirtioBlkRules& rules) {
  if (request.answer != kBlkStatusOk || request.type != kBlkTypeGetId) {
    return WriteStatus(request, request.answer, 0);
  }
  ScatterAtStart(request.reply, std::as_bytes(std::span(rules.serial)));
  return WriteStatus(request, kBlkStatusOk,
                     std::min<uint64_t>(request.reply_bytes, rules.serial.size()));
}

uint32_t EncodeResult(const VirtioBlkRequest& request, BlockStatus status,
                      uint64_t appended_at_bytes) {
  uint64_t prefix_bytes = 0;
  if (request.op == BlockOp::kZoneAppend) {
    // Linux copies the sector after an error, too: then it is the one that was asked for.
    const uint64_t bytes = status == BlockStatus::kOk ? appended_at_bytes : request.offset_bytes;
    const uint64_t sector = bytes / kSectorBytes;
    ScatterAtStart(request.reply, std::as_bytes(std::span(&sector, 1)));
    prefix_bytes = sizeof(sector);
  } else if (request.op == BlockOp::kRead && status == BlockStatus::kOk) {
    prefix_bytes = request.reply_bytes;
  }
  return WriteStatus(request, ToVirtioStatus(status), prefix_bytes);
}

ZoneReportEncoder::ZoneReportEncoder(const VirtioBlkRequest& request)
    : request_(&request),
      room_((request.reply_bytes - sizeof(VirtioBlkZoneReport)) / sizeof(VirtioBlkZoneDescriptor)),
      rest_(request.reply) {
  size_t skip = sizeof(VirtioBlkZoneReport);
  while (!rest_.empty() && skip >= rest_.front().iov_len) {
    skip -= rest_.front().iov_len;
    rest_ = rest_.subspan(1);
  }
  rest_offset_ = skip;
}

void ZoneReportEncoder::Add(std::span<const ZoneDescriptor> zones) {
  VMM_CHECK(zones.size() <= room_);
  added_ += zones.size();
  room_ -= zones.size();
  // Several at a time: to find the way into the guest's buffers costs more than a descriptor.
  std::array<VirtioBlkZoneDescriptor, 16> descriptors;
  while (!zones.empty()) {
    const size_t count = std::min(zones.size(), descriptors.size());
    for (size_t i = 0; i < count; ++i) {
      const ZoneDescriptor& zone = zones[i];
      // virtio 5.2.6: always, also when it can no longer be read.
      const ZoneCondition condition =
          zone.type == ZoneType::kConventional ? ZoneCondition::kNotWritePointer : zone.condition;
      descriptors[i] = {
          .capacity_sectors = zone.capacity_bytes / kSectorBytes,
          .start_sector = zone.start_bytes / kSectorBytes,
          .write_pointer_sector = zone.write_pointer_bytes / kSectorBytes,
          .type = static_cast<uint8_t>(zone.type),
          .condition = static_cast<uint8_t>(condition),
          .reserved = {},
      };
    }
    Scatter(rest_, rest_offset_, std::as_bytes(std::span(descriptors).first(count)));
    zones = zones.subspan(count);
  }
}

uint32_t ZoneReportEncoder::Finish(BlockStatus status) {
  if (status != BlockStatus::kOk) return WriteStatus(*request_, ToVirtioStatus(status), 0);
  const VirtioBlkZoneReport header{.nr_zones = added_, .reserved = {}};
  ScatterAtStart(request_->reply, std::as_bytes(std::span(&header, 1)));
  return WriteStatus(*request_, kBlkStatusOk,
                     sizeof(header) + added_ * sizeof(VirtioBlkZoneDescriptor));
}

}  // namespace minivmm
