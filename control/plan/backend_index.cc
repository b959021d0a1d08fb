// SPDX-License-Identifier: Apache-2.0
#include "control/plan/backend_index.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

#include "maps/row_compare.h"

namespace sluice {
namespace {

constexpr std::size_t kFewestHeads = 16;

std::size_t PlaceOf(const abi::service_key& address, std::size_t heads) {
  return absl::Hash<abi::service_key>{}(address) & (heads - 1);
}

}  // namespace

abi::service_key AddressOf(const abi::backend& row) {
  abi::service_key key = {};
  key.address = row.address;
  key.port = row.port;
  key.protocol = row.protocol;
  return key;
}

void BackendIndex::Add(Rows rows, std::uint32_t id) {
  if (count_ >= heads_.size()) Grow(rows);
  if (next_.size() < rows.size()) next_.resize(rows.size());
  Append(AddressOf(rows[id]), id);
  ++count_;
}

void BackendIndex::Remove(Rows rows, std::uint32_t id) {
  if (heads_.empty()) return;
  std::uint32_t* link = &heads_[PlaceOf(AddressOf(rows[id]), heads_.size())];
  while (*link != 0 && *link != id) link = &next_[*link];
  if (*link == 0) return;
  *link = std::exchange(next_[id], 0);
  --count_;
}

BackendIndex::Ids BackendIndex::At(Rows rows, const abi::service_key& address) const {
  Ids ids;
  if (heads_.empty()) return ids;
  for (std::uint32_t id = heads_[PlaceOf(address, heads_.size())]; id != 0; id = next_[id]) {
    if (AddressOf(rows[id]) == address) ids.push_back(id);
  }
  return ids;
}

// At the end, so that ids of one address stay in order.
void BackendIndex::Append(const abi::service_key& address, std::uint32_t id) {
  std::uint32_t* link = &heads_[PlaceOf(address, heads_.size())];
  while (*link != 0) link = &next_[*link];
  *link = id;
}

void BackendIndex::Grow(Rows rows) {
  const std::vector<std::uint32_t> before =
      std::exchange(heads_, std::vector<std::uint32_t>(std::max(kFewestHeads, 2 * heads_.size())));
  for (std::uint32_t id : before) {
    while (id != 0) {
      const std::uint32_t after = std::exchange(next_[id], 0);
      Append(AddressOf(rows[id]), id);
      id = after;
    }
  }
}

}  // namespace sluice
