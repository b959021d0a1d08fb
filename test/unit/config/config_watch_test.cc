// SPDX-License-Identifier: Apache-2.0
#include "control/config/config_watch.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

namespace fs = std::filesystem;

// A folder as the kubelet makes it of a ConfigMap: config -> ..data/config, ..data -> a folder.
class ConfigWatchTest : public ::testing::Test {
 protected:
  ConfigWatchTest() {
    fs::create_directories(folder_);
    Publish("1", "one");
    fs::create_symlink("..data/config", path_);
  }
  ~ConfigWatchTest() override { fs::remove_all(folder_); }

  void Publish(const std::string& version, const std::string& text) {
    fs::create_directories(absl::StrCat(folder_, "/", version));
    std::ofstream(absl::StrCat(folder_, "/", version, "/config")) << text;
    fs::create_symlink(version, folder_ + "/..new");
    fs::rename(folder_ + "/..new", folder_ + "/..data");
  }

  // Looks for as long as some looks of the watch take.
  bool Changes() {
    bool changed = false;
    const ConfigWatch watch(
        path_, "one", *loop_,
        [&] {
          changed = true;
          loop_->Stop();
        },
        absl::Milliseconds(1));
    loop_->RunAfter(absl::Milliseconds(50), [this] { loop_->Stop(); });
    loop_->Run();
    return changed;
  }

  const std::string folder_ = absl::StrCat(::testing::TempDir(), "config-watch-", ::getpid());
  const std::string path_ = folder_ + "/config";
  std::unique_ptr<EventLoop> loop_ = *EventLoop::Create();
};

TEST_F(ConfigWatchTest, AConfigMapThatIsTurnedToOtherTextIsAChange) {
  EXPECT_FALSE(Changes());
  Publish("2", "one");
  EXPECT_FALSE(Changes());
  Publish("3", "two");
  EXPECT_TRUE(Changes());
}

TEST_F(ConfigWatchTest, AFileThatIsGoneOrEmptyIsWaitedFor) {
  fs::remove(folder_ + "/1/config");
  EXPECT_FALSE(Changes());
  std::ofstream(folder_ + "/1/config").close();
  EXPECT_FALSE(Changes());
}

TEST_F(ConfigWatchTest, AFileIsReadWholeUpToALimit) {
  EXPECT_THAT(ReadConfigFile(path_), IsOkAndHolds("one"));
  EXPECT_THAT(ReadConfigFile(folder_ + "/none"), StatusIs(absl::StatusCode::kNotFound));
  Publish("4", std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(ReadConfigFile(path_), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace sluice::testing
