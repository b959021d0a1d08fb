// SPDX-License-Identifier: Apache-2.0
#include "control/report/status_report.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/base/names.h"
#include "control/report/output.h"

namespace sluice::report {
namespace {

// Of the running agent; 0 when none runs.
std::uint64_t UpSeconds(const StatusReport& report, absl::Time now) {
  absl::Time started;
  std::string error;
  if (!report.agent.has_value() ||
      !absl::ParseTime(absl::RFC3339_full, report.agent->started_at, &started, &error)) {
    return 0;
  }
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, absl::ToInt64Seconds(now - started)));
}

const char* HealthName(Health health) {
  switch (health) {
    case Health::kHealthy:
      return "healthy";
    case Health::kDegraded:
      return "degraded";
    case Health::kNotRunning:
      return "not running";
  }
  return "";
}

std::vector<std::string> FeatureTexts(const Json& features) {
  std::vector<std::string> texts;
  for (const auto& [name, value] : features.items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    texts.push_back(absl::StrCat(name, "=", value == true ? "yes" : value == false ? "no" : text));
  }
  return texts;
}

Json CountsToJson(const StatusReport& report) {
  return {{"services", report.services},
          {"frontends", report.frontends},
          {"backends", report.backends},
          {"flows", report.flows}};
}

Json AgentPartToJson(const AgentSnapshot& agent) {
  Json problems = Json::array();
  for (const AgentProblem& problem : agent.problems) {
    problems.push_back(
        {{"origin", problem.origin}, {"object", problem.object}, {"message", problem.message}});
  }
  Json listeners = Json::array();
  for (const ShadowedListener& listener : agent.listeners_shadowed) {
    listeners.push_back({{"port", listener.port},
                         {"protocol", listener.protocol},
                         {"service", listener.service},
                         {"process", listener.process}});
  }
  return {{"nodeName", agent.node_name},
          {"nodeAddresses", agent.node_addresses},
          {"synced", agent.synced},
          {"sourceGeneration", agent.source_generation},
          {"appliedGeneration", agent.applied_generation},
          {"source", agent.source},
          {"degraded", agent.degraded},
          {"problems", std::move(problems)},
          {"conflicts", agent.conflicts},
          {"listenersShadowed", std::move(listeners)},
          {"features", agent.features},
          {"timeouts", agent.timeouts}};
}

std::string Line(const char* title, const std::string& text) {
  constexpr std::size_t kTitleWidth = 12;
  const std::string blanks(kTitleWidth - std::min(kTitleWidth, std::string(title).size()), ' ');
  return absl::StrCat(title, blanks, text, "\n");
}

std::string AgentLine(const StatusReport& report, absl::Time now) {
  if (report.agent.has_value()) {
    return absl::StrCat("running, pid ", report.meta.agent_pid, ", since ",
                        report.agent->started_at, " (", HumanSeconds(UpSeconds(report, now)), ")");
  }
  if (report.meta.agent_pid == 0) return "not running";
  const absl::Time started =
      absl::FromUnixSeconds(static_cast<std::int64_t>(report.meta.started_unix));
  return absl::StrCat("not running; the last one had pid ", report.meta.agent_pid,
                      " and was started at ",
                      absl::FormatTime(absl::RFC3339_sec, started, absl::UTCTimeZone()));
}

// Whom the agent follows, and since when it cannot; empty for an agent that follows files.
std::string SourceLine(const Json& source) {
  if (!source.is_object()) return "";
  const Json server = source.value("server", Json());
  const Json away = source.value("awaySince", Json());
  return Line("source", absl::StrCat("Kubernetes API ",
                                     server.is_string() ? server.get<std::string>() : "unknown",
                                     away.is_string() ? ", not followed since " : ", followed",
                                     away.is_string() ? away.get<std::string>() : ""));
}

// One heading and one indented line an element; nothing when there is none.
std::string Section(const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) return "";
  return absl::StrCat(title, ":\n  ", absl::StrJoin(lines, "\n  "), "\n");
}

std::string ProblemText(const AgentProblem& problem) {
  std::vector<std::string> parts;
  // The message names file and line where it knows them; the origin then adds nothing.
  const bool named = problem.message.find(problem.origin) != std::string::npos;
  if (!problem.origin.empty() && !named) parts.push_back(problem.origin);
  if (!problem.object.empty() && problem.object != problem.origin) parts.push_back(problem.object);
  parts.push_back(problem.message);
  return absl::StrJoin(parts, ": ");
}

std::string AgentSections(const AgentSnapshot& agent) {
  std::vector<std::string> problems;
  for (const AgentProblem& problem : agent.problems) problems.push_back(ProblemText(problem));
  std::vector<std::string> listeners;
  for (const ShadowedListener& listener : agent.listeners_shadowed) {
    listeners.push_back(
        absl::StrCat(listener.protocol, " port ", listener.port, " of ",
                     listener.process.empty() ? "a process of the host" : listener.process,
                     " is taken by Service ", listener.service));
  }
  return absl::StrCat(Section("degraded", agent.degraded), Section("problems", problems),
                      Section("conflicts", agent.conflicts),
                      Section("listeners shadowed", listeners));
}

}  // namespace

void CountRows(const PinnedState& state, StatusReport& report) {
  report.services = state.names.size();
  report.frontends = static_cast<std::uint64_t>(
      std::count_if(state.frontends.begin(), state.frontends.end(),
                    [](const auto& row) { return IsReachedByClients(row.second.kind); }));
  report.backends = static_cast<std::uint64_t>(std::count_if(
      state.backends.begin(), state.backends.end(),
      [](const auto& row) { return (row.second.flags & abi::SL_BACKEND_PRESENT) != 0; }));
  report.flows = static_cast<std::uint64_t>(
      std::count_if(state.flows.begin(), state.flows.end(), [](const FlowRow& row) {
        return (row.second.flags & abi::SL_FLOW_FORWARD) != 0 && IsOpen(row.second);
      }));
}

Health HealthOf(const StatusReport& report) {
  if (!report.agent.has_value()) return Health::kNotRunning;
  const bool healthy =
      report.agent->synced && report.agent->degraded.empty() && report.maps_error.empty();
  return healthy ? Health::kHealthy : Health::kDegraded;
}

Json StatusToJson(const StatusReport& report, absl::Time now) {
  Json json = {{"agent", report.agent.has_value() ? "running" : "not running"},
               {"health", HealthName(HealthOf(report))}};
  if (report.agent.has_value()) {
    json["pid"] = report.meta.agent_pid;
    json["startedAt"] = report.agent->started_at;
    json["upSeconds"] = UpSeconds(report, now);
    json.update(AgentPartToJson(*report.agent));
  }
  json["pins"] = report.pins;
  json["mapsError"] = report.maps_error;
  json["counts"] = CountsToJson(report);
  return json;
}

std::string StatusToTable(const StatusReport& report, absl::Time now) {
  std::string text = Line("health", HealthName(HealthOf(report)));
  absl::StrAppend(&text, Line("agent", AgentLine(report, now)));
  if (report.agent.has_value()) {
    const AgentSnapshot& agent = *report.agent;
    absl::StrAppend(
        &text,
        Line("node", absl::StrCat(agent.node_name, " ", absl::StrJoin(agent.node_addresses, " "))),
        Line("synced", absl::StrCat(agent.synced ? "yes" : "no", ", applied ",
                                    agent.applied_generation, " of ", agent.source_generation)),
        SourceLine(agent.source),
        Line("features", absl::StrJoin(FeatureTexts(agent.features), " ")));
  }
  absl::StrAppend(&text, Line("pins", report.pins));
  if (report.maps_error.empty()) {
    absl::StrAppend(
        &text,
        Line("services", absl::StrCat(report.services, " with ", report.frontends, " frontends")),
        Line("backends", absl::StrCat(report.backends)), Line("flows", absl::StrCat(report.flows)));
  } else {
    absl::StrAppend(&text, Line("maps", report.maps_error));
  }
  if (report.agent.has_value()) absl::StrAppend(&text, AgentSections(*report.agent));
  return text;
}

}  // namespace sluice::report
