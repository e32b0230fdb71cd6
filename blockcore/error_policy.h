// ErrorPolicy: what becomes of a request that the host failed; QEMU's rerror= and werror=. Pure.
#ifndef MINIVMM_BLOCKCORE_ERROR_POLICY_H_
#define MINIVMM_BLOCKCORE_ERROR_POLICY_H_

#include <cstdint>

#include "blockcore/block_request.h"

namespace minivmm {

enum class OnError : uint8_t {
  kReport,
  kIgnore,
  kStop,
  kEnospc,  // kStop where the host has no space, else kReport
};

enum class ErrorAction : uint8_t {
  kReport,  // whoever sent the request gets the error
  kIgnore,  // he is told that all went well
  kStop,    // the request waits, and the machine stops until somebody lets it go on
};

struct ErrorPolicy {
  OnError reads = OnError::kReport;
  OnError writes = OnError::kReport;  // all that is not a read

  bool operator==(const ErrorPolicy&) const = default;
};

// Statuses that say that the host failed. All others are answers to what was asked, which would be
// the same another time, and no policy's business.
constexpr bool IsHostFailure(BlockStatus status) {
  return status == BlockStatus::kIoError || status == BlockStatus::kNoSpace;
}

// `status` is a host failure. An append that was not done has no position, and a zone operation
// that was not done leaves the zone in another state than its user believes: they cannot be
// ignored.
constexpr ErrorAction ActionOn(const ErrorPolicy& policy, BlockOp op, BlockStatus status) {
  switch (op == BlockOp::kRead ? policy.reads : policy.writes) {
    case OnError::kReport:
      return ErrorAction::kReport;
    case OnError::kIgnore:
      return op >= BlockOp::kZoneAppend ? ErrorAction::kReport : ErrorAction::kIgnore;
    case OnError::kStop:
      return ErrorAction::kStop;
    case OnError::kEnospc:
      return status == BlockStatus::kNoSpace ? ErrorAction::kStop : ErrorAction::kReport;
  }
  return ErrorAction::kReport;
}

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_ERROR_POLICY_H_
