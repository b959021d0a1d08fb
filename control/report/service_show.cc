// SPDX-License-Identifier: Apache-2.0
#include "control/report/service_show.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "control/report/service_notes.h"

namespace sluice::report {
namespace {

// The ports that the agent knows and the maps do not have.
void AddMissing(const std::map<ServicePortName, const AgentService*>& agent_services,
                std::vector<ServiceReport>& reports) {
  std::map<ServicePortName, ServiceReport> all;
  for (ServiceReport& report : reports) all.emplace(report.name, std::move(report));
  for (const auto& [name, service] : agent_services) {
    const auto [it, is_new] = all.try_emplace(name);
    if (!is_new) continue;
    it->second.name = name;
    it->second.type = service->type;
    for (const AgentBackend& backend : service->backends) {
      ServiceBackendReport& report = it->second.backends.emplace_back();
      report.address = backend.address;
      report.port = backend.port;
      report.node = backend.node;
      report.state = backend.state;
    }
  }
  reports.clear();
  for (auto& [name, report] : all) reports.push_back(std::move(report));
}

// What the agent says of a Service that has no ports to show. Empty: it does not know it either.
std::vector<ShownService> ShowUnserved(const AgentSnapshot& agent, const ServiceFilter& filter) {
  ShownService shown;
  shown.report.name = {filter.name_space, filter.name, "", 0};
  shown.problems = ServiceProblems(agent, filter.name_space, filter.name, {});
  for (const AgentUnserved& unserved : agent.unserved) {
    if (unserved.name_space == filter.name_space && unserved.name == filter.name) {
      shown.notes.push_back(absl::StrCat("not served: ", unserved.why));
    }
  }
  if (shown.notes.empty() && shown.problems.empty()) return {};
  if (shown.notes.empty())
    shown.notes.emplace_back("not served: nothing that is said of it can be");
  return {std::move(shown)};
}

std::string ProblemText(const AgentProblem& problem) {
  // A file's problems begin with file and line, which say the origin too.
  const bool says_origin = absl::StartsWith(problem.message, problem.origin);
  return absl::StrCat("problem: ", says_origin ? "" : absl::StrCat(problem.origin, ": "),
                      problem.object, ": ", problem.message);
}

}  // namespace

std::vector<ShownService> BuildShownServices(const PinnedState& state, const AgentSnapshot* agent,
                                             std::span<const AgentDrop> samples,
                                             const ServiceFilter& filter) {
  std::vector<ServiceReport> reports = BuildServiceReports(state, agent);
  const auto agent_services = ServicesByName(agent);
  AddMissing(agent_services, reports);
  std::map<ServicePortName, std::uint32_t> ids;
  for (const auto& [id, name] : state.names) ids.emplace(name, id);
  std::vector<ShownService> services;
  for (ServiceReport& report : reports) {
    if (!filter.Matches(report.name)) continue;
    const auto found = agent_services.find(report.name);
    const AgentService* service = found == agent_services.end() ? nullptr : found->second;
    const auto id = ids.find(report.name);
    ShownService& shown = services.emplace_back();
    shown.notes =
        ServiceNotes(state, id == ids.end() ? 0 : id->second, report.name, service, agent, samples);
    if (agent != nullptr) {
      shown.problems =
          ServiceProblems(*agent, report.name.name_space, report.name.name,
                          service == nullptr ? std::vector<std::string>() : service->slices);
    }
    shown.report = std::move(report);
  }
  if (services.empty() && agent != nullptr) return ShowUnserved(*agent, filter);
  return services;
}

Json ShownServicesToJson(const std::vector<ShownService>& services) {
  Json array = Json::array();
  for (const ShownService& shown : services) {
    Json& json = array.emplace_back(ServiceToJson(shown.report));
    if (shown.report.name.protocol == 0) json["protocol"] = "";
    json["notes"] = shown.notes;
    json["problems"] = Json::array();
    for (const AgentProblem& problem : shown.problems) {
      json["problems"].push_back(
          {{"origin", problem.origin}, {"object", problem.object}, {"message", problem.message}});
    }
  }
  return array;
}

std::string ShownServicesToDetail(const std::vector<ShownService>& services) {
  std::string text;
  for (const ShownService& shown : services) {
    std::vector<std::string> remarks;
    for (const std::string& note : shown.notes) remarks.push_back(absl::StrCat("note: ", note));
    for (const AgentProblem& problem : shown.problems) remarks.push_back(ProblemText(problem));
    absl::StrAppend(&text, text.empty() ? "" : "\n");
    if (shown.report.name.protocol != 0) {
      absl::StrAppend(&text, ServiceToDetail(shown.report, remarks));
      continue;
    }
    absl::StrAppend(&text, "Service ", ServiceLabel(shown.report.name), "\n");
    for (const std::string& remark : remarks) absl::StrAppend(&text, remark, "\n");
  }
  return text;
}

}  // namespace sluice::report
