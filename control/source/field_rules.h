// SPDX-License-Identifier: Apache-2.0
// What Kubernetes allows in single fields of the messages of control/model: ranges of numbers and
// lists of words. Rules that join several fields are in object_check.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/descriptor.h"

namespace sluice {

struct FieldRule {
  std::int64_t min = INT64_MIN;
  std::int64_t max = INT64_MAX;
  std::span<const std::string_view> words;  // empty: any text

  bool LimitsNumber() const { return min != INT64_MIN || max != INT64_MAX; }
};

// The values of a field that Kubernetes takes, as "TCP, UDP or SCTP".
std::string ListOf(std::span<const std::string_view> words);

struct FieldEntry {
  std::string_view json_name;
  const google::protobuf::FieldDescriptor* field = nullptr;
  FieldRule rule;
};

// A message's fields with their rules, in the order of the .proto file. Thread-safe. The answer
// lives as long as the program. Cost: a hash lookup after the first call for a type.
const std::vector<FieldEntry>& FieldsOf(const google::protobuf::Descriptor* type);

// Whether Kubernetes, as this build knows it, has no such field in the message; false also where
// control/model has only some of a message's fields. Thread-safe.
bool IsUnknownField(const google::protobuf::Descriptor* type, std::string_view name);

}  // namespace sluice
