// SPDX-License-Identifier: Apache-2.0
// The keeper: a small process beside the agent that holds its health sockets and, while no agent
// answers on them, gives each check the last answer that it was told. See DESIGN.md for why.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "control/base/event_loop.h"
#include "control/base/unique_fd.h"
#include "control/health/answer_server.h"
#include "control/health/keeper_channel.h"

namespace sluice {

struct HealthKeeperOptions {
  std::string state_dir;  // shared with the agent
  // Ends when the time below is over without an agent; else waits for the next one.
  bool once = false;
  // How long the last answers are given after an agent has gone.
  absl::Duration keep = absl::Seconds(10);
};

// Thread: that of the loop.
class HealthKeeper {
 public:
  HealthKeeper(HealthKeeperOptions options, EventLoop& loop);
  ~HealthKeeper();
  HealthKeeper(const HealthKeeper&) = delete;
  HealthKeeper& operator=(const HealthKeeper&) = delete;

  // Begins to listen for agents. Errors: as ListenForAgents.
  absl::Status Start();

 private:
  struct Held {
    UniqueFd listener;
    KeptAnswers answers;
    std::unique_ptr<AnswerServer> server;  // while this answers
  };

  void OnAgent();
  void OnMessages();
  void OnMessage(ReceivedMessage received);
  absl::Status Introduce();
  void AgentGone();
  void Serve();
  void StopServing();
  void Expire();
  HealthAnswer Answer(const Held& held, const HealthQuestion& question) const;

  const HealthKeeperOptions options_;
  EventLoop& loop_;
  UniqueFd listener_;
  UniqueFd agent_;
  std::map<std::string, Held> held_;
  bool serving_ = false;
  absl::Time serving_since_;
  EventLoop::TimerId expiry_ = 0;
};

// Runs a keeper until a signal or, with `once`, until it is of no use any more. At most one runs in
// a state folder: another waits for the first to end, or with `once` ends at once, which is OK.
absl::Status RunHealthKeeper(const HealthKeeperOptions& options);

// Starts this program anew as a keeper with `once`, in a session of its own. Returns its process
// id, which the caller is to wait for when it ends. Errors: as posix_spawn(3).
absl::StatusOr<int> SpawnHealthKeeper(const std::string& state_dir);

}  // namespace sluice
