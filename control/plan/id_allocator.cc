// SPDX-License-Identifier: Apache-2.0
#include "control/plan/id_allocator.h"

#include <algorithm>

namespace sluice {

void IdAllocator::MarkUsed(std::uint32_t id) {
  if (id == 0 || id >= limit_ || IsUsed(id)) return;
  while (used_.size() <= id) {
    const auto next = static_cast<std::uint32_t>(used_.size());
    used_.push_back(false);
    if (next != id) freed_.push_back({next, 0});  // skipped: free, and for long
  }
  used_[id] = true;
  ++used_count_;
  // Leases give out from the front, so this looks at few.
  const auto freed =
      std::find_if(freed_.begin(), freed_.end(), [id](const Freed& f) { return f.id == id; });
  if (freed != freed_.end()) freed_.erase(freed);
}

void IdAllocator::Free(std::uint32_t id, std::uint64_t freed_at_ns) {
  if (id == 0 || !IsUsed(id)) return;
  used_[id] = false;
  --used_count_;
  freed_.push_back({id, freed_at_ns});
}

std::optional<IdAllocator::Given> IdAllocator::Lease::TakeFresh() {
  if (fresh_ >= ids_->limit_) return std::nullopt;
  taken_fresh_.push_back(true);
  return Given{fresh_++, true};
}

std::optional<IdAllocator::Given> IdAllocator::Lease::TakeFreed() {
  if (freed_ >= ids_->freed_.size()) return std::nullopt;
  const Freed& next = ids_->freed_[freed_];
  if (next.at_ns != 0 && next.at_ns + kReuseGraceNs > now_ns_) return std::nullopt;
  ++freed_;
  taken_fresh_.push_back(false);
  return Given{next.id, false};
}

std::optional<IdAllocator::Given> IdAllocator::Lease::Take() {
  if (ids_->order_ == Order::kFreshFirst) {
    if (std::optional<Given> id = TakeFresh()) return id;
    return TakeFreed();
  }
  if (std::optional<Given> id = TakeFreed()) return id;
  return TakeFresh();
}

void IdAllocator::Lease::Return(std::size_t count) {
  for (; count > 0 && !taken_fresh_.empty(); --count) {
    if (taken_fresh_.back()) {
      --fresh_;
    } else {
      --freed_;
    }
    taken_fresh_.pop_back();
  }
}

}  // namespace sluice
