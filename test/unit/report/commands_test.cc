// SPDX-License-Identifier: Apache-2.0
// The commands on maps and programs that are really pinned, with an agent and without.
#include "control/report/commands.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <fstream>
#include <map>
#include <sstream>

#include "absl/cleanup/cleanup.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/datapath/attachment.h"
#include "control/datapath/tcx_link.h"
#include "control/report/map_reader.h"
#include "test/support/packet.h"
#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"
#include "test/unit/report/fake_agent.h"
#include "test/unit/report/pinned_node.h"

namespace sluice::report {
namespace {

using ::sluice::testing::IsOk;
using ::sluice::testing::MapAddress;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

class CommandsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto node = PinnedNode::Create();
    ASSERT_THAT(node, IsOk());
    node_ = node->release();
  }
  static void TearDownTestSuite() {
    delete node_;
    node_ = nullptr;
  }

  void SetUp() override {
    ASSERT_NE(node_, nullptr);
    std::ofstream(folder_.path() + "/bpffs") << node_->bpffs() << "\n";
  }

  Session Open(OutputFormat format = OutputFormat::kJson) {
    out_.str("");
    err_.str("");
    return Session({folder_.path(), "", format}, out_, err_);
  }
  Json Output() const { return Json::parse(out_.str()); }

  // Two rows of a flow of service 1 to backend 1, as the programs write them.
  void PutFlow(std::uint16_t client_port) {
    abi::flow key{};
    key.source = MapAddress("203.0.113.50");
    key.source_port = htons(client_port);
    key.destination = MapAddress("198.51.100.1");
    key.destination_port = htons(80);
    key.protocol = IPPROTO_TCP;
    abi::flow_entry entry{};
    entry.new_source = key.source;
    entry.new_source_port = key.source_port;
    entry.new_destination = MapAddress("203.0.113.1");
    entry.new_destination_port = htons(8080);
    entry.service_id = 1;
    entry.backend_id = 1;
    entry.backend_generation = 1;
    entry.flags = abi::SL_FLOW_FORWARD;
    abi::flow_entry reply = entry;
    reply.new_source = key.destination;
    reply.new_source_port = key.destination_port;
    reply.new_destination = key.source;
    reply.new_destination_port = key.source_port;
    reply.flags = 0;
    const FlowRow rows[] = {{key, entry}, {PartnerKey({key, entry}), reply}};
    ASSERT_THAT(node_->maps().flows().Update(rows).status, IsOk());
  }
  void DeleteFlows() {
    PinnedState state;
    ASSERT_THAT(ReadFlows(node_->maps().flows(), state), IsOk());
    for (const FlowRow& row : state.flows) {
      ASSERT_THAT(node_->maps().flows().Delete(std::span(&row.first, 1)).status, IsOk());
    }
  }

  Json Trace(const TraceArguments& arguments) {
    const Session session = Open();
    std::uint16_t port = 40000;
    const int code = RunTraceCommand(session, arguments, SystemClock(), [&] { return port++; });
    EXPECT_EQ(code, kExitOk) << err_.str();
    return code == kExitOk ? Output() : Json();
  }

  static PinnedNode* node_;
  const testing::ScratchFolder folder_;
  std::ostringstream out_;
  std::ostringstream err_;
};

PinnedNode* CommandsTest::node_ = nullptr;

TEST_F(CommandsTest, ServiceListWorksWithoutAgentAndSaysSo) {
  PutFlow(4000);
  const absl::Cleanup clean = [&] { DeleteFlows(); };
  EXPECT_EQ(RunServiceList(Open()), kExitOk);
  EXPECT_THAT(err_.str(), HasSubstr("no agent listens on"));
  EXPECT_EQ(Output(), Json::parse(R"([
    {"namespace": "default", "name": "web", "portName": "http", "protocol": "TCP",
     "type": "NodePort",
     "frontends": [{"address": "198.51.100.1", "port": 80, "kind": "ClusterIP"},
                   {"address": "2001:db8::1", "port": 80, "kind": "ClusterIP"},
                   {"address": "192.0.2.10", "port": 30080, "kind": "NodePort"}],
     "backends": [
       {"address": "203.0.113.1", "port": 8080, "node": "", "state": "ready", "connections": 1},
       {"address": "203.0.113.2", "port": 8080, "node": "", "state": "ready", "connections": 0},
       {"address": "2001:db8:2::1", "port": 8080, "node": "", "state": "ready", "connections": 0}],
     "stats": {"packetsIn": 5, "bytesIn": 500, "packetsOut": 4, "bytesOut": 4000, "opened": 3,
               "rejected": 2, "dropped": 1, "failed": 0}},
    {"namespace": "kube-system", "name": "dns", "portName": "", "protocol": "UDP",
     "type": "ClusterIP",
     "frontends": [{"address": "198.51.100.2", "port": 53, "kind": "ClusterIP"}], "backends": [],
     "stats": {"packetsIn": 0, "bytesIn": 0, "packetsOut": 0, "bytesOut": 0, "opened": 0,
               "rejected": 0, "dropped": 0, "failed": 0}}])"));
}

TEST_F(CommandsTest, ServiceListTakesStateAndNodeFromTheAgent) {
  FakeAgent agent(folder_.path());
  agent.Answer("/v1/snapshot", 200, R"({"services": [
    {"namespace": "default", "name": "web", "portName": "http", "protocol": "TCP",
     "type": "LoadBalancer", "id": 1, "backends": [
       {"address": "203.0.113.2", "port": 8080, "node": "node-b", "state": "terminating"}]}]})");
  agent.Start();
  EXPECT_EQ(RunServiceList(Open()), kExitOk);
  EXPECT_EQ(err_.str(), "");
  const Json web = Output().at(0);
  EXPECT_EQ(web.at("type"), "LoadBalancer");
  EXPECT_EQ(web.at("backends").at(1).at("node"), "node-b");
  EXPECT_EQ(web.at("backends").at(1).at("state"), "terminating");
}

TEST_F(CommandsTest, ServiceShowFindsOneOrSaysSo) {
  EXPECT_EQ(RunServiceShow(Open(), "default/web"), kExitOk);
  EXPECT_EQ(Output().size(), 1u);
  EXPECT_EQ(Output().at(0).at("notes").at(0),
            "no agent runs: endpoints that come or go are not followed");
  EXPECT_EQ(Output().at(0).at("problems"), Json::array());
  EXPECT_EQ(RunServiceShow(Open(), "default/none"), kExitNo);
  EXPECT_THAT(err_.str(), HasSubstr("no service \"default/none\""));
  EXPECT_EQ(RunServiceShow(Open(), "web"), kExitInput);
}

TEST_F(CommandsTest, OutputFormats) {
  EXPECT_EQ(RunBackendList(Open(OutputFormat::kTable)), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("[2001:db8:2::1]:8080  TCP"));
  EXPECT_EQ(RunBackendList(Open(OutputFormat::kYaml)), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("- address: 203.0.113.1\n  port: 8080\n"));
}

TEST_F(CommandsTest, ConntrackListsAndFlushesWhatMatches) {
  SystemClock clock;
  PutFlow(4001);
  PutFlow(4002);
  const absl::Cleanup clean = [&] { DeleteFlows(); };
  EXPECT_EQ(RunConntrackList(Open(), {"default/web", "203.0.113.1:8080"}, clock), kExitOk);
  EXPECT_EQ(Output().size(), 2u);
  EXPECT_THAT(err_.str(), HasSubstr("no agent listens on"));
  EXPECT_EQ(RunConntrackList(Open(), {"", "203.0.113.2"}, clock), kExitOk);
  EXPECT_EQ(Output().size(), 0u);
  EXPECT_EQ(RunConntrackFlush(Open(), {"kube-system/dns", ""}), kExitOk);
  EXPECT_EQ(Output(), Json::parse(R"({"flows": 0, "rows": 0})"));
  EXPECT_EQ(RunConntrackFlush(Open(), {"default/web", ""}), kExitOk);
  EXPECT_EQ(Output(), Json::parse(R"({"flows": 2, "rows": 4})"));
  EXPECT_EQ(RunConntrackList(Open(), {}, clock), kExitOk);
  EXPECT_EQ(Output().size(), 0u);
  EXPECT_EQ(RunConntrackFlush(Open(), {"web", ""}), kExitInput);
}

TEST_F(CommandsTest, DropsAreReadFromTheMap) {
  const std::pair<abi::drop_key, abi::drop_count> row = {{abi::SL_REASON_NO_BACKEND, 2}, {7}};
  ASSERT_THAT(node_->maps().drops().Update(std::span(&row, 1)).status, IsOk());
  EXPECT_EQ(RunDrops(Open()), kExitOk);
  EXPECT_EQ(Output(), Json::parse(R"({"agent": "not running",
    "drops": [{"reason": "no_backend", "service": "kube-system/dns", "packets": 7}],
    "samples": []})"));
}

TEST_F(CommandsTest, MapsShowUseAndMemory) {
  EXPECT_EQ(RunMaps(Open()), kExitOk);
  const Json output = Output();
  EXPECT_EQ(output.at("agent"), "not running");
  ASSERT_EQ(output.at("maps").size(), ExpectedMaps().size());
  std::map<std::string, Json> maps;
  for (const Json& map : output.at("maps")) maps[map.at("name")] = map;
  EXPECT_EQ(maps.at("sl_backends").at("used"), 3);
  EXPECT_EQ(maps.at("sl_backends").at("size"), 64);
  EXPECT_EQ(maps.at("sl_backends").at("percent"), 4.7);
  EXPECT_EQ(maps.at("sl_backends").at("type"), "array");
  EXPECT_EQ(maps.at("sl_services").at("used"), 4);
  EXPECT_EQ(maps.at("sl_services").at("type"), "hash");
  EXPECT_GT(maps.at("sl_flows").at("bytes"), 128 * (40 + 56));
}

TEST_F(CommandsTest, InterfacesComeFromPinnedLinks) {
  const std::string links = PinFolder(node_->bpffs()) + "/links";
  std::filesystem::create_directory(links);
  const absl::Cleanup clean = [&] { std::filesystem::remove_all(links); };
  std::vector<TcxLink> attached;
  const int ifindex = 3;  // pod0-x is 2, pod0 is 3: the second of the pair that was made first
  for (const std::size_t hook : {0, 1}) {
    auto link =
        TcxLink::Create(node_->programs().programs[hook].get(), ifindex, kHooks[hook].direction);
    if (absl::IsUnimplemented(link.status())) GTEST_SKIP() << "the kernel has no tcx";
    ASSERT_THAT(link, IsOk());
    ASSERT_THAT(link->Pin(links + "/" + LinkPinName("eth_0.100", kHooks[hook].name)), IsOk());
    attached.push_back(*std::move(link));
  }
  EXPECT_EQ(RunInterfaces(Open()), kExitOk);
  EXPECT_EQ(Output(), Json::parse(R"({"agent": "not running", "interfaces": [
    {"name": "eth_0.100", "ifindex": 3, "role": "pod", "hooks": ["from_pod", "to_pod"],
     "attach": "tcx", "error": ""}]})"));
}

TEST_F(CommandsTest, TracePodToClusterIpSpreadsAndLeavesNothingBehind) {
  const Json answers = Trace({"pod", "203.0.113.9", "198.51.100.1:80", "tcp", 200, "pod0"});
  ASSERT_EQ(answers.size(), 200u);
  std::map<std::string, int> backends;
  for (const Json& answer : answers) {
    EXPECT_EQ(answer.at("verdict"), "forward");
    EXPECT_EQ(answer.at("service"), "default/web:http");
    EXPECT_EQ(answer.at("frontendKind"), "ClusterIP");
    EXPECT_EQ(answer.at("reason"), "");
    ++backends[answer.at("backend")];
  }
  EXPECT_EQ(answers.at(0).at("source"), "203.0.113.9:40000");
  EXPECT_EQ(answers.at(1).at("source"), "203.0.113.9:40001");
  // 200 throws of a fair coin are outside of this range once in 10^11 runs.
  EXPECT_THAT(backends["203.0.113.1:8080"], AllOf(Ge(53), Le(147)));
  EXPECT_EQ(backends["203.0.113.1:8080"] + backends["203.0.113.2:8080"], 200);

  PinnedState state;
  ASSERT_THAT(ReadFlows(node_->maps().flows(), state), IsOk());
  ASSERT_THAT(ReadOpening(node_->maps().opening(), state), IsOk());
  EXPECT_TRUE(state.flows.empty());
  EXPECT_TRUE(state.opening.empty());
  EXPECT_EQ((*node_->maps().service_stats().Lookup(1))->opened, 3u);  // as written at first
}

TEST_F(CommandsTest, TraceFromOutsideToARemoteBackendShowsTheSourceAfterSnat) {
  const Json answers = Trace({"net", "192.0.2.99:5000", "192.0.2.10:30080", "tcp", 1, "eth.100"});
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers.at(0).at("verdict"), "forward") << answers;
  EXPECT_EQ(answers.at(0).at("frontendKind"), "NodePort");
  EXPECT_EQ(answers.at(0).at("backend"), "203.0.113.2:8080");
  EXPECT_THAT(answers.at(0).at("source").get<std::string>(), MatchesRegex("192.0.2.10:2[0-9]{4}"));
}

TEST_F(CommandsTest, TraceIpv6) {
  EXPECT_EQ(Trace({"pod", "[2001:db8:3::9]:5000", "[2001:db8::1]:80", "tcp", 1, ""}),
            Json::parse(R"([{"verdict": "forward", "service": "default/web:http",
              "frontendKind": "ClusterIP", "backend": "[2001:db8:2::1]:8080",
              "source": "[2001:db8:3::9]:5000", "reason": ""}])"));
  EXPECT_THAT(err_.str(), HasSubstr("as if from the loopback interface"));
}

TEST_F(CommandsTest, TraceSaysWhyNot) {
  EXPECT_EQ(Trace({"net", "192.0.2.99:5000", "198.51.100.1:80", "tcp", 1, "eth.100"}),
            Json::parse(R"([{"verdict": "drop", "service": "default/web:http",
              "frontendKind": "ClusterIP", "backend": "", "source": "192.0.2.99:5000",
              "reason": "external_denied"}])"));
  EXPECT_EQ(Trace({"pod", "203.0.113.9:5000", "198.51.100.2:53", "udp", 1, "pod0"}),
            Json::parse(R"([{"verdict": "reject", "service": "kube-system/dns",
              "frontendKind": "ClusterIP", "backend": "", "source": "203.0.113.9:5000",
              "reason": "no_backend"}])"));
  EXPECT_EQ(Trace({"pod", "203.0.113.9:5000", "192.0.2.77:80", "udp", 1, "pod0"}),
            Json::parse(R"([{"verdict": "none", "service": "", "frontendKind": "", "backend": "",
              "source": "203.0.113.9:5000", "reason": ""}])"));
}

// The walk is of the rows that are really there; what it says of each case is in trace_walk_test.
TEST_F(CommandsTest, TraceWalksThroughTheMaps) {
  const auto walk = [&](const TraceArguments& arguments) {
    EXPECT_EQ(RunTraceCommand(Open(OutputFormat::kTable), arguments, SystemClock(),
                              [] { return std::uint16_t{40000}; }),
              kExitOk)
        << err_.str();
    return out_.str();
  };
  EXPECT_THAT(
      walk({"net", "192.0.2.99:5000", "192.0.2.10:30080", "tcp", 1, "eth.100"}),
      StartsWith("packet     TCP 192.0.2.99:5000 -> 192.0.2.10:30080, from the network: external "
                 "traffic, at interface eth.100\n"
                 "frontend   NodePort 192.0.2.10:30080/TCP of default/web:http\n"
                 "set        the cluster's endpoints (externalTrafficPolicy: Cluster)\n"
                 "endpoints  2 of IPv4, 1 candidate\n"
                 "           ENDPOINT          NODE       STATE  OUTCOME\n"
                 "           203.0.113.1:8080  this node  -      left out: not of this set\n"
                 "           203.0.113.2:8080  -          -      candidate\n"));
  EXPECT_THAT(out_.str(), HasSubstr("choice     203.0.113.2:8080, the only candidate\n"));
  EXPECT_THAT(out_.str(), HasSubstr("source 192.0.2.99:5000 -> 192.0.2.10:2"));
  EXPECT_THAT(out_.str(), HasSubstr("verdict    forward\nnote       no agent runs"));
  EXPECT_THAT(out_.str(), Not(HasSubstr("does not explain")));

  EXPECT_THAT(walk({"pod", "[2001:db8:3::9]:5000", "[2001:db8::1]:80", "tcp", 3, "pod0"}),
              AllOf(HasSubstr("choice     [2001:db8:2::1]:8080, the only candidate\n"),
                    HasSubstr("source [2001:db8:3::9]:5000 kept\n"),
                    HasSubstr("\nCOUNT  VERDICT  BACKEND               SOURCE         REASON\n"
                              "    3  forward  [2001:db8:2::1]:8080  2001:db8:3::9  -\n")));
  EXPECT_THAT(walk({"pod", "203.0.113.9:5000", "192.0.2.10:80", "tcp", 1, "pod0"}),
              AllOf(HasSubstr("none: no service has 192.0.2.10:80/TCP; it has 30080/TCP "
                              "(default/web:http)\n"),
                    HasSubstr("verdict    none"), Not(HasSubstr("does not explain"))));
}

TEST_F(CommandsTest, TraceRefusesBadInput) {
  const auto port = [] { return std::uint16_t{1}; };
  EXPECT_EQ(RunTraceCommand(Open(), {"xdp", "192.0.2.1", "192.0.2.2:80", "tcp", 1, ""},
                            SystemClock(), port),
            kExitInput);
  EXPECT_THAT(err_.str(), HasSubstr("expected pod, net or host"));
  EXPECT_EQ(RunTraceCommand(Open(), {"host", "192.0.2.1", "192.0.2.2:80", "tcp", 1, ""},
                            SystemClock(), port),
            kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("sluiced --socket-lb host"));
  EXPECT_EQ(RunTraceCommand(Open(), {"pod", "192.0.2.1", "192.0.2.2:80", "tcp", 1, "none0"},
                            SystemClock(), port),
            kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("none0"));
}

TEST_F(CommandsTest, StatusSaysHealthByItsExitCode) {
  SystemClock clock;
  EXPECT_EQ(RunStatus(Open(), clock), 2);
  EXPECT_EQ(Output().at("agent"), "not running");
  EXPECT_EQ(Output().at("counts"),
            Json::parse(R"({"services": 2, "frontends": 4, "backends": 3, "flows": 0})"));
  {
    FakeAgent agent(folder_.path());
    agent.Answer("/v1/snapshot", 200, R"({"synced": true})");
    agent.Start();
    EXPECT_EQ(RunStatus(Open(), clock), 0);
    EXPECT_EQ(Output().at("health"), "healthy");
  }
  FakeAgent agent(folder_.path());
  agent.Answer("/v1/snapshot", 200, R"({"synced": true, "degraded": ["map full"]})");
  agent.Start();
  EXPECT_EQ(RunStatus(Open(), clock), 1);
  EXPECT_EQ(Output().at("degraded"), Json::parse(R"(["map full"])"));
}

TEST_F(CommandsTest, SyncTellsTimeoutFromOtherFailures) {
  EXPECT_EQ(RunSync(Open(), absl::Milliseconds(50)), kExitNo);
  FakeAgent agent(folder_.path());
  agent.Answer("/v1/sync", 500, "broken");
  agent.Start();
  EXPECT_EQ(RunSync(Open(), absl::Seconds(5)), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("broken"));
}

TEST_F(CommandsTest, WithoutPinsEveryCommandSaysWhatToDo) {
  SystemClock clock;
  std::ofstream(folder_.path() + "/bpffs") << "/sys/fs/bpf/sluice-none\n";
  const auto port = [] { return std::uint16_t{1}; };
  const std::function<int()> commands[] = {
      [&] { return RunServiceList(Open()); },
      [&] { return RunServiceShow(Open(), "default/web"); },
      [&] { return RunBackendList(Open()); },
      [&] { return RunConntrackList(Open(), {}, clock); },
      [&] { return RunConntrackFlush(Open(), {}); },
      [&] { return RunDrops(Open()); },
      [&] { return RunMaps(Open()); },
      [&] { return RunInterfaces(Open()); },
      [&] {
        return RunTraceCommand(Open(), {"pod", "192.0.2.1", "192.0.2.2:80", "tcp", 1, ""},
                               SystemClock(), port);
      }};
  for (const auto& command : commands) {
    EXPECT_EQ(command(), kExitFailed);
    EXPECT_THAT(err_.str(), HasSubstr("no maps in /sys/fs/bpf/sluice-none/v1; has sluiced run"));
    EXPECT_EQ(out_.str(), "");
  }
}

TEST(ResolveBpffsTest, FlagThenStateFolderThenDefault) {
  const testing::ScratchFolder folder;
  EXPECT_EQ(ResolveBpffs("", folder.path()), "/sys/fs/bpf/sluice");
  std::ofstream(folder.path() + "/bpffs") << " /sys/fs/bpf/a \nmore\n";
  EXPECT_EQ(ResolveBpffs("", folder.path()), "/sys/fs/bpf/a");
  EXPECT_EQ(ResolveBpffs("/sys/fs/bpf/b", folder.path()), "/sys/fs/bpf/b");
}

}  // namespace
}  // namespace sluice::report
