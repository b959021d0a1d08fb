// SPDX-License-Identifier: Apache-2.0
// The part of BuildService() that reads EndpointSlices: which endpoints a port has, and which of
// them take new flows of the policies Cluster and Local.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "control/desired/service_frontends.h"

namespace sluice {

// Adds to `problems` what is wrong with the slices themselves, whatever the port: to be called
// once a Service.
void CheckSlices(std::span<const model::EndpointSlice* const> slices,
                 std::vector<Problem>& problems);

// The endpoints of `port`, joined by name and protocol, sorted by address and unique, with their
// states and sets. Sets are made for each family by itself. `with_nodes`: with the nodes' indices.
std::vector<DesiredBackend> BackendsOf(const PortSpec& port,
                                       std::span<const model::EndpointSlice* const> slices,
                                       const NodeConfig& node, bool with_nodes);

// Whether `slice` counts at all and has a port for `port`: else its endpoints are not the port's.
bool HasPort(const model::EndpointSlice& slice, const PortSpec& port);

// The name of the node that each of `backends` is on, by place; empty where the slices do not say.
// `port` and `slices`: as BackendsOf took them, or what has become of them since.
std::vector<std::string> NodeNamesOf(std::span<const DesiredBackend> backends, const PortSpec& port,
                                     std::span<const model::EndpointSlice* const> slices,
                                     const NodeConfig& node);

}  // namespace sluice
