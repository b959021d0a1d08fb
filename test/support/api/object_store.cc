// SPDX-License-Identifier: Apache-2.0
#include "test/support/api/object_store.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"
#include "control/model/service_cidr.pb.h"

namespace sluice::api {
namespace {

using google::protobuf::Message;

model::ObjectMeta& MetaOf(Message& message) {
  const google::protobuf::FieldDescriptor* field =
      message.GetDescriptor()->FindFieldByName("metadata");
  return static_cast<model::ObjectMeta&>(*message.GetReflection()->MutableMessage(&message, field));
}

ObjectPtr Freeze(Message& message, std::uint64_t version) {
  model::ObjectMeta& meta = MetaOf(message);
  meta.set_resource_version(absl::StrCat(version));
  auto object = std::make_shared<Object>();
  object->name_space = meta.name_space();
  object->name = meta.name();
  object->version = version;
  object->labels.insert(meta.labels().begin(), meta.labels().end());
  object->bytes = message.SerializeAsString();
  return object;
}

// The state `object` with another version, as a deletion shows it.
ObjectPtr WithVersion(const Resource& resource, const Object& object, std::uint64_t version) {
  const std::unique_ptr<Message> message(resource.prototype->New());
  message->ParseFromString(object.bytes);
  return Freeze(*message, version);
}

std::string NewUid(std::uint64_t version) {
  return absl::StrFormat("00000000-0000-4000-8000-%012x", version);
}

}  // namespace

TypeName Resource::type() const {
  return {group.empty() ? version : absl::StrCat(group, "/", version), kind};
}

TypeName Resource::list_type() const { return {type().api_version, absl::StrCat(kind, "List")}; }

const std::array<Resource, kResourceCount>& Resources() {
  static const auto* resources = new std::array<Resource, kResourceCount>{
      Resource{0, "services", "", "v1", "Service", true, &model::Service::default_instance()},
      Resource{1, "endpointslices", "discovery.k8s.io", "v1", "EndpointSlice", true,
               &model::EndpointSlice::default_instance()},
      Resource{2, "nodes", "", "v1", "Node", false, &model::Node::default_instance()},
      Resource{3, "servicecidrs", "networking.k8s.io", "v1", "ServiceCIDR", false,
               &model::ServiceCidr::default_instance()},
  };
  return *resources;
}

const Resource* FindResource(std::string_view name) {
  for (const Resource& resource : Resources()) {
    if (resource.name == name) return &resource;
  }
  return nullptr;
}

const Resource& ResourceOf(const Message& message) {
  const auto& resources = Resources();
  return *std::find_if(resources.begin(), resources.end(), [&](const Resource& resource) {
    return resource.prototype->GetDescriptor() == message.GetDescriptor();
  });
}

Selector::Term Selector::ParseTerm(absl::string_view text) {
  Term term;
  term.wanted = !absl::ConsumePrefix(&text, "!");
  if (const std::size_t sign = text.find('='); sign != absl::string_view::npos) {
    absl::string_view value = text.substr(sign + 1);
    absl::ConsumePrefix(&value, "=");  // "==" is "="
    term.value = std::string(value);
    text = text.substr(0, sign);
    if (absl::ConsumeSuffix(&text, "!")) term.wanted = false;
  }
  term.key = std::string(text);
  return term;
}

absl::StatusOr<Selector> Selector::Parse(std::string_view labels, std::string_view fields) {
  Selector selector;
  for (const bool is_field : {false, true}) {
    const std::vector<std::string> texts =
        absl::StrSplit(std::string(is_field ? fields : labels), ',', absl::SkipWhitespace());
    for (const std::string& text : texts) {
      Term term = ParseTerm(text);
      term.is_field = is_field;
      const bool known =
          !is_field || ((term.key == "metadata.name" || term.key == "metadata.namespace") &&
                        term.value.has_value());
      const std::string words = absl::StrCat(term.key, term.value.value_or(""));
      if (!known || words.find_first_of(" =!()") != std::string::npos) {
        return absl::InvalidArgumentError(absl::StrCat("unable to parse requirement: ", text));
      }
      selector.terms_.push_back(std::move(term));
    }
  }
  return selector;
}

bool Selector::TermHolds(const Term& term, const Object& object) const {
  if (term.is_field) {
    const bool same =
        (term.key == "metadata.name" ? object.name : object.name_space) == *term.value;
    return same == term.wanted;
  }
  const auto label = object.labels.find(term.key);
  const bool found =
      label != object.labels.end() && (!term.value.has_value() || label->second == *term.value);
  return found == term.wanted;
}

bool Selector::Matches(const Object& object) const {
  if (name_space_.has_value() && object.name_space != *name_space_) return false;
  return std::all_of(terms_.begin(), terms_.end(),
                     [&](const Term& term) { return TermHolds(term, object); });
}

std::uint64_t ObjectStore::Set(const Message& given) {
  const Resource& resource = ResourceOf(given);
  const std::unique_ptr<Message> message(given.New());
  message->CopyFrom(given);
  model::ObjectMeta& meta = MetaOf(*message);
  if (resource.namespaced && meta.name_space().empty()) meta.set_name_space("default");
  Table& table = tables_[resource.index];
  ObjectPtr& slot = table.objects[{meta.name_space(), meta.name()}];
  ++version_;
  if (slot != nullptr) {
    const std::unique_ptr<Message> old(resource.prototype->New());
    old->ParseFromString(slot->bytes);
    meta.set_uid(MetaOf(*old).uid());
    *meta.mutable_creation_timestamp() = MetaOf(*old).creation_timestamp();
  } else {
    if (meta.uid().empty()) meta.set_uid(NewUid(version_));
    if (!meta.has_creation_timestamp()) {
      meta.mutable_creation_timestamp()->set_seconds(absl::ToUnixSeconds(absl::Now()));
    }
  }
  ObjectPtr before = slot;
  slot = Freeze(*message, version_);
  table.changes.push_back({version_, std::move(before), slot, false});
  return version_;
}

std::optional<std::uint64_t> ObjectStore::Delete(const Resource& resource, const ObjectName& name) {
  Table& table = tables_[resource.index];
  const auto found = table.objects.find(name);
  if (found == table.objects.end()) return std::nullopt;
  ++version_;
  table.changes.push_back(
      {version_, found->second, WithVersion(resource, *found->second, version_), true});
  table.objects.erase(found);
  return version_;
}

void ObjectStore::RestoreTo(std::uint64_t version) {
  version_ = version;
  compacted_ = version;
  for (const Resource& resource : Resources()) {
    Table& table = tables_[resource.index];
    table.changes.clear();
    for (auto& [name, object] : table.objects) {
      if (object->version > version) object = WithVersion(resource, *object, version);
    }
  }
}

const Change* ObjectStore::NextChange(const Resource& resource, std::uint64_t version) const {
  const std::vector<Change>& changes = tables_[resource.index].changes;
  const auto next = std::upper_bound(
      changes.begin(), changes.end(), version,
      [](std::uint64_t wanted, const Change& change) { return wanted < change.version; });
  return next == changes.end() ? nullptr : &*next;
}

}  // namespace sluice::api
