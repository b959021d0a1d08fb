// SPDX-License-Identifier: Apache-2.0
// The three output formats of sluicectl. A command makes one Json value and one TextTable; these
// functions turn the value into text, so that JSON and YAML can never say different things.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/report/json.h"

namespace sluice::report {

enum class OutputFormat { kTable, kJson, kYaml };

// Two blanks of indent and a final newline. Bytes that are not UTF-8 become U+FFFD.
std::string RenderJson(const Json& value);

// YAML 1.2 block style with a final newline; strings that a reader would take for a number, a
// boolean or null are quoted. `value` is as RenderJson takes it.
std::string RenderYaml(const Json& value);

// Columns of text, each as wide as its widest cell, two blanks apart, no blanks at the line's end.
class TextTable {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
  };

  explicit TextTable(std::vector<Column> columns);

  // Requires: as many cells as columns. An empty cell is shown as "-".
  void AddRow(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // The title line, then one line a row. Cost: linear in the text.
  std::string Render() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "950", "12.3k", "4.56M": three digits at least, decimal units.
std::string HumanCount(std::uint64_t count);
// "950B", "12.3KiB", "4.56MiB": the same in binary units.
std::string HumanBytes(std::uint64_t bytes);
// "42s", "5m12s", "3h07m", "2d04h".
std::string HumanSeconds(std::uint64_t seconds);

}  // namespace sluice::report
