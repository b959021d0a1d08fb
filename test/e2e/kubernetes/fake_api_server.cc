// SPDX-License-Identifier: Apache-2.0
// fake_api_server: the API server for tests as a program, for tests that are shell scripts. Serves
// what a folder of manifests says, as it changes, and goes wrong when its control socket is told
// to.
//
//   curl --unix-socket SOCKET -X POST http://x/faults -d '{"verb":"list","code":429}'
//
// Control: POST /faults {resource, verb, times, kind: status|text|cut|silence|slow|garbage|
// old-version, code, reason, message, retryAfter, text, after, bytesPerSecond}, DELETE /faults;
// POST /tokens {token: user}; POST /forbid?verb=&resource=, DELETE /forbid; POST /compact,
// /bookmarks, /end-watches, /cut-watches, /kill, /restart, /restore?version=; POST /refresh returns
// when the folder's content is served; GET /version, /requests.
#include "test/support/fake_api_server.h"

#include <httplib.h>

#include <cstdint>
#include <cstdio>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "control/agent/http_server.h"
#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/base/status_macros.h"
#include "control/source/file_source.h"

namespace sluice {
namespace {

using nlohmann::json;

struct Flags {
  FakeApiOptions api;
  std::string manifests;
  std::string control;
  std::vector<std::string> tokens;  // TOKEN=USER
  std::string streaming_lists = "served";
  std::vector<std::string> service_cidrs = {"10.96.0.0/16", "fd00:10:96::/112"};
};

// What the manifests say is what the API server has.
class ServingSink final : public ClusterSink {
 public:
  explicit ServingSink(FakeApiServer& server) : server_(server) {}
  void SetService(model::Service service) override { server_.Set(service); }
  void DeleteService(const std::string& name_space, const std::string& name) override {
    server_.DeleteService(name_space, name);
  }
  void SetEndpointSlice(model::EndpointSlice slice) override { server_.Set(slice); }
  void DeleteEndpointSlice(const std::string& name_space, const std::string& name) override {
    server_.DeleteEndpointSlice(name_space, name);
  }
  void SetNode(model::Node node) override { server_.Set(node); }
  void DeleteNode(const std::string& name) override { server_.DeleteNode(name); }
  void Synced() override {}
  void Reset() override {}
  void ReportProblem(const std::string& origin, const std::string& object,
                     const std::string& message) override {
    std::cerr << origin << ": " << object << ": " << message << std::endl;
  }
  void ClearProblems(const std::string&) override {}

 private:
  FakeApiServer& server_;
};

std::optional<ApiFault::Kind> KindOf(const std::string& word) {
  static const auto* kinds =
      new std::map<std::string, ApiFault::Kind>{{"status", ApiFault::Kind::kStatus},
                                                {"text", ApiFault::Kind::kText},
                                                {"cut", ApiFault::Kind::kCut},
                                                {"silence", ApiFault::Kind::kSilence},
                                                {"slow", ApiFault::Kind::kSlow},
                                                {"garbage", ApiFault::Kind::kGarbage},
                                                {"old-version", ApiFault::Kind::kOldVersion}};
  const auto found = kinds->find(word);
  return found == kinds->end() ? std::nullopt : std::optional(found->second);
}

// Throws nlohmann's exceptions for what is no such object, which httplib answers with 500.
ApiFault FaultOf(const json& body) {
  ApiFault fault;
  const std::optional<ApiFault::Kind> kind = KindOf(body.value("kind", "status"));
  if (!kind.has_value()) throw std::invalid_argument("no such kind of fault");
  fault.kind = *kind;
  fault.resource = body.value("resource", fault.resource);
  fault.verb = body.value("verb", fault.verb);
  fault.times = body.value("times", fault.times);
  fault.code = body.value("code", fault.code);
  fault.reason = body.value("reason", fault.reason);
  fault.message = body.value("message", fault.message);
  if (body.contains("retryAfter")) fault.retry_after_seconds = body["retryAfter"].get<int>();
  fault.text = body.value("text", fault.text);
  fault.after = body.value("after", fault.after);
  fault.bytes_per_second = body.value("bytesPerSecond", fault.bytes_per_second);
  return fault;
}

json RequestsOf(const FakeApiServer& server) {
  json requests = json::array();
  for (const ApiRequest& request : server.requests()) {
    requests.push_back({{"at", absl::FormatTime(request.at, absl::UTCTimeZone())},
                        {"method", request.method},
                        {"path", request.path},
                        {"query", request.query},
                        {"user", request.user},
                        {"accept", request.accept},
                        {"verb", request.verb},
                        {"resource", request.resource},
                        {"body", request.body},
                        {"code", request.code}});
  }
  return requests;
}

void AddRoutes(httplib::Server& http, FakeApiServer& server, std::function<void()> refresh) {
  using Request = httplib::Request;
  using Response = httplib::Response;
  const auto post = [&http](const char* path, std::function<void(const Request&)> act) {
    http.Post(path, [act = std::move(act)](const Request& request, Response& response) {
      act(request);
      response.set_content("{}", "application/json");
    });
  };
  post("/faults",
       [&](const Request& request) { server.AddFault(FaultOf(json::parse(request.body))); });
  http.Delete("/faults", [&](const Request&, Response&) { server.ClearFaults(); });
  post("/tokens", [&](const Request& request) { server.SetTokens(json::parse(request.body)); });
  post("/forbid", [&](const Request& request) {
    server.Forbid(request.get_param_value("verb"), request.get_param_value("resource"));
  });
  http.Delete("/forbid", [&](const Request&, Response&) { server.AllowAll(); });
  post("/compact", [&](const Request&) { server.Compact(); });
  post("/bookmarks", [&](const Request&) { server.SendBookmarks(); });
  post("/end-watches", [&](const Request&) { server.EndWatches(); });
  post("/cut-watches", [&](const Request&) { server.CutWatches(); });
  post("/kill", [&](const Request&) { server.Kill(); });
  post("/restart", [&](const Request&) {
    const absl::Status status = server.Restart();
    if (!status.ok()) throw std::runtime_error(status.ToString());
  });
  post("/restore", [&](const Request& request) {
    server.RestoreTo(std::stoull(request.get_param_value("version")));
  });
  post("/refresh", [refresh](const Request&) { refresh(); });
  http.Get("/version", [&](const Request&, Response& response) {
    const json version = {{"version", server.version()}, {"watches", server.watches()}};
    response.set_content(version.dump(), "application/json");
  });
  http.Get("/requests", [&](const Request&, Response& response) {
    response.set_content(RequestsOf(server).dump(), "application/json");
  });
}

absl::Status SetServiceCidrs(const std::vector<std::string>& cidrs, FakeApiServer& server) {
  if (cidrs.empty()) return absl::OkStatus();
  model::ServiceCidr object;
  object.mutable_metadata()->set_name("kubernetes");
  for (const std::string& cidr : cidrs) object.mutable_spec()->add_cidrs(cidr);
  server.Set(object);
  return absl::OkStatus();
}

absl::Status Run(Flags flags) {
  for (const std::string& token : flags.tokens) {
    flags.api.tokens.insert(absl::StrSplit(token, absl::MaxSplits('=', 1)));
  }
  using StreamingList = FakeApiOptions::StreamingList;
  flags.api.streaming_list = flags.streaming_lists == "served"    ? StreamingList::kServed
                             : flags.streaming_lists == "refused" ? StreamingList::kRefused
                                                                  : StreamingList::kUnknown;
  ASSIGN_OR_RETURN(const std::unique_ptr<EventLoop> loop, EventLoop::Create());
  ASSIGN_OR_RETURN(const std::unique_ptr<FakeApiServer> server,
                   FakeApiServer::Start(std::move(flags.api)));
  RETURN_IF_ERROR(SetServiceCidrs(flags.service_cidrs, *server));
  const SystemClock clock;
  FileSourceOptions options;
  options.path = flags.manifests;
  for (const std::string& cidr : flags.service_cidrs) {
    ASSIGN_OR_RETURN(const IpPrefix prefix, IpPrefix::Parse(cidr));
    options.defaults.service_cidrs.push_back(prefix);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<FileSource> source,
                   FileSource::Create(std::move(options), *loop, clock));
  ServingSink sink(*server);
  RETURN_IF_ERROR(source->Start(sink));
  const auto refresh = [&loop, &source] {
    std::promise<void> done;
    loop->Post([&] {
      source->Refresh();
      done.set_value();
    });
    done.get_future().wait();
  };
  std::unique_ptr<HttpServer> control;
  if (!flags.control.empty()) {
    ASSIGN_OR_RETURN(control, HttpServer::ListenUnix(flags.control, [&](httplib::Server& http) {
                       AddRoutes(http, *server, refresh);
                     }));
  }
  std::cout << "serving on " << server->url() << std::endl;
  loop->Run();  // until it is killed
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("An API server of Kubernetes for tests");
  app.add_option("--address", flags.api.address, "Where to listen");
  app.add_option("--port", flags.api.port, "0: any");
  app.add_option("--manifests", flags.manifests, "File or folder to serve")->required();
  app.add_option("--control", flags.control, "Path of the control socket");
  app.add_option("--certificate", flags.api.certificate_file, "PEM file; without it, plain HTTP");
  app.add_option("--key", flags.api.key_file, "PEM file");
  app.add_option("--client-ca", flags.api.client_ca_file, "PEM file");
  app.add_option("--token", flags.tokens, "TOKEN=USER");
  app.add_option("--streaming-lists", flags.streaming_lists, "served, refused or unknown")
      ->check(CLI::IsMember({"served", "refused", "unknown"}));
  app.add_option("--service-cidr", flags.service_cidrs, "Ranges of ClusterIPs")->delimiter(',');
  app.add_flag("!--no-protobuf", flags.api.protobuf, "Refuse protobuf");
  app.add_flag("!--no-service-cidrs", flags.api.service_cidrs, "Serve no ServiceCIDRs");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = Run(std::move(flags));
  if (status.ok()) return 0;
  std::cerr << status.ToString() << std::endl;
  return 1;
}

}  // namespace
}  // namespace sluice

int main(int argc, char** argv) { return sluice::Main(argc, argv); }
