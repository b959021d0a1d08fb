// SPDX-License-Identifier: Apache-2.0
#include "control/report/map_report.h"

#include <bpf/libbpf.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "control/base/status_macros.h"
#include "control/report/output.h"

namespace sluice::report {
namespace {

using Align = TextTable::Align;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

std::optional<std::uint64_t> ParseMemlock(std::string_view fdinfo) {
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(fdinfo.data(), fdinfo.size()), '\n')) {
    absl::string_view value = line;
    std::uint64_t bytes = 0;
    if (absl::ConsumePrefix(&value, "memlock:") && absl::SimpleAtoi(value, &bytes)) return bytes;
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<MapReport>> ReadMapReports(const std::string& pins, const MapSet& maps) {
  ASSIGN_OR_RETURN(const std::vector<MapUse> uses, maps.Use());
  std::vector<MapReport> reports;
  for (const MapUse& use : uses) {
    ASSIGN_OR_RETURN(const BpfMap map, BpfMap::OpenPinned(absl::StrCat(pins, "/", use.name)));
    MapReport& report = reports.emplace_back();
    report.name = use.name;
    report.used = use.used;
    report.size = use.size;
    const char* type = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(map.shape().type));
    report.type = type != nullptr ? type : absl::StrCat("type ", map.shape().type);
    report.bytes = ParseMemlock(ReadFile(absl::StrCat("/proc/self/fdinfo/", map.fd())));
  }
  return reports;
}

double Percent(const MapReport& map) {
  if (map.size == 0) return 0;
  const double percent = 100.0 * static_cast<double>(map.used) / static_cast<double>(map.size);
  return std::round(percent * 10) / 10;
}

Json MapsToJson(const std::vector<MapReport>& maps, bool agent_runs) {
  Json array = Json::array();
  for (const MapReport& map : maps) {
    array.push_back({{"name", map.name},
                     {"type", map.type},
                     {"used", map.used},
                     {"size", map.size},
                     {"percent", Percent(map)},
                     {"bytes", map.bytes.has_value() ? Json(*map.bytes) : Json(nullptr)}});
  }
  return {{"agent", agent_runs ? "running" : "not running"}, {"maps", std::move(array)}};
}

std::string MapsToTable(const std::vector<MapReport>& maps) {
  TextTable table({{"NAME"},
                   {"TYPE"},
                   {"USED", Align::kRight},
                   {"SIZE", Align::kRight},
                   {"PERCENT", Align::kRight},
                   {"MEMORY", Align::kRight}});
  for (const MapReport& map : maps) {
    table.AddRow({map.name, map.type, absl::StrCat(map.used), absl::StrCat(map.size),
                  absl::StrFormat("%.1f", Percent(map)),
                  map.bytes.has_value() ? HumanBytes(*map.bytes) : ""});
  }
  return table.Render();
}

}  // namespace sluice::report
