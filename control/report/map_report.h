// SPDX-License-Identifier: Apache-2.0
// `sluicectl maps`: how full each map is and what it takes of the kernel's memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "control/report/json.h"
#include "maps/map_set.h"

namespace sluice::report {

struct MapReport {
  std::string name;
  std::string type;  // as bpftool names it
  std::uint64_t used = 0;
  std::uint64_t size = 0;
  std::optional<std::uint64_t> bytes;  // of kernel memory, as far as the kernel says
};

// In the order of ExpectedMaps(). Cost: that of MapSet::Use(). Errors: as MapSet::OpenPinned.
absl::StatusOr<std::vector<MapReport>> ReadMapReports(const std::string& pins, const MapSet& maps);

// The kernel memory of a map from the text of its /proc/PID/fdinfo file; nullopt: not said there.
std::optional<std::uint64_t> ParseMemlock(std::string_view fdinfo);

// used/size in percent with one digit after the point; 0 for a map of no size.
double Percent(const MapReport& map);

// {agent, maps: [{name, type, used, size, percent, bytes}]}.
Json MapsToJson(const std::vector<MapReport>& maps, bool agent_runs);
std::string MapsToTable(const std::vector<MapReport>& maps);

}  // namespace sluice::report
