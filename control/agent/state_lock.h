// SPDX-License-Identifier: Apache-2.0
// At most one agent works with a state folder (and so with its pins) at a time.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/unique_fd.h"

namespace sluice {

// Holds `<state_dir>/sluiced.lock` until it is destroyed; the kernel lets go when the process ends
// in any way.
class StateLock {
 public:
  // Creates `state_dir`. Errors: FAILED_PRECONDITION when another process holds the lock, with its
  // process id; PERMISSION_DENIED.
  static absl::StatusOr<StateLock> Take(const std::string& state_dir);

 private:
  explicit StateLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace sluice
