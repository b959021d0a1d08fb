// SPDX-License-Identifier: Apache-2.0
// No packet costs more map lookups than it did: each kind of packet that the benchmark knows is
// sent through the programs with their helpers counted, and held against lookup_counts.txt. Counts
// are exact, so the margin is none. (How many instructions programs have: bpf.load_test.)
//
// To accept new numbers: SLUICE_UPDATE_LOOKUP_COUNTS=1 bench.lookup_count_test, and say in the
// commit why they grew.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "control/base/status_macros.h"
#include "test/bench/bench_measure.h"
#include "test/support/netns.h"
#include "test/support/status_matchers.h"

namespace sluice::bench {
namespace {

using testing::IsOk;

// Timed as shortly as can be: what is asked here does not depend on it.
constexpr Effort kOnce = {.rounds = 1, .milliseconds = 0.1};

struct Counts {
  std::uint64_t hashes = 0;
  std::uint64_t arrays = 0;
  std::uint64_t writes = 0;  // updates and deletes

  friend bool operator==(const Counts&, const Counts&) = default;
};
std::ostream& operator<<(std::ostream& out, const Counts& counts) {
  return out << counts.hashes << " hash lookups, " << counts.arrays << " array reads, "
             << counts.writes << " writes";
}

// By packet, program and family.
using Packets = std::map<std::string, Counts>;

std::filesystem::path CountsFile() {
  return std::filesystem::path(SLUICE_SOURCE_DIR) / "test/bench/lookup_counts.txt";
}

Packets ReadCounts() {
  Packets packets;
  std::ifstream file(CountsFile());
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    const std::size_t bar = line.find('|');
    Counts counts;
    std::istringstream(line.substr(0, bar)) >> counts.hashes >> counts.arrays >> counts.writes;
    packets[line.substr(bar + 2)] = counts;
  }
  return packets;
}

void WriteCounts(const Packets& packets) {
  std::ofstream file(CountsFile());
  file
      << "# Written by lookup_count_test, which says how. Hash lookups, array reads, writes of one "
         "packet.\n";
  for (const auto& [name, counts] : packets) {
    file << counts.hashes << " " << counts.arrays << " " << counts.writes << " | " << name << "\n";
  }
}

absl::StatusOr<Packets> Count(Part part, const Shape& shape) {
  Report report;
  RETURN_IF_ERROR(MeasureCluster(part, shape, {1000}, kOnce, report));
  Packets packets;
  for (const Measurement& one : report.measurements) {
    packets[absl::StrCat(one.row, ", ", one.program, ", IP", one.family)] = {
        one.calls.hash_lookups, one.calls.array_reads, one.calls.updates + one.calls.deletes};
  }
  return packets;
}

TEST(LookupCountTest, NoPacketCostsMoreThanItDid) {
  const auto net = testing::NetNs::Create();
  ASSERT_THAT(net, IsOk());
  ASSERT_THAT(BuildNetwork(**net), IsOk());
  Packets now;
  for (const bool v6 : {false, true}) {
    for (const auto& [part, shape] :
         {std::pair{Part::kTc, Shape{.v6 = v6, .services = 1000}},
          std::pair{Part::kXdp, Shape{.v6 = v6, .services = 1000, .pods = false}},
          std::pair{Part::kXdp, Shape{.v6 = v6, .services = 1000, .pods = false, .dsr = true}}}) {
      const absl::StatusOr<Packets> counted = Count(part, shape);
      ASSERT_THAT(counted, IsOk());
      now.insert(counted->begin(), counted->end());
    }
  }
  if (std::getenv("SLUICE_UPDATE_LOOKUP_COUNTS") != nullptr) WriteCounts(now);
  const Packets before = ReadCounts();
  for (const auto& [name, counts] : before) {
    ASSERT_TRUE(now.contains(name)) << name << " is no longer measured: update the file";
  }
  for (const auto& [name, counts] : now) {
    ASSERT_TRUE(before.contains(name)) << name << " is new: update the file";
    const Counts& was = before.at(name);
    EXPECT_LE(counts.hashes, was.hashes) << name;
    EXPECT_LE(counts.arrays, was.arrays) << name;
    EXPECT_LE(counts.writes, was.writes) << name;
    if (counts != was) std::cout << name << ": " << counts << ", were " << was << "\n";
  }
}

}  // namespace
}  // namespace sluice::bench
