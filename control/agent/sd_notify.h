// SPDX-License-Identifier: Apache-2.0
// Telling the service manager how far the agent is: sd_notify(3)'s protocol, one datagram.
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace sluice {

// Sends `state` ("READY=1") to `socket`, the value of $NOTIFY_SOCKET: a path, or "@name" of an
// abstract socket; empty: nobody asked, which is no error. Errors: INVALID_ARGUMENT for another
// kind of address, else as sendto(2).
absl::Status SdNotify(std::string_view socket, std::string_view state);

}  // namespace sluice
