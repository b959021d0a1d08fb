// SPDX-License-Identifier: Apache-2.0
#include "control/report/conntrack_report.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

#include "control/base/names.h"
#include "control/base/status_macros.h"
#include "control/report/output.h"
#include "maps/row_compare.h"

namespace sluice::report {
namespace {

using Align = TextTable::Align;

bool IsForward(const abi::flow_entry& entry) { return (entry.flags & abi::SL_FLOW_FORWARD) != 0; }

EndpointText BackendOf(const FlowRow& row) {
  const auto& [key, entry] = row;
  return IsForward(entry) ? EndpointText{IpAddress::FromAbi(entry.new_destination),
                                         PortOf(entry.new_destination_port)}
                          : EndpointText{IpAddress::FromAbi(key.source), PortOf(key.source_port)};
}

bool Matches(const PinnedState& state, const FlowFilter& filter, const FlowRow& row) {
  if (filter.service.has_value()) {
    const auto name = state.names.find(row.second.service_id);
    if (name == state.names.end() || !filter.service->Matches(name->second)) return false;
  }
  if (filter.backend.has_value()) {
    const EndpointText backend = BackendOf(row);
    const bool port_fits =
        !filter.backend->port.has_value() || filter.backend->port == backend.port;
    if (backend.address != filter.backend->address || !port_fits) return false;
  }
  return true;
}

std::string EstablishedState(std::uint8_t flags) {
  if ((flags & abi::SL_FLOW_RESET) != 0) return "reset";
  if ((flags & abi::SL_FLOW_CLOSED) == abi::SL_FLOW_CLOSED) return "closed";
  return (flags & abi::SL_FLOW_CLOSED) != 0 ? "closing" : "established";
}

std::string OpeningState(std::uint8_t flags) {
  if ((flags & abi::SL_FLOW_RESET) != 0) return "reset";
  return (flags & abi::SL_FLOW_ANSWERED) != 0 ? "answered" : "opening";
}

std::uint64_t IdleSeconds(std::uint64_t now_ns, std::uint32_t last_seen_ticks) {
  constexpr std::uint64_t kNsPerSecond = 1'000'000'000;
  const std::uint64_t seen_ns = std::uint64_t{last_seen_ticks} << abi::SL_TICK_SHIFT;
  return seen_ns < now_ns ? (now_ns - seen_ns) / kNsPerSecond : 0;
}

FlowReport Describe(const PinnedState& state, const FlowRow& row, std::uint64_t now_ns) {
  const auto& [key, entry] = row;
  FlowReport report;
  report.protocol = ProtocolName(key.protocol);
  report.source = FormatAbiEndpoint(key.source, key.source_port);
  report.destination = FormatAbiEndpoint(key.destination, key.destination_port);
  report.new_source = FormatAbiEndpoint(entry.new_source, entry.new_source_port);
  report.new_destination = FormatAbiEndpoint(entry.new_destination, entry.new_destination_port);
  report.reply = !IsForward(entry);
  report.state = EstablishedState(entry.flags);
  report.stale = !BackendLives(state, entry);
  report.service = ServiceLabelOf(state, entry.service_id);
  const EndpointText backend = BackendOf(row);
  report.backend = FormatEndpoint(backend.address, *backend.port);
  if (entry.path == abi::SL_PATH_TO_NODE) {
    // Which of its backends the other node has chosen is known there.
    report.path = absl::StrCat("to node ", IpAddress::FromAbi(entry.new_destination).ToString());
    report.new_source = report.source;
    report.new_destination = report.path;
    const auto chosen = state.backends.find(entry.backend_id);
    report.backend = chosen == state.backends.end()
                         ? ""
                         : FormatAbiEndpoint(chosen->second.address, chosen->second.port);
  } else if (entry.path == abi::SL_PATH_FROM_NODE) {
    report.path = "from any node";
  }
  report.idle_s = IdleSeconds(now_ns, entry.last_seen);
  return report;
}

using RowsByKey = absl::flat_hash_map<abi::flow, const abi::flow_entry*>;

RowsByKey IndexRows(const PinnedState& state) {
  RowsByKey rows;
  rows.reserve(state.flows.size());
  for (const auto& [key, entry] : state.flows) rows.emplace(key, &entry);
  return rows;
}

const abi::flow_entry* FindPartner(const RowsByKey& rows, const FlowRow& row) {
  const auto found = rows.find(PartnerKey(row));
  return found == rows.end() ? nullptr : found->second;
}

}  // namespace

std::vector<FlowReport> BuildFlowReports(const PinnedState& state, const FlowFilter& filter,
                                         std::uint64_t now_ns) {
  std::vector<FlowReport> reports;
  for (const abi::opening_flow& flow : state.opening) {
    const FlowRow row{flow.key, flow.entry};
    if (!Matches(state, filter, row)) continue;
    reports.push_back(Describe(state, row, now_ns));
    reports.back().state = OpeningState(flow.entry.flags);
  }
  const RowsByKey rows = IndexRows(state);
  for (const FlowRow& row : state.flows) {
    if (!Matches(state, filter, row)) continue;
    const abi::flow_entry* partner = FindPartner(rows, row);
    if (!IsForward(row.second) && partner != nullptr) continue;  // shown with its forward row
    FlowReport& report = reports.emplace_back(Describe(state, row, now_ns));
    if (partner != nullptr) {
      report.idle_s = std::min(report.idle_s, IdleSeconds(now_ns, partner->last_seen));
      // Each direction's row learns of a FIN or RST only from its own side's packets.
      report.state = EstablishedState(static_cast<std::uint8_t>(row.second.flags | partner->flags));
    }
  }
  return reports;
}

Json FlowsToJson(const std::vector<FlowReport>& flows) {
  Json array = Json::array();
  for (const FlowReport& flow : flows) {
    array.push_back({{"protocol", flow.protocol},
                     {"source", flow.source},
                     {"destination", flow.destination},
                     {"newSource", flow.new_source},
                     {"newDestination", flow.new_destination},
                     {"direction", flow.reply ? "reply" : "forward"},
                     {"state", flow.state},
                     {"stale", flow.stale},
                     {"service", flow.service},
                     {"backend", flow.backend},
                     {"path", flow.path},
                     {"idleSeconds", flow.idle_s}});
  }
  return array;
}

std::string FlowsToTable(const std::vector<FlowReport>& flows) {
  TextTable table({{"PROTOCOL"},
                   {"SOURCE"},
                   {"DESTINATION"},
                   {"NEW SOURCE"},
                   {"NEW DESTINATION"},
                   {"STATE"},
                   {"IDLE", Align::kRight},
                   {"SERVICE"}});
  for (const FlowReport& flow : flows) {
    table.AddRow({flow.protocol, flow.source, flow.destination,
                  flow.new_source == flow.source ? "" : flow.new_source, flow.new_destination,
                  absl::StrCat(flow.state, flow.reply ? ",reply" : "", flow.stale ? ",stale" : ""),
                  HumanSeconds(flow.idle_s), flow.service});
  }
  return table.Render();
}

absl::StatusOr<FlushResult> FlushFlows(const PinnedState& state, const FlowFilter& filter,
                                       Table<abi::flow, abi::flow_entry>& flows) {
  const RowsByKey rows = IndexRows(state);
  std::vector<abi::flow> keys;
  FlushResult result;
  for (const FlowRow& row : state.flows) {
    if (!Matches(state, filter, row)) continue;
    keys.push_back(row.first);
    if (IsForward(row.second) || FindPartner(rows, row) == nullptr) ++result.flows;
  }
  // Twice: a packet that passes meanwhile may put one row back from its partner before that goes.
  for (int round = 0; round < 2; ++round) RETURN_IF_ERROR(flows.Delete(keys).status);
  result.rows = keys.size();
  return result;
}

}  // namespace sluice::report
