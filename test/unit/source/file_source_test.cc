// SPDX-License-Identifier: Apache-2.0
// The file source over a real folder and a real event loop.
#include "control/source/file_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/fake_cluster_sink.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using testing::FakeClusterSink;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::IsOk;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;
using testing::StatusIs;

// Longer than any machine needs to deliver an event; only a test that fails waits for it.
constexpr absl::Duration kPatience = absl::Seconds(20);
// Short, so that tests are; the sources' own defaults are longer.
constexpr absl::Duration kQuiet = absl::Milliseconds(40);

std::string Service(const std::string& name, int port = 80, const std::string& more = "") {
  return absl::StrCat("---\napiVersion: v1\nkind: Service\nmetadata: {name: ", name,
                      "}\nspec: {ports: [{port: ", port, "}]", more, "}\n");
}

class FileSourceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/sluice-source-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    base_ = name;
    folder_ = base_ + "/manifests";
    state_ = base_ + "/state";
    std::filesystem::create_directory(folder_);
    std::filesystem::create_directory(state_);
    loop_ = *EventLoop::Create();
    options_.path = folder_;
    options_.state_dir = state_;
    options_.defaults.service_cidrs = {*IpPrefix::Parse("10.96.0.0/16")};
    options_.quiet = kQuiet;
    options_.write_timeout = absl::Milliseconds(100);
    options_.rescan_interval = absl::Hours(1);  // so that events have to do
  }
  void TearDown() override {
    source_.reset();
    std::filesystem::remove_all(base_);
  }

  void Start() {
    source_.reset();
    sink_ = FakeClusterSink();
    absl::StatusOr<std::unique_ptr<FileSource>> source =
        FileSource::Create(options_, *loop_, clock_);
    ASSERT_THAT(source, IsOk());
    source_ = *std::move(source);
    ASSERT_THAT(source_->Start(sink_), IsOk());
  }

  static void WriteTo(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
  }
  void Write(const std::string& name, const std::string& text) {
    WriteTo(folder_ + "/" + name, text);
  }
  // As editors that keep the old file until the new one is complete.
  void WriteAndRename(const std::string& name, const std::string& text) {
    WriteTo(folder_ + "/." + name + ".tmp", text);
    std::filesystem::rename(folder_ + "/." + name + ".tmp", folder_ + "/" + name);
  }
  void Remove(const std::string& name) { std::filesystem::remove(folder_ + "/" + name); }

  // Runs the loop until `done`; false when that takes too long.
  bool RunUntil(const std::function<bool()>& done) {
    bool timed_out = false;
    const EventLoop::TimerId timer = loop_->RunAfter(kPatience, [&] {
      timed_out = true;
      loop_->Stop();
    });
    std::function<void()> check = [&] {
      if (done()) {
        loop_->Stop();
      } else if (!timed_out) {
        loop_->RunAfter(absl::Milliseconds(1), check);
      }
    };
    check();
    loop_->Run();
    loop_->Cancel(timer);
    return !timed_out;
  }
  // Runs the loop for a while in which nothing is expected to happen.
  void RunFor(absl::Duration time) {
    loop_->RunAfter(time, [this] { loop_->Stop(); });
    loop_->Run();
  }
  bool Has(const std::string& name) { return sink_.services.contains("default/" + name); }
  int PortOf(const std::string& name) {
    const auto it = sink_.services.find("default/" + name);
    return it == sink_.services.end() ? 0 : it->second.spec().ports(0).port();
  }
  std::string AddressOf(const std::string& name) {
    return sink_.services.at("default/" + name).spec().cluster_ip();
  }

  std::string base_;
  std::string folder_;
  std::string state_;
  SystemClock clock_;
  std::unique_ptr<EventLoop> loop_;
  FileSourceOptions options_;
  FakeClusterSink sink_;
  std::unique_ptr<FileSource> source_;
};

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

TEST_F(FileSourceTest, WaitsForAPathThatIsNotThereYet) {
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

TEST_F(FileSourceTest, AFolderThatGoesLeavesWhatItSaidAndIsFoundAgain) {
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

TEST_F(FileSourceTest, BadDocumentsAreReportedWithFileAndLineAndLoseNothing) {
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

TEST_F(FileSourceTest, BadDocumentsDoNotHoldUpTheFirstSync) {
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

TEST_F(FileSourceTest, AFileThatGrowsTooLongKeepsWhatItSaid) {
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

TEST_F(FileSourceTest, AFileThatCannotBeReadKeepsWhatItSaidAndHoldsUpTheFirstSync) {
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
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/a", "default/b"));
  reads.failures.clear();
  source_->Refresh();  // tried again, though the file is the same
  EXPECT_THAT(sink_.ServiceNames(), ElementsAre("default/b", "default/c"));
}

TEST_F(FileSourceTest, AFileThatVanishesWhileItIsReadIsADeletion) {
  FailingReads reads(options_);
  Write("f.yaml", Service("a"));
  Start();
  Write("f.yaml", Service("a", 2));
  reads.failures[folder_ + "/f.yaml"] = absl::NotFoundError("open");
  ASSERT_TRUE(RunUntil([&] { return !Has("a"); }));
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
}

TEST_F(FileSourceTest, AFileThatChangesWhileItIsReadIsReadAgain) {
  FailingReads reads(options_);
  Write("f.yaml", Service("a"));
  reads.failures[folder_ + "/f.yaml"] = absl::UnavailableError("was written to");
  Start();
  EXPECT_EQ(sink_.synced, 0u);
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
  reads.failures.clear();
  ASSERT_TRUE(RunUntil([&] { return Has("a") && sink_.synced == 1; }));
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

TEST_F(FileSourceTest, GivenAddressesAndPortsSurviveARestart) {
  Write("m.yaml", Service("m", 80, ", type: NodePort"));
  Start();
  const model::Service before = sink_.services.at("default/m");
  EXPECT_THAT(before.spec().cluster_ip(), StartsWith("10.96."));
  EXPECT_GE(before.spec().ports(0).node_port(), 30000);
  for (int i = 0; i < 50; ++i) Write(absl::StrCat("a", i, ".yaml"), Service(absl::StrCat("a", i)));
  Start();
  EXPECT_EQ(sink_.services.at("default/m").ShortDebugString(), before.ShortDebugString());
}

TEST_F(FileSourceTest, ABadStartDoesNotForgetWhatWasGiven) {
  // Two Services that want the only address but one: who had it keeps it, also when its manifest
  // cannot be read for a while.
  options_.defaults.service_cidrs = {*IpPrefix::Parse("10.0.0.0/30")};
  Write("b.yaml", Service("b"));
  Start();
  const std::string given = AddressOf("b");
  Write("b.yaml", "kind: [\n");
  Write("a.yaml", Service("a"));
  Start();
  EXPECT_NE(AddressOf("a"), given);
  Write("b.yaml", Service("b"));
  ASSERT_TRUE(RunUntil([&] { return Has("b"); }));
  EXPECT_EQ(AddressOf("b"), given);
}

TEST_F(FileSourceTest, WhatWasGivenIsOnDiskAndDamageToItIsReported) {
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

TEST_F(FileSourceTest, AStoreThatCannotBeWrittenIsReportedUntilItCan) {
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

TEST_F(FileSourceTest, ServicesThatGoWithoutAreReportedWhereTheyAreWritten) {
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

TEST_F(FileSourceTest, ManyProblemsOfOneFileAreCutShort) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += Service(absl::StrCat("a", i), 0);
  Write("f.yaml", text);
  Start();
  EXPECT_THAT(sink_.problems.at(folder_ + "/f.yaml"), SizeIs(101));
  EXPECT_THAT(sink_.problems.at(folder_ + "/f.yaml").back().message, HasSubstr("has 400 more"));
}

TEST_F(FileSourceTest, OtherKindsAreCountedAndNotReported) {
  Write("f.yaml", Service("a") + "---\nkind: Deployment\n---\nkind: Deployment\n");
  Start();
  EXPECT_THAT(sink_.ProblemText(), IsEmpty());
  EXPECT_THAT(source_->Ignored(), ElementsAre(::testing::Pair("Deployment", 2)));
}

TEST_F(FileSourceTest, SaysNothingAfterStop) {
  Write("f.yaml", Service("a"));
  Start();
  Remove("f.yaml");
  source_->Stop();
  sink_.log.clear();
  RunFor(kQuiet * 2);
  source_->Refresh();
  EXPECT_THAT(sink_.log, IsEmpty());
}

TEST_F(FileSourceTest, RefusesAConfigurationThatCannotBeRight) {
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
