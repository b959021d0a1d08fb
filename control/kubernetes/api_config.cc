// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/api_config.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/kubernetes/kubeconfig.h"
#include "control/kubernetes/text_file.h"
#include "control/model/ip_address.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxTokenBytes = std::size_t{64} << 10;

bool CanRead(const std::string& path) { return ::access(path.c_str(), R_OK) == 0; }

// The service account's own part of the configuration: all but the server.
absl::StatusOr<ApiConfig> ReadServiceAccount(const std::string& folder) {
  ApiConfig config;
  config.source = absl::StrCat("service account ", folder);
  config.token_file = folder + "/token";
  config.tls.ca_file = folder + "/ca.crt";
  if (!CanRead(config.token_file)) {
    return ErrnoStatus(
        errno, absl::StrCat("no --kubeconfig, and no service account: read ", config.token_file));
  }
  // Without it the system's authorities count, which never signed a cluster's server.
  if (!CanRead(config.tls.ca_file)) {
    return ErrnoStatus(errno, absl::StrCat("service account: read ", config.tls.ca_file));
  }
  return config;
}

std::string Bracketed(const std::string& host) {
  return absl::StrContains(host, ':') && !absl::StartsWith(host, "[") ? absl::StrCat("[", host, "]")
                                                                      : host;
}

// The kubelet tells every container the API's ClusterIP, twice: in KUBERNETES_SERVICE_HOST, which a
// Pod may set to another address, and in KUBERNETES_PORT_443_TCP_ADDR, which nobody sets. That the
// two are the same says that it is the ClusterIP.
absl::StatusOr<std::string> ServerOfEnvironment(const Environment& environment) {
  const std::string host = environment("KUBERNETES_SERVICE_HOST");
  const std::string port = environment("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty()) {
    return absl::NotFoundError(
        "no --kubeconfig, no --master, and no KUBERNETES_SERVICE_HOST and _PORT in the "
        "environment: where is the API server?");
  }
  if (host == environment("KUBERNETES_PORT_443_TCP_ADDR")) {
    return absl::FailedPreconditionError(absl::StrCat(
        "KUBERNETES_SERVICE_HOST ", host,
        " is the ClusterIP of the API, which nothing answers on a node before sluiced itself has "
        "set it up: give the API servers' own addresses with --master "
        "https://ADDRESS:6443[,...], or set KUBERNETES_SERVICE_HOST and _PORT to one in the "
        "DaemonSet"));
  }
  return absl::StrCat("https://", Bracketed(host), ":", port);
}

absl::Status CheckServer(std::string& server, const std::string& source) {
  absl::StripAsciiWhitespace(&server);
  if (!absl::StrContains(server, "://")) server = "https://" + server;
  while (absl::EndsWith(server, "/") && !absl::EndsWith(server, "://")) server.pop_back();
  absl::string_view rest = server;
  const bool known =
      absl::ConsumePrefix(&rest, "https://") || absl::ConsumePrefix(&rest, "http://");
  if (known && !rest.empty() && rest.front() != '/' && rest.find_first_of(" ?#@") == rest.npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      source, ": server \"", server, "\": an address such as https://192.0.2.1:6443 is needed"));
}

// The host of a server that Check() has passed: without brackets, port and path.
absl::string_view HostOf(absl::string_view server) {
  server.remove_prefix(server.find("://") + 3);
  if (absl::ConsumePrefix(&server, "[")) return server.substr(0, server.find(']'));
  return server.substr(0, server.find_first_of(":/"));
}

absl::StatusOr<IpAddress> AddressOf(absl::string_view host) {
  return IpAddress::Parse(std::string_view(host.data(), host.size()));
}

// Who listens there can read the credentials anyway.
bool IsLoopback(absl::string_view host) {
  const absl::StatusOr<IpAddress> address = AddressOf(host);
  return host == "localhost" || (address.ok() && address->is_loopback());
}

// As client-go, which shows a server that is reached by http:// no token: everyone between could
// read it.
absl::Status CheckClearText(const ApiConfig& config) {
  if (config.token_file.empty() && config.token.empty() && config.username.empty()) {
    return absl::OkStatus();
  }
  for (const std::string& server : config.servers) {
    if (!absl::StartsWith(server, "http://") || IsLoopback(HostOf(server))) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(config.source, ": server \"", server,
                     "\" would get the credentials in clear text: give an https:// address"));
  }
  return absl::OkStatus();
}

absl::Status CheckFile(const std::string& path, const std::string& source) {
  if (path.empty() || CanRead(path)) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat(source, ": read ", path));
}

absl::Status Check(ApiConfig& config) {
  for (std::string& server : config.servers) RETURN_IF_ERROR(CheckServer(server, config.source));
  RETURN_IF_ERROR(CheckClearText(config));
  if (config.tls.ca_data.empty()) RETURN_IF_ERROR(CheckFile(config.tls.ca_file, config.source));
  if (config.tls.cert_data.empty()) RETURN_IF_ERROR(CheckFile(config.tls.cert_file, config.source));
  if (config.tls.key_data.empty()) RETURN_IF_ERROR(CheckFile(config.tls.key_file, config.source));
  return absl::OkStatus();
}

}  // namespace

std::string ProcessEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<ApiConfig> LoadApiConfig(const KubeOptions& options,
                                        const Environment& environment) {
  ApiConfig config;
  if (!options.kubeconfig.empty()) {
    ASSIGN_OR_RETURN(config, ReadKubeconfig(options.kubeconfig, options.context));
  } else if (options.masters.empty() || CanRead(options.service_account_folder + "/token")) {
    ASSIGN_OR_RETURN(config, ReadServiceAccount(options.service_account_folder));
  } else {
    config.source = "--master";  // and nobody, as kube-proxy with nothing but --master
  }
  if (!options.masters.empty()) {
    config.servers = options.masters;
  } else if (config.servers.empty()) {
    ASSIGN_OR_RETURN(std::string server, ServerOfEnvironment(environment));
    config.servers.push_back(std::move(server));
  }
  RETURN_IF_ERROR(Check(config));
  return config;
}

std::set<IpAddress> ServerAddresses(const ApiConfig& config) {
  std::set<IpAddress> addresses;
  for (const std::string& server : config.servers) {
    if (const absl::StatusOr<IpAddress> address = AddressOf(HostOf(server)); address.ok()) {
      addresses.insert(*address);
    }
  }
  return addresses;
}

absl::StatusOr<std::string> Authorization(const ApiConfig& config) {
  if (!config.token_file.empty()) {
    absl::StatusOr<std::string> token = ReadTextFile(config.token_file, kMaxTokenBytes);
    if (token.ok()) {
      absl::StripAsciiWhitespace(&*token);
      if (!token->empty()) return absl::StrCat("Bearer ", *token);
      token = absl::FailedPreconditionError(absl::StrCat(config.token_file, ": empty"));
    }
    // A token that stands beside the file is for when the file cannot be read.
    if (config.token.empty()) return Annotate(token.status(), config.source);
  }
  if (!config.token.empty()) return absl::StrCat("Bearer ", config.token);
  if (config.username.empty()) return std::string();
  return absl::StrCat("Basic ",
                      absl::Base64Escape(absl::StrCat(config.username, ":", config.password)));
}

}  // namespace sluice
