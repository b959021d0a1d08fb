// SPDX-License-Identifier: Apache-2.0
#include "control/source/yaml_parser.h"

#include <yaml.h>

#include <algorithm>
#include <memory>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

struct ParserDeleter {
  void operator()(yaml_parser_t* parser) const {
    yaml_parser_delete(parser);
    delete parser;
  }
};

struct EventGuard {
  yaml_event_t event{};
  EventGuard() = default;
  EventGuard(const EventGuard&) = delete;
  EventGuard& operator=(const EventGuard&) = delete;
  ~EventGuard() { yaml_event_delete(&event); }
};

const char* Chars(const yaml_char_t* text) { return reinterpret_cast<const char*>(text); }

// Kubernetes' objects are a dozen levels deep; libyaml itself has no limit that protects us.
constexpr std::size_t kMaxDepth = 200;

// Builds one document after the other out of the parser's events.
class TreeBuilder {
 public:
  explicit TreeBuilder(std::uint32_t first_line) : first_line_(first_line) {}

  // False when the event cannot be taken; error() says why.
  bool Take(const yaml_event_t& event);
  bool in_document() const { return in_document_; }
  const YamlError& error() const { return error_; }
  std::vector<ValueTree>& documents() { return documents_; }
  ValueTree& tree() { return tree_; }

 private:
  struct Open {
    ValueTree::Id id;
    std::string anchor;
  };

  ValueTree::Place PlaceOf(const yaml_event_t& event) const {
    return {static_cast<std::uint32_t>(event.start_mark.line) + first_line_,
            static_cast<std::uint32_t>(event.start_mark.column) + 1};
  }
  ValueTree::Id Parent() const { return open_.empty() ? ValueTree::kNone : open_.back().id; }
  bool Fail(const yaml_event_t& event, std::string message);
  bool TakeScalar(const yaml_event_t& event);
  bool TakeAlias(const yaml_event_t& event);
  bool OpenCollection(const yaml_event_t& event, ValueKind kind, const yaml_char_t* anchor);
  void CloseCollection();
  void Name(const yaml_char_t* anchor, ValueTree::Id id);

  std::uint32_t first_line_;
  bool in_document_ = false;
  ValueTree tree_;
  std::vector<Open> open_;
  std::unordered_map<std::string, ValueTree::Id> anchors_;
  std::vector<ValueTree> documents_;
  YamlError error_;
};

bool TreeBuilder::Fail(const yaml_event_t& event, std::string message) {
  const ValueTree::Place place = PlaceOf(event);
  error_ = {place.line, place.column, std::move(message)};
  return false;
}

void TreeBuilder::Name(const yaml_char_t* anchor, ValueTree::Id id) {
  if (anchor != nullptr) anchors_[Chars(anchor)] = id;
}

bool TreeBuilder::TakeScalar(const yaml_event_t& event) {
  const auto& scalar = event.data.scalar;
  const std::string_view text(Chars(scalar.value), scalar.length);
  const std::string_view tag = scalar.tag == nullptr ? "" : Chars(scalar.tag);
  const bool plain = scalar.style == YAML_PLAIN_SCALAR_STYLE && tag != YAML_STR_TAG && tag != "!";
  const ValueKind kind = plain ? ResolvePlainScalar(text) : ValueKind::kString;
  Name(scalar.anchor, tree_.AddScalar(Parent(), kind, PlaceOf(event), text));
  return true;
}

bool TreeBuilder::TakeAlias(const yaml_event_t& event) {
  const char* name = Chars(event.data.alias.anchor);
  const auto target = anchors_.find(name);
  if (target == anchors_.end()) {
    // An anchor is known once its value is complete, so this also stops values that hold
    // themselves.
    return Fail(event, absl::StrCat("the alias *", name, " has no anchor before it"));
  }
  tree_.AddAlias(Parent(), PlaceOf(event), target->second);
  return true;
}

bool TreeBuilder::OpenCollection(const yaml_event_t& event, ValueKind kind,
                                 const yaml_char_t* anchor) {
  if (open_.size() >= kMaxDepth) {
    return Fail(event, absl::StrCat("values are nested deeper than ", kMaxDepth, " levels"));
  }
  const ValueTree::Id id = tree_.Add(Parent(), kind, PlaceOf(event));
  open_.push_back({id, anchor == nullptr ? "" : Chars(anchor)});
  return true;
}

void TreeBuilder::CloseCollection() {
  if (!open_.back().anchor.empty()) anchors_[open_.back().anchor] = open_.back().id;
  open_.pop_back();
}

bool TreeBuilder::Take(const yaml_event_t& event) {
  switch (event.type) {
    case YAML_DOCUMENT_START_EVENT:
      in_document_ = true;
      tree_ = ValueTree();
      anchors_.clear();
      return true;
    case YAML_DOCUMENT_END_EVENT:
      in_document_ = false;
      // "---" with nothing after it is a null scalar, and says nothing.
      if (tree_.kind(tree_.root()) != ValueKind::kNull) documents_.push_back(std::move(tree_));
      return true;
    case YAML_SCALAR_EVENT:
      return TakeScalar(event);
    case YAML_ALIAS_EVENT:
      return TakeAlias(event);
    case YAML_SEQUENCE_START_EVENT:
      return OpenCollection(event, ValueKind::kSequence, event.data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
      return OpenCollection(event, ValueKind::kMapping, event.data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
      CloseCollection();
      return true;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
      return true;
  }
  return true;
}

YamlError ErrorOf(const yaml_parser_t& parser, std::string_view text, std::uint32_t first_line) {
  YamlError error;
  error.message = parser.problem == nullptr ? "cannot be read" : parser.problem;
  if (parser.error == YAML_READER_ERROR) {
    // Bytes that are no UTF-8 text: only their offset is told.
    const std::string_view before = text.substr(0, parser.problem_offset);
    const auto lines = std::count(before.begin(), before.end(), '\n');
    const std::size_t line_begin = before.rfind('\n') + 1;  // npos + 1 is 0
    error.line = static_cast<std::uint32_t>(lines) + first_line;
    error.column = static_cast<std::uint32_t>(before.size() - line_begin) + 1;
    return error;
  }
  error.line = static_cast<std::uint32_t>(parser.problem_mark.line) + first_line;
  error.column = static_cast<std::uint32_t>(parser.problem_mark.column) + 1;
  if (parser.context != nullptr) {
    absl::StrAppend(&error.message, " ", parser.context, " of line ",
                    parser.context_mark.line + first_line);
  }
  return error;
}

}  // namespace

ParsedYaml ParseYaml(std::string_view text, std::uint32_t first_line) {
  ParsedYaml parsed;
  std::unique_ptr<yaml_parser_t, ParserDeleter> parser(new yaml_parser_t());
  if (yaml_parser_initialize(parser.get()) == 0) {
    parsed.error = {first_line, 1, "out of memory"};
    return parsed;
  }
  yaml_parser_set_input_string(parser.get(), reinterpret_cast<const unsigned char*>(text.data()),
                               text.size());
  yaml_parser_set_encoding(parser.get(), YAML_UTF8_ENCODING);
  TreeBuilder builder(first_line);
  for (bool done = false; !done;) {
    EventGuard guard;
    if (yaml_parser_parse(parser.get(), &guard.event) == 0) {
      parsed.error = ErrorOf(*parser, text, first_line);
      break;
    }
    if (!builder.Take(guard.event)) {
      parsed.error = builder.error();
      break;
    }
    done = guard.event.type == YAML_STREAM_END_EVENT;
  }
  parsed.documents = std::move(builder.documents());
  if (builder.in_document()) parsed.broken = std::move(builder.tree());
  return parsed;
}

}  // namespace sluice
