// SPDX-License-Identifier: Apache-2.0
// Ending sockets of this machine, in whatever network namespace they are, so that the process at
// one sees an error at once instead of waiting for an answer that cannot come.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "maps/connection.h"

namespace sluice {

// Where network namespaces are looked for: folders of files that are namespaces, as container
// runtimes and ip-netns(8) keep them, and the processes of a procfs.
struct NetnsPlaces {
  std::vector<std::string> folders = {"/run/netns", "/run/docker/netns"};
  std::string proc = "/proc";
};

// How many sockets came to what. Sent through a pipe as it is.
struct EndedSockets {
  std::uint32_t ended = 0;
  std::uint32_t gone = 0;         // had ended on their own
  std::uint32_t not_reached = 0;  // in namespaces that are in none of the places, or that this
                                  // process may not enter (CAP_SYS_ADMIN)
  std::uint32_t stuck = 0;        // in namespaces where a call did not come back in time
  std::int32_t error = 0;         // errno of the first other failure; those after it were tried
};

// Ends each with ECONNABORTED (SOCK_DESTROY of sock_diag(7); CONFIG_INET_DIAG_DESTROY): TCP sends
// an RST too. Sockets are named by their cookies, so that none is ended in another's place.
//
// The kernel waits for the socket's lock, whatever signal comes, and a process of the pod may hold
// that for as long as it likes (asleep in a page fault in send()). So each namespace's sockets are
// ended by a child of its own, which is given up after `patience`; and the caller should be a
// process whose end nobody waits for: SocketEnderProcess. Thread: of a process that has no other;
// it enters other network namespaces and comes back. Cost: about 20 us a namespace of `places`
// until all are found, a fork for each that is concerned, 5 us a socket.
EndedSockets EndSockets(std::span<const abi::lost_socket> sockets, const NetnsPlaces& places = {},
                        absl::Duration patience = absl::Seconds(2));

// What `sluiced --end-sockets` is: reads abi::lost_socket rows from the descriptor `input` to its
// end, ends them, and writes an EndedSockets to `output`. Returns the exit code.
int RunSocketEnder(int input, int output);

}  // namespace sluice
