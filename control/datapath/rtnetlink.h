// SPDX-License-Identifier: Apache-2.0
// Reading links, addresses and default routes from the kernel, and following their changes, by
// rtnetlink. For the network namespace of the calling thread.
#pragma once

#include <optional>

#include "absl/status/statusor.h"

#include "control/datapath/netlink_socket.h"
#include "control/datapath/network_state.h"

namespace sluice {

// Asks for all of it: three dumps, a few ms each for some hundred interfaces. A full BGP table
// costs about as much as `ip route` takes, since the kernel cannot pick default routes for us.
// Errors: as errno says; DEADLINE_EXCEEDED when the kernel does not answer within two seconds.
absl::StatusOr<NetworkState> ReadNetworkState();

// What one message of the kernel says, or nullopt when it is not of that kind or not of interest.
std::optional<Link> ParseLink(const nlmsghdr& message);

// A socket in the multicast groups for links, addresses and routes.
// Errors: those of NetlinkSocket::Open.
absl::StatusOr<NetlinkSocket> OpenNetworkEvents();

}  // namespace sluice
