// SPDX-License-Identifier: Apache-2.0
// Sockets that wait for health checks.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"

namespace sluice {

// A TCP socket that listens, without blocking. `host` is an address; "0.0.0.0" and "::" take
// clients of both families, as kube-proxy's do. Errors: INVALID_ARGUMENT for what is no address,
// ALREADY_EXISTS for a port in use, else as errno says.
absl::StatusOr<UniqueFd> ListenSocket(const std::string& host, std::uint16_t port);

}  // namespace sluice
