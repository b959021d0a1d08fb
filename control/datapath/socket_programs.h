// SPDX-License-Identifier: Apache-2.0
// The programs that give the node's own processes their services, at a cgroup. Their links are
// pinned in `<folder>/cgroup/`, where folder is `<bpffs>/v<abi>`: they outlive the agent, as those
// on interfaces do.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice {

// The cgroup v2 hierarchy of this machine: its only one, or the one beside those of v1.
// Errors: NOT_FOUND saying what to do.
absl::StatusOr<std::string> FindCgroupRoot();

// The cookie of the calling thread's network namespace. Errors: UNIMPLEMENTED before Linux 5.14.
absl::StatusOr<std::uint64_t> OwnNetnsCookie();

// Loads the programs on the maps that are pinned in `folder` and attaches them to `cgroup` for the
// sockets of the namespace `netns_cookie`. Links that are pinned get the new programs in one step
// each, so that no call meets a moment without; those at another cgroup are made anew.
// Errors: INVALID_ARGUMENT when `cgroup` is none; NOT_FOUND when the maps are not pinned;
// FAILED_PRECONDITION when the kernel refuses a program; else as errno says. Links that the call
// made are gone then; those from before go on serving, with the old or the new programs.
absl::Status AttachSocketPrograms(const std::string& folder, const std::string& cgroup,
                                  std::uint64_t netns_cookie);

// Takes the programs off, whoever attached them; nothing there is no error.
absl::Status DetachSocketPrograms(const std::string& folder);

}  // namespace sluice
