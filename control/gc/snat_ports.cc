// SPDX-License-Identifier: Apache-2.0
#include "control/gc/snat_ports.h"

#include <netinet/in.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/names.h"
#include "control/base/status_macros.h"
#include "control/model/ip_address.h"
#include "maps/row_compare.h"

namespace sluice {
namespace {

// Part of the ports of a path, in percent, from which on it is said to be nearly full, and below
// which it is so no longer.
constexpr std::uint32_t kNearlyFull = 80;
constexpr std::uint32_t kRelaxed = 70;

using TakenPorts = std::map<SnatPath, std::set<std::uint16_t>>;

// Adds the ports of flows that are being opened.
void AddOpening(const abi::opening_bucket& bucket, std::uint32_t now_ticks, TakenPorts& taken) {
  for (int way = 0; way < abi::SL_OPENING_WAYS; ++way) {
    const auto age = static_cast<std::int32_t>(now_ticks - bucket.last_seen[way]);
    if (bucket.tag[way] == 0 || age > abi::SL_OPENING_TICKS) continue;
    const abi::opening_flow& flow = bucket.flows[way];
    if ((flow.entry.flags & abi::SL_FLOW_SNAT) == 0) continue;
    taken[SnatPathOf(flow.key, flow.entry)].insert(ntohs(flow.entry.new_source_port));
  }
}

}  // namespace

std::string NearlyFullText(const SnatPath& path, std::uint32_t used, std::uint32_t count) {
  return absl::StrCat("SNAT: ", used, " of ", count, " source ports of ",
                      IpAddress::FromAbi(path.source).ToString(), " towards ",
                      IpAddress::FromAbi(path.destination).WithPort(ntohs(path.destination_port)),
                      "/", ProtocolName(path.protocol),
                      " are taken; when none is left, new connections from outside to it are "
                      "dropped: add backends, nodes or --snat-addresses, or widen --snat-ports");
}

absl::Status SnatPorts::Finish(const SnatPathPorts& established) {
  std::vector<std::uint32_t> touched;
  for (std::uint32_t table = 0; table < array_.size(); ++table) {
    if (array_.Touched(table)) touched.push_back(table);
  }
  TakenPorts taken;
  if (!touched.empty()) {
    ASSIGN_OR_RETURN(const auto buckets, opening_.Dump());
    const auto now_ticks = static_cast<std::uint32_t>(clock_.MonotonicNs() >> abi::SL_TICK_SHIFT);
    for (const auto& [index, bucket] : buckets) AddOpening(bucket, now_ticks, taken);
  }
  for (const auto& [path, ports] : established) taken[path].insert(ports.begin(), ports.end());

  std::map<std::uint32_t, SnatArray::Ports> tables;
  for (const std::uint32_t table : touched) tables[table] = {};
  use_.clear();
  for (const auto& [path, ports] : taken) {
    const auto table = tables.find(
        abi::snat_table(&path.source, &path.destination, path.destination_port, path.protocol));
    std::uint32_t used = 0;
    for (const std::uint16_t port : ports) {
      const std::uint32_t place = std::uint32_t{port} - first_port_;
      if (place >= count_) continue;  // of a range that an earlier agent had
      ++used;
      if (table == tables.end() || place >= abi::SL_SNAT_PORTS) continue;
      table->second[place / 64] |= std::uint64_t{1} << place % 64;
    }
    if (used > 0) use_.push_back({path, used});
  }
  for (const auto& [table, ports] : tables) array_.Keep(table, ports);

  std::stable_sort(use_.begin(), use_.end(),
                   [](const SnatUse& a, const SnatUse& b) { return a.used > b.used; });
  std::map<SnatPath, std::uint32_t> full;
  for (const SnatUse& use : use_) {
    const std::uint32_t limit = nearly_full_.contains(use.path) ? kRelaxed : kNearlyFull;
    if (std::uint64_t{use.used} * 100 >= std::uint64_t{count_} * limit) full[use.path] = use.used;
  }
  nearly_full_ = std::move(full);
  return absl::OkStatus();
}

}  // namespace sluice
