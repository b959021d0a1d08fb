// SPDX-License-Identifier: Apache-2.0
// The row of sl_config, and the rules for the ports that SNAT takes. Pure.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/datapath/node_addresses.h"
#include "control/datapath/port_ranges.h"
#include "control/model/ip_address.h"
#include "maps/config.h"

namespace sluice {

inline constexpr PortRange kNodePortRange = {30000, 32767};

// Errors: INVALID_ARGUMENT when SNAT's ports overlap NodePorts or ports that the kernel gives out
// itself: a reply could then belong to either.
absl::Status CheckSnatPorts(const PortRange& snat, const PortRange& ephemeral);

// At most one range of each family. Errors: INVALID_ARGUMENT when there are more.
absl::Status CheckServiceCidrs(const std::vector<IpPrefix>& service_cidrs);

// `service_cidrs` as CheckServiceCidrs allows; empty while it is not known yet which of their
// addresses are services, so that none is dropped as nobody's.
// Of the addresses that SNAT takes the first SL_SNAT_ADDRESSES of each family count.
abi::node_config MakeNodeConfig(const NodeAddresses& addresses, const PortRange& snat,
                                const std::vector<IpPrefix>& service_cidrs);

// The largest payload of a TCP segment that, with its headers and those around it, `mtu` has room
// for; 0 for an MTU of 0, which is not known.
std::uint16_t TunnelMss(std::uint32_t mtu, abi::sl_family family, abi::sl_tunnel_kind kind);

}  // namespace sluice
