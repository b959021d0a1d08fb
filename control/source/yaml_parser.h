// SPDX-License-Identifier: Apache-2.0
// YAML text to trees, by libyaml. (kubectl's parser is a port of it to Go, so that both accept the
// same texts; DESIGN.md has the measurement against yaml-cpp.) JSON is read as the subset it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/source/value_tree.h"

namespace sluice {

struct YamlError {
  std::uint32_t line = 0;  // from 1 on
  std::uint32_t column = 0;
  std::string message;  // empty: no error
};

struct ParsedYaml {
  std::vector<ValueTree> documents;  // those before the error, without empty ones
  YamlError error;
  ValueTree broken;  // what was read of the document with the error: good for naming it, no more
};

// Reads UTF-8 `text`, whose first line has the number `first_line`. Thread-safe. Cost: linear.
ParsedYaml ParseYaml(std::string_view text, std::uint32_t first_line);

}  // namespace sluice
