// SPDX-License-Identifier: Apache-2.0
// A KubeSource against an API server for tests, on a loop that the test turns.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"

#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/kubernetes/curl_client.h"
#include "control/source/kube_source.h"
#include "test/support/fake_api_server.h"
#include "test/support/fake_cluster_sink.h"

namespace sluice::testing {

inline constexpr char kNodeName[] = "node-a";

inline model::Service MakeService(const std::string& name, const std::string& ip) {
  model::Service service;
  service.mutable_metadata()->set_name(name);
  service.mutable_metadata()->set_name_space("default");
  service.mutable_spec()->set_cluster_ip(ip);
  service.mutable_spec()->add_cluster_ips(ip);
  service.mutable_spec()->set_type("ClusterIP");
  model::ServicePort& port = *service.mutable_spec()->add_ports();
  port.set_port(80);
  port.set_protocol("TCP");
  return service;
}

inline model::EndpointSlice MakeSlice(const std::string& service, const std::string& address) {
  model::EndpointSlice slice;
  slice.mutable_metadata()->set_name(service + "-1");
  slice.mutable_metadata()->set_name_space("default");
  (*slice.mutable_metadata()->mutable_labels())[kServiceNameLabel] = service;
  slice.set_address_type("IPv4");
  slice.add_endpoints()->add_addresses(address);
  return slice;
}

inline model::Node MakeNode(const std::string& name) {
  model::Node node;
  node.mutable_metadata()->set_name(name);
  model::NodeAddress& address = *node.mutable_status()->add_addresses();
  address.set_type("InternalIP");
  address.set_address("192.0.2.1");
  return node;
}

class KubeSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok());
    loop_ = *std::move(loop);
    auto http = CurlClient::Create(*loop_);
    ASSERT_TRUE(http.ok());
    http_ = *std::move(http);
    options_.node_name = kNodeName;
    options_.reflector.retry_min = absl::Milliseconds(10);
    options_.reflector.retry_max = absl::Milliseconds(100);
    options_.on_service_cidrs = [this](std::vector<IpPrefix> cidrs) {
      cidrs_ = std::move(cidrs);
      ++cidrs_told_;
    };
    options_.on_recovery = [this](const std::string& what) { recoveries_.push_back(what); };
    kube_.qps = 1000;
    kube_.burst = 1000;
    kube_.service_account_folder = "/nonexistent";
  }

  void StartServer(FakeApiOptions options = {}) {
    auto server = FakeApiServer::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.status().message();
    server_ = *std::move(server);
    if (kube_.masters.empty()) kube_.masters = {server_->url()};
  }

  // One Service with an endpoint, and our Node.
  void Populate() {
    server_->Set(MakeNode(kNodeName));
    server_->Set(MakeNode("node-b"));
    server_->Set(MakeService("web", "10.96.0.10"));
    server_->Set(MakeSlice("web", "10.244.0.2"));
  }

  void StartSource() {
    auto config = LoadApiConfig(kube_, [](const char*) { return std::string(); });
    ASSERT_TRUE(config.ok()) << config.status().message();
    api_ = std::make_unique<ApiClient>(*std::move(config), kube_, *http_, *loop_, clock_);
    source_ = std::make_unique<KubeSource>(options_, *api_, *loop_, clock_);
    ASSERT_TRUE(source_->Start(sink_).ok());
  }

  // Turns the loop until `condition` holds. False: it does not within `limit`.
  bool Turn(const std::function<bool()>& condition, absl::Duration limit = absl::Seconds(20)) {
    const absl::Time end = absl::Now() + limit;
    std::function<void()> look = [&] {
      if (condition() || absl::Now() >= end) return loop_->Stop();
      loop_->RunAfter(absl::Milliseconds(1), look);
    };
    look();
    loop_->Run();
    return condition();
  }
  bool TurnUntilSynced() {
    return Turn([this] { return sink_.synced > 0; });
  }
  const StreamStatus& Stream(const std::string& resource) {
    status_ = source_->Status();
    for (const StreamStatus& stream : status_.streams) {
      if (stream.resource == resource) return stream;
    }
    ADD_FAILURE() << resource;
    return status_.streams.front();
  }
  bool HasProblem(const std::string& text) const {
    return sink_.ProblemText().find(text) != std::string::npos;
  }

  // Also if it was over before the test looked.
  bool WasReported(const std::string& text) const {
    return std::any_of(sink_.reports.begin(), sink_.reports.end(), [&](const std::string& report) {
      return report.find(text) != std::string::npos;
    });
  }

  SystemClock clock_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<CurlClient> http_;
  KubeOptions kube_;
  KubeSourceOptions options_;
  std::unique_ptr<FakeApiServer> server_;
  FakeClusterSink sink_;
  std::vector<IpPrefix> cidrs_;
  int cidrs_told_ = 0;
  std::vector<std::string> recoveries_;
  SourceStatus status_;
  std::unique_ptr<ApiClient> api_;
  std::unique_ptr<KubeSource> source_;
};

}  // namespace sluice::testing
