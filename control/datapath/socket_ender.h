// SPDX-License-Identifier: Apache-2.0
// Ending sockets of this machine, in whatever network namespace they are, so that the process at
// one sees an error at once instead of waiting for an answer that cannot come.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "maps/connection.h"

namespace sluice {

// Where network namespaces are looked for: a folder of files that are namespaces, as container
// runtimes and ip-netns(8) keep them, and the processes of a procfs.
struct NetnsPlaces {
  std::string folder = "/run/netns";
  std::string proc = "/proc";
};

struct EndedSockets {
  std::size_t ended = 0;
  std::size_t gone = 0;  // had ended on their own
  // Cookies of namespaces that are in none of the places, or that this process may not enter
  // (CAP_SYS_ADMIN), and how many sockets were there.
  std::set<std::uint64_t> out_of_reach;
  std::size_t not_reached = 0;
  absl::Status first_error;  // of a socket or namespace; the others are ended all the same
};

// Ends each with ECONNABORTED (SOCK_DESTROY of sock_diag(7); CONFIG_INET_DIAG_DESTROY): TCP sends
// an RST too. Sockets are named by their cookies, so that none is ended in another's place. Thread:
// one at a time; the calling thread enters other network namespaces and comes back. Cost: about 20
// us a namespace of `places` until all are found, 5 us a socket.
EndedSockets EndSockets(std::span<const abi::lost_socket> sockets, const NetnsPlaces& places = {});

}  // namespace sluice
