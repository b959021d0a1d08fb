// SPDX-License-Identifier: Apache-2.0
// What should become of the first packet of a flow, by the desired state and the rows that the
// planner would make of it. Pure, and shares no code with the datapath: a mistake has to be made
// twice to pass.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "control/desired/desired_state.h"
#include "control/plan/service_rows.h"
#include "maps/config.h"
#include "maps/reason.h"
#include "maps/service.h"
#include "maps/trace.h"

namespace sluice::testing {

struct FlowQuestion {
  IpAddress source;
  IpAddress destination;
  std::uint16_t port = 0;
  std::uint32_t protocol = 0;  // IPPROTO_*; IPPROTO_ICMP: an echo, of either family
  abi::sl_scope scope = abi::SL_SCOPE_INTERNAL;
};

struct FlowAnswer {
  abi::sl_verdict verdict = abi::SL_VERDICT_NONE;
  abi::sl_reason reason = abi::SL_REASON_NONE;
  // Whom a flow may be given, and the client's address as that one sees it. None for an echo that
  // is answered, which the node does itself.
  std::map<BackendAddress, IpAddress> endpoints;
  std::uint32_t affinity_s = 0;

  friend bool operator==(const FlowAnswer&, const FlowAnswer&) = default;
};

// What the answer depends on beside the services.
struct NodeSetting {
  std::array<IpAddress, abi::SL_FAMILY_COUNT> address;  // by enum sl_family
  std::vector<IpPrefix> service_cidrs;
  RowOptions rows;
};

FlowAnswer EvaluateFlow(const DesiredState& state, const NodeSetting& node,
                        const FlowQuestion& question);

}  // namespace sluice::testing
