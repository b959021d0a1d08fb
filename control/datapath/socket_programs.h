// SPDX-License-Identifier: Apache-2.0
// The programs that give processes their services when they connect, at a cgroup, and count what
// such connections carry. Their links are pinned in `<folder>/cgroup/`, where folder is
// `<bpffs>/v<abi>`: they outlive the agent, as those on interfaces do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "maps/connection.h"

namespace sluice {

// The cgroup v2 hierarchy of this machine: its only one, or the one beside those of v1.
// Errors: NOT_FOUND saying what to do.
absl::StatusOr<std::string> FindCgroupRoot();

// The cookie of the calling thread's network namespace. Errors: UNIMPLEMENTED before Linux 5.14.
absl::StatusOr<std::uint64_t> OwnNetnsCookie();

struct SocketScope {
  std::uint64_t node_netns = 0;  // cookie: TCP and UDP of its sockets
  bool pods = false;             // and TCP of those of all other network namespaces
};

// Loads the programs on the maps that are pinned in `folder` and attaches them to `cgroup`. Returns
// whether what connections carry can be counted and lost ones be found; without that they are
// served all the same (FAILED_PRECONDITION: a kernel without BTF, or one that refuses to walk over
// sockets, which then counts connections when they end; else as errno says). Links that
// are pinned get the new programs in one step each, so that no call meets a moment without; those
// at another cgroup are made anew. Errors: INVALID_ARGUMENT when `cgroup` is none; NOT_FOUND when
// the maps are not pinned; FAILED_PRECONDITION when the kernel refuses a program; else as errno
// says. Links that the call made are gone then; those from before go on serving, with the old or
// the new programs.
struct SocketPrograms {
  absl::Status accounting;
};
absl::StatusOr<SocketPrograms> AttachSocketPrograms(const std::string& folder,
                                                    const std::string& cgroup,
                                                    const SocketScope& scope);

// Has no more calls given a backend. Connections that were keep their peer's name, go on being
// counted, and are ended with their endpoint. Nothing there is no error.
absl::Status StopSocketPrograms(const std::string& folder);

// Takes all programs off, whoever attached them; nothing there is no error.
absl::Status DetachSocketPrograms(const std::string& folder);

// Looks at every socket that has been given a backend: adds what TCP connections have carried to
// the counters, which otherwise are brought up to date when a connection ends, and tells which
// sockets have lost their backend; of UDP those that are connected to it. None if the programs are
// not attached. Errors: PERMISSION_DENIED; else as errno says.
// Where the kernel refuses walks over socket storage, the files that processes of the caller's PID
// namespace have open are walked over. Thread: any. Cost: linear in such sockets, about 0.3 us
// each; or in open files.
absl::StatusOr<std::vector<abi::lost_socket>> WalkSockets(const std::string& folder);

}  // namespace sluice
