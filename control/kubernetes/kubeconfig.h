// SPDX-License-Identifier: Apache-2.0
// Reads kubeconfig files, as kubectl and kube-proxy use them.
#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "control/kubernetes/api_config.h"

namespace sluice {

// What `context` of the kubeconfig `path` says; an empty one is its current-context. File names in
// it are relative to its folder. Errors: those of LoadApiConfig.
absl::StatusOr<ApiConfig> ReadKubeconfig(const std::string& path, const std::string& context);

}  // namespace sluice
