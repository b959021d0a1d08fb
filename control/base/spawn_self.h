// SPDX-License-Identifier: Apache-2.0
// This program once more, as a process that shares nothing with the one that starts it.
#pragma once

#include <sys/types.h>

#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice {

struct SpawnOptions {
  // What is open in it as 0, 1 and 2; -1: /dev/null. Nothing else is.
  std::array<int, 3> files = {-1, -1, -1};
  bool own_session = false;  // it outlives a terminal that goes
};

// Starts it with these arguments, no signal blocked or ignored. Returns its id; who calls must wait
// for its end. Errors: as errno says.
absl::StatusOr<pid_t> SpawnSelf(std::vector<std::string> arguments, const SpawnOptions& options);

}  // namespace sluice
