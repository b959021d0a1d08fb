// SPDX-License-Identifier: Apache-2.0
// Requests to the Kubernetes API: finds the server, proves who we are, and says what went wrong in
// words that name verb, resource and server. Runs on the event loop; nothing here blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/kubernetes/api_config.h"
#include "control/kubernetes/http_client.h"
#include "control/kubernetes/kube_options.h"

namespace sluice {

struct ApiCall {
  std::string verb = "get";  // as RBAC has it: get, list, watch, create, update, patch, delete
  std::string resource;      // for messages: "services", "events.events.k8s.io"
  std::string path;          // "/api/v1/services"
  std::vector<std::pair<std::string, std::string>> query;  // as they are, not escaped
  std::string accept = kContentTypeJson;
  std::string content_type = kContentTypeJson;  // of the body
  std::string body;
  absl::Duration total_timeout = absl::InfiniteDuration();
  bool fresh_connection = false;
};

// How a request ended.
struct ApiEnd {
  // The message names verb, resource and, where the server was not reached, its address. Codes:
  // those of HttpStream::OnEnd, and of answers: 400, 422 INVALID_ARGUMENT, 401 UNAUTHENTICATED,
  // 403 PERMISSION_DENIED, 404 NOT_FOUND, 405, 406, 415 UNIMPLEMENTED, 409 ALREADY_EXISTS, 410
  // OUT_OF_RANGE, 429 RESOURCE_EXHAUSTED, 5xx UNAVAILABLE; ABORTED for a server that has not come
  // as far as the resourceVersion that was asked for; UNKNOWN for a server that does not
  // speak as Kubernetes does.
  absl::Status status;
  int http_code = 0;           // 0: no answer came
  absl::Duration retry_after;  // that the server asks for; zero: it does not
};

// The answer to one request. OnHead comes only for answers of success (2xx). Thread: loop only.
class ApiStream {
 public:
  virtual ~ApiStream() = default;
  virtual void OnHead(std::string_view content_type) = 0;
  // A failure ends the request, and is what OnEnd is told.
  virtual absl::Status OnBody(std::string_view bytes) = 0;
  virtual void OnEnd(const ApiEnd& end) = 0;
};

// Thread: loop only. All requests share connections (HTTP/2 where the server offers it).
class ApiClient {
 public:
  using RequestId = std::uint64_t;  // 0 is never one
  using Done = std::function<void(const ApiEnd& end, std::string body)>;

  // `http`, `loop` and `clock` must outlive the client.
  ApiClient(ApiConfig config, const KubeOptions& options, HttpClient& http, EventLoop& loop,
            const Clock& clock);
  ~ApiClient();
  ApiClient(const ApiClient&) = delete;
  ApiClient& operator=(const ApiClient&) = delete;

  // Starts a request whose answer is taken as it comes. `stream` must live until its OnEnd has
  // returned or the request was cancelled. A server that cannot be reached is followed by the next
  // one of the configured addresses, until each was tried once. No callback from within.
  RequestId Open(ApiCall request, ApiStream& stream);
  // Starts a request for one object, whose answer (at most 1 MiB) is kept for `done`: for POST and
  // PATCH of events, GET of an object. There is no retry.
  RequestId Send(ApiCall request, Done done);
  // Unknown or ended: no effect. Nothing is called back afterwards.
  void Cancel(RequestId id);
  // As Cancel(), for a request whose answer took too long: the next one goes to another server.
  void GiveUp(RequestId id);

  // The address in use, or to be tried next: "https://192.0.2.1:6443".
  const std::string& server() const { return config_.servers[server_]; }
  const KubeOptions& options() const { return options_; }

 private:
  class Exchange;
  class Collector;

  void Admit();
  void Begin(Exchange& exchange);
  std::string UrlOf(const ApiCall& call, const std::string& server) const;
  void LeaveServer(std::size_t server);

  const ApiConfig config_;
  const KubeOptions options_;
  HttpClient& http_;
  EventLoop& loop_;
  const Clock& clock_;
  std::size_t server_ = 0;
  RequestId last_id_ = 0;
  std::map<RequestId, std::unique_ptr<Exchange>> exchanges_;
  std::vector<RequestId> waiting_;  // for the rate limit, oldest first
  double tokens_;
  std::uint64_t tokens_at_ns_;
  EventLoop::TimerId admit_timer_ = 0;
};

}  // namespace sluice
