// SPDX-License-Identifier: Apache-2.0
#include "control/report/drop_report.h"

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"

#include "control/base/names.h"
#include "control/report/output.h"

namespace sluice::report {
namespace {

using Align = TextTable::Align;

}  // namespace

std::vector<DropReport> BuildDropReports(const PinnedState& state) {
  std::vector<DropReport> reports;
  for (const auto& [key, count] : state.drops) {
    reports.push_back({std::string(ReasonName(key.reason)), ServiceLabelOf(state, key.service_id),
                       count.packets});
  }
  std::sort(reports.begin(), reports.end(), [](const DropReport& a, const DropReport& b) {
    return std::tie(b.packets, a.reason, a.service) < std::tie(a.packets, b.reason, b.service);
  });
  return reports;
}

Json DropsToJson(const std::vector<DropReport>& drops, const std::vector<AgentDrop>* samples) {
  Json array = Json::array();
  for (const DropReport& drop : drops) {
    array.push_back(
        {{"reason", drop.reason}, {"service", drop.service}, {"packets", drop.packets}});
  }
  Json recent = Json::array();
  for (const AgentDrop& drop : samples == nullptr ? std::vector<AgentDrop>() : *samples) {
    recent.push_back({{"time", drop.time},
                      {"reason", drop.reason},
                      {"service", drop.service},
                      {"protocol", drop.protocol},
                      {"source", drop.source},
                      {"destination", drop.destination},
                      {"interface", drop.interface},
                      {"hook", drop.hook},
                      {"length", drop.length}});
  }
  return {{"agent", samples == nullptr ? "not running" : "running"},
          {"drops", array},
          {"samples", recent}};
}

std::string DropsToTable(const std::vector<DropReport>& drops,
                         const std::vector<AgentDrop>* samples) {
  TextTable totals({{"REASON"}, {"SERVICE"}, {"PACKETS", Align::kRight}});
  for (const DropReport& drop : drops) {
    totals.AddRow({drop.reason, drop.service, HumanCount(drop.packets)});
  }
  std::string text = totals.Render();
  if (samples == nullptr || samples->empty()) return text;
  TextTable recent({{"TIME"},
                    {"REASON"},
                    {"SERVICE"},
                    {"PROTOCOL"},
                    {"SOURCE"},
                    {"DESTINATION"},
                    {"INTERFACE"},
                    {"HOOK"},
                    {"LENGTH", Align::kRight}});
  for (const AgentDrop& drop : *samples) {
    recent.AddRow({drop.time, drop.reason, drop.service, drop.protocol, drop.source,
                   drop.destination, drop.interface, drop.hook, absl::StrCat(drop.length)});
  }
  absl::StrAppend(&text, "\n", recent.Render());
  return text;
}

}  // namespace sluice::report
