// SPDX-License-Identifier: Apache-2.0
#include "control/source/field_rules.h"

#include <algorithm>
#include <array>
#include <memory>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace sluice {
namespace {

using Word = std::string_view;

constexpr std::array<Word, 2> kFamilies = {"IPv4", "IPv6"};
constexpr std::array<Word, 3> kFamilyPolicies = {"SingleStack", "PreferDualStack",
                                                 "RequireDualStack"};

constexpr std::int64_t kMaxPort = 65535;
constexpr std::int64_t kMaxAffinitySeconds = 86400;

struct NamedRule {
  std::string_view field;  // full name
  FieldRule rule;
};

// Words that control/desired has a default for (types, policies, protocols, ...) are not judged
// here: it says which default is in force, whichever source the object came from, and the rest
// stands. A node port of 0 is one that was not given: the API server writes it so.
const std::array kRules = {
    NamedRule{"sluice.model.ServicePort.port", {1, kMaxPort, {}}},
    NamedRule{"sluice.model.ServicePort.node_port", {0, kMaxPort, {}}},
    NamedRule{"sluice.model.ServiceSpec.ip_families", {.words = kFamilies}},
    NamedRule{"sluice.model.ServiceSpec.ip_family_policy", {.words = kFamilyPolicies}},
    NamedRule{"sluice.model.ServiceSpec.health_check_node_port", {0, kMaxPort, {}}},
    NamedRule{"sluice.model.ClientIpConfig.timeout_seconds", {1, kMaxAffinitySeconds, {}}},
    NamedRule{"sluice.model.EndpointPort.port", {1, kMaxPort, {}}},
};

// Messages of control/model that have all fields of Kubernetes, with those that they leave out: any
// other is a slip of the pen, or of tomorrow's API.
struct ClosedMessage {
  std::string_view message;  // full name
  std::array<std::string_view, 3> unused = {};
};
constexpr std::array kClosedMessages = {
    ClosedMessage{"sluice.model.ServiceSpec"},
    ClosedMessage{"sluice.model.ServicePort"},
    ClosedMessage{"sluice.model.SessionAffinityConfig"},
    ClosedMessage{"sluice.model.ClientIpConfig"},
    ClosedMessage{"sluice.model.Endpoint", {"hostname", "targetRef", "deprecatedTopology"}},
    ClosedMessage{"sluice.model.EndpointConditions"},
    ClosedMessage{"sluice.model.EndpointHints"},
    ClosedMessage{"sluice.model.EndpointPort"},
};

std::vector<FieldEntry> BuildFields(const google::protobuf::Descriptor* type) {
  std::vector<FieldEntry> fields;
  for (int i = 0; i < type->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = type->field(i);
    FieldEntry entry{field->json_name(), field, {}};
    for (const NamedRule& named : kRules) {
      if (named.field == field->full_name()) entry.rule = named.rule;
    }
    fields.push_back(entry);
  }
  return fields;
}

class FieldTable {
 public:
  const std::vector<FieldEntry>& Of(const google::protobuf::Descriptor* type) {
    absl::MutexLock lock(&mutex_);
    std::unique_ptr<std::vector<FieldEntry>>& fields = types_[type];
    if (fields == nullptr) fields = std::make_unique<std::vector<FieldEntry>>(BuildFields(type));
    return *fields;
  }

 private:
  absl::Mutex mutex_;
  std::unordered_map<const google::protobuf::Descriptor*, std::unique_ptr<std::vector<FieldEntry>>>
      types_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::string ListOf(std::span<const std::string_view> words) {
  std::string list;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const char* separator = i == 0 ? "" : i + 1 == words.size() ? " or " : ", ";
    absl::StrAppend(&list, separator, absl::string_view(words[i].data(), words[i].size()));
  }
  return list;
}

bool IsUnknownField(const google::protobuf::Descriptor* type, std::string_view name) {
  const auto closed =
      std::find_if(kClosedMessages.begin(), kClosedMessages.end(),
                   [&](const ClosedMessage& each) { return each.message == type->full_name(); });
  if (closed == kClosedMessages.end()) return false;
  const auto& fields = FieldsOf(type);
  return std::none_of(fields.begin(), fields.end(),
                      [&](const FieldEntry& field) { return field.json_name == name; }) &&
         std::find(closed->unused.begin(), closed->unused.end(), name) == closed->unused.end();
}

const std::vector<FieldEntry>& FieldsOf(const google::protobuf::Descriptor* type) {
  static FieldTable& table = *new FieldTable();  // never destroyed: others' destructors may ask
  return table.Of(type);
}

}  // namespace sluice
