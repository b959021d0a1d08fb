// SPDX-License-Identifier: Apache-2.0
#include "control/agent/api_event_sink.h"

#include <deque>
#include <map>

#include "gmock/gmock.h"
#include <nlohmann/json.hpp>

#include "test/support/fake_clock.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using Json = nlohmann::json;

// Answers each request with the next code of its script, and then with 201.
class ScriptedHttp final : public HttpClient {
 public:
  explicit ScriptedHttp(EventLoop& loop) : loop_(loop) {}
  ExchangeId Start(HttpRequest request, HttpStream& stream) override {
    requests.push_back(std::move(request));
    const ExchangeId id = ++last_id_;
    open_[id] = &stream;
    loop_.Post([this, id] { Answer(id); });
    return id;
  }
  void Cancel(ExchangeId id) override { open_.erase(id); }

  std::vector<HttpRequest> requests;
  std::deque<int> codes;

 private:
  void Answer(ExchangeId id) {
    const auto found = open_.find(id);
    if (found == open_.end()) return;
    HttpStream& stream = *found->second;
    HttpHead head;
    head.code = 201;
    if (!codes.empty()) {
      head.code = codes.front();
      codes.pop_front();
    }
    stream.OnHead(head);
    open_.erase(id);
    stream.OnEnd(absl::OkStatus());
  }

  EventLoop& loop_;
  ExchangeId last_id_ = 0;
  std::map<ExchangeId, HttpStream*> open_;
};

ClusterEvent Starting() {
  ClusterEvent event;
  event.kind = "Node";
  event.name = "n1";
  event.uid = "n1";
  event.reason = "Starting";
  event.action = "StartKubeProxy";
  return event;
}

class ApiEventSinkTest : public ::testing::Test {
 protected:
  void RunFor(absl::Duration time) {
    loop_->RunAfter(time, [this] { loop_->Stop(); });
    loop_->Run();
  }
  static ApiConfig Config() {
    ApiConfig config;
    config.servers = {"http://192.0.2.1:8080"};
    return config;
  }

  static KubeOptions Options() {
    KubeOptions options;
    options.burst = 1000;
    return options;
  }

  FakeClock clock_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
  ScriptedHttp http_{*loop_};
  ApiClient api_{Config(), Options(), http_, *loop_, clock_};
  std::vector<std::string> notices_;
  ApiEventSink sink_{"n1", api_, *loop_, clock_,
                     [this](Severity, const std::string& notice) { notices_.push_back(notice); }};
};

TEST(EventJsonTest, IsAnEventOfEventsK8sIo) {
  ClusterEvent event;
  event.kind = "Service";
  event.name_space = "shop";
  event.name = "web";
  event.uid = "shop/web";
  event.warning = true;
  event.reason = "FailedToStartServiceHealthcheck";
  event.action = "Listen";
  event.note = std::string(2000, 'x');
  const Json json =
      Json::parse(EventJson(event, "sluiced-n1", absl::FromUnixMicros(1'700'000'000'123'456)));
  EXPECT_EQ(json["apiVersion"], "events.k8s.io/v1");
  EXPECT_EQ(json["kind"], "Event");
  EXPECT_EQ(json["metadata"]["namespace"], "shop");
  EXPECT_EQ(json["metadata"]["name"], "web.17979cfe3d85ca00");
  EXPECT_EQ(json["eventTime"], "2023-11-14T22:13:20.123456Z");
  EXPECT_EQ(json["reportingController"], "sluiced");
  EXPECT_EQ(json["reportingInstance"], "sluiced-n1");
  EXPECT_EQ(json["action"], "Listen");
  EXPECT_EQ(json["reason"], "FailedToStartServiceHealthcheck");
  EXPECT_EQ(
      json["regarding"],
      Json({{"kind", "Service"}, {"name", "web"}, {"uid", "shop/web"}, {"namespace", "shop"}}));
  EXPECT_EQ(json["note"].get<std::string>().size(), 1024u);
  EXPECT_EQ(json["type"], "Warning");
}

TEST_F(ApiEventSinkTest, AnEventAboutANodeIsKeptInDefault) {
  sink_.Emit(Starting());
  RunFor(absl::Milliseconds(20));
  ASSERT_THAT(http_.requests, SizeIs(1));
  EXPECT_EQ(http_.requests[0].method, "POST");
  EXPECT_EQ(http_.requests[0].url,
            "http://192.0.2.1:8080/apis/events.k8s.io/v1/namespaces/default/events");
  EXPECT_EQ(Json::parse(http_.requests[0].body)["reason"], "Starting");
  EXPECT_THAT(notices_, SizeIs(0));
}

TEST_F(ApiEventSinkTest, ARefusalIsSaidOnceAndTheNextEventIsTried) {
  http_.codes = {403, 403};
  for (int i = 0; i < 3; ++i) sink_.Emit(Starting());
  RunFor(absl::Milliseconds(50));
  EXPECT_THAT(http_.requests, SizeIs(3));
  EXPECT_THAT(notices_, ElementsAre(::testing::HasSubstr("create events.events.k8s.io")));
}

TEST_F(ApiEventSinkTest, TheQueueIsBounded) {
  for (int i = 0; i < 100; ++i) sink_.Emit(Starting());
  RunFor(absl::Milliseconds(100));
  EXPECT_THAT(http_.requests, SizeIs(64));
}

TEST_F(ApiEventSinkTest, ABusyServerIsAskedAgainLater) {
  http_.codes = {503};
  for (int i = 0; i < 3; ++i) sink_.Emit(Starting());
  RunFor(absl::Milliseconds(50));
  EXPECT_THAT(http_.requests, SizeIs(1));  // the others wait behind it
  EXPECT_THAT(notices_, SizeIs(0));
}

}  // namespace
}  // namespace sluice::testing
