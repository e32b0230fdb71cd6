#include "vmm/qmp/block_stats.h"

#include <initializer_list>
#include <string>
#include <utility>

#include "blockcore/names.h"

namespace minivmm {
namespace {
namespace json = boost::json;

// Counts and times of one or more operations.
struct Totals {
  uint64_t ok = 0;
  uint64_t failed = 0;   // by the disk
  uint64_t invalid = 0;  // by the rules
  uint64_t bytes = 0;
  BlockLatency::Histogram latency;
};

Totals Sum(const BlockCounters& counters, const BlockLatency& latency,
           std::initializer_list<BlockOp> ops) {
  Totals totals;
  for (BlockOp op : ops) {
    for (size_t i = 0; i < BlockCounters::kStatusCount; ++i) {
      const auto status = static_cast<BlockStatus>(i);
      uint64_t& count = status == BlockStatus::kOk ? totals.ok
                        : IsHostFailure(status)    ? totals.failed
                                                   : totals.invalid;
      count += counters.Requests(op, status);
    }
    totals.bytes += counters.Bytes(op);
    const BlockLatency::Histogram& histogram = latency.Of(op);
    totals.latency.count += histogram.count;
    totals.latency.total_ns += histogram.total_ns;
    for (size_t i = 0; i < BlockLatency::kBuckets; ++i) {
      totals.latency.buckets[i] += histogram.buckets[i];
    }
  }
  return totals;
}

// Boundaries are in nanoseconds; a bin reaches from one to below the next, the last one up to
// everything.
json::object HistogramMessage(const BlockLatency::Histogram& histogram) {
  json::array boundaries;
  json::array bins;
  for (size_t i = 0; i < BlockLatency::kBuckets; ++i) {
    if (i + 1 < BlockLatency::kBuckets) {
      boundaries.push_back(BlockLatency::bucket_end_us(i) * 1000);
    }
    bins.push_back(histogram.buckets[i]);
  }
  return {{"boundaries", std::move(boundaries)}, {"bins", std::move(bins)}};
}

json::object OperationMessage(const BlockCounters& counters, const BlockLatency& latency,
                              BlockOp op) {
  json::object message;
  for (size_t i = 0; i < BlockCounters::kStatusCount; ++i) {
    const auto status = static_cast<BlockStatus>(i);
    message[NameOf(status)] = counters.Requests(op, status);
  }
  message["bytes"] = counters.Bytes(op);
  message["total-time-ns"] = latency.Of(op).total_ns;
  message["latency-histogram"] = HistogramMessage(latency.Of(op));
  return message;
}

}  // namespace

json::object BlockStats(const BlockCounters& counters, const BlockLatency& latency) {
  // QEMU counts what writes zeroes as a write, and leaves out zone operations other than append.
  struct Kind {
    const char* name;
    std::initializer_list<BlockOp> ops;
    bool has_bytes;
    bool has_histogram;
  };
  static const Kind kKinds[] = {
      {"rd", {BlockOp::kRead}, true, true},
      {"wr", {BlockOp::kWrite, BlockOp::kWriteZeroes}, true, true},
      {"zone_append", {BlockOp::kZoneAppend}, true, true},
      {"flush", {BlockOp::kFlush}, false, true},
      {"unmap", {BlockOp::kDiscard}, true, false},
  };
  json::object stats;
  for (const Kind& kind : kKinds) {
    const std::string name = kind.name;
    const Totals totals = Sum(counters, latency, kind.ops);
    stats[name + "_operations"] = totals.ok;
    stats["failed_" + name + "_operations"] = totals.failed;
    stats["invalid_" + name + "_operations"] = totals.invalid;
    stats[name + "_total_time_ns"] = totals.latency.total_ns;
    if (kind.has_bytes) {
      stats[name + "_bytes"] = totals.bytes;
      stats[name + "_merged"] = 0;  // a disk sees requests as the guest made them
    }
    if (kind.has_histogram) stats[name + "_latency_histogram"] = HistogramMessage(totals.latency);
  }
  stats["account_failed"] = true;
  stats["account_invalid"] = true;
  stats["timed_stats"] = json::array();

  json::object operations;
  for (size_t i = 0; i < BlockCounters::kOpCount; ++i) {
    const auto op = static_cast<BlockOp>(i);
    operations[NameOf(op)] = OperationMessage(counters, latency, op);
  }
  stats["x-operations"] = std::move(operations);
  return stats;
}

}  // namespace minivmm
