// SPDX-License-Identifier: Apache-2.0
#include "control/takeover/iptables_rules.h"

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "control/takeover/kube_proxy_names.h"

namespace sluice {
namespace {

// The words of a rule as iptables-save quotes them: in double quotes, with backslashes inside.
std::vector<std::string> Words(absl::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool quoted = false;
  bool started = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && quoted && i + 1 < text.size()) {
      word += text[++i];
    } else if (c == '"') {
      quoted = !quoted;
      started = true;
    } else if (c == ' ' && !quoted) {
      if (started || !word.empty()) words.push_back(std::exchange(word, {}));
      started = false;
    } else {
      word += c;
    }
  }
  if (started || !word.empty()) words.push_back(word);
  return words;
}

// A comment may read "-j ACCEPT"; it is one word then, and never the one before the target.
std::string TargetOf(absl::string_view specification) {
  const std::vector<std::string> words = Words(specification);
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    if (words[i] == "--comment") {
      ++i;
    } else if (words[i] == "-j" || words[i] == "-g") {
      return words[i + 1];
    }
  }
  return "";
}

absl::Status Malformed(std::size_t number, absl::string_view line) {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", number, " of what iptables-save printed: ", line));
}

// "# Table `nat' is incompatible, use 'nft' tool.": the name, else empty.
std::string NameOfTableNotShown(absl::string_view line) {
  if (!absl::ConsumePrefix(&line, "# Table `") || !absl::StrContains(line, "' is incompatible")) {
    return "";
  }
  return std::string(line.substr(0, line.find('\'')));
}

absl::Status ParseLine(std::size_t number, absl::string_view line,
                       std::vector<IptablesTable>& tables) {
  if (std::string name = NameOfTableNotShown(line); !name.empty()) {
    tables.push_back({.name = std::move(name), .chains = {}, .rules = {}, .shown = false});
    return absl::OkStatus();
  }
  if (line.empty() || line[0] == '#' || line == "COMMIT") return absl::OkStatus();
  if (absl::ConsumePrefix(&line, "*")) {
    tables.push_back({.name = std::string(line), .chains = {}, .rules = {}});
    return absl::OkStatus();
  }
  if (tables.empty()) return Malformed(number, line);
  IptablesTable& table = tables.back();
  if (absl::ConsumePrefix(&line, ":")) {
    const std::vector<std::string> words = Words(line);
    if (words.size() < 2) return Malformed(number, line);
    table.chains[words[0]] = words[1] != "-";
    return absl::OkStatus();
  }
  if (!absl::ConsumePrefix(&line, "-A ")) return Malformed(number, line);
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(line, absl::MaxSplits(' ', 1));
  table.rules.push_back({.chain = std::string(parts.first),
                         .specification = std::string(parts.second),
                         .target = TargetOf(parts.second)});
  return absl::OkStatus();
}

bool IsJumpOfKubeProxy(const IptablesTable& table, const IptablesRule& rule) {
  const auto from = table.chains.find(rule.chain);
  return from != table.chains.end() && from->second && IsKubeProxyEntryChain(rule.target) &&
         IsKubeProxyChain(table.name, rule.target);
}

// kube-proxy's chains that can go, and why the others cannot.
class Removable {
 public:
  explicit Removable(const IptablesTable& table) {
    for (const auto& [chain, built_in] : table.chains) {
      if (!built_in && IsKubeProxyChain(table.name, chain)) chains_.insert(chain);
    }
    for (const IptablesRule& rule : table.rules) {
      if (Has(rule.chain) && Has(rule.target)) uses_[rule.chain].push_back(rule.target);
    }
    for (const IptablesRule& rule : table.rules) {
      if (!Has(rule.target) || Has(rule.chain) || kept_.contains(rule.chain)) continue;
      if (!IsJumpOfKubeProxy(table, rule)) Keep(rule.target, rule.chain);
    }
  }

  bool Has(const std::string& chain) const { return chains_.contains(chain); }
  const std::set<std::string>& chains() const { return chains_; }
  const std::map<std::string, std::string>& kept() const { return kept_; }  // chain -> its user

 private:
  void Keep(const std::string& first, const std::string& user) {
    std::vector<std::pair<std::string, std::string>> waiting = {{first, user}};
    while (!waiting.empty()) {
      const auto [chain, by] = std::move(waiting.back());
      waiting.pop_back();
      if (chains_.erase(chain) == 0) continue;
      kept_[chain] = by;
      for (const std::string& used : uses_[chain]) waiting.emplace_back(used, chain);
    }
  }

  std::set<std::string> chains_;
  std::map<std::string, std::string> kept_;
  std::map<std::string, std::vector<std::string>> uses_;
};

}  // namespace

absl::StatusOr<std::vector<IptablesTable>> ParseIptablesSave(std::string_view text) {
  std::vector<IptablesTable> tables;
  std::size_t number = 0;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    if (absl::Status parsed = ParseLine(++number, line, tables); !parsed.ok()) return parsed;
  }
  return tables;
}

TableRemoval PlanTableRemoval(const IptablesTable& table) {
  TableRemoval removal{.table = table.name, .restore_input = {}, .kept = {}};
  const Removable removable(table);
  for (const auto& [chain, user] : removable.kept()) {
    removal.kept.push_back(absl::StrCat(chain, ": a rule of ", user, " uses it"));
  }
  std::string jumps;
  for (const IptablesRule& rule : table.rules) {
    if (!IsJumpOfKubeProxy(table, rule)) continue;
    absl::StrAppend(&jumps, "-D ", rule.chain, " ", rule.specification, "\n");
    ++removal.jumps;
  }
  removal.chains = removable.chains().size();
  if (removal.chains == 0 && removal.jumps == 0) return removal;
  // Named chains are emptied by that; then nothing refers to them but the jumps; then they can go.
  absl::StrAppend(&removal.restore_input, "*", table.name, "\n");
  for (const std::string& chain : removable.chains()) {
    absl::StrAppend(&removal.restore_input, ":", chain, " - [0:0]\n");
  }
  absl::StrAppend(&removal.restore_input, jumps);
  for (const std::string& chain : removable.chains()) {
    absl::StrAppend(&removal.restore_input, "-X ", chain, "\n");
  }
  absl::StrAppend(&removal.restore_input, "COMMIT\n");
  return removal;
}

}  // namespace sluice
