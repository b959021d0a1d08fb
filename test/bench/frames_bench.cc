// SPDX-License-Identifier: Apache-2.0
// Packets per second of one processor, of the same packets by every way through a node: by XDP, by
// TC, by the stack, and by the rules that kube-proxy writes. DESIGN.md says what the figures mean.
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "control/base/status_macros.h"
#include "test/bench/bench_report.h"
#include "test/bench/frames_ways.h"
#include "test/bench/spread.h"
#include "test/bench/this_cpu.h"

namespace sluice::bench {
namespace {

constexpr std::uint32_t kServices = 1000;
constexpr char kReference[] = "stack: kube-proxy's nftables";

struct Effort {
  int rounds = 9;
  double milliseconds = 50;  // of one way in a round
};

struct Row {
  std::string way;
  std::uint32_t flows = 0;  // 0: every packet is a new one's
  Spread rate = {};         // frames that have arrived, a second
  Spread ratio = {};        // to kReference, of one round each
  double lost = 0;          // the share of frames that have not
};

absl::Status Wrong(const Way& way, const std::string& what) {
  return absl::FailedPreconditionError(absl::StrCat(way.name, ": ", what));
}

class Bench {
 public:
  Bench(Ways& ways, const Effort& effort) : ways_(ways), effort_(effort) {}

  // All ways side by side, with that many established flows; 0: with new ones.
  absl::StatusOr<std::vector<Row>> Measure(std::uint32_t flows);

 private:
  struct Timing {
    const Way* way;
    std::uint32_t packets = 0;
    std::uint64_t sent = 0;
    std::uint64_t arrived = 0;
    std::vector<double> rates = {};
  };

  absl::Status Check(const Way& way, std::uint32_t flows);
  absl::Status Time(Timing& timing, std::uint32_t flows);
  absl::StatusOr<std::uint64_t> Sent(const Way& way, std::uint32_t flows, std::uint32_t packets,
                                     double& ns);

  Ways& ways_;
  Effort effort_;
};

// Sends, and checks that the way was the one that it should be. Return: how many have arrived.
absl::StatusOr<std::uint64_t> Bench::Sent(const Way& way, std::uint32_t flows,
                                          std::uint32_t packets, double& ns) {
  RETURN_IF_ERROR(way.node->Enter());
  if (flows == 0 && way.kind == Kind::kMasqueraded) {
    RETURN_IF_ERROR(way.node->ForgetConnections());
  }
  ASSIGN_OR_RETURN(const std::uint64_t counted, way.cluster->scenario->CountedPackets());
  ASSIGN_OR_RETURN(const std::uint64_t before, ways_.end().Arrived());
  ASSIGN_OR_RETURN(ns, ways_.Send(way, packets));
  ASSIGN_OR_RETURN(const std::uint64_t after, ways_.end().Arrived());
  ASSIGN_OR_RETURN(const std::uint64_t now, way.cluster->scenario->CountedPackets());
  if (now - counted != (way.sluice ? packets : 0)) {
    return Wrong(way, absl::StrCat(now - counted, " of ", packets, " packets were counted"));
  }
  return after - before;
}

absl::Status Bench::Check(const Way& way, std::uint32_t flows) {
  const std::vector<Bytes> expected = ways_.Expected(way);
  const std::uint32_t checked = flows == 0 ? kChecked : std::min(flows, kChecked);
  double unused = 0;
  ways_.end().Keep(checked);
  RETURN_IF_ERROR(Sent(way, flows, checked, unused).status());
  ASSIGN_OR_RETURN(const std::vector<Bytes> frames, ways_.end().Kept());
  if (frames.size() != checked) {
    return Wrong(way, absl::StrCat(frames.size(), " of ", checked, " frames have arrived"));
  }
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (expected.empty()) {
      RETURN_IF_ERROR(Annotate(ways_.CheckPart(way, frames[i]), way.name));
      continue;
    }
    const std::string difference = testing::Difference(expected[i], frames[i]);
    if (!difference.empty()) return Wrong(way, difference);
  }
  return absl::OkStatus();
}

absl::Status Bench::Time(Timing& timing, std::uint32_t flows) {
  double ns = 0;
  ASSIGN_OR_RETURN(const std::uint64_t arrived, Sent(*timing.way, flows, timing.packets, ns));
  timing.sent += timing.packets;
  timing.arrived += arrived;
  timing.rates.push_back(static_cast<double>(arrived) / ns * 1e9);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Row>> Bench::Measure(std::uint32_t flows) {
  std::vector<Timing> timings;
  for (const Way& way : ways_.all()) {
    if (flows == 0 && !way.opens) continue;
    Timing timing{.way = &way, .packets = std::max(flows, std::uint32_t{20000})};
    RETURN_IF_ERROR(Check(way, flows));
    RETURN_IF_ERROR(Time(timing, flows));
    // Established flows each twice; new ones no more than the kernel tracks.
    const double fitting = timing.rates.front() * effort_.milliseconds / 1e3;
    timing.packets = flows == 0 ? static_cast<std::uint32_t>(std::min(fitting, 100000.0))
                                : std::max(2 * flows, static_cast<std::uint32_t>(fitting));
    timing = {.way = &way, .packets = timing.packets};
    timings.push_back(std::move(timing));
  }
  for (int round = 0; round < effort_.rounds; ++round) {
    for (Timing& timing : timings) RETURN_IF_ERROR(Time(timing, flows));
  }
  const auto reference = std::find_if(timings.begin(), timings.end(), [](const Timing& timing) {
    return timing.way->name == kReference;
  });
  std::vector<Row> rows;
  for (const Timing& timing : timings) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < timing.rates.size(); ++i) {
      ratios.push_back(timing.rates[i] / reference->rates[i]);
    }
    rows.push_back(
        {.way = timing.way->name,
         .flows = flows,
         .rate = SpreadOf(timing.rates),
         .ratio = SpreadOf(ratios),
         .lost = 1 - static_cast<double>(timing.arrived) / static_cast<double>(timing.sent)});
  }
  return rows;
}

absl::StatusOr<std::vector<Row>> MeasureAll(const Effort& effort) {
  RETURN_IF_ERROR(StayOnThisCpu());
  ASSIGN_OR_RETURN(const std::unique_ptr<Ways> ways, Ways::Create(kServices));
  Bench bench(*ways, effort);
  std::vector<Row> rows;
  for (const std::uint32_t flows : {1u, 1000u, std::uint32_t{BENCH_MAX_FLOWS}, 0u}) {
    RETURN_IF_ERROR(flows == 0 ? ways->Open() : ways->Establish(flows));
    ASSIGN_OR_RETURN(std::vector<Row> more, bench.Measure(flows));
    std::move(more.begin(), more.end(), std::back_inserter(rows));
  }
  return rows;
}

void PrintTable(const Machine& machine, const Effort& effort, const std::vector<Row>& rows) {
  std::cout
      << MachineText(machine)
      << absl::StreamFormat(
             "\nframes a second of one processor, which makes them, lets them through and takes "
             "them;\n"
             "medians of %d rounds with the range, and of the ratios to kube-proxy's nftables;\n"
             "%d services x 10 backends, IPv4, frames of %d bytes\n\n",
             effort.rounds, kServices, BENCH_FRAME_SIZE);
  std::cout << absl::StreamFormat("%-30s %8s %10s %22s %20s %6s\n", "way", "flows", "frames/s", "",
                                  "x nftables", "lost");
  for (const Row& row : rows) {
    const std::string range = absl::StrFormat("(%.0f-%.0f)", row.rate.least, row.rate.most);
    const std::string ratio =
        absl::StrFormat("%.2f (%.2f-%.2f)", row.ratio.median, row.ratio.least, row.ratio.most);
    std::cout << absl::StreamFormat("%-30s %8s %10.0f %22s %20s %5.1f%%\n", row.way,
                                    row.flows == 0 ? "all new" : absl::StrCat(row.flows),
                                    row.rate.median, range, ratio, 100 * row.lost);
  }
}

void PrintJson(const Machine& machine, const Effort& effort, const std::vector<Row>& rows) {
  nlohmann::json json = {{"machine", JsonOf(machine)}, {"rounds", effort.rounds}};
  for (const Row& row : rows) {
    json["rows"].push_back({{"way", row.way},
                            {"flows", row.flows},
                            {"framesPerSecond", JsonOf(row.rate)},
                            {"ratio", JsonOf(row.ratio)},
                            {"lost", row.lost}});
  }
  std::cout << json.dump(2) << "\n";
}

int Main(int argc, char** argv) {
  CLI::App app("Frames a second through a node, by XDP, TC, the stack and kube-proxy's rules");
  bool json = false;
  bool quick = false;
  app.add_flag("--json", json, "print JSON instead of a table");
  app.add_flag("--quick", quick, "fewer and shorter rounds");
  CLI11_PARSE(app, argc, argv);
  const Effort effort = quick ? Effort{.rounds = 3, .milliseconds = 20} : Effort{};
  const absl::StatusOr<std::vector<Row>> rows = MeasureAll(effort);
  if (!rows.ok()) {
    std::cerr << rows.status() << "\n";
    return 1;
  }
  const Machine machine = ThisMachine(SLUICE_SOURCE_DIR);
  json ? PrintJson(machine, effort, *rows) : PrintTable(machine, effort, *rows);
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::Main(argc, argv); }
