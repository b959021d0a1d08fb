// SPDX-License-Identifier: Apache-2.0
// Kubernetes Events: what the agent tells those who look at an object with kubectl.
#pragma once

#include <string>

namespace sluice {

// An Event about an object. Values only.
struct ClusterEvent {
  std::string kind = {};  // of the object: "Node", "Service"
  std::string name_space = {};
  std::string name = {};
  std::string uid = {};
  bool warning = false;
  std::string reason = {};  // "Starting"
  std::string action = {};  // "StartKubeProxy"
  std::string note = {};
};

// Thread: loop only.
class EventSink {
 public:
  virtual ~EventSink() = default;
  // Never waits. An event that cannot be told is lost.
  virtual void Emit(const ClusterEvent& event) = 0;
};

}  // namespace sluice
