// SPDX-License-Identifier: Apache-2.0
// The order and the failures of a takeover, against programs that are made up. What real ones do is
// test/e2e/takeover_test.sh and kube_proxy_leftovers_test.sh.
#include "control/takeover/takeover.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "control/takeover/ipvs_rules.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::sluice::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// Programs by their whole command line; what is not set is not installed.
class FakeRunner : public CommandRunner {
 public:
  absl::StatusOr<CommandResult> Run(const std::vector<std::string>& arguments,
                                    std::string_view input) override {
    const std::string line = absl::StrJoin(arguments, " ");
    calls.push_back(line);
    inputs[line].emplace_back(input);
    const auto found = results.find(line);
    if (found == results.end()) return absl::NotFoundError(line);
    std::vector<CommandResult>& left = found->second;
    const CommandResult result = left.front();
    if (left.size() > 1) left.erase(left.begin());
    return result;
  }

  void Says(const std::string& line, const std::string& output) {
    results[line].push_back({.exit_code = 0, .output = output, .errors = ""});
  }
  void Fails(const std::string& line, const std::string& errors) {
    results[line].push_back({.exit_code = 1, .output = "", .errors = errors});
  }

  std::map<std::string, std::vector<CommandResult>> results;  // the last one is repeated
  std::vector<std::string> calls;
  std::map<std::string, std::vector<std::string>> inputs;
};

constexpr char kSave[] = "iptables-nft-save";
constexpr char kRestore[] = "iptables-nft-restore --noflush --wait=5";
constexpr char kNat[] =
    "*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT\n";
constexpr char kFilter[] =
    "*filter\n:INPUT ACCEPT [0:0]\n:KUBE-NODEPORTS - [0:0]\n-A INPUT -j KUBE-NODEPORTS\nCOMMIT\n";

class TakeoverTest : public ::testing::Test {
 protected:
  void SetUp() override {
    proc_ = ::testing::TempDir() + "takeover-" + std::to_string(::getpid());
    std::filesystem::create_directories(proc_ + "/self/ns");
    std::filesystem::create_directories(proc_ + "/net");
    std::filesystem::create_symlink("net:[1]", proc_ + "/self/ns/net");
  }
  void TearDown() override { std::filesystem::remove_all(proc_); }

  std::string proc_;
  FakeRunner runner_;
};

TEST_F(TakeoverTest, ANodeWithoutAnyOfThePrograms) {
  const TakeoverResult result = RemoveKubeProxy(runner_, proc_);
  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_THAT(result.removed, IsEmpty());
}

TEST_F(TakeoverTest, LegacyTablesWithoutTheirProgramAreAnError) {
  std::ofstream(proc_ + "/net/ip_tables_names") << "nat\n";
  EXPECT_THAT(RemoveKubeProxy(runner_, proc_).status,
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("iptables-legacy")));
}

TEST_F(TakeoverTest, TouchesNothingWhileOneRuns) {
  std::filesystem::create_directories(proc_ + "/9/ns");
  std::ofstream(proc_ + "/9/comm") << "kube-proxy\n";
  std::filesystem::create_symlink("net:[1]", proc_ + "/9/ns/net");
  EXPECT_THAT(RemoveKubeProxy(runner_, proc_).status,
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(runner_.calls, IsEmpty());
}

TEST_F(TakeoverTest, RemovesFromEveryTable) {
  runner_.Says(kSave, absl::StrCat(kFilter, kNat));
  runner_.Says(kRestore, "");
  runner_.Says("nft list tables", "table ip nat\ntable ip kube-proxy\ntable inet kube-proxy\n");
  runner_.Says("nft -f -", "");
  const TakeoverResult result = RemoveKubeProxy(runner_, proc_);
  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_THAT(result.removed, ElementsAre("iptables-nft, table filter: 1 chains, 1 jumps",
                                          "iptables-nft, table nat: 1 chains, 1 jumps",
                                          "nftables: table ip kube-proxy"));
  EXPECT_THAT(runner_.inputs["nft -f -"], ElementsAre("delete table ip kube-proxy\n"));
}

// One table that cannot be changed keeps its rules; the others are cleaned, and the failure told.
TEST_F(TakeoverTest, GoesOnAfterATableThatFails) {
  runner_.Says(kSave, absl::StrCat(kFilter, kNat));
  for (int i = 0; i < 3; ++i) runner_.Fails(kRestore, "line 3: CHAIN_DEL failed\n");
  runner_.Says(kRestore, "");
  const TakeoverResult result = RemoveKubeProxy(runner_, proc_);
  EXPECT_THAT(result.status,
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("table filter"), HasSubstr("line 3: CHAIN_DEL failed"))));
  EXPECT_THAT(result.removed, ElementsAre("iptables-nft, table nat: 1 chains, 1 jumps"));
}

// Somebody inserted a rule between reading and writing: read again, and write what is there now.
TEST_F(TakeoverTest, ReadsATableAgainThatHasChanged) {
  runner_.Says(kSave, kNat);  // to learn the tables
  runner_.Says(kSave, kNat);
  runner_.Says(kSave,
               "*nat\n:OUTPUT ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n"
               ":KUBE-SVC-XPGD46QRK7WJZT7O - [0:0]\n-A OUTPUT -j KUBE-SERVICES\nCOMMIT\n");
  runner_.Fails(kRestore, "No such file or directory");
  runner_.Says(kRestore, "");
  const TakeoverResult result = RemoveKubeProxy(runner_, proc_);
  EXPECT_TRUE(result.status.ok()) << result.status;
  ASSERT_EQ(runner_.inputs[kRestore].size(), 2U);
  EXPECT_THAT(runner_.inputs[kRestore][0], Not(HasSubstr("KUBE-SVC")));
  EXPECT_THAT(runner_.inputs[kRestore][1], HasSubstr("-X KUBE-SVC-XPGD46QRK7WJZT7O"));
}

TEST_F(TakeoverTest, OutputThatCannotBeReadChangesNothing) {
  runner_.Says(kSave, "iptables has a new format\n");
  EXPECT_THAT(RemoveKubeProxy(runner_, proc_).status,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("iptables-nft")));
  EXPECT_THAT(runner_.calls, Not(Contains(HasSubstr("restore"))));
}

// iptables shows nothing of a table in which others have rules that it has no words for.
TEST_F(TakeoverTest, ATableThatIptablesCannotShowIsAnErrorWhenItHoldsChains) {
  constexpr char kNotShown[] = "# Table `nat' is incompatible, use 'nft' tool.\n";
  runner_.Says(kSave, absl::StrCat(kNotShown, kFilter));
  runner_.Says(kRestore, "");
  runner_.Says("nft list tables", "");
  runner_.Says("nft list table ip nat", "table ip nat {\n\tchain KUBE-SERVICES {\n\t}\n}\n");
  runner_.Says("nft list table ip nat", "table ip nat {\n\tchain KUBE-MARK-DROP {\n\t}\n}\n");
  const TakeoverResult result = RemoveKubeProxy(runner_, proc_);
  EXPECT_THAT(result.status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                      AllOf(HasSubstr("iptables-nft"), HasSubstr("table nat"),
                                            HasSubstr("KUBE-SERVICES"))));
  EXPECT_THAT(result.removed, ElementsAre("iptables-nft, table filter: 1 chains, 1 jumps"));
  EXPECT_TRUE(RemoveKubeProxy(runner_, proc_).status.ok());  // none of kube-proxy's are in it
}

TEST_F(TakeoverTest, SetsGoAfterTheRulesThatUseThem) {
  runner_.Says(kSave, kNat);
  runner_.Says(kRestore, "");
  runner_.Says("ipset list -n", "KUBE-CLUSTER-IP\ncali40all\nKUBE-6-LOOP-BACK\n");
  runner_.Says("ipset destroy KUBE-CLUSTER-IP", "");
  runner_.Says("ipset destroy KUBE-6-LOOP-BACK", "");
  const TakeoverResult result = RemoveKubeProxy(runner_, proc_);
  EXPECT_TRUE(result.status.ok()) << result.status;
  const auto call = [&](const std::string& line) {
    return std::find(runner_.calls.begin(), runner_.calls.end(), line);
  };
  EXPECT_LT(call(kRestore), call("ipset destroy KUBE-CLUSTER-IP"));
  EXPECT_EQ(call("ipset destroy cali40all"), runner_.calls.end());
  EXPECT_NE(call("ipset destroy KUBE-6-LOOP-BACK"), runner_.calls.end());
}

TEST_F(TakeoverTest, ASetInUseIsAnError) {
  runner_.Says("ipset list -n", "KUBE-CLUSTER-IP\n");
  runner_.Fails("ipset destroy KUBE-CLUSTER-IP", "Set cannot be destroyed: it is in use");
  EXPECT_THAT(RemoveKubeProxy(runner_, proc_).status,
              StatusIs(absl::StatusCode::kInternal, HasSubstr("it is in use")));
}

// The kernel of the tests has no IPVS: virtual servers are tested here only. Without kube-ipvs0
// none is kube-proxy's, whatever its port.
TEST_F(TakeoverTest, VirtualServersOfOthersStay) {
  std::ofstream(proc_ + "/net/ip_vs") << "IP Virtual Server version 1.2.1 (size=4096)\n";
  runner_.Says("ipvsadm -S -n", "-A -t 192.0.2.80:80 -s rr\n-A -t 127.0.0.1:31000 -s rr\n");
  const TakeoverResult result = RemoveKubeProxy(runner_, proc_);
  EXPECT_TRUE(result.status.ok()) << result.status;
  EXPECT_THAT(result.removed, IsEmpty());
  EXPECT_THAT(result.kept, Contains(HasSubstr("192.0.2.80:80")));
  EXPECT_THAT(result.kept, Contains(HasSubstr("127.0.0.1:31000")));
  EXPECT_THAT(runner_.calls, Not(Contains(HasSubstr("ipvsadm -D"))));
}

IpAddress Address(std::string_view text) { return *IpAddress::Parse(text); }

TEST(IpvsRulesTest, TellsKubeProxysVirtualServersFromOthers) {
  const IpvsRemoval removal = PlanIpvsRemoval(
      "-A -t 10.96.0.10:80 -s rr\n-a -t 10.96.0.10:80 -r 10.244.1.11:8080 -m -w 1\n"
      "-A -u [fd00:10:96::53]:53 -s rr\n-A -t 198.51.100.11:30080 -s rr -p 10800\n"
      "-A -t 198.51.100.11:443 -s rr\n-A -t 203.0.113.9:31000 -s wlc\n-A -f 7 -s rr\n",
      {Address("10.96.0.10"), Address("fd00:10:96::53")}, {Address("198.51.100.11")});
  EXPECT_THAT(removal.commands,
              ElementsAre(ElementsAre("ipvsadm", "-D", "-t", "10.96.0.10:80"),
                          ElementsAre("ipvsadm", "-D", "-u", "[fd00:10:96::53]:53"),
                          ElementsAre("ipvsadm", "-D", "-t", "198.51.100.11:30080")));
  EXPECT_THAT(removal.kept, ElementsAre(HasSubstr("198.51.100.11:443"),
                                        HasSubstr("203.0.113.9:31000"), HasSubstr("-f 7")));
}

}  // namespace
}  // namespace sluice
