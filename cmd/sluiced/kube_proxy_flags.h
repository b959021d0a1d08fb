// SPDX-License-Identifier: Apache-2.0
// kube-proxy's command line, so that a DaemonSet can change the image and keep its arguments.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "control/config/kube_proxy_config.h"

namespace CLI {
class App;
}

namespace sluice {

// Values as they are written, before they are judged. Must stay where it is while flags are parsed.
struct KubeProxyFlags {
  std::map<std::string, std::string> texts;      // by field of the configuration
  std::map<std::string, std::string> log_texts;  // of klog's flags, by name
  std::string config;                            // --config
  std::string write_config_to;
  std::string master;
  std::string healthz_port;  // of old: 0 stands for none
  std::string metrics_port;
  bool init_only = false;
};

// Puts "-v 2", "-v=2" and "--v 2" in the form that the parser knows, "--v=2"; leaves "-v" alone.
// As kube-proxy: "_" in a flag's name is "-", and "--flag=" has an empty value.
std::vector<std::string> NormalArguments(int argc, const char* const* argv);

void AddKubeProxyFlags(CLI::App& app, KubeProxyFlags& flags);

// What was said by flags, in kube-proxy's terms. Errors: INVALID_ARGUMENT naming the flag.
absl::StatusOr<KubeProxyConfig> TakeKubeProxyFlags(const CLI::App& app,
                                                   const KubeProxyFlags& flags);

// Those of klog's flags that were given.
std::vector<std::string> LogFlags(const CLI::App& app, const KubeProxyFlags& flags);

// What a person should be told of it, a line each.
struct ResolvedConfig {
  KubeProxyConfig config;
  std::string file_text;  // of --config, to be watched; empty without one
  std::vector<std::string> warnings;
};

// Joins the flags with the file that --config names. As kube-proxy: what the file says counts, but
// for --hostname-override. `log_flags` are warned of with what else has no meaning. Errors: those
// of reading and parsing the file.
absl::StatusOr<ResolvedConfig> ResolveConfig(KubeProxyConfig from_flags, const std::string& file,
                                             const std::vector<std::string>& log_flags);

}  // namespace sluice
