// SPDX-License-Identifier: Apache-2.0
#include "control/config/kube_proxy_config.h"

#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include <yaml-cpp/yaml.h>

#include "control/base/status_macros.h"

namespace sluice {
namespace {

constexpr char kKind[] = "KubeProxyConfiguration";
constexpr int kMaxDepth = 8;  // of values that are not looked into
constexpr char kApiVersion[] = "kubeproxy.config.k8s.io/v1alpha1";

const char* KindName(FieldKind kind) {
  switch (kind) {
    case FieldKind::kBool:
      return "true or false";
    case FieldKind::kInteger:
      return "a whole number";
    case FieldKind::kNumber:
      return "a number";
    case FieldKind::kDuration:
      return "a duration, such as 1m30s";
    case FieldKind::kBoolMap:
      return "a list of name=true or name=false";
    case FieldKind::kTextList:
      return "a list of texts";
    case FieldKind::kText:
    case FieldKind::kAnything:
      break;
  }
  return "a text";
}

// The value in the one form in which it is kept. Empty: it is not of that kind.
std::optional<std::string> Normal(FieldKind kind, std::string text) {
  absl::StripAsciiWhitespace(&text);
  bool flag = false;
  std::int64_t integer = 0;
  double number = 0;
  absl::Duration duration;
  switch (kind) {
    case FieldKind::kBool:
      if (!absl::SimpleAtob(text, &flag)) return std::nullopt;
      return flag ? "true" : "false";
    case FieldKind::kInteger:
      if (!absl::SimpleAtoi(text, &integer)) return std::nullopt;
      return absl::StrCat(integer);
    case FieldKind::kNumber:
      if (!absl::SimpleAtod(text, &number)) return std::nullopt;
      return text;
    case FieldKind::kDuration:
      if (!absl::ParseDuration(text, &duration)) return std::nullopt;
      return text;
    case FieldKind::kBoolMap: {
      const std::vector<std::string> parts = absl::StrSplit(text, '=');
      if (parts.size() != 2 || !absl::SimpleAtob(parts[1], &flag)) return std::nullopt;
      return absl::StrCat(parts[0], flag ? "=true" : "=false");
    }
    case FieldKind::kText:
    case FieldKind::kTextList:
    case FieldKind::kAnything:
      break;
  }
  return text;
}

bool IsZero(FieldKind kind, const std::vector<std::string>& items) {
  if (kind == FieldKind::kTextList || kind == FieldKind::kBoolMap) return items.empty();
  const std::string& text = items.front();
  double number = 0;
  absl::Duration duration;
  switch (kind) {
    case FieldKind::kBool:
      return text == "false";
    case FieldKind::kInteger:
    case FieldKind::kNumber:
      return absl::SimpleAtod(text, &number) && number == 0;
    case FieldKind::kDuration:
      return absl::ParseDuration(text, &duration) && duration == absl::ZeroDuration();
    case FieldKind::kAnything:
      return text.empty() || text == "0" || text == "0s" || text == "false";
    default:
      return text.empty();
  }
}

bool IsScalar(FieldKind kind) {
  return kind != FieldKind::kTextList && kind != FieldKind::kBoolMap;
}

bool IsDefault(const ConfigField& field, const std::vector<std::string>& items) {
  if (!IsScalar(field.kind) || items.size() != 1) return false;
  absl::Duration said, usual;
  if (field.kind == FieldKind::kDuration && absl::ParseDuration(items[0], &said) &&
      absl::ParseDuration(std::string(field.default_text), &usual)) {
    return said == usual;
  }
  return items[0] == field.default_text;
}

}  // namespace

// Walks a document; yaml-cpp's exceptions end at Parse.
class ConfigReader {
 public:
  ConfigReader(const std::string& name, KubeProxyConfig& config) : name_(name), config_(config) {}

  absl::Status ReadDocument(const YAML::Node& root) {
    if (!root.IsMap()) return Bad(root, absl::StrCat("no ", kKind));
    const std::string kind = TextOf(root["kind"]);
    const std::string version = TextOf(root["apiVersion"]);
    if (kind != kKind || version != kApiVersion) {
      return Bad(root, absl::StrCat("kind \"", kind, "\" of \"", version, "\"; expected ", kKind,
                                    " of ", kApiVersion));
    }
    return ReadGroup(root, "");
  }

 private:
  static std::string TextOf(const YAML::Node& node) {
    return node && node.IsScalar() ? node.Scalar() : "";
  }

  // Whether there is nothing but null, empty texts and zeros, as kubeadm writes them.
  static bool SaysNothing(const YAML::Node& node, int depth) {
    if (node.IsNull()) return true;
    if (node.IsScalar()) return IsZero(FieldKind::kAnything, {node.Scalar()});
    if (depth == kMaxDepth) return false;
    for (const auto& entry : node) {
      if (!SaysNothing(node.IsMap() ? entry.second : entry, depth + 1)) return false;
    }
    return true;
  }

  std::string At(const YAML::Node& node) const {
    return absl::StrCat(name_, ":", node.Mark().line + 1);
  }
  absl::Status Bad(const YAML::Node& node, const std::string& what) const {
    return absl::InvalidArgumentError(absl::StrCat(At(node), ": ", what));
  }

  absl::Status ReadGroup(const YAML::Node& group, const std::string& prefix) {
    std::set<std::string> seen;
    for (const auto& entry : group) {
      const YAML::Node& key = entry.first;
      const YAML::Node& value = entry.second;
      const std::string path = absl::StrCat(prefix, TextOf(key));
      if (prefix.empty() && (path == "kind" || path == "apiVersion")) continue;
      if (!seen.insert(path).second) {
        config_.warnings_.push_back(absl::StrCat(At(key), ": ", path, " is given twice"));
      }
      if (const ConfigField* field = FindField(path); field != nullptr) {
        RETURN_IF_ERROR(ReadField(value, *field));
      } else if (!IsGroup(path)) {
        config_.warnings_.push_back(absl::StrCat(At(key), ": unknown field ", path));
      } else if (value.IsMap()) {
        RETURN_IF_ERROR(ReadGroup(value, absl::StrCat(path, ".")));
      } else if (!value.IsNull()) {
        return Bad(value, absl::StrCat(path, " is not a group of fields"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadField(const YAML::Node& value, const ConfigField& field) {
    if (value.IsNull()) return absl::OkStatus();
    const std::string path(field.path);
    const absl::Status bad = Bad(value, absl::StrCat(path, " is not ", KindName(field.kind)));
    std::vector<std::string> items;
    if (field.kind == FieldKind::kAnything && !value.IsScalar()) {
      if (SaysNothing(value, 0)) return absl::OkStatus();
      items = {"{...}"};
    } else if (field.kind == FieldKind::kBoolMap) {
      if (!value.IsMap()) return bad;
      for (const auto& entry : value) {
        items.push_back(absl::StrCat(TextOf(entry.first), "=", TextOf(entry.second)));
      }
    } else if (field.kind == FieldKind::kTextList) {
      if (!value.IsSequence()) return bad;
      for (const YAML::Node& item : value) {
        if (!item.IsScalar()) return bad;
        items.push_back(item.Scalar());
      }
    } else {
      if (!value.IsScalar()) return bad;
      items = {value.Scalar()};
    }
    for (std::string& item : items) {
      const std::optional<std::string> normal = Normal(field.kind, item);
      if (!normal.has_value()) return bad;
      item = *normal;
    }
    if (!IsZero(field.kind, items)) config_.values_[path] = std::move(items);
    return absl::OkStatus();
  }

  const std::string name_;
  KubeProxyConfig& config_;
};

absl::StatusOr<KubeProxyConfig> KubeProxyConfig::Parse(const std::string& text,
                                                       const std::string& name) {
  KubeProxyConfig config;
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    const auto said = std::count_if(documents.begin(), documents.end(),
                                    [](const YAML::Node& node) { return !node.IsNull(); });
    if (said != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", said, " documents; expected one, a ", kKind));
    }
    for (const YAML::Node& document : documents) {
      if (!document.IsNull()) {
        RETURN_IF_ERROR(ConfigReader(name, config).ReadDocument(document));
      }
    }
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(name, ":", e.mark.line + 1, ": ", e.msg));
  }
  return config;
}

absl::Status KubeProxyConfig::Set(std::string_view path, const std::string& text) {
  const ConfigField* field = FindField(path);
  if (field == nullptr) return absl::NotFoundError(std::string(path));
  std::vector<std::string> items = {text};
  if (!IsScalar(field->kind)) items = absl::StrSplit(text, ',', absl::SkipWhitespace());
  for (std::string& item : items) {
    const std::optional<std::string> normal = Normal(field->kind, item);
    if (!normal.has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", item, "\" is not ", KindName(field->kind)));
    }
    item = *normal;
  }
  values_[std::string(path)] = std::move(items);
  return absl::OkStatus();
}

std::vector<std::string> KubeProxyConfig::Override(const KubeProxyConfig& other) {
  std::vector<std::string> changed;
  for (const auto& [path, items] : other.values_) {
    std::vector<std::string>& own = values_[path];
    if (!own.empty() && own != items) changed.push_back(path);
    own = items;
  }
  warnings_.insert(warnings_.end(), other.warnings_.begin(), other.warnings_.end());
  return changed;
}

std::vector<std::string> KubeProxyConfig::List(std::string_view path) const {
  const auto found = values_.find(path);
  return found == values_.end() ? std::vector<std::string>{} : found->second;
}

std::string KubeProxyConfig::Text(std::string_view path) const {
  return absl::StrJoin(List(path), ",");
}

std::int64_t KubeProxyConfig::Integer(std::string_view path) const {
  std::int64_t value = 0;
  return absl::SimpleAtoi(Text(path), &value) ? value : 0;
}

double KubeProxyConfig::Number(std::string_view path) const {
  double value = 0;
  return absl::SimpleAtod(Text(path), &value) ? value : 0;
}

absl::Duration KubeProxyConfig::Duration(std::string_view path) const {
  absl::Duration value;
  return absl::ParseDuration(Text(path), &value) ? value : absl::ZeroDuration();
}

std::vector<std::string> KubeProxyConfig::Meaningless() const {
  std::vector<std::string> list;
  for (const auto& [path, items] : values_) {
    const ConfigField* field = FindField(path);
    if (field == nullptr || field->used || IsZero(field->kind, items) || IsDefault(*field, items)) {
      continue;
    }
    list.push_back(absl::StrCat(path, "=", absl::StrJoin(items, ",")));
  }
  return list;
}

}  // namespace sluice
