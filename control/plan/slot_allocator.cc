// SPDX-License-Identifier: Apache-2.0
#include "control/plan/slot_allocator.h"

#include <algorithm>

#include "control/plan/id_allocator.h"

namespace sluice {
namespace {

bool MayBeReused(std::uint64_t freed_at_ns, std::uint64_t now_ns) {
  return freed_at_ns == 0 || freed_at_ns + kReuseGraceNs <= now_ns;
}

}  // namespace

SlotAllocator::SlotAllocator(std::uint32_t size) : size_(size) {
  if (size > 0) free_.push_back({0, size, 0});
}

std::optional<std::uint32_t> SlotAllocator::Allocate(std::uint32_t count, std::uint64_t now_ns) {
  for (auto run = free_.begin(); run != free_.end(); ++run) {
    if (!MayBeReused(run->freed_at_ns, now_ns)) continue;
    // What the allocation may span: neighbours that have become reusable since they were freed.
    auto last = run;
    std::uint32_t room = run->count;
    while (room < count && last + 1 != free_.end() &&
           (last + 1)->offset == last->offset + last->count &&
           MayBeReused((last + 1)->freed_at_ns, now_ns)) {
      ++last;
      room += last->count;
    }
    if (room < count) {
      run = last;
      continue;
    }
    const std::uint32_t offset = run->offset;
    Take({offset, count});
    return offset;
  }
  return std::nullopt;
}

void SlotAllocator::Take(abi::slot_range range) {
  const std::uint64_t end = std::uint64_t{range.offset} + range.count;
  auto run = std::partition_point(free_.begin(), free_.end(), [&](const Run& r) {
    return std::uint64_t{r.offset} + r.count <= range.offset;
  });
  while (run != free_.end() && run->offset < end) {
    const Run whole = *run;
    const std::uint64_t whole_end = std::uint64_t{whole.offset} + whole.count;
    run = free_.erase(run);
    if (whole_end > end) {
      run = free_.insert(run, {static_cast<std::uint32_t>(end),
                               static_cast<std::uint32_t>(whole_end - end), whole.freed_at_ns});
    }
    if (whole.offset < range.offset) {
      run = free_.insert(run, {whole.offset, range.offset - whole.offset, whole.freed_at_ns}) + 1;
    }
    if (whole_end > end) return;
  }
}

void SlotAllocator::Free(abi::slot_range range, std::uint64_t freed_at_ns) {
  if (range.count == 0) return;
  const auto after = std::partition_point(free_.begin(), free_.end(),
                                          [&](const Run& r) { return r.offset < range.offset; });
  free_.insert(after, {range.offset, range.count, freed_at_ns});
  std::size_t kept = 0;
  for (std::size_t i = 1; i < free_.size(); ++i) {
    Run& last = free_[kept];
    const Run next = free_[i];
    const bool adjacent = last.offset + last.count == next.offset;
    const bool both_reusable =
        MayBeReused(last.freed_at_ns, freed_at_ns) && MayBeReused(next.freed_at_ns, freed_at_ns);
    if (adjacent && both_reusable) {
      last = {last.offset, last.count + next.count, 0};
    } else if (adjacent && last.freed_at_ns == next.freed_at_ns) {
      last.count += next.count;
    } else {
      free_[++kept] = next;
    }
  }
  free_.resize(kept + 1);
}

std::uint32_t SlotAllocator::used() const {
  std::uint32_t free = 0;
  for (const Run& run : free_) free += run.count;
  return size_ - free;
}

}  // namespace sluice
