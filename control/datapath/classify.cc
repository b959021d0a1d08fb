// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/classify.h"

#include <fnmatch.h>
#include <net/if.h>
#include <net/if_arp.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace sluice {
namespace {

// Devices that carry pods' packets to other nodes whatever addresses they have.
constexpr std::array<std::string_view, 9> kOverlayKinds = {
    "vxlan", "geneve", "ipip", "wireguard", "sit", "ip6tnl", "gre", "gretap", "ip6gretap"};

bool IsOverlay(const Link& link) {
  return std::find(kOverlayKinds.begin(), kOverlayKinds.end(), link.kind) != kOverlayKinds.end();
}

bool Matches(const std::vector<std::string>& patterns, const std::string& name) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
  });
}

bool InAny(const std::vector<IpPrefix>& prefixes, const IpAddress& address) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const IpPrefix& prefix) { return prefix.Contains(address); });
}

// What the rules below ask of the whole network, gathered once.
struct Facts {
  std::set<int> has_default_route;
  std::set<int> has_node_address;    // one that the Node object gives
  std::set<int> has_global_address;  // any that is not a pod's
};

Facts Gather(const NetworkState& network, const InterfaceFlags& flags,
             const std::set<IpAddress>& node_addresses) {
  Facts facts;
  for (const DefaultRoute& route : network.default_routes) {
    facts.has_default_route.insert(route.ifindex);
  }
  for (const LinkAddress& held : network.addresses) {
    if (node_addresses.contains(held.address)) facts.has_node_address.insert(held.ifindex);
    if (held.global && !held.address.is_loopback() && !InAny(flags.cluster_cidrs, held.address)) {
      facts.has_global_address.insert(held.ifindex);
    }
  }
  return facts;
}

// A port of a bridge, bond or switch hands its packets to its master before they are routed: the
// master is the interface that counts. A VRF's member keeps its own addresses.
bool IsPort(const NetworkState& network, const Link& link) {
  const auto master = network.links.find(link.master);
  return master != network.links.end() && master->second.kind != "vrf";
}

bool IsPodLink(const Link& link) {
  return (link.kind == "veth" || link.kind == "netkit") && link.peer_elsewhere;
}

Role FindRole(const NetworkState& network, const Facts& facts, const Link& link) {
  const bool port = IsPort(network, link);
  // First of all, so that a node that is itself a container (its eth0 is a veth) has an uplink.
  if (!port && (facts.has_default_route.contains(link.ifindex) ||
                facts.has_node_address.contains(link.ifindex))) {
    return Role::kUplink;
  }
  if (IsPodLink(link)) return Role::kPod;
  if (port) return Role::kNone;
  if (IsOverlay(link)) return Role::kUplink;
  // A bridge or dummy that only holds an address is a pods' gateway, a container engine's network
  // or a local service's address: nothing from outside arrives through it.
  if (link.kind == "bridge" || link.kind == "dummy") return Role::kNone;
  return facts.has_global_address.contains(link.ifindex) ? Role::kUplink : Role::kNone;
}

Role RoleOf(const NetworkState& network, const InterfaceFlags& flags, const Facts& facts,
            const Link& link) {
  if ((link.flags & IFF_LOOPBACK) != 0) return Role::kNone;
  if (Matches(flags.pod_interfaces, link.name)) return Role::kPod;
  if (Matches(flags.uplinks, link.name)) return Role::kUplink;
  const Role found = FindRole(network, facts, link);
  if (found == Role::kPod && !flags.pod_interfaces.empty()) return Role::kNone;
  if (found == Role::kUplink && !flags.uplinks.empty()) return Role::kNone;
  return found;
}

}  // namespace

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kPod:
      return "pod";
    case Role::kUplink:
      return "uplink";
    case Role::kNone:
      break;
  }
  return "none";
}

std::vector<Interface> Classify(const NetworkState& network, const InterfaceFlags& flags,
                                const std::set<IpAddress>& node_addresses) {
  const Facts facts = Gather(network, flags, node_addresses);
  std::vector<Interface> interfaces;
  for (const auto& [ifindex, link] : network.links) {
    Interface found{link, RoleOf(network, flags, facts, link), ""};
    if (found.role == Role::kNone) continue;
    if (link.type != ARPHRD_ETHER) {
      found.unsupported = absl::StrCat("not an Ethernet device (type ", link.type,
                                       "): its packets are not translated");
    }
    interfaces.push_back(std::move(found));
  }
  return interfaces;
}

std::vector<std::string> SplitPatterns(std::string_view text) {
  std::vector<std::string> patterns;
  for (absl::string_view part : absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (!part.empty()) patterns.emplace_back(part);
  }
  return patterns;
}

}  // namespace sluice
