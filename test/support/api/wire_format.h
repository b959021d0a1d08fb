// SPDX-License-Identifier: Apache-2.0
// What an API server writes around its objects: the envelope of an object, lists, watch frames and
// Status bodies, in protobuf and JSON. Written from the recorded bytes (test/samples/wire) and
// sharing nothing with control/kubernetes, which reads them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/message.h"
#include <nlohmann/json.hpp>

namespace sluice::api {

enum class Format { kProtobuf, kJson };

// Identifies what an object is, e.g. {"discovery.k8s.io/v1", "EndpointSlice"}.
struct TypeName {
  std::string api_version;
  std::string kind;
};

struct ListHeader {
  std::uint64_t version = 0;
  std::string next;                       // the continue token; empty on the last page
  std::optional<std::int64_t> remaining;  // objects on later pages, where known
};

struct Status {
  int code = 500;
  std::string reason;
  std::string message;
  std::optional<int> retry_after_seconds;
};

// Fills in what Kubernetes says for the code where reason or message are empty.
Status WithDefaults(Status status);

// For a resourceVersion that the server has not come to.
Status TooLarge(std::uint64_t asked, std::uint64_t current);

// "k8s\0" and runtime.Unknown around an object's bytes.
std::string Envelope(const TypeName& type, std::string_view object);

// One frame of a watch, with its length in front; `object` is enveloped.
std::string Frame(std::string_view event, std::string_view object);

// Whole bodies, and for JSON without a newline at the end.
std::string ListBody(Format format, const TypeName& list_type, const ListHeader& header,
                     const std::vector<std::string_view>& objects,
                     const google::protobuf::Message& prototype);
std::string ObjectBody(Format format, const TypeName& type, std::string_view object,
                       const google::protobuf::Message& prototype);
std::string StatusBody(Format format, const Status& status);

// One event: a frame, or a line of JSON. `body` is what ObjectBody or StatusBody made.
std::string EventBody(Format format, std::string_view event, std::string_view body);

// A message as Kubernetes writes it in JSON: times as text, IntOrString as number or text.
nlohmann::json ToJson(const google::protobuf::Message& message);

}  // namespace sluice::api
