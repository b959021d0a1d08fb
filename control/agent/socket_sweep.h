// SPDX-License-Identifier: Apache-2.0
// Follows the sockets that were given a backend when they connected: has what their connections
// carry counted while they are open, and ends those whose backend is gone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/agent/notice.h"
#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/datapath/socket_ender_process.h"
#include "maps/connection.h"

namespace sluice {

struct SocketSweepOptions {
  std::string pin_folder;
  bool end_lost = true;  // else sockets without a backend are left alone
  // Whether an endpoint is there now under that address, port and protocol: one that was taken away
  // and put back has another row, and connections to it work. Called from the loop.
  std::function<bool(const abi::lost_socket&)> has_endpoint;
  // Between two looks when nothing happens; far below the time in which a connection counts 2^31
  // segments (maps/connection.h).
  absl::Duration interval = absl::Seconds(30);
  // After an endpoint has gone: whoever had just been given it has connected by then, and an
  // endpoint that is only moved from one slice to another is back.
  absl::Duration delay = absl::Milliseconds(200);
  // Between two looks while endpoints go one after the other.
  absl::Duration min_interval = absl::Seconds(1);
  // After a socket could not be ended because its process held it.
  absl::Duration stuck_pause = absl::Minutes(1);
};

struct SocketSweepCounts {
  std::uint64_t sweeps = 0;
  std::uint64_t ended = 0;        // by this agent
  std::uint64_t not_reached = 0;  // of the last that were to be ended: in namespaces out of reach
  std::uint64_t stuck = 0;        // of those: in namespaces where a process held one
};

// Thread: loop only.
class SocketSweep {
 public:
  // `loop` and `clock` must outlive this.
  SocketSweep(SocketSweepOptions options, EventLoop& loop, const Clock& clock, NoticeSink notice);
  ~SocketSweep();
  SocketSweep(const SocketSweep&) = delete;
  SocketSweep& operator=(const SocketSweep&) = delete;

  // Endpoints have gone.
  void Soon();

  const SocketSweepCounts& counts() const { return counts_; }
  // Of the last look, and of the last sockets that were to be ended.
  absl::Status status() const { return look_status_.ok() ? end_status_ : look_status_; }

 private:
  void RunAfter(absl::Duration delay);
  void Run();
  absl::Status Look();
  absl::Status End(std::vector<abi::lost_socket> lost);
  void OnEnded(const absl::StatusOr<EndedSockets>& result);
  void SetStatus(absl::Status& status, absl::Status now);

  const SocketSweepOptions options_;
  EventLoop& loop_;
  const Clock& clock_;
  const NoticeSink notice_;
  SocketSweepCounts counts_;
  absl::Status look_status_;
  absl::Status end_status_;
  std::uint64_t last_run_ns_ = 0;  // 0: never
  std::uint64_t end_not_before_ns_ = 0;
  bool soon_ = false;
  std::set<std::uint64_t> tried_;  // cookies of those that were to be ended last
  std::unique_ptr<SocketEnderProcess> ender_;
  EventLoop::TimerId timer_ = 0;
};

}  // namespace sluice
