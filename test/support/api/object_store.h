// SPDX-License-Identifier: Apache-2.0
// The objects of an API server for tests and how they came to be so: resource versions, changes in
// order, selectors. No threads, no network.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

#include "test/support/api/wire_format.h"

namespace sluice::api {

inline constexpr std::size_t kResourceCount = 4;

// One of the resources served, e.g. "endpointslices" of discovery.k8s.io/v1.
struct Resource {
  std::size_t index = 0;
  std::string name;
  std::string group;  // "" of the core
  std::string version;
  std::string kind;
  bool namespaced = true;
  const google::protobuf::Message* prototype = nullptr;

  TypeName type() const;
  TypeName list_type() const;
};

const std::array<Resource, kResourceCount>& Resources();
const Resource* FindResource(std::string_view name);
const Resource& ResourceOf(const google::protobuf::Message& message);

// An object as it was at one version.
struct Object {
  std::string name_space;
  std::string name;
  std::uint64_t version = 0;
  std::map<std::string, std::string> labels;
  std::string bytes;  // of its message, metadata.resourceVersion included
};
using ObjectPtr = std::shared_ptr<const Object>;

// {namespace, name}: the order in which objects are listed.
using ObjectName = std::pair<std::string, std::string>;

// Deleted: `after` is the last state with the version of the deletion, and `deleted` is set.
struct Change {
  std::uint64_t version = 0;
  ObjectPtr before;  // null for one that was created
  ObjectPtr after;
  bool deleted = false;
};

// Which objects a request is about.
class Selector {
 public:
  // labelSelector and fieldSelector as in a query: `key`, `!key`, `key=value`, `key!=value`, and of
  // the fields metadata.name and metadata.namespace. Errors: INVALID_ARGUMENT for others.
  static absl::StatusOr<Selector> Parse(std::string_view labels, std::string_view fields);
  bool Matches(const Object& object) const;
  void SetNamespace(std::string name_space) { name_space_ = std::move(name_space); }

 private:
  struct Term {
    std::string key;
    std::optional<std::string> value;  // nothing: only whether the key is there
    bool wanted = true;
    bool is_field = false;
  };
  static Term ParseTerm(absl::string_view text);
  bool TermHolds(const Term& term, const Object& object) const;
  std::vector<Term> terms_;
  std::optional<std::string> name_space_;
};

class ObjectStore {
 public:
  using Objects = std::map<ObjectName, ObjectPtr>;

  explicit ObjectStore(std::uint64_t first_version) : version_(first_version) {}

  // The version after the change. Set creates or replaces.
  std::uint64_t Set(const google::protobuf::Message& message);
  std::optional<std::uint64_t> Delete(const Resource& resource, const ObjectName& name);

  std::uint64_t version() const { return version_; }
  // Changes up to here are forgotten; a watch may begin at it, not before.
  std::uint64_t compacted() const { return compacted_; }
  void Compact() { compacted_ = version_; }
  // Goes on counting from `version`, with no past.
  void RestoreTo(std::uint64_t version);

  const Objects& objects(const Resource& resource) const { return tables_[resource.index].objects; }
  // The first change past `version`, or null.
  const Change* NextChange(const Resource& resource, std::uint64_t version) const;

 private:
  struct Table {
    Objects objects;
    std::vector<Change> changes;  // by version
  };
  std::uint64_t version_;
  std::uint64_t compacted_ = 0;
  std::array<Table, kResourceCount> tables_;
};

}  // namespace sluice::api
