// SPDX-License-Identifier: Apache-2.0
// What Services were given in file mode, kept in <state-dir>/allocations.json so that a restart
// gives the same again.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "control/model/cluster_state.h"
#include "control/model/ip_address.h"

namespace sluice {

// What one Service was given; what its manifest says itself is not here.
struct Allocation {
  std::optional<IpAddress> v4;
  std::optional<IpAddress> v6;
  std::map<std::string, std::uint16_t> node_ports;  // "80/TCP" -> port
  std::uint16_t health_check_node_port = 0;         // 0: none

  bool empty() const { return !v4 && !v6 && node_ports.empty() && health_check_node_port == 0; }
  friend bool operator==(const Allocation&, const Allocation&) = default;
};

using Allocations = std::map<ObjectName, Allocation>;

struct LoadedAllocations {
  Allocations allocations;
  absl::Status status;  // why some or all of what was kept could not be used
};

// Reads `path`. No file: nothing was given yet. A file that cannot be understood is renamed to
// `path`.corrupt, for people to look at, and DATA_LOSS says so; values are then chosen anew, which
// by their hash gives mostly the same. Cost: one read.
LoadedAllocations LoadAllocations(const std::string& path);

// Replaces `path` so that a crash leaves either the old or the new content. Errors: as open(2),
// write(2), fsync(2), rename(2).
absl::Status SaveAllocations(const std::string& path, const Allocations& allocations);

}  // namespace sluice
