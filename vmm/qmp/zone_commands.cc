#include <algorithm>
#include <utility>

#include "blockcore/names.h"
#include "vmm/qmp/command_sets.h"
#include "vmm/qmp/zone_query.h"

namespace minivmm {
namespace {
namespace json = boost::json;

constexpr uint64_t kDefaultCount = 128;
constexpr uint64_t kMaxCount = 1024;

Result<uint64_t> NumberOf(const json::object& arguments, std::string_view name, uint64_t minimum,
                          uint64_t maximum, uint64_t default_value) {
  const json::value* value = arguments.if_contains(name);
  if (value == nullptr) return default_value;
  const bool negative = value->is_int64() && value->get_int64() < 0;
  const uint64_t number =
      value->is_uint64() ? value->get_uint64() : static_cast<uint64_t>(value->get_int64());
  if (negative || number < minimum || number > maximum) {
    return Fail("Parameter '{}' must be a number from {} to {}", name, minimum, maximum);
  }
  return number;
}

struct Disk {
  BlockBackend* backend = nullptr;
  std::unique_ptr<BlockBackend> temporary;
};

// A node that no disk uses is taken for the time of the query.
Result<Disk> FindDisk(const QmpTarget& target, std::string_view node_name) {
  for (const QmpDisk& disk : target.disks) {
    if (disk.backend->node_name() == node_name) return Disk{disk.backend, nullptr};
  }
  Result<std::unique_ptr<BlockBackend>> made =
      BlockBackend::Create(target.graph, node_name, "query-zones");
  if (!made) return Unexpected(std::move(made).error());
  BlockBackend* backend = made->get();
  return Disk{backend, std::move(*made)};
}

QmpAnswer AnswerOf(const std::string& node_name, const BlockLimits& limits, BlockStatus status,
                   std::span<const ZoneDescriptor> zones) {
  if (status != BlockStatus::kOk) {
    return QmpFailure(
        fmt::format("The report of zones of node '{}' failed: {}", node_name, NameOf(status)));
  }
  json::object message = ZonedLimitsMessage(limits);
  message["node-name"] = node_name;
  json::array list;
  for (const ZoneDescriptor& zone : zones) list.push_back(ZoneMessage(zone));
  message["zones"] = std::move(list);
  if (!zones.empty()) {
    const uint64_t next_bytes = zones.back().start_bytes + zones.back().length_bytes;
    if (next_bytes < limits.capacity_bytes) message["next"] = next_bytes;
  }
  return message;
}

void StartQuery(const QmpTarget& target, ZoneQuery& query, const json::object& arguments,
                QmpReply reply) {
  const std::string node_name(arguments.at("node-name").get_string());
  Result<Disk> disk = FindDisk(target, node_name);
  if (!disk) return reply(QmpFailure(std::move(disk.error().message)));
  const BlockLimits limits = disk->backend->limits();
  if (limits.zoned == ZonedModel::kNone) {
    return reply(QmpFailure(fmt::format("Node '{}' has no zones", node_name)));
  }
  const Result<uint64_t> offset_bytes =
      NumberOf(arguments, "offset", 0, limits.capacity_bytes - 1, 0);
  const Result<uint64_t> count = NumberOf(arguments, "count", 1, kMaxCount, kDefaultCount);
  if (!offset_bytes) return reply(QmpFailure(offset_bytes.error().message));
  if (!count) return reply(QmpFailure(count.error().message));
  query.Report(*disk->backend, std::move(disk->temporary), *offset_bytes,
               static_cast<uint32_t>(*count),
               [node_name, limits, reply = std::move(reply)](
                   BlockStatus status, std::span<const ZoneDescriptor> zones) {
                 reply(AnswerOf(node_name, limits, status, zones));
               });
}

}  // namespace

void AddZoneCommands(QmpCommands& commands, const QmpTarget& target, ZoneQuery& query) {
  commands.Add({.name = "query-zones",
                .parameters = {{"node-name", QmpParameter::Type::kString, true},
                               {"offset", QmpParameter::Type::kInteger},
                               {"count", QmpParameter::Type::kInteger}},
                .start = [&target, &query](const json::object& arguments, QmpReply reply) {
                  StartQuery(target, query, arguments, std::move(reply));
                }});
}

}  // namespace minivmm
