// SPDX-License-Identifier: Apache-2.0
#include "control/apply/node_rows.h"

#include <optional>

#include "control/base/status_macros.h"

namespace sluice {
namespace {

// Every address of the rows, with the index of its node.
std::map<abi::addr, std::uint32_t> IdsOf(const std::map<std::uint32_t, abi::node>& rows) {
  std::map<abi::addr, std::uint32_t> ids;
  for (const auto& [index, row] : rows) {
    for (const abi::addr& address : row.address) {
      if (address != abi::addr{}) ids.emplace(address, index);
    }
  }
  return ids;
}

// The rows of `wanted` that `there` has otherwise, or not.
template <typename K, typename V>
std::vector<std::pair<K, V>> Missing(const std::map<K, V>& wanted, const std::map<K, V>& there) {
  std::vector<std::pair<K, V>> rows;
  for (const auto& [key, value] : wanted) {
    const auto it = there.find(key);
    if (it == there.end() || it->second != value) rows.emplace_back(key, value);
  }
  return rows;
}

template <typename K, typename V>
absl::Status Put(Table<K, V>& table, const std::vector<std::pair<K, V>>& rows,
                 std::map<K, V>& there) {
  if (rows.empty()) return absl::OkStatus();
  const BatchResult result = table.Update(rows);
  for (std::size_t i = 0; i < result.landed; ++i) there[rows[i].first] = rows[i].second;
  return result.status;
}

}  // namespace

absl::StatusOr<std::vector<std::pair<std::uint32_t, abi::node>>> NodeRows::Start() {
  if (nodes_ == nullptr) return std::vector<std::pair<std::uint32_t, abi::node>>{};
  ASSIGN_OR_RETURN(const auto nodes, nodes_->Dump());
  ASSIGN_OR_RETURN(const auto ids, ids_->Dump());
  there_ = {nodes.begin(), nodes.end()};
  ids_there_ = {ids.begin(), ids.end()};
  return nodes;
}

absl::Status NodeRows::Write(const std::map<std::uint32_t, abi::node>& wanted) {
  if (nodes_ == nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(Annotate(Put(*nodes_, Missing(wanted, there_), there_), "sl_nodes"));
  return Annotate(Put(*ids_, Missing(IdsOf(wanted), ids_there_), ids_there_), "sl_node_ids");
}

absl::Status NodeRows::Remove(const std::map<std::uint32_t, abi::node>& wanted) {
  if (nodes_ == nullptr) return absl::OkStatus();
  const std::map<abi::addr, std::uint32_t> ids = IdsOf(wanted);
  std::vector<abi::addr> gone;
  for (const auto& [address, index] : ids_there_) {
    if (!ids.contains(address)) gone.push_back(address);
  }
  if (!gone.empty()) {
    const BatchResult result = ids_->Delete(gone);
    for (std::size_t i = 0; i < result.landed; ++i) ids_there_.erase(gone[i]);
    RETURN_IF_ERROR(Annotate(result.status, "sl_node_ids"));
  }
  std::vector<std::pair<std::uint32_t, abi::node>> zeros;
  for (const auto& [index, row] : there_) {
    if (!wanted.contains(index)) zeros.emplace_back(index, abi::node{});
  }
  if (zeros.empty()) return absl::OkStatus();
  const BatchResult result = nodes_->Update(zeros);
  for (std::size_t i = 0; i < result.landed; ++i) there_.erase(zeros[i].first);
  return Annotate(result.status, "sl_nodes");
}

}  // namespace sluice
