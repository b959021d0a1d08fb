// SPDX-License-Identifier: Apache-2.0
// Writes Events to the Kubernetes API (events.k8s.io/v1), one at a time, in order.
#pragma once

#include <deque>
#include <string>

#include "control/agent/event_sink.h"
#include "control/agent/notice.h"
#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/kubernetes/api_client.h"

namespace sluice {

// The JSON of an Event as the API takes it. `instance`: which agent says it.
std::string EventJson(const ClusterEvent& event, const std::string& instance, absl::Time time);

// An event that the API does not take now is tried again a few times; one that it refuses, and what
// comes while 64 are waiting, is lost. Thread: loop only.
class ApiEventSink final : public EventSink {
 public:
  // All but the name must outlive the sink.
  ApiEventSink(std::string node_name, ApiClient& api, EventLoop& loop, const Clock& clock,
               NoticeSink notice);
  ~ApiEventSink() override;
  void Emit(const ClusterEvent& event) override;

 private:
  struct Waiting {
    std::string path;
    std::string body;
    int tries = 0;
  };

  void SendNext();
  void OnAnswer(const ApiEnd& end);

  const std::string instance_;
  ApiClient& api_;
  EventLoop& loop_;
  const Clock& clock_;
  const NoticeSink notice_;
  std::deque<Waiting> waiting_;  // the first is being sent, or waits for its next try
  bool busy_ = false;
  bool refused_said_ = false;
  ApiClient::RequestId request_ = 0;
  EventLoop::TimerId retry_ = 0;
};

}  // namespace sluice
