// SPDX-License-Identifier: Apache-2.0
// Follows the sockets that were given a backend when they connected: has what their connections
// carry counted while they are open, and ends those whose backend is gone.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "control/agent/notice.h"
#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/datapath/socket_ender.h"

namespace sluice {

struct SocketSweepOptions {
  std::string pin_folder;
  bool end_lost = true;  // else sockets without a backend are only counted
  NetnsPlaces places;
  // Between two looks when nothing happens.
  absl::Duration interval = absl::Seconds(30);
  // After an endpoint has gone: whoever had just been given it has connected by then.
  absl::Duration delay = absl::Milliseconds(100);
  // Between two looks while endpoints go one after the other.
  absl::Duration min_interval = absl::Seconds(1);
};

struct SocketSweepCounts {
  std::uint64_t sweeps = 0;
  std::uint64_t ended = 0;        // by this agent
  std::uint64_t not_reached = 0;  // at the last look: lost, and in network namespaces out of reach
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
  // Of the last look.
  const absl::Status& status() const { return status_; }

 private:
  void RunAfter(absl::Duration delay);
  void Run();
  absl::Status Look();

  const SocketSweepOptions options_;
  EventLoop& loop_;
  const Clock& clock_;
  const NoticeSink notice_;
  SocketSweepCounts counts_;
  absl::Status status_;
  std::uint64_t last_run_ns_ = 0;  // 0: never
  bool soon_ = false;
  EventLoop::TimerId timer_ = 0;
};

}  // namespace sluice
