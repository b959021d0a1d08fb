// SPDX-License-Identifier: Apache-2.0
// A cluster of N Services with one EndpointSlice each, as large on the wire as one of Kubernetes:
// with the fields that servers send and nobody here reads.
#pragma once

#include <cstdint>
#include <string>

#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"

namespace sluice::bench {

struct Cluster {
  int services = 10000;
  int endpoints = 10;  // of each service

  std::string ClusterIp(int service) const;
  std::string EndpointIp(std::uint32_t number) const;
  // The number of an endpoint; the first of `version` > 0 is one that no other slice has.
  std::uint32_t EndpointNumber(int service, int endpoint, std::uint32_t version) const;
  model::Service Service(int service) const;
  model::EndpointSlice Slice(int service, std::uint32_t version) const;
  model::Node Node(const std::string& name) const;
};

}  // namespace sluice::bench
