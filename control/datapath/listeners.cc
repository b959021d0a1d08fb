// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/listeners.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

constexpr std::size_t kReceiveBytes = 64 * 1024;
constexpr timeval kAnswerTimeout = {2, 0};
constexpr std::array<std::uint16_t, 5> kProtectedPorts = {22, 2379, 2380, 6443, 10250};

// What a dump collects.
struct Collected {
  std::uint32_t protocol;
  std::vector<Listener>* listeners;
};

int OnSocket(const nlmsghdr* message, void* context) {
  const auto* collected = static_cast<const Collected*>(context);
  if (mnl_nlmsg_get_payload_len(message) < sizeof(inet_diag_msg)) return MNL_CB_OK;
  const auto* socket = static_cast<const inet_diag_msg*>(mnl_nlmsg_get_payload(message));
  abi::addr addr{};
  if (socket->idiag_family == AF_INET) {
    addr.w[2] = htonl(0xffff);
    addr.w[3] = socket->id.idiag_src[0];
  } else {
    std::memcpy(&addr, socket->id.idiag_src, sizeof(addr));
  }
  collected->listeners->push_back({IpAddress::FromAbi(addr), ntohs(socket->id.idiag_sport),
                                   collected->protocol, socket->idiag_inode});
  return MNL_CB_OK;
}

absl::Status DumpSockets(std::uint8_t family, std::uint8_t protocol, unsigned state,
                         std::vector<Listener>& listeners) {
  mnl_socket* socket = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
  if (socket == nullptr) return ErrnoStatus(errno, "sock_diag socket");
  const auto close = absl::MakeCleanup([socket] { mnl_socket_close(socket); });
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
      ::setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout,
                   sizeof(kAnswerTimeout)) < 0) {
    return ErrnoStatus(errno, "sock_diag socket");
  }
  std::array<char, 256> request{};
  nlmsghdr* header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = SOCK_DIAG_BY_FAMILY;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = 1;
  auto* body =
      static_cast<inet_diag_req_v2*>(mnl_nlmsg_put_extra_header(header, sizeof(inet_diag_req_v2)));
  body->sdiag_family = family;
  body->sdiag_protocol = protocol;
  body->idiag_states = 1U << state;
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) {
    return ErrnoStatus(errno, "sock_diag request");
  }
  std::vector<char> buffer(kReceiveBytes);
  Collected collected{protocol, &listeners};
  int more = MNL_CB_OK;
  while (more > MNL_CB_STOP) {
    const ssize_t length = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (length < 0) return ErrnoStatus(errno, "sock_diag answer");
    more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), 1,
                      mnl_socket_get_portid(socket), OnSocket, &collected);
    if (more < 0) return ErrnoStatus(errno, "sock_diag dump");
  }
  return absl::OkStatus();
}

// Whether packets to `frontend` would reach `listener` if no service had them.
bool Hides(const Frontend& frontend, const Listener& listener) {
  if (frontend.port != listener.port || frontend.protocol != listener.protocol) return false;
  if (listener.address == frontend.address) return true;
  // A socket on :: takes IPv4 too, unless it says IPV6_V6ONLY, which sock_diag tells only to root
  // of newer kernels: taken as if it did not.
  return listener.address.is_unspecified() &&
         (!listener.address.is_v4() || frontend.address.is_v4());
}

}  // namespace

absl::StatusOr<std::vector<Listener>> ReadListeners() {
  std::vector<Listener> listeners;
  for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    RETURN_IF_ERROR(DumpSockets(family, IPPROTO_TCP, TCP_LISTEN, listeners));
    // The kernel calls the state of a bound, unconnected UDP socket by TCP's number for "closed".
    RETURN_IF_ERROR(DumpSockets(family, IPPROTO_UDP, TCP_CLOSE, listeners));
  }
  std::sort(listeners.begin(), listeners.end());
  listeners.erase(std::unique(listeners.begin(), listeners.end()), listeners.end());
  return listeners;
}

std::vector<ShadowedPort> FindShadowed(const std::map<ServicePortName, DesiredService>& services,
                                       const std::vector<Listener>& listeners) {
  std::map<std::pair<std::uint32_t, std::uint16_t>, std::vector<const Listener*>> by_port;
  for (const Listener& listener : listeners) {
    by_port[{listener.protocol, listener.port}].push_back(&listener);
  }
  // One entry for a port, whatever sockets it has in the two families.
  std::map<std::tuple<std::uint16_t, std::uint32_t, std::string>, std::uint32_t> shadowed;
  for (const auto& [name, service] : services) {
    for (const Frontend& frontend : service.frontends) {
      if (frontend.kind != abi::SL_FRONTEND_NODE_PORT) continue;
      const auto found = by_port.find({frontend.protocol, frontend.port});
      if (found == by_port.end()) continue;
      const auto& candidates = found->second;
      const auto hidden =
          std::find_if(candidates.begin(), candidates.end(),
                       [&](const Listener* listener) { return Hides(frontend, *listener); });
      if (hidden == candidates.end()) continue;
      shadowed.try_emplace(
          {frontend.port, frontend.protocol, absl::StrCat(name.name_space, "/", name.name)},
          (*hidden)->inode);
    }
  }
  std::vector<ShadowedPort> ports;
  for (const auto& [key, inode] : shadowed) {
    const auto& [port, protocol, service] = key;
    ports.push_back({port, protocol, service, inode});
  }
  return ports;
}

std::set<std::pair<std::uint32_t, std::uint16_t>> RefusedNodePorts(
    const std::vector<Listener>& listeners) {
  std::set<std::pair<std::uint32_t, std::uint16_t>> refused;
  for (const Listener& listener : listeners) {
    if (std::find(kProtectedPorts.begin(), kProtectedPorts.end(), listener.port) !=
        kProtectedPorts.end()) {
      refused.emplace(listener.protocol, listener.port);
    }
  }
  return refused;
}

}  // namespace sluice
