// SPDX-License-Identifier: Apache-2.0
#include "control/source/manifest.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/model/stable_bytes.h"
#include "control/source/known_kinds.h"
#include "control/source/message_reader.h"
#include "control/source/object_check.h"
#include "control/source/yaml_parser.h"

namespace sluice {
namespace {

using Id = ValueTree::Id;

constexpr char kDefaultNamespace[] = "default";
constexpr int kMaxListDepth = 4;

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

bool IsSeparator(std::string_view text, std::size_t at) {
  if (text.substr(at, 3) != "---") return false;
  return at + 3 == text.size() ||
         std::string_view(" \t\r\n").find(text[at + 3]) != std::string_view::npos;
}

// Whether nothing but comments, blanks and %-directives is there: such a head belongs to the
// document after it.
bool IsHead(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1);
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return true;
    if (first <= end && text[first] != '#' && !(first == 0 && text[0] == '%')) return false;
    text.remove_prefix(end + 1);
  }
  return true;
}

// The text of a scalar; empty when `id` is none.
std::string_view ScalarOf(const ValueTree& tree, Id id) {
  return id == ValueTree::kNone ? std::string_view() : tree.text(id);
}

template <typename Message>
struct KindOf;
template <>
struct KindOf<model::Service> {
  static constexpr ObjectKind kKind = ObjectKind::kService;
};
template <>
struct KindOf<model::EndpointSlice> {
  static constexpr ObjectKind kKind = ObjectKind::kEndpointSlice;
};
template <>
struct KindOf<model::Node> {
  static constexpr ObjectKind kKind = ObjectKind::kNode;
};

class DocumentReader {
 public:
  DocumentReader(const ValueTree& tree, ManifestPart& part) : tree_(tree), part_(part) {}

  // `list_kind`: what an item of a typed list is when it does not say so itself.
  void ReadObject(Id object, std::string_view list_kind, int list_depth);
  // As the object calls itself, for problems; empty when it says too little.
  std::string NameOf(Id object, std::string_view kind) const;

 private:
  void ReadList(Id object, std::string_view item_kind, int list_depth);
  template <typename Message>
  void ReadAs(Id object);
  // `object` may be one that was right before its kind or version was spoilt: what it said stays.
  void HoldBack(Id object, KindUse meant);
  void Unnamed(Id object, std::string_view kind, std::string message);

  const ValueTree& tree_;
  ManifestPart& part_;
};

std::string DocumentReader::NameOf(Id object, std::string_view kind) const {
  const Id metadata = tree_.Find(object, "metadata");
  const std::string_view name = ScalarOf(tree_, tree_.Find(metadata, "name"));
  if (kind.empty()) return "";
  if (name.empty()) return std::string(kind);
  std::string_view name_space = ScalarOf(tree_, tree_.Find(metadata, "namespace"));
  if (name_space.empty()) name_space = kDefaultNamespace;
  if (kind == "Node") return absl::StrCat("Node ", ToAbsl(name));
  return absl::StrCat(ToAbsl(kind), " ", ToAbsl(name_space), "/", ToAbsl(name));
}

void DocumentReader::Unnamed(Id object, std::string_view kind, std::string message) {
  part_.has_unnamed_failure = true;
  part_.problems.push_back({NameOf(object, kind), tree_.line(object), std::move(message)});
}

void DocumentReader::ReadObject(Id object, std::string_view list_kind, int list_depth) {
  if (tree_.kind(object) != ValueKind::kMapping) {
    return Unnamed(object, "",
                   "is not an object: expected a mapping with apiVersion, kind and "
                   "metadata");
  }
  std::string_view kind = ScalarOf(tree_, tree_.Find(object, "kind"));
  if (kind.empty()) kind = list_kind;
  const Id version_value = tree_.Find(object, "apiVersion");
  const std::string_view version = ScalarOf(tree_, version_value);
  if (kind.empty()) {
    return Unnamed(object, "", "kind is missing: expected Service, EndpointSlice or Node");
  }
  const KindVerdict verdict = JudgeKind(version, kind, /*version_may_miss=*/!list_kind.empty());
  switch (verdict.use) {
    case KindUse::kService:
      return ReadAs<model::Service>(object);
    case KindUse::kEndpointSlice:
      return ReadAs<model::EndpointSlice>(object);
    case KindUse::kNode:
      return ReadAs<model::Node>(object);
    case KindUse::kList:
      if (list_depth < kMaxListDepth) return ReadList(object, verdict.item_kind, list_depth);
      return Unnamed(object, kind, "lists are nested too deeply");
    case KindUse::kIgnored:
      ++part_.ignored[std::string(kind)];
      return;
    case KindUse::kWrongVersion:
    case KindUse::kUnknown:
      part_.problems.push_back({NameOf(object, kind), tree_.line(object), verdict.problem});
      return HoldBack(object, verdict.meant);
  }
}

void DocumentReader::HoldBack(Id object, KindUse meant) {
  if (meant == KindUse::kUnknown) return;
  const Id metadata = tree_.Find(object, "metadata");
  ObjectKey key;
  key.name = ScalarOf(tree_, tree_.Find(metadata, "name"));
  key.name_space = ScalarOf(tree_, tree_.Find(metadata, "namespace"));
  if (key.name_space.empty()) key.name_space = kDefaultNamespace;
  if (key.name.empty() || meant == KindUse::kList) {
    part_.has_unnamed_failure = true;
    return;
  }
  if (meant == KindUse::kEndpointSlice) key.kind = ObjectKind::kEndpointSlice;
  if (meant == KindUse::kNode) key = {ObjectKind::kNode, "", key.name};
  part_.rejected.push_back(std::move(key));
}

void DocumentReader::ReadList(Id object, std::string_view item_kind, int list_depth) {
  const Id items = tree_.Find(object, "items");
  if (items == ValueTree::kNone || tree_.kind(items) == ValueKind::kNull) return;
  if (tree_.kind(items) != ValueKind::kSequence) {
    return Unnamed(items, "List", "items: expected a list");
  }
  for (Id item = tree_.first_child(items); item != ValueTree::kNone; item = tree_.next(item)) {
    ReadObject(item, item_kind, list_depth + 1);
  }
}

template <typename Message>
void DocumentReader::ReadAs(Id object) {
  constexpr ObjectKind kKind = KindOf<Message>::kKind;
  Message message;
  MessageReader reader(tree_);
  reader.Read(object, message);
  std::vector<FieldProblem> problems = reader.problems();

  model::ObjectMeta& metadata = *message.mutable_metadata();
  const bool namespaced = kKind != ObjectKind::kNode;
  if (!namespaced) metadata.clear_name_space();
  if (namespaced && metadata.name_space().empty()) metadata.set_name_space(kDefaultNamespace);
  CheckMetadata(tree_, object, metadata, problems);
  const bool named = !metadata.name().empty();

  std::vector<FieldProblem> remarks = reader.remarks();
  // Rules that join fields are asked only when the fields themselves are right: else they would
  // complain of what is missing because it was wrong.
  if (problems.empty()) CheckObject(tree_, object, message, problems, remarks);

  ObjectKey key{kKind, metadata.name_space(), metadata.name()};
  const std::string name = named ? ToString(key) : std::string(KindName(kKind));
  for (const std::vector<FieldProblem>* list : {&problems, &remarks}) {
    for (const FieldProblem& problem : *list) {
      part_.problems.push_back({name, problem.line, problem.message});
    }
  }
  if (problems.empty()) {
    part_.objects.push_back({std::move(key), tree_.line(object), SerializeStable(message)});
    return;
  }
  if (named) part_.rejected.push_back(std::move(key));
  part_.has_unnamed_failure |= !named || reader.root_has_duplicates();
}

}  // namespace

std::string_view KindName(ObjectKind kind) {
  switch (kind) {
    case ObjectKind::kService:
      return "Service";
    case ObjectKind::kEndpointSlice:
      return "EndpointSlice";
    case ObjectKind::kNode:
      return "Node";
  }
  return "";
}

std::string ToString(const ObjectKey& key) {
  const absl::string_view kind = ToAbsl(KindName(key.kind));
  if (key.kind == ObjectKind::kNode) return absl::StrCat(kind, " ", key.name);
  return absl::StrCat(kind, " ", key.name_space, "/", key.name);
}

ObjectMessage Unpack(const ManifestObject& object) {
  ObjectMessage message;
  if (object.key.kind == ObjectKind::kEndpointSlice) message.emplace<model::EndpointSlice>();
  if (object.key.kind == ObjectKind::kNode) message.emplace<model::Node>();
  // Bytes that ParseManifest made: they do parse.
  std::visit([&](google::protobuf::Message& each) { each.ParseFromString(object.bytes); }, message);
  return message;
}

std::vector<ManifestChunk> SplitManifest(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::vector<ManifestChunk> chunks;
  std::uint32_t line = 1;
  std::size_t begin = 0;
  const auto cut = [&](std::size_t end) {
    const std::string_view chunk = text.substr(begin, end - begin);
    if (!IsHead(chunk)) chunks.push_back({chunk, line});
    line += static_cast<std::uint32_t>(std::count(chunk.begin(), chunk.end(), '\n'));
    begin = end;
  };
  for (std::size_t at = text.find("\n---"); at != std::string_view::npos;
       at = text.find("\n---", at + 1)) {
    const std::size_t separator = at + 1;
    if (!IsSeparator(text, separator)) continue;
    // A head stays with what it heads. (One that was begun by a "---" of its own is none.)
    if (!IsHead(text.substr(begin, separator - begin))) cut(separator);
  }
  cut(text.size());
  return chunks;
}

ManifestPart ParseManifest(const ManifestChunk& chunk) {
  ManifestPart part;
  const ParsedYaml parsed = ParseYaml(chunk.text, chunk.first_line);
  for (const ValueTree& tree : parsed.documents) {
    DocumentReader(tree, part).ReadObject(tree.root(), "", 0);
  }
  if (!parsed.error.message.empty()) {
    std::string name;
    if (!parsed.broken.empty()) {
      const std::string_view kind =
          ScalarOf(parsed.broken, parsed.broken.Find(parsed.broken.root(), "kind"));
      name = DocumentReader(parsed.broken, part).NameOf(parsed.broken.root(), kind);
    }
    part.has_unnamed_failure = true;
    part.problems.push_back(
        {std::move(name), parsed.error.line,
         absl::StrCat("is not YAML (column ", parsed.error.column, "): ", parsed.error.message)});
  }
  return part;
}

}  // namespace sluice
