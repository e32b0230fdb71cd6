#include <algorithm>
#include <string>
#include <utility>

#include "blockcore/base/units.h"
#include "blockcore/options.h"
#include "vmm/qmp/block_stats.h"
#include "vmm/qmp/command_sets.h"
#include "vmm/qmp/qmp_events.h"
#include "vmm/qmp/zone_query.h"

namespace minivmm {
namespace {
namespace json = boost::json;

// QEMU's BlockDeviceInfo. What minivmm has not (throttling, backing files, encryption) says so.
json::object NodeMessage(const BlockNodeInfo& info) {
  const BlockLimits& limits = info.node->limits();
  json::object message{
      {"node-name", info.name},
      {"drv", info.driver},
      {"file", info.filename},
      {"ro", info.read_only},
      {"active", true},
      {"cache",
       {{"writeback", true}, {"direct", info.cache_direct}, {"no-flush", info.cache_no_flush}}},
      {"image",
       {{"filename", info.filename},
        {"format", info.driver},
        {"virtual-size", limits.capacity_bytes}}},
      {"backing_file_depth", 0},
      {"detect_zeroes", "off"},
      {"encrypted", false},
      {"write_threshold", 0},
  };
  for (const char* rate : {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"}) {
    message[rate] = 0;
  }
  if (limits.zoned != ZonedModel::kNone) message["x-zoned"] = ZonedLimitsMessage(limits);
  return message;
}

QmpAnswer ListNodes(const BlockGraph& graph) {
  json::array nodes;
  for (const BlockNodeInfo& info : graph.Nodes()) {
    if (!info.name.empty()) nodes.push_back(NodeMessage(info));
  }
  return nodes;
}

std::string_view IoStatusName(BlockStatus status) {
  switch (status) {
    case BlockStatus::kOk:
      return "ok";
    case BlockStatus::kNoSpace:
      return "nospace";
    default:
      return "failed";
  }
}

QmpAnswer ListDisks(const QmpTarget& target) {
  const std::vector<BlockNodeInfo> nodes = target.graph.Nodes();
  json::array disks;
  for (const QmpDisk& disk : target.disks) {
    json::object message{
        {"device", ""},      {"qdev", QomPath(disk.id)},
        {"type", "unknown"}, {"removable", false},
        {"locked", false},   {"io-status", IoStatusName(disk.backend->io_status())}};
    const auto node = std::ranges::find(nodes, disk.backend->node_name(), &BlockNodeInfo::name);
    if (node != nodes.end()) message["inserted"] = NodeMessage(*node);
    disks.push_back(std::move(message));
  }
  return disks;
}

QmpAnswer ListStats(const QmpTarget& target) {
  json::array disks;
  for (const QmpDisk& disk : target.disks) {
    disks.push_back(
        json::object{{"device", ""},
                     {"qdev", QomPath(disk.id)},
                     {"node-name", disk.backend->node_name()},
                     {"stats", BlockStats(disk.backend->Counters(), disk.backend->Latency())}});
  }
  return disks;
}

QmpAnswer AnswerOf(Result<void> result) {
  if (!result) return QmpFailure(std::move(result.error().message));
  return json::object();
}

QmpAnswer AddNode(BlockGraph& graph, const json::object& arguments) {
  Result<Options> options = Options::Parse(json::serialize(arguments));
  if (!options) return QmpFailure(std::move(options.error().message));
  return AnswerOf(graph.Add(std::move(*options)));
}

// By the id of the device, which is also a QOM path's part, or by its node.
QmpAnswer ResizeDisk(const QmpTarget& target, const json::object& arguments) {
  auto named = [&arguments](const char* key, const std::string& name) {
    const json::value* given = arguments.if_contains(key);
    return given != nullptr && given->get_string() == name;
  };
  const json::value& given_size = arguments.at("size");
  if (!given_size.is_int64() || given_size.get_int64() < 0) {
    return QmpFailure("Parameter 'size' expects a size from 0 to 2^63 - 1");
  }
  const auto size = static_cast<uint64_t>(given_size.get_int64());
  for (size_t i = 0; i < target.disks.size(); ++i) {
    const QmpDisk& disk = target.disks[i];
    if (!named("device", disk.id) && !named("node-name", disk.backend->node_name())) continue;
    if (disk.logical_block_bytes != 0 && !IsAligned(size, disk.logical_block_bytes)) {
      return QmpFailure(
          fmt::format("cannot resize disk '{}' to {} bytes: they are not a multiple of its "
                      "logical_block_size={}",
                      disk.id, size, disk.logical_block_bytes));
    }
    Result<void> grown = disk.backend->Grow(size);
    if (grown) target.control.ShowDiskSize(i);
    return AnswerOf(std::move(grown));
  }
  return QmpFailure("no such disk: 'device' is the id of a device, 'node-name' that of its node");
}

}  // namespace

void AddBlockCommands(QmpCommands& commands, const QmpTarget& target) {
  BlockGraph& graph = target.graph;
  commands.Add(
      {.name = "query-block", .run = [&target](const json::object&) { return ListDisks(target); }});
  commands.Add({.name = "query-named-block-nodes",
                .parameters = {{"flat", QmpParameter::Type::kBoolean}},
                .run = [&graph](const json::object&) { return ListNodes(graph); }});
  // Only disks have counters, so that those of the nodes are the same.
  commands.Add({.name = "query-blockstats",
                .parameters = {{"query-nodes", QmpParameter::Type::kBoolean}},
                .run = [&target](const json::object&) { return ListStats(target); }});
  commands.Add(
      {.name = "blockdev-add",
       .parameters = {{"driver", QmpParameter::Type::kString, true},
                      {"node-name", QmpParameter::Type::kString, true}},
       .more_parameters = true,
       .run = [&graph](const json::object& arguments) { return AddNode(graph, arguments); }});
  commands.Add(
      {.name = "block_resize",
       .parameters = {{"device", QmpParameter::Type::kString},
                      {"node-name", QmpParameter::Type::kString},
                      {"size", QmpParameter::Type::kInteger, true}},
       .run = [&target](const json::object& arguments) { return ResizeDisk(target, arguments); }});
  commands.Add({.name = "blockdev-del",
                .parameters = {{"node-name", QmpParameter::Type::kString, true}},
                .run = [&graph](const json::object& arguments) {
                  return AnswerOf(graph.Remove(arguments.at("node-name").get_string()));
                }});
}

}  // namespace minivmm
