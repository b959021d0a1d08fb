// SPDX-License-Identifier: Apache-2.0
// What the file source makes of things that go wrong, and what survives a restart.
#include <sys/stat.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/source/file_source.h"
#include "test/support/status_matchers.h"
#include "test/unit/source/file_source_fixture.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kQuiet;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::StatusIs;

using testing::Service;

class FileSourceFailureTest : public testing::FileSourceFixture {};

TEST_F(FileSourceFailureTest, WaitsForAPathThatIsNotThereYet) {
  std::filesystem::remove(folder_);
  Start();
  EXPECT_EQ(sink_.synced, 0u);
  EXPECT_THAT(sink_.ProblemText(), HasSubstr("No such file or directory"));
  WriteTo(base_ + "/unrelated", "");
  RunFor(kQuiet);
  EXPECT_EQ(sink_.synced, 0u);
  std::filesystem::create_directory(folder_);
  Write("f.yaml", Service("a"));
  ASSERT_TRUE(RunUntil([&] { return sink_.synced == 1 && Has("a"); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
}

TEST_F(FileSourceFailureTest, AFolderThatGoesLeavesWhatItSaidAndIsFoundAgain) {
  Write("f.yaml", Service("a"));
  Start();
  std::filesystem::rename(folder_, base_ + "/away");
  ASSERT_TRUE(RunUntil([&] { return !sink_.problems.empty(); }));
  RunFor(kQuiet * 3);
  EXPECT_TRUE(Has("a"));
  EXPECT_THAT(sink_.ProblemText(), HasSubstr("what it said before stays in force"));
  std::filesystem::create_directory(folder_);
  Write("f.yaml", Service("a", 2) + Service("b"));
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 2 && Has("b"); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
  Write("g.yaml", Service("c"));  // the new folder is watched
  ASSERT_TRUE(RunUntil([&] { return Has("c"); }));
}

TEST_F(FileSourceFailureTest, AFolderThatIsALinkMayBeTurned) {
  for (const char* version : {"/v1", "/v2"}) std::filesystem::create_directory(base_ + version);
  WriteTo(base_ + "/v1/f.yaml", Service("a", 1));
  WriteTo(base_ + "/v2/f.yaml", Service("a", 2));
  options_.path = base_ + "/current";
  std::filesystem::create_directory_symlink("v1", options_.path);
  Start();
  EXPECT_EQ(PortOf("a"), 1);
  std::filesystem::create_directory_symlink("v2", base_ + "/next");
  std::filesystem::rename(base_ + "/next", options_.path);
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 2; }));
  WriteTo(base_ + "/v2/f.yaml", Service("a", 3));  // the new folder is watched
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 3; }));
}

TEST_F(FileSourceFailureTest, BadDocumentsAreReportedWithFileAndLineAndLoseNothing) {
  Write("f.yaml", Service("a") + Service("b"));
  Start();
  Write("f.yaml", Service("a", 70000) + Service("b", 81));
  ASSERT_TRUE(RunUntil([&] { return PortOf("b") == 81; }));
  EXPECT_EQ(PortOf("a"), 80);
  const std::string file = folder_ + "/f.yaml";
  EXPECT_EQ(sink_.ProblemText(),
            "Service default/a: " + file + ":5: spec.ports[0].port: 70000 is not in 1..65535\n");
  EXPECT_THAT(sink_.problems, ElementsAre(::testing::Key(file)));
  Write("f.yaml", "kind: [\n" + Service("b", 82));
  ASSERT_TRUE(RunUntil([&] { return PortOf("b") == 82; }));
  RunFor(kQuiet * 2);
  EXPECT_EQ(PortOf("a"), 80);
  EXPECT_THAT(sink_.ProblemText(), StartsWith(file + ": " + file + ":2: is not YAML"));
  Write("f.yaml", Service("b", 83));
  ASSERT_TRUE(RunUntil([&] { return !Has("a"); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
}

TEST_F(FileSourceFailureTest, BadDocumentsDoNotHoldUpTheFirstSync) {
  Write("f.yaml", "kind: [\n");
  Write("g.yaml", Service("a"));
  WriteTo(folder_ + "/h.yaml", "x");
  std::filesystem::resize_file(folder_ + "/h.yaml", std::size_t{200} << 20);
  Start();
  EXPECT_EQ(sink_.synced, 1u);
  EXPECT_TRUE(Has("a"));
  EXPECT_THAT(sink_.ProblemText(), HasSubstr("f.yaml:2: is not YAML"));
  EXPECT_THAT(sink_.ProblemText(), HasSubstr("has 209715200 bytes, more than the 67108864"));
}

TEST_F(FileSourceFailureTest, AFileThatGrowsTooLongKeepsWhatItSaid) {
  options_.max_file_bytes = 4096;
  Write("f.yaml", Service("a"));
  Start();
  Write("f.yaml", std::string(5000, '#') + "\n" + Service("b"));
  ASSERT_TRUE(RunUntil([&] { return !sink_.problems.empty(); }));
  RunFor(kQuiet * 2);
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/a"));
  Write("f.yaml", Service("b"));
  ASSERT_TRUE(RunUntil([&] { return Has("b") && !Has("a"); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
}

// Reading failures that a root user cannot easily make for real.
class FailingReads {
 public:
  explicit FailingReads(FileSourceOptions& options) {
    options.read = [this](const std::string& path,
                          std::size_t max_bytes) -> absl::StatusOr<FileText> {
      const auto failure = failures.find(path);
      if (failure != failures.end()) return failure->second;
      return ReadFile(path, max_bytes);
    };
  }
  std::map<std::string, absl::Status> failures;
};

TEST_F(FileSourceFailureTest, AFileThatCannotBeReadKeepsWhatItSaidAndHoldsUpTheFirstSync) {
  FailingReads reads(options_);
  const std::string file = folder_ + "/f.yaml";
  Write("f.yaml", Service("a"));
  Write("g.yaml", Service("b"));
  reads.failures[file] = absl::PermissionDeniedError("open: Permission denied");
  Start();
  EXPECT_TRUE(Has("b"));
  EXPECT_EQ(sink_.synced, 0u);  // it may hold anything
  EXPECT_EQ(sink_.ProblemText(), file +
                                     ": cannot be read: open: Permission denied; what it said "
                                     "before stays in force\n");
  reads.failures.clear();
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);  // chmod is an event
  ASSERT_TRUE(RunUntil([&] { return sink_.synced == 1 && Has("a"); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());

  reads.failures[file] = absl::InternalError("read: Input/output error");
  Write("f.yaml", Service("c"));
  ASSERT_TRUE(RunUntil([&] { return !sink_.problems.empty(); }));
  RunFor(kQuiet * 2);
  source_->Refresh();
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/a", "default/b"));
  reads.failures.clear();
  source_->Refresh();  // tried again, though the file is the same
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/b", "default/c"));
}

TEST_F(FileSourceFailureTest, AFileThatVanishesWhileItIsReadIsADeletion) {
  FailingReads reads(options_);
  Write("f.yaml", Service("a"));
  Start();
  Write("f.yaml", Service("a", 2));
  reads.failures[folder_ + "/f.yaml"] = absl::NotFoundError("open");
  ASSERT_TRUE(RunUntil([&] { return !Has("a"); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
}

TEST_F(FileSourceFailureTest, AFileThatChangesWhileItIsReadIsReadAgain) {
  FailingReads reads(options_);
  Write("f.yaml", Service("a"));
  reads.failures[folder_ + "/f.yaml"] = absl::UnavailableError("was written to");
  Start();
  EXPECT_EQ(sink_.synced, 0u);
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
  reads.failures.clear();
  ASSERT_TRUE(RunUntil([&] { return Has("a") && sink_.synced == 1; }));
}

TEST_F(FileSourceFailureTest, GivenAddressesAndPortsSurviveARestart) {
  Write("m.yaml", Service("m", 80, ", type: NodePort"));
  Start();
  const model::Service before = sink_.services.at("default/m");
  EXPECT_THAT(before.spec().cluster_ip(), StartsWith("10.96."));
  EXPECT_GE(before.spec().ports(0).node_port(), 30000);
  for (int i = 0; i < 50; ++i) Write(absl::StrCat("a", i, ".yaml"), Service(absl::StrCat("a", i)));
  Start();
  EXPECT_EQ(sink_.services.at("default/m").ShortDebugString(), before.ShortDebugString());
}

TEST_F(FileSourceFailureTest, ABadStartDoesNotForgetWhatWasGiven) {
  // Two addresses: who had one keeps it, also when its manifest cannot be followed for a while and
  // two others want both.
  options_.defaults.service_cidrs = {*IpPrefix::Parse("10.0.0.0/30")};
  Write("b.yaml", Service("b"));
  Start();
  const std::string given = AddressOf("b");
  Write("b.yaml", "kind: [\n");
  Write("a.yaml", Service("a") + Service("c"));
  Start();
  EXPECT_NE(AddressOf("a"), given);
  EXPECT_NE(AddressOf("c"), given);
  Write("b.yaml", Service("b"));
  ASSERT_TRUE(RunUntil([&] { return Has("b"); }));
  EXPECT_EQ(AddressOf("b"), given);
}

TEST_F(FileSourceFailureTest, WhatWasGivenIsOnDiskAndDamageToItIsReported) {
  Write("a.yaml", Service("a"));
  Start();
  const std::string store = state_ + "/allocations.json";
  std::stringstream text;
  text << std::ifstream(store).rdbuf();
  EXPECT_THAT(text.str(), HasSubstr("\"default/a\""));
  EXPECT_THAT(text.str(), HasSubstr(AddressOf("a")));
  const std::string given = AddressOf("a");
  WriteTo(store, "{");
  Start();
  EXPECT_EQ(AddressOf("a"), given);  // by its hash
  EXPECT_EQ(sink_.synced, 1u);
  EXPECT_THAT(sink_.problems, ElementsAre(::testing::Key(store)));
  EXPECT_THAT(sink_.ProblemText(), HasSubstr("the file is kept as " + store + ".corrupt"));
}

TEST_F(FileSourceFailureTest, AStoreThatCannotBeWrittenIsReportedUntilItCan) {
  std::filesystem::remove(state_);
  Write("a.yaml", Service("a"));
  Start();
  EXPECT_TRUE(Has("a"));
  EXPECT_THAT(sink_.ProblemText(), HasSubstr("cannot be kept: open"));
  std::filesystem::create_directory(state_);
  source_->Refresh();
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
  EXPECT_TRUE(std::filesystem::exists(state_ + "/allocations.json"));
}

TEST_F(FileSourceFailureTest, ServicesThatGoWithoutAreReportedWhereTheyAreWritten) {
  options_.defaults.service_cidrs = {*IpPrefix::Parse("10.0.0.0/30")};
  Write("f.yaml", Service("a") + Service("b"));
  Write("g.yaml", Service("c"));
  Start();
  EXPECT_THAT(sink_.services, SizeIs(3));
  EXPECT_THAT(sink_.ProblemText(),
              StartsWith("Service default/c: " + folder_ + "/g.yaml:2: got no cluster address"));
  Write("f.yaml", Service("b"));
  ASSERT_TRUE(RunUntil([&] { return !AddressOf("c").empty(); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
}

TEST_F(FileSourceFailureTest, ManyProblemsOfOneFileAreCutShort) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += Service(absl::StrCat("a", i), 0);
  Write("f.yaml", text);
  Start();
  EXPECT_THAT(sink_.problems.at(folder_ + "/f.yaml"), SizeIs(101));
  EXPECT_THAT(sink_.problems.at(folder_ + "/f.yaml").back().message, HasSubstr("has 400 more"));
}

TEST_F(FileSourceFailureTest, OtherKindsAreCountedAndNotReported) {
  Write("f.yaml", Service("a") + "---\nkind: Deployment\n---\nkind: Deployment\n");
  Start();
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
  EXPECT_THAT(source_->Ignored(), ElementsAre(::testing::Pair("Deployment", 2)));
}

TEST_F(FileSourceFailureTest, SaysNothingAfterStop) {
  Write("f.yaml", Service("a"));
  Start();
  Remove("f.yaml");
  source_->Stop();
  sink_.log.clear();
  RunFor(kQuiet * 2);
  source_->Refresh();
  EXPECT_THAT(sink_.log, IsEmpty());
}

TEST_F(FileSourceFailureTest, RefusesAConfigurationThatCannotBeRight) {
  const auto create = [&] { return FileSource::Create(options_, *loop_, clock_).status(); };
  options_.defaults.min_node_port = 32768;
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("node ports")));
  options_.defaults.min_node_port = 30000;
  options_.defaults.service_cidrs = {*IpPrefix::Parse("10.0.0.0/8"),
                                     *IpPrefix::Parse("11.0.0.0/8")};
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one a family")));
  options_.defaults.service_cidrs.clear();
  options_.path.clear();
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("path")));
}

}  // namespace
}  // namespace sluice
