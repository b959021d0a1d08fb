// SPDX-License-Identifier: Apache-2.0
#include "control/health/health_server.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

#include "control/base/clock.h"
#include "control/health/health_keeper.h"
#include "control/health/keeper_channel.h"
#include "control/health/listen_socket.h"
#include "test/support/netns.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

constexpr absl::Duration kLimit = absl::Seconds(20);  // only a fault reaches it

// Asks until the answer is as wanted.
template <typename Condition>
bool Eventually(Condition condition) {
  const absl::Time deadline = absl::Now() + kLimit;
  while (absl::Now() < deadline) {
    if (condition()) return true;
    std::this_thread::yield();
  }
  return false;
}

struct Reply {
  int code = 0;  // 0: no connection
  std::string body;
  bool kept = false;  // the keeper's
  std::string weight;
};

Reply Get(const std::string& host, int port, const std::string& path) {
  httplib::Client client(host, port);
  const httplib::Result result = client.Get(path);
  if (!result) return {};
  return {result->status, result->body, result->has_header("Age"),
          result->get_header_value("X-Load-Balancing-Endpoint-Weight")};
}

ProxyHealth Synced() {
  ProxyHealth proxy;
  proxy.synced = true;
  return proxy;
}

// A keeper on a thread of its own, as its process would be.
class RunningKeeper {
 public:
  RunningKeeper(const std::string& state_dir, absl::Duration keep)
      : loop_(*EventLoop::Create()), keeper_({state_dir, false, keep}, *loop_) {
    EXPECT_THAT(keeper_.Start(), IsOk());
    thread_ = std::thread([this] { loop_->Run(); });
  }
  ~RunningKeeper() {
    loop_->Stop();
    thread_.join();
  }

 private:
  std::unique_ptr<EventLoop> loop_;
  HealthKeeper keeper_;
  std::thread thread_;
};

// Between agents and a keeper: what they say is passed on, until their connection is cut though
// both ends live.
class CutChannel {
 public:
  CutChannel(const std::string& agents, const std::string& keepers)
      : keepers_(keepers), listener_(*ListenForAgents(agents)) {
    thread_ = std::thread([this] { Pass(); });
  }
  ~CutChannel() {
    stop_ = true;
    thread_.join();
  }
  void Cut() { cut_ = true; }
  // How often an agent has come: one that is quick is back before anybody sees it gone.
  int connections() const { return connections_; }

 private:
  void Pass() {
    while (!stop_) {
      const UniqueFd agent(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!agent.valid()) {
        std::this_thread::yield();
        continue;
      }
      const absl::StatusOr<UniqueFd> keeper = ConnectToKeeper(keepers_);
      if (!keeper.ok()) continue;
      cut_ = false;
      ++connections_;
      while (!stop_ && !cut_ && Hand(agent, *keeper) && Hand(*keeper, agent)) {
      }
    }
  }
  // False when an end is gone.
  static bool Hand(const UniqueFd& from, const UniqueFd& to) {
    const auto received = ReceiveMessage(from.get());
    if (!received.ok()) return false;
    if (!received->has_value()) return true;
    const ReceivedMessage& one = **received;
    return SendMessage(to.get(), one.message, one.fd.get(), kLimit).ok();
  }

  const std::string keepers_;
  const UniqueFd listener_;
  std::atomic<bool> stop_{false}, cut_{false};
  std::atomic<int> connections_{0};
  std::thread thread_;
};

class HealthServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    netns_ = *NetNs::Create();
    std::filesystem::create_directories(folder_);
  }
  ~HealthServerTest() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<HealthServer> MakeServer(bool keeper) {
    HealthServerOptions options;
    options.state_dir = folder_;
    options.keeper = keeper;
    options.open_retry = absl::Milliseconds(10);
    options.tick = absl::Milliseconds(20);
    return *HealthServer::Create(
        options, clock_,
        [this](const ObjectName& service, std::uint16_t port, const absl::Status& status) {
          absl::MutexLock lock(&mutex_);
          told_.push_back(
              absl::StrCat(service.name, " ", port, " ", absl::StatusCodeToString(status.code())));
        },
        [](const std::string&) {});
  }
  std::vector<std::string> Told() {
    absl::MutexLock lock(&mutex_);
    return told_;
  }

  const std::string folder_ = absl::StrCat(::testing::TempDir(), "health-", ::getpid());
  std::unique_ptr<NetNs> netns_;
  SystemClock clock_;
  absl::Mutex mutex_;
  std::vector<std::string> told_;
};

TEST_F(HealthServerTest, AnswersOverBothFamiliesAndCounts) {
  const auto server = MakeServer(false);
  ASSERT_THAT(server->ListenProxy("0.0.0.0", 1080), IsOk());
  server->Start();
  EXPECT_EQ(Get("127.0.0.1", 1080, "/healthz").code, 503);
  server->SetProxy(Synced());
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/healthz").code == 200; }));
  EXPECT_EQ(Get("::1", 1080, "/livez").code, 200);
  EXPECT_EQ(Get("::1", 1080, "/other").code, 404);
  const HealthRequests requests = server->requests();
  EXPECT_GE(requests.healthz_failed, 1u);
  EXPECT_GE(requests.healthz_ok, 1u);
  EXPECT_EQ(requests.livez_ok, 1u);
  EXPECT_EQ(requests.livez_failed, 0u);
}

TEST_F(HealthServerTest, ALoopThatIsSilentIsUnhealthy) {
  HealthServerOptions options;
  options.keeper = false;
  options.loop_silence = absl::Milliseconds(200);
  const auto server = *HealthServer::Create(
      options, clock_, [](const ObjectName&, std::uint16_t, const absl::Status&) {},
      [](const std::string&) {});
  ASSERT_THAT(server->ListenProxy("127.0.0.1", 1080), IsOk());
  server->Start();
  EXPECT_TRUE(Eventually([&] {
    server->SetProxy(Synced());
    return Get("127.0.0.1", 1080, "/livez").code == 200;
  }));
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/livez").code == 503; }));
}

TEST_F(HealthServerTest, AServicesPortOpensMovesAndCloses) {
  const auto server = MakeServer(false);
  server->Start();
  server->SetProxy(Synced());
  const LocalEndpoints two{.has_v4 = true, .has_v6 = true, .v4 = 2, .v6 = 0};
  server->SetServices(std::nullopt, {{{"default", "web"}, {30100, two}}});
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 30100, "/").code == 200; }));
  EXPECT_EQ(Get("127.0.0.1", 30100, "/any/path").weight, "2");
  EXPECT_EQ(Get("::1", 30100, "/").code, 503);  // of IPv6 there are none
  server->SetServices(std::nullopt, {{{"default", "web"}, {30101, two}}});
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 30101, "/").code == 200; }));
  EXPECT_EQ(Get("127.0.0.1", 30100, "/").code, 0);
  server->SetServices(std::nullopt, {});
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 30101, "/").code == 0; }));
}

TEST_F(HealthServerTest, WithoutAnAddressNoPortIsOpened) {
  const auto server = MakeServer(false);
  ASSERT_THAT(server->ListenProxy("127.0.0.1", 1080), IsOk());
  server->Start();
  server->SetProxy(Synced());
  const LocalEndpoints one{.has_v4 = true, .has_v6 = false, .v4 = 1, .v6 = 0};
  const std::map<ObjectName, ServiceHealth> services = {{{"default", "web"}, {30100, one}}};
  // --nodeport-addresses that the node does not hold: not "everywhere".
  server->SetServices(std::vector<IpAddress>{}, services);
  // The second answer comes after what was posted before the first.
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Get("127.0.0.1", 1080, "/livez").code, 200);
  EXPECT_EQ(Get("127.0.0.1", 30100, "/").code, 0);
  server->SetServices(std::vector{*IpAddress::Parse("127.0.0.1")}, services);
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 30100, "/").code == 200; }));
  EXPECT_EQ(Get("::1", 30100, "/").code, 0);
}

TEST_F(HealthServerTest, APortInUseIsToldOnceAndOpenedWhenItIsFree) {
  const auto server = MakeServer(false);
  server->Start();
  server->SetProxy(Synced());
  {
    const auto other = ListenSocket("0.0.0.0", 30100);
    ASSERT_THAT(other, IsOk());
    const LocalEndpoints one{.has_v4 = true, .has_v6 = false, .v4 = 1, .v6 = 0};
    server->SetServices(std::nullopt, {{{"default", "web"}, {30100, one}}});
    server->SetServices(std::nullopt, {{{"default", "web"}, {30100, one}}});
    EXPECT_TRUE(Eventually([&] { return !Told().empty(); }));
  }
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 30100, "/").code == 200; }));
  EXPECT_THAT(Told(), ::testing::ElementsAre("web 30100 ALREADY_EXISTS", "web 30100 OK"));
}

TEST_F(HealthServerTest, TheProxysPortIsOpenedWhenAnotherProxyLetsGoOfIt) {
  const auto server = MakeServer(false);
  {
    const auto other = ListenSocket("0.0.0.0", 1080);
    ASSERT_THAT(other, IsOk());
    EXPECT_THAT(server->ListenProxy("0.0.0.0", 1080), StatusIs(absl::StatusCode::kAlreadyExists));
    server->Start();
    server->SetProxy(Synced());
    const LocalEndpoints one{.has_v4 = true, .has_v6 = false, .v4 = 1, .v6 = 0};
    server->SetServices(std::nullopt, {{{"default", "web"}, {30100, one}}});
    EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 30100, "/").code == 200; }));
    server->SetServices(std::nullopt, {});
    EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 30100, "/").code == 0; }));
    EXPECT_TRUE(Told().empty());
  }
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/healthz").code == 200; }));
  EXPECT_THAT(Told(), ::testing::ElementsAre(" 1080 OK"));
}

TEST_F(HealthServerTest, APortThatNobodyAsksForAnyMoreIsNoFailure) {
  const auto server = MakeServer(false);
  server->Start();
  server->SetProxy(Synced());
  const auto other = ListenSocket("0.0.0.0", 30100);
  ASSERT_THAT(other, IsOk());
  const LocalEndpoints one{.has_v4 = true, .has_v6 = false, .v4 = 1, .v6 = 0};
  server->SetServices(std::nullopt, {{{"default", "web"}, {30100, one}}});
  EXPECT_TRUE(Eventually([&] { return Told().size() == 1; }));
  server->SetServices(std::nullopt, {});
  EXPECT_TRUE(Eventually([&] { return Told().size() == 2; }));
  EXPECT_THAT(Told(), ::testing::ElementsAre("web 30100 ALREADY_EXISTS", "web 30100 OK"));
}

TEST_F(HealthServerTest, AKeeperAnswersFromOneAgentToTheNext) {
  const RunningKeeper keeper(folder_, kLimit);
  const LocalEndpoints one{.has_v4 = true, .has_v6 = false, .v4 = 1, .v6 = 0};
  const std::map<ObjectName, ServiceHealth> services = {{{"default", "web"}, {30100, one}}};
  auto first = MakeServer(true);
  ASSERT_THAT(first->ListenProxy("0.0.0.0", 1080), IsOk());
  first->Start();
  first->SetServices(std::nullopt, services);
  first->SetProxy(Synced());
  EXPECT_TRUE(Eventually([] {
    const Reply reply = Get("127.0.0.1", 30100, "/");
    return reply.code == 200 && !reply.kept;
  }));
  first.reset();
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/healthz").kept; }));
  EXPECT_EQ(Get("127.0.0.1", 1080, "/healthz").code, 200);
  EXPECT_EQ(Get("127.0.0.1", 1080, "/nothing").code, 404);
  EXPECT_EQ(Get("127.0.0.1", 30100, "/x").code, 200);
  EXPECT_EQ(Get("127.0.0.1", 30100, "/x").weight, "1");

  // The next agent has the sockets and leaves the answers to the keeper until it has synced.
  auto second = MakeServer(true);
  ASSERT_THAT(second->ListenProxy("0.0.0.0", 1080), IsOk());
  second->Start();
  second->SetProxy({});
  EXPECT_TRUE(Get("127.0.0.1", 1080, "/healthz").kept);
  EXPECT_EQ(Get("127.0.0.1", 1080, "/healthz").code, 200);
  second->SetServices(std::nullopt, services);
  second->SetProxy(Synced());
  EXPECT_TRUE(Eventually([] {
    const Reply reply = Get("127.0.0.1", 1080, "/healthz");
    return reply.code == 200 && !reply.kept;
  }));
  EXPECT_EQ(Get("127.0.0.1", 30100, "/x").code, 200);
  EXPECT_FALSE(Get("127.0.0.1", 30100, "/x").kept);
}

TEST_F(HealthServerTest, AKeeperClosesWhatNoAgentCameBackFor) {
  const RunningKeeper keeper(folder_, absl::Milliseconds(300));
  auto server = MakeServer(true);
  ASSERT_THAT(server->ListenProxy("127.0.0.1", 1080), IsOk());
  server->Start();
  server->SetProxy(Synced());
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/livez").code == 200; }));
  server.reset();
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/livez").code == 0; }));
  EXPECT_THAT(ListenSocket("127.0.0.1", 1080), IsOk());
}

TEST_F(HealthServerTest, AnAgentThatTakesLongAnswersItselfWhenTheKeepersTimeIsUp) {
  const RunningKeeper keeper(folder_, absl::Milliseconds(300));
  auto first = MakeServer(true);
  ASSERT_THAT(first->ListenProxy("127.0.0.1", 1080), IsOk());
  first->Start();
  first->SetProxy(Synced());
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/livez").code == 200; }));
  first.reset();
  const auto second = MakeServer(true);
  ASSERT_THAT(second->ListenProxy("127.0.0.1", 1080), IsOk());
  second->Start();
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/livez").code == 503; }));
  EXPECT_FALSE(Get("127.0.0.1", 1080, "/livez").kept);
}

TEST_F(HealthServerTest, AKeeperIsToldHoweverMuchIsDegraded) {
  const RunningKeeper keeper(folder_, kLimit);
  auto server = MakeServer(true);
  ASSERT_THAT(server->ListenProxy("127.0.0.1", 1080), IsOk());
  server->Start();
  ProxyHealth proxy = Synced();
  proxy.degraded.assign(30, std::string(16 << 10, '"'));
  server->SetProxy(proxy);
  const auto names_them = [](const Reply& reply) {
    return reply.code == 200 && absl::StrContains(reply.body, " more\"");
  };
  EXPECT_TRUE(Eventually([&] { return names_them(Get("127.0.0.1", 1080, "/livez")); }));
  server.reset();
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/livez").kept; }));
  EXPECT_TRUE(names_them(Get("127.0.0.1", 1080, "/livez")));
}

TEST_F(HealthServerTest, AKeeperThatIsLostAndFoundAgainClosesNoPort) {
  const std::string behind = folder_ + "/behind";
  std::filesystem::create_directories(behind);
  const RunningKeeper keeper(behind, kLimit);
  CutChannel channel(folder_, behind);
  const auto server = MakeServer(true);
  ASSERT_THAT(server->ListenProxy("127.0.0.1", 1080), IsOk());
  server->Start();
  const LocalEndpoints one{.has_v4 = true, .has_v6 = false, .v4 = 1, .v6 = 0};
  server->SetServices(std::nullopt, {{{"default", "web"}, {30100, one}}});
  server->SetProxy(Synced());
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 30100, "/").code == 200; }));
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(Eventually([&] { return channel.connections() == i + 1; }));
    channel.Cut();
    ASSERT_TRUE(Eventually([&] { return channel.connections() == i + 2; }));
    server->SetProxy(Synced());
    // Both answer for a moment, the keeper with what it was told last.
    const auto answers_itself = [](int port, const char* path) {
      const Reply reply = Get("127.0.0.1", port, path);
      EXPECT_NE(reply.code, 0) << port;
      return reply.code == 200 && !reply.kept;
    };
    for (int n = 0; n < 20; ++n) {
      ASSERT_TRUE(Eventually([&] { return answers_itself(1080, "/livez"); }));
      ASSERT_TRUE(Eventually([&] { return answers_itself(30100, "/"); }));
    }
  }
}

TEST_F(HealthServerTest, WithoutItsKeeperAnAgentGoesOn) {
  auto keeper = std::make_unique<RunningKeeper>(folder_, kLimit);
  const auto server = MakeServer(true);
  ASSERT_THAT(server->ListenProxy("127.0.0.1", 1080), IsOk());
  server->Start();
  server->SetProxy(Synced());
  EXPECT_TRUE(Eventually([] { return Get("127.0.0.1", 1080, "/livez").code == 200; }));
  keeper.reset();
  EXPECT_EQ(Get("127.0.0.1", 1080, "/livez").code, 200);
}

}  // namespace
}  // namespace sluice::testing
