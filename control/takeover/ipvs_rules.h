// SPDX-License-Identifier: Apache-2.0
// What kube-proxy's ipvs mode leaves: virtual servers, and a dummy device with their addresses.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/model/ip_address.h"

namespace sluice {

struct IpvsRemoval {
  std::vector<std::vector<std::string>> commands;  // arguments of ipvsadm, one call each
  std::vector<std::string> kept;                   // virtual servers that stay
};

// From the output of `ipvsadm -S -n`: kube-proxy's are the virtual servers on an address of its
// device, and those on another address of the node at a port of the NodePort range. Pure.
IpvsRemoval PlanIpvsRemoval(std::string_view saved, const std::set<IpAddress>& on_its_device,
                            const std::set<IpAddress>& on_other_devices);

struct NodeDevices {
  bool has_device = false;
  std::set<IpAddress> on_its_device;
  std::set<IpAddress> on_other_devices;
};

// The node's addresses, told apart by whether the named device holds them.
absl::StatusOr<NodeDevices> ReadDevices(const std::string& device);

// Deletes a network device. Errors: by errno; NOT_FOUND if there is none of that name.
absl::Status DeleteDevice(const std::string& device);

}  // namespace sluice
