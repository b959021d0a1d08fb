// SPDX-License-Identifier: Apache-2.0
// Every object passes the verifier, and no program grows unnoticed: its instructions as the kernel
// has them after loading, and those that the verifier walked, against instruction_counts.txt.
//
// To accept new numbers: SLUICE_UPDATE_INSTRUCTION_COUNTS=1 bpf.load_test, and say in the commit
// why they grew.
#include <bpf/bpf.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/datapath/feature_probe.h"
#include "maps/names.h"
#include "sl_sock.skel.h"
#include "sl_tc.skel.h"
#include "sl_xdp.skel.h"
#include "test/support/prog_runner.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

struct Counts {
  std::uint64_t instructions = 0;  // after the kernel has patched the program
  std::uint64_t verified = 0;      // walked by the verifier: of one kernel version only
};
using Programs = std::map<std::string, Counts>;

struct Object {
  const char* name;
  const void* (*elf)(std::size_t* size);
};
const std::vector<Object> kObjects = {
    {"sl_sock", sl_sock__elf_bytes}, {"sl_tc", sl_tc__elf_bytes}, {"sl_xdp", sl_xdp__elf_bytes}};

std::filesystem::path CountsFile() {
  return std::filesystem::path(SLUICE_SOURCE_DIR) / "test/bpf/instruction_counts.txt";
}

std::string KernelVersion() {
  utsname name{};
  uname(&name);
  const std::string release = name.release;
  return release.substr(0, release.find('.', release.find('.') + 1));
}

absl::StatusOr<Programs> Load(const Object& object) {
  std::size_t size = 0;
  const auto* elf = static_cast<const std::byte*>(object.elf(&size));
  absl::StatusOr<BpfObject> loaded = LoadObject({elf, size}, SmallMaps());
  if (!loaded.ok()) return loaded.status();
  Programs programs;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, loaded->get()) {
    if (bpf_program__fd(program) < 0) continue;  // one that the kernel refuses: IsHere
    bpf_prog_info facts{};
    __u32 length = sizeof(facts);
    if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &facts, &length) != 0) {
      return absl::InternalError("program facts");
    }
    programs[bpf_program__name(program)] = {facts.xlated_prog_len / sizeof(bpf_insn),
                                            facts.verified_insns};
  }
  return programs;
}

// Lines "program instructions verified", and "kernel version".
Programs ReadCounts(std::string* kernel) {
  Programs programs;
  std::ifstream file(CountsFile());
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string name;
    words >> name;
    if (name == "kernel") {
      words >> *kernel;
    } else {
      words >> programs[name].instructions >> programs[name].verified;
    }
  }
  return programs;
}

void WriteCounts(const Programs& programs) {
  std::ofstream file(CountsFile());
  file << "# Written by load_test, which says how. Program, instructions, verified instructions.\n"
       << "kernel " << KernelVersion() << "\n";
  for (const auto& [name, counts] : programs) {
    file << name << " " << counts.instructions << " " << counts.verified << "\n";
  }
}

bool Grown(std::uint64_t now, std::uint64_t before) { return now * 10 > before * 11; }

// Walks over socket storage, which some kernels are hardened against: nothing is known of them
// there.
bool IsHere(const std::string& program) {
  static const bool walks = TakesIterator("bpf_sk_storage_map");
  return walks || (program != names::kWalkTcp && program != names::kWalkUdp);
}

TEST(LoadTest, EveryObjectPassesTheVerifierAndHasNotGrown) {
  Programs now;
  for (const Object& object : kObjects) {
    const absl::StatusOr<Programs> programs = Load(object);
    ASSERT_THAT(programs, IsOk()) << object.name;
    now.insert(programs->begin(), programs->end());
  }
  for (const auto& [name, counts] : now) {
    std::cout << absl::StrCat(name, ": ", counts.instructions, " instructions, ", counts.verified,
                              " verified\n");
  }
  if (std::getenv("SLUICE_UPDATE_INSTRUCTION_COUNTS") != nullptr) {
    std::string unused;
    for (const auto& [name, counts] : ReadCounts(&unused)) {
      if (!IsHere(name)) now[name] = counts;
    }
    WriteCounts(now);
  }

  std::string kernel;
  Programs before = ReadCounts(&kernel);
  for (Programs* programs : {&before, &now}) {
    std::erase_if(*programs, [](const auto& program) { return !IsHere(program.first); });
  }
  ASSERT_EQ(before.size(), now.size()) << "programs came or went: update the file";
  for (const auto& [name, counts] : now) {
    ASSERT_TRUE(before.contains(name)) << name;
    EXPECT_FALSE(Grown(counts.instructions, before.at(name).instructions))
        << name << ": " << counts.instructions << " instructions, were "
        << before.at(name).instructions;
    if (kernel != KernelVersion()) continue;  // each verifier walks its own way
    EXPECT_FALSE(Grown(counts.verified, before.at(name).verified))
        << name << ": " << counts.verified << " verified, were " << before.at(name).verified;
  }
}

TEST(LoadTest, WalksOverSocketStoragePassTheVerifier) {
  if (!IsHere(names::kWalkTcp)) GTEST_SKIP() << "this kernel refuses walks over socket storage";
  const absl::StatusOr<Programs> sockets = Load(kObjects.front());
  ASSERT_THAT(sockets, IsOk());
  EXPECT_TRUE(sockets->contains(names::kWalkTcp));
  EXPECT_TRUE(sockets->contains(names::kWalkUdp));
}

TEST(LoadTest, KnowsEveryObjectOfTheTree) {
  std::set<std::string> known;
  for (const Object& object : kObjects) known.insert(absl::StrCat(object.name, ".bpf.c"));
  std::set<std::string> there;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(SLUICE_SOURCE_DIR) / "bpf")) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".bpf.c")) there.insert(name);
  }
  EXPECT_EQ(known, there);
}

// What the kernel keeps of a name: 15 characters, the rest is cut without a word.
TEST(LoadTest, NoNameIsCut) {
  std::size_t size = 0;
  const auto* elf = static_cast<const std::byte*>(sl_tc__elf_bytes(&size));
  const absl::StatusOr<BpfObject> object = LoadObject({elf, size}, SmallMaps());
  ASSERT_THAT(object, IsOk());
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object->get()) {
    if (std::string(bpf_map__name(map)).find('.') != std::string::npos) {
      continue;  // sections of constants and variables: named by libbpf
    }
    EXPECT_LE(std::string(bpf_map__name(map)).size(), 15u) << bpf_map__name(map);
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object->get()) {
    EXPECT_LE(std::string(bpf_program__name(program)).size(), 15u) << bpf_program__name(program);
  }
}

}  // namespace
}  // namespace sluice::testing
