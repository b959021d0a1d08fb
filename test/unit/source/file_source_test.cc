// SPDX-License-Identifier: Apache-2.0
// The file source over a real folder and a real event loop.
#include "control/source/file_source.h"

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

#include "test/support/status_matchers.h"
#include "test/unit/source/file_source_fixture.h"

namespace sluice {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kQuiet;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

using testing::Service;

class FileSourceTest : public testing::FileSourceFixture {};

TEST_F(FileSourceTest, SaysWhatIsThereAndThenSynced) {
  Write("b.yaml", Service("b") +
                      "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                      "metadata: {name: b-1, labels: {kubernetes.io/service-name: b}}\n"
                      "addressType: IPv4\nports: [{port: 8080}]\n"
                      "endpoints: [{addresses: [192.0.2.1]}]\n");
  Write("a.json", R"({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}})");
  Write("c.yml", Service("c"));
  for (const char* name :
       {".hidden.yaml", "b.yaml~", "#b.yaml#", "4913", ".b.yaml.swp", "notes.txt", "b.yaml.bak"}) {
    Write(name, Service("wrong"));
  }
  std::filesystem::create_directory(folder_ + "/deeper");
  WriteTo(folder_ + "/deeper/x.yaml", Service("wrong"));
  Start();
  EXPECT_THAT(sink_.log, ElementsAre("set EndpointSlice default/b-1", "set Node node-a",
                                     "set Service default/b", "set Service default/c", "synced"));
  EXPECT_EQ(sink_.slices.at("default/b-1").ports(0).protocol(), "TCP");
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
  EXPECT_EQ(source_->Generation(), 1u);
  EXPECT_EQ(source_->file_count(), 3u);
}

TEST_F(FileSourceTest, AnEmptyFolderIsAnEmptyCluster) {
  Start();
  EXPECT_THAT(sink_.log, ElementsAre("synced"));
}

TEST_F(FileSourceTest, ChangesAreLiveHoweverTheyAreWritten) {
  Start();
  Write("f.yaml", Service("a", 1));
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 1; }));
  WriteAndRename("f.yaml", Service("a", 2));
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 2; }));
  // As vim with backupcopy=no: the old file away first, then a new one.
  std::filesystem::rename(folder_ + "/f.yaml", folder_ + "/f.yaml~");
  Write("f.yaml", Service("a", 3));
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 3; }));
  std::filesystem::create_hard_link(folder_ + "/f.yaml~", folder_ + "/g.yaml");
  WriteTo(base_ + "/elsewhere", Service("c", 4));
  std::filesystem::create_symlink(base_ + "/elsewhere", folder_ + "/h.yaml");
  ASSERT_TRUE(RunUntil([&] { return PortOf("c") == 4; }));
  EXPECT_THAT(sink_.log, Not(Contains(StartsWith("delete"))));
  Remove("h.yaml");
  ASSERT_TRUE(RunUntil([&] { return !Has("c"); }));
  EXPECT_TRUE(Has("a"));
}

TEST_F(FileSourceTest, OnlyWhatChangedIsSaidAgain) {
  Write("f.yaml", Service("a") + Service("b"));
  Write("g.yaml", Service("c"));
  Start();
  sink_.log.clear();
  const std::uint64_t before = source_->Generation();
  Write("f.yaml", Service("a") + Service("b", 81));
  ASSERT_TRUE(RunUntil([&] { return PortOf("b") == 81; }));
  EXPECT_THAT(sink_.log, ElementsAre("set Service default/b"));
  EXPECT_EQ(source_->Generation(), before + 1);
  WriteAndRename("f.yaml", Service("a") + Service("b", 81));
  RunFor(kQuiet * 3);
  EXPECT_EQ(source_->Generation(), before + 1);  // nothing new was taken in
}

TEST_F(FileSourceTest, AFileThatIsBeingWrittenIsNotReadAsDeletions) {
  Write("f.yaml", Service("a") + Service("b"));
  Start();
  std::FILE* file = std::fopen((folder_ + "/f.yaml").c_str(), "w");  // truncates
  std::fputs(Service("a", 2).c_str(), file);
  std::fflush(file);
  RunFor(kQuiet);
  source_->Refresh();
  EXPECT_TRUE(Has("b"));
  EXPECT_EQ(PortOf("a"), 80);
  std::fputs(Service("b", 3).c_str(), file);
  std::fclose(file);
  ASSERT_TRUE(RunUntil([&] { return PortOf("b") == 3; }));
  EXPECT_EQ(PortOf("a"), 2);
  EXPECT_THAT(sink_.log, Not(Contains(StartsWith("delete"))));
}

TEST_F(FileSourceTest, AFileThatStaysOpenIsReadAfterAWhile) {
  Start();
  std::FILE* file = std::fopen((folder_ + "/f.yaml").c_str(), "w");
  std::fputs(Service("a").c_str(), file);
  std::fflush(file);
  EXPECT_TRUE(RunUntil([&] { return Has("a"); }));
  std::fclose(file);
}

TEST_F(FileSourceTest, DeletionsWaitUntilItIsQuietUnlessAsked) {
  options_.quiet = absl::Hours(1);
  Write("f.yaml", Service("a") + Service("b"));
  Write("g.yaml", Service("c"));
  Start();
  Write("f.yaml", Service("a", 2));
  Remove("g.yaml");
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 2; }));
  RunFor(absl::Milliseconds(50));
  EXPECT_THAT(sink_.ServiceNames(), SizeIs(3));
  source_->Refresh();
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/a"));
}

TEST_F(FileSourceTest, AStreamOfOtherChangesDoesNotHoldADeletionUp) {
  Write("f.yaml", Service("a"));
  Start();
  Remove("f.yaml");
  int version = 1;
  ASSERT_TRUE(RunUntil([&] {
    Write("g.yaml", Service("b", ++version % 60000 + 1));
    return !Has("a");
  }));
}

TEST_F(FileSourceTest, RefreshTakesInWhatWasJustWritten) {
  Start();
  for (int i = 1; i <= 20; ++i) {  // the same length and, likely, the same time stamp
    Write("f.yaml", Service("a", 100 + i));
    source_->Refresh();
    ASSERT_EQ(PortOf("a"), 100 + i);
  }
  const std::uint64_t generation = source_->Generation();
  source_->Refresh();
  EXPECT_EQ(source_->Generation(), generation);
  Remove("f.yaml");
  source_->Refresh();
  EXPECT_FALSE(Has("a"));
}

TEST_F(FileSourceTest, FollowsAVolumesLinks) {
  // As kubelet writes a ConfigMap: files are links through ..data, which is turned in one step.
  const auto publish = [&](const std::string& version, const std::string& text) {
    std::filesystem::create_directory(folder_ + "/.." + version);
    WriteTo(folder_ + "/.." + version + "/f.yaml", text);
    std::filesystem::create_directory_symlink(".." + version, folder_ + "/..data_tmp");
    std::filesystem::rename(folder_ + "/..data_tmp", folder_ + "/..data");
  };
  publish("1", Service("a", 1) + Service("b"));
  std::filesystem::create_symlink("..data/f.yaml", folder_ + "/f.yaml");
  Start();
  EXPECT_EQ(PortOf("a"), 1);
  publish("2", Service("a", 2));
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 2 && !Has("b"); }));
  std::filesystem::remove_all(folder_ + "/..1");
  RunFor(kQuiet * 2);
  EXPECT_EQ(PortOf("a"), 2);
}

TEST_F(FileSourceTest, FollowsASingleFile) {
  Write("f.yaml", Service("a", 1));
  Write("g.yaml", Service("other"));
  options_.path = folder_ + "/f.yaml";
  Start();
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/a"));
  WriteAndRename("f.yaml", Service("a", 2));
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 2; }));
  Write("f.yaml", Service("a", 3));
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 3; }));
  Remove("f.yaml");
  ASSERT_TRUE(RunUntil([&] { return !sink_.problems.empty(); }));
  EXPECT_THAT(sink_.ProblemText(), HasSubstr("f.yaml: cannot be read"));
  RunFor(kQuiet * 3);
  EXPECT_TRUE(Has("a"));
  Write("f.yaml", Service("b"));
  ASSERT_TRUE(RunUntil([&] { return Has("b") && !Has("a"); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
}

TEST_F(FileSourceTest, RescansForWhatNoEventTells) {
  options_.rescan_interval = absl::Milliseconds(30);
  WriteTo(base_ + "/elsewhere", Service("a", 1));
  std::filesystem::create_symlink(base_ + "/elsewhere", folder_ + "/f.yaml");
  Start();
  EXPECT_EQ(PortOf("a"), 1);
  WriteTo(base_ + "/elsewhere", Service("a", 2));  // outside of the folder that is watched
  EXPECT_TRUE(RunUntil([&] { return PortOf("a") == 2; }));
}

TEST_F(FileSourceTest, MoreEventsThanTheKernelKeepsAreMadeUpForByAScan) {
  Start();
  std::ifstream limit_file("/proc/sys/fs/inotify/max_queued_events");
  int limit = 0;
  ASSERT_TRUE(limit_file >> limit);
  ASSERT_LE(limit, 1 << 20);
  // Two names in turn, so that the kernel cannot fold equal events into one.
  const std::string names[] = {folder_ + "/x", folder_ + "/y"};
  for (const std::string& name : names) WriteTo(name, "");
  for (int i = 0; i < limit; ++i) ASSERT_EQ(::chmod(names[i % 2].c_str(), 0600), 0);
  Write("f.yaml", Service("a"));
  ASSERT_TRUE(RunUntil([&] { return Has("a"); }));
}

TEST_F(FileSourceTest, ObjectsInTwoFilesAreReportedWithBothPlaces) {
  Write("f.yaml", Service("a", 1));
  Write("g.yaml", Service("a", 2) + Service("b"));
  Start();
  EXPECT_EQ(PortOf("a"), 1);
  EXPECT_EQ(sink_.ProblemText(), absl::StrCat("Service default/a: ", folder_,
                                              "/g.yaml:2: is already "
                                              "in ",
                                              folder_,
                                              "/f.yaml:2, which counts: remove one of "
                                              "the two\n"));
  Remove("f.yaml");
  ASSERT_TRUE(RunUntil([&] { return PortOf("a") == 2; }));
  EXPECT_THAT(sink_.log, Not(Contains(StartsWith("delete"))));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
}

TEST_F(FileSourceTest, ARenamedFileDisturbsNothing) {
  Write("f.yaml", Service("a"));
  Start();
  sink_.log.clear();
  std::filesystem::rename(folder_ + "/f.yaml", folder_ + "/z.yaml");
  RunFor(kQuiet * 3);
  EXPECT_THAT(sink_.log, IsEmpty());
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
  Remove("z.yaml");
  EXPECT_TRUE(RunUntil([&] { return !Has("a"); }));
}

}  // namespace
}  // namespace sluice
