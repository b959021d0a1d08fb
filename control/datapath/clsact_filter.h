// SPDX-License-Identifier: Apache-2.0
// A TC program as a filter of the clsact qdisc: for kernels without tcx.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/datapath/hooks.h"

namespace sluice {

// Fixed, so that ours is found again after a restart. Priority 1 runs first, for the reason that
// tcx links go first; the handle ("sl") tells ours from others' of the same priority.
inline constexpr std::uint32_t kClsactPriority = 1;
inline constexpr std::uint32_t kClsactHandle = 0x736c;

// Adds the clsact qdisc where there is none. Returns whether it did.
// Errors: NOT_FOUND when the interface is gone.
absl::StatusOr<bool> EnsureClsact(int ifindex);

// Adds the filter, or replaces its program in one step. Errors: NOT_FOUND when the interface is
// gone, FAILED_PRECONDITION when priority 1 belongs to another kind of filter.
absl::Status AttachClsact(int ifindex, TcDirection direction, int program_fd);

// The id of the program that our filter runs; NOT_FOUND without one.
absl::StatusOr<std::uint32_t> QueryClsact(int ifindex, TcDirection direction);

// Removes our filter, if there is one.
absl::Status DetachClsact(int ifindex, TcDirection direction);

// Removes the qdisc. Only for one that EnsureClsact added and in which nobody else has a filter:
// it is left alone when any filter is in it.
absl::Status RemoveClsact(int ifindex);

}  // namespace sluice
