// SPDX-License-Identifier: Apache-2.0
// Which server is asked for what, and what is made of its answers: over a scripted HttpClient.
#include "control/kubernetes/api_client.h"

#include <deque>
#include <memory>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/fake_clock.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::sluice::testing::FakeClock;
using ::sluice::testing::IsOk;
using ::sluice::testing::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Keeps requests; the test answers them.
class ScriptedHttp final : public HttpClient {
 public:
  struct Started {
    ExchangeId id;
    HttpRequest request;
    HttpStream* stream;
  };
  ExchangeId Start(HttpRequest request, HttpStream& stream) override {
    started.push_back({++last_id_, std::move(request), &stream});
    return last_id_;
  }
  void Cancel(ExchangeId id) override {
    cancelled.push_back(id);
    std::erase_if(started, [id](const Started& one) { return one.id == id; });
  }
  // Takes the oldest request off the list.
  Started Take() {
    Started first = started.front();
    started.pop_front();
    return first;
  }
  void Answer(int code, std::map<std::string, std::string> headers, const std::string& body) {
    const Started one = Take();
    one.stream->OnHead({code, std::move(headers)});
    const absl::Status taken = one.stream->OnBody(body);
    one.stream->OnEnd(taken);
  }
  void Break(const absl::Status& status) { Take().stream->OnEnd(status); }

  std::deque<Started> started;
  std::vector<ExchangeId> cancelled;

 private:
  ExchangeId last_id_ = 0;
};

class ApiClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok());
    loop_ = *std::move(loop);
    config_.servers = {"https://a:6443", "https://b:6443", "https://c:6443"};
    config_.token = "t";
    config_.source = "kubeconfig x";
  }
  void Make() { client_ = std::make_unique<ApiClient>(config_, options_, http_, *loop_, clock_); }
  ApiCall List() {
    ApiCall call;
    call.verb = "list";
    call.resource = "services";
    call.path = "/api/v1/services";
    return call;
  }
  ApiClient::RequestId Send(ApiCall call) {
    return client_->Send(std::move(call), [this](const ApiEnd& end, std::string body) {
      ends_.push_back(end);
      bodies_.push_back(std::move(body));
    });
  }
  void TurnFor(absl::Duration time) {
    loop_->RunAfter(time, [this] { loop_->Stop(); });
    loop_->Run();
  }

  std::unique_ptr<EventLoop> loop_;
  FakeClock clock_;
  ScriptedHttp http_;
  ApiConfig config_;
  KubeOptions options_;
  std::unique_ptr<ApiClient> client_;
  std::vector<ApiEnd> ends_;
  std::vector<std::string> bodies_;
};

TEST_F(ApiClientTest, SaysWhatIsAskedAndWhoAsks) {
  Make();
  ApiCall call = List();
  call.query = {{"labelSelector", "!a/b,!c"}, {"limit", "5"}};
  Send(call);
  const HttpRequest& request = http_.started.front().request;
  EXPECT_EQ(request.method, "GET");
  EXPECT_EQ(request.url, "https://a:6443/api/v1/services?labelSelector=%21a%2Fb%2C%21c&limit=5");
  EXPECT_THAT(request.headers, Contains("Authorization: Bearer t"));
  EXPECT_THAT(request.headers, Contains("Accept: application/json"));
  EXPECT_THAT(request.headers, Contains("User-Agent: sluiced"));
  http_.Answer(200, {{"content-type", "application/json"}}, "{}");
  ASSERT_THAT(ends_, SizeIs(1));
  EXPECT_THAT(ends_[0].status, IsOk());
  EXPECT_THAT(bodies_, ElementsAre("{}"));
}

TEST_F(ApiClientTest, ARequestThatWasGivenUpCountsAgainstItsServer) {
  Make();
  const ApiClient::RequestId first = Send(List());
  const ApiClient::RequestId second = Send(List());
  client_->GiveUp(first);
  EXPECT_THAT(http_.cancelled, SizeIs(1));
  EXPECT_EQ(client_->server(), "https://b:6443");
  client_->GiveUp(second);  // was of the first server, which was left already
  EXPECT_EQ(client_->server(), "https://b:6443");
  client_->GiveUp(second);
  client_->Cancel(Send(List()));  // blames nobody
  EXPECT_EQ(client_->server(), "https://b:6443");
  client_->GiveUp(Send(List()));
  EXPECT_EQ(client_->server(), "https://c:6443");
  EXPECT_THAT(ends_, IsEmpty());
}

TEST_F(ApiClientTest, EventsArePosted) {
  Make();
  ApiCall call;
  call.verb = "create";
  call.path = "/apis/events.k8s.io/v1/namespaces/default/events";
  call.body = "{\"kind\":\"Event\"}";
  Send(call);
  EXPECT_EQ(http_.started.front().request.method, "POST");
  EXPECT_EQ(http_.started.front().request.body, call.body);
  EXPECT_THAT(http_.started.front().request.headers, Contains("Content-Type: application/json"));
}

TEST_F(ApiClientTest, ServersThatCannotBeReachedAreFollowedByTheNextEachOnce) {
  Make();
  Send(List());
  for (const char* url : {"https://a:6443/", "https://b:6443/", "https://c:6443/"}) {
    ASSERT_THAT(http_.started, SizeIs(1));
    EXPECT_TRUE(absl::StartsWith(http_.started.front().request.url, url));
    http_.Break(absl::UnavailableError("refused"));
  }
  EXPECT_THAT(http_.started, IsEmpty());
  ASSERT_THAT(ends_, SizeIs(1));
  EXPECT_THAT(ends_[0].status,
              StatusIs(absl::StatusCode::kUnavailable, "list services: https://c:6443: refused"));
  EXPECT_EQ(ends_[0].http_code, 0);
}

TEST_F(ApiClientTest, TheServerThatAnswersIsKept) {
  Make();
  Send(List());
  http_.Break(absl::UnavailableError("refused"));
  http_.Answer(200, {}, "");
  EXPECT_EQ(client_->server(), "https://b:6443");
  Send(List());
  EXPECT_TRUE(absl::StartsWith(http_.started.front().request.url, "https://b:6443/"));
  http_.Answer(404, {}, "");  // an answer, if not the one that was hoped for
  EXPECT_EQ(client_->server(), "https://b:6443");
  Send(List());
  http_.Answer(503, {}, "");  // the next request goes elsewhere
  EXPECT_EQ(client_->server(), "https://c:6443");
}

TEST_F(ApiClientTest, RequestsThatFailTogetherDoNotSkipAServer) {
  Make();
  Send(List());
  Send(List());
  http_.Break(absl::UnavailableError("refused"));  // the first: now at b
  http_.Break(absl::UnavailableError("refused"));  // the second, of a too
  EXPECT_EQ(client_->server(), "https://b:6443");
}

TEST_F(ApiClientTest, AConnectionThatBreaksInTheMiddleIsNotAskedAnew) {
  Make();
  Send(List());
  const auto one = http_.Take();
  one.stream->OnHead({200, {{"content-type", "application/json"}}});
  one.stream->OnEnd(absl::UnavailableError("reset"));
  EXPECT_THAT(http_.started, IsEmpty());
  ASSERT_THAT(ends_, SizeIs(1));
  EXPECT_THAT(ends_[0].status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("reset")));
}

TEST_F(ApiClientTest, RetryAfterIsPassedOn) {
  Make();
  Send(List());
  http_.Answer(429, {{"retry-after", "7"}}, "busy");
  EXPECT_EQ(ends_[0].retry_after, absl::Seconds(7));
  EXPECT_EQ(ends_[0].http_code, 429);
  EXPECT_TRUE(absl::IsResourceExhausted(ends_[0].status));
}

TEST_F(ApiClientTest, WhatAServerSaysIsNotRepeatedInFull) {
  Make();
  Send(List());
  const std::string text(16 << 10, 'x');
  http_.Answer(403, {{"content-type", "application/json"}},
               absl::StrCat(R"({"kind":"Status","status":"Failure","reason":")", text,
                            R"(","message":")", text, R"("})"));
  const std::string message(ends_[0].status.message());
  EXPECT_THAT(message, HasSubstr("xxx...: xxx"));
  EXPECT_THAT(message, HasSubstr("the right to list services is missing"));
  EXPECT_LT(message.size(), 2048u);
}

TEST_F(ApiClientTest, CertificatesThatAreRefusedSayWhoIsBelieved) {
  config_.servers.resize(1);
  config_.tls.ca_file = "/etc/ca.pem";
  Make();
  Send(List());
  http_.Break(absl::FailedPreconditionError("self-signed"));
  EXPECT_THAT(ends_[0].status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                        HasSubstr("(believed: /etc/ca.pem)")));
}

TEST_F(ApiClientTest, MoreThanABurstWaits) {
  options_.qps = 100;
  options_.burst = 3;
  Make();
  for (int i = 0; i < 5; ++i) Send(List());
  EXPECT_THAT(http_.started, SizeIs(3));
  clock_.Advance(absl::Milliseconds(10));
  TurnFor(absl::Milliseconds(30));
  EXPECT_THAT(http_.started, SizeIs(4));
  clock_.Advance(absl::Seconds(1));
  TurnFor(absl::Milliseconds(30));
  EXPECT_THAT(http_.started, SizeIs(5));
}

TEST_F(ApiClientTest, WhatIsCancelledIsHeardOfNoMore) {
  options_.qps = 100;
  options_.burst = 1;
  Make();
  const auto running = Send(List());
  const auto waiting = Send(List());
  client_->Cancel(waiting);
  client_->Cancel(running);
  client_->Cancel(running);
  EXPECT_THAT(http_.started, IsEmpty());
  clock_.Advance(absl::Seconds(10));
  TurnFor(absl::Milliseconds(30));
  EXPECT_THAT(http_.started, IsEmpty());
  EXPECT_THAT(ends_, IsEmpty());
}

TEST_F(ApiClientTest, AnAnswerThatIsTooLongIsGivenUp) {
  Make();
  Send(List());
  http_.Answer(200, {}, std::string((1 << 20) + 1, 'x'));
  EXPECT_TRUE(absl::IsResourceExhausted(ends_[0].status));
}

TEST_F(ApiClientTest, ATokenThatCannotBeReadIsToldLater) {
  config_.token.clear();
  config_.token_file = "/nonexistent/token";
  Make();
  Send(List());
  EXPECT_THAT(ends_, IsEmpty());  // not from within
  TurnFor(absl::Milliseconds(10));
  ASSERT_THAT(ends_, SizeIs(1));
  EXPECT_THAT(ends_[0].status,
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/token")));
  EXPECT_THAT(http_.started, IsEmpty());
}

}  // namespace
}  // namespace sluice
