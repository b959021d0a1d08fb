// SPDX-License-Identifier: Apache-2.0
// The Kubernetes source against a server: what is followed, and how it goes on after what happens
// to servers and connections.
#include "control/source/kube_source.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/unit/source/kube_source_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

model::ServiceCidr MakeCidr(const std::string& name, const std::vector<std::string>& cidrs) {
  model::ServiceCidr cidr;
  cidr.mutable_metadata()->set_name(name);
  for (const std::string& text : cidrs) cidr.mutable_spec()->add_cidrs(text);
  return cidr;
}

std::vector<std::string> TextsOf(const std::vector<IpPrefix>& prefixes) {
  std::vector<std::string> texts;
  for (const IpPrefix& prefix : prefixes) texts.push_back(prefix.ToString());
  return texts;
}

TEST_F(KubeSourceTest, SaysAllThatIsThereAndThenWhatChanges) {
  StartServer();
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/web"));
  EXPECT_EQ(sink_.slices.at("default/web-1").endpoints(0).addresses(0), "10.244.0.2");
  ASSERT_TRUE(Turn([&] { return sink_.nodes.size() == 2; }));
  EXPECT_EQ(sink_.nodes.at(kNodeName).status().addresses(0).address(), "192.0.2.1");
  EXPECT_THAT(sink_.problems, IsEmpty()) << sink_.ProblemText();

  const std::uint64_t generation = source_->Generation();
  server_->Set(MakeService("db", "10.96.0.11"));
  server_->Set(MakeSlice("web", "10.244.0.9"));
  server_->DeleteService("default", "web");
  ASSERT_TRUE(Turn([&] { return sink_.ServiceNames() == std::set<std::string>{"default/db"}; }));
  ASSERT_TRUE(Turn(
      [&] { return sink_.slices.at("default/web-1").endpoints(0).addresses(0) == "10.244.0.9"; }));
  EXPECT_EQ(source_->Generation(), generation + 3);
  EXPECT_EQ(sink_.synced, 1u);
}

TEST_F(KubeSourceTest, AsksForWhatItNeedsAndNoMore) {
  StartServer();
  Populate();
  server_->Set(MakeCidr("kubernetes", {"10.96.0.0/12"}));
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  int nodes = 0;
  for (const auto& request : server_->requests()) {
    EXPECT_EQ(request.verb, "watch");  // streaming lists: nothing is listed by pages
    EXPECT_EQ(request.query.at("sendInitialEvents"), "true");
    EXPECT_EQ(request.query.at("allowWatchBookmarks"), "true");
    if (request.resource == "services" || request.resource == "endpointslices") {
      EXPECT_EQ(request.query.at("labelSelector"), "!service.kubernetes.io/headless");
    }
    EXPECT_FALSE(request.query.contains("fieldSelector")) << "a balancer may name any Node";
    nodes += request.resource == "nodes";
  }
  EXPECT_EQ(nodes, 1);
}

TEST_F(KubeSourceTest, RangesOfClusterIpsComeFromServiceCidrs) {
  StartServer();
  Populate();
  server_->Set(MakeCidr("a-later-one", {"10.200.0.0/16", "fd00:2::/112"}));
  server_->Set(MakeCidr("kubernetes", {"10.96.0.0/12"}));
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  EXPECT_THAT(TextsOf(cidrs_), ElementsAre("10.96.0.0/12", "fd00:2::/112"));
  EXPECT_EQ(cidrs_told_, 1);
  server_->DeleteServiceCidr("a-later-one");
  EXPECT_TRUE(Turn([&] { return TextsOf(cidrs_) == std::vector<std::string>{"10.96.0.0/12"}; }));
}

TEST_F(KubeSourceTest, AServerWithoutServiceCidrsIsFollowedAllTheSame) {
  StartServer({.service_cidrs = false});
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  EXPECT_TRUE(Stream("servicecidrs").absent);
  EXPECT_THAT(sink_.problems, IsEmpty()) << sink_.ProblemText();
  EXPECT_EQ(source_->Status().away_since, absl::InfiniteFuture());
}

TEST_F(KubeSourceTest, ServersThatRefuseStreamingListsAreListedByPages) {
  StartServer({.streaming_list = FakeApiOptions::StreamingList::kRefused});
  Populate();
  for (int i = 0; i < 7; ++i) {
    server_->Set(MakeService("s" + std::to_string(i), "10.96.1." + std::to_string(i + 1)));
  }
  options_.reflector.page_size = 3;
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  EXPECT_THAT(sink_.services, SizeIs(8));
  EXPECT_THAT(sink_.problems, IsEmpty()) << sink_.ProblemText();
  server_->Set(MakeService("new", "10.96.0.99"));
  EXPECT_TRUE(Turn([&] { return sink_.services.contains("default/new"); }));
}

TEST_F(KubeSourceTest, ServersThatDoNotKnowStreamingListsAreListedByPages) {
  StartServer({.streaming_list = FakeApiOptions::StreamingList::kUnknown,
               .bookmark_interval = absl::Milliseconds(50)});
  Populate();
  options_.reflector.initial_silence = absl::Milliseconds(300);
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  EXPECT_THAT(sink_.services, SizeIs(1));
}

TEST_F(KubeSourceTest, ServersThatRefuseProtobufAreReadInJson) {
  StartServer({.protobuf = false});
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  EXPECT_EQ(sink_.services.at("default/web").spec().cluster_ip(), "10.96.0.10");
  server_->DeleteService("default", "web");
  EXPECT_TRUE(Turn([&] { return sink_.services.empty(); }));
}

TEST_F(KubeSourceTest, AKilledServerLeavesAllAsItIsAndIsFollowedAgain) {
  StartServer();
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  server_->Kill();
  ASSERT_TRUE(Turn([&] { return !Stream("services").error.empty(); }));
  ASSERT_TRUE(Turn([&] { return !Stream("nodes").error.empty(); }));
  const SourceStatus away = source_->Status();
  EXPECT_LT(away.away_since, clock_.Now());
  EXPECT_THAT(sink_.services, SizeIs(1));
  EXPECT_TRUE(HasProblem("the API's services: watch services: " + server_->url()))
      << sink_.ProblemText();

  server_->Set(MakeService("db", "10.96.0.11"));
  server_->DeleteEndpointSlice("default", "web-1");
  ASSERT_TRUE(server_->Restart().ok());
  ASSERT_TRUE(Turn([&] { return sink_.services.size() == 2 && sink_.slices.empty(); }));
  ASSERT_TRUE(Turn([&] { return source_->Status().away_since == absl::InfiniteFuture(); }));
  EXPECT_THAT(sink_.problems, IsEmpty()) << sink_.ProblemText();
  EXPECT_FALSE(recoveries_.empty());
  // The watches went on where they were.
  EXPECT_EQ(Stream("services").lists, 1u);
  EXPECT_EQ(Stream("endpointslices").lists, 1u);
}

TEST_F(KubeSourceTest, AFailureThatIsRepeatedIsToldOnce) {
  StartServer();
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  server_->Kill();
  ASSERT_TRUE(Turn([&] { return Stream("services").failures > 8; }));
  // Each of the four kinds lost its connection, and then could not get another.
  EXPECT_LE(sink_.reports.size(), 8u) << sink_.ProblemText();
}

TEST_F(KubeSourceTest, RefreshTriesWhatWaits) {
  options_.reflector.retry_min = options_.reflector.retry_max = absl::Hours(1);
  StartServer();
  Populate();
  server_->AddFault({.resource = "services", .code = 500});
  StartSource();
  ASSERT_TRUE(Turn([&] { return Stream("services").failures == 1; }));
  source_->Refresh();
  EXPECT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
}

TEST_F(KubeSourceTest, WhatWasLostMeanwhileIsTheDifferenceOfANewList) {
  StartServer();
  Populate();
  server_->Set(MakeService("gone", "10.96.0.12"));
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  server_->Kill();
  server_->DeleteService("default", "gone");
  server_->Set(MakeService("db", "10.96.0.11"));
  server_->Compact();  // 410 for who comes with the old version
  sink_.log.clear();
  ASSERT_TRUE(server_->Restart().ok());
  ASSERT_TRUE(
      Turn([&] { return sink_.services.size() == 2 && sink_.services.contains("default/db"); }));
  ASSERT_TRUE(Turn([&] { return Stream("services").lists == 2; }));
  // Never a wipe: only what is gone was deleted, and Reset and Synced are not said again.
  int deletions = 0;
  for (const std::string& line : sink_.log) {
    EXPECT_NE(line, "reset");
    EXPECT_NE(line, "synced");
    deletions += line.rfind("delete", 0) == 0 ? 1 : 0;
  }
  EXPECT_EQ(deletions, 1);
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/db", "default/web"));
}

TEST_F(KubeSourceTest, AddressesAreTriedInTurn) {
  StartServer();
  Populate();
  // Port 1 of this machine refuses; the second answers.
  kube_.masters = {"http://127.0.0.1:1", server_->url()};
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  EXPECT_EQ(source_->Status().server, server_->url());
  EXPECT_THAT(sink_.problems, IsEmpty()) << sink_.ProblemText();
}

TEST_F(KubeSourceTest, NothingIsSyncedWithoutOurNode) {
  StartServer();
  server_->Set(MakeNode("node-b"));
  server_->Set(MakeService("web", "10.96.0.10"));
  StartSource();
  ASSERT_TRUE(Turn([&] { return HasProblem("Node node-a: there is no Node of this name"); }));
  ASSERT_TRUE(Turn([&] { return Stream("services").synced && Stream("endpointslices").synced; }));
  EXPECT_EQ(sink_.synced, 0u);
  server_->Set(MakeNode(kNodeName));
  ASSERT_TRUE(TurnUntilSynced());
  EXPECT_FALSE(HasProblem("node-a")) << sink_.ProblemText();
}

TEST_F(KubeSourceTest, ANodeThatIsDeletedStaysInForceAndIsReported) {
  StartServer();
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  server_->DeleteNode(kNodeName);
  ASSERT_TRUE(Turn([&] { return HasProblem("the Node was deleted"); }));
  EXPECT_TRUE(sink_.nodes.contains(kNodeName));
  server_->Set(MakeNode(kNodeName));
  EXPECT_TRUE(Turn([&] { return !HasProblem("the Node was deleted"); }));
}

TEST_F(KubeSourceTest, TheApisOwnClusterIpIsNoAddressToReachItBy) {
  StartServer();
  Populate();
  server_->Set(MakeService("kubernetes", "127.0.0.1"));
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  EXPECT_TRUE(HasProblem("the API is reached through its ClusterIP 127.0.0.1"))
      << sink_.ProblemText();
}

TEST_F(KubeSourceTest, ManyObjectsComeWhole) {
  StartServer();
  server_->Set(MakeNode(kNodeName));
  for (int i = 0; i < 3000; ++i) {
    server_->Set(MakeService("s" + std::to_string(i), "10.96.1.1"));
  }
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  EXPECT_THAT(sink_.services, SizeIs(3000));
}

}  // namespace
}  // namespace sluice::testing
