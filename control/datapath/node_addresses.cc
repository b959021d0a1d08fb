// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/node_addresses.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "control/base/status_macros.h"

namespace sluice {
namespace {

abi::sl_family FamilyOf(const IpAddress& address) {
  return address.is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6;
}

bool InAny(const std::vector<IpPrefix>& prefixes, const IpAddress& address) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](const IpPrefix& prefix) { return prefix.Contains(address); });
}

// Global addresses of uplinks, in the kernel's order (the first of an interface is its primary).
std::vector<LinkAddress> Usable(const NetworkState& network,
                                const std::vector<Interface>& interfaces,
                                const std::vector<IpPrefix>& cluster_cidrs) {
  std::set<int> uplinks;
  for (const Interface& interface : interfaces) {
    if (interface.role == Role::kUplink) uplinks.insert(interface.link.ifindex);
  }
  std::vector<LinkAddress> usable;
  for (const LinkAddress& held : network.addresses) {
    if (held.global && uplinks.contains(held.ifindex) && !held.address.is_loopback() &&
        !held.address.is_multicast() && !InAny(cluster_cidrs, held.address)) {
      usable.push_back(held);
    }
  }
  return usable;
}

// The address that the kernel itself would take for packets to far away: that of the default route
// with the lowest metric; else the first of any uplink.
std::optional<IpAddress> FromRoutes(const NetworkState& network,
                                    const std::vector<LinkAddress>& usable, abi::sl_family family) {
  std::vector<DefaultRoute> routes;
  for (const DefaultRoute& route : network.default_routes) {
    if (route.v4 == (family == abi::SL_FAMILY_V4)) routes.push_back(route);
  }
  std::stable_sort(routes.begin(), routes.end(), [](const DefaultRoute& a, const DefaultRoute& b) {
    return std::tie(a.metric, a.ifindex) < std::tie(b.metric, b.ifindex);
  });
  const auto first = [&](bool preferred, std::optional<int> ifindex) -> std::optional<IpAddress> {
    for (const LinkAddress& held : usable) {
      if (FamilyOf(held.address) == family && held.preferred == preferred &&
          (!ifindex.has_value() || held.ifindex == *ifindex)) {
        return held.address;
      }
    }
    return std::nullopt;
  };
  for (const DefaultRoute& route : routes) {
    if (route.source.has_value()) return route.source;
    for (const bool preferred : {true, false}) {
      if (auto found = first(preferred, route.ifindex)) return found;
    }
  }
  for (const bool preferred : {true, false}) {
    if (auto found = first(preferred, std::nullopt)) return found;
  }
  return std::nullopt;
}

// The first address of the Node object that an uplink holds, else what the routes say.
std::optional<IpAddress> Primary(const NetworkState& network,
                                 const std::vector<LinkAddress>& usable,
                                 const std::vector<IpAddress>& object_addresses,
                                 abi::sl_family family) {
  for (const IpAddress& address : object_addresses) {
    const bool held = std::any_of(usable.begin(), usable.end(), [&](const LinkAddress& candidate) {
      return candidate.address == address;
    });
    if (held && FamilyOf(address) == family) return address;
  }
  return FromRoutes(network, usable, family);
}

bool Wanted(const NodePortFlag& flag, const IpAddress& address) {
  const bool restricted =
      std::any_of(flag.cidrs.begin(), flag.cidrs.end(),
                  [&](const IpPrefix& prefix) { return prefix.is_v4() == address.is_v4(); });
  return !restricted || InAny(flag.cidrs, address);
}

// The addresses of a family in the ranges, the node's main one first. Deprecated and temporary ones
// (a virtual IP that is another node's tomorrow) only if there are no others.
std::vector<LinkAddress> SnatCandidates(const std::vector<LinkAddress>& usable,
                                        const std::vector<IpPrefix>& cidrs, abi::sl_family family,
                                        const std::optional<IpAddress>& main) {
  std::vector<LinkAddress> found;
  std::set<IpAddress> seen;
  for (const LinkAddress& held : usable) {
    if (FamilyOf(held.address) != family || !InAny(cidrs, held.address)) continue;
    if (seen.insert(held.address).second) found.push_back(held);
  }
  const auto fit = std::stable_partition(found.begin(), found.end(),
                                         [](const LinkAddress& held) { return held.preferred; });
  if (fit != found.begin()) found.erase(fit, found.end());
  std::stable_partition(found.begin(), found.end(),
                        [&](const LinkAddress& held) { return held.address == main; });
  return found;
}

// Fills in `snat` and its problems. A range that no address is in must not leave the node without a
// source: the family is served by its main address then.
void FindSnat(const std::vector<LinkAddress>& usable, const std::vector<IpPrefix>& cidrs,
              NodeAddresses& result) {
  for (const abi::sl_family family : {abi::SL_FAMILY_V4, abi::SL_FAMILY_V6}) {
    const std::vector<LinkAddress> found =
        SnatCandidates(usable, cidrs, family, result.source[family]);
    std::size_t taken = 0;
    for (const LinkAddress& held : found) {
      const std::string text = held.address.ToString();
      if (held.ifindex != found.front().ifindex) {
        result.snat_problems.push_back(
            absl::StrCat("--snat-addresses: ", text, " is on another interface than ",
                         found.front().address.ToString(),
                         ", and answers to one of them would be lost: it is "
                         "not used; give ranges of one interface a family"));
      } else if (++taken > abi::SL_SNAT_ADDRESSES) {
        result.snat_problems.push_back(absl::StrCat(
            "--snat-addresses: ", text, " is one more than the ",
            static_cast<int>(abi::SL_SNAT_ADDRESSES), " of a family that can be used: it is not"));
      } else {
        result.snat.push_back(held.address);
      }
    }
    if (taken == 0 && result.source[family].has_value()) {
      result.snat.push_back(*result.source[family]);
    }
  }
  for (const IpPrefix& cidr : cidrs) {
    const bool empty = std::none_of(usable.begin(), usable.end(), [&](const LinkAddress& held) {
      return cidr.Contains(held.address);
    });
    if (empty) {
      result.snat_problems.push_back(
          absl::StrCat("--snat-addresses: no uplink has an address in ", cidr.ToString(),
                       ": nothing leaves with one; add the address to the node, or leave it out"));
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<IpPrefix>> ParseCidrs(std::string_view text) {
  std::vector<IpPrefix> cidrs;
  for (absl::string_view part : absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (part.empty()) continue;
    absl::StatusOr<IpPrefix> cidr = IpPrefix::Parse(std::string_view(part.data(), part.size()));
    if (!cidr.ok()) return cidr.status();
    cidrs.push_back(*cidr);
  }
  return cidrs;
}

absl::StatusOr<NodePortFlag> ParseNodePortFlag(std::string_view text) {
  NodePortFlag flag;
  if (absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())) == "primary") {
    flag.primary = true;
    return flag;
  }
  ASSIGN_OR_RETURN(flag.cidrs, ParseCidrs(text));
  return flag;
}

bool NamesAnotherMachine(const std::vector<IpAddress>& object_addresses,
                         const std::set<IpAddress>& local) {
  return !object_addresses.empty() && !local.empty() &&
         std::none_of(object_addresses.begin(), object_addresses.end(),
                      [&](const IpAddress& address) { return local.contains(address); });
}

NodeAddresses FindNodeAddresses(const NetworkState& network,
                                const std::vector<Interface>& interfaces, const AddressFlags& flags,
                                const std::vector<IpAddress>& object_addresses) {
  const std::vector<LinkAddress> usable = Usable(network, interfaces, flags.cluster_cidrs);
  NodeAddresses result;
  for (const LinkAddress& held : network.addresses) result.local.insert(held.address);
  for (const abi::sl_family family : {abi::SL_FAMILY_V4, abi::SL_FAMILY_V6}) {
    result.source[family] = Primary(network, usable, object_addresses, family);
  }
  FindSnat(usable, flags.snat, result);
  std::set<IpAddress> serving;
  if (!flags.node_port.cidrs.empty()) {
    for (const LinkAddress& held : usable) {
      if (Wanted(flags.node_port, held.address)) serving.insert(held.address);
    }
  } else {
    for (const auto& source : result.source) {
      if (source.has_value()) serving.insert(*source);
    }
    if (!flags.node_port.primary && !object_addresses.empty()) {
      for (const LinkAddress& held : usable) {
        const auto& named = object_addresses;
        if (std::find(named.begin(), named.end(), held.address) != named.end()) {
          serving.insert(held.address);
        }
      }
    }
  }
  result.node_ports.assign(serving.begin(), serving.end());
  return result;
}

}  // namespace sluice
