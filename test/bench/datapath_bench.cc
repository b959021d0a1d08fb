// SPDX-License-Identifier: Apache-2.0
// What a packet costs in the datapath, as a multiple of what it must cost at least (floor.bpf.c),
// measured in one run with rounds that alternate. DESIGN.md says what the figures mean and do not.
#include <array>
#include <iostream>
#include <memory>
#include <string>

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

absl::Status MeasureTc(const Effort& effort, Report& report) {
  for (const std::uint32_t services : {1u, 1000u, 10000u}) {
    RETURN_IF_ERROR(
        MeasureCluster(Part::kTc, {.services = services}, {1, 1000, 64000}, effort, report));
  }
  return MeasureCluster(Part::kTc, {.v6 = true, .services = 1000}, {1000}, effort, report);
}

absl::Status MeasureXdp(const Effort& effort, Report& report) {
  for (const bool dsr : {false, true}) {
    Shape shape{.pods = false, .dsr = dsr};
    for (const std::uint32_t services : {1u, 1000u, 10000u, 100000u}) {
      shape.services = services;
      if (services == 100000) shape.backends = 2;  // ten would be a million rows
      RETURN_IF_ERROR(
          MeasureCluster(Part::kXdp, shape, {1, 1000, BENCH_MAX_FLOWS}, effort, report));
    }
    RETURN_IF_ERROR(MeasureCluster(Part::kXdp,
                                   {.v6 = true, .services = 1000, .pods = false, .dsr = dsr},
                                   {1000}, effort, report));
  }
  return absl::OkStatus();
}

// `only`: "tc", "xdp" or empty.
absl::StatusOr<Report> MeasureAll(const std::string& only, const Effort& effort) {
  RETURN_IF_ERROR(StayOnThisCpu());
  ASSIGN_OR_RETURN(const std::unique_ptr<testing::NetNs> net, testing::NetNs::Create());
  RETURN_IF_ERROR(BuildNetwork(*net));
  Report report{.machine = ThisMachine(SLUICE_SOURCE_DIR),
                .rounds = static_cast<std::uint32_t>(effort.rounds)};
  if (only != "xdp") RETURN_IF_ERROR(MeasureTc(effort, report));
  if (only != "tc") RETURN_IF_ERROR(MeasureXdp(effort, report));
  return report;
}

int Main(int argc, char** argv) {
  CLI::App app("Nanoseconds, lookups and instructions of the datapath's programs");
  bool json = false;
  bool quick = false;
  std::string only;
  app.add_flag("--json", json, "print JSON instead of a table");
  app.add_flag("--quick", quick, "fewer and shorter rounds");
  app.add_option("--only", only, "the programs at TC, or sl_xdp and what it stands beside")
      ->check(CLI::IsMember({"tc", "xdp"}));
  CLI11_PARSE(app, argc, argv);
  const absl::StatusOr<Report> report =
      MeasureAll(only, quick ? Effort{.rounds = 3, .milliseconds = 4} : Effort{});
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
