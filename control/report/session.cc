// SPDX-License-Identifier: Apache-2.0
#include "control/report/session.h"

#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/datapath/loader.h"
#include "control/datapath/socket_programs.h"
#include "control/report/map_reader.h"

namespace sluice::report {
namespace {

constexpr char kDefaultBpffs[] = "/sys/fs/bpf/sluice";

absl::Status WithAdvice(const absl::Status& status, const std::string& pins) {
  switch (status.code()) {
    case absl::StatusCode::kPermissionDenied:
      return Annotate(status, "reading the maps needs root, or CAP_BPF and access to bpffs");
    case absl::StatusCode::kNotFound:
      return Annotate(status, absl::StrCat("no maps in ", pins,
                                           "; has sluiced run on this node? Name its folders with "
                                           "--state-dir or --bpffs"));
    default:
      return status;
  }
}

}  // namespace

std::string ResolveBpffs(const std::string& bpffs, const std::string& state_dir) {
  if (!bpffs.empty()) return bpffs;
  std::ifstream file(absl::StrCat(state_dir, "/bpffs"));
  std::string line;
  if (std::getline(file, line)) {
    absl::StripAsciiWhitespace(&line);
    if (!line.empty()) return line;
  }
  return kDefaultBpffs;
}

Session::Session(const SessionOptions& options, std::ostream& out, std::ostream& err)
    : agent_(options.state_dir),
      pins_(PinFolder(ResolveBpffs(options.bpffs, options.state_dir))),
      format_(options.format),
      out_(out),
      err_(err) {}

absl::StatusOr<MapSet> Session::OpenMaps() const {
  absl::StatusOr<MapSet> maps = MapSet::OpenPinned(pins_);
  if (!maps.ok()) return WithAdvice(maps.status(), pins_);
  return maps;
}

absl::StatusOr<PinnedState> Session::ReadMaps(bool with_flows) const {
  ASSIGN_OR_RETURN(const MapSet maps, OpenMaps());
  if (const auto walked = WalkSockets(pins_); !walked.ok()) {
    Note(absl::StrCat("what open connections have carried since the agent last looked is missing: ",
                      walked.status().message()));
  }
  ASSIGN_OR_RETURN(PinnedState state, ReadPinnedState(maps));
  if (with_flows) RETURN_IF_ERROR(ReadFlows(maps.flows(), state));
  return state;
}

std::optional<AgentSnapshot> Session::AskAgent() const {
  absl::StatusOr<AgentSnapshot> snapshot = agent_.Snapshot();
  if (snapshot.ok()) return std::move(snapshot).value();
  const std::string error(snapshot.status().message());
  if (absl::IsUnavailable(snapshot.status())) {
    Note(absl::StrCat(error, "; this is what the pinned maps say"));
  } else {
    Note(absl::StrCat("cannot ask the agent: ", error, "; this is what the pinned maps say"));
  }
  return std::nullopt;
}

void Session::Print(const Json& json, const std::string& table) const {
  switch (format_) {
    case OutputFormat::kTable:
      out_ << table;
      return;
    case OutputFormat::kJson:
      out_ << RenderJson(json);
      return;
    case OutputFormat::kYaml:
      out_ << RenderYaml(json);
      return;
  }
}

void Session::Note(const std::string& text) const { err_ << "sluicectl: " << text << "\n"; }

}  // namespace sluice::report
