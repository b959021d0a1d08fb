// SPDX-License-Identifier: Apache-2.0
#include "control/report/agent_client.h"

#include <filesystem>
#include <thread>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"
#include "test/unit/report/fake_agent.h"

namespace sluice::report {
namespace {

using ::sluice::testing::IsOk;
using ::sluice::testing::StatusIs;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(AgentClientTest, AsksForSnapshotAndDrops) {
  const testing::ScratchFolder folder;
  FakeAgent agent(folder.path());
  agent.Answer("/v1/snapshot", 200, R"({"nodeName": "node-a"})");
  agent.Answer("/v1/drops", 200, R"([{"reason": "no_flow"}])");
  agent.Start();
  const AgentClient client(folder.path());
  const auto snapshot = client.Snapshot();
  ASSERT_THAT(snapshot, IsOk());
  EXPECT_EQ(snapshot->node_name, "node-a");
  const auto drops = client.Drops();
  ASSERT_THAT(drops, IsOk());
  EXPECT_EQ(drops->at(0).reason, "no_flow");
}

TEST(AgentClientTest, NoAgentIsUnavailable) {
  const testing::ScratchFolder folder;
  const AgentClient client(folder.path());
  EXPECT_THAT(client.Snapshot(), StatusIs(absl::StatusCode::kUnavailable,
                                          HasSubstr("no agent listens on " + folder.path())));
  { FakeAgent(folder.path()).Start(); }
  // The socket of an agent that is gone, which it may not have had the time to remove.
  EXPECT_THAT(client.Snapshot(), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(AgentClientTest, OtherAnswersAreErrors) {
  const testing::ScratchFolder folder;
  FakeAgent agent(folder.path());
  agent.Answer("/v1/snapshot", 500, "broken");
  agent.Answer("/v1/drops", 200, "not JSON");
  agent.Start();
  const AgentClient client(folder.path());
  EXPECT_THAT(client.Snapshot(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("HTTP 500: broken")));
  EXPECT_THAT(client.Drops(), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(AgentClientTest, APathTooLongForASocketIsSaid) {
  const AgentClient client(std::string(120, 'x'));
  EXPECT_THAT(client.Snapshot(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("longer than a unix socket")));
}

TEST(AgentClientTest, SyncGivesTheAgentTheTimeLeft) {
  const testing::ScratchFolder folder;
  FakeAgent agent(folder.path());
  agent.Answer("/v1/sync", 200, "");
  agent.Start();
  EXPECT_THAT(AgentClient(folder.path()).Sync(absl::Seconds(60)), IsOk());
  const int timeout_ms = std::stoi(agent.last_timeout_ms());
  EXPECT_LE(timeout_ms, 60000);
  EXPECT_GT(timeout_ms, 50000);
}

TEST(AgentClientTest, SyncPastTheTimeoutSaysWhy) {
  const testing::ScratchFolder folder;
  FakeAgent agent(folder.path());
  agent.Answer("/v1/sync", 504, "generation 3 of 4");
  agent.Start();
  EXPECT_THAT(AgentClient(folder.path()).Sync(absl::Seconds(1)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("generation 3 of 4")));
}

TEST(AgentClientTest, SyncWithoutAgentEndsWithTheTimeout) {
  const testing::ScratchFolder folder;
  const absl::Time start = absl::Now();
  EXPECT_THAT(AgentClient(folder.path()).Sync(absl::Milliseconds(100)),
              StatusIs(absl::StatusCode::kDeadlineExceeded, StartsWith("no agent listens")));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(100));
}

TEST(AgentClientTest, SyncWaitsForAnAgentThatComesUp) {
  const testing::ScratchFolder folder;
  FakeAgent agent(folder.path());
  agent.Answer("/v1/sync", 200, "");
  absl::Status status = absl::UnknownError("not done");
  std::thread waiting([&] { status = AgentClient(folder.path()).Sync(absl::Seconds(60)); });
  agent.Start();
  waiting.join();
  EXPECT_THAT(status, IsOk());
}

TEST(AgentClientTest, AProbeTellsLiveFromReady) {
  const testing::ScratchFolder folder;
  FakeAgent agent(folder.path());
  agent.Answer("/v1/live", 200, "{}");
  agent.Answer("/v1/ready", 503, "not in the maps yet");
  const AgentClient client(folder.path());
  EXPECT_THAT(client.Probe(false), StatusIs(absl::StatusCode::kUnavailable));
  agent.Start();
  EXPECT_THAT(client.Probe(false), IsOk());
  EXPECT_THAT(client.Probe(true),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("not in the maps yet")));
}

}  // namespace
}  // namespace sluice::report
