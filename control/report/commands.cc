// SPDX-License-Identifier: Apache-2.0
#include "control/report/commands.h"

#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/report/backend_report.h"
#include "control/report/conntrack_report.h"
#include "control/report/drop_report.h"
#include "control/report/interface_report.h"
#include "control/report/map_reader.h"
#include "control/report/map_report.h"
#include "control/report/service_report.h"
#include "control/report/service_show.h"
#include "control/report/status_report.h"
#include "control/report/trace_reader.h"
#include "control/report/trace_walk.h"

namespace sluice::report {
namespace {

// Says what went wrong. Bad input is the caller's to mend, everything else the node's.
int Fail(const Session& session, const absl::Status& status) {
  session.Note(std::string(status.message()));
  return absl::IsInvalidArgument(status) || absl::IsUnimplemented(status) ? kExitInput
                                                                          : kExitFailed;
}

const AgentSnapshot* Pointer(const std::optional<AgentSnapshot>& agent) {
  return agent.has_value() ? &*agent : nullptr;
}

absl::StatusOr<FlowFilter> ParseFlowFilter(const FlowArguments& arguments) {
  FlowFilter filter;
  if (!arguments.service.empty()) {
    ASSIGN_OR_RETURN(filter.service, ParseServiceFilter(arguments.service));
  }
  if (!arguments.backend.empty()) {
    ASSIGN_OR_RETURN(filter.backend, ParseEndpoint(arguments.backend));
  }
  return filter;
}

// Where the programs are attached, as well as can be known.
absl::StatusOr<std::vector<InterfaceReport>> AttachedInterfaces(
    const Session& session, const std::optional<AgentSnapshot>& agent) {
  if (agent.has_value()) return agent->interfaces;
  return ReadPinnedLinks(session.pins());
}

absl::Status ReadStatusCounts(const Session& session, StatusReport& report) {
  ASSIGN_OR_RETURN(const MapSet maps, session.OpenMaps());
  ASSIGN_OR_RETURN(PinnedState state, ReadPinnedState(maps));
  RETURN_IF_ERROR(ReadFlows(maps.flows(), state));
  ASSIGN_OR_RETURN(const auto meta, maps.meta().Lookup(0));
  report.meta = meta.value_or(abi::meta{});
  CountRows(state, report);
  return absl::OkStatus();
}

absl::Status ListFlows(const Session& session, const FlowFilter& filter, const Clock& clock) {
  ASSIGN_OR_RETURN(const MapSet maps, session.OpenMaps());
  ASSIGN_OR_RETURN(PinnedState state, ReadPinnedState(maps));
  RETURN_IF_ERROR(ReadOpening(maps.opening(), state));
  RETURN_IF_ERROR(ReadFlows(maps.flows(), state));
  // It has nothing to say about flows; but that it does not run matters: nobody sweeps them then.
  session.AskAgent();
  const auto flows = BuildFlowReports(state, filter, clock.MonotonicNs());
  session.Print(FlowsToJson(flows), FlowsToTable(flows));
  return absl::OkStatus();
}

absl::Status FlushMatching(const Session& session, const FlowFilter& filter) {
  ASSIGN_OR_RETURN(const MapSet maps, session.OpenMaps());
  ASSIGN_OR_RETURN(PinnedState state, ReadPinnedState(maps));
  RETURN_IF_ERROR(ReadFlows(maps.flows(), state));
  ASSIGN_OR_RETURN(const FlushResult result, FlushFlows(state, filter, maps.flows()));
  session.Print({{"flows", result.flows}, {"rows", result.rows}},
                absl::StrCat(result.flows, " flows flushed (", result.rows, " rows)\n"));
  return absl::OkStatus();
}

absl::Status PrintMaps(const Session& session) {
  ASSIGN_OR_RETURN(const MapSet maps, session.OpenMaps());
  ASSIGN_OR_RETURN(const auto reports, ReadMapReports(session.pins(), maps));
  const bool agent_runs = session.AskAgent().has_value();
  session.Print(MapsToJson(reports, agent_runs), MapsToTable(reports));
  return absl::OkStatus();
}

// The walk of the first answer, then how often each came.
absl::StatusOr<std::string> TraceText(const MapSet& maps, const TraceRequest& request,
                                      const TraceInterface& interface,
                                      const std::vector<TraceAnswer>& answers,
                                      const AgentSnapshot* agent, std::uint64_t now_ns) {
  ASSIGN_OR_RETURN(TraceFacts facts,
                   ReadTraceFacts(maps, request.hook, answers.front(), agent, now_ns));
  facts.interface = interface.name;
  std::string text = TraceWalk(facts);
  if (answers.size() > 1) absl::StrAppend(&text, "\n", TraceCounts(answers));
  return text;
}

absl::Status Trace(const Session& session, const TraceArguments& arguments, const Clock& clock,
                   const std::function<std::uint16_t()>& random_port) {
  ASSIGN_OR_RETURN(const TraceRequest request, ParseTraceArguments(arguments));
  ASSIGN_OR_RETURN(const MapSet maps, session.OpenMaps());
  std::optional<AgentSnapshot> agent;
  if (arguments.interface.empty() || session.prints_text()) agent = session.AskAgent();
  std::vector<InterfaceReport> attached;
  if (arguments.interface.empty()) {
    ASSIGN_OR_RETURN(attached, AttachedInterfaces(session, agent));
    std::erase_if(attached, [](const InterfaceReport& report) { return !report.error.empty(); });
  }
  ASSIGN_OR_RETURN(const TraceInterface interface,
                   ChooseTraceInterface(arguments.interface, request.hook, attached));
  if (interface.name.empty()) {
    session.Note("no interface is known to be attached; traced as if from the loopback interface");
  }
  ASSIGN_OR_RETURN(const auto answers,
                   RunTrace(session.pins(), request, interface, maps.service_names(), random_port));
  std::string text;
  if (session.prints_text()) {
    ASSIGN_OR_RETURN(
        text, TraceText(maps, request, interface, answers, Pointer(agent), clock.MonotonicNs()));
  }
  session.Print(TraceToJson(answers), text);
  return absl::OkStatus();
}

}  // namespace

int RunStatus(const Session& session, const Clock& clock) {
  StatusReport report;
  report.pins = session.pins();
  absl::StatusOr<AgentSnapshot> agent = session.agent().Snapshot();
  if (agent.ok()) {
    report.agent = *std::move(agent);
  } else {
    session.Note(std::string(agent.status().message()));
  }
  if (const absl::Status status = ReadStatusCounts(session, report); !status.ok()) {
    report.maps_error = std::string(status.message());
  }
  session.Print(StatusToJson(report, clock.Now()), StatusToTable(report, clock.Now()));
  return static_cast<int>(HealthOf(report));
}

int RunProbe(const Session& session, bool ready) {
  const absl::Status status = session.agent().Probe(ready);
  return status.ok() ? kExitOk : Fail(session, status);
}

int RunSync(const Session& session, absl::Duration timeout) {
  const absl::Status status = session.agent().Sync(timeout);
  if (status.ok()) return kExitOk;
  const int code = Fail(session, status);
  return absl::IsDeadlineExceeded(status) ? kExitNo : code;
}

int RunServiceList(const Session& session) {
  const absl::StatusOr<PinnedState> state = session.ReadMaps(/*with_flows=*/true);
  if (!state.ok()) return Fail(session, state.status());
  const auto agent = session.AskAgent();
  const auto services = BuildServiceReports(*state, Pointer(agent));
  session.Print(ServicesToJson(services), ServicesToTable(services));
  return kExitOk;
}

int RunServiceShow(const Session& session, const std::string& service) {
  const absl::StatusOr<ServiceFilter> filter = ParseServiceFilter(service);
  if (!filter.ok()) return Fail(session, filter.status());
  const absl::StatusOr<PinnedState> state = session.ReadMaps(/*with_flows=*/true);
  if (!state.ok()) return Fail(session, state.status());
  const auto agent = session.AskAgent();
  std::vector<AgentDrop> samples;
  if (agent.has_value()) {
    auto drops = session.agent().Drops();
    if (drops.ok()) samples = *std::move(drops);  // else the counters alone have to do
  }
  const auto services = BuildShownServices(*state, Pointer(agent), samples, *filter);
  if (services.empty()) {
    session.Note(absl::StrCat("no service \"", service, "\" in the maps",
                              agent.has_value() ? ", and the agent knows none" : ""));
    return kExitNo;
  }
  session.Print(ShownServicesToJson(services), ShownServicesToDetail(services));
  return kExitOk;
}

int RunBackendList(const Session& session) {
  const absl::StatusOr<PinnedState> state = session.ReadMaps(/*with_flows=*/true);
  if (!state.ok()) return Fail(session, state.status());
  const auto agent = session.AskAgent();
  const auto backends = BuildBackendReports(*state, Pointer(agent));
  session.Print(BackendsToJson(backends), BackendsToTable(backends));
  return kExitOk;
}

int RunConntrackList(const Session& session, const FlowArguments& arguments, const Clock& clock) {
  const absl::StatusOr<FlowFilter> filter = ParseFlowFilter(arguments);
  if (!filter.ok()) return Fail(session, filter.status());
  const absl::Status status = ListFlows(session, *filter, clock);
  return status.ok() ? kExitOk : Fail(session, status);
}

int RunConntrackFlush(const Session& session, const FlowArguments& arguments) {
  const absl::StatusOr<FlowFilter> filter = ParseFlowFilter(arguments);
  if (!filter.ok()) return Fail(session, filter.status());
  const absl::Status status = FlushMatching(session, *filter);
  return status.ok() ? kExitOk : Fail(session, status);
}

int RunDrops(const Session& session) {
  const absl::StatusOr<PinnedState> state = session.ReadMaps(/*with_flows=*/false);
  if (!state.ok()) return Fail(session, state.status());
  const auto drops = BuildDropReports(*state);
  const auto samples = session.agent().Drops();
  if (!samples.ok()) {
    session.Note(absl::StrCat(std::string(samples.status().message()),
                              "; totals are from the pinned maps, there are no samples"));
  }
  const std::vector<AgentDrop>* recent = samples.ok() ? &*samples : nullptr;
  session.Print(DropsToJson(drops, recent), DropsToTable(drops, recent));
  return kExitOk;
}

int RunMaps(const Session& session) {
  const absl::Status status = PrintMaps(session);
  return status.ok() ? kExitOk : Fail(session, status);
}

int RunInterfaces(const Session& session) {
  const auto agent = session.AskAgent();
  // Without maps no program can be attached either: say so rather than list nothing.
  if (!agent.has_value()) {
    if (const auto maps = session.OpenMaps(); !maps.ok()) return Fail(session, maps.status());
  }
  const auto interfaces = AttachedInterfaces(session, agent);
  if (!interfaces.ok()) return Fail(session, interfaces.status());
  session.Print(InterfacesToJson(*interfaces, agent.has_value()), InterfacesToTable(*interfaces));
  return kExitOk;
}

int RunTraceCommand(const Session& session, const TraceArguments& arguments, const Clock& clock,
                    const std::function<std::uint16_t()>& random_port) {
  const absl::Status status = Trace(session, arguments, clock, random_port);
  return status.ok() ? kExitOk : Fail(session, status);
}

}  // namespace sluice::report
