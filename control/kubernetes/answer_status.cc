// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/answer_status.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "control/base/short_text.h"
#include "control/kubernetes/answer_decoder.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxShownBytes = 200;
// Of what a Status says: a webhook's or a proxy's words may be in it, up to the size of an answer.
constexpr std::size_t kMaxReasonBytes = 100;
constexpr std::size_t kMaxMessageBytes = 1024;

// The beginning of what a server wrote, on one line.
std::string Shown(std::string_view body) {
  std::string text(body.substr(0, kMaxShownBytes));
  for (char& c : text) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = ' ';
  }
  absl::RemoveExtraAsciiWhitespace(&text);
  return text;
}

std::string AdviceFor(int code, const std::string& verb, const std::string& resource) {
  switch (code) {
    case 401:
      return " (the token or client certificate is expired, revoked, or of another cluster)";
    case 403:
      return absl::StrCat(" (the right to ", verb, " ", resource,
                          " is missing: bind the ClusterRole system:node-proxier)");
    default:
      return "";
  }
}

}  // namespace

absl::StatusCode CodeOfHttp(int code) {
  switch (code) {
    case 400:
    case 422:
      return absl::StatusCode::kInvalidArgument;
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 405:
    case 406:
    case 415:
      return absl::StatusCode::kUnimplemented;
    case 409:
      return absl::StatusCode::kAlreadyExists;
    case 410:
      return absl::StatusCode::kOutOfRange;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    default:
      return code >= 500 ? absl::StatusCode::kUnavailable : absl::StatusCode::kUnknown;
  }
}

std::string TextOfStatus(int code, const kube::Status& status) {
  return absl::StrCat(code, " ", ShortText(status.reason(), kMaxReasonBytes), ": ",
                      ShortText(status.message(), kMaxMessageBytes));
}

absl::Status StatusOfAnswer(const std::string& verb, const std::string& resource,
                            const std::string& server, const Answer& answer,
                            absl::Duration& retry_after) {
  const std::string what = absl::StrCat(verb, " ", resource, ": ", server);
  const absl::StatusOr<kube::Status> status = DecodeStatus(answer.content_type, answer.body);
  if (status.ok()) {
    // As client-go tells it: a server that is behind what was asked for has no code of its own.
    const bool behind = absl::StrContains(status->message(), "Too large resource version");
    const int seconds = status->details().retry_after_seconds();
    if (retry_after == absl::ZeroDuration() && seconds > 0) retry_after = absl::Seconds(seconds);
    return absl::Status(behind ? absl::StatusCode::kAborted : CodeOfHttp(answer.code),
                        absl::StrCat(what, " answers ", TextOfStatus(answer.code, *status),
                                     behind ? " (it lags behind, or was restored from a backup)"
                                            : AdviceFor(answer.code, verb, resource)));
  }
  // A proxy or load balancer in front of servers that are down answers in words of its own, and so
  // does an API server that is overloaded; but what else speaks like this is no API server.
  const bool may_pass = answer.code == 429 || answer.code >= 500;
  const absl::StatusCode code = may_pass ? CodeOfHttp(answer.code) : absl::StatusCode::kUnknown;
  const char* advice = may_pass ? "" : ": is this a Kubernetes API server?";
  return absl::Status(
      code, absl::StrCat(what, " answers ", answer.code, " without a Status of Kubernetes (\"",
                         Shown(answer.body), "\")", advice));
}

absl::Status StatusOfTransport(const std::string& verb, const std::string& resource,
                               const std::string& server, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(verb, " ", resource, ": ", server, ": ", status.message()));
}

std::string MethodOf(const std::string& verb) {
  if (verb == "create") return "POST";
  if (verb == "update") return "PUT";
  if (verb == "patch") return "PATCH";
  if (verb == "delete") return "DELETE";
  return "GET";
}

}  // namespace sluice
