// SPDX-License-Identifier: Apache-2.0
// A made-up /proc, and servers on loopback in a network namespace of the test's own.
#include "control/takeover/running_kube_proxy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::sluice::testing::StatusIs;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

class ProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    proc_ = ::testing::TempDir() + "proc-" + std::to_string(::getpid());
    fs::create_directories(proc_);
    Process("self", "sluiced", std::string("sluiced\0--cleanup-kube-proxy\0", 29), "net:[1]");
    std::ofstream(proc_ + "/uptime") << "1.0 1.0\n";
  }
  void TearDown() override { fs::remove_all(proc_); }

  void Process(const std::string& pid, const std::string& comm, const std::string& cmdline,
               const std::string& network) {
    const std::string folder = proc_ + "/" + pid;
    fs::create_directories(folder + "/ns");
    std::ofstream(folder + "/comm") << comm << "\n";
    std::ofstream(folder + "/cmdline", std::ios::binary) << cmdline;
    if (!network.empty()) fs::create_symlink(network, folder + "/ns/net");
  }

  std::string proc_;
};

TEST_F(ProcessTest, FindsNobody) {
  Process("1", "systemd", std::string("/sbin/init\0", 11), "net:[1]");
  Process("2", "kthreadd", "", "net:[1]");
  Process("77", "sh", std::string("sh\0-c\0kube-proxy\0", 17), "net:[1]");
  EXPECT_TRUE(CheckNoKubeProxyProcess(proc_).ok());
}

TEST_F(ProcessTest, FindsOneByItsProgram) {
  Process("78", "main", std::string("/usr/local/bin/kube-proxy\0--v=2\0", 32), "net:[1]");
  EXPECT_THAT(CheckNoKubeProxyProcess(proc_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("process 78")));
}

TEST_F(ProcessTest, FindsOneByTheKernelsName) {
  Process("79", "kube-proxy", "", "net:[1]");
  EXPECT_THAT(CheckNoKubeProxyProcess(proc_), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(ProcessTest, FindsHyperkube) {
  Process("80", "hyperkube", std::string("/hyperkube\0proxy\0", 17), "net:[1]");
  EXPECT_THAT(CheckNoKubeProxyProcess(proc_), StatusIs(absl::StatusCode::kFailedPrecondition));
  fs::remove_all(proc_ + "/80");
  Process("80", "hyperkube", std::string("/hyperkube\0kubelet\0", 19), "net:[1]");
  EXPECT_TRUE(CheckNoKubeProxyProcess(proc_).ok());
}

TEST_F(ProcessTest, OneInAnotherNamespaceIsNoneOfOurs) {
  Process("81", "kube-proxy", "", "net:[2]");
  EXPECT_TRUE(CheckNoKubeProxyProcess(proc_).ok());
}

TEST_F(ProcessTest, OneThatHasJustEndedDoesNotCount) {
  Process("82", "kube-proxy", "", "");
  EXPECT_TRUE(CheckNoKubeProxyProcess(proc_).ok());
}

// Reading the files of a process that has just ended fails in the middle.
TEST_F(ProcessTest, FilesThatCannotBeReadAreNobodys) {
  fs::create_directories(proc_ + "/84/cmdline");
  fs::create_directories(proc_ + "/84/comm");
  EXPECT_TRUE(CheckNoKubeProxyProcess(proc_).ok());
}

TEST_F(ProcessTest, OneWhoseNamespaceMayNotBeReadCounts) {
  Process("83", "kube-proxy", "", "");
  fs::create_directory(proc_ + "/83/ns/net");  // readlink fails: not a link
  EXPECT_THAT(CheckNoKubeProxyProcess(proc_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("as far as may be seen")));
}

TEST_F(ProcessTest, NeedsAProcFileSystem) {
  EXPECT_FALSE(CheckNoKubeProxyProcess(proc_ + "/nowhere").ok());
}

// Serves /proxyMode on a free port of loopback.
class ModeServer {
 public:
  explicit ModeServer(const std::string& mode) {
    server_.Get("/proxyMode", [mode](const httplib::Request&, httplib::Response& response) {
      response.set_content(mode, "text/plain");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }
  ~ModeServer() {
    server_.stop();
    thread_.join();
  }
  std::uint16_t port() const { return static_cast<std::uint16_t>(port_); }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
};

TEST(AnswerTest, AModeOfKubeProxyIsOne) {
  for (const char* mode : {"iptables", "ipvs\n", "nftables"}) {
    const ModeServer server(mode);
    EXPECT_THAT(CheckNoKubeProxyAnswers(server.port()),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("answers on 127.0.0.1")))
        << mode;
  }
}

// sluiced serves the same path.
TEST(AnswerTest, AnotherWordIsNone) {
  const ModeServer server("ebpf");
  EXPECT_TRUE(CheckNoKubeProxyAnswers(server.port()).ok());
}

TEST(AnswerTest, NobodyIsNone) {
  std::uint16_t port = 0;
  {
    const ModeServer server("iptables");
    port = server.port();
  }
  EXPECT_TRUE(CheckNoKubeProxyAnswers(port).ok());
}

}  // namespace
}  // namespace sluice
