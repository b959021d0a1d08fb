// SPDX-License-Identifier: Apache-2.0
#include "control/agent/api_event_sink.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

namespace sluice {
namespace {

constexpr std::size_t kMaxWaiting = 64;
constexpr int kMaxTries = 5;
constexpr absl::Duration kRetry = absl::Seconds(5);
constexpr absl::Duration kTimeout = absl::Seconds(10);

// Events about objects without a namespace, such as Nodes, are kept in "default".
std::string NamespaceOf(const ClusterEvent& event) {
  return event.name_space.empty() ? "default" : event.name_space;
}

}  // namespace

std::string EventJson(const ClusterEvent& event, const std::string& instance, absl::Time time) {
  nlohmann::ordered_json json;
  json["apiVersion"] = "events.k8s.io/v1";
  json["kind"] = "Event";
  // As client-go names them: the object, and a number that does not come twice.
  json["metadata"] = {
      {"name", absl::StrCat(event.name, ".", absl::Hex(absl::ToUnixNanos(time), absl::kZeroPad16))},
      {"namespace", NamespaceOf(event)}};
  json["eventTime"] = absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", time, absl::UTCTimeZone());
  json["reportingController"] = "sluiced";
  json["reportingInstance"] = instance;
  json["action"] = event.action;
  json["reason"] = event.reason;
  json["regarding"] = {{"kind", event.kind}, {"name", event.name}, {"uid", event.uid}};
  if (!event.name_space.empty()) json["regarding"]["namespace"] = event.name_space;
  json["note"] = event.note.substr(0, 1024);  // the API's limit
  json["type"] = event.warning ? "Warning" : "Normal";
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ApiEventSink::ApiEventSink(std::string node_name, ApiClient& api, EventLoop& loop,
                           const Clock& clock, NoticeSink notice)
    : instance_(absl::StrCat("sluiced-", node_name)),
      api_(api),
      loop_(loop),
      clock_(clock),
      notice_(std::move(notice)) {}

ApiEventSink::~ApiEventSink() {
  loop_.Cancel(retry_);
  api_.Cancel(request_);
}

void ApiEventSink::Emit(const ClusterEvent& event) {
  if (waiting_.size() >= kMaxWaiting) return;
  waiting_.push_back(
      {absl::StrCat("/apis/events.k8s.io/v1/namespaces/", NamespaceOf(event), "/events"),
       EventJson(event, instance_, clock_.Now())});
  if (!busy_) SendNext();
}

void ApiEventSink::SendNext() {
  if (waiting_.empty()) return;
  busy_ = true;
  ApiCall call;
  call.verb = "create";
  call.resource = "events.events.k8s.io";
  call.path = waiting_.front().path;
  call.body = waiting_.front().body;
  call.total_timeout = kTimeout;
  request_ = api_.Send(std::move(call), [this](const ApiEnd& end, std::string) { OnAnswer(end); });
}

void ApiEventSink::OnAnswer(const ApiEnd& end) {
  request_ = 0;
  const bool passing = absl::IsUnavailable(end.status) || absl::IsResourceExhausted(end.status) ||
                       absl::IsDeadlineExceeded(end.status) || absl::IsUnauthenticated(end.status);
  if (passing && ++waiting_.front().tries < kMaxTries) {
    retry_ = loop_.RunAfter(std::max(kRetry, end.retry_after), [this] { SendNext(); });
    return;
  }
  if (!end.status.ok() && !refused_said_) {
    refused_said_ = true;  // each event would say the same
    notice_(Severity::kWarning, absl::StrCat("an Event is not told: ", end.status.message()));
  }
  waiting_.pop_front();
  busy_ = false;
  SendNext();
}

}  // namespace sluice
