// SPDX-License-Identifier: Apache-2.0
// The API server for tests as a client sees it: each answer and each fault, over a socket.
#include "test/support/fake_api_server.h"

#include <httplib.h>
#include <stdlib.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "test/support/recorded_wire.h"
#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"
#include "test/support/test_certificates.h"
#include "test/unit/support/watching.h"

namespace sluice {
namespace {

using nlohmann::json;
using sluice::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kProtobuf[] = "application/vnd.kubernetes.protobuf";
constexpr char kServices[] = "/api/v1/services";
constexpr char kSlices[] = "/apis/discovery.k8s.io/v1/endpointslices";
constexpr char kStreaming[] =
    "&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

model::Service ServiceNamed(const std::string& name) {
  model::Service service;
  service.mutable_metadata()->set_name(name);
  service.mutable_metadata()->set_name_space("default");
  service.mutable_spec()->set_cluster_ip("10.96.0.1");
  return service;
}

std::string NameIn(const OpenedEnvelope& object) {
  const std::vector<std::string> meta = BytesFields(object.raw, 1);
  const std::vector<std::string> name = BytesFields(meta.at(0), 1);
  return name.empty() ? "" : name[0];
}

std::vector<std::string> Said(const std::vector<RecordedFrame>& frames) {
  std::vector<std::string> said;
  for (const RecordedFrame& frame : frames) said.push_back(frame.type + " " + NameIn(frame.object));
  return said;
}

class FakeApiServerTest : public ::testing::Test {
 protected:
  void Start(FakeApiOptions options = {}) {
    absl::StatusOr<std::unique_ptr<FakeApiServer>> server =
        FakeApiServer::Start(std::move(options));
    ASSERT_THAT(server.status(), IsOk());
    server_ = *std::move(server);
  }
  httplib::Result Get(const std::string& path, const std::string& accept = kProtobuf) {
    httplib::Client client(server_->url());
    client.set_read_timeout(20);
    return client.Get(path, {{"Accept", accept}});
  }
  json GetJson(const std::string& path) {
    const httplib::Result result = Get(path, "application/json");
    return result ? json::parse(result->body, nullptr, false) : json();
  }
  std::vector<std::string> ListNames(const std::string& path) {
    std::vector<std::string> names;
    const json list = GetJson(path);
    for (const json& item : list["items"]) names.push_back(item["metadata"]["name"]);
    return names;
  }
  std::string Streaming(const std::string& path) { return path + "?watch=1" + kStreaming; }

  std::unique_ptr<FakeApiServer> server_;
};

TEST_F(FakeApiServerTest, ListsWhatWasSetWithVersionsThatGrow) {
  Start({.first_version = 41});
  EXPECT_EQ(server_->Set(ServiceNamed("b")), 42U);
  EXPECT_EQ(server_->Set(ServiceNamed("a")), 43U);
  EXPECT_EQ(server_->DeleteService("default", "gone"), std::nullopt);
  const json list = GetJson(kServices);
  EXPECT_EQ(list["kind"], "ServiceList");
  EXPECT_EQ(list["metadata"]["resourceVersion"], "43");
  EXPECT_THAT(ListNames(kServices), ElementsAre("a", "b"));
  EXPECT_EQ(list["items"][0]["metadata"]["resourceVersion"], "43");
  EXPECT_NE(list["items"][0]["metadata"]["uid"], list["items"][1]["metadata"]["uid"]);
}

TEST_F(FakeApiServerTest, ReplacingKeepsTheUid) {
  Start();
  server_->Set(ServiceNamed("a"));
  const json before = GetJson(kServices)["items"][0]["metadata"];
  server_->Set(ServiceNamed("a"));
  const json after = GetJson(kServices)["items"][0]["metadata"];
  EXPECT_EQ(before.value("uid", ""), after.value("uid", ""));
  EXPECT_NE(before["resourceVersion"], after["resourceVersion"]);
}

TEST_F(FakeApiServerTest, PagesAreOfOneVersionUntilCompacted) {
  Start();
  for (const char* name : {"a", "b", "c", "d", "e"}) server_->Set(ServiceNamed(name));
  const json first = GetJson(std::string(kServices) + "?limit=2");
  EXPECT_EQ(first["items"].size(), 2U);
  EXPECT_EQ(first["metadata"]["remainingItemCount"], 3);
  server_->DeleteService("default", "c");
  server_->Set(ServiceNamed("cc"));
  const std::string next = first["metadata"]["continue"];
  const json second = GetJson(std::string(kServices) + "?limit=2&continue=" + next);
  EXPECT_EQ(second["items"][0]["metadata"]["name"], "c");
  EXPECT_EQ(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
  server_->Compact();
  const json gone = GetJson(std::string(kServices) + "?limit=2&continue=" + next);
  EXPECT_EQ(gone["code"], 410);
  EXPECT_EQ(GetJson(std::string(kServices) + "?limit=2&continue=xyz")["code"], 400);
}

TEST_F(FakeApiServerTest, SelectorsChooseByLabelAndName) {
  Start();
  model::Service other = ServiceNamed("other");
  (*other.mutable_metadata()->mutable_labels())["service.kubernetes.io/service-proxy-name"] = "x";
  server_->Set(other);
  server_->Set(ServiceNamed("ours"));
  const std::string key = "service.kubernetes.io%2Fservice-proxy-name";
  const std::string path = kServices;
  EXPECT_THAT(ListNames(path + "?labelSelector=!" + key), ElementsAre("ours"));
  EXPECT_THAT(ListNames(path + "?labelSelector=" + key), ElementsAre("other"));
  EXPECT_THAT(ListNames(path + "?labelSelector=" + key + "%3Dx"), ElementsAre("other"));
  EXPECT_THAT(ListNames(path + "?labelSelector=" + key + "!%3Dx"), ElementsAre("ours"));
  EXPECT_THAT(ListNames(path + "?fieldSelector=metadata.name%3Dother"), ElementsAre("other"));
  EXPECT_EQ(GetJson(path + "?fieldSelector=spec.type%3Dx")["code"], 400);
}

TEST_F(FakeApiServerTest, AStreamingListEndsInTheMarkedBookmarkAndGoesOn) {
  Start();
  server_->Set(ServiceNamed("a"));
  Watching watch(*server_, Streaming(kServices), kProtobuf);
  std::vector<RecordedFrame> frames = watch.Frames(2);
  EXPECT_THAT(Said(frames), ElementsAre("ADDED a", "BOOKMARK "));
  EXPECT_THAT(frames.at(1).object.raw, HasSubstr("k8s.io/initial-events-end"));
  server_->Set(ServiceNamed("b"));
  server_->Set(ServiceNamed("a"));
  server_->DeleteService("default", "b");
  EXPECT_THAT(Said(watch.Frames(5)),
              ElementsAre("ADDED a", "BOOKMARK ", "ADDED b", "MODIFIED a", "DELETED b"));
  server_->SendBookmarks();
  frames = watch.Frames(6);
  EXPECT_EQ(frames.at(5).type, "BOOKMARK");
  EXPECT_THAT(frames.at(5).object.raw, Not(HasSubstr("k8s.io/initial-events-end")));
  server_->EndWatches();
  EXPECT_EQ(watch.EndCode(), 200);
  EXPECT_TRUE(server_->Await([](const FakeApiServer& server) { return server.watches() == 0; }));
}

TEST_F(FakeApiServerTest, AWatchSaysInJsonWhatItSaysInProtobuf) {
  Start();
  server_->Set(ServiceNamed("a"));
  Watching watch(*server_, std::string(kServices) + "?watch=true&timeoutSeconds=1",
                 "application/json");
  EXPECT_EQ(watch.EndCode(), 200);
  const json event = json::parse(watch.bytes(), nullptr, false);
  EXPECT_EQ(event["type"], "ADDED");
  EXPECT_EQ(event["object"]["kind"], "Service");
  EXPECT_EQ(event["object"]["metadata"]["name"], "a");
}

TEST_F(FakeApiServerTest, LeavingASelectorIsADeletion) {
  Start();
  server_->Set(ServiceNamed("a"));
  Watching watch(*server_, Streaming(kServices) + "&labelSelector=!taken", kProtobuf);
  watch.Frames(2);
  model::Service taken = ServiceNamed("a");
  (*taken.mutable_metadata()->mutable_labels())["taken"] = "";
  server_->Set(taken);
  server_->Set(taken);  // none of the watch's concern any more
  server_->Set(ServiceNamed("a"));
  EXPECT_THAT(Said(watch.Frames(4)), ElementsAre("ADDED a", "BOOKMARK ", "DELETED a", "ADDED a"));
  server_->CutWatches();
  EXPECT_EQ(watch.EndCode(), -1);
}

TEST_F(FakeApiServerTest, AWatchGoesOnFromAVersionUnlessItIsForgotten) {
  Start();
  const std::uint64_t version = server_->Set(ServiceNamed("a"));
  server_->Set(ServiceNamed("b"));
  const std::string path =
      std::string(kServices) + "?watch=1&resourceVersion=" + std::to_string(version);
  {
    Watching watch(*server_, path, kProtobuf);
    EXPECT_THAT(Said(watch.Frames(1)), ElementsAre("ADDED b"));
    server_->EndWatches();
    EXPECT_EQ(watch.EndCode(), 200);
  }
  server_->Compact();
  Watching watch(*server_, path, kProtobuf);
  EXPECT_EQ(watch.EndCode(), 200);
  const std::vector<RecordedFrame> frames = watch.Frames(1);
  EXPECT_EQ(frames.at(0).type, "ERROR");
  EXPECT_THAT(frames.at(0).object.raw, HasSubstr("too old resource version"));
}

TEST_F(FakeApiServerTest, WhatHasNotComeIsRefusedInListsAndWaitedForInWatches) {
  Start({.first_version = 10, .bookmark_interval = absl::Milliseconds(1)});
  EXPECT_EQ(GetJson(std::string(kServices) + "?resourceVersion=12")["code"], 504);
  {
    Watching streaming(*server_, Streaming(kServices) + "&resourceVersion=12", kProtobuf);
    EXPECT_EQ(streaming.EndCode(), 200);
    EXPECT_THAT(streaming.Frames(1).at(0).object.raw, HasSubstr("Too large resource version: 12"));
  }
  const std::string from_future = "?watch=1&resourceVersion=12&allowWatchBookmarks=true";
  Watching plain(*server_, kServices + from_future, kProtobuf);
  ASSERT_TRUE(server_->Await([](const FakeApiServer& server) { return server.watches() == 1; }));
  server_->Set(ServiceNamed("a"));
  server_->Set(ServiceNamed("b"));
  server_->Set(ServiceNamed("c"));
  EXPECT_EQ(Said(plain.Frames(1)).at(0), "ADDED c");
  server_->CutWatches();
}

TEST_F(FakeApiServerTest, ServersWithoutStreamingListsRefuseOrDoNotKnowThem) {
  Start({.streaming_list = FakeApiOptions::StreamingList::kRefused});
  EXPECT_EQ(Get(Streaming(kServices))->status, 422);
  Start({.streaming_list = FakeApiOptions::StreamingList::kUnknown});
  server_->Set(ServiceNamed("a"));
  Watching watch(*server_, Streaming(kServices), kProtobuf);
  EXPECT_THAT(Said(watch.Frames(1)), ElementsAre("ADDED a"));
  server_->Set(ServiceNamed("b"));
  EXPECT_THAT(Said(watch.Frames(2)), ElementsAre("ADDED a", "ADDED b"));
  server_->CutWatches();
}

TEST_F(FakeApiServerTest, RefusesProtobufWhereAsked) {
  Start({.protobuf = false});
  EXPECT_EQ(Get(kServices)->status, 406);
  EXPECT_EQ(Get(kServices, std::string(kProtobuf) + ", application/json")
                ->get_header_value("Content-Type"),
            "application/json");
}

TEST_F(FakeApiServerTest, GrantsWhatTheNodeProxierHasAndNoMore) {
  Start({.service_cidrs = false});
  model::Node node;
  node.mutable_metadata()->set_name("n1");
  server_->Set(node);
  EXPECT_EQ(GetJson("/api/v1/nodes/n1")["metadata"]["name"], "n1");
  EXPECT_EQ(GetJson("/api/v1/nodes/n2")["message"], "nodes \"n2\" not found");
  EXPECT_EQ(Get("/api/v1/pods")->status, 403);
  EXPECT_EQ(GetJson("/api/v1/namespaces/default/services/a")["message"],
            "services \"a\" is forbidden: User \"system:anonymous\" cannot get resource "
            "\"services\" in API group \"\" in the namespace \"default\"");
  EXPECT_EQ(Get("/apis/networking.k8s.io/v1/servicecidrs")->status, 404);
  EXPECT_EQ(Get("/healthz")->status, 404);
  EXPECT_EQ(Get(kSlices)->status, 200);
  server_->Forbid("list", "endpointslices");
  EXPECT_EQ(GetJson(kSlices)["message"],
            "endpointslices.discovery.k8s.io is forbidden: User \"system:anonymous\" cannot list "
            "resource \"endpointslices\" in API group \"discovery.k8s.io\" at the cluster scope");
  server_->AllowAll();
  EXPECT_EQ(Get(kSlices)->status, 200);
}

TEST_F(FakeApiServerTest, TakesEventsInAndRemembersRequests) {
  Start();
  httplib::Client client(server_->url());
  const std::string path = "/api/v1/namespaces/default/events";
  const std::string body =
      R"({"kind":"Event","apiVersion":"v1","metadata":{"name":"e1","namespace":"default"}})";
  EXPECT_EQ(client.Post(path, body, "application/json")->status, 201);
  EXPECT_EQ(client.Post(path, body, "application/json")->status, 409);
  EXPECT_EQ(client.Post("/api/v1/namespaces/other/events", body, "application/json")->status, 400);
  EXPECT_EQ(client.Patch(path + "/e1", "{}", "application/merge-patch+json")->status, 200);
  EXPECT_EQ(client.Patch(path + "/e2", "{}", "application/merge-patch+json")->status, 404);
  const std::vector<ApiRequest> requests = server_->requests();
  ASSERT_EQ(requests.size(), 5U);
  EXPECT_EQ(requests[0].verb, "create");
  EXPECT_EQ(requests[0].resource, "events");
  EXPECT_EQ(requests[0].body, body);
  EXPECT_EQ(requests[0].code, 201);
  EXPECT_EQ(requests[3].verb, "patch");
  server_->ForgetRequests();
  EXPECT_TRUE(server_->requests().empty());
}

TEST_F(FakeApiServerTest, KnowsUsersByToken) {
  Start({.tokens = {{"secret", "system:serviceaccount:kube-system:kube-proxy"}}});
  httplib::Client client(server_->url());
  EXPECT_EQ(client.Get(kServices)->status, 401);
  EXPECT_EQ(client.Get(kServices, {{"Authorization", "Bearer wrong"}})->status, 401);
  const httplib::Headers known = {{"Authorization", "Bearer secret"}};
  EXPECT_EQ(client.Get(kServices, known)->status, 200);
  EXPECT_EQ(server_->requests().back().user, "system:serviceaccount:kube-system:kube-proxy");
  server_->SetTokens({{"new", "x"}});
  EXPECT_EQ(client.Get(kServices, known)->status, 401);
}

class FakeApiTlsTest : public FakeApiServerTest {
 protected:
  void SetUp() override {
    const absl::StatusOr<TestCertificates> made = MakeTestCertificates(scratch_.path());
    ASSERT_THAT(made.status(), IsOk());
    made_ = *made;
  }

  // The answer's code, -1 if there was none.
  int Ask(const KeyPair& client_files, const std::string& ca) {
    httplib::Client client =
        client_files.key.empty()
            ? httplib::Client(server_->url())
            : httplib::Client(server_->url(), client_files.certificate, client_files.key);
    client.set_ca_cert_path(ca);
    client.enable_server_certificate_verification(true);
    const httplib::Result result = client.Get(kServices);
    return result ? result->status : -1;
  }

  const testing::ScratchFolder scratch_;
  TestCertificates made_;
};

TEST_F(FakeApiTlsTest, KnowsUsersByCertificate) {
  Start({.certificate_file = made_.server.certificate,
         .key_file = made_.server.key,
         .client_ca_file = made_.ca});
  EXPECT_EQ(Ask(made_.client, made_.ca), 200);
  EXPECT_EQ(server_->requests().back().user, "kube-proxy-client");
  EXPECT_EQ(Ask({}, made_.ca), 401);
  EXPECT_EQ(Ask(made_.stranger, made_.ca), 401);
  EXPECT_EQ(Ask(made_.client, made_.other_ca), -1);
}

TEST_F(FakeApiTlsTest, ExpiredAndMissingCertificatesAreNoneOfItsBusiness) {
  Start(
      {.certificate_file = made_.expired_server.certificate, .key_file = made_.expired_server.key});
  EXPECT_EQ(Ask({}, made_.ca), -1);
  EXPECT_EQ(
      FakeApiServer::Start({.certificate_file = "/none", .key_file = "/none"}).status().code(),
      absl::StatusCode::kInvalidArgument);
}

TEST_F(FakeApiServerTest, FaultsAnswerInPlaceOfTheServerAsOftenAsTold) {
  Start();
  server_->AddFault(
      {.resource = "services", .verb = "list", .times = 2, .code = 429, .retry_after_seconds = 7});
  server_->AddFault(
      {.resource = "nodes", .kind = ApiFault::Kind::kText, .code = 200, .text = "<html>"});
  for (int i = 0; i < 2; ++i) {
    const httplib::Result result = Get(kServices, "application/json");
    EXPECT_EQ(result->status, 429);
    EXPECT_EQ(result->get_header_value("Retry-After"), "7");
    EXPECT_EQ(json::parse(result->body)["reason"], "TooManyRequests");
  }
  EXPECT_EQ(Get(kServices)->status, 200);
  EXPECT_EQ(Get("/api/v1/nodes")->body, "<html>");
  EXPECT_EQ(Get("/api/v1/nodes")->status, 200);
}

TEST_F(FakeApiServerTest, FaultsCutSlowAndSpoilBodies) {
  Start();
  server_->Set(ServiceNamed("a"));
  const std::string whole = Get(kServices)->body;
  server_->AddFault({.kind = ApiFault::Kind::kCut, .after = 10});
  EXPECT_FALSE(Get(kServices));
  server_->AddFault({.kind = ApiFault::Kind::kGarbage, .after = 10});
  EXPECT_EQ(Get(kServices)->body, whole.substr(0, 10) + std::string(whole.size() - 10, '\xff'));
  server_->AddFault({.kind = ApiFault::Kind::kSlow, .bytes_per_second = 400});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(Get(kServices)->body, whole);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(100));
}

TEST_F(FakeApiServerTest, ASilentAnswerEndsWithTheFault) {
  Start();
  server_->AddFault({.kind = ApiFault::Kind::kSilence});
  int code = 0;
  std::thread asking([&] {
    const httplib::Result result = Get(kServices);
    code = result ? result->status : -1;
  });
  EXPECT_TRUE(
      server_->Await([](const FakeApiServer& server) { return server.requests().size() == 1; }));
  server_->ClearFaults();
  asking.join();
  EXPECT_EQ(code, -1);
}

TEST_F(FakeApiServerTest, FaultsOfEventsReachRunningWatches) {
  Start();
  {
    Watching watch(*server_, Streaming(kServices), kProtobuf);
    watch.Frames(1);
    server_->AddFault({.verb = "event", .kind = ApiFault::Kind::kOldVersion});
    server_->Set(ServiceNamed("a"));
    const std::vector<RecordedFrame> frames = watch.Frames(2);
    EXPECT_THAT(BytesFields(BytesFields(frames.at(1).object.raw, 1).at(0), 6), ElementsAre("1"));
    server_->AddFault({.verb = "event", .code = 500});
    server_->Set(ServiceNamed("b"));
    EXPECT_EQ(watch.EndCode(), 200);
    EXPECT_EQ(watch.Frames(3).at(2).type, "ERROR");
  }
  Watching watch(*server_, Streaming(kServices), kProtobuf);
  const std::size_t before = watch.Frames(3).size();
  EXPECT_EQ(before, 3U);
  const std::string whole = watch.bytes();
  server_->AddFault({.verb = "event", .kind = ApiFault::Kind::kCut, .after = 9});
  server_->Set(ServiceNamed("c"));
  EXPECT_EQ(watch.EndCode(), -1);
  EXPECT_EQ(watch.bytes().size(), whole.size() + 9);
}

TEST_F(FakeApiServerTest, AWatchsOwnFaultCountsFromItsFirstByte) {
  Start();
  for (const char* name : {"a", "b", "c"}) server_->Set(ServiceNamed(name));
  server_->AddFault({.verb = "watch", .kind = ApiFault::Kind::kCut, .after = 200});
  Watching watch(*server_, Streaming(kServices), kProtobuf);
  EXPECT_EQ(watch.EndCode(), -1);
  EXPECT_EQ(watch.bytes().size(), 200U);
}

TEST_F(FakeApiServerTest, KilledItCutsEveryConnectionAndComesBackWithItsObjects) {
  Start();
  server_->Set(ServiceNamed("a"));
  httplib::Client idle(server_->url());
  idle.set_keep_alive(true);
  EXPECT_EQ(idle.Get(kServices)->status, 200);
  const auto begin = std::chrono::steady_clock::now();
  Watching watch(*server_, Streaming(kServices), kProtobuf);
  watch.Frames(2);
  server_->Kill();
  EXPECT_EQ(watch.EndCode(), -1);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_FALSE(httplib::Client(server_->url()).Get(kServices));
  ASSERT_THAT(server_->Restart(), IsOk());
  EXPECT_THAT(ListNames(kServices), ElementsAre("a"));
}

TEST_F(FakeApiServerTest, RestoredItCountsFromAnOlderVersion) {
  Start();
  server_->Set(ServiceNamed("a"));
  Watching watch(*server_, Streaming(kServices), kProtobuf);
  watch.Frames(2);
  server_->RestoreTo(500);
  EXPECT_EQ(watch.EndCode(), -1);
  EXPECT_EQ(GetJson(kServices)["metadata"]["resourceVersion"], "500");
  EXPECT_EQ(GetJson(kServices)["items"][0]["metadata"]["resourceVersion"], "500");
  EXPECT_EQ(server_->Set(ServiceNamed("b")), 501U);
}

TEST_F(FakeApiServerTest, APortThatIsTakenIsSaid) {
  Start();
  EXPECT_EQ(FakeApiServer::Start({.port = server_->port()}).status().code(),
            absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace sluice
