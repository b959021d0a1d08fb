// SPDX-License-Identifier: Apache-2.0
// Keeps sl_nodes and sl_node_ids equal to a NodeTable. Rows are written before the services that
// name them, and taken away after: what a node still gets in between finds its way.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "maps/node.h"
#include "maps/row_compare.h"
#include "maps/table.h"

namespace sluice {

// Thread: loop only.
class NodeRows {
 public:
  // The maps must outlive this; null: there are none, and nothing is kept (of tests).
  NodeRows(Table<std::uint32_t, abi::node>* nodes, Table<abi::addr, std::uint32_t>* ids)
      : nodes_(nodes), ids_(ids) {}

  // Reads what is there. Return: the rows that are some node's. Errors: those of Table::Dump.
  absl::StatusOr<std::vector<std::pair<std::uint32_t, abi::node>>> Start();

  // Writes what is new or has changed. Errors: those of Table::Update; asked again, it goes on.
  absl::Status Write(const std::map<std::uint32_t, abi::node>& wanted);
  // Takes away what is not wanted any more. Errors: as Write.
  absl::Status Remove(const std::map<std::uint32_t, abi::node>& wanted);

 private:
  Table<std::uint32_t, abi::node>* nodes_;
  Table<abi::addr, std::uint32_t>* ids_;
  std::map<std::uint32_t, abi::node> there_;
  std::map<abi::addr, std::uint32_t> ids_there_;
};

}  // namespace sluice
