#include "tools/io/disk.h"

#include <utility>

#include "blockcore/base/excerpt.h"
#include "blockcore/describe_image.h"

namespace minivmm {
namespace {

constexpr std::string_view kJsonPrefix = "json:";
constexpr std::string_view kNodeName = "minivmm-io";

}  // namespace

Result<CacheMode> ParseCacheMode(std::string_view name) {
  if (name == "none" || name == "off") return CacheMode{.direct = true};
  if (name == "writeback") return CacheMode{};
  if (name == "writethrough") return CacheMode{.writethrough = true};
  if (name == "directsync") return CacheMode{.direct = true, .writethrough = true};
  if (name == "unsafe") return CacheMode{.no_flush = true};
  return Fail(
      "Invalid cache option: {}; known are none, writeback, writethrough, directsync, unsafe",
      Excerpt(name));
}

Result<Options> DescribeDisk(const DiskOptions& options) {
  std::string description = options.text;
  if (!options.image_options) {
    if (options.text.starts_with(kJsonPrefix)) {
      if (!options.format.empty()) {
        return Fail("-f and a description json:{{…}} exclude each other: it names the driver");
      }
      description = options.text.substr(kJsonPrefix.size());
      if (description.empty() || description[0] != '{') {
        return Fail("json: is followed by a JSON object, json:{{\"driver\": …}}");
      }
    } else {
      TRY(description, DescribeImage(options.text, options.format));
    }
  } else if (!options.format.empty()) {
    return Fail("--image-opts and -f are mutually exclusive");
  }
  TRY(Options described, Options::Parse(description));
  described.AddDefault("node-name", kNodeName);
  if (options.read_only) described.AddDefault("read-only", "on");
  if (options.cache.direct) described.AddDefault("cache.direct", "on");
  if (options.cache.no_flush) described.AddDefault("cache.no-flush", "on");
  if (options.discard) described.AddDefault("discard", *options.discard ? "unmap" : "ignore");
  return described;
}

Result<IoDisk> OpenDisk(const std::optional<DiskOptions>& options) {
  IoDisk disk;
  TRY(disk.thread, IoThread::Start("minivmm-io"));
  disk.graph = std::make_unique<BlockGraph>();
  if (!options) return disk;
  TRY(Options described, DescribeDisk(*options));
  const std::string name = described.TakeString("node-name").value_or("");
  // A device with zones refuses the option.
  Options with_discard = described;
  if (!options->discard) with_discard.AddDefault("discard", "unmap");
  if (!disk.graph->Add(std::move(with_discard))) TRY_VOID(disk.graph->Add(std::move(described)));
  TRY(disk.backend, BlockBackend::Create(*disk.graph, name, "minivmm-io"));
  for (const BlockNodeInfo& node : disk.graph->Nodes()) {
    if (node.name == name) disk.driver = node.driver;
  }
  return disk;
}

}  // namespace minivmm
