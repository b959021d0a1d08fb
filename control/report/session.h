// SPDX-License-Identifier: Apache-2.0
// What every command of sluicectl stands on: which folders are meant, the maps, the agent if one
// runs, and where output goes.
#pragma once

#include <optional>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/report/agent_client.h"
#include "control/report/agent_snapshot.h"
#include "control/report/json.h"
#include "control/report/output.h"
#include "control/report/pinned_state.h"
#include "maps/map_set.h"

namespace sluice::report {

struct SessionOptions {
  std::string state_dir;  // the agent's
  std::string bpffs;      // the agent's folder of pins; empty: what the state folder says
  OutputFormat format = OutputFormat::kTable;
};

// The agent's bpffs folder: `bpffs` if given, else the line that the agent has left in
// `<state_dir>/bpffs`, else /sys/fs/bpf/sluice.
std::string ResolveBpffs(const std::string& bpffs, const std::string& state_dir);

// Thread-compatible. The streams must outlive it.
class Session {
 public:
  Session(const SessionOptions& options, std::ostream& out, std::ostream& err);

  const AgentClient& agent() const { return agent_; }
  // "<bpffs>/v<abi>": the folder of the maps, with progs/ and links/ below.
  const std::string& pins() const { return pins_; }

  // Errors: as MapSet::OpenPinned, with what to do about them.
  absl::StatusOr<MapSet> OpenMaps() const;
  // Services, backends and counters; with the flows if asked. Errors: as OpenMaps.
  absl::StatusOr<PinnedState> ReadMaps(bool with_flows) const;

  // The agent's snapshot. Nullopt when none runs or it cannot be asked, which `err` is then told.
  std::optional<AgentSnapshot> AskAgent() const;

  bool prints_text() const { return format_ == OutputFormat::kTable; }
  // Writes the one of the two that the output format asks for.
  void Print(const Json& json, const std::string& table) const;
  // A line to `err`.
  void Note(const std::string& text) const;

 private:
  AgentClient agent_;
  std::string pins_;
  OutputFormat format_;
  std::ostream& out_;
  std::ostream& err_;
};

}  // namespace sluice::report
