// SPDX-License-Identifier: Apache-2.0
// A configuration as text: what /configz shows, and a file that Parse reads.
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include "control/config/kube_proxy_config.h"

namespace sluice {
namespace {

using Json = nlohmann::ordered_json;

Json ScalarJson(FieldKind kind, const std::string& text) {
  double number = 0;
  std::int64_t integer = 0;
  switch (kind) {
    case FieldKind::kBool:
      return text == "true";
    case FieldKind::kInteger:
      return absl::SimpleAtoi(text, &integer) ? integer : 0;
    case FieldKind::kNumber:
      return absl::SimpleAtod(text, &number) ? number : 0;
    case FieldKind::kDuration:
      return text.empty() ? "0s" : text;
    default:
      return text;
  }
}

Json FieldJson(const ConfigField& field, const std::vector<std::string>& items) {
  if (field.kind == FieldKind::kBoolMap) {
    Json map = Json::object();
    for (const std::string& item : items) {
      const std::vector<std::string> parts = absl::StrSplit(item, '=');
      map[parts[0]] = parts.back() == "true";
    }
    return map;
  }
  if (field.kind == FieldKind::kTextList) return items.empty() ? Json(nullptr) : Json(items);
  return ScalarJson(field.kind, items.empty() ? std::string(field.default_text) : items.front());
}

// Sets the value at a path with dots, making objects on the way.
void Place(Json& root, std::string_view path, Json value) {
  Json* at = &root;
  for (const absl::string_view part :
       absl::StrSplit(absl::string_view(path.data(), path.size()), '.')) {
    at = &(*at)[std::string(part)];
  }
  *at = std::move(value);
}

void Emit(const Json& json, YAML::Emitter& out) {
  if (json.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, value] : json.items()) {
      out << YAML::Key << key << YAML::Value;
      Emit(value, out);
    }
    out << YAML::EndMap;
  } else if (json.is_array()) {
    out << YAML::BeginSeq;
    for (const Json& item : json) Emit(item, out);
    out << YAML::EndSeq;
  } else if (json.is_string()) {
    out << YAML::DoubleQuoted << json.get<std::string>();
  } else if (json.is_boolean()) {
    out << json.get<bool>();
  } else if (json.is_null()) {
    out << YAML::Null;
  } else if (json.is_number_integer()) {
    out << json.get<std::int64_t>();
  } else {
    out << json.get<double>();
  }
}

}  // namespace

std::string KubeProxyConfig::ConfigzJson() const {
  Json config;
  for (const ConfigField& field : ConfigFields()) {
    if (field.configz.empty()) continue;
    Json value = FieldJson(field, List(field.path));
    if (field.path == "clusterCIDR") {  // a text in the file, a list here
      const std::string text = Text(field.path);
      const std::vector<std::string> cidrs = absl::StrSplit(text, ',', absl::SkipWhitespace());
      value = cidrs.empty() ? Json(nullptr) : Json(cidrs);
    }
    Place(config, field.configz, std::move(value));
  }
  Json root;
  root["kubeproxy.config.k8s.io"] = std::move(config);
  return root.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string KubeProxyConfig::FileText() const {
  Json root;
  root["apiVersion"] = "kubeproxy.config.k8s.io/v1alpha1";
  root["kind"] = "KubeProxyConfiguration";
  for (const ConfigField& field : ConfigFields()) {
    if (field.kind == FieldKind::kAnything) continue;
    Place(root, field.path, FieldJson(field, List(field.path)));
  }
  YAML::Emitter out;
  Emit(root, out);
  return std::string(out.c_str()) + "\n";
}

}  // namespace sluice
