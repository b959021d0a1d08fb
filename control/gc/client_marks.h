// SPDX-License-Identifier: Apache-2.0
// Keeps the table of clients that may have an established flow (sl_clients) true. The programs set
// bits, before they write rows of sl_flows, and nobody tells them of a flow that is over: after
// each sweep what no row has any more is cleared, and what a row lacks is set.
//
// A bit must never be clear while there is a row that needs it. A sweep sees every row that is
// there all the while it runs, so what may be missed is a row that was written meanwhile. Setting a
// bit also counts in its word, even if it was set before, and a program writes its row within
// microseconds of that. So bits are cleared only in a word that has not changed since the *last*
// sweep began: all rows that it stands for were there before this one.
#pragma once

#include <cstdint>
#include <vector>

#include "control/gc/flow_cursor.h"
#include "maps/client_array.h"

namespace sluice {

// Thread: loop only.
class ClientMarks {
 public:
  // `clients` must outlive this. `seed`: node_config.hash_seed. All of it may be wrong, and set
  // where it need not be, until two sweeps have ended.
  ClientMarks(ClientArray& clients, std::uint32_t seed) : clients_(clients), seed_(seed) {}

  // A sweep of sl_flows begins, after one that has ended or failed. Cost: reads the table.
  void Begin();
  // It has come to this row, of either direction.
  void See(const FlowRow& row);
  // It has ended. Cost: reads the table, writes what differs.
  void Finish();

  // Words of which bits were cleared since the start.
  std::uint64_t cleared() const { return cleared_; }

 private:
  void Need(std::uint32_t hash);

  ClientArray& clients_;
  const std::uint32_t seed_;
  std::vector<std::uint64_t> needed_;  // bits of the rows seen, by word
  // The words as they were when this sweep began, and the last one; empty before.
  std::vector<std::uint64_t> at_begin_;
  std::vector<std::uint64_t> at_last_begin_;
  std::uint64_t cleared_ = 0;
};

}  // namespace sluice
