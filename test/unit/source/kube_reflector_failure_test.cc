// SPDX-License-Identifier: Apache-2.0
// The state machine of one kind when answers fail: how it goes on, after how long, and what it
// says.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/unit/source/kube_reflector_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(KubeReflectorTest, ExpiryIsNoFailureTheFirstTime) {
  MakeWatching();
  Answer(Error(410));
  EXPECT_EQ(Asked(), "stream");
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
  EXPECT_THAT(status().error, IsEmpty());
  // A server that always says so is not asked in a circle.
  Refuse(410, absl::StatusCode::kOutOfRange);
  EXPECT_GT(step_.wait, absl::ZeroDuration());
  EXPECT_THAT(status().error, HasSubstr("410"));
}

TEST_F(KubeReflectorTest, WaitsLongerWithEachFailureAndSaysSinceWhen) {
  Make();
  const absl::Time first = clock_.Now();
  absl::Duration due = options_.retry_min;
  for (int i = 0; i < 10; ++i) {
    Break();
    EXPECT_GE(step_.wait, due / 2);
    EXPECT_LE(step_.wait, due);
    due = std::min(due * 2, options_.retry_max);
    clock_.Advance(step_.wait);
    EXPECT_EQ(status().failing_since, first);
  }
  EXPECT_EQ(status().failures, 10u);
  EXPECT_EQ(status().error, "reset");
  Head();
  EXPECT_THAT(status().error, IsEmpty());
  EXPECT_EQ(status().failing_since, absl::InfiniteFuture());
}

TEST_F(KubeReflectorTest, AWatchThatLivedIsASuccessWhateverEndedIt) {
  MakeWatching();
  for (int i = 0; i < 5; ++i) Break();
  EXPECT_GT(step_.wait, absl::Seconds(1));
  Head();
  clock_.Advance(absl::Seconds(11));
  Break();
  EXPECT_LE(step_.wait, options_.retry_min);
  EXPECT_EQ(Asked(), "watch 10");
}

TEST_F(KubeReflectorTest, TheWallClockDoesNotSayHowLongAWatchLived) {
  MakeWatching();
  for (int i = 0; i < 5; ++i) Break();
  Head();
  clock_.SetWall(absl::Hours(1));
  Break();
  EXPECT_GT(step_.wait, options_.retry_min);
  Head();
  clock_.Advance(absl::Seconds(11));
  clock_.SetWall(-absl::Hours(1));
  Break();
  EXPECT_LE(step_.wait, options_.retry_min);
}

TEST_F(KubeReflectorTest, WatchesThatEndAtOnceAreNotBegunInACircle) {
  MakeWatching();
  End(absl::OkStatus());
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
  absl::Duration waited;
  for (int i = 0; i < 5; ++i) {
    Answer("");
    EXPECT_GT(step_.wait, absl::ZeroDuration());
    waited += step_.wait;
  }
  EXPECT_GT(waited, absl::Seconds(4));
  EXPECT_THAT(status().error, IsEmpty());
}

TEST_F(KubeReflectorTest, WaitsAsLongAsTheServerAsksWithinLimits) {
  Make();
  Refuse(429, absl::StatusCode::kResourceExhausted, absl::Seconds(40));
  EXPECT_GE(step_.wait, absl::Seconds(40));
  EXPECT_LE(step_.wait, absl::Seconds(44));
  Refuse(503, absl::StatusCode::kUnavailable, absl::Hours(10));
  EXPECT_GE(step_.wait, absl::Minutes(5));
  EXPECT_LE(step_.wait, absl::Minutes(6));
}

TEST_F(KubeReflectorTest, AskingForLessThanIsWaitedAnywayChangesNothing) {
  Make();
  for (int i = 0; i < 9; ++i) Break();
  Refuse(429, absl::StatusCode::kResourceExhausted, absl::Milliseconds(1));
  EXPECT_GE(step_.wait, options_.retry_max / 2);
}

TEST_F(KubeReflectorTest, ExpiryAfterAGoodEventIsTheFirstAgain) {
  MakeWatching();
  for (int version = 20; version < 60; version += 10) {
    Answer(Error(410));
    EXPECT_EQ(step_.wait, absl::ZeroDuration());
    EXPECT_THAT(status().error, IsEmpty());
    Head();
    EXPECT_TRUE(Body(InitialEnd(absl::StrCat(version)) + Bookmark(absl::StrCat(version + 1))).ok());
  }
}

TEST_F(KubeReflectorTest, ErrorEventsOtherThanExpiryMeanANewListLater) {
  MakeWatching();
  Answer(Error(500));
  EXPECT_EQ(Asked(), "stream");
  EXPECT_GT(step_.wait, absl::ZeroDuration());
  EXPECT_THAT(status().error, HasSubstr("the server ends the watch: 500 R: m"));
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(KubeReflectorTest, GarbageIsBelievedToBeOverWhenAnEventIsGood) {
  MakeWatching();
  Answer("{]");
  EXPECT_EQ(Asked(), "stream");
  EXPECT_TRUE(step_.call.fresh_connection);
  EXPECT_THAT(status().error, HasSubstr("no watch event"));
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "a", 5) + Event("ADDED", "b", 6) + InitialEnd("11")).ok());
  EXPECT_THAT(status().error, HasSubstr("no watch event"));  // lists were good before, too
  EXPECT_TRUE(Body(Bookmark("12")).ok());
  EXPECT_THAT(status().error, IsEmpty());
  EXPECT_THAT(said_, ElementsAre("set a", "set b"));
}

TEST_F(KubeReflectorTest, EventsAndBookmarksFromThePastAreRefused) {
  for (const std::string& past : {Event("MODIFIED", "a", 9), Event("DELETED", "a", 9),
                                  Bookmark("9"), Event("ADDED", "c", 1)}) {
    MakeWatching();
    Answer(past);
    EXPECT_THAT(status().error, HasSubstr("though 10 was seen before"));
    EXPECT_THAT(said_, IsEmpty()) << past;
    EXPECT_EQ(Asked(), "stream");
  }
}

TEST_F(KubeReflectorTest, AListFromThePastIsBelievedOnlyWhenItIsRepeated) {
  MakeWatching();
  Answer(Error(410));
  // An object that was deleted since, one that was newer, and a whole list that is older.
  for (const std::string& past :
       {Event("ADDED", "c", 3), Event("ADDED", "a", 4), InitialEnd("9")}) {
    EXPECT_EQ(Asked(), "stream");
    Answer(past);
    EXPECT_THAT(status().error, HasSubstr("lags behind"));
    EXPECT_THAT(said_, IsEmpty()) << past;
  }
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "a", 4) + InitialEnd("9")).ok());
  EXPECT_THAT(said_, ElementsAre("set a", "delete b"));
  EXPECT_EQ(status().version, "9");
}

TEST_F(KubeReflectorTest, OlderListsThatAreNotInARowAreRefusedEachTime) {
  MakeWatching();
  Answer(Error(410));
  for (int i = 0; i < 2; ++i) {
    Answer(InitialEnd("9"));
    Answer(InitialEnd("9"));
    Head();
    EXPECT_TRUE(Body(Event("ADDED", "a", 5) + Event("ADDED", "b", 6) + InitialEnd("10")).ok());
    Answer(Error(410));
  }
  Answer(InitialEnd("9"));
  EXPECT_EQ(status().version, "10");
}

TEST_F(KubeReflectorTest, AListByPagesFromThePastIsRefusedBeforeItsObjects) {
  Make();
  Refuse(422, absl::StatusCode::kInvalidArgument);
  Answer(List("10", "", {}));
  Answer(Error(410));
  Answer(List("9", "", {}));
  EXPECT_THAT(status().error, HasSubstr("the server sends version 9, though 10"));
  EXPECT_EQ(Asked(), "page");
}

TEST_F(KubeReflectorTest, EachEventIsThePastOfTheNext) {
  MakeWatching();
  Answer(Event("MODIFIED", "a", 12) + Event("MODIFIED", "b", 11));
  EXPECT_THAT(status().error, HasSubstr("though 12 was seen before"));
  EXPECT_THAT(said_, ElementsAre("set a"));
}

TEST_F(KubeReflectorTest, AWatchThatEndsWellIsASuccess) {
  MakeWatching();
  for (int i = 0; i < 5; ++i) Break();
  Head();
  clock_.Advance(absl::Minutes(5));
  End(absl::OkStatus());
  Break();
  EXPECT_LE(step_.wait, options_.retry_min);
}

TEST_F(KubeReflectorTest, SilenceIsJudgedByWhatIsWaitedFor) {
  Make();
  EXPECT_EQ(reflector_->SilenceLimit(), absl::Seconds(75));
  Head();
  EXPECT_EQ(reflector_->SilenceLimit(), absl::Seconds(20));
  EXPECT_TRUE(Body(InitialEnd("10")).ok());
  EXPECT_EQ(reflector_->SilenceLimit(), absl::Seconds(150));
  // A silent watch goes on over another connection, at once, and is no failure yet.
  reflector_->OnSilence();
  Ask();
  EXPECT_EQ(Asked(), "watch 10");
  EXPECT_TRUE(step_.call.fresh_connection);
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
  EXPECT_THAT(status().error, IsEmpty());
  // One that is not even answered is.
  reflector_->OnSilence();
  Ask();
  EXPECT_EQ(Asked(), "watch 10");
  EXPECT_GT(step_.wait, absl::ZeroDuration());
  EXPECT_THAT(status().error, HasSubstr("watch services: the server says nothing for 2m30s"));
}

TEST_F(KubeReflectorTest, WatchesThatFallSilentTwiceMeanANewList) {
  const auto be_silent = [&] {
    Head();
    reflector_->OnSilence();
    Ask();
  };
  MakeWatching();
  End(absl::OkStatus());
  be_silent();
  EXPECT_EQ(Asked(), "watch 10");
  for (const std::string& word : {Bookmark("11"), Event("MODIFIED", "a", 12)}) {
    Head();
    EXPECT_TRUE(Body(word).ok());  // in between: then not in a row
    reflector_->OnSilence();
    Ask();
    EXPECT_THAT(Asked(), ::testing::StartsWith("watch "));
  }
  EXPECT_EQ(status().failures, 0u);
  said_.clear();
  be_silent();
  EXPECT_EQ(Asked(), "stream");
  EXPECT_TRUE(step_.call.fresh_connection);
  EXPECT_EQ(status().failures, 1u);
  EXPECT_THAT(said_, IsEmpty());
  Head();
  EXPECT_THAT(status().error, HasSubstr("2 watches in a row without an event or a bookmark"));
  // Restored from a backup: `a` is as it was, `b` is not there any more.
  EXPECT_TRUE(Body(Event("ADDED", "a", 12) + InitialEnd("13")).ok());
  EXPECT_THAT(said_, ElementsAre("set a", "delete b"));
  EXPECT_THAT(status().error, IsEmpty());
  reflector_->OnSilence();  // the first of a new row
  Ask();
  EXPECT_EQ(Asked(), "watch 13");
}

TEST_F(KubeReflectorTest, AStreamThatFallsSilentIsListedByPages) {
  Make();
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "a", 5)).ok());
  reflector_->OnSilence();
  Ask();
  EXPECT_EQ(Asked(), "page");
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
  Answer(List("10", "", {Object("a", 5)}));
  // The next list may stream again: the server may only have been slow.
  Answer(Error(410));
  EXPECT_EQ(Asked(), "stream");
}

TEST_F(KubeReflectorTest, AStreamThatEndsEarlyTwiceIsListedByPages) {
  Make();
  Answer(Event("ADDED", "a", 5));
  EXPECT_EQ(Asked(), "stream");
  EXPECT_THAT(status().error, HasSubstr("ended before the list was whole"));
  Answer(Event("ADDED", "a", 5));
  EXPECT_EQ(Asked(), "page");
}

TEST_F(KubeReflectorTest, AStreamThatIsGarbageTwiceIsListedByPages) {
  Make();
  Answer("garbage\n");
  EXPECT_EQ(Asked(), "stream");
  Answer("garbage\n");
  EXPECT_EQ(Asked(), "page");
}

TEST_F(KubeReflectorTest, WatchesThatEndAtOnceAreNotAskedInACircle) {
  MakeWatching();
  End(absl::OkStatus());
  EXPECT_EQ(step_.wait, absl::ZeroDuration());  // it ran for a minute
  absl::Duration waited;
  for (int version = 11; version < 20; ++version) {
    Answer(Bookmark(absl::StrCat(version)));
    EXPECT_GT(step_.wait, absl::ZeroDuration());
    waited += step_.wait;
  }
  EXPECT_GT(waited, absl::Seconds(20));
  EXPECT_EQ(status().failures, 0u);
}

TEST_F(KubeReflectorTest, ConnectionsThatMayBeBadAreNotUsedAgain) {
  MakeWatching();
  Break();
  EXPECT_FALSE(step_.call.fresh_connection);
  Refuse(401, absl::StatusCode::kUnauthenticated);  // the certificate of the connection expired
  EXPECT_TRUE(step_.call.fresh_connection);
  EXPECT_EQ(Asked(), "watch 10");
}

TEST_F(KubeReflectorTest, ObjectsWithoutANameAreGarbage) {
  Make();
  Head();
  EXPECT_TRUE(absl::IsDataLoss(Body(Event("ADDED", "", 5))));
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(KubeReflectorTest, AnAnswerThatIsNotKubernetesIsRefusedEvenWhenEmpty) {
  Make();
  reflector_->OnHead("text/html");
  End(absl::OkStatus());
  EXPECT_THAT(status().error, HasSubstr("text/html"));
  EXPECT_FALSE(status().synced);
}

}  // namespace
}  // namespace sluice::testing
