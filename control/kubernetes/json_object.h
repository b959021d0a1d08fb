// SPDX-License-Identifier: Apache-2.0
// Objects of the API from JSON, for servers that refuse protobuf.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message.h"

namespace sluice {

// Reads one object. What is not in the message is left out, as with protobuf; a null is as if it
// was not there. Errors: INVALID_ARGUMENT for what is no JSON, or has another type than the field.
// Thread-safe. Cost: linear; nesting is bounded by the message's own.
absl::Status ReadJsonObject(std::string_view text, google::protobuf::Message& message);

struct JsonWatchEvent {
  std::string type;
  std::string kind;    // of the object
  std::string object;  // its JSON
};

// Splits {"type": ..., "object": {...}}. Errors: INVALID_ARGUMENT.
absl::StatusOr<JsonWatchEvent> ReadJsonWatchEvent(std::string_view text);

}  // namespace sluice
