// SPDX-License-Identifier: Apache-2.0
// What explains an answer of `sluicectl trace`: the rows that the program has looked at, and what
// the agent knows besides. Values only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/report/agent_snapshot.h"
#include "control/report/trace.h"
#include "maps/flow.h"
#include "maps/service.h"

namespace sluice::report {

// An endpoint of the service, of the packet's family.
struct TraceEndpoint {
  AgentBackend backend;  // all but address and port only where the agent knows it
  bool agent_knows = false;
  bool in_maps = false;     // it has a row that is not about to go
  bool usable = false;      // by that row: it takes new connections of some set
  bool local = false;       // by that row, or else by the agent: on this node
  std::uint32_t slots = 0;  // how often the set in question names it
};

// A client's binding by session affinity.
struct TraceBinding {
  std::string endpoint;  // empty: its row is gone
  std::string over;      // why it does not count any more; empty: it does
  std::uint64_t idle_s = 0;
};

struct TraceFacts {
  TraceHook hook = TraceHook::kPod;
  std::string interface;
  TraceAnswer answer;
  bool agent_runs = false;
  bool agent_synced = false;
  std::optional<IpAddress> node_address;  // of the family: source of rewritten packets

  std::optional<abi::service> frontend;  // the row of address, port and protocol
  std::string service;                   // the frontend's
  // Without a frontend: the row of the address alone, the services' range that the address is in
  // (empty: in none), and what services have at the address ("80/TCP (default/web:http)").
  std::optional<abi::service> address_row;
  std::string service_range;
  std::vector<std::string> ports;

  std::optional<abi::flow_entry> flow;  // the connection is an established one
  std::string flow_backend;             // "192.0.2.1:80"
  std::vector<IpPrefix> ranges;         // loadBalancerSourceRanges of the family
  std::optional<TraceBinding> binding;
  std::vector<TraceEndpoint> endpoints;  // by address

  abi::sl_scope scope() const {
    return hook == TraceHook::kNet ? abi::SL_SCOPE_EXTERNAL : abi::SL_SCOPE_INTERNAL;
  }
  bool Has(abi::sl_service_flag flag) const {
    return frontend.has_value() && (frontend->flags & flag) != 0;
  }
  // Whether the set in question is that of policy Local.
  bool IsLocalSet() const {
    return Has(scope() == abi::SL_SCOPE_EXTERNAL ? abi::SL_SERVICE_LOCAL_EXTERNAL
                                                 : abi::SL_SERVICE_LOCAL_INTERNAL);
  }
  // Whose address loadBalancerSourceRanges are asked about.
  IpAddress GuardedClient() const {
    const bool host = hook == TraceHook::kHost && node_address.has_value();
    return host ? *node_address : answer.sent.source;
  }
};

}  // namespace sluice::report
