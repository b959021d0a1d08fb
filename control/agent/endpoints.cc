// SPDX-License-Identifier: Apache-2.0
#include "control/agent/endpoints.h"

#include <httplib.h>

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "control/agent/metrics_text.h"
#include "control/datapath/socket_programs.h"
#include "maps/map_set.h"

namespace sluice {
namespace {

constexpr char kJson[] = "application/json";
constexpr char kPlain[] = "text/plain; charset=utf-8";
constexpr char kPrometheus[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr absl::Duration kDefaultSyncWait = absl::Seconds(30);
constexpr absl::Duration kLongestSyncWait = absl::Minutes(10);

void Fail(httplib::Response& response, const absl::Status& status) {
  response.status = absl::IsDeadlineExceeded(status) ? 504 : 503;
  response.set_content(absl::StrCat(status.message(), "\n"), kPlain);
}

// A set of its own for each request: sets are not for several threads, and a request is rare.
std::vector<MapUse> UseOf(const std::string& pin_folder) {
  const absl::StatusOr<MapSet> maps = MapSet::OpenPinned(pin_folder);
  if (!maps.ok()) return {};
  absl::StatusOr<std::vector<MapUse>> use = maps->Use();
  return use.ok() ? *std::move(use) : std::vector<MapUse>{};
}

void AnswerSync(AgentView& view, const httplib::Request& request, httplib::Response& response) {
  absl::Duration wait = kDefaultSyncWait;
  if (request.has_param("timeoutMs")) {
    std::int64_t ms = 0;
    if (!absl::SimpleAtoi(request.get_param_value("timeoutMs"), &ms) || ms < 0) {
      response.status = 400;
      response.set_content("timeoutMs is not a number of milliseconds\n", kPlain);
      return;
    }
    wait = std::min(absl::Milliseconds(ms), kLongestSyncWait);
  }
  if (const absl::Status synced = view.WaitForSync(wait); !synced.ok()) {
    return Fail(response, synced);
  }
  response.set_content("{}", kJson);
}

// For probes of this agent and no other's: who else holds a port, answers there.
void AnswerProbe(AgentView& view, bool ready, httplib::Response& response) {
  const auto snapshot = view.TakeSnapshot({});
  if (!snapshot.ok()) return Fail(response, snapshot.status());
  if (!(*snapshot)->alive) {
    return Fail(response, absl::UnavailableError("a change has been waiting for too long"));
  }
  if (ready && !(*snapshot)->synced) {
    return Fail(response, absl::UnavailableError("what the source says is not in the maps yet"));
  }
  response.set_content("{}", kJson);
}

void AnswerMetrics(const MetricsEndpointOptions& options, AgentView& view,
                   httplib::Response& response) {
  const auto snapshot = view.TakeSnapshot({.metrics = true});
  if (!snapshot.ok()) return Fail(response, snapshot.status());
  const absl::StatusOr<MapSet> maps = MapSet::OpenPinned(options.pin_folder);
  if (!maps.ok()) return Fail(response, maps.status());
  // Brings what open connections have carried up to date; if it fails, the agent's own look says
  // so.
  WalkSockets(options.pin_folder).IgnoreError();
  const absl::StatusOr<std::string> text =
      MetricsText(**snapshot, *maps, {.backend_series = options.backend_series});
  if (!text.ok()) return Fail(response, text.status());
  response.set_content(*text, kPrometheus);
}

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> ServeLocal(const std::string& state_dir,
                                                       const std::string& pin_folder,
                                                       AgentView& view) {
  return HttpServer::ListenUnix(
      absl::StrCat(state_dir, "/sluiced.sock"), [&view, pin_folder](httplib::Server& server) {
        server.Get("/v1/snapshot",
                   [&view, pin_folder](const httplib::Request&, httplib::Response& response) {
                     const auto snapshot = view.TakeSnapshot({.services = true});
                     if (!snapshot.ok()) return Fail(response, snapshot.status());
                     response.set_content(SnapshotJson(**snapshot, UseOf(pin_folder)), kJson);
                   });
        server.Get("/v1/drops", [&view](const httplib::Request&, httplib::Response& response) {
          const auto snapshot = view.TakeSnapshot({.drops = true});
          if (!snapshot.ok()) return Fail(response, snapshot.status());
          response.set_content(DropsJson(**snapshot), kJson);
        });
        for (const bool ready : {false, true}) {
          server.Get(ready ? "/v1/ready" : "/v1/live",
                     [&view, ready](const httplib::Request&, httplib::Response& response) {
                       AnswerProbe(view, ready, response);
                     });
        }
        // Before the library reads the body: it refuses a POST that has none and does not say
        // so, as `curl -X POST` sends it.
        server.set_pre_routing_handler(
            [&view](const httplib::Request& request, httplib::Response& response) {
              if (request.method != "POST" || request.path != "/v1/sync") {
                return httplib::Server::HandlerResponse::Unhandled;
              }
              AnswerSync(view, request, response);
              return httplib::Server::HandlerResponse::Handled;
            });
      });
}

absl::StatusOr<std::unique_ptr<HttpServer>> ServeMetrics(const MetricsEndpointOptions& options,
                                                         AgentView& view) {
  return HttpServer::ListenTcp(
      options.address, kMetricsPort, [&view, options](httplib::Server& server) {
        server.Get("/metrics",
                   [&view, options](const httplib::Request&, httplib::Response& response) {
                     AnswerMetrics(options, view, response);
                   });
        server.Get("/healthz", [&view](const httplib::Request&, httplib::Response& response) {
          const auto snapshot = view.TakeSnapshot({});
          if (!snapshot.ok()) return Fail(response, snapshot.status());
          response.set_content("ok", kPlain);
        });
        server.Get("/proxyMode", [](const httplib::Request&, httplib::Response& response) {
          response.set_content("ebpf", kPlain);
        });
        server.Get("/configz", [options](const httplib::Request&, httplib::Response& response) {
          response.set_content(options.configz, kJson);
        });
      });
}

}  // namespace sluice
