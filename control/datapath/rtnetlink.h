// SPDX-License-Identifier: Apache-2.0
// Reading links, addresses and default routes from the kernel, and following their changes, by
// rtnetlink. For the network namespace of the calling thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/datapath/network_state.h"

struct mnl_socket;
struct nlmsghdr;

namespace sluice {

// Asks for all of it: three dumps, a few ms each for some hundred interfaces. A full BGP table
// costs about as much as `ip route` takes, since the kernel cannot pick default routes for us.
// Errors: as errno says; DEADLINE_EXCEEDED when the kernel does not answer within two seconds.
absl::StatusOr<NetworkState> ReadNetworkState();

// What one message of the kernel says, or nullopt when it is not of that kind or not of interest.
std::optional<Link> ParseLink(const nlmsghdr& message);

// Messages of the multicast groups for links, addresses and routes. Thread: loop only.
class RtnlEvents {
 public:
  static absl::StatusOr<std::unique_ptr<RtnlEvents>> Open();
  ~RtnlEvents();

  int fd() const;  // to be watched for EPOLLIN
  // Calls `visit` for each message that has arrived. Errors: UNAVAILABLE when the kernel had to
  // drop some, after which only a new ReadNetworkState tells what is.
  absl::Status Drain(const std::function<void(const nlmsghdr&)>& visit);

 private:
  explicit RtnlEvents(mnl_socket* socket) : socket_(socket) {}
  mnl_socket* socket_;
};

}  // namespace sluice
