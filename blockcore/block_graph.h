// BlockGraph owns all block nodes of the program, made from the --blockdev descriptions of the
// command line. Set-up only, on the main thread; the nodes themselves then serve the I/O threads.
//
//   --blockdev node-name=d0,driver=raw,file.driver=file,file.filename=a.img
//
//       d0: raw ──file──▶ (unnamed): file          the child is described in place, or
//                                                  file=NAME names a node added before
//
// A node has one user: a parent, or a BlockBackend. Not here: nodes that come and go while the
// guest runs.
#ifndef MINIVMM_BLOCKCORE_BLOCK_GRAPH_H_
#define MINIVMM_BLOCKCORE_BLOCK_GRAPH_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/base/result.h"
#include "blockcore/block_node.h"
#include "blockcore/options.h"

namespace minivmm {

class BlockGraph {
 public:
  BlockGraph() = default;
  // Nobody uses a node any more.
  ~BlockGraph();

  BlockGraph(const BlockGraph&) = delete;
  BlockGraph& operator=(const BlockGraph&) = delete;

  // Adds the node that `text` describes (see options.h for its form), with its children.
  // `node-name` is needed. After an error the graph is as it was before.
  Result<void> Add(std::string_view text);

  // Null when there is no such node.
  const BlockNode* Find(std::string_view node_name) const;

  // Gives the node to `user` alone, who is named in the error for the next one who wants it, until
  // Release. BlockBackend calls these two.
  Result<BlockNode*> Claim(std::string_view node_name, std::string user);
  void Release(const BlockNode& node);

 private:
  friend class NodeDescription;

  struct Node {
    std::string name;  // empty: described in place without a name
    std::unique_ptr<BlockNode> node;
    std::string user;  // empty: none
    int height = 1;    // 1: no child
  };

  Result<Node*> FindUnused(std::string_view node_name, std::string_view what);
  Result<Node*> AddNode(Options options, const std::string& outer_name, int depth);

  // Children stand before their parents.
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace minivmm

#endif  // MINIVMM_BLOCKCORE_BLOCK_GRAPH_H_
