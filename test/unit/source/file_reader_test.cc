// SPDX-License-Identifier: Apache-2.0
#include "control/source/file_reader.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/scratch_folder.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::testing::HasSubstr;
using testing::StatusIs;

constexpr std::size_t kLimit = std::size_t{1} << 20;

class FileReaderTest : public ::testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_, std::ios::trunc) << text; }

  const testing::ScratchFolder scratch_;
  const std::string path_ = scratch_.path() + "/file";
};

TEST_F(FileReaderTest, ReadsFilesOfEverySize) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{65535},
                                 std::size_t{65536}, std::size_t{65537}, kLimit}) {
    const std::string text(size, 'x');
    Write(text);
    const absl::StatusOr<FileText> file = ReadFile(path_, kLimit);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->text, text);
    EXPECT_EQ(file->stamp, *StampOf(path_));
    EXPECT_EQ(file->stamp.size, size);
  }
}

TEST_F(FileReaderTest, RefusesWhatIsTooLongWithoutReadingIt) {
  Write("x");
  std::filesystem::resize_file(path_, std::size_t{200} << 20);  // a hole: no disk is used
  EXPECT_THAT(ReadFile(path_, kLimit),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("has 209715200 bytes, more than the 1048576 that are read")));
}

TEST_F(FileReaderTest, TellsWhatIsNotThereFromWhatIsNoFile) {
  EXPECT_THAT(ReadFile(path_, kLimit), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(StampOf(path_), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);  // opening it would block for ever
  EXPECT_THAT(ReadFile(path_, kLimit),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is not a regular file")));
  EXPECT_THAT(ReadFile("/proc/self/mem", kLimit), StatusIs(absl::StatusCode::kInternal));
}

TEST_F(FileReaderTest, StampsTellAReplacedFileOfTheSameLength) {
  Write("a");
  const FileStamp before = *StampOf(path_);
  std::ofstream(path_ + ".new") << "b";
  std::filesystem::rename(path_ + ".new", path_);
  EXPECT_NE(*StampOf(path_), before);
}

}  // namespace
}  // namespace sluice
