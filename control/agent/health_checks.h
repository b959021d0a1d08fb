// SPDX-License-Identifier: Apache-2.0
// Which Services have a health check port on this node, and what it says. Pure.
#pragma once

#include <map>

#include "control/agent/change_observer.h"
#include "control/desired/desired_state.h"
#include "control/health/health_server.h"

namespace sluice {

// Of `checked`, those that this node serves (`services`), with the number of their endpoints here
// that are ready: distinct addresses over all ports. Cost: linear in the endpoints of `checked`.
std::map<ObjectName, ServiceHealth> CountHealthChecks(
    const std::map<ObjectName, HealthCheckedService>& checked,
    const std::map<ServicePortName, DesiredService>& services);

}  // namespace sluice
