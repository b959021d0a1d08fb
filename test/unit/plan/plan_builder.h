// SPDX-License-Identifier: Apache-2.0
// Services small enough to read, and plans for them as lines.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>
#include <utility>
#include <vector>

#include "control/plan/planner.h"

namespace sluice {

inline constexpr std::uint64_t kNow = 5'000'000'000'000;

inline IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

inline DesiredBackend Backend(const std::string& address, bool local = false) {
  DesiredBackend backend;
  backend.address = {Ip(address), 8080, IPPROTO_TCP};
  backend.local = local;
  backend.in_cluster_set = true;
  backend.in_local_set = local;
  return backend;
}

inline DesiredService Web(std::vector<DesiredBackend> backends, const std::string& name = "web",
                          const std::string& cluster_ip = "192.0.2.1") {
  DesiredService service;
  service.name = {"default", name, "http", IPPROTO_TCP};
  service.frontends = {{Ip(cluster_ip), 80, IPPROTO_TCP, abi::SL_FRONTEND_CLUSTER_IP}};
  service.backends = std::move(backends);
  return service;
}

inline PlannedUpdate Plan(const MapState& state, const DesiredService& service,
                          std::uint64_t now = kNow) {
  const std::vector<ServiceChange> changes = {{service.name, &service}};
  return PlanUpdate(state, changes, {.now_ns = now});
}

inline PlannedUpdate PlanRemoval(const MapState& state, const std::string& name = "web") {
  const std::vector<ServiceChange> changes = {{{"default", name, "http", IPPROTO_TCP}, nullptr}};
  return PlanUpdate(state, changes, {.now_ns = kNow});
}

inline void Carry(MapState& state, const DesiredService& service, std::uint64_t now = kNow) {
  const PlannedUpdate update = Plan(state, service, now);
  ASSERT_THAT(update.refused, ::testing::IsEmpty());
  state.Apply(update.plan);
}

// The lines of a plan without the agent's own books.
inline std::vector<std::string> Writes(const MapPlan& plan) {
  std::vector<std::string> lines;
  for (const MapStep& step : plan.steps) {
    if (IsBookkeeping(step)) continue;
    const std::string text = ToString(MapPlan{{step}});
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find('\n', at);
      lines.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  }
  return lines;
}

}  // namespace sluice
