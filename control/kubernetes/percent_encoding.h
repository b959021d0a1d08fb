// SPDX-License-Identifier: Apache-2.0
// Values in a URL's query.
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// `text` with every byte escaped that RFC 3986 does not leave unreserved.
std::string PercentEncode(std::string_view text);

}  // namespace sluice
