// SPDX-License-Identifier: Apache-2.0
#include "control/report/backend_report.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_join.h"

#include "control/base/names.h"
#include "control/report/endpoint_text.h"
#include "control/report/output.h"

namespace sluice::report {
namespace {

using Align = TextTable::Align;

// Smaller is better; an unknown word is worst.
std::size_t StateRank(std::string_view state) {
  constexpr std::array<std::string_view, 3> kBestFirst = {"ready", "terminating", "notReady"};
  return static_cast<std::size_t>(std::find(kBestFirst.begin(), kBestFirst.end(), state) -
                                  kBestFirst.begin());
}

struct AgentOpinion {
  std::string node;
  std::string state;
  std::set<std::string> services;
};

std::map<BackendAddress, AgentOpinion> OpinionsOf(const AgentSnapshot* agent) {
  std::map<BackendAddress, AgentOpinion> opinions;
  for (const auto& [name, service] : ServicesByName(agent)) {
    for (const AgentBackend& backend : service->backends) {
      AgentOpinion& opinion = opinions[{backend.address, backend.port, name.protocol}];
      opinion.services.insert(ServiceLabel(name));
      if (!backend.node.empty()) opinion.node = backend.node;
      if (opinion.state.empty() || StateRank(backend.state) < StateRank(opinion.state)) {
        opinion.state = backend.state;
      }
    }
  }
  return opinions;
}

}  // namespace

std::vector<BackendReport> BuildBackendReports(const PinnedState& state,
                                               const AgentSnapshot* agent) {
  const auto opinions = OpinionsOf(agent);
  std::map<std::uint32_t, std::uint64_t> connections;
  for (const auto& [ids, count] : CountConnections(state)) connections[ids.second] += count;
  // A row is one service's: those of one endpoint make one report.
  std::map<BackendAddress, BackendReport> by_address;
  std::map<BackendAddress, std::set<std::string>> labels;
  for (const auto& [id, row] : state.backends) {
    if ((row.flags & abi::SL_BACKEND_PRESENT) == 0) continue;
    const BackendAddress address = {IpAddress::FromAbi(row.address), PortOf(row.port),
                                    row.protocol};
    BackendReport& report = by_address[address];
    report.address = address;
    report.local |= (row.flags & abi::SL_BACKEND_LOCAL) != 0;
    if (row.flags & abi::SL_BACKEND_USABLE) report.state = "ready";
    report.connections += connections[id];
    if (!(row.flags & abi::SL_BACKEND_ORPHAN)) {
      labels[address].insert(ServiceLabelOf(state, row.service_id));
    }
    if (const auto stats = state.backend_stats.find(id); stats != state.backend_stats.end()) {
      report.opened += stats->second.opened;
      report.failed += stats->second.failed;
    }
  }
  std::vector<BackendReport> reports;
  for (auto& [address, report] : by_address) {
    if (report.state.empty()) report.state = "notReady";
    std::set<std::string>& services = labels[address];
    if (const auto said = opinions.find(address); said != opinions.end()) {
      report.node = said->second.node;
      if (!said->second.state.empty()) report.state = said->second.state;
      services.insert(said->second.services.begin(), said->second.services.end());
    }
    report.services.assign(services.begin(), services.end());
    reports.push_back(std::move(report));
  }
  return reports;
}

Json BackendsToJson(const std::vector<BackendReport>& backends) {
  Json array = Json::array();
  for (const BackendReport& backend : backends) {
    array.push_back({{"address", backend.address.address.ToString()},
                     {"port", backend.address.port},
                     {"protocol", ProtocolName(backend.address.protocol)},
                     {"node", backend.node},
                     {"local", backend.local},
                     {"state", backend.state},
                     {"services", backend.services},
                     {"connections", backend.connections},
                     {"opened", backend.opened},
                     {"failed", backend.failed}});
  }
  return array;
}

std::string BackendsToTable(const std::vector<BackendReport>& backends) {
  TextTable table({{"BACKEND"},
                   {"PROTOCOL"},
                   {"NODE"},
                   {"LOCAL"},
                   {"STATE"},
                   {"CONNECTIONS", Align::kRight},
                   {"OPENED", Align::kRight},
                   {"FAILED", Align::kRight},
                   {"SERVICES"}});
  for (const BackendReport& backend : backends) {
    table.AddRow({FormatEndpoint(backend.address.address, backend.address.port),
                  ProtocolName(backend.address.protocol), backend.node,
                  backend.local ? "yes" : "no", backend.state, HumanCount(backend.connections),
                  HumanCount(backend.opened), HumanCount(backend.failed),
                  absl::StrJoin(backend.services, ",")});
  }
  return table.Render();
}

}  // namespace sluice::report
