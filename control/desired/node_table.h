// SPDX-License-Identifier: Apache-2.0
// The cluster's other nodes as the datapath knows them: their indices, their addresses, and which
// of them take packets that are passed on. Pure but for the cluster that it is told of.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/model/cluster_state.h"
#include "maps/node.h"

namespace sluice {

// Thread: loop only. An index stays a node's as long as the node is there, also over an agent's
// restart, and is not given to another before all others have been.
class NodeTable {
 public:
  // What sl_nodes held at start: a node with the same addresses gets its index again.
  void Adopt(const std::vector<std::pair<std::uint32_t, abi::node>>& rows);

  // Follows the Nodes of `cluster`, without its own, and the slices of `node_service`: a node that
  // has an endpoint there, whatever its conditions, runs sluice. Return: whether a node has another
  // index than before, or has lost it. Cost: linear in the nodes.
  bool Update(const ClusterState& cluster, const ObjectName& node_service);

  // 0: there is no such node, or no index was left for it.
  std::uint16_t IndexOf(std::string_view name) const;
  // What sl_nodes should hold, by index.
  const std::map<std::uint32_t, abi::node>& rows() const { return rows_; }
  // Nodes that have an index and no place in the table, for want of room.
  std::size_t left_out() const { return left_out_; }

 private:
  std::uint32_t GiveIndex(const abi::node& row);

  std::map<std::string, std::uint32_t, std::less<>> indices_;
  std::map<std::uint32_t, abi::node> rows_;
  std::map<std::uint32_t, abi::node> adopted_;  // not found to be a node's yet
  std::uint32_t next_ = 1;                      // where to look for a free index
  std::size_t left_out_ = 0;
};

}  // namespace sluice
