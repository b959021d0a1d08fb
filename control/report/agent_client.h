// SPDX-License-Identifier: Apache-2.0
// Asks the running agent, over HTTP on the unix socket `<state-dir>/sluiced.sock`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/report/agent_snapshot.h"

namespace sluice::report {

// Thread-compatible. Every call blocks until the agent answers or the time limit is over.
class AgentClient {
 public:
  explicit AgentClient(std::string state_dir);

  // Errors of all calls: UNAVAILABLE when nobody listens on the socket (no agent runs),
  // PERMISSION_DENIED when this user may not ask, INVALID_ARGUMENT when the answer makes no sense
  // or the socket's path is longer than the kernel takes, INTERNAL for another HTTP status.
  absl::StatusOr<AgentSnapshot> Snapshot() const;
  absl::StatusOr<std::vector<AgentDrop>> Drops() const;

  // OK when the agent is alive, and with `ready` also once in sync. Errors: INTERNAL with its words
  // when it is not.
  absl::Status Probe(bool ready) const;

  // Returns when all that the source says now is in the maps. Keeps trying while no agent listens
  // yet. Errors: DEADLINE_EXCEEDED after `timeout`, saying what it was waiting for; else as above,
  // without UNAVAILABLE.
  absl::Status Sync(absl::Duration timeout) const;

  const std::string& socket_path() const { return socket_path_; }

 private:
  absl::Status CheckSocket() const;
  absl::StatusOr<std::string> Get(const std::string& path) const;
  absl::Status SyncOnce(absl::Duration timeout) const;

  std::string socket_path_;
};

}  // namespace sluice::report
