// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/kubeconfig.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <yaml-cpp/yaml.h>

#include "control/base/status_macros.h"
#include "control/kubernetes/text_file.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxKubeconfigBytes = std::size_t{1} << 20;

// One mapping of the file, with where it is for messages. Throws YAML::Exception like its node.
class Section {
 public:
  Section(YAML::Node node, std::string where) : node_(std::move(node)), where_(std::move(where)) {}

  bool Has(const char* field) const { return node_[field] && !node_[field].IsNull(); }
  std::string Text(const char* field) const {
    return Has(field) ? node_[field].as<std::string>() : std::string();
  }
  bool Flag(const char* field) const { return Has(field) && node_[field].as<bool>(); }

  // The bytes behind base64.
  absl::Status Data(const char* field, std::string& value) const {
    if (!Has(field)) return absl::OkStatus();
    if (absl::Base64Unescape(Text(field), &value) && !value.empty()) return absl::OkStatus();
    return Error(absl::StrCat(field, ": not base64"));
  }
  absl::Status Error(std::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, ": ", std::string(what)));
  }
  const std::string& where() const { return where_; }
  const YAML::Node& node() const { return node_; }

 private:
  YAML::Node node_;
  std::string where_;
};

// The entry `name` of the list `list` ("clusters"), its part `part` ("cluster").
absl::StatusOr<Section> Entry(const YAML::Node& root, const std::string& path, const char* list,
                              const char* part, const std::string& name) {
  const std::string where = absl::StrCat(path, ": ", part, " \"", name, "\"");
  for (const YAML::Node& entry : root[list]) {
    if (!entry["name"] || entry["name"].as<std::string>() != name) continue;
    if (!entry[part] || !entry[part].IsMap()) {
      return absl::InvalidArgumentError(absl::StrCat(where, ": it says nothing"));
    }
    return Section(entry[part], where);
  }
  return absl::InvalidArgumentError(absl::StrCat(where, ": there is no such entry in ", list));
}

std::string Resolve(const std::string& path, const std::string& file) {
  if (file.empty() || file.front() == '/') return file;
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? file : path.substr(0, slash + 1) + file;
}

absl::Status ReadCluster(const Section& cluster, const std::string& path, ApiConfig& config) {
  const std::string server = cluster.Text("server");
  if (server.empty()) return cluster.Error("server is missing");
  config.servers = {server};
  config.proxy_url = cluster.Text("proxy-url");
  config.tls.server_name = cluster.Text("tls-server-name");
  config.tls.insecure = cluster.Flag("insecure-skip-tls-verify");
  config.tls.ca_file = Resolve(path, cluster.Text("certificate-authority"));
  RETURN_IF_ERROR(cluster.Data("certificate-authority-data", config.tls.ca_data));
  const bool has_ca = !config.tls.ca_file.empty() || !config.tls.ca_data.empty();
  if (config.tls.insecure && has_ca) {
    return cluster.Error("insecure-skip-tls-verify and a certificate-authority exclude each other");
  }
  return absl::OkStatus();
}

absl::Status ReadUser(const Section& user, const std::string& path, ApiConfig& config) {
  for (const char* plugin : {"exec", "auth-provider"}) {
    if (!user.Has(plugin)) continue;
    return absl::UnimplementedError(absl::StrCat(
        user.where(), ": ", plugin,
        " is not supported: credentials are not got by running programs here; use a client "
        "certificate, a token or tokenFile"));
  }
  if (user.Has("as") || user.Has("as-uid") || user.Has("as-groups")) {
    return absl::UnimplementedError(absl::StrCat(user.where(), ": impersonation is not supported"));
  }
  config.token = user.Text("token");
  config.token_file = Resolve(path, user.Text("tokenFile"));
  config.username = user.Text("username");
  config.password = user.Text("password");
  config.tls.cert_file = Resolve(path, user.Text("client-certificate"));
  config.tls.key_file = Resolve(path, user.Text("client-key"));
  RETURN_IF_ERROR(user.Data("client-certificate-data", config.tls.cert_data));
  RETURN_IF_ERROR(user.Data("client-key-data", config.tls.key_data));
  const bool has_cert = !config.tls.cert_file.empty() || !config.tls.cert_data.empty();
  const bool has_key = !config.tls.key_file.empty() || !config.tls.key_data.empty();
  if (has_cert && !has_key) return user.Error("a client certificate without client-key");
  if (has_key && !has_cert) return user.Error("a client key without client-certificate");
  return absl::OkStatus();
}

absl::StatusOr<ApiConfig> ReadRoot(const YAML::Node& root, const std::string& path,
                                   std::string context) {
  if (!root.IsMap()) return absl::InvalidArgumentError(absl::StrCat(path, ": not a kubeconfig"));
  const std::string kind = root["kind"] ? root["kind"].as<std::string>() : "";
  if (kind != "Config") {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": kind is \"", kind, "\" and not Config: not a kubeconfig"));
  }
  if (context.empty() && root["current-context"]) {
    context = root["current-context"].as<std::string>();
  }
  if (context.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": current-context is missing"));
  }
  ApiConfig config;
  config.source = absl::StrCat("kubeconfig ", path);
  ASSIGN_OR_RETURN(const Section chosen, Entry(root, path, "contexts", "context", context));
  ASSIGN_OR_RETURN(const Section cluster,
                   Entry(root, path, "clusters", "cluster", chosen.Text("cluster")));
  RETURN_IF_ERROR(ReadCluster(cluster, path, config));
  if (!chosen.Text("user").empty()) {
    ASSIGN_OR_RETURN(const Section user, Entry(root, path, "users", "user", chosen.Text("user")));
    RETURN_IF_ERROR(ReadUser(user, path, config));
  }
  return config;
}

}  // namespace

absl::StatusOr<ApiConfig> ReadKubeconfig(const std::string& path, const std::string& context) {
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path, kMaxKubeconfigBytes));
  try {
    return ReadRoot(YAML::Load(text), path, context);
  } catch (const YAML::Exception& error) {
    const std::string line =
        error.mark.is_null() ? "" : absl::StrCat(", line ", error.mark.line + 1);
    return absl::InvalidArgumentError(absl::StrCat(path, line, ": ", error.msg));
  }
}

}  // namespace sluice
