// SPDX-License-Identifier: Apache-2.0
// What kube-proxy's configuration means for sluice.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "control/agent/agent_options.h"
#include "control/config/kube_proxy_config.h"

namespace sluice {

// The content type of the two that the API is asked for, without its parameters; empty: of neither.
std::string KnownContentType(const std::string& text);

// Changes those options that `config` says something of. `options.kube` is touched only where it is
// set: whether the API is followed is for the caller to say. A content type that is not known is
// protobuf. Errors: INVALID_ARGUMENT naming the field and its flag.
absl::Status ApplyConfig(const KubeProxyConfig& config, AgentOptions& options);

}  // namespace sluice
