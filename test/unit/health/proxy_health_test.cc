// SPDX-License-Identifier: Apache-2.0
#include "control/health/proxy_health.h"

#include "gmock/gmock.h"
#include <nlohmann/json.hpp>

namespace sluice {
namespace {

using ::testing::Contains;
using ::testing::Pair;
using Json = nlohmann::json;

const absl::Time kNow = absl::FromUnixSeconds(2000);

ProxyHealth Healthy() {
  ProxyHealth proxy;
  proxy.synced = true;
  proxy.last_applied = absl::FromUnixSeconds(1900);
  return proxy;
}

TEST(IsHealthyTest, NeedsASyncAndNothingThatWaitsForLong) {
  ProxyHealth proxy = Healthy();
  EXPECT_TRUE(IsHealthy(proxy));
  proxy.waiting = absl::Seconds(60);
  EXPECT_TRUE(IsHealthy(proxy));
  proxy.waiting = absl::Seconds(61);
  EXPECT_FALSE(IsHealthy(proxy));
  proxy = Healthy();
  proxy.synced = false;
  EXPECT_FALSE(IsHealthy(proxy));
  proxy = Healthy();
  proxy.loop_answers = false;
  EXPECT_FALSE(IsHealthy(proxy));
}

TEST(ProxyAnswerTest, IsKubeProxys) {
  const HealthAnswer answer = ProxyAnswer(Healthy(), kNow, true);
  EXPECT_EQ(answer.code, 200);
  EXPECT_THAT(answer.headers, Contains(Pair("Content-Type", "application/json")));
  EXPECT_THAT(answer.headers, Contains(Pair("X-Content-Type-Options", "nosniff")));
  const Json json = Json::parse(answer.body);
  EXPECT_EQ(json["lastUpdated"], "1970-01-01T00:33:20+00:00");  // now: all is well
  EXPECT_EQ(json["currentTime"], "1970-01-01T00:33:20+00:00");
  EXPECT_EQ(json["nodeEligible"], true);
  EXPECT_EQ(json["healthy"], true);
  EXPECT_EQ(json["status"]["IPv4"]["healthy"], true);
  EXPECT_EQ(json["status"]["IPv6"]["healthy"], true);
}

TEST(ProxyAnswerTest, ANodeThatIsToGoFailsHealthzOnly) {
  ProxyHealth proxy = Healthy();
  proxy.node_eligible = false;
  const HealthAnswer with_node = ProxyAnswer(proxy, kNow, true);
  EXPECT_EQ(with_node.code, 503);
  const Json json = Json::parse(with_node.body);
  EXPECT_EQ(json["lastUpdated"], "1970-01-01T00:31:40+00:00");
  EXPECT_EQ(json["nodeEligible"], false);
  EXPECT_EQ(json["healthy"], false);
  EXPECT_EQ(json["status"]["IPv6"]["healthy"], true);
  const HealthAnswer alone = ProxyAnswer(proxy, kNow, false);
  EXPECT_EQ(alone.code, 200);
  EXPECT_FALSE(Json::parse(alone.body).contains("nodeEligible"));
}

TEST(ProxyAnswerTest, NamesWhatIsDegradedUpToTwentyLines) {
  ProxyHealth proxy = Healthy();
  proxy.degraded.assign(30, "a reason that is \xff not UTF-8");
  const Json json = Json::parse(ProxyAnswer(proxy, kNow, true).body);
  EXPECT_EQ(json["degraded"].size(), 21u);
  EXPECT_EQ(json["degraded"].back(), "and 10 more");
}

TEST(ProxyAnswerTest, AProxyThatStartsIsAliveAndNotHealthy) {
  ProxyHealth proxy;
  const HealthAnswer healthz = ProxyAnswer(proxy, kNow, true);
  EXPECT_EQ(healthz.code, 503);
  EXPECT_EQ(Json::parse(healthz.body)["lastUpdated"], "0001-01-01T00:00:00Z");  // Go's zero time
  const HealthAnswer alive = ProxyAnswer(proxy, kNow, false);
  EXPECT_EQ(alive.code, 200);
  EXPECT_EQ(Json::parse(alive.body)["healthy"], true);
  proxy.loop_answers = false;
  EXPECT_EQ(ProxyAnswer(proxy, kNow, false).code, 503);
  proxy.loop_answers = true;
  proxy.waiting = absl::Seconds(61);
  EXPECT_EQ(ProxyAnswer(proxy, kNow, false).code, 503);
}

TEST(ServiceAnswerTest, CountsEndpointsAndNeedsAHealthyProxy) {
  const HealthAnswer good = ServiceAnswer("default", "web", 2, true);
  EXPECT_EQ(good.code, 200);
  EXPECT_EQ(Json::parse(good.body),
            Json::parse(R"({"service": {"namespace": "default", "name": "web"},
                            "localEndpoints": 2, "serviceProxyHealthy": true})"));
  EXPECT_THAT(good.headers, Contains(Pair("X-Load-Balancing-Endpoint-Weight", "2")));
  const HealthAnswer none = ServiceAnswer("default", "web", 0, true);
  EXPECT_EQ(none.code, 503);
  EXPECT_THAT(none.headers, Contains(Pair("X-Load-Balancing-Endpoint-Weight", "0")));
  EXPECT_EQ(ServiceAnswer("default", "web", 2, false).code, 503);
}

TEST(LocalEndpointsTest, EachFamilyIsToldItsOwnWhereThereAreTwo) {
  const LocalEndpoints both{.has_v4 = true, .has_v6 = true, .v4 = 1, .v6 = 2};
  EXPECT_EQ(both.For(true), 1u);
  EXPECT_EQ(both.For(false), 2u);
  const LocalEndpoints only_v6{.has_v4 = false, .has_v6 = true, .v4 = 0, .v6 = 2};
  EXPECT_EQ(only_v6.For(true), 2u);
  const LocalEndpoints only_v4{.has_v4 = true, .has_v6 = false, .v4 = 3, .v6 = 0};
  EXPECT_EQ(only_v4.For(false), 3u);
}

}  // namespace
}  // namespace sluice
