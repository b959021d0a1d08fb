// SPDX-License-Identifier: Apache-2.0
#include "control/report/left_out.h"

namespace sluice::report {

std::string_view WhyLeftOut(const AgentBackend& backend, bool local_set) {
  if (local_set ? backend.in_local_set : backend.in_cluster_set) return "";
  if (local_set && !backend.local) return "on another node, and the policy is Local";
  if (backend.state == "notReady") return "not ready";
  if (backend.state == "terminating") return "terminating, while others are ready";
  // A ready endpoint on this node is always in the local set; of the cluster's only hints keep one.
  if (backend.state == "ready" && !local_set) return "the hints are for other zones or nodes";
  return "the agent does not say why";
}

}  // namespace sluice::report
