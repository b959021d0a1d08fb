// SPDX-License-Identifier: Apache-2.0
// Keeps a NetworkState equal to the kernel's while the agent runs.
#pragma once

#include <functional>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/event_loop.h"
#include "control/datapath/netlink_socket.h"
#include "control/datapath/network_state.h"
#include "control/datapath/xdp_features.h"

namespace sluice {

// Links are followed message by message, so that a new pod's interface is known at once. Addresses
// and default routes are read anew a moment after anything that may have changed them: the kernel
// removes routes silently when a link goes down or an address goes. Thread: loop only.
class NetworkMonitor {
 public:
  // `loop` must outlive the monitor. `xdp`: whether Link::xdp_features is wanted.
  static absl::StatusOr<std::unique_ptr<NetworkMonitor>> Create(EventLoop& loop, bool xdp);
  ~NetworkMonitor();

  // Reads everything, then calls `on_change` after each change of state(), also once before it
  // returns.
  absl::Status Start(std::function<void()> on_change);
  const NetworkState& state() const { return state_; }
  // The last failure to read what changed, OK once it has been read since. What drivers say of XDP
  // does not count: where it cannot be read they take no frames.
  const absl::Status& status() const { return status_; }

 private:
  NetworkMonitor(EventLoop& loop, NetlinkSocket events, std::unique_ptr<XdpFeatures> features);
  void ReadFeatures(std::map<int, Link>& links);
  void OnEvents();
  void OnFeatures();
  // True when the links changed.
  bool Take(const nlmsghdr& message);
  void ScheduleRead();
  void ReadAll();

  EventLoop& loop_;
  NetlinkSocket events_;
  std::unique_ptr<XdpFeatures> features_;  // null: the kernel does not say
  std::function<void()> on_change_;
  NetworkState state_;
  absl::Status status_;
  EventLoop::TimerId read_timer_ = 0;
};

}  // namespace sluice
