// SPDX-License-Identifier: Apache-2.0
#include "control/report/map_reader.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/report/endpoint_text.h"
#include "maps/row_compare.h"

namespace sluice::report {
namespace {

template <typename V>
absl::Status ReadById(const Table<std::uint32_t, V>& table, std::map<std::uint32_t, V>& to) {
  ASSIGN_OR_RETURN(const auto rows, table.Dump());
  to.insert(rows.begin(), rows.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PinnedState> ReadPinnedState(const MapSet& maps) {
  PinnedState state;
  ASSIGN_OR_RETURN(state.frontends, maps.services().Dump());
  RETURN_IF_ERROR(ReadById(maps.backends(), state.backends));
  RETURN_IF_ERROR(ReadById(maps.backend_stats(), state.backend_stats));
  RETURN_IF_ERROR(ReadById(maps.service_stats(), state.service_stats));
  ASSIGN_OR_RETURN(const auto connections, maps.connection_stats().Dump());
  state.connection_stats.insert(connections.begin(), connections.end());
  ASSIGN_OR_RETURN(const auto names, maps.service_names().Dump());
  for (const auto& [id, name] : names) state.names.emplace(id, FromAbiName(name));
  ASSIGN_OR_RETURN(state.drops, maps.drops().Dump());
  return state;
}

absl::Status ReadFlows(const Table<abi::flow, abi::flow_entry>& flows, PinnedState& state) {
  ASSIGN_OR_RETURN(state.flows, flows.Dump());
  std::sort(state.flows.begin(), state.flows.end(),
            [](const FlowRow& a, const FlowRow& b) { return a.first < b.first; });
  return absl::OkStatus();
}

absl::Status ReadOpening(const Table<std::uint32_t, abi::opening_bucket>& opening,
                         PinnedState& state) {
  ASSIGN_OR_RETURN(const auto rows, opening.Dump());
  std::map<abi::flow, abi::opening_flow> by_key;
  for (const auto& [index, bucket] : rows) {
    for (int way = 0; way < abi::SL_OPENING_WAYS; ++way) {
      if (bucket.tag[way] == 0) continue;
      abi::opening_flow flow = bucket.flows[way];
      flow.entry.last_seen = bucket.last_seen[way];
      by_key[flow.key] = flow;
    }
  }
  state.opening.clear();
  for (const auto& [key, flow] : by_key) state.opening.push_back(flow);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadServiceLabel(const Table<std::uint32_t, abi::service_name>& names,
                                             std::uint32_t service_id) {
  ASSIGN_OR_RETURN(const auto name, names.Lookup(service_id));
  const bool named = name.has_value() && name->name[0] != '\0';
  return named ? ServiceLabel(FromAbiName(*name)) : absl::StrCat("id ", service_id);
}

}  // namespace sluice::report
