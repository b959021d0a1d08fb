// SPDX-License-Identifier: Apache-2.0
// What people are told instead of a reason's name.
#pragma once

#include <cstdint>
#include <string_view>

namespace sluice::report {

// enum sl_reason in words, to stand after a colon: "the client is in none of ...". Empty for a
// number that this build does not know and for SL_REASON_NONE.
std::string_view ReasonText(std::uint32_t reason);

// As above, by the name that JSON and metrics have for it.
std::string_view ReasonText(std::string_view name);

}  // namespace sluice::report
