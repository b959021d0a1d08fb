// SPDX-License-Identifier: Apache-2.0
#include "control/plan/maglev.h"

#include <algorithm>
#include <iterator>

namespace sluice {
namespace {

// The finalizer of splitmix64 (Steele et al., OOPSLA 2014).
std::uint64_t Mix(std::uint64_t hash) {
  hash = (hash ^ hash >> 30) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ hash >> 27) * 0x94d049bb133111eb;
  return hash ^ hash >> 31;
}

// Of the bytes, not of words as they are in memory: nodes of both byte orders make one table.
std::uint64_t Hash(const BackendAddress& member, std::uint64_t seed) {
  std::uint64_t hash = seed;
  std::uint64_t word = 0;
  const auto& bytes = member.address.bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    word = word << 8 | bytes[i];
    if (i % 8 == 7) hash = Mix(hash ^ word);
  }
  return Mix(hash ^ (std::uint64_t{member.protocol} << 16 | member.port));
}

// A member's preference of slots: start, start + step, ... modulo the size, which is a prime.
struct Preference {
  std::uint64_t next;
  std::uint64_t step;
};

constexpr std::uint64_t kStartSeed = 0x736c75696365206f;
constexpr std::uint64_t kStepSeed = 0x736c756963652073;

}  // namespace

std::uint32_t MaglevTableSize(std::size_t backends, std::uint32_t slots) {
  const auto smallest_for = [&](std::size_t slots_each) {
    const auto* const size = std::lower_bound(std::begin(kMaglevTableSizes),
                                              std::end(kMaglevTableSizes), backends * slots_each);
    return size == std::end(kMaglevTableSizes) ? size - 1 : size;
  };
  const auto* size = smallest_for(kMaglevSlotsPerBackend);
  const auto* const least = smallest_for(kMaglevLeastSlotsPerBackend);
  while (size > least && *size > slots / kMaglevShareOfSlots) --size;
  return *size;
}

std::vector<std::uint32_t> BuildMaglevTable(std::span<const BackendAddress> members,
                                            std::uint32_t size) {
  if (members.empty()) return {};
  std::vector<Preference> preferences;
  preferences.reserve(members.size());
  for (const BackendAddress& member : members) {
    preferences.push_back(
        {Hash(member, kStartSeed) % size, Hash(member, kStepSeed) % (size - 1) + 1});
  }
  const auto free = static_cast<std::uint32_t>(members.size());
  std::vector<std::uint32_t> table(size, free);
  for (std::uint32_t filled = 0;;) {
    for (std::uint32_t i = 0; i < free; ++i) {
      Preference& preference = preferences[i];
      while (table[preference.next] != free) {
        preference.next += preference.step;
        if (preference.next >= size) preference.next -= size;
      }
      table[preference.next] = i;
      if (++filled == size) return table;
    }
  }
}

}  // namespace sluice
