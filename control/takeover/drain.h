// SPDX-License-Identifier: Apache-2.0
// The way back to another proxy without losing connections: sluice lets go of the services and
// keeps the connections that it has until they end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/gc/conntrack_sweep.h"
#include "maps/map_set.h"

namespace sluice {

// Thread: loop only. With no agent running: one would put the services back.
class Drain {
 public:
  // Told how many connections there still are after each sweep that found another number; the last
  // call says 0, or what went wrong.
  using Progress = std::function<void(const absl::StatusOr<std::uint64_t>& connections)>;

  // Empties the service table of the pins in `pin_folder`, and the range whose unknown addresses
  // are dropped: the programs then pass new connections on to the stack, and so to whoever else
  // balances them, while packets of the flows they know go where they went. Flows that end are
  // swept as the agent would, closed ones sooner: the ports they hold may be another's now.
  // Doing it again is no error. The arguments must outlive the result.
  // Errors: as MapSet::OpenPinned and Table; NOT_FOUND when there are no pins.
  static absl::StatusOr<std::unique_ptr<Drain>> Start(const std::string& pin_folder,
                                                      EventLoop& loop, const Clock& clock,
                                                      SweepTimeouts timeouts, Progress progress);
  ~Drain();

  // Addresses with a port that were served until now.
  std::size_t frontends() const { return frontends_; }

 private:
  Drain(MapSet maps, EventLoop& loop, Progress progress);
  absl::Status LetGo();
  absl::Status ForgetClosed();
  void Sweep();

  MapSet maps_;
  EventLoop& loop_;
  const Progress progress_;
  std::unique_ptr<ConntrackSweep> sweep_;
  EventLoop::TimerId timer_ = 0;
  std::size_t frontends_ = 0;
  std::optional<std::uint64_t> connections_;  // as last told
};

}  // namespace sluice
