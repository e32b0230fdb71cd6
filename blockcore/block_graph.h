// BlockGraph owns all block nodes of the program, made from the descriptions of the command line
// (--blockdev) and of control clients. It belongs to the main thread: nodes come and go there,
// while the others serve the I/O threads.
//
//   --blockdev node-name=d0,driver=raw,file.driver=file,file.filename=a.img
//
//       d0: raw ──file──▶ (unnamed): file          the child is described in place, or
//                                                  file=NAME names a node added before
//
// A node has one user: a parent, or a BlockBackend. A node described in place belongs to its parent
// and goes with it; a named one stays. Not here: changing a node or its children.
#ifndef MINIVMM_BLOCKCORE_BLOCK_GRAPH_H_
#define MINIVMM_BLOCKCORE_BLOCK_GRAPH_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"
#include "blockcore/options.h"

namespace minivmm {

// A node as it is described to a user.
struct BlockNodeInfo {
  std::string name;      // empty: described in place without a name
  std::string driver;    // "raw"
  std::string filename;  // of the leaf below, through all filters; "null-co://" for null-co
  std::string user;      // "device 'd0'" or "node 'top'"; empty: none
  bool read_only = false;
  bool cache_direct = false;  // O_DIRECT, of the leaf below
  bool cache_no_flush = false;
  const BlockNode* node = nullptr;
  std::vector<std::pair<std::string, const BlockNode*>> children;  // key, such as "file", and node
};

// Main thread, but for what a node's own functions say.
class BlockGraph {
 public:
  BlockGraph() = default;
  // Nobody uses a node any more.
  ~BlockGraph();

  BlockGraph(const BlockGraph&) = delete;
  BlockGraph& operator=(const BlockGraph&) = delete;

  // Adds the node that `text` describes (see options.h for its form), with its children.
  // `node-name` is needed. Fails too where there are 1,000 nodes. After an error the graph is as it
  // was before.
  Result<void> Add(std::string_view text);
  Result<void> Add(Options options);

  // Closes the node and all below it that were described in place, with a name or without. Fails
  // when there is no such node, or when it has a user; then nothing changed. What was not flushed
  // may be lost. All requests of the node have completed: it has no user who could wait for one.
  Result<void> Remove(std::string_view node_name);

  // All nodes, children before their parents. The pointers are good until the node is removed.
  std::vector<BlockNodeInfo> Nodes() const;

  // Null when there is no such node.
  const BlockNode* Find(std::string_view node_name) const;

  // Gives the node to `user` alone, who is named in the error for the next one who wants it, until
  // Release. BlockBackend calls these two.
  Result<BlockNode*> Claim(std::string_view node_name, std::string user);
  void Release(const BlockNode& node);

 private:
  friend class NodeDescription;

  struct Node;
  struct Child {
    std::string key;
    Node* node = nullptr;
    bool in_place = false;
  };
  struct Node {
    BlockNodeInfo info;
    std::unique_ptr<BlockNode> node;
    std::vector<Child> children;
    int height = 1;  // 1: no child
  };

  Node* FindNamed(std::string_view node_name) const;
  std::vector<std::string_view> Names() const;
  Result<Node*> FindUnused(std::string_view node_name, std::string_view what);
  void Delete(Node& node);
  Result<Node*> AddNode(Options options, const std::string& outer_name, int depth);

  // Children stand before their parents.
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BLOCK_GRAPH_H_
