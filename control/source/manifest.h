// SPDX-License-Identifier: Apache-2.0
// The text of a manifest file to Kubernetes messages: documents, lists, kinds and names. One bad
// object leaves the others. Text to values only; nothing here knows files or what was said before.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"

namespace sluice {

enum class ObjectKind : std::uint8_t { kService, kEndpointSlice, kNode };

std::string_view KindName(ObjectKind kind);  // "Service"

struct ObjectKey {
  ObjectKind kind = ObjectKind::kService;
  std::string name_space;  // empty for a Node
  std::string name;

  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
};

// "Service default/web", "Node node-a": how problems name an object.
std::string ToString(const ObjectKey& key);

using ObjectMessage = std::variant<model::Service, model::EndpointSlice, model::Node>;

// Held serialized: as a message it is several times as large, and a file has many.
struct ManifestObject {
  ObjectKey key;
  std::uint32_t line = 0;  // where it begins
  std::string bytes;       // of its message, the same for equal messages; see Unpack
};

// The object's message, metadata.namespace filled in.
ObjectMessage Unpack(const ManifestObject& object);

struct ManifestProblem {
  std::string object;  // as ToString(), or empty when what it is could not be read
  std::uint32_t line = 0;
  std::string message;

  friend bool operator==(const ManifestProblem&, const ManifestProblem&) = default;
};

// One "---" part of a file.
struct ManifestChunk {
  std::string_view text;
  std::uint32_t first_line = 1;
};

struct ManifestPart {
  std::vector<ManifestObject> objects;
  // Objects that are named but cannot be followed: what they said before stays in force.
  std::vector<ObjectKey> rejected;
  // Something could not be told apart and may be any object that is missing.
  bool has_unnamed_failure = false;
  std::vector<ManifestProblem> problems;
  // Objects of Kubernetes that say nothing about services (Deployment, ...), by kind.
  std::map<std::string, std::size_t> ignored;
};

// Cuts `text` before each line that begins with "---", so that a part that does not parse leaves
// the others. The chunks are views of `text`. Thread-safe. Cost: linear, some GB/s.
std::vector<ManifestChunk> SplitManifest(std::string_view text);

// Reads the objects of one chunk. Thread-safe. Cost: linear; see DESIGN.md for the speed.
ManifestPart ParseManifest(const ManifestChunk& chunk);

}  // namespace sluice
