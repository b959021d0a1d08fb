// SPDX-License-Identifier: Apache-2.0
#include "control/source/known_kinds.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

struct OwnKind {
  std::string_view kind;
  std::string_view api_version;
  KindUse use;
  std::string_view item_kind;
};

constexpr std::array kOwnKinds = {
    OwnKind{"Service", "v1", KindUse::kService, ""},
    OwnKind{"EndpointSlice", "discovery.k8s.io/v1", KindUse::kEndpointSlice, ""},
    OwnKind{"Node", "v1", KindUse::kNode, ""},
    OwnKind{"List", "v1", KindUse::kList, ""},
    OwnKind{"ServiceList", "v1", KindUse::kList, "Service"},
    OwnKind{"EndpointSliceList", "discovery.k8s.io/v1", KindUse::kList, "EndpointSlice"},
    OwnKind{"NodeList", "v1", KindUse::kList, "Node"},
};

// The kinds of Kubernetes' own API groups that people keep in manifests; sorted.
constexpr std::array<std::string_view, 54> kIgnoredKinds = {
    "APIService",
    "CSIDriver",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "ConfigMap",
    "ControllerRevision",
    "CronJob",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "DeviceClass",
    "Event",
    "FlowSchema",
    "HorizontalPodAutoscaler",
    "IPAddress",
    "Ingress",
    "IngressClass",
    "Job",
    "Kustomization",
    "Lease",
    "LimitRange",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "NetworkPolicy",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "PodTemplate",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ReplicaSet",
    "ReplicationController",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "ResourceQuota",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "Secret",
    "ServiceAccount",
    "ServiceCIDR",
    "StatefulSet",
    "StorageClass",
    "StorageVersion",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
    "VolumeSnapshotClass",
};
static_assert(std::is_sorted(kIgnoredKinds.begin(), kIgnoredKinds.end()));

absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }

std::string_view GroupOf(std::string_view api_version) {
  const std::size_t slash = api_version.find('/');
  return slash == std::string_view::npos ? std::string_view() : api_version.substr(0, slash);
}

// Whether `kind` may be a slip of the pen for `own`: two letters wrong, missing or too many, or
// another case.
bool Resembles(std::string_view kind, std::string_view own) {
  constexpr std::size_t kMaxSlips = 2;
  if (kind.size() > own.size() + kMaxSlips) return false;
  // Levenshtein's distance, one row at a time.
  std::vector<std::size_t> row(own.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= kind.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j < row.size(); ++j) {
      const bool same = absl::ascii_tolower(static_cast<unsigned char>(kind[i - 1])) ==
                        absl::ascii_tolower(static_cast<unsigned char>(own[j - 1]));
      const std::size_t changed = diagonal + (same ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back() <= kMaxSlips;
}

}  // namespace

KindVerdict JudgeKind(std::string_view api_version, std::string_view kind, bool version_may_miss) {
  const absl::string_view shown_kind = ToAbsl(kind);
  const absl::string_view shown_version = ToAbsl(api_version);
  for (const OwnKind& own : kOwnKinds) {
    if (own.kind != kind) continue;
    if (own.api_version == api_version || (api_version.empty() && version_may_miss)) {
      return {own.use, own.item_kind, ""};
    }
    const absl::string_view right = ToAbsl(own.api_version);
    if (api_version.empty()) {
      return {KindUse::kWrongVersion, "",
              absl::StrCat("apiVersion is missing: write apiVersion: ", right), own.use};
    }
    // The same name in another group is another kind: a Service of Knative, say.
    const bool same_group = GroupOf(own.api_version) == GroupOf(api_version);
    if (same_group) {
      return {KindUse::kWrongVersion, "",
              absl::StrCat("apiVersion ", shown_version, " is not read: write apiVersion: ", right),
              own.use};
    }
    return {
        KindUse::kUnknown, "",
        absl::StrCat("kind ", shown_kind, " of apiVersion ", shown_version, " is not known; for a ",
                     shown_kind, " of Kubernetes write apiVersion: ", right)};
  }
  if (kind == "Endpoints") {
    return {KindUse::kUnknown, "",
            "kind Endpoints is not read: write the endpoints as an EndpointSlice "
            "(discovery.k8s.io/v1) with the label kubernetes.io/service-name"};
  }
  if (std::binary_search(kIgnoredKinds.begin(), kIgnoredKinds.end(), kind)) {
    return {KindUse::kIgnored, "", ""};
  }
  for (const OwnKind& own : kOwnKinds) {
    if (!Resembles(kind, own.kind)) continue;
    return {KindUse::kUnknown, "",
            absl::StrCat("kind ", shown_kind, " is not known: is it meant to be ", ToAbsl(own.kind),
                         "?"),
            own.use};
  }
  return {KindUse::kUnknown, "",
          absl::StrCat("kind ", shown_kind,
                       " is not known: Service, EndpointSlice, Node and lists "
                       "of them are read")};
}

}  // namespace sluice
