// SPDX-License-Identifier: Apache-2.0
// `sluicectl status`: is the agent up, is what it knows in the maps, what is wrong.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"

#include "control/report/agent_snapshot.h"
#include "control/report/json.h"
#include "control/report/pinned_state.h"
#include "maps/config.h"

namespace sluice::report {

// The numbers are sluicectl's exit codes.
enum class Health { kHealthy = 0, kDegraded = 1, kNotRunning = 2 };

struct StatusReport {
  std::optional<AgentSnapshot> agent;  // nullopt: none runs
  std::string pins;                    // ".../v1"
  // Of the last agent that held the pins; all-zero: none ever did, or they cannot be read.
  abi::meta meta{};
  std::string maps_error;  // empty: the maps are readable
  std::uint64_t services = 0;
  std::uint64_t frontends = 0;
  std::uint64_t backends = 0;
  std::uint64_t flows = 0;  // established
};

// Counts what `state` holds; the other fields are the caller's.
void CountRows(const PinnedState& state, StatusReport& report);

// Healthy: an agent runs, has synced, the maps are readable and it gives no reason to be degraded.
Health HealthOf(const StatusReport& report);

// {agent, health, pid, startedAt, upSeconds, nodeName, nodeAddresses, synced, sourceGeneration,
// appliedGeneration, degraded, problems, conflicts, listenersShadowed, features, timeouts, pins,
// counts}. `now` gives upSeconds.
Json StatusToJson(const StatusReport& report, absl::Time now);
std::string StatusToTable(const StatusReport& report, absl::Time now);

}  // namespace sluice::report
