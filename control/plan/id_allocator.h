// SPDX-License-Identifier: Apache-2.0
// Ids of services and of backends: which are in use, which are free and since when. Rebuilt from
// the pinned maps at start, then kept equal to them by what is written.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace sluice {

// A freed id or slot range is not given out again for this long, so that a program that read a row
// just before it went never follows it to somebody else's. A program's run takes microseconds.
inline constexpr std::uint64_t kReuseGraceNs = 1'000'000'000;

// Thread-compatible.
class IdAllocator {
 public:
  enum class Order {
    kFreshFirst,  // ids never given out before those freed: for ids without a generation
    kReuseFirst,  // the longest freed first: keeps the rows in use together
  };

  // Ids are 1 .. limit-1.
  IdAllocator(std::uint32_t limit, Order order) : limit_(limit), order_(order), used_(1, true) {}

  // `id` is in use from now on, whoever gave it out. At most limit-1, else no effect.
  void MarkUsed(std::uint32_t id);
  void Free(std::uint32_t id, std::uint64_t freed_at_ns);
  bool IsUsed(std::uint32_t id) const { return id < used_.size() && used_[id]; }
  std::uint32_t used() const { return used_count_; }
  std::uint32_t capacity() const { return limit_ == 0 ? 0 : limit_ - 1; }

  struct Given {
    std::uint32_t id = 0;
    bool fresh = true;  // never in use since the maps were made, as far as is known
  };

  // Ids for one plan, taken without changing the allocator: they become used when their rows land.
  class Lease {
   public:
    Lease(const IdAllocator& ids, std::uint64_t now_ns)
        : ids_(&ids), now_ns_(now_ns), fresh_(static_cast<std::uint32_t>(ids.used_.size())) {}
    // Empty when all are in use or freed too lately.
    std::optional<Given> Take();
    // Gives back the last `count` taken.
    void Return(std::size_t count);

   private:
    std::optional<Given> TakeFresh();
    std::optional<Given> TakeFreed();

    const IdAllocator* ids_;
    std::uint64_t now_ns_;
    std::uint32_t fresh_;
    std::size_t freed_ = 0;
    std::vector<bool> taken_fresh_;  // in order of taking
  };

 private:
  struct Freed {
    std::uint32_t id;
    std::uint64_t at_ns;
  };

  std::uint32_t limit_;
  Order order_;
  std::vector<bool> used_;   // up to the highest id ever in use
  std::deque<Freed> freed_;  // in order of freeing
  std::uint32_t used_count_ = 0;
};

}  // namespace sluice
