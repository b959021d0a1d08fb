// SPDX-License-Identifier: Apache-2.0
// What iptables-save prints, and the input of iptables-restore that takes kube-proxy's part out of
// it and nothing else. Pure; any thread.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace sluice {

struct IptablesRule {
  std::string chain;
  std::string specification;  // all after "-A <chain> ", as iptables-save prints it
  std::string target;         // chain or target of -j or -g; empty: none

  friend bool operator==(const IptablesRule&, const IptablesRule&) = default;
};

struct IptablesTable {
  std::string name;
  std::map<std::string, bool, std::less<>> chains;  // name -> is it built in (has it a policy)?
  std::vector<IptablesRule> rules;
  bool shown = true;  // else iptables-save said only that nft alone can show it
};

// Reads the output of iptables-save or ip6tables-save, of either variant.
// Errors: INVALID_ARGUMENT names the line.
absl::StatusOr<std::vector<IptablesTable>> ParseIptablesSave(std::string_view text);

// A change of one table, which iptables-restore --noflush makes as a whole or not at all.
struct TableRemoval {
  std::string table;
  std::string restore_input;      // empty: there is nothing of kube-proxy's
  std::size_t chains = 0;         // that go, with all their rules
  std::size_t jumps = 0;          // rules of built-in chains that go
  std::vector<std::string> kept;  // chains of kube-proxy's that stay, and why
};

// Takes out every chain of kube-proxy's and every jump to them from built-in chains. A chain that
// somebody else's rule uses stays, with all that it needs itself.
TableRemoval PlanTableRemoval(const IptablesTable& table);

}  // namespace sluice
