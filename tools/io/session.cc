#include "tools/io/session.h"

#include <algorithm>
#include <new>
#include <utility>

#include "blockcore/base/excerpt.h"
#include "blockcore/options.h"
#include "blockcore/sync_request.h"
#include "tools/io/text.h"
#include "tools/io/zone_words.h"

namespace minivmm {
namespace {

// A report of one request: bounds what the kernel has to answer at once.
constexpr uint64_t kZonesInReport = 4096;

std::string UnknownCommand(std::string_view name) {
  std::vector<std::string_view> known;
  for (const IoCommand& command : IoCommands()) known.push_back(command.name);
  std::optional<std::string_view> nearest = NearestWord(name, known);
  return fmt::format(
      "command \"{}\" not found{}\n", Excerpt(name),
      nearest ? fmt::format("; did you mean '{}'?", *nearest) : std::string("; `help` lists them"));
}

}  // namespace

IoSession::IoSession(IoThread& thread, BlockNode* disk, Settings settings, Sink out,
                     Sink complaints)
    : thread_(thread),
      disk_(disk),
      settings_(std::move(settings)),
      out_(std::move(out)),
      complaints_(std::move(complaints)) {}

IoSession::~IoSession() { FinishTransfers(); }

void IoSession::Run(std::string_view line) {
  ReportDone();
  if (!RunCommand(line)) failed_ = true;
}

bool IoSession::RunCommand(std::string_view line) {
  const std::vector<std::string> words = SplitWords(line);
  if (words.empty()) return true;
  const IoCommand* command = FindIoCommand(words[0]);
  if (command == nullptr) {
    Complain(UnknownCommand(words[0]));
    return false;
  }
  if (command->needs_disk && disk_ == nullptr) {
    Complain("no file open: name a disk on the command line, see minivmm-io --help\n");
    return false;
  }
  const auto arguments = std::span(words).subspan(1);
  if (Result<void> counted = CheckWordCount(*command, words[0], arguments.size()); !counted) {
    Complain(counted.error().message + "\n");
    return false;
  }
  Result<CommandArguments> parsed = ParseCommandArguments(*command, words[0], arguments);
  if (!parsed) Complain(Excerpt(parsed.error().message) + "\n");
  const int left = parsed ? static_cast<int>(parsed->words.size()) : -1;
  if (left < command->min_words || (command->max_words >= 0 && left > command->max_words)) {
    PrintText(CommandUsage(*command));
    return false;
  }
  return command->run(*this, *parsed);
}

void IoSession::Start(std::unique_ptr<Transfer> transfer,
                      std::function<bool(const Transfer&)> report) {
  pending_.push_back({std::move(transfer), std::move(report)});
  const auto pending = std::prev(pending_.end());
  thread_.RunAndWait([&] {
    pending->transfer->Submit(thread_, [this, pending] {
      std::lock_guard lock(mutex_);
      done_.push_back(pending);
      done_condition_.notify_one();
    });
  });
}

void IoSession::ReportDone() {
  std::deque<std::list<Pending>::iterator> done;
  {
    std::lock_guard lock(mutex_);
    done.swap(done_);
  }
  for (const auto& pending : done) {
    if (!pending->report(*pending->transfer)) failed_ = true;
    pending_.erase(pending);
  }
}

void IoSession::FinishTransfers() {
  while (!pending_.empty()) {
    {
      std::unique_lock lock(mutex_);
      done_condition_.wait(lock, [this] { return !done_.empty(); });
    }
    ReportDone();
  }
}

Result<std::vector<ZoneDescriptor>> IoSession::ReportZones(uint64_t offset_bytes, uint64_t count) {
  std::vector<ZoneDescriptor> zones;
  if (offset_bytes >= limits().capacity_bytes) return zones;
  const uint64_t first = offset_bytes / limits().zone_size_bytes;
  zones.resize(std::min(count, limits().zone_count - first));
  for (size_t reported = 0; reported < zones.size();) {
    BlockRequest request;
    request.op = BlockOp::kZoneReport;
    request.offset_bytes = (first + reported) * limits().zone_size_bytes;
    const auto room = std::span(zones).subspan(reported);
    request.zones = room.first(std::min<size_t>(room.size(), kZonesInReport));
    const BlockStatus status = SubmitAndWait(thread_, *disk_, request);
    if (status != BlockStatus::kOk || request.zones_reported == 0) {
      return Fail("{}", ExplainFailure(limits(), BlockOp::kZoneReport, status, request.offset_bytes,
                                       0, std::nullopt));
    }
    reported += request.zones_reported;
  }
  return zones;
}

std::string IoSession::Explain(BlockOp op, BlockStatus status, uint64_t offset_bytes,
                               uint64_t length_bytes) {
  std::optional<ZoneDescriptor> zone;
  // Of what is read-only or not there at all, the zone is not the matter.
  if (limits().zoned != ZonedModel::kNone && status != BlockStatus::kReadOnly &&
      status != BlockStatus::kUnsupported) {
    if (auto zones = ReportZones(offset_bytes, 1); zones && !zones->empty()) zone = zones->front();
  }
  return ExplainFailure(limits(), op, status, offset_bytes, length_bytes, zone);
}

}  // namespace minivmm
