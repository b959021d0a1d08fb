// SPDX-License-Identifier: Apache-2.0
#include "control/desired/node_table.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "control/model/ip_address.h"

namespace sluice {
namespace {

constexpr char kInternal[] = "InternalIP";

// Its addresses: the first internal one of each family.
abi::node RowOf(const model::Node& node) {
  abi::node row{};
  bool has[abi::SL_FAMILY_COUNT] = {};
  for (const model::NodeAddress& entry : node.status().addresses()) {
    if (entry.type() != kInternal) continue;
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(entry.address());
    if (!address.ok()) continue;
    const abi::sl_family family = address->is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6;
    if (has[family]) continue;
    has[family] = true;
    row.address[family] = address->ToAbi();
  }
  return row;
}

bool SameAddresses(const abi::node& a, const abi::node& b) {
  return std::memcmp(a.address, b.address, sizeof(a.address)) == 0;
}

bool HasAddress(const abi::node& row) { return !SameAddresses(row, abi::node{}); }

std::set<std::string> NamesOf(const ClusterState& cluster, const ObjectName& node_service) {
  std::set<std::string> names;
  for (const model::EndpointSlice* slice : cluster.SlicesOf(node_service)) {
    for (const model::Endpoint& endpoint : slice->endpoints()) names.insert(endpoint.node_name());
  }
  return names;
}

}  // namespace

void NodeTable::Adopt(const std::vector<std::pair<std::uint32_t, abi::node>>& rows) {
  for (const auto& [index, row] : rows) {
    if (index != 0 && HasAddress(row)) adopted_.emplace(index, row);
  }
}

bool NodeTable::Update(const ClusterState& cluster, const ObjectName& node_service) {
  const std::set<std::string> with_sluice = NamesOf(cluster, node_service);
  std::map<std::string, abi::node> nodes;
  cluster.ForEachNode([&](const model::Node& node) {
    const std::string& name = node.metadata().name();
    if (name == cluster.own_node_name()) return;
    abi::node row = RowOf(node);
    if (!HasAddress(row)) return;
    if (with_sluice.contains(name)) row.flags = abi::SL_NODE_TUNNEL;
    nodes.emplace(name, row);
  });
  const auto before = indices_;
  rows_.clear();
  std::erase_if(indices_, [&](const auto& entry) { return !nodes.contains(entry.first); });
  for (const auto& [name, index] : indices_) rows_.emplace(index, nodes.at(name));
  left_out_ = 0;
  for (const auto& [name, row] : nodes) {
    if (indices_.contains(name)) continue;
    const std::uint32_t index = GiveIndex(row);
    if (index == 0) {
      ++left_out_;
      continue;
    }
    indices_.emplace(name, index);
    rows_.emplace(index, row);
  }
  if (cluster.synced()) adopted_.clear();
  return indices_ != before;
}

std::uint32_t NodeTable::GiveIndex(const abi::node& row) {
  const auto known = std::find_if(adopted_.begin(), adopted_.end(), [&](const auto& entry) {
    return SameAddresses(entry.second, row) && !rows_.contains(entry.first);
  });
  if (known != adopted_.end()) return known->first;
  for (std::uint32_t tries = 1; tries < abi::SL_NODES; ++tries) {
    const std::uint32_t index = next_;
    next_ = next_ + 1 < abi::SL_NODES ? next_ + 1 : 1;
    if (!rows_.contains(index) && !adopted_.contains(index)) return index;
  }
  return 0;
}

std::uint16_t NodeTable::IndexOf(std::string_view name) const {
  const auto it = indices_.find(name);
  return it == indices_.end() ? std::uint16_t{0} : static_cast<std::uint16_t>(it->second);
}

}  // namespace sluice
