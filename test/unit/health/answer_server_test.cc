// SPDX-License-Identifier: Apache-2.0
#include "control/health/answer_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <string_view>

#include "control/health/listen_socket.h"
#include "test/support/netns.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

constexpr std::uint16_t kPort = 1080;

class AnswerServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    netns_ = *NetNs::Create();
    loop_ = *EventLoop::Create();
    server_ =
        *AnswerServer::Start(*ListenSocket("127.0.0.1", kPort), *loop_, [](const HealthQuestion&) {
          return HealthAnswer{.code = 200, .body = "{}", .headers = {}};
        });
  }

  // A client that the server has accepted.
  UniqueFd Connect() {
    UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(kPort);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    loop_->RunAfter(absl::Milliseconds(10), [this] { loop_->Stop(); });
    loop_->Run();
    return client;
  }

  // All that the client hears until its connection ends.
  static std::string Hear(const UniqueFd& client) {
    std::string heard(1000, '\0');
    std::size_t length = 0;
    for (ssize_t got = 0; length < heard.size(); length += static_cast<std::size_t>(got)) {
      got = ::recv(client.get(), &heard[length], heard.size() - length, 0);
      if (got <= 0) break;
    }
    heard.resize(length);
    return heard;
  }

  std::unique_ptr<NetNs> netns_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<AnswerServer> server_;
};

TEST_F(AnswerServerTest, WhoHasConnectedIsAnsweredBeforeItEnds) {
  const UniqueFd client = Connect();
  constexpr std::string_view kRequest = "GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n";
  ASSERT_EQ(::send(client.get(), kRequest.data(), kRequest.size(), 0),
            static_cast<ssize_t>(kRequest.size()));
  server_.reset();
  EXPECT_THAT(Hear(client), ::testing::StartsWith("HTTP/1.1 200 "));
}

TEST_F(AnswerServerTest, WhoDoesNotAskIsNotWaitedForLong) {
  const UniqueFd client = Connect();
  server_.reset();
  EXPECT_EQ(Hear(client), "");
}

}  // namespace
}  // namespace sluice::testing
