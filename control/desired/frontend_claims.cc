// SPDX-License-Identifier: Apache-2.0
#include "control/desired/frontend_claims.h"

#include <arpa/inet.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"

#include "control/base/names.h"

namespace sluice {
namespace {

abi::service_key KeyOf(const Frontend& frontend) {
  abi::service_key key = {};
  key.address = frontend.address.ToAbi();
  key.port = htons(frontend.port);
  key.protocol = frontend.protocol;
  return key;
}

std::string ServiceText(const ServicePortName& name) {
  return absl::StrCat("Service ", name.name_space, "/", name.name);
}

std::string PlaceText(const Frontend& frontend) {
  const std::string port = absl::StrCat(frontend.port, "/", ProtocolName(frontend.protocol));
  if (frontend.kind == abi::SL_FRONTEND_NODE_PORT) return absl::StrCat("node port ", port);
  const std::string address = frontend.address.ToString();
  return frontend.address.is_v4() ? absl::StrCat(address, ":", port)
                                  : absl::StrCat("[", address, "]:", port);
}

}  // namespace

bool FrontendClaims::Precedes(const Claimant* a, const Claimant* b) {
  return std::tie(a->second.age, a->first) < std::tie(b->second.age, b->first);
}

bool FrontendClaims::PrecedesAtAddress(const Claimant* a, const Claimant* b) {
  return a->second.answers == b->second.answers ? Precedes(a, b) : a->second.answers;
}

void FrontendClaims::Set(const ServicePortName& name, const Age& age, bool answers,
                         std::vector<Frontend> frontends, std::set<ServicePortName>& touched) {
  const auto [it, is_new] = entries_.try_emplace(name);
  Entry entry{age, answers, std::move(frontends)};
  if (!is_new && it->second == entry) return;
  Withdraw(*it, touched);
  it->second = std::move(entry);
  touched.insert(name);
  for (const Frontend& frontend : it->second.frontends) {
    const abi::service_key key = KeyOf(frontend);
    Claimants& claimants = claims_[key];
    const bool is_address = abi::frontend_is_address(frontend.kind);
    const auto place = std::lower_bound(claimants.begin(), claimants.end(), &*it,
                                        is_address ? PrecedesAtAddress : Precedes);
    if (place == claimants.begin() && !claimants.empty()) touched.insert(claimants.front()->first);
    claimants.insert(place, &*it);
    // The row of an address is shared and not fought for.
    if (claimants.size() > 1 && !is_address) contested_.insert(key);
  }
}

void FrontendClaims::Remove(const ServicePortName& name, std::set<ServicePortName>& touched) {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return;
  Withdraw(*it, touched);
  entries_.erase(it);
  touched.insert(name);
}

void FrontendClaims::Withdraw(const Claimant& claimant, std::set<ServicePortName>& touched) {
  for (const Frontend& frontend : claimant.second.frontends) {
    const abi::service_key key = KeyOf(frontend);
    const auto it = claims_.find(key);
    Claimants& claimants = it->second;
    const bool had_it = claimants.front() == &claimant;
    claimants.erase(std::find(claimants.begin(), claimants.end(), &claimant));
    if (had_it && !claimants.empty()) touched.insert(claimants.front()->first);
    if (claimants.size() <= 1) contested_.erase(key);
    if (claimants.empty()) claims_.erase(it);
  }
}

std::vector<Frontend> FrontendClaims::Won(const ServicePortName& name) const {
  std::vector<Frontend> won;
  const auto it = entries_.find(name);
  if (it == entries_.end()) return won;
  for (const Frontend& frontend : it->second.frontends) {
    if (claims_.at(KeyOf(frontend)).front() == &*it) won.push_back(frontend);
  }
  return won;
}

std::vector<Problem> FrontendClaims::Conflicts() const {
  std::set<Problem> conflicts;
  for (const abi::service_key& key : contested_) {
    // It goes with the frontend that it stands beside, of which the conflict is told.
    if ((key.protocol & abi::SL_PROTOCOL_TUNNELLED) != 0) continue;
    const Claimants& claimants = claims_.at(key);
    const Claimant& winner = *claimants.front();
    for (const Claimant* loser : claimants) {
      if (loser == &winner) continue;
      const auto frontend =
          std::find_if(loser->second.frontends.begin(), loser->second.frontends.end(),
                       [&](const Frontend& f) { return KeyOf(f) == key; });
      const bool same_service = loser->first.name_space == winner.first.name_space &&
                                loser->first.name == winner.first.name;
      const char* why = loser->second.age == winner.second.age ? "comes first by name" : "is older";
      conflicts.insert(
          {ServiceText(loser->first),
           same_service
               ? absl::StrCat(PlaceText(*frontend), " of port \"", loser->first.port_name,
                              "\" is port \"", winner.first.port_name, "\"'s of the same Service")
               : absl::StrCat(PlaceText(*frontend), " of port \"", loser->first.port_name, "\" is ",
                              ServiceText(winner.first), "'s, which ", why,
                              "; it is served when that one gives it up")});
    }
  }
  return {conflicts.begin(), conflicts.end()};
}

}  // namespace sluice
