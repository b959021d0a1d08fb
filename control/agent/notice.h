// SPDX-License-Identifier: Apache-2.0
// How the agent's parts tell people what happens: libraries do not log, the program that runs them
// does.
#pragma once

#include <functional>
#include <string>

namespace sluice {

enum class Severity { kDebug, kInfo, kWarning, kError };

using NoticeSink = std::function<void(Severity, const std::string&)>;

}  // namespace sluice
