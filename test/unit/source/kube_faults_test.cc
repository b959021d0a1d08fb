// SPDX-License-Identifier: Apache-2.0
// What goes wrong between the Kubernetes source and a server: each is told in words that say what
// to do, is tried again, and leaves what was known as it was.

#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/health/listen_socket.h"
#include "control/source/kube_source.h"
#include "test/support/connect_proxy.h"
#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"
#include "test/support/test_certificates.h"
#include "test/unit/source/kube_source_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class KubeFaultsTest : public KubeSourceTest {
 protected:
  void TearDown() override { source_.reset(); }

  void StartSynced(FakeApiOptions options = {}) {
    StartServer(std::move(options));
    Populate();
    StartSource();
    ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
    ASSERT_TRUE(Turn([&] { return server_->watches() == 4; }));
    server_->ForgetRequests();
    sink_.log.clear();
  }
  // All is as Populate() made it, and nobody was told to delete anything meanwhile.
  void ExpectUntouched() const {
    EXPECT_THAT(sink_.services, SizeIs(1));
    EXPECT_THAT(sink_.slices, SizeIs(1));
    EXPECT_THAT(sink_.nodes, SizeIs(2));
    for (const std::string& line : sink_.log) EXPECT_THAT(line, Not(HasSubstr("delete")));
  }
  // The source follows again: a change arrives, and nothing is reported any more.
  void ExpectFollowed() {
    server_->Set(MakeService("after", "10.96.0.99"));
    ASSERT_TRUE(Turn([&] { return sink_.services.contains("default/after"); }))
        << sink_.ProblemText();
    server_->SendBookmarks();  // after garbage it takes a good event to believe in the watch
    ASSERT_TRUE(Turn([&] { return sink_.problems.empty(); })) << sink_.ProblemText();
    EXPECT_EQ(source_->Status().away_since, absl::InfiniteFuture());
  }
  void Fault(const std::string& verb, ApiFault::Kind kind, ApiFault fault = {}) {
    fault.resource = "services";
    fault.verb = verb;
    fault.kind = kind;
    server_->AddFault(std::move(fault));
  }
  int Requests(const std::string& resource) const {
    int count = 0;
    for (const auto& request : server_->requests()) count += request.resource == resource ? 1 : 0;
    return count;
  }
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name) << text;
    return folder_ + "/" + name;
  }
  // A kubeconfig for the server, with `cluster` and `user` as YAML flow entries.
  // Without `url`: that of the server.
  void UseKubeconfig(const std::string& cluster, const std::string& user, std::string url = "") {
    if (url.empty()) url = server_->url();
    kube_.masters.clear();
    kube_.kubeconfig =
        Write("kubeconfig",
              "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
              "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
              "clusters: [{name: k, cluster: {server: '" +
                  url + "', " + cluster + "}}]\nusers: [{name: u, user: {" + user + "}}]\n");
  }

  const ScratchFolder scratch_;
  const std::string folder_ = scratch_.path();
};

TEST_F(KubeFaultsTest, GarbageInAnEventIsTold) {
  StartSynced();
  Fault("event", ApiFault::Kind::kGarbage, {.after = 40});
  server_->Set(MakeService("web", "10.96.0.10"));
  ASSERT_TRUE(Turn([&] { return WasReported("no Kubernetes protobuf"); })) << sink_.ProblemText();
  ExpectUntouched();
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, GarbageInAListIsTold) {
  StartServer();
  Populate();
  Fault("watch", ApiFault::Kind::kGarbage, {.times = 2, .after = 10});
  StartSource();
  ASSERT_TRUE(Turn([&] { return WasReported("no Kubernetes protobuf"); })) << sink_.ProblemText();
  EXPECT_EQ(sink_.synced, 0u);
  ASSERT_TRUE(TurnUntilSynced());
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, AConnectionCutInTheMiddleOfAnEventGoesOnFromThere) {
  StartSynced();
  Fault("event", ApiFault::Kind::kCut, {.after = 20});
  server_->Set(MakeService("db", "10.96.0.11"));
  ASSERT_TRUE(Turn([&] { return sink_.services.contains("default/db"); }));
  EXPECT_EQ(Stream("services").lists, 1u);
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, WatchesThatEndAreBegunAgain) {
  StartSynced();
  const auto end_watches = [&](void (FakeApiServer::*end)()) {
    const std::uint64_t before = Stream("services").restarts;
    (server_.get()->*end)();
    return Turn([&] { return Stream("services").restarts > before; }) &&
           Turn([&] { return server_->watches("services") == 1; });
  };
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(end_watches(&FakeApiServer::EndWatches));
    ASSERT_TRUE(end_watches(&FakeApiServer::CutWatches));
  }
  ExpectUntouched();
  EXPECT_GE(Stream("services").restarts, 6u);
  EXPECT_EQ(Stream("services").lists, 1u);
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, SilentWatchesAreBegunAgain) {
  options_.reflector.watch_silence = options_.reflector.initial_silence = absl::Milliseconds(300);
  StartSynced();
  Fault("event", ApiFault::Kind::kSilence, {.after = 10});
  server_->Set(MakeService("db", "10.96.0.11"));
  ASSERT_TRUE(Turn([&] { return sink_.services.contains("default/db"); }));
  EXPECT_EQ(Stream("services").lists, 1u);
  // The one that fell silent was given up.
  ASSERT_TRUE(Turn([&] { return server_->watches("services") == 1; }));
  ExpectFollowed();
}

// One that takes connections and never says a word, as behind a load balancer without servers.
TEST_F(KubeFaultsTest, ASilentServerIsLeftForTheNext) {
  const auto silent = ListenSocket("127.0.0.1", 0);
  ASSERT_THAT(silent, IsOk());
  sockaddr_in address{};
  socklen_t length = sizeof(address);
  ASSERT_EQ(::getsockname(silent->get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  StartServer();
  Populate();
  kube_.masters = {absl::StrCat("http://127.0.0.1:", ntohs(address.sin_port)), server_->url()};
  options_.reflector.initial_silence = absl::Milliseconds(200);
  options_.reflector.answer_silence = absl::Milliseconds(200);
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, WatchesThatSayAnythingAreNotSilent) {
  options_.reflector.watch_silence = options_.reflector.initial_silence = absl::Milliseconds(400);
  StartSynced({.bookmark_interval = absl::Milliseconds(50)});
  const absl::Time end = absl::Now() + absl::Seconds(1);
  ASSERT_TRUE(Turn([&] { return absl::Now() >= end; }));
  EXPECT_EQ(Stream("services").restarts, 0u);
}

TEST_F(KubeFaultsTest, ServersThatAreNotReadyAreAskedAgain) {
  StartServer();
  Populate();
  Fault("watch", ApiFault::Kind::kStatus, {.times = 3, .code = 503});
  StartSource();
  ASSERT_TRUE(Turn([&] { return WasReported("answers 503 ServiceUnavailable"); }))
      << sink_.ProblemText();
  ASSERT_TRUE(TurnUntilSynced());
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, SlowServersAreWaitedFor) {
  StartServer();
  Populate();
  Fault("watch", ApiFault::Kind::kSlow, {.bytes_per_second = 2000});
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  EXPECT_THAT(sink_.problems, IsEmpty()) << sink_.ProblemText();
  EXPECT_EQ(Requests("services"), 1);
}

TEST_F(KubeFaultsTest, AnEventFromBeforeWhatIsKnownIsRefused) {
  StartSynced();
  Fault("event", ApiFault::Kind::kOldVersion);
  server_->Set(MakeService("web", "10.96.0.66"));
  ASSERT_TRUE(Turn([&] { return WasReported("the server sends version 1, though"); }));
  // The new list has the change.
  ASSERT_TRUE(
      Turn([&] { return sink_.services.at("default/web").spec().cluster_ip() == "10.96.0.66"; }));
  ExpectUntouched();
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, AClusterRestoredFromABackupIsBelievedInTheEnd) {
  StartSynced({.refuses_future_watches = true});
  for (int i = 0; i < 50; ++i) server_->Set(MakeService("web", "10.96.0.10"));
  ASSERT_TRUE(
      Turn([&] { return Stream("services").version == std::to_string(server_->version()); }));
  server_->Kill();
  server_->DeleteEndpointSlice("default", "web-1");
  server_->RestoreTo(1020);
  ASSERT_TRUE(server_->Restart().ok());
  ASSERT_TRUE(Turn([&] { return WasReported("was restored from a backup"); }))
      << sink_.ProblemText();
  EXPECT_THAT(sink_.slices, SizeIs(1));
  ASSERT_TRUE(Turn([&] { return sink_.slices.empty(); })) << sink_.ProblemText();
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, ErrorEventsMeanANewList) {
  StartSynced();
  Fault("event", ApiFault::Kind::kStatus, {.code = 500});
  server_->Set(MakeService("db", "10.96.0.11"));
  ASSERT_TRUE(Turn([&] { return Stream("services").lists == 2; }));
  EXPECT_TRUE(sink_.services.contains("default/db"));
  for (const std::string& line : sink_.log) EXPECT_THAT(line, Not(HasSubstr("delete")));
}

TEST_F(KubeFaultsTest, TooManyRequestsAreWaitedOutAsLongAsTheServerSays) {
  StartSynced();
  Fault("watch", ApiFault::Kind::kStatus, {.code = 429, .retry_after_seconds = 1});
  const absl::Time before = absl::Now();
  server_->EndWatches();
  ASSERT_TRUE(Turn([&] { return WasReported("answers 429 TooManyRequests"); }))
      << sink_.ProblemText();
  ASSERT_TRUE(Turn([&] { return server_->watches("services") == 1; }));
  EXPECT_GE(absl::Now() - before, absl::Seconds(1));
  ExpectUntouched();
}

TEST_F(KubeFaultsTest, MissingRightsAreToldByVerbAndResource) {
  StartServer();
  Populate();
  server_->Forbid("watch", "endpointslices");
  server_->Forbid("list", "endpointslices");
  StartSource();
  ASSERT_TRUE(Turn([&] {
    return WasReported(
        "the right to watch endpointslices is missing: bind the ClusterRole "
        "system:node-proxier");
  })) << sink_.ProblemText();
  EXPECT_EQ(sink_.synced, 0u);
  EXPECT_TRUE(Stream("services").error.empty());
  server_->AllowAll();
  EXPECT_TRUE(TurnUntilSynced());
}

TEST_F(KubeFaultsTest, WhatIsNoKubernetesIsToldSo) {
  StartServer();
  Populate();
  Fault("", ApiFault::Kind::kText, {.times = 2, .code = 200, .text = "<html>It works!</html>"});
  Fault("", ApiFault::Kind::kText, {.times = 1, .code = 404, .text = "<html>nothing</html>"});
  StartSource();
  ASSERT_TRUE(Turn([&] {
    return WasReported("\"text/html\", which no Kubernetes API server sends");
  })) << sink_.ProblemText();
  ASSERT_TRUE(Turn([&] {
    return WasReported(
        "answers 404 without a Status of Kubernetes (\"<html>nothing</html>\"): is "
        "this a Kubernetes API server?");
  })) << sink_.ProblemText();
  ASSERT_TRUE(TurnUntilSynced());
}

TEST_F(KubeFaultsTest, ObjectsOfAbsurdSizeAreSkippedByName) {
  StartSynced();
  model::Service huge = MakeService("huge", "10.96.0.13");
  (*huge.mutable_metadata()->mutable_annotations())["a"] = std::string(kMaxObjectBytes + 1, 'x');
  server_->Set(huge);
  ASSERT_TRUE(Turn([&] { return WasReported("Service default/huge: an object of "); }))
      << sink_.ProblemText();
  ExpectUntouched();
  // The stream goes on, and the object comes as soon as it can be read.
  server_->Set(MakeService("huge", "10.96.0.13"));
  ASSERT_TRUE(Turn([&] { return sink_.services.contains("default/huge"); }));
  EXPECT_THAT(sink_.problems, IsEmpty()) << sink_.ProblemText();
}

TEST_F(KubeFaultsTest, AnObjectThatGrewAbsurdStaysAsItWas) {
  StartSynced();
  model::Service huge = MakeService("web", "10.96.0.77");
  (*huge.mutable_metadata()->mutable_annotations())["a"] = std::string(kMaxObjectBytes + 1, 'x');
  server_->Set(huge);
  ASSERT_TRUE(Turn([&] { return WasReported("Service default/web: an object of "); }));
  server_->Compact();
  server_->CutWatches();
  ASSERT_TRUE(Turn([&] { return Stream("services").lists == 2; }));
  ExpectUntouched();
  EXPECT_EQ(sink_.services.at("default/web").spec().cluster_ip(), "10.96.0.10");
}

TEST_F(KubeFaultsTest, ATokenThatWasReplacedIsReadAnew) {
  kube_.service_account_folder = folder_;
  StartServer({.tokens = {{"old", "system:serviceaccount:kube-system:sluice"}}});
  Write("token", "old\n");
  Write("ca.crt", "");
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  EXPECT_EQ(server_->requests().at(0).user, "system:serviceaccount:kube-system:sluice");
  server_->SetTokens({{"new", "system:serviceaccount:kube-system:sluice"}});
  server_->CutWatches();
  ASSERT_TRUE(Turn([&] { return WasReported("answers 401 Unauthorized"); })) << sink_.ProblemText();
  EXPECT_TRUE(WasReported("is expired, revoked, or of another cluster")) << sink_.ProblemText();
  ExpectUntouched();
  Write("token", "new\n");
  ASSERT_TRUE(Turn([&] { return server_->watches() == 4; }));
  ExpectFollowed();
}

TEST_F(KubeFaultsTest, ATokenFileThatIsGoneIsTold) {
  kube_.service_account_folder = folder_;
  StartServer({.tokens = {{"t", "u"}}});
  const std::string token = Write("token", "t");
  Write("ca.crt", "");
  Populate();
  StartSource();
  ASSERT_TRUE(TurnUntilSynced());
  std::filesystem::remove(token);
  server_->EndWatches();
  ASSERT_TRUE(Turn([&] { return WasReported("open " + token); })) << sink_.ProblemText();
  Write("token", "t");
  ExpectFollowed();
}

class KubeTlsTest : public KubeFaultsTest {
 protected:
  void SetUp() override {
    KubeFaultsTest::SetUp();
    auto certificates = MakeTestCertificates(folder_);
    ASSERT_TRUE(certificates.ok()) << certificates.status().message();
    certificates_ = *certificates;
  }
  void StartTlsServer(const KeyPair& pair) {
    StartServer({.certificate_file = pair.certificate,
                 .key_file = pair.key,
                 .client_ca_file = certificates_.ca});
    Populate();
  }
  std::string Ca(const std::string& file) { return "certificate-authority: " + file; }
  std::string Pair(const KeyPair& pair) {
    return "client-certificate: " + pair.certificate + ", client-key: " + pair.key;
  }

  TestCertificates certificates_;
};

TEST_F(KubeTlsTest, AClientCertificateProvesWhoWeAre) {
  StartTlsServer(certificates_.server);
  UseKubeconfig(Ca(certificates_.ca), Pair(certificates_.client));
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  EXPECT_EQ(server_->requests().at(0).user, "kube-proxy-client");
}

TEST_F(KubeTlsTest, AServerOfAnotherAuthorityIsNotBelieved) {
  StartTlsServer(certificates_.server);
  UseKubeconfig(Ca(certificates_.other_ca), Pair(certificates_.client));
  StartSource();
  ASSERT_TRUE(Turn([&] { return WasReported("SSL certificate problem"); })) << sink_.ProblemText();
  EXPECT_TRUE(WasReported(certificates_.other_ca)) << sink_.ProblemText();
  EXPECT_THAT(server_->requests(), IsEmpty());
}

TEST_F(KubeTlsTest, AnExpiredServerIsNotBelieved) {
  StartTlsServer(certificates_.expired_server);
  UseKubeconfig(Ca(certificates_.ca), Pair(certificates_.client));
  StartSource();
  ASSERT_TRUE(Turn([&] { return WasReported("certificate has expired"); })) << sink_.ProblemText();
  EXPECT_THAT(server_->requests(), IsEmpty());
}

TEST_F(KubeTlsTest, InsecureBelievesAnyServer) {
  StartTlsServer(certificates_.expired_server);
  UseKubeconfig("insecure-skip-tls-verify: true", Pair(certificates_.client));
  StartSource();
  EXPECT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
}

TEST_F(KubeTlsTest, AStrangersCertificateIsTold) {
  StartTlsServer(certificates_.server);
  UseKubeconfig(Ca(certificates_.ca), Pair(certificates_.stranger));
  StartSource();
  ASSERT_TRUE(Turn([&] { return !sink_.problems.empty(); }));
  EXPECT_TRUE(HasProblem("401 Unauthorized") || HasProblem("alert")) << sink_.ProblemText();
  EXPECT_EQ(sink_.synced, 0u);
}

TEST_F(KubeTlsTest, TheNameOfTheCertificateMayBeAnother) {
  StartTlsServer(certificates_.server);
  UseKubeconfig(Ca(certificates_.ca) + ", tls-server-name: localhost", Pair(certificates_.client));
  StartSource();
  EXPECT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
}

// The name of the server is the proxy's to find, and what is said is for the server alone.
TEST_F(KubeTlsTest, AProxyIsAskedForTheServer) {
  StartTlsServer(certificates_.server);
  const auto proxy = ConnectProxy::Start(server_->port());
  ASSERT_THAT(proxy, IsOk());
  UseKubeconfig(
      Ca(certificates_.ca) + ", tls-server-name: localhost, proxy-url: '" + (*proxy)->url() + "'",
      Pair(certificates_.client), "https://api.example:6443");
  StartSource();
  ASSERT_TRUE(TurnUntilSynced()) << sink_.ProblemText();
  EXPECT_THAT((*proxy)->asked(), Contains(HasSubstr(":6443")));
  ExpectFollowed();
}

TEST_F(KubeTlsTest, ACertificateOfAnotherNameIsNotBelieved) {
  StartTlsServer(certificates_.server);
  UseKubeconfig(Ca(certificates_.ca) + ", tls-server-name: api.example",
                Pair(certificates_.client));
  StartSource();
  ASSERT_TRUE(Turn([&] { return WasReported("api.example"); })) << sink_.ProblemText();
  EXPECT_THAT(server_->requests(), IsEmpty());
}

}  // namespace
}  // namespace sluice::testing
