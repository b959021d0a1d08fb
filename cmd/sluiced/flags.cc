// SPDX-License-Identifier: Apache-2.0
#include "cmd/sluiced/flags.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include <CLI/CLI.hpp>

#include "cmd/sluiced/kube_proxy_flags.h"
#include "control/agent/version.h"
#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "control/config/apply_config.h"

namespace sluice {
namespace {

constexpr int kDebugVerbosity = 4;  // of kube-proxy's -v: "debug level"

// Values as they are written, before they are judged.
struct FlagTexts {
  std::string socket_lb = "on";
  std::string uplinks;
  std::string pod_interfaces;
  std::string service_cidr;
  std::string attach = "auto";
  std::string xdp = "off";
  std::string health_keeper = "start";
  std::string snat_ports = "5000-29999";
  std::string snat_addresses;
  std::string forwarding = "snat";
  std::string encapsulation = "ipip";
  std::string node_service = "kube-system/sluice";
  std::string tcp_established = "2h13m20s";
  std::string tcp_closing = "10s";
  std::string tcp_reset = "120s";
  std::string udp = "60s";
};

void AddNodeFlags(CLI::App& app, AgentOptions& options, FlagTexts& texts) {
  app.add_option("--manifests", options.manifests,
                 "File or folder of Kubernetes manifests to follow, in place of the API. Without "
                 "this and --kubeconfig, in a Pod the API is followed by its service account")
      ->capture_default_str();
  app.add_option("--bpffs", options.bpffs, "Folder of the pins, on a BPF file system")
      ->capture_default_str();
  app.add_option("--state-dir", options.state_dir, "Folder for the lock, the socket and records")
      ->capture_default_str();
  app.add_option("--socket-lb", texts.socket_lb,
                 "Whose connections get their backend at connect(): on: TCP of pods, and TCP and "
                 "UDP of the node's own processes; host: those only; off: nobody's, and the node's "
                 "own processes reach no service")
      ->check(CLI::IsMember({"on", "off", "host"}))
      ->capture_default_str();
  app.add_option("--cgroup", options.cgroup,
                 "cgroup v2 folder whose processes --socket-lb is for (default: all)");
  app.add_flag("--reset-removed,!--no-reset-removed", options.reset_removed,
               "End sockets that got their backend at connect() when its endpoint is removed")
      ->capture_default_str();
  app.add_option("--uplinks", texts.uplinks,
                 "Interfaces to the network, comma list with globs (default: found by routes)");
  app.add_option("--pod-interfaces", texts.pod_interfaces,
                 "Interfaces to pods, comma list with globs (default: veth and netkit with a peer "
                 "in another network namespace)");
  app.add_option("--attach", texts.attach, "How programs get on interfaces: auto, tcx or clsact")
      ->check(CLI::IsMember({"auto", "tcx", "clsact"}))
      ->capture_default_str();
  app.add_option(
         "--xdp", texts.xdp,
         "Forwards what comes to an uplink for a backend of another node before the kernel "
         "makes an skb of it: off; native: by the driver; generic: by the stack, for tests; "
         "auto: native where the driver can")
      ->check(CLI::IsMember({"off", "native", "generic", "auto"}))
      ->capture_default_str();
}

void AddServiceFlags(CLI::App& app, AgentOptions& options, FlagTexts& texts) {
  app.add_option("--service-cidr", texts.service_cidr,
                 "Range of ClusterIPs, one a family: given out in file mode; addresses inside that "
                 "are no service's are dropped");
  app.add_flag("--allow-external-cluster-ip", options.allow_external_cluster_ip,
               "Serve ClusterIPs to the network too");
  app.add_flag("--service-echo,!--no-service-echo", options.service_echo,
               "Answer ICMP echoes to ClusterIPs and load balancers' addresses")
      ->capture_default_str();
  app.add_flag("--force-node-ports", options.force_node_ports,
               "Let NodePorts hide the node's own listeners on 22, 2379, 2380, 6443 and 10250");
  app.add_option("--snat-ports", texts.snat_ports,
                 "Source ports for packets to backends on other nodes, MIN-MAX")
      ->capture_default_str();
  app.add_option(
      "--snat-addresses", texts.snat_addresses,
      "Comma list of ranges: up to eight addresses a family of the node's uplinks inside "
      "are the sources of such packets, each with all of --snat-ports. Empty: the "
      "node's main address");
  app.add_option("--forwarding", texts.forwarding,
                 "How packets from outside reach backends of other nodes: snat: with this node's "
                 "address; dsr: unchanged, encapsulated, and the other node answers the client; "
                 "hybrid: dsr for TCP. A Service's annotation sluice.io/forwarding says otherwise")
      ->check(CLI::IsMember({"snat", "dsr", "hybrid"}))
      ->capture_default_str();
  app.add_option("--dsr-encapsulation", texts.encapsulation,
                 "For dsr: ipip, or gue: behind UDP port 6080, for networks that spread by ports")
      ->check(CLI::IsMember({"ipip", "gue"}))
      ->capture_default_str();
  app.add_option("--node-service", texts.node_service,
                 "NAMESPACE/NAME of the headless Service that selects the pods of sluice: nodes "
                 "with an endpoint there take encapsulated packets")
      ->capture_default_str();
  app.add_option("--metrics-backends", options.metrics_backends,
                 "Endpoints that have metrics of their own, those with the lowest ids; others are "
                 "only counted")
      ->capture_default_str();
  app.add_option("--health-keeper", texts.health_keeper,
                 "Who answers health checks while sluiced restarts: a process that it starts "
                 "(start), a sluiced --keep-health with this state folder (beside), or none")
      ->check(CLI::IsMember({"start", "beside", "none"}))
      ->capture_default_str();
}

void AddLimitFlags(CLI::App& app, AgentOptions& options, FlagTexts& texts) {
  const auto size = [&](const char* flag, std::uint32_t& value, const char* what) {
    app.add_option(flag, value, what)->capture_default_str();
  };
  size("--max-frontends", options.sizes.frontends, "Addresses with a port that services have");
  size("--max-services", options.sizes.services, "Services, one for each port");
  size("--max-backends", options.sizes.backends, "Endpoints, counted once for each service");
  size("--max-slots", options.sizes.slots, "Endpoints, counted once for each service");
  size("--max-flows", options.sizes.flows, "Rows of established flows, two a flow");
  size("--max-opening", options.sizes.opening,
       "Buckets of four flows that are being opened; a power of two");
  app.add_option("--tcp-established-timeout", texts.tcp_established, "Of idle TCP connections")
      ->capture_default_str();
  app.add_option("--tcp-closing-timeout", texts.tcp_closing, "Of closed TCP connections")
      ->capture_default_str();
  app.add_option("--tcp-reset-timeout", texts.tcp_reset,
                 "Of TCP connections after an RST, which may be forged")
      ->capture_default_str();
  app.add_option("--udp-timeout", texts.udp, "Of UDP flows")->capture_default_str();
}

absl::StatusOr<absl::Duration> ReadTimeout(const char* flag, const std::string& text) {
  absl::Duration value;
  if (!absl::ParseDuration(text, &value) || value < absl::Seconds(1)) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " ", text, ": a duration of at least 1s, such as 90s or 2h30m"));
  }
  return value;
}

// As kube-proxy takes it: trimmed, in lower case, as the names of Node objects are.
absl::StatusOr<std::string> NodeName(std::string name) {
  const char* from_pod = std::getenv("NODE_NAME");
  if (name.empty() && from_pod != nullptr) name = from_pod;
  if (name.empty()) {
    std::array<char, 256> buffer{};
    if (::gethostname(buffer.data(), buffer.size() - 1) != 0) return ErrnoStatus(errno, "hostname");
    name = buffer.data();
  }
  absl::StripAsciiWhitespace(&name);
  absl::AsciiStrToLower(&name);
  if (name.empty()) {
    return absl::InvalidArgumentError("no host name; give one with --hostname-override");
  }
  return name;
}

// Manifests, or the Kubernetes API: what is named; else the API when this runs in a Pod.
absl::Status ChooseSource(const CLI::App& app, const KubeProxyFlags& flags,
                          const KubeProxyConfig& config, AgentOptions& options) {
  const bool manifests = app.count("--manifests") != 0;
  if (manifests && (app.count("--kubeconfig") != 0 || !flags.master.empty())) {
    return absl::InvalidArgumentError(
        "--manifests and --kubeconfig or --master exclude each other");
  }
  if (manifests) return absl::OkStatus();
  const bool named = config.Has("clientConnection.kubeconfig") || !flags.master.empty();
  const bool in_pod = std::getenv("KUBERNETES_SERVICE_HOST") != nullptr &&
                      ::access(kServiceAccountFolder, F_OK) == 0;
  if (!named && !in_pod) return absl::OkStatus();
  options.kube.emplace();
  options.kube->masters = absl::StrSplit(flags.master, ',', absl::SkipWhitespace());
  return absl::OkStatus();
}

absl::Status Judge(const FlagTexts& texts, AgentOptions& options) {
  options.socket_lb = texts.socket_lb == "on"     ? SocketLb::kOn
                      : texts.socket_lb == "host" ? SocketLb::kHost
                                                  : SocketLb::kOff;
  options.interfaces.uplinks = SplitPatterns(texts.uplinks);
  options.interfaces.pod_interfaces = SplitPatterns(texts.pod_interfaces);
  const auto service = ParseCidrs(texts.service_cidr);
  RETURN_IF_ERROR(Annotate(service.status(), "--service-cidr"));
  options.service_cidrs = *service;
  if (texts.health_keeper != "start") {
    options.health_keeper =
        texts.health_keeper == "beside" ? HealthKeeperChoice::kBeside : HealthKeeperChoice::kNone;
  }
  if (texts.attach != "auto") {
    options.attach = texts.attach == "tcx" ? AttachMode::kTcx : AttachMode::kClsact;
  }
  for (const XdpMode mode : {XdpMode::kNative, XdpMode::kGeneric, XdpMode::kAuto}) {
    if (texts.xdp == XdpModeName(mode)) options.xdp = mode;
  }
  const auto snat = ParsePortRange(texts.snat_ports);
  RETURN_IF_ERROR(Annotate(snat.status(), "--snat-ports"));
  options.snat_ports = *snat;
  const auto snat_addresses = ParseCidrs(texts.snat_addresses);
  RETURN_IF_ERROR(Annotate(snat_addresses.status(), "--snat-addresses"));
  options.snat_addresses = *snat_addresses;
  options.forwarding = ForwardingNamed(texts.forwarding).value_or(Forwarding::kSnat);
  if (texts.encapsulation == "gue") options.tunnel = abi::SL_TUNNEL_GUE;
  const std::vector<std::string> node_service = absl::StrSplit(texts.node_service, '/');
  if (node_service.size() != 2 || node_service[0].empty() || node_service[1].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--node-service \"", texts.node_service, "\": NAMESPACE/NAME is wanted"));
  }
  options.node_service = {node_service[0], node_service[1]};
  SweepTimeouts& timeouts = options.timeouts;
  ASSIGN_OR_RETURN(timeouts.tcp_established,
                   ReadTimeout("--tcp-established-timeout", texts.tcp_established));
  ASSIGN_OR_RETURN(timeouts.tcp_closing, ReadTimeout("--tcp-closing-timeout", texts.tcp_closing));
  ASSIGN_OR_RETURN(timeouts.tcp_reset, ReadTimeout("--tcp-reset-timeout", texts.tcp_reset));
  ASSIGN_OR_RETURN(timeouts.udp, ReadTimeout("--udp-timeout", texts.udp));
  return CheckSizes(options.sizes);
}

absl::Status WriteConfig(const KubeProxyConfig& config, const std::string& path) {
  errno = 0;
  std::ofstream file(path, std::ios::trunc);
  file << config.FileText();
  file.close();
  return file.good() ? absl::OkStatus() : ErrnoStatus(errno != 0 ? errno : EIO, path);
}

// kube-proxy's part of the flags, after ours: what it does not say is left as it is.
absl::Status TakeKubeProxyPart(const CLI::App& app, const KubeProxyFlags& texts,
                               SluicedFlags& flags) {
  ASSIGN_OR_RETURN(KubeProxyConfig said, TakeKubeProxyFlags(app, texts));
  ASSIGN_OR_RETURN(ResolvedConfig resolved,
                   ResolveConfig(std::move(said), texts.config, LogFlags(app, texts)));
  const KubeProxyConfig& config = resolved.config;
  RETURN_IF_ERROR(ChooseSource(app, texts, config, flags.options));
  RETURN_IF_ERROR(ApplyConfig(config, flags.options));
  ASSIGN_OR_RETURN(flags.options.node_name, NodeName(flags.options.node_name));
  if (config.Has("oomScoreAdj")) {
    flags.oom_score_adj = static_cast<int>(config.Integer("oomScoreAdj"));
  }
  flags.verbose |= config.Integer("logging.verbosity") >= kDebugVerbosity;
  flags.config_file = texts.config;
  flags.config_text = std::move(resolved.file_text);
  flags.warnings = std::move(resolved.warnings);
  const std::string type = config.Text("clientConnection.contentType");
  if (!type.empty() && KnownContentType(type).empty()) {
    flags.warnings.push_back(absl::StrCat("unknown --kube-api-content-type (contentType) ", type,
                                          ": ", kContentTypeProtobuf, " is used"));
  }
  if (!texts.write_config_to.empty()) {
    RETURN_IF_ERROR(Annotate(WriteConfig(config, texts.write_config_to), "--write-config-to"));
    flags.exit_code = 0;
  }
  if (texts.init_only) flags.exit_code = 0;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SluicedFlags> ParseFlags(int argc, const char* const* argv) {
  SluicedFlags flags;
  FlagTexts texts;
  KubeProxyFlags kube_proxy;
  CLI::App app("Balances Kubernetes services in the kernel of this node.", "sluiced");
  // A flag given twice has its last value, so that a script may add to a list of flags.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  AddNodeFlags(app, flags.options, texts);
  AddServiceFlags(app, flags.options, texts);
  AddLimitFlags(app, flags.options, texts);
  AddKubeProxyFlags(app, kube_proxy);
  app.add_flag("--cleanup", flags.cleanup,
               "Remove every program, link, pin and sysctl that sluiced has set, and end");
  app.add_flag("--cleanup-kube-proxy", flags.cleanup_kube_proxy,
               "Remove the rules that a kube-proxy has left in this network namespace, and end; "
               "refused while one runs");
  app.add_flag("--drain", flags.drain,
               "Serve no new connections, keep those that are open, and end when none is left: the "
               "way back to another proxy");
  app.add_flag("-v,--verbose", flags.verbose, "Log sampled drops and other details");
  app.add_option("--keep-health", flags.keep_health,
                 "Be the process that answers health checks while sluiced restarts: \"forever\", "
                 "beside it, or \"once\"")
      ->check(CLI::IsMember({"forever", "once"}));
  app.set_version_flag("--version", absl::StrCat("sluice ", kVersion));
  std::vector<std::string> arguments = NormalArguments(argc, argv);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    flags.exit_code = app.exit(error);
    return flags;
  }
  RETURN_IF_ERROR(Judge(texts, flags.options));
  RETURN_IF_ERROR(TakeKubeProxyPart(app, kube_proxy, flags));
  return flags;
}

}  // namespace sluice
