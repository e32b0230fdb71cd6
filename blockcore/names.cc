#include "blockcore/names.h"

namespace minivmm {

std::string_view NameOf(BlockOp op) {
  switch (op) {
    case BlockOp::kRead:
      return "read";
    case BlockOp::kWrite:
      return "write";
    case BlockOp::kFlush:
      return "flush";
    case BlockOp::kDiscard:
      return "discard";
    case BlockOp::kWriteZeroes:
      return "write-zeroes";
    case BlockOp::kZoneAppend:
      return "zone-append";
    case BlockOp::kZoneReport:
      return "zone-report";
    case BlockOp::kZoneOpen:
      return "zone-open";
    case BlockOp::kZoneClose:
      return "zone-close";
    case BlockOp::kZoneFinish:
      return "zone-finish";
    case BlockOp::kZoneReset:
      return "zone-reset";
    case BlockOp::kZoneResetAll:
      return "zone-reset-all";
  }
  return "";
}

std::string_view NameOf(BlockStatus status) {
  switch (status) {
    case BlockStatus::kOk:
      return "ok";
    case BlockStatus::kIoError:
      return "io-error";
    case BlockStatus::kNoSpace:
      return "no-space";
    case BlockStatus::kOutOfRange:
      return "out-of-range";
    case BlockStatus::kReadOnly:
      return "read-only";
    case BlockStatus::kUnsupported:
      return "unsupported";
    case BlockStatus::kZoneInvalid:
      return "zone-invalid";
    case BlockStatus::kZoneUnaligned:
      return "zone-unaligned";
    case BlockStatus::kZoneOpenLimit:
      return "zone-open-limit";
    case BlockStatus::kZoneActiveLimit:
      return "zone-active-limit";
  }
  return "";
}

std::string_view NameOf(ZonedModel model) {
  switch (model) {
    case ZonedModel::kNone:
      return "none";
    case ZonedModel::kHostManaged:
      return "host-managed";
    case ZonedModel::kHostAware:
      return "host-aware";
  }
  return "";
}

std::string_view NameOf(ZoneType type) {
  switch (type) {
    case ZoneType::kConventional:
      return "conventional";
    case ZoneType::kSequentialRequired:
      return "sequential-required";
    case ZoneType::kSequentialPreferred:
      return "sequential-preferred";
  }
  return "";
}

std::string_view NameOf(ZoneCondition condition) {
  switch (condition) {
    case ZoneCondition::kNotWritePointer:
      return "not-write-pointer";
    case ZoneCondition::kEmpty:
      return "empty";
    case ZoneCondition::kImplicitlyOpen:
      return "implicitly-open";
    case ZoneCondition::kExplicitlyOpen:
      return "explicitly-open";
    case ZoneCondition::kClosed:
      return "closed";
    case ZoneCondition::kReadOnly:
      return "read-only";
    case ZoneCondition::kFull:
      return "full";
    case ZoneCondition::kOffline:
      return "offline";
  }
  return "";
}

}  // namespace minivmm
