// SPDX-License-Identifier: Apache-2.0
// The state machine of one kind, answer by answer: what is asked next, and what is known then.
#include "control/source/kube_reflector.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/unit/source/kube_reflector_fixture.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST_F(KubeReflectorTest, StreamsAListAndGoesOnAsAWatch) {
  Make();
  EXPECT_EQ(Asked(), "stream");
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
  EXPECT_EQ(query_["labelSelector"], "!x");
  EXPECT_EQ(query_["resourceVersionMatch"], "NotOlderThan");
  EXPECT_FALSE(query_.contains("resourceVersion"));  // the newest, not what a cache has
  EXPECT_EQ(step_.call.accept,
            "application/vnd.kubernetes.protobuf;stream=watch,application/json;stream=watch");
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "a", 5)).ok());
  EXPECT_FALSE(status().synced);
  EXPECT_TRUE(Body(InitialEnd("10")).ok());
  EXPECT_TRUE(status().synced);
  EXPECT_TRUE(Body(Event("MODIFIED", "a", 11) + Event("DELETED", "a", 12)).ok());
  EXPECT_THAT(said_, ElementsAre("set a", "set a", "delete a"));
  EXPECT_EQ(status().version, "12");
  clock_.Advance(absl::Minutes(5));
  End(absl::OkStatus());
  EXPECT_EQ(Asked(), "watch 12");
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
  EXPECT_EQ(status().restarts, 1u);
}

TEST_F(KubeReflectorTest, AsksServersToEndWatchesAfterMinutesThatDiffer) {
  std::set<std::string> lives;
  for (int i = 0; i < 20; ++i) {
    Make();
    lives.insert(query_["timeoutSeconds"]);
    for (int k = 0; k < 20; ++k) {
      Ask();
      const int seconds = std::stoi(query_["timeoutSeconds"]);
      EXPECT_GE(seconds, 300);
      EXPECT_LE(seconds, 600);
      lives.insert(query_["timeoutSeconds"]);
    }
  }
  EXPECT_GT(lives.size(), 10u);
}

TEST_F(KubeReflectorTest, ListsByPagesWhereStreamsAreRefused) {
  Make();
  Refuse(422, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Asked(), "page");
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
  EXPECT_THAT(status().error, IsEmpty());
  EXPECT_EQ(query_["limit"], "500");
  Answer(List("10", "more", {Object("a", 5)}));
  EXPECT_EQ(Asked(), "next page");
  EXPECT_EQ(query_["continue"], "more");
  EXPECT_FALSE(status().synced);
  Answer(List("10", "", {Object("b", 6)}));
  EXPECT_TRUE(status().synced);
  EXPECT_EQ(Asked(), "watch 10");
  // What this server refused is not asked again.
  Answer(Error(410));
  EXPECT_EQ(Asked(), "page");
}

TEST_F(KubeReflectorTest, PagesThatExpireAreReadInOne) {
  Make();
  Refuse(422, absl::StatusCode::kInvalidArgument);
  Answer(List("10", "more", {Object("a", 5)}));
  Refuse(410, absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Asked(), "list");
  Answer(List("20", "", {Object("b", 15)}));
  // `a` was in a list that was not finished; in the one that was, it is not.
  EXPECT_THAT(said_, ElementsAre("set a", "set b", "delete a"));
  EXPECT_EQ(Asked(), "watch 20");
  // The next list is tried by pages again.
  Answer(Error(410));
  EXPECT_EQ(Asked(), "page");
}

TEST_F(KubeReflectorTest, AListThatIsNotFinishedDeletesNothing) {
  MakeWatching();
  Head();
  Answer(Error(410));
  EXPECT_EQ(Asked(), "stream");
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "b", 6)).ok());
  Break();
  EXPECT_THAT(said_, ElementsAre("set b"));
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "b", 6) + InitialEnd("20")).ok());
  EXPECT_THAT(said_, ElementsAre("set b", "set b", "delete a"));
}

TEST_F(KubeReflectorTest, AServerWithoutProtobufIsAskedForJson) {
  Make();
  Refuse(406, absl::StatusCode::kUnimplemented);
  EXPECT_EQ(step_.call.accept, "application/json;stream=watch");
  EXPECT_EQ(Asked(), "stream");
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
}

TEST_F(KubeReflectorTest, AnObjectThatWasSkippedIsNotDeleted) {
  MakeWatching();
  Answer(Error(410));
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "b", 6)).ok());
  EXPECT_TRUE(reflector_->OnOversize("d", "a", kMaxObjectBytes + 1).ok());
  EXPECT_TRUE(Body(InitialEnd("11")).ok());
  EXPECT_THAT(said_, ElementsAre("set b", "skip a"));
  // Nor is any, if it cannot be told which that was.
  Answer(Error(410));
  Head();
  EXPECT_TRUE(reflector_->OnOversize("", "", kMaxObjectBytes + 1).ok());
  EXPECT_TRUE(Body(InitialEnd("12")).ok());
  EXPECT_THAT(said_, ElementsAre("set b", "skip a", "skip "));
  // But a list that holds all tells again what is gone.
  said_.clear();
  Answer(Error(410));
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "a", 5) + InitialEnd("13")).ok());
  EXPECT_THAT(said_, ElementsAre("set a", "delete b"));
}

TEST_F(KubeReflectorTest, AKindThatComesLaterIsThere) {
  Make(/*optional=*/true);
  Refuse(404, absl::StatusCode::kNotFound);
  Head();
  EXPECT_TRUE(Body(InitialEnd("10")).ok());
  EXPECT_FALSE(status().absent);
  EXPECT_TRUE(status().synced);
}

TEST_F(KubeReflectorTest, AWatchIsAsOldAsItsListIsWhole) {
  Make();
  Head();
  EXPECT_TRUE(Body(Event("ADDED", "a", 5)).ok());
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(Body(InitialEnd("10")).ok());
  End(absl::OkStatus());
  EXPECT_GT(step_.wait, absl::ZeroDuration());
}

TEST_F(KubeReflectorTest, VersionsThatAreNoNumbersAreNotCompared) {
  Make();
  Head();
  EXPECT_TRUE(Body(InitialEnd("abc") + Bookmark("aaa")).ok());
  End(absl::OkStatus());
  EXPECT_EQ(Asked(), "watch aaa");
}

TEST_F(KubeReflectorTest, KindsThatAreNotNeededMayBeMissing) {
  for (const int code : {403, 404}) {
    Make(/*optional=*/true);
    Refuse(code, code == 403 ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kNotFound);
    EXPECT_TRUE(status().absent);
    EXPECT_EQ(status().error.empty(), code == 404);  // rights can be given
    EXPECT_EQ(status().failing_since, absl::InfiniteFuture());
    // Rights come late to a server that has just started: asked for again soon at first.
    EXPECT_EQ(step_.wait, code == 404 ? absl::Minutes(10) : absl::Seconds(15));
  }
  Make();
  Refuse(404, absl::StatusCode::kNotFound);
  EXPECT_FALSE(status().absent);
  EXPECT_NE(status().error, "");
}

TEST_F(KubeReflectorTest, DeletionsOfWhatIsNotKnownAreNotSaid) {
  MakeWatching();
  EXPECT_TRUE(Body(Event("DELETED", "never", 11)).ok());
  EXPECT_THAT(said_, IsEmpty());
}

}  // namespace
}  // namespace sluice::testing
