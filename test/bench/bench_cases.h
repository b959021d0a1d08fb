// SPDX-License-Identifier: Apache-2.0
// What the benchmark times: one case is one kind of packet through one program, checked first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "test/bench/bench_kernel.h"
#include "test/bench/bench_report.h"
#include "test/bench/bench_scenario.h"

namespace sluice::bench {

struct Effort {
  int rounds = 9;
  double milliseconds = 20;  // of one timing
  std::string only = {};     // cases whose names have this in them; empty: all
};

inline constexpr std::uint32_t kChecked = 64;       // flows whose output is compared, of each case
inline constexpr std::uint32_t kFloorFlows = 1000;  // in turn, where the case has no fixed flows

struct Case {
  std::string name = {};
  Hook hook = Hook::kTc;
  std::string program = {};
  std::string floor = {};
  const char* device = "";
  Side side = Side::kPod;  // whose packets they are
  bool passed_on = false;  // as they are, encapsulated
  Turn turn = Turn::kRepeat;
  std::vector<Bytes> frames = {};
  std::vector<Bytes> expected = {};      // of the same flows; empty: only checksums are checked
  std::vector<Bytes> floor_frames = {};  // empty: the same as `frames`
  int verdict = 0;
  bool counted = true;  // the service's counters grow with each packet
  double budget = 0;
};

class CaseRunner {
 public:
  CaseRunner(BenchKernel& kernel, Scenario& scenario, const Effort& effort)
      : kernel_(kernel), scenario_(scenario), effort_(effort) {}

  // Established flows [0, flows), both directions, both sides; and packets of no service.
  std::vector<Case> EstablishedCases(std::uint32_t flows) const;
  // First packets; the tables must have been filled.
  std::vector<Case> NewCases() const;
  // The same of sl_xdp, with outside clients alone, and where they are not passed on, of the
  // program at TC that does the same.
  std::vector<Case> EarlyCases(std::uint32_t flows) const;
  std::vector<Case> EarlyNewCases() const;

  // Checks what comes out, counts calls, then times in rounds that alternate between wrapper,
  // floor and program. Errors: FAILED_PRECONDITION when a packet comes out wrong or is not counted.
  absl::StatusOr<Measurement> Run(const Case& one);
  // The first acknowledgment of flows that were answered: from sl_opening to sl_flows.
  absl::StatusOr<Measurement> RunPromotion();

 private:
  absl::Status Check(const Case& one, std::uint32_t ifindex);
  absl::Status CheckNew(const Case& one, const TimedRun& run);
  absl::Status CheckFloor(const Case& one, std::uint32_t ifindex);
  absl::StatusOr<Calls> Count(const Case& one, std::uint32_t ifindex);
  absl::StatusOr<Calls> CountNew(const Case& one, std::uint32_t ifindex);
  // Times all rounds into `result`.
  absl::Status Time(const Case& one, std::uint32_t ifindex, std::uint32_t packets,
                    Measurement& result);
  absl::StatusOr<std::uint32_t> PacketsFor(const Case& one, std::uint32_t ifindex);

  // A client outside of the cluster that has sent nothing yet.
  End NextClient();

  BenchKernel& kernel_;
  Scenario& scenario_;
  Effort effort_;
  std::uint16_t next_port_ = 4000;
};

}  // namespace sluice::bench
