// SPDX-License-Identifier: Apache-2.0
// Is a kube-proxy at work in this network namespace? One that is would put its rules back at once.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace sluice {

// Looks for a process named kube-proxy (or hyperkube, run as one) under `proc` that is in this
// network namespace. One whose namespace may not be read counts as being in it. Processes of a PID
// namespace above are not seen: in a pod that takes hostPID.
// Errors: FAILED_PRECONDITION names the process; others by errno if `proc` cannot be read.
absl::Status CheckNoKubeProxyProcess(const std::string& proc);

// Asks who serves `port` of this host for /proxyMode, as kube-proxy's metrics server does (10249):
// finds also those that no process name shows, as in k3s or from within a pod.
// Errors: FAILED_PRECONDITION if the answer is a mode of kube-proxy's. Blocks for 2 s at most.
absl::Status CheckNoKubeProxyAnswers(std::uint16_t port);

}  // namespace sluice
