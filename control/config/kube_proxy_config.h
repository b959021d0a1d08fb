// SPDX-License-Identifier: Apache-2.0
// What somebody has said in kube-proxy's terms: by its configuration file or by its flags. Only
// what was said is there. Values only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/config/config_fields.h"

namespace sluice {

class KubeProxyConfig {
 public:
  // Reads YAML or JSON of kind KubeProxyConfiguration. `name` begins every message. As kube-proxy
  // reads it: an unknown or repeated field is a warning and the rest stands; null and a zero of
  // its type (which kubeadm writes for all that it does not set) say nothing. Errors:
  // INVALID_ARGUMENT with file and line for what is no such document and for values of another
  // type.
  static absl::StatusOr<KubeProxyConfig> Parse(const std::string& text, const std::string& name);

  // As a flag says it; lists and maps are separated by commas. Errors: INVALID_ARGUMENT for a value
  // of another type; NOT_FOUND for an unknown field.
  absl::Status Set(std::string_view path, const std::string& text);

  // Takes over what `other` says, also where this says something else; returns the fields where it
  // did.
  std::vector<std::string> Override(const KubeProxyConfig& other);

  bool Has(std::string_view path) const { return values_.contains(path); }
  // Values that were said; else the zero. The kind must be the field's.
  std::string Text(std::string_view path) const;
  bool Bool(std::string_view path) const { return Text(path) == "true"; }
  std::int64_t Integer(std::string_view path) const;
  double Number(std::string_view path) const;
  absl::Duration Duration(std::string_view path) const;
  std::vector<std::string> List(std::string_view path) const;

  // For people: fields that the file should not have, with their lines.
  const std::vector<std::string>& warnings() const { return warnings_; }
  // What was said, is not the default, and has no meaning here: "ipvs.scheduler=rr".
  std::vector<std::string> Meaningless() const;

  // The body of kube-proxy's /configz, and its configuration file: what was said, else defaults.
  std::string ConfigzJson() const;
  std::string FileText() const;

 private:
  friend class ConfigReader;

  // Scalars have one item; a map has "name=true".
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
  std::vector<std::string> warnings_;
};

}  // namespace sluice
