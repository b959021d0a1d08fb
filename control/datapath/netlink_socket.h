// SPDX-License-Identifier: Apache-2.0
// A netlink socket of the calling thread's network namespace, and the attributes of what it says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct mnl_socket;
struct nlattr;
struct nlmsghdr;

namespace sluice {

using NetlinkVisitor = std::function<void(const nlmsghdr&)>;

// Thread-compatible.
class NetlinkSocket {
 public:
  // `bus` is NETLINK_ROUTE, NETLINK_GENERIC, ...; `groups` the multicast groups 1 to 32 to be in,
  // as bits. Errors: as errno says.
  static absl::StatusOr<NetlinkSocket> Open(int bus, unsigned groups = 0);

  int fd() const;
  // Any group, by its number. Errors: as errno says.
  absl::Status Join(std::uint32_t group);

  // Sends `request`, whose sequence number is filled in, and gives each message of the answer to
  // `visit`. Errors: as errno says, also the kernel's own answer (NOT_FOUND for ENOENT, UNAVAILABLE
  // for a dump that a change has interrupted); DEADLINE_EXCEEDED when there is none in two seconds.
  absl::Status Ask(nlmsghdr& request, const NetlinkVisitor& visit);

  // Gives each message that has arrived to `visit`, and does not wait. Errors: UNAVAILABLE when the
  // kernel had to drop some.
  absl::Status Drain(const NetlinkVisitor& visit);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  explicit NetlinkSocket(mnl_socket* socket) : socket_(socket) {}

  std::unique_ptr<mnl_socket, Close> socket_;
  std::uint32_t sequence_ = 0;
};

// By type, up to `max`; null: not there.
using NetlinkAttributes = std::vector<const nlattr*>;
// Those behind a fixed header of `offset` bytes.
NetlinkAttributes AttributesOf(const nlmsghdr& message, std::size_t offset, std::size_t max);
NetlinkAttributes AttributesIn(const nlattr& nest, std::size_t max);
// Nothing if the attribute is not there or has another size.
std::optional<std::uint16_t> AttributeU16(const nlattr* attribute);
std::optional<std::uint32_t> AttributeU32(const nlattr* attribute);
std::optional<std::uint64_t> AttributeU64(const nlattr* attribute);

}  // namespace sluice
