#include "vmm/qmp/zone_query.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "blockcore/names.h"

namespace minivmm {
namespace json = boost::json;

struct ZoneQuery::Job : Task {
  ZoneQuery* query = nullptr;
  BlockBackend* disk = nullptr;
  std::unique_ptr<BlockBackend> temporary;
  std::vector<ZoneDescriptor> zones;
  BlockRequest request;
  Done done;
  std::list<std::unique_ptr<Job>>::iterator position;
};

json::object ZonedLimitsMessage(const BlockLimits& limits) {
  return {{"model", NameOf(limits.zoned)},
          {"capacity", limits.capacity_bytes},
          {"zone-size", limits.zone_size_bytes},
          {"zone-count", limits.zone_count},
          {"max-open-zones", limits.max_open_zones},
          {"max-active-zones", limits.max_active_zones},
          {"max-append", limits.max_append_bytes},
          {"write-granularity", limits.write_granularity_bytes}};
}

json::object ZoneMessage(const ZoneDescriptor& zone) {
  json::object message{{"start", zone.start_bytes},
                       {"length", zone.length_bytes},
                       {"capacity", zone.capacity_bytes},
                       {"type", NameOf(zone.type)},
                       {"condition", NameOf(zone.condition)}};
  switch (zone.condition) {
    case ZoneCondition::kEmpty:
    case ZoneCondition::kImplicitlyOpen:
    case ZoneCondition::kExplicitlyOpen:
    case ZoneCondition::kClosed:
      message["write-pointer"] = zone.write_pointer_bytes;
      break;
    default:
      break;
  }
  return message;
}

ZoneQuery::ZoneQuery(boost::asio::io_context& context)
    : context_(context), self_(std::make_shared<ZoneQuery*>(this)) {}

Result<std::unique_ptr<ZoneQuery>> ZoneQuery::Create(boost::asio::io_context& context) {
  std::unique_ptr<ZoneQuery> query(new ZoneQuery(context));
  TRY(query->thread_, IoThread::Start("io/qmp"));
  return query;
}

ZoneQuery::~ZoneQuery() {
  std::unique_lock lock(mutex_);
  all_done_.wait(lock, [this] { return under_way_ == 0; });
}

void ZoneQuery::Report(BlockBackend& disk, std::unique_ptr<BlockBackend> temporary,
                       uint64_t offset_bytes, uint32_t count, Done done) {
  Job& job = *jobs_.emplace_back(std::make_unique<Job>());
  job.position = std::prev(jobs_.end());
  job.query = this;
  job.disk = &disk;
  job.temporary = std::move(temporary);
  job.zones.resize(count);
  job.done = std::move(done);
  job.request.op = BlockOp::kZoneReport;
  job.request.offset_bytes = offset_bytes;
  job.request.zones = job.zones;
  job.request.PushCompletion(
      [](void* self, BlockRequest&) {
        Job& completed = *static_cast<Job*>(self);
        completed.query->Completed(completed);
      },
      &job);
  {
    std::lock_guard lock(mutex_);
    ++under_way_;
  }
  job.run = [](Task& task) {
    Job& started = static_cast<Job&>(task);
    started.disk->Submit(*started.query->thread_, started.request);
  };
  thread_->Post(job);
}

// On the I/O thread.
void ZoneQuery::Completed(Job& job) {
  boost::asio::post(context_, [self = std::weak_ptr<ZoneQuery*>(self_), &job] {
    if (self.expired()) return;  // and the job is gone with it
    const Done done = std::move(job.done);
    const std::vector<ZoneDescriptor> zones = std::move(job.zones);
    const BlockStatus status = job.request.status;
    const size_t count = job.request.zones_reported;
    job.query->jobs_.erase(job.position);
    done(status, std::span(zones).first(count));
  });
  std::lock_guard lock(mutex_);
  --under_way_;
  all_done_.notify_one();
}

}  // namespace minivmm
