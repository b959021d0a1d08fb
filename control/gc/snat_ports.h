// SPDX-License-Identifier: Apache-2.0
// Keeps the tables of taken source ports (sl_snat_ports) true, and tells how many are left towards
// each destination. The programs take ports, and nobody tells them of a flow that is over: after
// each sweep what no flow has any more is given back.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "control/base/clock.h"
#include "control/gc/conntrack_sweep.h"
#include "maps/flow.h"
#include "maps/snat_array.h"
#include "maps/table.h"

namespace sluice {

// Ports of one address that are taken towards one destination.
struct SnatUse {
  SnatPath path;
  std::uint32_t used = 0;

  friend bool operator==(const SnatUse&, const SnatUse&) = default;
};

// What to say of a path whose ports run out: names both ends, and what to do.
std::string NearlyFullText(const SnatPath& path, std::uint32_t used, std::uint32_t count);

// Thread: loop only.
class SnatPorts {
 public:
  // All must outlive this. The range begins at `first_port` and has `count` ports.
  SnatPorts(SnatArray& array, const Table<std::uint32_t, abi::opening_bucket>& opening,
            const Clock& clock, std::uint16_t first_port, std::uint32_t count)
      : array_(array), opening_(opening), clock_(clock), first_port_(first_port), count_(count) {}

  // A sweep of sl_flows has ended and found `established`. Flows that began meanwhile may lose
  // their bits: that costs the next one who wants their ports a try.
  // Errors: those of Table::Dump; nothing is changed then. Cost: nothing as long as no port is
  // taken; else reads sl_opening, and 4 KiB for each destination.
  absl::Status Finish(const SnatPathPorts& established);

  std::uint32_t count() const { return count_; }
  // As the last sweep found it, most used first.
  const std::vector<SnatUse>& use() const { return use_; }
  // Those of which at least 80 % of the ports were taken, and no less than 70 % since.
  const std::map<SnatPath, std::uint32_t>& nearly_full() const { return nearly_full_; }

 private:
  SnatArray& array_;
  const Table<std::uint32_t, abi::opening_bucket>& opening_;
  const Clock& clock_;
  const std::uint16_t first_port_;
  const std::uint32_t count_;
  std::vector<SnatUse> use_;
  std::map<SnatPath, std::uint32_t> nearly_full_;
};

}  // namespace sluice
