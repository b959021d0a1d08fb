// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/answer_decoder.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/kubernetes/json_object.h"
#include "control/kubernetes/kube_options.h"

namespace sluice {
namespace {

// Whether `content_type` ("application/json;stream=watch") is `type`.
bool IsType(std::string_view content_type, const char* type) {
  return absl::StartsWithIgnoreCase(absl::string_view(content_type.data(), content_type.size()),
                                    type);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AnswerDecoder>> MakeDecoder(std::string_view content_type,
                                                           AnswerForm form, const std::string& kind,
                                                           google::protobuf::Message& object,
                                                           AnswerSink& sink) {
  if (IsType(content_type, kContentTypeProtobuf)) {
    return MakeProtobufDecoder(form, kind, object, sink);
  }
  if (IsType(content_type, kContentTypeJson)) return MakeJsonDecoder(form, kind, object, sink);
  return absl::UnknownError(
      absl::StrCat("the answer's content type is \"",
                   absl::string_view(content_type.data(), content_type.size()),
                   "\", which no Kubernetes API server sends: is this one?"));
}

absl::StatusOr<kube::Status> DecodeStatus(std::string_view content_type, std::string_view body) {
  kube::Status status;
  if (IsType(content_type, kContentTypeProtobuf)) {
    const absl::StatusOr<kube::Unknown> envelope = OpenEnvelope(body);
    const bool is_status = envelope.ok() && envelope->type_meta().kind() == "Status" &&
                           status.ParseFromString(envelope->raw());
    if (is_status) return status;
  } else if (IsType(content_type, kContentTypeJson)) {
    if (ReadJsonObject(body, status).ok() && status.has_status()) return status;
  }
  return absl::UnknownError("the answer is no Status of Kubernetes");
}

absl::StatusOr<WatchEventType> ReadWatchEventType(const std::string& text) {
  if (text == "ADDED") return WatchEventType::kAdded;
  if (text == "MODIFIED") return WatchEventType::kModified;
  if (text == "DELETED") return WatchEventType::kDeleted;
  if (text == "BOOKMARK") return WatchEventType::kBookmark;
  return absl::DataLossError("a watch event of a type that Kubernetes does not have");
}

}  // namespace sluice
