// SPDX-License-Identifier: Apache-2.0
// A file source over a real folder and a real event loop, for the tests of it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "control/source/file_source.h"
#include "test/support/fake_cluster_sink.h"
#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {

// Longer than any machine needs to deliver an event; only a test that fails waits for it.
inline constexpr absl::Duration kPatience = absl::Seconds(20);
// Short, so that tests are; the sources' own defaults are longer.
inline constexpr absl::Duration kQuiet = absl::Milliseconds(40);

// The manifest of a Service.
inline std::string Service(const std::string& name, int port = 80, const std::string& more = "") {
  return absl::StrCat("---\napiVersion: v1\nkind: Service\nmetadata: {name: ", name,
                      "}\nspec: {ports: [{port: ", port, "}]", more, "}\n");
}

class FileSourceFixture : public ::testing::Test {
 protected:
  void SetUp() override {
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
  void TearDown() override { source_.reset(); }

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

  const ScratchFolder scratch_;
  const std::string base_ = scratch_.path();
  const std::string folder_ = base_ + "/manifests";
  const std::string state_ = base_ + "/state";
  SystemClock clock_;
  std::unique_ptr<EventLoop> loop_;
  FileSourceOptions options_;
  FakeClusterSink sink_;
  std::unique_ptr<FileSource> source_;
};

}  // namespace sluice::testing
