// SPDX-License-Identifier: Apache-2.0
// Every field of kube-proxy's configuration (kubeproxy.config.k8s.io/v1alpha1, as of Kubernetes
// 1.36): its type, the flag that sets it too, and whether it means anything to sluice.
#pragma once

#include <span>
#include <string_view>

namespace sluice {

enum class FieldKind { kText, kBool, kInteger, kNumber, kDuration, kTextList, kBoolMap, kAnything };

struct ConfigField {
  std::string_view path;  // in the file: "clientConnection.qps"
  std::string_view flag;  // without dashes; empty: none
  FieldKind kind = FieldKind::kText;
  bool used = false;                   // else it is accepted and says nothing here
  std::string_view default_text = {};  // kube-proxy's, ours where it is used; empty: the zero
  std::string_view configz = {};       // where /configz has it; empty: it does not
};

std::span<const ConfigField> ConfigFields();
// Null when there is none.
const ConfigField* FindField(std::string_view path);
// Whether `path` is a group of fields: "clientConnection".
bool IsGroup(std::string_view path);

}  // namespace sluice
