// SPDX-License-Identifier: Apache-2.0
// A ClusterSink that only keeps what it is told, for tests that look at the cluster itself.
#pragma once

#include <string>
#include <utility>

#include "control/model/cluster_state.h"
#include "control/source/cluster_source.h"

namespace sluice::testing {

class StateSink final : public ClusterSink {
 public:
  explicit StateSink(std::string own_node = "node-1") : state_(std::move(own_node)) {}

  void SetService(model::Service service) override { state_.SetService(std::move(service)); }
  void DeleteService(const std::string& name_space, const std::string& name) override {
    state_.DeleteService({name_space, name});
  }
  void SetEndpointSlice(model::EndpointSlice slice) override {
    state_.SetEndpointSlice(std::move(slice));
  }
  void DeleteEndpointSlice(const std::string& name_space, const std::string& name) override {
    state_.DeleteEndpointSlice({name_space, name});
  }
  void SetNode(model::Node node) override { state_.SetNode(std::move(node)); }
  void DeleteNode(const std::string& name) override { state_.DeleteNode(name); }
  void Synced() override { state_.Synced(); }
  void Reset() override { state_.Reset(); }
  void ReportProblem(const std::string&, const std::string&, const std::string&) override {}
  void ClearProblems(const std::string&) override {}

  ClusterState& state() { return state_; }
  const ClusterState& state() const { return state_; }

 private:
  ClusterState state_;
};

}  // namespace sluice::testing
