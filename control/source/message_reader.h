// SPDX-License-Identifier: Apache-2.0
// A document's values into a Kubernetes message, by protobuf reflection and the JSON names. Fields
// that the message does not have are skipped: the real API has many more than we use. Those that
// the real API does not have either are remarked on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "google/protobuf/message.h"

#include "control/source/field_rules.h"
#include "control/source/value_tree.h"

namespace sluice {

struct FieldProblem {
  std::uint32_t line = 0;
  std::string message;  // begins with the field: "spec.ports[0].port: ..."
};

// The most problems that one document is told of.
inline constexpr std::size_t kMaxFieldProblems = 10;

// Thread-compatible. `tree` must outlive it.
class MessageReader {
 public:
  explicit MessageReader(const ValueTree& tree) : tree_(tree) {}

  // Reads the mapping `value` into `message`, as far as its values have the right types; the others
  // are in problems() and stay unset. Cost: linear in the values that are read.
  void Read(ValueTree::Id value, google::protobuf::Message& message);

  const std::vector<FieldProblem>& problems() const { return problems_; }
  // What is odd and takes nothing away from the object: fields that nobody knows, each once.
  const std::vector<FieldProblem>& remarks() const { return remarks_; }
  // Whether the document's root names a field twice: a sign of two objects run together, so that
  // what it does not say proves nothing.
  bool root_has_duplicates() const { return root_has_duplicates_; }

 private:
  using Id = ValueTree::Id;
  // Where the reader is, for messages: a field's or map's key, or an index when `name` is empty.
  struct Step {
    std::string_view name;
    std::size_t index = 0;
  };
  enum class Scalars { kSingle, kElement };

  void ReadMessage(Id value, google::protobuf::Message& message);
  void ReadFields(Id value, google::protobuf::Message& message, std::vector<Id>& seen_at,
                  int merge_depth);
  void Merge(Id value, google::protobuf::Message& message, std::vector<Id>& seen_at,
             int merge_depth);
  void ReadField(Id value, const FieldEntry& entry, google::protobuf::Message& message);
  void ReadList(Id value, const FieldEntry& entry, google::protobuf::Message& message);
  void ReadMap(Id value, const FieldEntry& entry, google::protobuf::Message& message);
  void ReadScalar(Id value, const FieldEntry& entry, google::protobuf::Message& message);
  void ReadInteger(Id value, const FieldEntry& entry, google::protobuf::Message& message);
  void ReadTime(Id value, google::protobuf::Message& time);
  void ReadIntOrString(Id value, google::protobuf::Message& int_or_string);
  // False, with a problem, when too much has been read by way of aliases.
  bool Count(Id value);
  void AddProblem(Id value, std::string message);
  void RemarkUnknownField(Id key, const google::protobuf::Message& message);
  void AddTypeProblem(Id value, std::string_view expected);
  std::string Describe(Id value) const;
  std::string Path() const;

  const ValueTree& tree_;
  std::vector<Step> path_;
  std::vector<FieldProblem> problems_;
  std::vector<FieldProblem> remarks_;
  std::set<std::pair<const google::protobuf::Descriptor*, std::string_view>> unknown_fields_;
  std::size_t values_read_ = 0;
  bool too_many_values_ = false;
  bool root_has_duplicates_ = false;
};

}  // namespace sluice
