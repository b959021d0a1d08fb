// SPDX-License-Identifier: Apache-2.0
// The command line of sluiced. Names are a contract, kube-proxy's where it has one.
#pragma once

#include "absl/status/statusor.h"

#include "control/agent/agent_options.h"

namespace sluice {

struct SluicedFlags {
  AgentOptions options;
  bool cleanup = false;
  bool cleanup_kube_proxy = false;
  bool verbose = false;
  int exit_code = -1;  // 0 or above: the program is to end with it (--help, a flag that is unknown)
};

// Reads the flags; what CLI11 says of them goes to standard output or error. Errors:
// INVALID_ARGUMENT naming the flag and what is wrong with its value.
absl::StatusOr<SluicedFlags> ParseFlags(int argc, const char* const* argv);

}  // namespace sluice
