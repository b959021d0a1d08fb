// SPDX-License-Identifier: Apache-2.0
// What the agent and the keeper of its health sockets say to each other: one message of JSON a
// packet over a unix socket, with a descriptor where a socket changes hands.
//
//   agent -> keeper   {"hold": <key>, "answers": {...}} [socket, the first time]
//                     {"drop": <key>}   no longer open
//                     {"take": true}    the agent answers from here on
//   keeper -> agent   {"held": <key>} with the socket, for each; then
//                     {"end": true, "serving": <whether the keeper answers just now>}
//                     {"over": true}    the keeper has stopped to answer: its time is up
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/base/unique_fd.h"
#include "control/health/answer.h"

namespace sluice {

// Answers by what is asked: KeptKey().
using KeptAnswers = std::map<std::string, HealthAnswer>;
inline constexpr char kAnyPath[] = "*";
std::string KeptKey(std::string_view path, bool v4);

struct KeeperMessage {
  std::string hold, drop, held;  // keys; empty: not said
  KeptAnswers answers;           // with hold
  bool take = false;
  bool end = false;
  bool serving = false;
  bool over = false;
};

// Where the keeper listens for agents.
std::string KeeperSocketPath(const std::string& state_dir);
// Errors: as connect(2): any of them means that no keeper is there.
absl::StatusOr<UniqueFd> ConnectToKeeper(const std::string& state_dir);
// Errors: INVALID_ARGUMENT for a folder whose path is too long; as bind(2).
absl::StatusOr<UniqueFd> ListenForAgents(const std::string& state_dir);

// `fd` < 0: no descriptor. Waits for at most `patience` when the other end does not read. Errors:
// UNAVAILABLE when it still does not.
absl::Status SendMessage(int channel, const KeeperMessage& message, int fd,
                         absl::Duration patience = absl::ZeroDuration());

struct ReceivedMessage {
  KeeperMessage message;
  UniqueFd fd;
};
// Nothing: none is there now. Errors: OUT_OF_RANGE when the other end is gone; DATA_LOSS for what
// is no message.
absl::StatusOr<std::optional<ReceivedMessage>> ReceiveMessage(int channel);

}  // namespace sluice
