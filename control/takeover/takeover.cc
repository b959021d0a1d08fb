// SPDX-License-Identifier: Apache-2.0
#include "control/takeover/takeover.h"

#include <unistd.h>

#include <array>
#include <cstddef>
#include <fstream>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#include "control/base/status_macros.h"
#include "control/takeover/iptables_rules.h"
#include "control/takeover/ipvs_rules.h"
#include "control/takeover/kube_proxy_names.h"
#include "control/takeover/running_kube_proxy.h"

namespace sluice {
namespace {

constexpr std::uint16_t kMetricsPort = 10249;
// Somebody else may change a table between reading it and writing it; then it is read again.
constexpr int kTries = 3;

absl::Status Failed(const std::vector<std::string>& arguments, const CommandResult& result) {
  return absl::InternalError(absl::StrCat(absl::StrJoin(arguments, " "), ": exit code ",
                                          result.exit_code, ": ",
                                          absl::StripAsciiWhitespace(result.errors)));
}

// Runs a program that must succeed; returns what it has printed.
absl::StatusOr<std::string> Output(CommandRunner& runner, const std::vector<std::string>& arguments,
                                   std::string_view input = "") {
  ASSIGN_OR_RETURN(CommandResult result, runner.Run(arguments, input));
  if (result.exit_code != 0) return Failed(arguments, result);
  return std::move(result.output);
}

// One of iptables and ip6tables, in one of its variants.
struct Iptables {
  std::string program;  // "ip6tables-legacy"
  std::string in_use;   // file under proc that names the tables of the kernel's side; empty: none
};

const std::array<Iptables, 4>& AllIptables() {
  static const auto* const kAll = new std::array<Iptables, 4>{{
      {"iptables-nft", ""},
      {"ip6tables-nft", ""},
      {"iptables-legacy", "net/ip_tables_names"},
      {"ip6tables-legacy", "net/ip6_tables_names"},
  }};
  return *kAll;
}

class Remover {
 public:
  Remover(CommandRunner& runner, const std::string& proc) : runner_(runner), proc_(proc) {}

  TakeoverResult Run() {
    if (result_.status = CheckNobodyRuns(); !result_.status.ok()) return std::move(result_);
    for (const Iptables& iptables : AllIptables()) {
      Note(Annotate(RemoveChains(iptables), iptables.program));
    }
    Note(Annotate(RemoveNftTables(), "nftables"));
    Note(Annotate(RemoveIpvs(), "ipvs"));
    // After the rules that use them.
    Note(Annotate(RemoveSets(), "ipset"));
    // One that was started meanwhile has undone some of this.
    Note(CheckNobodyRuns());
    return std::move(result_);
  }

 private:
  absl::Status CheckNobodyRuns() {
    RETURN_IF_ERROR(CheckNoKubeProxyProcess(proc_));
    return CheckNoKubeProxyAnswers(kMetricsPort);
  }

  void Note(const absl::Status& status) { result_.status.Update(status); }

  std::string ReadProc(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(absl::StrCat(proc_, "/", name)).rdbuf();
    return std::move(text).str();
  }

  absl::StatusOr<std::vector<IptablesTable>> Save(const Iptables& iptables) {
    ASSIGN_OR_RETURN(const std::string saved, Output(runner_, {iptables.program + "-save"}));
    return ParseIptablesSave(saved);
  }

  absl::Status RemoveChains(const Iptables& iptables) {
    absl::StatusOr<std::vector<IptablesTable>> tables = Save(iptables);
    if (absl::IsNotFound(tables.status())) {
      const std::string names = iptables.in_use.empty() ? "" : ReadProc(iptables.in_use);
      if (names.empty()) return absl::OkStatus();
      return absl::FailedPreconditionError(
          "the kernel has such tables, but the program is missing");
    }
    RETURN_IF_ERROR(tables);
    absl::Status first;
    for (const IptablesTable& table : *tables) {
      first.Update(table.shown ? RemoveFromTable(iptables, table.name)
                               : CheckTableNotShown(iptables, table.name));
    }
    return first;
  }

  // Rules of nft's that iptables has no words for hide the whole table from it.
  absl::Status CheckTableNotShown(const Iptables& iptables, const std::string& name) {
    const char* family = iptables.program.starts_with("ip6") ? "ip6" : "ip";
    ASSIGN_OR_RETURN(const std::string listed,
                     Output(runner_, {"nft", "list", "table", family, name}));
    for (const absl::string_view line : absl::StrSplit(listed, '\n')) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipWhitespace());
      if (words.size() < 2 || absl::StripAsciiWhitespace(words[0]) != "chain") continue;
      if (!IsKubeProxyChain(name, words[1])) continue;
      return absl::FailedPreconditionError(absl::StrCat(
          "table ", name, ": not changed, it holds rules that iptables cannot show, and chain ",
          words[1], "; take kube-proxy's chains out by nft (`nft list table ", family, " ", name,
          "`)"));
    }
    return absl::OkStatus();
  }

  absl::Status RemoveFromTable(const Iptables& iptables, const std::string& name) {
    absl::Status failed;
    for (int i = 0; i < kTries; ++i) {
      ASSIGN_OR_RETURN(const std::vector<IptablesTable> tables, Save(iptables));
      TableRemoval removal;
      for (const IptablesTable& table : tables) {
        if (table.name == name) removal = PlanTableRemoval(table);
      }
      const std::string what = absl::StrCat(iptables.program, ", table ", name, ": ");
      if (!removal.restore_input.empty()) {
        failed = Output(runner_, {iptables.program + "-restore", "--noflush", "--wait=5"},
                        removal.restore_input)
                     .status();
        if (!failed.ok()) continue;
        result_.removed.push_back(
            absl::StrCat(what, removal.chains, " chains, ", removal.jumps, " jumps"));
      }
      for (const std::string& kept : removal.kept) result_.kept.push_back(what + kept);
      return absl::OkStatus();
    }
    return Annotate(failed, absl::StrCat("table ", name));
  }

  absl::Status RemoveNftTables() {
    const absl::StatusOr<std::string> tables = Output(runner_, {"nft", "list", "tables"});
    if (absl::IsNotFound(tables.status())) {
      result_.kept.emplace_back("nftables: not looked at, the program nft is not there");
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(tables);
    std::string input;
    std::vector<std::string> found;
    for (const absl::string_view line : absl::StrSplit(*tables, '\n')) {
      for (const char* family : {"ip", "ip6"}) {
        const std::string table = absl::StrCat("table ", family, " ", kKubeProxyNftTable);
        if (absl::StripAsciiWhitespace(line) != table) continue;
        absl::StrAppend(&input, "delete ", table, "\n");
        found.push_back(absl::StrCat("nftables: ", table));
      }
    }
    if (found.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(Output(runner_, {"nft", "-f", "-"}, input));
    result_.removed.insert(result_.removed.end(), found.begin(), found.end());
    return absl::OkStatus();
  }

  absl::Status RemoveIpvs() {
    ASSIGN_OR_RETURN(const NodeDevices devices, ReadDevices(kKubeProxyIpvsDevice));
    was_ipvs_ = devices.has_device;
    absl::Status first;
    // Absent in a kernel without IPVS, which may still have the device and the sets.
    if (::access(absl::StrCat(proc_, "/net/ip_vs").c_str(), F_OK) == 0) {
      first.Update(RemoveVirtualServers(devices));
    }
    if (first.ok() && devices.has_device) {
      first.Update(DeleteDevice(kKubeProxyIpvsDevice));
      if (first.ok()) result_.removed.push_back(absl::StrCat("device ", kKubeProxyIpvsDevice));
    }
    return first;
  }

  absl::Status RemoveVirtualServers(const NodeDevices& devices) {
    const absl::StatusOr<std::string> saved = Output(runner_, {"ipvsadm", "-S", "-n"});
    if (absl::IsNotFound(saved.status()) && !devices.has_device) return absl::OkStatus();
    RETURN_IF_ERROR(saved);
    // Without its device kube-proxy was never in ipvs mode here, and a virtual server at a port of
    // the NodePort range is somebody else's. The device goes last, and only when all the rest has
    // gone: a run that failed finds it again.
    const IpvsRemoval removal =
        PlanIpvsRemoval(*saved, devices.on_its_device,
                        devices.has_device ? devices.on_other_devices : std::set<IpAddress>());
    absl::Status first;
    std::size_t gone = 0;
    for (const std::vector<std::string>& command : removal.commands) {
      const absl::Status done = Output(runner_, command).status();
      if (done.ok()) ++gone;
      first.Update(done);
    }
    if (gone > 0) result_.removed.push_back(absl::StrCat("ipvs: ", gone, " virtual servers"));
    result_.kept.insert(result_.kept.end(), removal.kept.begin(), removal.kept.end());
    return first;
  }

  absl::Status RemoveSets() {
    const absl::StatusOr<std::string> sets = Output(runner_, {"ipset", "list", "-n"});
    if (!sets.ok()) {
      // No program, or no sets in the kernel. Only ipvs mode makes sets, and it makes the device.
      return was_ipvs_ ? sets.status() : absl::OkStatus();
    }
    absl::Status first;
    for (const absl::string_view line : absl::StrSplit(*sets, '\n', absl::SkipEmpty())) {
      if (!IsKubeProxySet(std::string_view(line.data(), line.size()))) continue;
      const absl::Status done = Output(runner_, {"ipset", "destroy", std::string(line)}).status();
      if (done.ok()) result_.removed.push_back(absl::StrCat("ipset ", line));
      first.Update(done);
    }
    return first;
  }

  CommandRunner& runner_;
  const std::string proc_;
  TakeoverResult result_;
  bool was_ipvs_ = false;
};

}  // namespace

TakeoverResult RemoveKubeProxy(CommandRunner& runner, const std::string& proc) {
  return Remover(runner, proc).Run();
}

}  // namespace sluice
