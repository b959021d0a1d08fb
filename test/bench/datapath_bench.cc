// SPDX-License-Identifier: Apache-2.0
// What a packet costs in the datapath, as a multiple of what it must cost at least (floor.bpf.c),
// measured in one run with rounds that alternate. DESIGN.md says what the figures mean and do not.
#include <array>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include <CLI/CLI.hpp>

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "test/bench/bench_measure.h"
#include "test/bench/bench_report.h"
#include "test/bench/bench_scenario.h"
#include "test/bench/this_cpu.h"
#include "test/support/netns.h"

namespace sluice::bench {
namespace {

using Counts = std::vector<std::uint32_t>;

// `asked`: numbers of services; of `all` those are measured that are among them, all if none is.
Counts Chosen(const Counts& all, const Counts& asked) {
  if (asked.empty()) return all;
  Counts chosen;
  for (const std::uint32_t one : all) {
    if (absl::c_linear_search(asked, one)) chosen.push_back(one);
  }
  return chosen;
}

absl::Status MeasureTc(const Counts& asked, const Effort& effort, Report& report) {
  for (const std::uint32_t services : Chosen({1, 1000, 10000}, asked)) {
    RETURN_IF_ERROR(
        MeasureCluster(Part::kTc, {.services = services}, {1, 1000, 64000}, effort, report));
  }
  if (!asked.empty()) return absl::OkStatus();
  return MeasureCluster(Part::kTc, {.v6 = true, .services = 1000}, {1000}, effort, report);
}

absl::Status MeasureXdp(const Counts& asked, const Effort& effort, Report& report) {
  for (const bool dsr : {false, true}) {
    Shape shape{.pods = false, .dsr = dsr};
    for (const std::uint32_t services : Chosen({1, 1000, 10000, 100000}, asked)) {
      shape.services = services;
      if (services == 100000) shape.backends = 2;  // ten would be a million rows
      RETURN_IF_ERROR(
          MeasureCluster(Part::kXdp, shape, {1, 1000, BENCH_MAX_FLOWS}, effort, report));
    }
    if (!asked.empty()) continue;
    RETURN_IF_ERROR(MeasureCluster(Part::kXdp,
                                   {.v6 = true, .services = 1000, .pods = false, .dsr = dsr},
                                   {1000}, effort, report));
  }
  return absl::OkStatus();
}

// `part`: "tc", "xdp" or empty.
absl::StatusOr<Report> MeasureAll(const std::string& part, const Counts& services,
                                  const Effort& effort) {
  RETURN_IF_ERROR(StayOnThisCpu());
  ASSIGN_OR_RETURN(const std::unique_ptr<testing::NetNs> net, testing::NetNs::Create());
  RETURN_IF_ERROR(BuildNetwork(*net));
  Report report{.machine = ThisMachine(SLUICE_SOURCE_DIR),
                .rounds = static_cast<std::uint32_t>(effort.rounds)};
  if (part != "xdp") RETURN_IF_ERROR(MeasureTc(services, effort, report));
  if (part != "tc") RETURN_IF_ERROR(MeasureXdp(services, effort, report));
  return report;
}

int Main(int argc, char** argv) {
  CLI::App app("Nanoseconds, lookups and instructions of the datapath's programs");
  bool json = false;
  bool quick = false;
  std::string part;
  Counts services;
  Effort effort;
  app.add_flag("--json", json, "print JSON instead of a table");
  app.add_flag("--quick", quick, "fewer and shorter rounds");
  app.add_option("--only", part, "the programs at TC, or sl_xdp and what it stands beside")
      ->check(CLI::IsMember({"tc", "xdp"}));
  app.add_option("--services", services, "numbers of services, and IPv4 alone")
      ->check(CLI::IsMember({1, 1000, 10000, 100000}));
  app.add_option("--case", effort.only, "what the names of the packets have in them");
  app.add_option("--rounds", effort.rounds, "of each packet")->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  if (quick) {
    effort.rounds = 3;
    effort.milliseconds = 4;
  }
  const absl::StatusOr<Report> report = MeasureAll(part, services, effort);
  if (!report.ok()) {
    std::cerr << report.status() << "\n";
    return 1;
  }
  json ? PrintJson(*report, std::cout) : PrintTable(*report, std::cout);
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::Main(argc, argv); }
