// SPDX-License-Identifier: Apache-2.0
#include "control/agent/socket_sweep.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
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
  SetStatus(look_status_, Look());
  RunAfter(options_.interval);
}

void SocketSweep::SetStatus(absl::Status& status, absl::Status now) {
  if (!now.ok() && status.ok()) notice_(Severity::kError, std::string(now.message()));
  status = std::move(now);
}

absl::Status SocketSweep::Look() {
  ++counts_.sweeps;
  auto lost = WalkSockets(options_.pin_folder);
  if (!lost.ok()) {
    return absl::Status(lost.status().code(),
                        absl::StrCat("look at connections: ", lost.status().message()));
  }
  std::erase_if(*lost, options_.has_endpoint);
  const bool wait = ender_ != nullptr || last_run_ns_ < end_not_before_ns_;
  if (options_.end_lost && !wait) SetStatus(end_status_, End(*std::move(lost)));
  return absl::OkStatus();
}

absl::Status SocketSweep::End(std::vector<abi::lost_socket> lost) {
  std::set<std::uint64_t> cookies;
  std::size_t again = 0;
  for (const abi::lost_socket& one : lost) {
    cookies.insert(one.cookie);
    again += tried_.contains(one.cookie) ? 1 : 0;
  }
  tried_ = std::move(cookies);
  const bool reached = counts_.not_reached + counts_.stuck == 0;
  if (lost.empty()) {
    counts_.not_reached = counts_.stuck = 0;
    return absl::OkStatus();
  }
  auto ender = SocketEnderProcess::Start(
      lost, loop_, [this](const absl::StatusOr<EndedSockets>& result) { OnEnded(result); });
  if (!ender.ok()) return Annotate(ender.status(), "--reset-removed");
  ender_ = *std::move(ender);
  if (again == 0 || !reached) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("--reset-removed: the kernel says that ", again,
                   " socket(s) whose endpoint is gone have ended, ",
                   "and they have not: has it CONFIG_INET_DIAG_DESTROY, and the modules tcp_diag "
                   "and udp_diag?"));
}

void SocketSweep::OnEnded(const absl::StatusOr<EndedSockets>& result) {
  ender_.reset();
  if (!result.ok()) return SetStatus(end_status_, Annotate(result.status(), "--reset-removed"));
  counts_.ended += result->ended;
  if (result->ended > 0) {
    notice_(Severity::kInfo,
            absl::StrCat("ended ", result->ended, " socket(s) whose endpoint is gone"));
  }
  if (result->not_reached > 0 && counts_.not_reached == 0) {
    notice_(Severity::kWarning,
            absl::StrCat(result->not_reached,
                         " socket(s) whose endpoint is gone are in network namespaces that sluiced "
                         "does not find in /run/netns, or may not enter (CAP_SYS_ADMIN): their "
                         "processes wait until their connections time out"));
  }
  if (result->stuck > 0) {
    end_not_before_ns_ = clock_.MonotonicNs() +
                         static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(options_.stuck_pause));
    notice_(Severity::kWarning,
            absl::StrCat(result->stuck,
                         " socket(s) whose endpoint is gone, or others of their network namespace, "
                         "are held by a process that sleeps in a call: not ended"));
  }
  counts_.not_reached = result->not_reached;
  counts_.stuck = result->stuck;
  if (result->error != 0) SetStatus(end_status_, ErrnoStatus(result->error, "--reset-removed"));
}

}  // namespace sluice
