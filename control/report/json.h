// SPDX-License-Identifier: Apache-2.0
// The JSON type of all reports: fields keep the order in which a report sets them, so that output
// reads the way the documentation lists it.
#pragma once

#include "nlohmann/json.hpp"

namespace sluice::report {

using Json = nlohmann::ordered_json;

}  // namespace sluice::report
