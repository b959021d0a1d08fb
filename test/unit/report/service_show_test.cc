// SPDX-License-Identifier: Apache-2.0
#include "control/report/service_show.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/unit/report/pinned_state_builder.h"

namespace sluice::report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

std::vector<ShownService> Show(const AgentSnapshot* agent, const std::string& what) {
  return BuildShownServices(ExampleState().state(), agent, {}, ParseServiceFilter(what).value());
}

TEST(ServiceShowTest, FieldsOfTheListStayAndTwoAreAdded) {
  AgentSnapshot agent;
  agent.problems = {{"web.yaml", "Service default/web", "type: unknown value \"Mesh\""}};
  const auto shown = Show(&agent, "default/web");
  ASSERT_EQ(shown.size(), 1u);
  const Json json = ShownServicesToJson(shown).at(0);
  Json listed = ServicesToJson(BuildServiceReports(ExampleState().state(), &agent)).at(0);
  listed["notes"] = shown[0].notes;
  listed["problems"] = Json::parse(R"([{"origin": "web.yaml", "object": "Service default/web",
                                        "message": "type: unknown value \"Mesh\""}])");
  EXPECT_EQ(json, listed);
  EXPECT_THAT(ShownServicesToDetail(shown),
              HasSubstr("problem: web.yaml: Service default/web: type: unknown value \"Mesh\"\n"
                        "KIND "));
}

TEST(ServiceShowTest, WhatIsNotServedSaysWhy) {
  AgentSnapshot agent;
  agent.unserved = {{"default", "db", "headless"}, {"shop", "db", "another proxy's"}};
  const auto shown = Show(&agent, "default/db");
  ASSERT_EQ(shown.size(), 1u);
  EXPECT_EQ(ShownServicesToDetail(shown), "Service default/db\nnote: not served: headless\n");
  const Json json = ShownServicesToJson(shown).at(0);
  EXPECT_EQ(json.at("name"), "db");
  EXPECT_EQ(json.at("protocol"), "");
  EXPECT_EQ(json.at("frontends"), Json::array());
  EXPECT_EQ(json.at("notes"), Json::parse(R"(["not served: headless"])"));
}

TEST(ServiceShowTest, ProblemsAreToldThoughNothingIsServed) {
  AgentSnapshot agent;
  agent.problems = {{"a.yaml", "Service default/wrong", "line 3: no"}};
  const auto shown = Show(&agent, "default/wrong");
  ASSERT_EQ(shown.size(), 1u);
  EXPECT_THAT(shown[0].notes, ElementsAre(StartsWith("not served: nothing")));
  EXPECT_THAT(ShownServicesToDetail(shown), HasSubstr("problem: a.yaml: Service default/wrong"));
  EXPECT_THAT(Show(&agent, "default/nobody"), IsEmpty());
  EXPECT_THAT(Show(nullptr, "default/wrong"), IsEmpty());
}

TEST(ServiceShowTest, AServiceThatIsInNoMapIsShownAsTheAgentHasIt) {
  AgentSnapshot agent;
  agent.synced = true;
  AgentService& service = agent.services.emplace_back();
  service.name_space = "default";
  service.name = "big";
  service.protocol = "UDP";
  service.type = "ClusterIP";
  service.refused = "sl_slots is full";
  service.slices = {"big-a"};
  service.backends = {{Address("2001:db8::1"), 53, "n1", "ready", false, true, false}};
  const auto shown = Show(&agent, "default/big");
  ASSERT_EQ(shown.size(), 1u);
  EXPECT_EQ(shown[0].report.type, "ClusterIP");
  ASSERT_EQ(shown[0].report.backends.size(), 1u);
  EXPECT_EQ(shown[0].report.backends[0].node, "n1");
  EXPECT_THAT(shown[0].notes, ElementsAre("not in the maps: sl_slots is full"));
}

}  // namespace
}  // namespace sluice::report
