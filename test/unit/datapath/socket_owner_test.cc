// SPDX-License-Identifier: Apache-2.0
#include "control/datapath/socket_owner.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"

#include "control/base/unique_fd.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(FindSocketOwnersTest, FindsThisProcess) {
  const UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  struct stat found {};
  ASSERT_EQ(::fstat(socket.get(), &found), 0);
  const auto inode = static_cast<std::uint32_t>(found.st_ino);
  EXPECT_THAT(
      FindSocketOwners({inode, 0xffffffff}),
      ElementsAre(Pair(inode, ::testing::EndsWith(absl::StrCat(" (process ", ::getpid(), ")")))));
}

TEST(FindSocketOwnersTest, OfSeveralProcessesTheFirstIsNamed) {
  const std::string proc = absl::StrCat(::testing::TempDir(), "proc-", ::getpid());
  for (const char* id : {"20", "100", "self"}) {
    fs::create_directories(absl::StrCat(proc, "/", id, "/fd"));
    std::ofstream(absl::StrCat(proc, "/", id, "/comm")) << "worker-" << id << "\n";
    fs::create_symlink("socket:[7]", absl::StrCat(proc, "/", id, "/fd/3"));
    fs::create_symlink("/etc/passwd", absl::StrCat(proc, "/", id, "/fd/4"));
  }
  EXPECT_THAT(FindSocketOwners({7, 8}, proc), ElementsAre(Pair(7u, "worker-20 (process 20)")));
  EXPECT_THAT(FindSocketOwners({}, proc), IsEmpty());
  fs::remove_all(proc);
}

}  // namespace
}  // namespace sluice
