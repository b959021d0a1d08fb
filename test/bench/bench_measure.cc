// SPDX-License-Identifier: Apache-2.0
#include "test/bench/bench_measure.h"

#include <bpf/bpf.h>
#include <net/if.h>

#include <memory>
#include <utility>

#include "absl/strings/match.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "test/bench/bench_kernel.h"

namespace sluice::bench {
namespace {

absl::StatusOr<std::vector<ProgramSize>> ProgramSizes(const BenchKernel& kernel) {
  std::vector<ProgramSize> sizes;
  const auto add = [&sizes](const std::string& name, int fd) -> absl::Status {
    bpf_prog_info facts{};
    __u32 length = sizeof(facts);
    if (bpf_obj_get_info_by_fd(fd, &facts, &length) != 0) return ErrnoStatus(errno, name);
    sizes.push_back({name, facts.xlated_prog_len / sizeof(bpf_insn), facts.verified_insns});
    return absl::OkStatus();
  };
  for (const char* name :
       {"sl_from_pod", "sl_to_pod", "sl_from_net", "sl_to_net", "sl_xdp", "floor_next",
        "floor_redirect", "floor_parse", "floor_xdp_send", "floor_xdp_wrap"}) {
    RETURN_IF_ERROR(add(name, kernel.program(name)));
  }
  return sizes;
}

}  // namespace

absl::Status MeasureCluster(Part part, const Shape& shape,
                            const std::vector<std::uint32_t>& flow_counts, const Effort& effort,
                            Report& report) {
  ASSIGN_OR_RETURN(const std::unique_ptr<BenchKernel> kernel, BenchKernel::Create(SizesFor(shape)));
  RETURN_IF_ERROR(kernel->SetUplink(if_nametoindex("uplink")));
  if (report.programs.empty()) {
    ASSIGN_OR_RETURN(report.programs, ProgramSizes(*kernel));
  }
  Scenario scenario(*kernel, shape);
  CaseRunner runner(*kernel, scenario, effort);
  RETURN_IF_ERROR(scenario.WriteServices());
  const auto wanted = [&effort](const std::string& name) {
    return absl::StrContains(name, effort.only);
  };
  const auto measure = [&](const std::vector<Case>& cases) -> absl::Status {
    for (const Case& one : cases) {
      if (!wanted(one.name)) continue;
      absl::StatusOr<Measurement> measured = runner.Run(one);
      if (!measured.ok()) return Annotate(measured.status(), one.name);
      report.measurements.push_back(*std::move(measured));
    }
    return absl::OkStatus();
  };
  std::uint32_t written = 0;
  for (const std::uint32_t flows : flow_counts) {
    RETURN_IF_ERROR(scenario.WriteFlows(written, flows));
    written = flows;
    RETURN_IF_ERROR(
        measure(part == Part::kXdp ? runner.EarlyCases(flows) : runner.EstablishedCases(flows)));
  }
  if (part == Part::kTc && wanted("promotion to established")) {
    ASSIGN_OR_RETURN(Measurement promotion, runner.RunPromotion());
    report.measurements.push_back(std::move(promotion));
  }
  RETURN_IF_ERROR(scenario.FillFlows());
  return measure(part == Part::kXdp ? runner.EarlyNewCases() : runner.NewCases());
}

}  // namespace sluice::bench
