// SPDX-License-Identifier: Apache-2.0
#include "control/base/short_text.h"

#include "absl/strings/ascii.h"

namespace sluice {

std::string ShortText(std::string_view text, std::size_t max_bytes) {
  std::size_t size = text.size();
  if (size > max_bytes) {
    size = max_bytes;
    // 10xxxxxx goes on with a character that began before it.
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80) --size;
  }
  std::string shown(text.substr(0, size));
  for (char& c : shown) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) c = ' ';
  }
  if (size < text.size()) shown += "...";
  return shown;
}

}  // namespace sluice
