// SPDX-License-Identifier: Apache-2.0
#include "control/agent/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "control/base/unique_fd.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

// Listens on `name`, a path or "@name", and gives the first datagram after `send`.
std::string Received(const std::string& name, const std::function<void()>& send) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return "no socket";
  send();
  std::array<char, 256> text{};
  const ssize_t got = ::recv(fd.get(), text.data(), text.size(), 0);
  return got < 0 ? "nothing" : std::string(text.data(), static_cast<std::size_t>(got));
}

TEST(SdNotifyTest, SendsTheStateToAPath) {
  const std::string path = absl::StrCat(::testing::TempDir(), "notify-", ::getpid());
  EXPECT_EQ(Received(path, [&] { EXPECT_THAT(SdNotify(path, "READY=1\nSTATUS=x"), IsOk()); }),
            "READY=1\nSTATUS=x");
  ::unlink(path.c_str());
}

TEST(SdNotifyTest, SendsTheStateToAnAbstractSocket) {
  const std::string name = absl::StrCat("@sluice-notify-", ::getpid());
  EXPECT_EQ(Received(name, [&] { EXPECT_THAT(SdNotify(name, "STOPPING=1"), IsOk()); }),
            "STOPPING=1");
}

TEST(SdNotifyTest, NobodyToTellIsNoError) { EXPECT_THAT(SdNotify("", "READY=1"), IsOk()); }

TEST(SdNotifyTest, RefusesOtherAddresses) {
  EXPECT_THAT(SdNotify("vsock:2:1", "READY=1"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(SdNotify(std::string(200, '/'), "READY=1"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(SdNotify("/no/such/socket", "READY=1"), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace sluice::testing
