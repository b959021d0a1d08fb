// SPDX-License-Identifier: Apache-2.0
// The part of the agent that sweeps the table of flows, and sets right what is kept beside it.
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/agent/agent.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

constexpr absl::Duration kSweepInterval = absl::Seconds(5);

}  // namespace

void Agent::StartSweeps() {
  sweep_timer_ = loop_.RunAfter(kSweepInterval, [this] { SweepStep(); });
}

// What is set right with what a sweep has found.
absl::Status Agent::OnSwept() {
  const SweepCounts& counts = sweep_->counts();
  RETURN_IF_ERROR(Annotate(client_marks_->Finish(), "marks of clients"));
  RETURN_IF_ERROR(Annotate(load_count_->Finish(counts.connections), "count of connections"));
  RETURN_IF_ERROR(Annotate(snat_ports_->Finish(counts.snat_ports), "SNAT ports"));
  TellOfSnatPorts();
  return absl::OkStatus();
}

// Once, when ports of an address towards a destination begin to run out.
void Agent::TellOfSnatPorts() {
  for (const auto& [path, used] : snat_ports_->nearly_full()) {
    if (snat_told_.contains(path)) continue;
    const std::string note = NearlyFullText(path, used, snat_ports_->count());
    notice_(Severity::kWarning, note);
    Tell({.kind = "Node",
          .name = options_.node_name,
          .uid = options_.node_name,
          .warning = true,
          .reason = "SnatPortsNearlyUsed",
          .action = "Sweep",
          .note = note});
  }
  snat_told_ = snat_ports_->nearly_full();
}

void Agent::SweepStep() {
  const std::uint64_t begin_ns = clock_.MonotonicNs();
  if (!sweep_running_) load_count_->Begin(reconciler_->CountedBackends());
  absl::StatusOr<bool> ended = sweep_->Step();
  if (ended.ok() && *ended) {
    const absl::Status after = OnSwept();
    if (!after.ok()) ended = after;
  }
  sweep_running_ = ended.ok() && !*ended;
  sweep_time_ += absl::Nanoseconds(static_cast<std::int64_t>(clock_.MonotonicNs() - begin_ns));
  if (!sweep_running_) {
    if (ended.ok()) proxy_metrics_.sweep.Observe(absl::ToDoubleSeconds(sweep_time_));
    sweep_time_ = absl::ZeroDuration();
  }
  if (!ended.ok() && sweep_status_.ok()) {
    notice_(Severity::kError, absl::StrCat("sweep of flows: ", ended.status().message()));
  }
  sweep_status_ = ended.status();
  sweep_timer_ = loop_.RunAfter(sweep_running_ ? absl::ZeroDuration() : kSweepInterval,
                                [this] { SweepStep(); });
}

}  // namespace sluice
