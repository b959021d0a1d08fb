// SPDX-License-Identifier: Apache-2.0
#include "control/agent/metrics_text.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

#include "control/base/names.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

using Labels = MetricsWriter::Labels;
using ServiceNames = std::map<std::uint32_t, abi::service_name>;

// A counter of struct service_stats and how it is shown.
struct ServiceCounter {
  const char* name;
  const char* help;
  __u64 abi::service_stats::*value;
};

constexpr ServiceCounter kServiceCounters[] = {
    {"sluice_service_packets_in_total", "Packets towards backends.",
     &abi::service_stats::packets_in},
    {"sluice_service_bytes_in_total", "Bytes towards backends.", &abi::service_stats::bytes_in},
    {"sluice_service_packets_out_total", "Packets from backends.",
     &abi::service_stats::packets_out},
    {"sluice_service_bytes_out_total", "Bytes from backends.", &abi::service_stats::bytes_out},
    {"sluice_service_opened_total", "Flows given a backend.", &abi::service_stats::opened},
    {"sluice_service_rejected_total", "Packets answered with RST or port unreachable.",
     &abi::service_stats::rejected},
    {"sluice_service_dropped_total", "Packets dropped.", &abi::service_stats::dropped},
    {"sluice_service_failed_total", "SYNs that the backend chosen first did not answer.",
     &abi::service_stats::failed},
};

// ABI strings are NUL-terminated when they fit, and read by their length in any case.
template <std::size_t N>
std::string Text(const char (&field)[N]) {
  return std::string(field, static_cast<std::size_t>(std::find(field, field + N, '\0') - field));
}

Labels LabelsOf(const abi::service_name& name) {
  return {{"namespace", Text(name.name_space)},
          {"service", Text(name.name)},
          {"port", Text(name.port_name)},
          {"protocol", ProtocolName(name.protocol)}};
}

absl::Status AddServices(const MapSet& maps, const ServiceNames& names, MetricsWriter& writer) {
  ASSIGN_OR_RETURN(const auto stats, maps.service_stats().Dump());
  for (const ServiceCounter& counter : kServiceCounters) {
    writer.Begin(counter.name, "counter", counter.help);
    for (const auto& [id, row] : stats) {
      const auto name = names.find(id);
      if (name != names.end()) writer.Sample(LabelsOf(name->second), row.*counter.value);
    }
  }
  return absl::OkStatus();
}

absl::Status AddDrops(const MapSet& maps, const ServiceNames& names, MetricsWriter& writer) {
  ASSIGN_OR_RETURN(const auto drops, maps.drops().Dump());
  // Ids that are no service's any more are counted together: their names are gone.
  std::map<Labels, std::uint64_t> sums;
  for (const auto& [key, count] : drops) {
    const auto name = names.find(key.service_id);
    Labels labels = LabelsOf(name != names.end() ? name->second : abi::service_name{});
    if (name == names.end()) labels.back().second.clear();
    labels.emplace_back("reason", std::string(ReasonName(key.reason)));
    sums[labels] += count.packets;
  }
  writer.Begin("sluice_drops_total", "counter", "Packets dropped, rejected or noted, by reason.");
  for (const auto& [labels, packets] : sums) writer.Sample(labels, packets);
  return absl::OkStatus();
}

absl::Status AddMaps(const MapSet& maps, MetricsWriter& writer) {
  ASSIGN_OR_RETURN(const std::vector<MapUse> use, maps.Use());
  writer.Begin("sluice_map_used", "gauge", "Rows in use.");
  for (const MapUse& map : use) writer.Sample({{"map", map.name}}, map.used);
  writer.Begin("sluice_map_size", "gauge", "Rows that the map can hold.");
  for (const MapUse& map : use) writer.Sample({{"map", map.name}}, map.size);
  return absl::OkStatus();
}

void AddAgent(const Snapshot& snapshot, MetricsWriter& writer) {
  const auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
    writer.Begin(name, "gauge", help);
    writer.Sample({}, value);
  };
  gauge("sluice_synced", "1 once the source has been followed completely.", snapshot.synced);
  gauge("sluice_source_generation", "Changes taken in from the source.",
        snapshot.source_generation);
  gauge("sluice_applied_generation", "The last of them that is in the maps.",
        snapshot.applied_generation);
  gauge("sluice_problems", "Objects that cannot be followed as they are.",
        snapshot.problems.size());
  gauge("sluice_conflicts", "Claims to addresses or ports that another Service has.",
        snapshot.conflicts.size());
  gauge("sluice_listeners_shadowed", "The node's sockets that a NodePort hides.",
        snapshot.shadowed.size());
  gauge("sluice_degraded", "Reasons for which the agent calls itself degraded.",
        snapshot.degraded.size());
  writer.Begin("sluice_flow_rows", "gauge", "Rows of sl_flows at the last sweep, by state.");
  for (std::size_t state = 0; state < kFlowStates; ++state) {
    writer.Sample({{"state", std::string(FlowStateName(static_cast<FlowState>(state)))}},
                  snapshot.flows.rows[state]);
  }
  writer.Begin("sluice_flow_rows_swept_total", "counter", "Rows of sl_flows that were removed.");
  writer.Sample({}, snapshot.flows_deleted);
}

}  // namespace

absl::StatusOr<std::string> MetricsText(const Snapshot& snapshot, const MapSet& maps) {
  MetricsWriter writer;
  AddAgent(snapshot, writer);
  ASSIGN_OR_RETURN(const auto name_rows, maps.service_names().Dump());
  const ServiceNames names(name_rows.begin(), name_rows.end());
  RETURN_IF_ERROR(AddServices(maps, names, writer));
  RETURN_IF_ERROR(AddDrops(maps, names, writer));
  RETURN_IF_ERROR(AddMaps(maps, writer));
  return writer.text();
}

void MetricsWriter::Begin(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  absl::StrAppend(&text_, "# HELP ", name_, " ", std::string(help), "\n# TYPE ", name_, " ",
                  std::string(type), "\n");
}

void MetricsWriter::Sample(const Labels& labels, std::uint64_t value) {
  absl::StrAppend(&text_, name_);
  const char* separator = "{";
  for (const auto& [label, text] : labels) {
    absl::StrAppend(&text_, separator, std::string(label), "=\"",
                    absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
                    "\"");
    separator = ",";
  }
  absl::StrAppend(&text_, labels.empty() ? "" : "}", " ", value, "\n");
}

}  // namespace sluice
