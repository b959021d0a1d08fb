// SPDX-License-Identifier: Apache-2.0
#include "control/agent/metrics_text.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/agent/kube_proxy_metrics.h"
#include "control/agent/metrics_writer.h"
#include "control/agent/process_metrics.h"
#include "control/agent/socket_metrics.h"
#include "control/agent/version.h"
#include "control/base/connection_stats.h"
#include "control/base/names.h"
#include "control/base/status_macros.h"
#include "maps/names.h"
#include "maps/row_compare.h"

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

std::string EndText(const abi::addr& addr, __be16 port) {
  return IpAddress::FromAbi(addr).WithPort(ntohs(port));
}

absl::Status AddServices(const MapSet& maps, const ServiceNames& names, MetricsWriter& writer) {
  ASSIGN_OR_RETURN(const auto stats, maps.service_stats().Dump());
  for (const ServiceCounter& counter : kServiceCounters) {
    writer.Begin(counter.name, "counter", counter.help);
    for (const auto& [id, row] : stats) {
      const auto name = names.find(id);
      if (name == names.end()) continue;
      writer.Sample(LabelsOf(name->second), std::uint64_t{row.*counter.value});
    }
  }
  return absl::OkStatus();
}

using ConnectionStats = std::map<abi::connection_stats_key, abi::connection_stats>;

void AddServiceSockets(const ConnectionStats& stats, const ServiceNames& names,
                       MetricsWriter& writer) {
  LabelledConnections rows;
  for (const auto& [key, row] : stats) {
    const auto name = names.find(key.service_id);
    if (name != names.end()) rows.emplace_back(LabelsOf(name->second), row);
  }
  AddSocketMetrics("sluice_service", rows, writer);
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

absl::Status AddMaps(const Snapshot& snapshot, const MapSet& maps, MetricsWriter& writer) {
  ASSIGN_OR_RETURN(const std::vector<MapUse> use, maps.Use());
  writer.Begin("sluice_map_used", "gauge", "Rows in use.");
  for (const MapUse& map : use) writer.Sample({{"map", map.name}}, map.used);
  writer.Begin("sluice_map_size", "gauge", "Rows that the map can hold.");
  for (const MapUse& map : use) writer.Sample({{"map", map.name}}, map.size);
  writer.Begin("sluice_conntrack_rows", "gauge",
               "Rows by table and state: those of established flows at the last sweep.");
  for (std::size_t state = 0; state < kFlowStates; ++state) {
    writer.Sample({{"table", names::kFlows},
                   {"state", std::string(FlowStateName(static_cast<FlowState>(state)))}},
                  snapshot.flows.rows[state]);
  }
  for (const MapUse& map : use) {
    if (map.name != names::kOpening) continue;
    writer.Sample({{"table", map.name}, {"state", "opening"}}, map.used);
  }
  writer.Single("sluice_conntrack_rows_swept_total", "counter", "Rows of flows that were over.",
                snapshot.flows_deleted);
  return absl::OkStatus();
}

// The destinations with most ports taken, so many that one that runs out is among them.
void AddSnatPorts(const Snapshot& snapshot, MetricsWriter& writer) {
  constexpr std::size_t kMost = 100;
  writer.Single("sluice_snat_ports", "gauge",
                "Source ports that an address has towards each destination.", snapshot.snat_ports);
  writer.Single("sluice_snat_destinations", "gauge",
                "Destinations towards which ports were taken at the last sweep.",
                snapshot.snat_uses.size());
  writer.Begin("sluice_snat_ports_used", "gauge",
               "Of those, taken at the last sweep: the 100 destinations with most.");
  for (std::size_t i = 0; i < std::min(kMost, snapshot.snat_uses.size()); ++i) {
    const auto& [path, used] = snapshot.snat_uses[i];
    writer.Sample({{"address", IpAddress::FromAbi(path.source).ToString()},
                   {"destination", EndText(path.destination, path.destination_port)},
                   {"protocol", ProtocolName(path.protocol)}},
                  std::uint64_t{used});
  }
}

// The backends with the lowest ids, which stay the same while they exist; a limit by use would
// make series come and go with the traffic.
absl::Status AddBackends(const Snapshot& snapshot, const MapSet& maps, const ServiceNames& names,
                         const ConnectionStats& sockets, std::size_t limit, MetricsWriter& writer) {
  ASSIGN_OR_RETURN(auto backends, maps.backends().Dump());
  std::erase_if(backends,
                [](const auto& row) { return (row.second.flags & abi::SL_BACKEND_PRESENT) == 0; });
  std::sort(backends.begin(), backends.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  writer.Single("sluice_backends", "gauge", "Endpoints, one for each service port.",
                backends.size());
  writer.Single("sluice_backends_without_metrics", "gauge",
                "Of those, endpoints beyond --metrics-backends.",
                backends.size() - std::min(backends.size(), limit));
  if (limit == 0) return absl::OkStatus();
  backends.resize(std::min(backends.size(), limit));
  std::vector<std::pair<Labels, abi::backend_stats>> rows;
  std::vector<std::uint64_t> connections;
  LabelledConnections socket_rows;
  for (const auto& [id, backend] : backends) {
    const auto name = names.find(backend.service_id);
    if (name == names.end()) continue;
    Labels labels = LabelsOf(name->second);
    labels.emplace_back("backend", EndText(backend.address, backend.port));
    ASSIGN_OR_RETURN(const auto stats, maps.backend_stats().Lookup(id));
    const auto open = snapshot.flows.connections.find({id, backend.generation});
    connections.push_back(open == snapshot.flows.connections.end() ? 0 : open->second);
    if (const auto own = sockets.find({0, id}); own != sockets.end()) {
      connections.back() += OpenConnections(own->second);
      socket_rows.emplace_back(labels, own->second);
    }
    rows.emplace_back(std::move(labels), stats.value_or(abi::backend_stats{}));
  }
  writer.Begin("sluice_backend_opened_total", "counter", "Flows given to the endpoint.");
  for (const auto& [labels, stats] : rows) writer.Sample(labels, std::uint64_t{stats.opened});
  writer.Begin("sluice_backend_failed_total", "counter", "SYNs that it did not answer in time.");
  for (const auto& [labels, stats] : rows) writer.Sample(labels, std::uint64_t{stats.failed});
  writer.Begin("sluice_backend_connections", "gauge",
               "Flows that it has, at the last sweep, and sockets.");
  for (std::size_t i = 0; i < rows.size(); ++i) writer.Sample(rows[i].first, connections[i]);
  AddSocketMetrics("sluice_backend", socket_rows, writer);
  return absl::OkStatus();
}

void AddSource(const Snapshot& snapshot, MetricsWriter& writer) {
  const std::vector<StreamStatus>& streams = snapshot.source.streams;
  if (streams.empty()) return;  // manifests
  const auto each = [&](const char* name, const char* type, const char* help, auto value) {
    writer.Begin(name, type, help);
    for (const StreamStatus& stream : streams) {
      if (!stream.absent) writer.Sample({{"resource", stream.resource}}, value(stream));
    }
  };
  each("sluice_watch_lag_seconds", "gauge",
       "Time since the API was last heard of: how old what is known may be.",
       [&](const StreamStatus& stream) {
         const bool never = stream.last_heard == absl::InfinitePast();
         const absl::Time since = never ? snapshot.started_at : stream.last_heard;
         return std::max(0.0, absl::ToDoubleSeconds(snapshot.taken_at - since));
       });
  each("sluice_watch_connected", "gauge", "1 while an answer is being received.",
       [](const StreamStatus& stream) { return std::uint64_t{stream.connected}; });
  each("sluice_watch_restarts_total", "counter", "Watches that ended and were begun anew.",
       [](const StreamStatus& stream) { return stream.restarts; });
  each("sluice_watch_lists_total", "counter", "Lists read whole; each after the first is a loss.",
       [](const StreamStatus& stream) { return stream.lists; });
  each("sluice_watch_failures_total", "counter", "Requests that ended with an error.",
       [](const StreamStatus& stream) { return stream.failures; });
  each("sluice_watch_events_total", "counter", "Objects that watches told of.",
       [](const StreamStatus& stream) { return stream.events; });
}

void AddAgent(const Snapshot& snapshot, MetricsWriter& writer) {
  writer.Begin("sluice_build_info", "gauge", "1; the labels say what runs.");
  writer.Sample(
      {{"version", kVersion}, {"map_abi", absl::StrCat(static_cast<int>(abi::SL_ABI_VERSION))}},
      std::uint64_t{1});
  const auto gauge = [&](const char* name, const char* help, std::uint64_t value) {
    writer.Single(name, "gauge", help, value);
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
  const auto counter = [&](const char* name, const char* help, std::uint64_t value) {
    writer.Single(name, "counter", help, value);
  };
  const ReconcilerCounters& counters = snapshot.counters;
  counter("sluice_rounds_total", "Rounds of planning and writing.", counters.rounds);
  counter("sluice_rows_written_total", "Rows written to the maps.", counters.rows_written);
  counter("sluice_write_failures_total", "Rounds that stopped at a failure.",
          counters.write_failures);
  counter("sluice_sockets_ended_total", "Sockets ended because their endpoint had gone.",
          snapshot.sockets.ended);
  gauge("sluice_sockets_out_of_reach",
        "Sockets whose endpoint has gone, in network namespaces that cannot be entered.",
        snapshot.sockets.not_reached);
  gauge("sluice_sockets_stuck",
        "Sockets whose endpoint has gone, or others beside them, that a process holds in a call.",
        snapshot.sockets.stuck);
  counter("sluice_rows_drifted_total", "Rows that somebody else had changed, put right.",
          counters.rows_drifted);
}

}  // namespace

absl::StatusOr<std::string> MetricsText(const Snapshot& snapshot, const MapSet& maps,
                                        const MetricsOptions& options) {
  MetricsWriter writer;
  AddKubeProxyMetrics(snapshot, writer);
  AddProcessMetrics(snapshot.started_at, writer);
  AddAgent(snapshot, writer);
  AddSource(snapshot, writer);
  ASSIGN_OR_RETURN(const auto name_rows, maps.service_names().Dump());
  const ServiceNames names(name_rows.begin(), name_rows.end());
  RETURN_IF_ERROR(AddServices(maps, names, writer));
  ASSIGN_OR_RETURN(const auto connections, maps.connection_stats().Dump());
  const ConnectionStats sockets(connections.begin(), connections.end());
  AddServiceSockets(sockets, names, writer);
  RETURN_IF_ERROR(AddDrops(maps, names, writer));
  RETURN_IF_ERROR(AddBackends(snapshot, maps, names, sockets, options.backend_series, writer));
  RETURN_IF_ERROR(AddMaps(snapshot, maps, writer));
  AddSnatPorts(snapshot, writer);
  return writer.text();
}

}  // namespace sluice
