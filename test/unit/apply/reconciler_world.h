// SPDX-License-Identifier: Apache-2.0
// A Reconciler over fake maps and a clock that the test moves.
#pragma once

#include <memory>
#include <optional>

#include "control/apply/reconciler.h"
#include "test/support/fake_clock.h"
#include "test/support/fake_table.h"
#include "test/support/map_checker.h"

namespace sluice::testing {

class ReconcilerWorld {
 public:
  explicit ReconcilerWorld(const MapLimits& limits = SmallLimits()) : maps_(limits) {
    node_.node_name = "node-1";
    node_.zone = "zone-a";
    node_.node_port_addresses = {*IpAddress::Parse("192.0.2.100"),
                                 *IpAddress::Parse("2001:db8::100")};
    StartAgent();
  }

  // A new agent over the same maps; what the source says has to be said again.
  void StartAgent() {
    Reconciler::Setup setup;
    setup.tables = maps_.Tables();
    setup.node_name = "node-1";
    setup.node_service = {"kube-system", "sluice"};
    setup.node_config = [this](const model::Node*) { return node_; };
    setup.wake = [this](absl::Duration delay) { wake_ = delay; };
    setup.source_generation = [this] { return generation_; };
    setup.on_change = [this] { ++changes_seen_; };
    wake_.reset();
    agent_ = std::make_unique<Reconciler>(std::move(setup), clock_, options_);
    start_status_ = agent_->Start();
  }

  // Lets time pass to the next wake, once. False: the agent waits for nothing.
  bool Step() {
    if (!wake_) return false;
    clock_.Advance(*wake_);
    wake_.reset();
    agent_->Run();
    return true;
  }
  // Until everything said so far is in the maps, or `steps` are over.
  bool Settle(int steps = 50) {
    ++generation_;  // a source's generation is past what it has said
    for (int i = 0; i < steps; ++i) {
      if (Settled()) return true;
      if (!Step()) return Settled();
    }
    return Settled();
  }
  bool Settled() const { return agent_->applied_generation() == generation_; }
  std::string CheckExact() const { return MapChecker(maps_).CheckExact(agent_->services()); }

  FakeMaps maps_;
  FakeClock clock_;
  ReconcilerOptions options_;  // of the agents that are started from now on
  NodeConfig node_;
  std::uint64_t generation_ = 1;
  int changes_seen_ = 0;
  std::optional<absl::Duration> wake_;
  absl::Status start_status_;
  std::unique_ptr<Reconciler> agent_;
};

}  // namespace sluice::testing
