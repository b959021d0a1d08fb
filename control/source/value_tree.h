// SPDX-License-Identifier: Apache-2.0
// What one YAML or JSON document says, before anything is known about its meaning: a tree of
// mappings, sequences and scalars, each with its line. Flat, so that a document of 64 MiB costs a
// few large allocations and not one a value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// The types that JSON knows: an object's fields have one of these, whatever the syntax was.
enum class ValueKind : std::uint8_t {
  kNull,
  kBool,
  kInteger,
  kFloat,
  kString,
  kSequence,
  kMapping,
};

// "a string", "the number 80", ...: for messages.
std::string_view ValueKindName(ValueKind kind);

// How a plain scalar (not quoted, no tag) is read. The rules are go-yaml's, which are those of
// YAML 1.1 without its base 60, so that a manifest means here what it means to kubectl.
ValueKind ResolvePlainScalar(std::string_view text);
// The truth of a scalar that ResolvePlainScalar calls kBool.
bool BoolOf(std::string_view text);

// Thread-compatible. Ids are indices, valid as long as the tree; alias nodes are never seen by the
// reader: every accessor follows them.
class ValueTree {
 public:
  using Id = std::uint32_t;
  static constexpr Id kNone = 0xffffffff;

  bool empty() const { return nodes_.empty(); }
  std::size_t size() const { return nodes_.size(); }
  Id root() const { return nodes_.empty() ? kNone : 0; }

  ValueKind kind(Id id) const { return Target(id).kind; }
  // Where the value is written, from 1 on; for an alias, where the alias is.
  std::uint32_t line(Id id) const { return nodes_[id].line; }
  std::uint32_t column(Id id) const { return nodes_[id].column; }
  // A scalar's text, its quotes and escapes resolved.
  std::string_view text(Id id) const {
    const Node& node = Target(id);
    return std::string_view(text_).substr(node.text_offset, node.text_size);
  }
  bool is_alias(Id id) const { return nodes_[id].is_alias; }
  // The children of a sequence, or keys and values of a mapping in turn; kNone at the end.
  Id first_child(Id id) const { return Target(id).first_child; }
  Id next(Id id) const { return nodes_[id].next; }

  // The value of `key` in the mapping `id`; kNone when that is no mapping or has no such key.
  Id Find(Id id, std::string_view key) const;

  // Building. `parent` kNone makes the root, which comes first; else the new node is `parent`'s
  // last child.
  struct Place {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
  };
  Id Add(Id parent, ValueKind kind, Place place);
  Id AddScalar(Id parent, ValueKind kind, Place place, std::string_view text);
  // `target` is a complete node of this tree that is no alias.
  Id AddAlias(Id parent, Place place, Id target);

 private:
  struct Node {
    std::uint32_t line = 0;
    std::uint32_t column = 0;
    std::uint32_t text_offset = 0;
    std::uint32_t text_size = 0;
    Id first_child = kNone;  // of an alias: its target
    Id last_child = kNone;
    Id next = kNone;
    ValueKind kind = ValueKind::kNull;
    bool is_alias = false;
  };

  const Node& Target(Id id) const {
    const Node& node = nodes_[id];
    return node.is_alias ? nodes_[node.first_child] : node;
  }

  std::vector<Node> nodes_;
  std::string text_;
};

}  // namespace sluice
