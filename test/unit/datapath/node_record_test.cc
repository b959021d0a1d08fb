// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/node_record.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;

class NodeRecordTest : public ::testing::Test {
 protected:
  NodeRecordTest() : folder_(absl::StrCat(::testing::TempDir(), "node-record-", ::getpid())) {}
  ~NodeRecordTest() override { std::filesystem::remove_all(folder_); }

  const std::string folder_;
};

TEST_F(NodeRecordTest, IsEmptyBeforeAnythingWasWritten) {
  const auto record = NodeRecord::Open(folder_ + "/deeper");
  ASSERT_THAT(record, IsOk());
  EXPECT_EQ(record->changes(), NodeChanges{});
}

TEST_F(NodeRecordTest, ReadsBackWhatWasWritten) {
  NodeChanges changes;
  changes.clsact[3] = {"eth0.7 \"x\"", true};
  changes.clsact[9] = {"cali1", false};
  changes.reserved_ports = "20000-32767";
  auto record = NodeRecord::Open(folder_);
  ASSERT_THAT(record, IsOk());
  ASSERT_THAT(record->Write(changes), IsOk());
  EXPECT_EQ(record->changes(), changes);
  const auto again = NodeRecord::Open(folder_);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->changes(), changes);
}

TEST_F(NodeRecordTest, RefusesWhatIsNoRecordAndLeavesIt) {
  std::filesystem::create_directories(folder_);
  for (const char* text : {"", "{", "[]", "{\"clsact\": 3, \"reservedPorts\": \"\"}"}) {
    std::ofstream(folder_ + "/node.json") << text;
    EXPECT_THAT(NodeRecord::Open(folder_),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("node.json")))
        << text;
    EXPECT_EQ(std::filesystem::file_size(folder_ + "/node.json"), std::string(text).size());
  }
}

TEST_F(NodeRecordTest, SaysWhereThePinsAre) {
  ASSERT_THAT(NodeRecord::Open(folder_), IsOk());
  ASSERT_THAT(WriteBpffsRecord(folder_, "/sys/fs/bpf/x"), IsOk());
  std::ifstream file(folder_ + "/bpffs");
  std::string line;
  std::getline(file, line);
  EXPECT_EQ(line, "/sys/fs/bpf/x");
}

}  // namespace
}  // namespace sluice::testing
