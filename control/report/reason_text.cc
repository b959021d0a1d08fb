// SPDX-License-Identifier: Apache-2.0
#include "control/report/reason_text.h"

#include "control/base/names.h"
#include "maps/reason.h"

namespace sluice::report {

std::string_view ReasonText(std::uint32_t reason) {
  switch (reason) {
    case abi::SL_REASON_NO_BACKEND:
      return "no endpoint is usable, here or elsewhere";
    case abi::SL_REASON_NO_LOCAL_BACKEND:
      return "the policy is Local and no usable endpoint is on this node";
    case abi::SL_REASON_EXTERNAL_DENIED:
      return "ClusterIPs are not served to the network (--allow-external-cluster-ip)";
    case abi::SL_REASON_SOURCE_DENIED:
      return "the client is in none of the loadBalancerSourceRanges";
    case abi::SL_REASON_NO_SUCH_PORT:
      return "the address is a service's, the port is not";
    case abi::SL_REASON_NO_SUCH_SERVICE:
      return "the address is in the services' range and no service has it";
    case abi::SL_REASON_BACKEND_GONE:
      return "the endpoint of the connection is gone";
    case abi::SL_REASON_NO_FLOW:
      return "the packet opens no connection and belongs to none that is known";
    case abi::SL_REASON_SNAT_PORTS:
      return "no source port of the node is free towards the endpoint";
    case abi::SL_REASON_FLOWS_FULL:
      return "the table of connections is full; nothing was dropped for it";
    case abi::SL_REASON_FRAGMENT_UNKNOWN:
      return "a fragment whose first one was not seen";
    case abi::SL_REASON_NO_ROUTE:
      return "the node has no route or neighbour to send it on";
    case abi::SL_REASON_TTL_EXCEEDED:
      return "its TTL or hop limit was used up";
    case abi::SL_REASON_TOO_BIG:
      return "larger than the MTU towards the endpoint";
    case abi::SL_REASON_REWRITE_FAILED:
      return "the kernel refused to change the packet";
    case abi::SL_REASON_BAD_SLOT:
      return "the service's slots name no usable endpoint, which should never be";
    case abi::SL_REASON_TUNNEL_DENIED:
      return "a pod must not send nodes what nodes send each other";
    default:
      return "";
  }
}

std::string_view ReasonText(std::string_view name) {
  for (std::uint32_t reason = 1; reason < abi::SL_REASON_COUNT; ++reason) {
    if (ReasonName(reason) == name) return ReasonText(reason);
  }
  return "";
}

}  // namespace sluice::report
