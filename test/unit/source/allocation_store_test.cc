// SPDX-License-Identifier: Apache-2.0
#include "control/source/allocation_store.h"

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using testing::StatusIs;

class AllocationStoreTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  static std::string Read(const std::string& path) {
    std::stringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  static Allocations Some() {
    Allocations allocations;
    Allocation& web = allocations[{"default", "web"}];
    web.v4 = *IpAddress::Parse("10.96.1.2");
    web.v6 = *IpAddress::Parse("fd00:10:96::1:2");
    web.node_ports = {{"80/TCP", 30123}, {"53/UDP", 30124}};
    web.health_check_node_port = 32000;
    allocations[{"shop", "db"}].v4 = *IpAddress::Parse("10.96.1.3");
    return allocations;
  }

  const testing::ScratchFolder scratch_;
  const std::string folder_ = scratch_.path();
  const std::string path_ = folder_ + "/allocations.json";
};

TEST_F(AllocationStoreTest, NoFileIsNoAllocationAndNoProblem) {
  const LoadedAllocations loaded = LoadAllocations(path_);
  EXPECT_THAT(loaded.status, IsOk());
  EXPECT_THAT(loaded.allocations, IsEmpty());
}

TEST_F(AllocationStoreTest, LoadsWhatWasSaved) {
  ASSERT_THAT(SaveAllocations(path_, Some()), IsOk());
  const LoadedAllocations loaded = LoadAllocations(path_);
  EXPECT_THAT(loaded.status, IsOk());
  EXPECT_EQ(loaded.allocations, Some());
  ASSERT_THAT(SaveAllocations(path_, {}), IsOk());
  EXPECT_THAT(LoadAllocations(path_).allocations, IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(path_ + ".tmp"));
}

TEST_F(AllocationStoreTest, AFileThatIsDamagedIsPutAsideAndReported) {
  const std::string good = R"({"format": 1, "services": {"default/web": {"ipv4": "10.96.1.2", )"
                           R"("nodePorts": {"80/TCP": 30123}}}})";
  Write(good);
  ASSERT_THAT(LoadAllocations(path_).status, IsOk());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  const std::string bad[] = {"",
                             "{",
                             "[]",
                             good.substr(0, good.size() / 2),
                             with("\"format\": 1", "\"format\": 2"),
                             with("services", "service"),
                             with("default/web", "web"),
                             with("\"10.96.1.2\"", "7"),
                             with("10.96.1.2", "10.96.1.256"),
                             with("10.96.1.2", "fd00::1"),
                             with("30123", "0"),
                             with("30123", "65536"),
                             with("30123", "\"30123\""),
                             with("{\"80/TCP\": 30123}", "[]"),
                             with("{\"ipv4\"", "{\"healthCheckNodePort\": -1, \"ipv4\""),
                             std::string("\0\xff\xfe", 3)};
  for (const std::string& text : bad) {
    Write(text);
    const LoadedAllocations loaded = LoadAllocations(path_);
    EXPECT_THAT(loaded.status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("are chosen anew")))
        << text;
    EXPECT_THAT(loaded.allocations, IsEmpty()) << text;
    EXPECT_FALSE(std::filesystem::exists(path_));
    EXPECT_EQ(Read(path_ + ".corrupt"), text);
  }
}

TEST_F(AllocationStoreTest, AFailedSaveLeavesTheOldFile) {
  ASSERT_THAT(SaveAllocations(path_, Some()), IsOk());
  const std::string before = Read(path_);
  std::filesystem::create_directory(path_ + ".tmp");  // where the new content would be written
  EXPECT_THAT(SaveAllocations(path_, {}).message(), HasSubstr("allocations.json.tmp"));
  EXPECT_EQ(Read(path_), before);
  EXPECT_THAT(SaveAllocations(folder_ + "/no/allocations.json", Some()),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace sluice
