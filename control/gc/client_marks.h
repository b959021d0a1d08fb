// SPDX-License-Identifier: Apache-2.0
// Keeps the table of clients that may have an established flow (sl_clients) true. The programs set
// bits, before they write rows of sl_flows, and nobody tells them of a flow that is over.
//
// Bits must never be clear in both halves of a word while there is a row that needs them. A sweep
// sets those of every row that it comes by in the half that programs set theirs in. It misses only
// rows that were written while it ran, of which the programs have set the bits. So at its end that
// half has all, and the other is cleared. Programs go on there, so that next time this one can be
// cleared. A program that has read which half just before that change may set bits in the old one
// after it, and write its row; the next sweep, seconds later, finds the row.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/status/status.h"

#include "control/gc/flow_cursor.h"
#include "maps/client_array.h"

namespace sluice {

// Thread: loop only.
class ClientMarks {
 public:
  // Has programs set bits in this half from now on (node_config.clients_half).
  using UseHalf = std::function<absl::Status(std::uint32_t)>;

  // `clients` must outlive this. `seed`: node_config.hash_seed; `half`: where programs set bits
  // now. Sweeps must begin seconds after this, and after each Finish().
  ClientMarks(ClientArray& clients, std::uint32_t seed, std::uint32_t half, UseHalf use_half)
      : clients_(clients), seed_(seed), half_(half & 1), use_half_(std::move(use_half)) {}

  // The sweep has come to this row, of either direction. One that fails need not be told.
  void See(const FlowRow& row);
  // It has ended, having come by all rows. Cost: writes half of the table. Errors: those of
  // `use_half`; then bits stay for longer.
  absl::Status Finish();

 private:
  ClientArray& clients_;
  const std::uint32_t seed_;
  std::uint32_t half_;
  const UseHalf use_half_;
};

}  // namespace sluice
