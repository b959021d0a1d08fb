// SPDX-License-Identifier: Apache-2.0
// errno values as absl::Status. Callers decide by the code (retry on UNAVAILABLE), never by text.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace sluice {

// `what` names the operation and its object: "open /sys/fs/bpf/sluice". `err` is positive, as in
// errno; negative values as libbpf and netlink return them are accepted too.
absl::Status ErrnoStatus(int err, std::string_view what);

// The same for bpf(2) on maps, where a full map answers E2BIG: RESOURCE_EXHAUSTED, and not the
// INVALID_ARGUMENT of absl::ErrnoToStatus.
absl::Status MapErrnoStatus(int err, std::string_view what);

}  // namespace sluice
