// SPDX-License-Identifier: Apache-2.0
// Takes the place of a kube-proxy that has ended: removes what it has left in the kernel, and only
// that.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

#include "control/takeover/command.h"

namespace sluice {

struct TakeoverResult {
  absl::Status status;               // the first failure; the rest was tried all the same
  std::vector<std::string> removed;  // for people, one line each
  std::vector<std::string> kept;     // what looks like kube-proxy's and stays, and why
};

// Removes from this network namespace kube-proxy's chains and jumps (iptables and ip6tables, of
// both variants), its nftables tables, and of ipvs mode the virtual servers, device and sets.
// Nothing there is no error; neither is a kernel or a node without one of these. Each iptables
// table, and nftables as a whole, is changed in one step or not at all; what failed can be tried
// again. `proc` is /proc. Blocks; needs CAP_NET_ADMIN, and CAP_NET_RAW for the legacy variant.
// Errors: FAILED_PRECONDITION while a kube-proxy runs, with nothing removed; INTERNAL with what the
// program that failed has said.
TakeoverResult RemoveKubeProxy(CommandRunner& runner, const std::string& proc);

}  // namespace sluice
