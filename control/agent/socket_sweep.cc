// SPDX-License-Identifier: Apache-2.0
#include "control/agent/socket_sweep.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/datapath/socket_programs.h"

namespace sluice {

SocketSweep::SocketSweep(SocketSweepOptions options, EventLoop& loop, const Clock& clock,
                         NoticeSink notice)
    : options_(std::move(options)), loop_(loop), clock_(clock), notice_(std::move(notice)) {
  Soon();  // an agent before this one may have taken endpoints away and not come to their sockets
}

SocketSweep::~SocketSweep() { loop_.Cancel(timer_); }

void SocketSweep::Soon() {
  if (soon_) return;
  soon_ = true;
  absl::Duration wait = options_.delay;
  if (last_run_ns_ != 0) {
    const auto ago = static_cast<std::int64_t>(clock_.MonotonicNs() - last_run_ns_);
    wait = std::max(wait, options_.min_interval - absl::Nanoseconds(ago));
  }
  RunAfter(wait);
}

void SocketSweep::RunAfter(absl::Duration delay) {
  loop_.Cancel(timer_);
  timer_ = loop_.RunAfter(delay, [this] { Run(); });
}

void SocketSweep::Run() {
  soon_ = false;
  last_run_ns_ = clock_.MonotonicNs();
  const absl::Status status = Look();
  if (!status.ok() && status_.ok()) notice_(Severity::kError, std::string(status.message()));
  status_ = status;
  RunAfter(options_.interval);
}

absl::Status SocketSweep::Look() {
  ++counts_.sweeps;
  const auto lost = WalkSockets(options_.pin_folder);
  if (!lost.ok()) {
    return absl::Status(lost.status().code(),
                        absl::StrCat("look at connections: ", lost.status().message()));
  }
  const std::uint64_t not_reached_before = std::exchange(counts_.not_reached, 0);
  if (lost->empty() || !options_.end_lost) return absl::OkStatus();
  const EndedSockets result = EndSockets(*lost, options_.places);
  counts_.ended += result.ended;
  counts_.not_reached = result.not_reached;
  if (result.ended > 0) {
    notice_(Severity::kInfo,
            absl::StrCat("ended ", result.ended, " socket(s) whose endpoint is gone"));
  }
  if (result.not_reached > 0 && not_reached_before == 0) {
    notice_(
        Severity::kWarning,
        absl::StrCat(result.not_reached, " socket(s) whose endpoint is gone are in ",
                     result.out_of_reach.size(),
                     " network namespace(s) that sluiced does not find in ", options_.places.folder,
                     " or may not enter (CAP_SYS_ADMIN): their "
                     "processes wait until their connections time out"));
  }
  if (result.first_error.ok()) return absl::OkStatus();
  return absl::Status(result.first_error.code(),
                      absl::StrCat("--reset-removed: ", result.first_error.message()));
}

}  // namespace sluice
