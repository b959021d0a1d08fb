// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/node_config.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace sluice {

absl::Status CheckSnatPorts(const PortRange& snat, const PortRange& ephemeral) {
  if (snat.Overlaps(kNodePortRange)) {
    return absl::InvalidArgumentError(absl::StrCat("--snat-ports ", snat.ToString(),
                                                   " overlaps the NodePort range ",
                                                   kNodePortRange.ToString()));
  }
  if (snat.Overlaps(ephemeral)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--snat-ports ", snat.ToString(), " overlaps net.ipv4.ip_local_port_range ",
                     ephemeral.ToString(), ": choose other ports, or change the sysctl"));
  }
  return absl::OkStatus();
}

absl::Status CheckServiceCidrs(const std::vector<IpPrefix>& service_cidrs) {
  int count[abi::SL_FAMILY_COUNT] = {};
  for (const IpPrefix& cidr : service_cidrs) {
    if (++count[cidr.is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6] > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--service-cidr: more than one range of a family (", cidr.ToString(), ")"));
    }
  }
  return absl::OkStatus();
}

std::uint16_t TunnelMss(std::uint32_t mtu, abi::sl_family family, abi::sl_tunnel_kind kind) {
  constexpr std::uint32_t kTcp = 20, kUdp = 8, kLargest = 65535;
  const std::uint32_t ip = family == abi::SL_FAMILY_V4 ? 20 : 40;
  const std::uint32_t headers = 2 * ip + kTcp + (kind == abi::SL_TUNNEL_GUE ? kUdp : 0);
  return mtu <= headers ? std::uint16_t{0}
                        : static_cast<std::uint16_t>(std::min(mtu - headers, kLargest));
}

abi::node_config MakeNodeConfig(const NodeAddresses& addresses, const PortRange& snat,
                                const std::vector<IpPrefix>& service_cidrs) {
  abi::node_config config{};
  for (const abi::sl_family family : {abi::SL_FAMILY_V4, abi::SL_FAMILY_V6}) {
    if (addresses.source[family].has_value()) {
      config.node_address[family] = addresses.source[family]->ToAbi();
    }
  }
  for (const IpAddress& address : addresses.snat) {
    const abi::sl_family family = address.is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6;
    if (config.snat_addresses[family] == abi::SL_SNAT_ADDRESSES) continue;
    config.snat_address[family][config.snat_addresses[family]++] = address.ToAbi();
  }
  for (const IpPrefix& cidr : service_cidrs) {
    abi::addr_range& range =
        config.service_range[cidr.is_v4() ? abi::SL_FAMILY_V4 : abi::SL_FAMILY_V6];
    range.prefix = cidr.address().ToAbi();
    range.mask = cidr.MaskAbi();
  }
  config.snat_port_min = snat.min;
  config.snat_port_max = snat.max;
  return config;
}

}  // namespace sluice
