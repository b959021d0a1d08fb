// SPDX-License-Identifier: Apache-2.0
// The command line of sluiced. Names are a contract, kube-proxy's where it has one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "control/agent/agent_options.h"

namespace sluice {

struct SluicedFlags {
  AgentOptions options;
  bool cleanup = false;
  bool cleanup_kube_proxy = false;
  bool drain = false;
  bool verbose = false;
  // --keep-health: "forever" or "once"; empty: this is not the keeper. See
  // control/health/DESIGN.md.
  std::string keep_health;
  std::string config_file;            // --config; empty: none
  std::string config_text;            // what it held
  std::vector<std::string> warnings;  // to be logged first
  std::optional<int> oom_score_adj;
  int exit_code = -1;  // 0 or above: the program is to end with it (--help, a flag that is unknown)
};

// Reads the flags, the file that --config names, and the environment (NODE_NAME,
// KUBERNETES_SERVICE_HOST). What CLI11 says of flags goes to standard output or error; a file asked
// for with --write-config-to is written. Errors: INVALID_ARGUMENT naming the flag or the line of
// the file and what is wrong with its value; those of reading and writing the files.
absl::StatusOr<SluicedFlags> ParseFlags(int argc, const char* const* argv);

}  // namespace sluice
