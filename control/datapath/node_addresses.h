// SPDX-License-Identifier: Apache-2.0
// Which of the node's addresses serve NodePorts, and which is the source of rewritten packets.
// Pure: from what rtnetlink, the Node object and the flags say.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "control/datapath/classify.h"
#include "control/datapath/network_state.h"
#include "control/model/ip_address.h"
#include "maps/config.h"

namespace sluice {

// --nodeport-addresses. Neither set: the Node object's addresses, or as `primary` without one.
struct NodePortFlag {
  bool primary = false;
  std::vector<IpPrefix> cidrs;  // those of one family leave the other unrestricted
};

// Reads "primary", a comma list of CIDRs, or nothing. Errors: INVALID_ARGUMENT naming the part.
absl::StatusOr<NodePortFlag> ParseNodePortFlag(std::string_view text);

// Reads a comma list of CIDRs; blanks and empty parts are skipped. Errors: as ParseNodePortFlag.
absl::StatusOr<std::vector<IpPrefix>> ParseCidrs(std::string_view text);

struct NodeAddresses {
  std::vector<IpAddress> node_ports;  // sorted, unique
  // Source of rewritten packets by family (enum sl_family); none: no such address on an uplink.
  std::array<std::optional<IpAddress>, abi::SL_FAMILY_COUNT> source;
  // Sources that SNAT takes, of both families: those of --snat-addresses that uplinks hold, else
  // `source`. Unique, of one interface a family; the main one first, if it is among them.
  std::vector<IpAddress> snat;
  // What of --snat-addresses is not so: a sentence each, which names it.
  std::vector<std::string> snat_problems;
  std::set<IpAddress> local;  // every address that the node holds, loopback included

  friend bool operator==(const NodeAddresses&, const NodeAddresses&) = default;
};

// Whether a Node object with these addresses speaks of another machine than the one that holds
// `local`: of one that has the same name, or it is the name that is wrong. False while either is
// empty.
bool NamesAnotherMachine(const std::vector<IpAddress>& object_addresses,
                         const std::set<IpAddress>& local);

struct AddressFlags {
  NodePortFlag node_port;
  std::vector<IpPrefix> snat;  // --snat-addresses; those of one family leave the other as it is
  std::vector<IpPrefix> cluster_cidrs;  // addresses inside are never the node's
};

// `object_addresses`: what the Node object of this node gives, in its order; empty without one.
// Addresses that no uplink holds never serve NodePorts and are never a source, whoever names them:
// packets to them do not arrive here as the node's.
NodeAddresses FindNodeAddresses(const NetworkState& network,
                                const std::vector<Interface>& interfaces, const AddressFlags& flags,
                                const std::vector<IpAddress>& object_addresses);

}  // namespace sluice
