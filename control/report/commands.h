// SPDX-License-Identifier: Apache-2.0
// The commands of sluicectl. Each prints its report and returns the process's exit code; what goes
// wrong is said on the session's error stream.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/time/time.h"

#include "control/base/clock.h"
#include "control/report/session.h"
#include "control/report/trace.h"

namespace sluice::report {

enum ExitCode : int {
  kExitOk = 0,
  kExitNo = 1,      // sync: not in time; status: degraded; show: no such service
  kExitInput = 2,   // bad input; status: no agent runs
  kExitFailed = 3,  // could not be done: no maps, no permission, an error of the kernel's
};

// The flags of `conntrack list|flush`; empty: everything.
struct FlowArguments {
  std::string service;  // NS/NAME or NS/NAME:PORT
  std::string backend;  // ADDRESS or ADDRESS:PORT
};

int RunStatus(const Session& session, const Clock& clock);
// For probes of a container: whether the agent is alive, or ready.
int RunProbe(const Session& session, bool ready);
int RunSync(const Session& session, absl::Duration timeout);
int RunServiceList(const Session& session);
// `service`: NS/NAME or NS/NAME:PORT.
int RunServiceShow(const Session& session, const std::string& service);
int RunBackendList(const Session& session);
int RunConntrackList(const Session& session, const FlowArguments& arguments, const Clock& clock);
int RunConntrackFlush(const Session& session, const FlowArguments& arguments);
int RunDrops(const Session& session);
int RunMaps(const Session& session);
int RunInterfaces(const Session& session);
// `random_port`: a client's port, where the arguments name none.
int RunTraceCommand(const Session& session, const TraceArguments& arguments, const Clock& clock,
                    const std::function<std::uint16_t()>& random_port);

}  // namespace sluice::report
