// SPDX-License-Identifier: Apache-2.0
// Who has which frontend, when several Services ask for the same address, port and protocol: the
// oldest, then the first by name. The others get it when that one goes.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"

#include "control/desired/desired_state.h"
#include "maps/row_compare.h"

namespace sluice {

// metadata.creationTimestamp; what has none counts as younger than all that have one.
struct Age {
  std::int64_t seconds = INT64_MAX;
  std::int32_t nanos = 0;

  friend auto operator<=>(const Age&, const Age&) = default;
};

// Thread-compatible. Costs are logarithmic in the claims unless said.
class FrontendClaims {
 public:
  FrontendClaims() = default;
  FrontendClaims(const FrontendClaims&) = delete;  // claims point into entries_
  FrontendClaims& operator=(const FrontendClaims&) = delete;

  // `name` claims `frontends` and nothing else. Adds to `touched` whoever may have won or lost one
  // by that, `name` included. `answers`: an address that several Services share, as load balancers
  // allow, is first that of one which has usable endpoints, for ICMP echoes.
  void Set(const ServicePortName& name, const Age& age, bool answers,
           std::vector<Frontend> frontends, std::set<ServicePortName>& touched);
  void Remove(const ServicePortName& name, std::set<ServicePortName>& touched);

  // What `name` claims and has, in the order claimed.
  std::vector<Frontend> Won(const ServicePortName& name) const;

  // A line for every frontend that somebody claims and does not have, naming both; a node port is
  // one line, whatever number of addresses it is on. Cost: linear in what is contested.
  std::vector<Problem> Conflicts() const;

 private:
  struct Entry {
    Age age;
    bool answers = false;
    std::vector<Frontend> frontends;

    friend bool operator==(const Entry&, const Entry&) = default;
  };
  using Claimant = std::pair<const ServicePortName, Entry>;
  using Claimants = absl::InlinedVector<const Claimant*, 2>;  // nearly always one

  static bool Precedes(const Claimant* a, const Claimant* b);
  static bool PrecedesAtAddress(const Claimant* a, const Claimant* b);
  void Withdraw(const Claimant& claimant, std::set<ServicePortName>& touched);

  std::map<ServicePortName, Entry> entries_;
  // By address, port and protocol; in order of precedence, the first has it.
  absl::flat_hash_map<abi::service_key, Claimants> claims_;
  std::set<abi::service_key> contested_;
};

}  // namespace sluice
