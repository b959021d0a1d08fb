// SPDX-License-Identifier: Apache-2.0
// Where the API servers are and what to show them, from a kubeconfig, the flags or the service
// account of the Pod.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/kubernetes/http_client.h"
#include "control/kubernetes/kube_options.h"
#include "control/model/ip_address.h"

namespace sluice {

struct ApiConfig {
  std::vector<std::string> servers;  // "https://192.0.2.1:6443", without a slash at the end; never
                                     // empty; in the order of preference
  TlsConfig tls;
  std::string token;       // of the kubeconfig itself
  std::string token_file;  // read anew for each request, since it is replaced while we run
  std::string username;    // with password, for HTTP basic authentication
  std::string password;
  std::string proxy_url;
  std::string source;  // for messages: "kubeconfig /etc/x", "service account /var/run/..."
};

// getenv(3), or a test's own.
using Environment = std::function<std::string(const char* name)>;
std::string ProcessEnvironment(const char* name);

// Errors: NOT_FOUND and as open(2) for files that cannot be read; INVALID_ARGUMENT naming file,
// field and value for what is wrong in them; UNIMPLEMENTED for exec plugins and auth providers;
// FAILED_PRECONDITION when the only server known is the API's own ClusterIP, which cannot be
// reached before this program has made it work. Cost: reads the kubeconfig; certificates are only
// looked for.
absl::StatusOr<ApiConfig> LoadApiConfig(const KubeOptions& options, const Environment& environment);

// The servers' addresses; not of those that are given by name, which nobody is asked for here.
std::set<IpAddress> ServerAddresses(const ApiConfig& config);

// What `Authorization` has to say now; empty: nothing. Errors: as reading the token file.
absl::StatusOr<std::string> Authorization(const ApiConfig& config);

}  // namespace sluice
