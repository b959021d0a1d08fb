// SPDX-License-Identifier: Apache-2.0
#include "control/agent/http_server.h"

#include <httplib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"

#include "test/support/netns.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

void Hello(httplib::Server& server) {
  server.Get("/hello", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("there", "text/plain");
  });
}

TEST(BindAddressTest, HasAHostAndAPort) {
  EXPECT_THAT(ParseBindAddress("192.0.2.1:80", 1), IsOkAndHolds(BindAddress{"192.0.2.1", 80}));
  EXPECT_THAT(ParseBindAddress("[2001:db8::1]:80", 1),
              IsOkAndHolds(BindAddress{"2001:db8::1", 80}));
  EXPECT_THAT(ParseBindAddress("[::]:80", 1), IsOkAndHolds(BindAddress{"::", 80}));
  EXPECT_THAT(ParseBindAddress(":80", 1), IsOkAndHolds(BindAddress{"0.0.0.0", 80}));
  EXPECT_THAT(ParseBindAddress("192.0.2.1", 7), IsOkAndHolds(BindAddress{"192.0.2.1", 7}));
  EXPECT_THAT(ParseBindAddress("2001:db8::1", 7), IsOkAndHolds(BindAddress{"2001:db8::1", 7}));
}

TEST(BindAddressTest, RefusesWhatIsNone) {
  for (const char* bad : {"host:80", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:65536", "[::1",
                          "[::1]80", "[::1]:", "192.0.2.1:-1"}) {
    EXPECT_THAT(ParseBindAddress(bad, 1), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
  }
}

class UnixServerTest : public ::testing::Test {
 protected:
  UnixServerTest() : path_(absl::StrCat(::testing::TempDir(), "http-", ::getpid(), ".sock")) {}
  ~UnixServerTest() override { std::filesystem::remove(path_); }

  std::string Ask() {
    httplib::Client client(path_);
    client.set_address_family(AF_UNIX);
    const httplib::Result result = client.Get("/hello");
    return result ? result->body : "";
  }

  const std::string path_;
};

TEST_F(UnixServerTest, AnswersAndIsForItsOwnerOnly) {
  const auto server = HttpServer::ListenUnix(path_, Hello);
  ASSERT_THAT(server, IsOk());
  EXPECT_EQ(Ask(), "there");
  struct stat found {};
  ASSERT_EQ(::stat(path_.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777u, 0600u);
}

TEST_F(UnixServerTest, TakesThePlaceOfASocketLeftBehind) {
  const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  ASSERT_LT(path_.size(), sizeof(address.sun_path));
  path_.copy(address.sun_path, path_.size());
  ASSERT_EQ(::bind(left, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ::close(left);
  ASSERT_TRUE(std::filesystem::exists(path_));
  const auto server = HttpServer::ListenUnix(path_, Hello);
  ASSERT_THAT(server, IsOk());
  EXPECT_EQ(Ask(), "there");
}

TEST_F(UnixServerTest, LeavesNoSocketBehind) {
  { ASSERT_THAT(HttpServer::ListenUnix(path_, Hello), IsOk()); }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST(TcpServerTest, APortInUseIsToldApart) {
  const auto netns = NetNs::Create();
  ASSERT_THAT(netns, IsOk());
  const auto first = HttpServer::ListenTcp("127.0.0.1:1080", 1, Hello);
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(HttpServer::ListenTcp("127.0.0.1:1080", 1, Hello),
              StatusIs(absl::StatusCode::kAlreadyExists, ::testing::HasSubstr("127.0.0.1:1080")));
  httplib::Client client("127.0.0.1", 1080);
  const httplib::Result result = client.Get("/hello");
  ASSERT_TRUE(result);
  EXPECT_EQ(result->body, "there");
}

}  // namespace
}  // namespace sluice::testing
