// zone_report, zone_open, zone_close, zone_finish, zone_reset, zone_append.
#include <cerrno>
#include <limits>

#include "blockcore/base/units.h"
#include "blockcore/sync_request.h"
#include "tools/io/commands.h"
#include "tools/io/text.h"
#include "tools/io/zone_words.h"

namespace minivmm {
namespace {

struct ZoneChange {
  BlockOp op;
  std::string_view verb;  // "open"
  std::string_view done;  // "opened"
};

Result<void> CheckHasZones(const IoSession& session) {
  if (session.limits().zoned != ZonedModel::kNone) return {};
  return Fail("{}: the disk has no zones{}", ErrnoText(ENOTSUP),
              session.settings().driver == "zoned"
                  ? ""
                  : "; those of a zoned image need -f zoned, those of a device driver=host_device");
}

// "zones 4 to 6 were opened before"
std::string DescribeDone(const ZoneChange& change, uint32_t first, uint32_t count) {
  if (count == 0) return "no zone has changed";
  if (count == 1) return fmt::format("zone {} was {} before", first, change.done);
  return fmt::format("zones {} to {} were {} before", first, first + count - 1, change.done);
}

// The zones of the range in turn, or all in one. Fails with what zone stopped it.
Result<void> ChangeZones(IoSession& session, const ZoneChange& change, uint64_t offset_bytes,
                         uint64_t length_bytes) {
  TRY_VOID(CheckHasZones(session));
  const BlockLimits& limits = session.limits();
  TRY(const ZoneRange range, CheckZoneRange(limits, offset_bytes, length_bytes));
  TRY(const std::vector<ZoneDescriptor> zones, session.ReportZones(offset_bytes, range.count));
  TRY_VOID(CheckZoneTypes(limits, change.op, range, zones));
  const bool all = change.op == BlockOp::kZoneReset && range.count == limits.zone_count;
  for (uint32_t i = 0; i < (all ? 1 : range.count); ++i) {
    BlockRequest request;
    request.op = all ? BlockOp::kZoneResetAll : change.op;
    request.offset_bytes = offset_bytes + i * limits.zone_size_bytes;
    const BlockStatus status = SubmitAndWait(session.thread(), session.disk(), request);
    if (status == BlockStatus::kOk) continue;
    if (all) {
      return Fail("{}; zone_report says which zones are empty now",
                  ExplainFailure(limits, BlockOp::kZoneResetAll, status, 0, 0, std::nullopt));
    }
    std::string text = session.Explain(change.op, status, request.offset_bytes, 0);
    if (range.count > 1) text += "; " + DescribeDone(change, range.first, i);
    return Fail("{}", text);
  }
  return {};
}

bool RunChange(IoSession& session, const ZoneChange& change, const CommandArguments& arguments) {
  const Result<uint64_t> offset = ParseBytes(arguments.words[0]);
  if (!offset) return session.Fails("{}", offset.error().message);
  const Result<uint64_t> length = ParseBytes(arguments.words[1]);
  if (!length) return session.Fails("{}", length.error().message);
  const Result<void> changed = ChangeZones(session, change, *offset, *length);
  if (changed) return true;
  return session.Fails("zone {} failed: {}", change.verb, changed.error().message);
}

}  // namespace

bool RunZoneReport(IoSession& session, const CommandArguments& arguments) {
  const Result<uint64_t> offset = ParseBytes(arguments.words[0]);
  if (!offset) return session.Fails("{}", offset.error().message);
  const Result<uint64_t> count = ParseBytes(arguments.words[1]);
  if (!count) return session.Fails("{}", count.error().message);
  if (*count > std::numeric_limits<uint32_t>::max()) {
    return session.Fails("Number of zones must be less than 2^32");
  }
  if (Result<void> zoned = CheckHasZones(session); !zoned) {
    return session.Fails("zone report failed: {}", zoned.error().message);
  }
  const auto zones = session.ReportZones(*offset, *count);
  if (!zones) return session.Fails("zone report failed: {}", zones.error().message);
  std::string text;
  for (const ZoneDescriptor& zone : *zones) text += FormatZone(zone);
  session.PrintText(text);
  return true;
}

bool RunZoneOpen(IoSession& session, const CommandArguments& arguments) {
  return RunChange(session, {BlockOp::kZoneOpen, "open", "opened"}, arguments);
}

bool RunZoneClose(IoSession& session, const CommandArguments& arguments) {
  return RunChange(session, {BlockOp::kZoneClose, "close", "closed"}, arguments);
}

bool RunZoneFinish(IoSession& session, const CommandArguments& arguments) {
  return RunChange(session, {BlockOp::kZoneFinish, "finish", "finished"}, arguments);
}

bool RunZoneReset(IoSession& session, const CommandArguments& arguments) {
  return RunChange(session, {BlockOp::kZoneReset, "reset", "reset"}, arguments);
}

bool RunZoneAppend(IoSession& session, const CommandArguments& arguments) {
  if (arguments.Has('P') && arguments.Has('s')) {
    return session.Fails("Only one of -P and -s can be specified at the same time");
  }
  Result<TransferPlan> plan = ParseTransfer(BlockOp::kZoneAppend, Buffers::kMany, arguments);
  if (!plan) return session.Fails("{}", plan.error().message);
  Result<void> possible = CheckHasZones(session);
  if (possible) possible = CheckAppend(session.limits(), plan->offset_bytes, plan->TotalBytes());
  if (!possible) return session.Fails("zone append failed: {}", possible.error().message);
  if (!FillBuffer(session, arguments, *plan)) return false;
  plan->flush_after = session.settings().writethrough;
  Transfer transfer(session.disk(), std::move(*plan));
  transfer.Run(session.thread());
  if (transfer.status() != BlockStatus::kOk) {
    return session.Fails("zone append failed: {}", ExplainTransfer(session, transfer));
  }
  if (arguments.Has('p')) {
    session.Print("After zap done, the append sector is 0x{:x}\n",
                  transfer.appended_at_bytes() / kSectorBytes);
  }
  return true;
}

}  // namespace minivmm
