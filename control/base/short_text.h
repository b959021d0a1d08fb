// SPDX-License-Identifier: Apache-2.0
// The beginning of a text that somebody else wrote, for places where it must not be long.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sluice {

// `text` on one line, control characters as blanks. What is longer than `max_bytes` is cut between
// two characters of UTF-8 and ends in "...", which come on top.
std::string ShortText(std::string_view text, std::size_t max_bytes);

}  // namespace sluice
