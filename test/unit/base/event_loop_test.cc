// SPDX-License-Identifier: Apache-2.0
#include "control/base/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <memory>
#include <thread>
#include <vector>

#include "gmock/gmock.h"

#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;

class EventLoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_THAT(loop, IsOk());
    loop_ = *std::move(loop);
    // So that a callback that never comes fails the test and does not hold it.
    loop_->RunAfter(absl::Seconds(10), [this] {
      ADD_FAILURE() << "the loop still runs";
      loop_->Stop();
    });
  }

  std::unique_ptr<EventLoop> loop_;
  std::vector<int> seen_;
};

TEST_F(EventLoopTest, CallsTimersInTheOrderOfTheirTimes) {
  loop_->RunAfter(absl::Milliseconds(20), [this] {
    seen_.push_back(2);
    loop_->Stop();
  });
  loop_->RunAfter(absl::Milliseconds(1), [this] { seen_.push_back(1); });
  loop_->RunAfter(absl::ZeroDuration(), [this] { seen_.push_back(0); });
  EXPECT_THAT(seen_, ElementsAre());
  loop_->Run();
  EXPECT_THAT(seen_, ElementsAre(0, 1, 2));
}

TEST_F(EventLoopTest, ACancelledTimerIsNotCalled) {
  const auto id = loop_->RunAfter(absl::Milliseconds(1), [this] { seen_.push_back(1); });
  loop_->RunAfter(absl::Milliseconds(5), [this] { loop_->Stop(); });
  loop_->Cancel(id);
  loop_->Cancel(id);
  loop_->Run();
  EXPECT_THAT(seen_, ElementsAre());
}

TEST_F(EventLoopTest, ATimerMayCancelAnotherThatIsDueToo) {
  EventLoop::TimerId second = 0;
  loop_->RunAfter(absl::ZeroDuration(), [&] {
    loop_->Cancel(second);
    loop_->Stop();
  });
  second = loop_->RunAfter(absl::ZeroDuration(), [this] { seen_.push_back(2); });
  loop_->Run();
  EXPECT_THAT(seen_, ElementsAre());
}

TEST_F(EventLoopTest, TimersThatRenewThemselvesLeaveRoomForDescriptors) {
  const UniqueFd event(::eventfd(1, EFD_NONBLOCK));
  std::function<void()> again = [&] { loop_->RunAfter(absl::ZeroDuration(), again); };
  again();
  ASSERT_THAT(loop_->Watch(event.get(), EPOLLIN, [this](std::uint32_t) { loop_->Stop(); }), IsOk());
  loop_->Run();
}

TEST_F(EventLoopTest, TellsOfDescriptorsUntilTheyAreUnwatched) {
  const UniqueFd event(::eventfd(1, EFD_NONBLOCK));
  ASSERT_THAT(loop_->Watch(event.get(), EPOLLIN,
                           [&](std::uint32_t events) {
                             EXPECT_EQ(events, static_cast<std::uint32_t>(EPOLLIN));
                             seen_.push_back(1);
                             if (seen_.size() == 2) loop_->Unwatch(event.get());
                           }),
              IsOk());
  EXPECT_THAT(loop_->Watch(event.get(), EPOLLIN, [](std::uint32_t) {}),
              StatusIs(absl::StatusCode::kAlreadyExists));
  loop_->RunAfter(absl::Milliseconds(20), [this] { loop_->Stop(); });
  loop_->Run();
  EXPECT_THAT(seen_, ElementsAre(1, 1));
}

TEST_F(EventLoopTest, ADescriptorUnwatchedInTheSameTurnIsNotTold) {
  const UniqueFd first(::eventfd(1, EFD_NONBLOCK));
  const UniqueFd second(::eventfd(1, EFD_NONBLOCK));
  const auto unwatch_both = [&](std::uint32_t) {
    seen_.push_back(1);
    loop_->Unwatch(first.get());
    loop_->Unwatch(second.get());
  };
  ASSERT_THAT(loop_->Watch(first.get(), EPOLLIN, unwatch_both), IsOk());
  ASSERT_THAT(loop_->Watch(second.get(), EPOLLIN, unwatch_both), IsOk());
  loop_->RunAfter(absl::Milliseconds(20), [this] { loop_->Stop(); });
  loop_->Run();
  EXPECT_THAT(seen_, ElementsAre(1));
}

TEST_F(EventLoopTest, RunsWhatOtherThreadsPostInTheirOrder) {
  std::thread poster([this] {
    for (int i = 0; i < 1000; ++i) {
      loop_->Post([this, i] { seen_.push_back(i); });
    }
    loop_->Post([this] { loop_->Stop(); });
  });
  loop_->Run();
  poster.join();
  ASSERT_EQ(seen_.size(), 1000u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen_[static_cast<std::size_t>(i)], i);
}

TEST_F(EventLoopTest, StopBeforeRunEndsItAtOnceAndItRunsAgain) {
  loop_->Stop();
  loop_->Run();
  loop_->Post([this] {
    seen_.push_back(1);
    loop_->Stop();
  });
  loop_->Run();
  EXPECT_THAT(seen_, ElementsAre(1));
}

}  // namespace
}  // namespace sluice::testing
