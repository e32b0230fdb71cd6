#include "blockcore/block_graph.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "blockcore/base/check.h"
#include "blockcore/base/excerpt.h"
#include "blockcore/base/units.h"
#include "blockcore/file.h"
#include "blockcore/host_device.h"
#include "blockcore/null.h"
#include "blockcore/raw.h"
#include "blockcore/zoned/zoned.h"

namespace minivmm {
namespace {

// One above another, the leaf counted. Each may push a frame into a request, besides the caller and
// BlockBackend.
constexpr int kMaxHeight = 6;
static_assert(kMaxHeight + 2 <= BlockRequest::kMaxFrames);

constexpr size_t kMaxNameLength = 31;

Result<void> CheckName(std::string_view name) {
  auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  bool valid = !name.empty() && name.size() <= kMaxNameLength && is_letter(name[0]) &&
               std::all_of(name.begin(), name.end(), [&](char c) {
                 return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
               });
  if (valid) return {};
  return Fail(
      "node-name '{}' is not possible: a name begins with a letter, goes on with letters, "
      "digits, '-', '.' or '_', and has at most {} characters",
      name.substr(0, 2 * kMaxNameLength), kMaxNameLength);
}

// What every driver has.
struct CommonOptions {
  std::optional<bool> read_only;
  std::optional<bool> cache_direct;
  std::optional<bool> cache_no_flush;
  std::optional<bool> discard;
};

Result<CommonOptions> TakeCommonOptions(Options& options) {
  CommonOptions common;
  TRY(common.read_only, options.TakeBool("read-only"));
  TRY(common.cache_direct, options.TakeBool("cache.direct"));
  TRY(common.cache_no_flush, options.TakeBool("cache.no-flush"));
  TRY(std::optional<std::string> discard, options.TakeWord("discard", {"ignore", "unmap"}));
  if (discard) common.discard = *discard == "unmap";
  return common;
}

// A child that is described in place has these of its parent, unless it says otherwise.
void HandDown(const CommonOptions& common, Options& child) {
  auto hand_down = [&child](const char* key, std::optional<bool> value) {
    if (value) child.AddDefault(key, *value ? "on" : "off");
  };
  hand_down("read-only", common.read_only);
  hand_down("cache.direct", common.cache_direct);
  hand_down("cache.no-flush", common.cache_no_flush);
  if (common.discard) child.AddDefault("discard", *common.discard ? "unmap" : "ignore");
}

}  // namespace

// What a driver makes its node of. It takes its own options; the graph has taken the common ones,
// and checks afterwards that none is left.
class NodeDescription {
 public:
  NodeDescription(BlockGraph& graph, Options own_options, std::string driver_name,
                  std::string outer_name, int depth)
      : options(std::move(own_options)),
        driver(std::move(driver_name)),
        graph_(graph),
        outer_name_(std::move(outer_name)),
        depth_(depth) {}

  Result<std::string> TakeFilename() {
    std::optional<std::string> given = options.TakeString("filename");
    if (given && !given->empty()) return filename = *given;
    TRY_VOID(CheckAllTaken());
    return Fail("driver '{}' needs 'filename'", driver);
  }

  // After the last option was asked for. Also where a needed one is missing: a misspelt name is the
  // better explanation.
  Result<void> CheckAllTaken() const {
    return options.CheckAllTaken(fmt::format("driver '{}'", driver));
  }

  // For drivers that do disk I/O: there is one way to do it.
  Result<void> TakeAio() {
    std::optional<std::string> aio = options.TakeString("aio");
    if (!aio || *aio == "io_uring") return {};
    if (*aio == "threads" || *aio == "native") {
      return Fail(
          "aio={} is not there: minivmm does all disk I/O with io_uring; leave the option "
          "out, or write aio=io_uring",
          *aio);
    }
    return Fail("option 'aio' is '{}', but must be 'io_uring'", *aio);
  }

  // The child under `key`: described in place, or named.
  Result<BlockNode*> TakeChild(std::string_view key) {
    std::optional<std::string> name = options.TakeString(key);
    std::optional<Options> nested = options.TakeNested(key);
    if (name) {
      TRY(child_.node, graph_.FindUnused(*name, "node"));
      if (common.cache_direct) {
        return Fail("driver '{}' has no cache of its own: give cache.direct to node '{}'", driver,
                    *name);
      }
    } else if (nested) {
      HandDown(common, *nested);
      TRY(child_.node, graph_.AddNode(std::move(*nested), outer_name_, depth_ + 1));
      child_.in_place = true;
    } else {
      TRY_VOID(CheckAllTaken());
      return Fail(
          "driver '{}' needs '{}': the name of a node added before, or a description such as "
          "{}.driver=file,{}.filename=…",
          driver, key, key, key);
    }
    child_.key = key;
    return child_.node->node.get();
  }

  // Without a node for a leaf.
  const BlockGraph::Child& child() const { return child_; }

  Options options;
  CommonOptions common;
  const std::string driver;
  std::string filename;

 private:
  BlockGraph& graph_;
  const std::string outer_name_;
  const int depth_;
  BlockGraph::Child child_;
};

namespace {

using NewNode = Result<std::unique_ptr<BlockNode>>;

NewNode MakeFile(NodeDescription& description) {
  TRY_VOID(description.TakeAio());
  TRY(std::string filename, description.TakeFilename());
  TRY_VOID(description.CheckAllTaken());
  const CommonOptions& common = description.common;
  return OpenFile({.filename = std::move(filename),
                   .read_only = common.read_only.value_or(false),
                   .cache_direct = common.cache_direct.value_or(false),
                   .cache_no_flush = common.cache_no_flush.value_or(false),
                   .discard = common.discard.value_or(false)});
}

NewNode MakeHostDevice(NodeDescription& description) {
  TRY_VOID(description.TakeAio());
  TRY(std::string filename, description.TakeFilename());
  TRY_VOID(description.CheckAllTaken());
  const CommonOptions& common = description.common;
  return OpenHostDevice({.filename = std::move(filename),
                         .read_only = common.read_only.value_or(false),
                         .cache_direct = common.cache_direct,
                         .cache_no_flush = common.cache_no_flush.value_or(false),
                         .discard = common.discard.value_or(false)});
}

NewNode MakeNull(NodeDescription& description) {
  NullOptions null_options;
  TRY(std::optional<uint64_t> size_bytes, description.options.TakeSize("size"));
  TRY(std::optional<bool> read_zeroes, description.options.TakeBool("read-zeroes"));
  TRY_VOID(description.CheckAllTaken());
  null_options.size_bytes = size_bytes.value_or(null_options.size_bytes);
  null_options.read_zeroes = read_zeroes.value_or(false);
  null_options.read_only = description.common.read_only.value_or(false);
  if (null_options.size_bytes == 0 || !IsAligned(null_options.size_bytes, kSectorBytes)) {
    return Fail("driver 'null-co': size={} must be a multiple of {} and not 0",
                null_options.size_bytes, kSectorBytes);
  }
  description.filename = "null-co://";
  return std::make_unique<NullNode>(null_options);
}

NewNode MakeRaw(NodeDescription& description) {
  TRY(std::optional<uint64_t> offset_bytes, description.options.TakeSize("offset"));
  TRY(std::optional<uint64_t> size_bytes, description.options.TakeSize("size"));
  TRY(BlockNode * child, description.TakeChild("file"));
  TRY_VOID(description.CheckAllTaken());
  const CommonOptions& common = description.common;
  return CreateRaw(*child, {.offset_bytes = offset_bytes.value_or(0),
                            .size_bytes = size_bytes,
                            .read_only = common.read_only.value_or(false),
                            .allow_discard = common.discard.value_or(true),
                            .cache_no_flush = common.cache_no_flush.value_or(false)});
}

NewNode MakeZoned(NodeDescription& description) {
  CommonOptions& common = description.common;
  const bool read_only = common.read_only.value_or(false);
  // What is meant for the child, and a named one does not hear.
  const bool tells_child = common.cache_no_flush == true || common.discard == false;
  // A zone reset gives space back.
  if (!common.discard && !read_only) common.discard = true;
  TRY(BlockNode * child, description.TakeChild("file"));
  TRY_VOID(description.CheckAllTaken());
  if (tells_child && !description.child().in_place) {
    return Fail(
        "driver 'zoned' leaves cache.no-flush=on and discard=ignore to the node below: give them "
        "to node '{}'",
        description.child().node->info.name);
  }
  return OpenZoned(*child, {.read_only = read_only});
}

struct BlockDriver {
  std::string_view name;
  NewNode (*make)(NodeDescription& description);
};

constexpr BlockDriver kDrivers[] = {
    {"file", MakeFile},   {"host_device", MakeHostDevice}, {"null-co", MakeNull}, {"raw", MakeRaw},
    {"zoned", MakeZoned},
};

Result<const BlockDriver*> FindDriver(const std::string& name) {
  std::vector<std::string_view> known;
  for (const BlockDriver& driver : kDrivers) {
    if (driver.name == name) return &driver;
    known.push_back(driver.name);
  }
  return Fail("unknown block driver '{}'{}", Excerpt(name), SuggestionFor(name, known));
}

// A control client adds nodes, and none costs it anything.
constexpr size_t kMaxNodes = 1000;

}  // namespace

BlockGraph::~BlockGraph() {
  // A parent's node may still look at its child while it goes.
  while (!nodes_.empty()) nodes_.pop_back();
}

Result<void> BlockGraph::Add(std::string_view text) {
  TRY(Options options, Options::Parse(text));
  return Add(std::move(options));
}

Result<void> BlockGraph::Add(Options options) {
  std::optional<std::string> name = options.TakeString("node-name");
  if (!name) return Fail("the description needs a node-name: add node-name=NAME");
  TRY_VOID(CheckName(*name));
  if (Find(*name) != nullptr) return Fail("node-name '{}' is given twice", *name);
  size_t old_count = nodes_.size();
  if (old_count >= kMaxNodes) return Fail("there are {} nodes already: remove some", old_count);
  Result<Node*> added = AddNode(std::move(options), *name, 1);
  if (added) return {};
  // Only nodes that were there before can have been named as a child, and AddNode marks a child as
  // used as its last step.
  while (nodes_.size() > old_count) nodes_.pop_back();
  std::string user = fmt::format("node '{}'", *name);
  for (auto& node : nodes_) {
    if (node->info.user == user) node->info.user.clear();
  }
  return Unexpected(std::move(added).error());
}

Result<void> BlockGraph::Remove(std::string_view node_name) {
  Node* node = FindNamed(node_name);
  if (node == nullptr) {
    return Fail("cannot remove node '{}': there is none of this name{}", Excerpt(node_name),
                SuggestionFor(node_name, Names()));
  }
  if (!node->info.user.empty()) {
    return Fail("cannot remove node '{}': it is used by {}; remove that first", node_name,
                node->info.user);
  }
  Delete(*node);
  return {};
}

void BlockGraph::Delete(Node& node) {
  const std::vector<Child> children = std::move(node.children);
  // A parent's node may still look at its child while it goes.
  std::erase_if(nodes_, [&node](const auto& candidate) { return candidate.get() == &node; });
  for (const Child& child : children) {
    child.node->info.user.clear();
    if (child.in_place) Delete(*child.node);
  }
}

std::vector<BlockNodeInfo> BlockGraph::Nodes() const {
  std::vector<BlockNodeInfo> infos;
  for (const auto& node : nodes_) infos.push_back(node->info);
  return infos;
}

Result<BlockGraph::Node*> BlockGraph::AddNode(Options options, const std::string& outer_name,
                                              int depth) {
  if (depth > kMaxHeight) {
    return Fail("node '{}' has too many nodes below it: at most {} may stand one above another",
                outer_name, kMaxHeight);
  }
  std::optional<std::string> name = options.TakeString("node-name");
  if (name) {
    TRY_VOID(CheckName(*name));
    if (Find(*name) != nullptr || (depth > 1 && *name == outer_name)) {
      return Fail("node-name '{}' is given twice", *name);
    }
  }
  std::optional<std::string> driver_name = options.TakeString("driver");
  if (!driver_name) return Fail("node '{}' has no 'driver'", outer_name);
  TRY(const BlockDriver* driver, FindDriver(*driver_name));

  NodeDescription description(*this, std::move(options), *driver_name, outer_name, depth);
  TRY(description.common, TakeCommonOptions(description.options));
  TRY(std::unique_ptr<BlockNode> made, driver->make(description));
  // By a node below, which was described in place.
  if (name && Find(*name) != nullptr) return Fail("node-name '{}' is given twice", *name);

  auto node = std::make_unique<Node>();
  BlockNodeInfo& info = node->info;
  info = {.name = name.value_or(""),
          .driver = *driver_name,
          .filename = description.filename,
          .user = "",
          .read_only = made->limits().read_only,
          .cache_direct =
              description.common.cache_direct.value_or(made->limits().zoned != ZonedModel::kNone),
          .cache_no_flush = description.common.cache_no_flush.value_or(false),
          .node = made.get(),
          .children = {}};
  node->node = std::move(made);
  if (const Child& child = description.child(); child.node != nullptr) {
    info.filename = child.node->info.filename;
    info.cache_direct = child.node->info.cache_direct;
    info.children.emplace_back(child.key, child.node->node.get());
    node->children.push_back(child);
    node->height = child.node->height + 1;
    if (node->height > kMaxHeight) {
      return Fail("node '{}' has too many nodes below it: at most {} may stand one above another",
                  outer_name, kMaxHeight);
    }
    child.node->info.user = fmt::format("node '{}'", outer_name);
  }
  nodes_.push_back(std::move(node));
  return nodes_.back().get();
}

const BlockNode* BlockGraph::Find(std::string_view node_name) const {
  Node* node = FindNamed(node_name);
  return node != nullptr ? node->node.get() : nullptr;
}

BlockGraph::Node* BlockGraph::FindNamed(std::string_view node_name) const {
  for (const auto& node : nodes_) {
    if (!node->info.name.empty() && node->info.name == node_name) return node.get();
  }
  return nullptr;
}

std::vector<std::string_view> BlockGraph::Names() const {
  std::vector<std::string_view> names;
  for (const auto& node : nodes_) {
    if (!node->info.name.empty()) names.push_back(node->info.name);
  }
  return names;
}

Result<BlockGraph::Node*> BlockGraph::FindUnused(std::string_view node_name,
                                                 std::string_view what) {
  if (Node* node = FindNamed(node_name)) {
    if (node->info.user.empty()) return node;
    return Fail("{} '{}' is already used by {}", what, node_name, node->info.user);
  }
  const std::vector<std::string_view> known = Names();
  return Fail("{} '{}' not found{}", what, Excerpt(node_name),
              known.empty() ? "; add it with --blockdev before" : SuggestionFor(node_name, known));
}

Result<BlockNode*> BlockGraph::Claim(std::string_view node_name, std::string user) {
  TRY(Node * node, FindUnused(node_name, "drive"));
  node->info.user = std::move(user);
  return node->node.get();
}

void BlockGraph::Release(const BlockNode& node) {
  for (const auto& candidate : nodes_) {
    if (candidate->node.get() == &node) candidate->info.user.clear();
  }
}

}  // namespace minivmm
