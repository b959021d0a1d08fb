// SPDX-License-Identifier: Apache-2.0
// A ClusterSink that keeps what it is told: the objects as they stand, the problems by origin, and
// a log of the calls in their order.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/source/cluster_source.h"

namespace sluice::testing {

// Thread: the source's.
class FakeClusterSink final : public ClusterSink {
 public:
  struct Problem {
    std::string object;
    std::string message;
    friend bool operator==(const Problem&, const Problem&) = default;
  };

  void SetService(model::Service service) override {
    const std::string name = NameOf(service.metadata());
    log.push_back("set Service " + name);
    services[name] = std::move(service);
  }
  void DeleteService(const std::string& name_space, const std::string& name) override {
    log.push_back("delete Service " + name_space + "/" + name);
    services.erase(name_space + "/" + name);
  }
  void SetEndpointSlice(model::EndpointSlice slice) override {
    const std::string name = NameOf(slice.metadata());
    log.push_back("set EndpointSlice " + name);
    slices[name] = std::move(slice);
  }
  void DeleteEndpointSlice(const std::string& name_space, const std::string& name) override {
    log.push_back("delete EndpointSlice " + name_space + "/" + name);
    slices.erase(name_space + "/" + name);
  }
  void SetNode(model::Node node) override {
    log.push_back("set Node " + node.metadata().name());
    nodes[node.metadata().name()] = std::move(node);
  }
  void DeleteNode(const std::string& name) override {
    log.push_back("delete Node " + name);
    nodes.erase(name);
  }
  void Synced() override {
    log.push_back("synced");
    ++synced;
  }
  void Reset() override { log.push_back("reset"); }
  void ReportProblem(const std::string& origin, const std::string& object,
                     const std::string& message) override {
    reports.push_back(object + ": " + message);
    problems[origin].push_back({object, message});
  }
  void ClearProblems(const std::string& origin) override { problems.erase(origin); }

  std::set<std::string> ServiceNames() const {
    std::set<std::string> names;
    for (const auto& [name, service] : services) names.insert(name);
    return names;
  }
  // All that stands reported, one "object: message" a line.
  std::string ProblemText() const {
    std::string text;
    for (const auto& [origin, list] : problems) {
      for (const Problem& problem : list) text += problem.object + ": " + problem.message + "\n";
    }
    return text;
  }

  std::map<std::string, model::Service> services;      // by "namespace/name"
  std::map<std::string, model::EndpointSlice> slices;  // by "namespace/name"
  std::map<std::string, model::Node> nodes;
  std::map<std::string, std::vector<Problem>> problems;  // by origin
  std::vector<std::string> log;
  std::size_t synced = 0;
  std::vector<std::string> reports;  // of problems, also of such as were cleared

 private:
  static std::string NameOf(const model::ObjectMeta& metadata) {
    return metadata.name_space() + "/" + metadata.name();
  }
};

}  // namespace sluice::testing
