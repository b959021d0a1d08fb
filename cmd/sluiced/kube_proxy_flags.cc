// SPDX-License-Identifier: Apache-2.0
#include "cmd/sluiced/kube_proxy_flags.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <CLI/CLI.hpp>

#include "control/base/status_macros.h"
#include "control/config/config_watch.h"

namespace sluice {
namespace {

constexpr char kHostname[] = "hostnameOverride";
// Of klog, which kube-proxy has had beside its own.
constexpr const char* kLogSwitches[] = {
    "--logtostderr",    "--alsologtostderr", "--skip-headers",          "--skip-log-headers",
    "--add-dir-header", "--one-output",      "--log-text-split-stream", "--log-json-split-stream",
};
constexpr const char* kLogValues[] = {
    "--stderrthreshold",
    "--log-backtrace-at",
    "--log-dir",
    "--log-file",
    "--log-file-max-size",
    "--log-text-info-buffer-size",
    "--log-json-info-buffer-size",
};

// An empty text is kube-proxy's "not said", but where it turns a server off.
bool SaysNothing(const ConfigField& field, const std::string& text) {
  const bool texts = field.kind == FieldKind::kText || field.kind == FieldKind::kTextList ||
                     field.kind == FieldKind::kBoolMap || field.kind == FieldKind::kAnything;
  return text.empty() && texts && field.path != "healthzBindAddress" &&
         field.path != "metricsBindAddress";
}

bool IsNumber(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return std::isdigit(c) != 0; });
}

// What --help says of those that have an effect; the others are not shown.
const char* HelpOf(std::string_view path) {
  struct Help {
    std::string_view path;
    const char* text;
  };
  constexpr Help kHelp[] = {
      {"clientConnection.kubeconfig", "Kubeconfig by which the Kubernetes API is followed"},
      {"clientConnection.contentType", "Encoding that the API is asked for"},
      {"clientConnection.qps", "Requests a second to the API"},
      {"clientConnection.burst", "Requests to the API that may come at once"},
      {kHostname, "Name of this node's Node object (default: $NODE_NAME, else the host name)"},
      {"bindAddress", "Its family is that of the servers below; nothing is bound to it"},
      {"healthzBindAddress",
       "Address and port of /healthz and /livez (default: 0.0.0.0:10256); empty: none"},
      {"metricsBindAddress",
       "Address and port of /metrics, /proxyMode and /configz (default: 127.0.0.1:10249); empty: "
       "none"},
      {"bindAddressHardFail", "End when one of these ports is in use"},
      {"detectLocalMode", "With InterfaceNamePrefix the prefix names the pods' interfaces"},
      {"detectLocal.interfaceNamePrefix", "See --detect-local-mode"},
      {"clusterCIDR", "Ranges of pods' addresses: such an address is never taken for the node's"},
      {"nodePortAddresses",
       "Node addresses that serve NodePorts: CIDRs, or \"primary\" (default: those of the Node "
       "object, else primary)"},
      {"oomScoreAdj", "Written to this process's oom_score_adj"},
      {"conntrack.tcpEstablishedTimeout", "As --tcp-established-timeout"},
      {"conntrack.udpStreamTimeout", "As --udp-timeout"},
      {"logging.verbosity", "4 and above: as --verbose"},
  };
  for (const Help& help : kHelp) {
    if (help.path == path) return help.text;
  }
  return "";
}

}  // namespace

std::vector<std::string> NormalArguments(int argc, const char* const* argv) {
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) {
    std::string argument = argv[i];
    if (argument.starts_with("--")) {
      const std::size_t end = std::min(argument.find('='), argument.size());
      std::replace(argument.begin(), argument.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
      // The parser would take the next argument for the value.
      if (end > 2 && end + 1 == argument.size()) {
        arguments.push_back(argument.substr(0, end));
        arguments.emplace_back();
        continue;
      }
    }
    const bool verbosity = argument == "-v" || argument == "--v";
    if (verbosity && i + 1 < argc && IsNumber(argv[i + 1])) {
      arguments.push_back(absl::StrCat("--v=", argv[++i]));
    } else if (argument.starts_with("-v=")) {
      arguments.push_back(absl::StrCat("-", argument));
    } else {
      arguments.push_back(argument);
    }
  }
  return arguments;
}

void AddKubeProxyFlags(CLI::App& app, KubeProxyFlags& flags) {
  app.add_option("--config", flags.config,
                 "File of kind KubeProxyConfiguration; what it says counts before flags. When it "
                 "changes, sluiced ends with code 0, to be started again");
  app.add_option("--write-config-to", flags.write_config_to,
                 "Write the configuration to this file, and end");
  app.add_option("--master", flags.master,
                 "Addresses of API servers, a comma list, before those of the kubeconfig");
  app.add_flag("--init-only", flags.init_only,
               "End at once: nothing has to be prepared for sluiced");
  for (const ConfigField& field : ConfigFields()) {
    if (field.flag.empty()) continue;
    const std::string name = absl::StrCat("--", std::string(field.flag));
    std::string& text = flags.texts[std::string(field.path)];
    CLI::Option* option = field.kind == FieldKind::kBool
                              ? app.add_flag(name, text, HelpOf(field.path))
                              : app.add_option(name, text, HelpOf(field.path));
    if (field.kind == FieldKind::kTextList) option->join(',');
    if (!field.used) option->group("");  // not shown
  }
  for (const char* name : kLogSwitches) app.add_flag(name, flags.log_texts[name])->group("");
  for (const char* name : kLogValues) app.add_option(name, flags.log_texts[name])->group("");
  app.add_option("--healthz-port", flags.healthz_port)->group("");
  app.add_option("--metrics-port", flags.metrics_port)->group("");
  app.footer(
      "Every other flag of kube-proxy is accepted too; a warning lists those without effect.");
}

absl::StatusOr<KubeProxyConfig> TakeKubeProxyFlags(const CLI::App& app,
                                                   const KubeProxyFlags& flags) {
  KubeProxyConfig config;
  const auto port = [&](const char* flag, const std::string& text, const char* path,
                        const char* host) -> absl::Status {
    if (text.empty()) return absl::OkStatus();
    if (!IsNumber(text)) return absl::InvalidArgumentError(absl::StrCat(flag, " ", text));
    return config.Set(path, text == "0" ? "" : absl::StrCat(host, ":", text));
  };
  RETURN_IF_ERROR(port("--healthz-port", flags.healthz_port, "healthzBindAddress", "0.0.0.0"));
  RETURN_IF_ERROR(port("--metrics-port", flags.metrics_port, "metricsBindAddress", "127.0.0.1"));
  for (const ConfigField& field : ConfigFields()) {
    if (field.flag.empty()) continue;
    const std::string name = absl::StrCat("--", std::string(field.flag));
    const std::string& text = flags.texts.at(std::string(field.path));
    if (app.count(name) == 0 || SaysNothing(field, text)) continue;
    RETURN_IF_ERROR(Annotate(config.Set(field.path, text), name));
  }
  return config;
}

std::vector<std::string> LogFlags(const CLI::App& app, const KubeProxyFlags& flags) {
  std::vector<std::string> given;
  for (const auto& [name, text] : flags.log_texts) {
    if (app.count(name) != 0) given.push_back(name);
  }
  return given;
}

absl::StatusOr<ResolvedConfig> ResolveConfig(KubeProxyConfig from_flags, const std::string& file,
                                             const std::vector<std::string>& log_flags) {
  ResolvedConfig resolved{std::move(from_flags), "", {}};
  if (!file.empty()) {
    absl::StatusOr<std::string> text = ReadConfigFile(file);
    RETURN_IF_ERROR(Annotate(text.status(), "--config"));
    ASSIGN_OR_RETURN(const KubeProxyConfig from_file, KubeProxyConfig::Parse(*text, file));
    const bool named = resolved.config.Has(kHostname);
    const std::string name = resolved.config.Text(kHostname);
    std::vector<std::string> lost = resolved.config.Override(from_file);
    if (named) {
      RETURN_IF_ERROR(resolved.config.Set(kHostname, name));
      std::erase(lost, kHostname);
    }
    if (!lost.empty()) {
      resolved.warnings.push_back(absl::StrCat(
          "what ", file, " says counts, not the flags, of: ", absl::StrJoin(lost, ", ")));
    }
    resolved.file_text = *std::move(text);
  }
  for (const std::string& warning : resolved.config.warnings()) {
    resolved.warnings.push_back(warning);
  }
  std::vector<std::string> meaningless = resolved.config.Meaningless();
  meaningless.insert(meaningless.end(), log_flags.begin(), log_flags.end());
  if (!meaningless.empty()) {
    resolved.warnings.push_back(
        absl::StrCat("accepted for kube-proxy's sake, without meaning here: ",
                     absl::StrJoin(meaningless, ", ")));
  }
  return resolved;
}

}  // namespace sluice
