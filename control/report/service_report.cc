// SPDX-License-Identifier: Apache-2.0
#include "control/report/service_report.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/names.h"
#include "control/report/endpoint_text.h"
#include "control/report/output.h"
#include "control/report/socket_report.h"

namespace sluice::report {
namespace {

using Align = TextTable::Align;
using ConnectionCounts = std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint64_t>;

constexpr char kReady[] = "ready";
constexpr char kNotReady[] = "notReady";

BackendAddress AddressOf(const abi::backend& backend) {
  return {IpAddress::FromAbi(backend.address), PortOf(backend.port), backend.protocol};
}

// What the agent knows of one endpoint of a service, by address and port.
std::map<BackendAddress, const AgentBackend*> AgentBackendsOf(const AgentService* service,
                                                              std::uint32_t protocol) {
  std::map<BackendAddress, const AgentBackend*> backends;
  if (service == nullptr) return backends;
  for (const AgentBackend& backend : service->backends) {
    backends[{backend.address, backend.port, protocol}] = &backend;
  }
  return backends;
}

// The Service's type is in no map; without an agent the frontends tell all that matters of it,
// save a LoadBalancer that has no address yet.
std::string ServiceType(const AgentService* service, const std::vector<FrontendReport>& frontends) {
  if (service != nullptr && !service->type.empty()) return service->type;
  const auto has = [&](const char* kind) {
    return std::any_of(frontends.begin(), frontends.end(),
                       [&](const FrontendReport& frontend) { return frontend.kind == kind; });
  };
  if (has("LoadBalancer")) return "LoadBalancer";
  return has("NodePort") ? "NodePort" : "ClusterIP";
}

// The rows that are present, by service id.
using BackendRows = std::vector<std::pair<std::uint32_t, const abi::backend*>>;  // by id

std::map<std::uint32_t, BackendRows> RowsByService(const PinnedState& state) {
  std::map<std::uint32_t, BackendRows> rows;
  for (const auto& [id, row] : state.backends) {
    if (!(row.flags & abi::SL_BACKEND_PRESENT) || row.flags & abi::SL_BACKEND_ORPHAN) continue;
    rows[row.service_id].emplace_back(id, &row);
  }
  return rows;
}

// The endpoints of one service: its `rows`, those that the agent lists, and those that still have
// flows of it.
std::vector<ServiceBackendReport> BackendsOf(const PinnedState& state, std::uint32_t service_id,
                                             const BackendRows& rows, const AgentService* service,
                                             const ConnectionCounts& connections) {
  std::map<BackendAddress, ServiceBackendReport> reports;
  const auto add = [&](const BackendAddress& address) -> ServiceBackendReport& {
    ServiceBackendReport& report = reports[address];
    report.address = address.address;
    report.port = address.port;
    if (report.state.empty()) report.state = kNotReady;
    return report;
  };
  for (const auto& [id, row] : rows) {
    ServiceBackendReport& report = add(AddressOf(*row));
    if (row->flags & abi::SL_BACKEND_USABLE) report.state = kReady;
    const auto sockets = state.connection_stats.find({0, id});
    if (sockets != state.connection_stats.end()) report.sockets = sockets->second;
  }
  for (auto it = connections.lower_bound({service_id, 0});
       it != connections.end() && it->first.first == service_id; ++it) {
    // CountConnections() counts living backends only, so the row is there.
    add(AddressOf(state.backends.at(it->first.second))).connections = it->second;
  }
  const std::uint32_t protocol = state.names.at(service_id).protocol;
  for (const auto& [address, agent_backend] : AgentBackendsOf(service, protocol)) {
    ServiceBackendReport& report = add(address);
    report.node = agent_backend->node;
    if (!agent_backend->state.empty()) report.state = agent_backend->state;
  }
  std::vector<ServiceBackendReport> sorted;
  for (auto& [address, report] : reports) sorted.push_back(std::move(report));
  return sorted;
}

std::map<std::uint32_t, std::vector<FrontendReport>> FrontendsByService(const PinnedState& state) {
  std::map<std::uint32_t, std::vector<FrontendReport>> frontends;
  auto rows = state.frontends;
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    const auto order = [](const auto& row) {
      const IpAddress address = IpAddress::FromAbi(row.first.address);
      return std::tuple(row.second.kind, !address.is_v4(), address, PortOf(row.first.port));
    };
    return order(a) < order(b);
  });
  for (const auto& [key, service] : rows) {
    if (!IsReachedByClients(service.kind)) continue;
    frontends[service.id].push_back({IpAddress::FromAbi(key.address), PortOf(key.port),
                                     std::string(FrontendKindName(service.kind))});
  }
  return frontends;
}

Json StatsToJson(const abi::service_stats& stats) {
  return {{"packetsIn", stats.packets_in},   {"bytesIn", stats.bytes_in},
          {"packetsOut", stats.packets_out}, {"bytesOut", stats.bytes_out},
          {"opened", stats.opened},          {"rejected", stats.rejected},
          {"dropped", stats.dropped},        {"failed", stats.failed}};
}

std::string FrontendsText(const ServiceReport& service) {
  std::vector<std::string> texts;
  for (const FrontendReport& frontend : service.frontends) {
    texts.push_back(FormatEndpoint(frontend.address, frontend.port));
  }
  // A NodePort has one frontend for each address of the node: a line shows the first few.
  constexpr std::size_t kShown = 3;
  if (texts.size() > kShown) {
    const std::size_t more = texts.size() - kShown;
    texts.resize(kShown);
    return absl::StrCat(absl::StrJoin(texts, ","), ",+", more);
  }
  return absl::StrJoin(texts, ",");
}

}  // namespace

std::vector<ServiceReport> BuildServiceReports(const PinnedState& state,
                                               const AgentSnapshot* agent) {
  const auto agent_services = ServicesByName(agent);
  const ConnectionCounts connections = CountConnections(state);
  auto frontends = FrontendsByService(state);
  auto rows = RowsByService(state);
  std::vector<ServiceReport> reports;
  for (const auto& [id, name] : state.names) {
    const auto found = agent_services.find(name);
    const AgentService* service = found == agent_services.end() ? nullptr : found->second;
    ServiceReport& report = reports.emplace_back();
    report.name = name;
    report.frontends = std::move(frontends[id]);
    report.type = ServiceType(service, report.frontends);
    report.backends = BackendsOf(state, id, rows[id], service, connections);
    const auto stats = state.service_stats.find(id);
    if (stats != state.service_stats.end()) report.stats = stats->second;
    const auto sockets = state.connection_stats.find({id, 0});
    if (sockets != state.connection_stats.end()) report.sockets = sockets->second;
  }
  std::sort(reports.begin(), reports.end(),
            [](const ServiceReport& a, const ServiceReport& b) { return a.name < b.name; });
  return reports;
}

Json ServiceToJson(const ServiceReport& service) {
  Json frontends = Json::array();
  for (const FrontendReport& frontend : service.frontends) {
    frontends.push_back({{"address", frontend.address.ToString()},
                         {"port", frontend.port},
                         {"kind", frontend.kind}});
  }
  Json backends = Json::array();
  for (const ServiceBackendReport& backend : service.backends) {
    backends.push_back({{"address", backend.address.ToString()},
                        {"port", backend.port},
                        {"node", backend.node},
                        {"state", backend.state},
                        {"connections", backend.connections}});
    if (HasConnections(backend.sockets)) {
      backends.back()["sockets"] = SocketsToJson(backend.sockets);
    }
  }
  Json json = {{"namespace", service.name.name_space},
               {"name", service.name.name},
               {"portName", service.name.port_name},
               {"protocol", ProtocolName(service.name.protocol)},
               {"type", service.type},
               {"frontends", std::move(frontends)},
               {"backends", std::move(backends)},
               {"stats", StatsToJson(service.stats)}};
  if (HasConnections(service.sockets)) json["sockets"] = SocketsToJson(service.sockets);
  return json;
}

Json ServicesToJson(const std::vector<ServiceReport>& services) {
  Json array = Json::array();
  for (const ServiceReport& service : services) array.push_back(ServiceToJson(service));
  return array;
}

std::string ServicesToTable(const std::vector<ServiceReport>& services) {
  TextTable table({{"NAMESPACE"},
                   {"NAME"},
                   {"PORT"},
                   {"PROTOCOL"},
                   {"TYPE"},
                   {"FRONTENDS"},
                   {"READY", Align::kRight},
                   {"CONNECTIONS", Align::kRight},
                   {"OPENED", Align::kRight},
                   {"IN", Align::kRight},
                   {"OUT", Align::kRight},
                   {"REJECTED", Align::kRight},
                   {"DROPPED", Align::kRight}});
  for (const ServiceReport& service : services) {
    std::size_t ready = 0;
    std::uint64_t connections = 0;
    for (const ServiceBackendReport& backend : service.backends) {
      ready += backend.state == kReady ? 1 : 0;
      connections += backend.connections;
    }
    table.AddRow({service.name.name_space, service.name.name, service.name.port_name,
                  ProtocolName(service.name.protocol), service.type, FrontendsText(service),
                  absl::StrCat(ready, "/", service.backends.size()), HumanCount(connections),
                  HumanCount(service.stats.opened), HumanBytes(service.stats.bytes_in),
                  HumanBytes(service.stats.bytes_out), HumanCount(service.stats.rejected),
                  HumanCount(service.stats.dropped)});
  }
  return table.Render();
}

std::string ServiceToDetail(const ServiceReport& service, const std::vector<std::string>& remarks) {
  const abi::service_stats& stats = service.stats;
  std::string text = absl::StrCat("Service ", ServiceLabel(service.name), " ",
                                  ProtocolName(service.name.protocol), ", ", service.type, "\n");
  for (const std::string& remark : remarks) absl::StrAppend(&text, remark, "\n");
  TextTable frontends({{"KIND"}, {"FRONTEND"}});
  for (const FrontendReport& frontend : service.frontends) {
    frontends.AddRow({frontend.kind, FormatEndpoint(frontend.address, frontend.port)});
  }
  TextTable backends({{"BACKEND"},
                      {"NODE"},
                      {"STATE"},
                      {"CONNECTIONS", Align::kRight},
                      {"CONNECT P50 P90 P99", Align::kRight}});
  for (const ServiceBackendReport& backend : service.backends) {
    backends.AddRow({FormatEndpoint(backend.address, backend.port), backend.node, backend.state,
                     HumanCount(backend.connections), ConnectTimesText(backend.sockets)});
  }
  absl::StrAppend(&text, frontends.empty() ? "no frontends\n" : frontends.Render(),
                  backends.empty() ? "no backends\n" : backends.Render());
  absl::StrAppend(&text, "in: ", HumanCount(stats.packets_in), " packets, ",
                  HumanBytes(stats.bytes_in), "; out: ", HumanCount(stats.packets_out),
                  " packets, ", HumanBytes(stats.bytes_out), "\n");
  absl::StrAppend(&text, "opened ", HumanCount(stats.opened), ", rejected ",
                  HumanCount(stats.rejected), ", dropped ", HumanCount(stats.dropped), ", failed ",
                  HumanCount(stats.failed), "\n", SocketsToDetail(service.sockets));
  return text;
}

}  // namespace sluice::report
