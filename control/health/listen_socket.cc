// SPDX-License-Identifier: Apache-2.0
#include "control/health/listen_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/model/ip_address.h"

namespace sluice {
namespace {

constexpr int kBacklog = 128;  // waits here while sockets change hands

absl::StatusOr<UniqueFd> Listen(const sockaddr* address, socklen_t length, bool both_families,
                                const std::string& what) {
  UniqueFd fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus(errno, what);
  const int on = 1;
  const int v6_only = both_families ? 0 : 1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
      (address->sa_family == AF_INET6 &&
       ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only)) != 0) ||
      ::bind(fd.get(), address, length) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return ErrnoStatus(errno, what);
  }
  return fd;
}

absl::StatusOr<UniqueFd> ListenV6(const in6_addr& address, std::uint16_t port, bool both_families,
                                  const std::string& what) {
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_addr = address;
  to.sin6_port = htons(port);
  return Listen(reinterpret_cast<const sockaddr*>(&to), sizeof(to), both_families, what);
}

}  // namespace

absl::StatusOr<UniqueFd> ListenSocket(const std::string& host, std::uint16_t port) {
  const std::string what = absl::StrCat("listen on ", host, " port ", port);
  if (host == "0.0.0.0" || host == "::") {
    absl::StatusOr<UniqueFd> both = ListenV6(in6addr_any, port, true, what);
    // Only a kernel without IPv6 has no such sockets; every other failure is the port's.
    if (both.ok() || absl::IsAlreadyExists(both.status()) || host == "::") return both;
  }
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    return Listen(reinterpret_cast<const sockaddr*>(&v4), sizeof(v4), false, what);
  }
  ASSIGN_OR_RETURN(const IpAddress address, IpAddress::Parse(host));
  in6_addr v6{};
  std::memcpy(&v6, address.bytes().data(), sizeof(v6));
  return ListenV6(v6, port, false, what);
}

}  // namespace sluice
