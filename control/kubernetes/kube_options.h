// SPDX-License-Identifier: Apache-2.0
// How the Kubernetes API is reached, as flags and the configuration file say it. Values only: what
// they name is read by LoadApiConfig.
#pragma once

#include <string>
#include <vector>

namespace sluice {

inline constexpr char kContentTypeProtobuf[] = "application/vnd.kubernetes.protobuf";
inline constexpr char kContentTypeJson[] = "application/json";
inline constexpr char kServiceAccountFolder[] = "/var/run/secrets/kubernetes.io/serviceaccount";

// With neither a kubeconfig nor a master the Pod's service account is used, and the server that
// KUBERNETES_SERVICE_HOST and _PORT name, which must not be the API's ClusterIP.
struct KubeOptions {
  std::string kubeconfig;            // --kubeconfig; a file. Empty: the service account
  std::string context;               // of the kubeconfig; empty: its current-context
  std::vector<std::string> masters;  // --master: addresses of API servers, tried in turn; they
                                     // replace that of the kubeconfig or of the environment
  std::string content_type = kContentTypeProtobuf;  // --kube-api-content-type
  double qps = 5;                                   // --kube-api-qps; requests started a second,
  int burst = 10;                                   // --kube-api-burst; after this many at once
  std::string service_account_folder = kServiceAccountFolder;
  std::string user_agent = "sluiced";
};

}  // namespace sluice
