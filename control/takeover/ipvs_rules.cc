// SPDX-License-Identifier: Apache-2.0
#include "control/takeover/ipvs_rules.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "control/base/errno_status.h"

namespace sluice {
namespace {

constexpr std::uint32_t kNodePortMin = 30000;
constexpr std::uint32_t kNodePortMax = 32767;

struct Endpoint {
  IpAddress address;
  std::uint32_t port = 0;
};

// "10.96.0.10:80" or "[fd00::1]:80".
std::optional<Endpoint> ParseEndpoint(absl::string_view text) {
  const std::size_t colon = text.rfind(':');
  Endpoint endpoint;
  if (colon == absl::string_view::npos ||
      !absl::SimpleAtoi(text.substr(colon + 1), &endpoint.port)) {
    return std::nullopt;
  }
  absl::string_view host = text.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  const auto address = IpAddress::Parse(std::string_view(host.data(), host.size()));
  if (!address.ok()) return std::nullopt;
  endpoint.address = *address;
  return endpoint;
}

std::optional<IpAddress> AddressOf(const sockaddr* address) {
  if (address == nullptr) return std::nullopt;
  std::array<char, INET6_ADDRSTRLEN> text{};
  const void* bytes = nullptr;
  if (address->sa_family == AF_INET) {
    bytes = &reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
  } else if (address->sa_family == AF_INET6) {
    bytes = &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
  }
  if (bytes == nullptr ||
      ::inet_ntop(address->sa_family, bytes, text.data(), text.size()) == nullptr) {
    return std::nullopt;
  }
  const auto parsed = IpAddress::Parse(text.data());
  return parsed.ok() ? std::optional(*parsed) : std::nullopt;
}

}  // namespace

IpvsRemoval PlanIpvsRemoval(std::string_view saved, const std::set<IpAddress>& on_its_device,
                            const std::set<IpAddress>& on_other_devices) {
  IpvsRemoval removal;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(saved.data(), saved.size()), '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 3 || words[0] != "-A") continue;
    const std::optional<Endpoint> server = ParseEndpoint(words[2]);
    const bool ours =
        server.has_value() && (on_its_device.contains(server->address) ||
                               (on_other_devices.contains(server->address) &&
                                server->port >= kNodePortMin && server->port <= kNodePortMax));
    if (ours) {
      removal.commands.push_back({"ipvsadm", "-D", words[1], words[2]});
    } else {
      removal.kept.push_back(absl::StrCat("ipvs virtual server ", words[1], " ", words[2],
                                          ": not on ", "kube-ipvs0 and no NodePort"));
    }
  }
  return removal;
}

absl::StatusOr<NodeDevices> ReadDevices(const std::string& device) {
  NodeDevices devices;
  devices.has_device = ::if_nametoindex(device.c_str()) != 0;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return ErrnoStatus(errno, "getifaddrs");
  const auto release = absl::MakeCleanup([list] { ::freeifaddrs(list); });
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    const std::optional<IpAddress> address = AddressOf(entry->ifa_addr);
    if (!address.has_value()) continue;
    (device == entry->ifa_name ? devices.on_its_device : devices.on_other_devices).insert(*address);
  }
  return devices;
}

absl::Status DeleteDevice(const std::string& device) {
  const std::string what = absl::StrCat("remove device ", device);
  const unsigned index = ::if_nametoindex(device.c_str());
  if (index == 0) return absl::NotFoundError(absl::StrCat("no device ", device));
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) return ErrnoStatus(errno, what);
  const auto close = absl::MakeCleanup([socket] { mnl_socket_close(socket); });
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) return ErrnoStatus(errno, what);
  std::array<char, 4096> buffer{};
  nlmsghdr* header = mnl_nlmsg_put_header(buffer.data());
  header->nlmsg_type = RTM_DELLINK;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  header->nlmsg_seq = 1;
  auto* body = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ifinfomsg)));
  body->ifi_family = AF_UNSPEC;
  body->ifi_index = static_cast<int>(index);
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return ErrnoStatus(errno, what);
  const ssize_t length = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
  if (length < 0) return ErrnoStatus(errno, what);
  if (mnl_cb_run(buffer.data(), static_cast<std::size_t>(length), 1, mnl_socket_get_portid(socket),
                 nullptr, nullptr) < 0) {
    return ErrnoStatus(errno, what);
  }
  return absl::OkStatus();
}

}  // namespace sluice
