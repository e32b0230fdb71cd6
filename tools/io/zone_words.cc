#include "tools/io/zone_words.h"

#include <cerrno>

#include "blockcore/base/units.h"
#include "blockcore/names.h"

namespace minivmm {
namespace {

bool IsZoneChange(BlockOp op) {
  return op == BlockOp::kZoneOpen || op == BlockOp::kZoneClose || op == BlockOp::kZoneFinish ||
         op == BlockOp::kZoneReset;
}

bool HasWritePointer(ZoneCondition condition) {
  switch (condition) {
    case ZoneCondition::kEmpty:
    case ZoneCondition::kImplicitlyOpen:
    case ZoneCondition::kExplicitlyOpen:
    case ZoneCondition::kClosed:
      return true;
    default:
      return false;
  }
}

// What the errno values of a host's kernel are for a status.
int ErrnoOf(BlockOp op, BlockStatus status) {
  switch (status) {
    case BlockStatus::kReadOnly:
      return op >= BlockOp::kZoneAppend ? EBADF : EPERM;
    case BlockStatus::kUnsupported:
      return ENOTSUP;
    case BlockStatus::kNoSpace:
      return ENOSPC;
    case BlockStatus::kZoneOpenLimit:
      return ETOOMANYREFS;
    case BlockStatus::kZoneActiveLimit:
      return EOVERFLOW;
    default:
      return EIO;
  }
}

std::string ResetAdvice(const ZoneDescriptor& zone) {
  return fmt::format("zrs 0x{:x} 0x{:x}", zone.start_bytes, zone.length_bytes);
}

// Why the zone's condition forbids a change.
std::string WhyNoChange(BlockOp op, const ZoneDescriptor& zone) {
  switch (zone.condition) {
    case ZoneCondition::kReadOnly:
    case ZoneCondition::kOffline:
      return "the device has given it up, only its maker's tools can bring it back";
    case ZoneCondition::kNotWritePointer:
      return "a conventional zone has no write pointer to change";
    case ZoneCondition::kFull:
      if (op == BlockOp::kZoneOpen || op == BlockOp::kZoneClose) {
        return fmt::format("only {} brings a full zone further", ResetAdvice(zone));
      }
      break;
    case ZoneCondition::kEmpty:
      if (op == BlockOp::kZoneClose) return "there is nothing to close in it";
      break;
    default:
      break;
  }
  return "its condition does not allow it";
}

// Why it takes no such write or append.
std::string WhyNoWrite(const BlockLimits& limits, BlockOp op, uint64_t offset_bytes,
                       uint64_t length_bytes, const ZoneDescriptor& zone) {
  if (zone.condition == ZoneCondition::kReadOnly || zone.condition == ZoneCondition::kOffline) {
    return "the device takes no more writes to it";
  }
  if (zone.condition == ZoneCondition::kFull) {
    return fmt::format("a full zone is written again after {}", ResetAdvice(zone));
  }
  const bool append = op == BlockOp::kZoneAppend;
  const uint64_t begin = append ? zone.write_pointer_bytes : offset_bytes;
  const uint64_t writable_end = zone.start_bytes + zone.capacity_bytes;
  if (!append && offset_bytes != zone.write_pointer_bytes && HasWritePointer(zone.condition)) {
    return fmt::format("write at 0x{:x}, or append with: zap 0x{:x} {}", zone.write_pointer_bytes,
                       zone.start_bytes, length_bytes);
  }
  if (begin > writable_end || length_bytes > writable_end - begin) {
    return fmt::format("it ends at 0x{:x}, with room for {} bytes more, not for {}", writable_end,
                       begin > writable_end ? 0 : writable_end - begin, length_bytes);
  }
  if (!IsAligned(offset_bytes, limits.write_granularity_bytes) ||
      !IsAligned(length_bytes, limits.write_granularity_bytes)) {
    return fmt::format("it is written in multiples of {} bytes", limits.write_granularity_bytes);
  }
  return "it does not allow this write";
}

std::string WhyNot(const BlockLimits& limits, BlockOp op, BlockStatus status, uint64_t offset_bytes,
                   uint64_t length_bytes, const std::optional<ZoneDescriptor>& zone) {
  switch (status) {
    case BlockStatus::kReadOnly:
      return "the disk is open for reading only: leave out -r";
    case BlockStatus::kUnsupported:
      return op >= BlockOp::kZoneAppend ? "the disk has no zones"
                                        : "the disk has no such operation";
    case BlockStatus::kNoSpace:
      return "the host has no room for it: make some, and try again";
    case BlockStatus::kOutOfRange:
      return "the range reaches behind the end of the disk";
    case BlockStatus::kZoneOpenLimit:
      return fmt::format("as many zones are open as may be ({}): zc, zf or zrs one of them first",
                         limits.max_open_zones);
    case BlockStatus::kZoneActiveLimit:
      return fmt::format(
          "as many zones are active (open or closed) as may be ({}): zf or zrs one of them first",
          limits.max_active_zones);
    case BlockStatus::kZoneInvalid:
    case BlockStatus::kZoneUnaligned:
      if (!zone) return "its zone does not allow it";
      if (IsZoneChange(op)) return WhyNoChange(op, *zone);
      if (op == BlockOp::kRead) return "an offline zone cannot be read";
      return WhyNoWrite(limits, op, offset_bytes, length_bytes, *zone);
    default:
      break;
  }
  if (op == BlockOp::kWrite && !(IsAligned(offset_bytes, limits.logical_block_bytes) &&
                                 IsAligned(length_bytes, limits.logical_block_bytes))) {
    return fmt::format("offset and length must be multiples of the disk's blocks of {} bytes",
                       limits.logical_block_bytes);
  }
  return "the host's kernel refused or failed it; dmesg may say more";
}

Unexpected Refuse(int errno_value, std::string why) {
  return Fail("{}: {}", ErrnoText(errno_value), why);
}

}  // namespace

Result<void> CheckRange(const BlockLimits& limits, uint64_t offset_bytes, uint64_t length_bytes) {
  if (RangeFits(offset_bytes, length_bytes, limits.capacity_bytes)) return {};
  return Refuse(EIO, fmt::format("{} bytes at 0x{:x} reach behind the end of the disk at 0x{:x}",
                                 length_bytes, offset_bytes, limits.capacity_bytes));
}

Result<ZoneRange> CheckZoneRange(const BlockLimits& limits, uint64_t offset_bytes,
                                 uint64_t length_bytes) {
  TRY_VOID(CheckRange(limits, offset_bytes, length_bytes));
  const uint64_t zone_size = limits.zone_size_bytes;
  if (!IsAligned(offset_bytes, zone_size)) {
    return Refuse(EINVAL, fmt::format("offset 0x{:x} is not the start of a zone: zones are 0x{:x} "
                                      "bytes long, this one begins at 0x{:x}",
                                      offset_bytes, zone_size, AlignDown(offset_bytes, zone_size)));
  }
  if (length_bytes == 0) return Refuse(EINVAL, "a length of 0 holds no zone");
  const uint64_t end = offset_bytes + length_bytes;
  if (end != limits.capacity_bytes && !IsAligned(length_bytes, zone_size)) {
    return Refuse(EINVAL, fmt::format("length 0x{:x} is no multiple of the zone size 0x{:x}",
                                      length_bytes, zone_size));
  }
  return ZoneRange{static_cast<uint32_t>(offset_bytes / zone_size),
                   static_cast<uint32_t>((length_bytes + zone_size - 1) / zone_size)};
}

Result<void> CheckZoneTypes(const BlockLimits& limits, BlockOp op, ZoneRange range,
                            std::span<const ZoneDescriptor> zones) {
  if (op == BlockOp::kZoneReset && range.count == limits.zone_count) return {};
  for (const ZoneDescriptor& zone : zones) {
    if (zone.type != ZoneType::kConventional) continue;
    return Refuse(EIO, fmt::format("{}: {}; no zone has changed", DescribeZone(limits, zone),
                                   WhyNoChange(op, zone)));
  }
  return {};
}

Result<void> CheckAppend(const BlockLimits& limits, uint64_t offset_bytes, uint64_t length_bytes) {
  if (offset_bytes >= limits.capacity_bytes) {
    return Refuse(EIO, fmt::format("offset 0x{:x} is behind the end of the disk at 0x{:x}",
                                   offset_bytes, limits.capacity_bytes));
  }
  if (!IsAligned(offset_bytes, limits.zone_size_bytes)) {
    return Refuse(EINVAL,
                  fmt::format("offset 0x{:x} is not the start of a zone, which an append names: "
                              "this one begins at 0x{:x}",
                              offset_bytes, AlignDown(offset_bytes, limits.zone_size_bytes)));
  }
  if (length_bytes == 0) return Refuse(EINVAL, "there are no bytes to append");
  if (!IsAligned(length_bytes, limits.write_granularity_bytes)) {
    return Refuse(EINVAL, fmt::format("{} bytes are no multiple of the block size {}", length_bytes,
                                      limits.write_granularity_bytes));
  }
  if (length_bytes > limits.max_append_bytes) {
    // The host's kernel would cut it in pieces, and some might be written and others not.
    return Refuse(EIO, fmt::format("an append takes at most {} bytes here, not {}",
                                   limits.max_append_bytes, length_bytes));
  }
  return {};
}

std::string DescribeZone(const BlockLimits& limits, const ZoneDescriptor& zone) {
  const bool sound_conventional = zone.condition == ZoneCondition::kNotWritePointer;
  std::string text = fmt::format("zone {} at 0x{:x} ({}", zone.start_bytes / limits.zone_size_bytes,
                                 zone.start_bytes,
                                 sound_conventional ? NameOf(zone.type) : NameOf(zone.condition));
  if (HasWritePointer(zone.condition)) {
    text += fmt::format(", write pointer 0x{:x}", zone.write_pointer_bytes);
  }
  return text + ")";
}

std::string ExplainFailure(const BlockLimits& limits, BlockOp op, BlockStatus status,
                           uint64_t offset_bytes, uint64_t length_bytes,
                           const std::optional<ZoneDescriptor>& zone) {
  const bool append_to_conventional = op == BlockOp::kZoneAppend && zone &&
                                      zone->type == ZoneType::kConventional &&
                                      status == BlockStatus::kZoneInvalid;
  std::string text = ErrnoText(append_to_conventional ? EINVAL : ErrnoOf(op, status)) + ": ";
  if (zone) text += DescribeZone(limits, *zone) + ": ";
  if (append_to_conventional) {
    return text + "a conventional zone has no write pointer to append at; use write";
  }
  return text + WhyNot(limits, op, status, offset_bytes, length_bytes, zone);
}

}  // namespace minivmm
