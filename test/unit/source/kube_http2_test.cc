// SPDX-License-Identifier: Apache-2.0
// The Kubernetes source over HTTP/2, which API servers offer and the server for tests does not:
// nginx stands between. All kinds share one connection, and no change is left lying in it.
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/base/unique_fd.h"
#include "test/support/scratch_folder.h"
#include "test/support/test_certificates.h"
#include "test/unit/source/kube_source_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::SizeIs;

constexpr char kNginxConfig[] = R"(
daemon off; worker_processes 1; pid FOLDER/nginx.pid; error_log FOLDER/error.log;
events { worker_connections 64; }
http {
  log_format protocol "$server_protocol $connection";
  access_log FOLDER/access.log protocol;
  server {
    listen 127.0.0.1:PORT ssl http2;
    ssl_certificate CERT; ssl_certificate_key KEY;
    location / {
      proxy_pass UPSTREAM; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 1h; proxy_temp_path FOLDER;
    }
  }
}
)";

class KubeHttp2Test : public KubeSourceTest {
 protected:
  void SetUp() override {
    KubeSourceTest::SetUp();
    ::chmod(folder_.c_str(), 0755);
    StartServer();
    StartNginx();
  }
  void TearDown() override {
    source_.reset();
    StopNginx();
  }

  // A port that nobody has at this moment.
  static std::uint16_t FreePort() {
    const UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
  }

  void StartNginx() {
    if (certificates_.ca.empty()) {
      const auto certificates = MakeTestCertificates(folder_);
      ASSERT_TRUE(certificates.ok());
      certificates_ = *certificates;
    }
    if (port_ == 0) port_ = FreePort();
    const std::string config = folder_ + "/nginx.conf";
    std::ofstream(config) << absl::StrReplaceAll(kNginxConfig,
                                                 {{"FOLDER", folder_},
                                                  {"PORT", absl::StrCat(port_)},
                                                  {"CERT", certificates_.server.certificate},
                                                  {"KEY", certificates_.server.key},
                                                  {"UPSTREAM", server_->url()}});
    nginx_ = ::fork();
    if (nginx_ == 0) {
      ::execlp("nginx", "nginx", "-p", folder_.c_str(), "-e", (folder_ + "/error.log").c_str(),
               "-c", config.c_str(), nullptr);
      ::_exit(127);
    }
    UseKubeconfig(absl::StrCat("https://127.0.0.1:", port_), certificates_.ca);
  }
  void StopNginx() {
    if (nginx_ <= 0) return;
    ::kill(nginx_, SIGTERM);
    ::waitpid(nginx_, nullptr, 0);
    nginx_ = 0;
  }
  void UseKubeconfig(const std::string& server, const std::string& ca) {
    kube_.masters.clear();
    kube_.kubeconfig = folder_ + "/kubeconfig";
    std::ofstream(kube_.kubeconfig)
        << "kind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k}}]\n"
        << "clusters: [{name: k, cluster: {server: '" << server
        << "', certificate-authority: " << ca << "}}]\n";
  }
  // The annotation `n` of the Service; empty before there is one.
  std::string Seen() const {
    const auto& notes = sink_.services.at("default/web").metadata().annotations();
    const auto n = notes.find("n");
    return n == notes.end() ? "" : n->second;
  }
  // Lines of nginx' log; it writes them when an exchange has ended.
  std::multiset<std::string> Log() const {
    std::ifstream file(folder_ + "/access.log");
    std::multiset<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.insert(line);
    return lines;
  }

  const ScratchFolder scratch_;
  const std::string folder_ = scratch_.path();
  TestCertificates certificates_;
  std::uint16_t port_ = 0;
  pid_t nginx_ = 0;
};

TEST_F(KubeHttp2Test, AllKindsShareOneConnectionAndNoChangeIsLost) {
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  // Nginx may not have listened at once, and not all kinds are needed to be synced.
  ASSERT_TRUE(Turn([&] { return server_->watches() == 4; }));
  const std::uint64_t restarts = Stream("services").restarts;
  // Of all sizes, so that they end in all places of a frame, on two streams at once.
  for (int i = 0; i < 400; ++i) {
    model::Service service = MakeService("web", "10.96.0.10");
    (*service.mutable_metadata()->mutable_annotations())["n"] = std::to_string(i);
    (*service.mutable_metadata()->mutable_annotations())["pad"] =
        std::string(static_cast<std::size_t>(i % 7 == 0 ? 40'000 : 13 * i), 'x');
    server_->Set(service);
    server_->Set(MakeSlice("web", absl::StrCat("10.244.1.", i % 250 + 1)));
    if (i % 20 != 0) continue;
    ASSERT_TRUE(Turn([&] { return Seen() == std::to_string(i); })) << i;
  }
  ASSERT_TRUE(Turn([&] {
    return Seen() == "399" &&
           sink_.slices.at("default/web-1").endpoints(0).addresses(0) == "10.244.1.150";
  }));
  EXPECT_EQ(Stream("services").restarts, restarts);

  // A watch that is begun again is one more stream of the same connection.
  server_->EndWatches();
  ASSERT_TRUE(Turn([&] { return Log().size() >= 4 && server_->watches() == 4; }));
  const std::multiset<std::string> log = Log();
  EXPECT_THAT(std::set<std::string>(log.begin(), log.end()), SizeIs(1)) << *log.begin();
  EXPECT_EQ(log.begin()->rfind("HTTP/2.0 ", 0), 0u) << *log.begin();
}

TEST_F(KubeHttp2Test, AConnectionThatBreaksTakesAllKindsAndBringsThemBack) {
  Populate();
  // Nginx may not listen yet: that is a server like any other that is away.
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  StopNginx();
  for (const char* resource : {"services", "endpointslices", "nodes", "servicecidrs"}) {
    ASSERT_TRUE(Turn([&] { return !Stream(resource).error.empty(); })) << resource;
  }
  server_->Set(MakeService("db", "10.96.0.11"));
  ASSERT_TRUE(server_->Await([](const FakeApiServer& server) { return server.watches() == 0; }));
  StartNginx();
  ASSERT_TRUE(Turn([&] { return server_->watches() == 4; }));
  server_->SendBookmarks();  // nginx keeps a head back until something follows it
  ASSERT_TRUE(Turn([&] { return sink_.services.size() == 2; })) << sink_.ProblemText();
  ASSERT_TRUE(Turn([&] { return sink_.problems.empty(); })) << sink_.ProblemText();
  EXPECT_EQ(Stream("services").lists, 1u);
}

}  // namespace
}  // namespace sluice::testing
