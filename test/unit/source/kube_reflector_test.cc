// SPDX-License-Identifier: Apache-2.0
// The state machine of one kind, answer by answer: what is asked next, after how long, and what is
// known meanwhile. Answers are JSON, which tests can read; kube_source_test has protobuf.
#include "control/source/kube_reflector.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "control/model/service.pb.h"
#include "test/support/fake_clock.h"

namespace sluice::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Object(const std::string& name, int version) {
  return absl::StrCat(R"({"kind":"Service","metadata":{"name":")", name,
                      R"(","namespace":"d","resourceVersion":")", version, R"("}})");
}
std::string Event(const char* type, const std::string& name, int version) {
  return absl::StrCat(R"({"type":")", type, R"(","object":)", Object(name, version), "}\n");
}
std::string Bookmark(const std::string& version) {
  return absl::StrCat(R"({"type":"BOOKMARK","object":{"kind":"Service","metadata":{)",
                      R"("resourceVersion":")", version, "\"}}}\n");
}
std::string InitialEnd(const std::string& version) {
  return absl::StrCat(R"({"type":"BOOKMARK","object":{"kind":"Service","metadata":{)",
                      R"("resourceVersion":")", version,
                      R"(","annotations":{"k8s.io/initial-events-end":"true"}}}})", "\n");
}
std::string Error(int code) {
  return absl::StrCat(R"({"type":"ERROR","object":{"kind":"Status","status":"Failure","code":)",
                      code, R"(,"reason":"R","message":"m"}})", "\n");
}
std::string List(const std::string& version, const std::string& next,
                 const std::vector<std::string>& items) {
  return absl::StrCat(R"({"kind":"ServiceList","metadata":{"resourceVersion":")", version,
                      R"(","continue":")", next, R"("},"items":[)", absl::StrJoin(items, ","),
                      "]}");
}

class KubeReflectorTest : public ::testing::Test, public ObjectSink {
 protected:
  void SetObject(google::protobuf::Message& object) override {
    said_.push_back("set " + static_cast<model::Service&>(object).metadata().name());
  }
  void DeleteObject(const ObjectName& name) override { said_.push_back("delete " + name.name); }
  void SkipObject(const ObjectName& name, const std::string&) override {
    said_.push_back("skip " + name.name);
  }

  void Make(bool optional = false) {
    reflector_ = std::make_unique<KubeReflector>(
        ResourceKind{"services", "/api/v1/services", "Service", "!x", "",
                     &model::Service::default_instance(), optional},
        options_, *this, clock_, 1);
    Ask();
  }
  // The next request; kept in step_ and query_.
  void Ask() {
    step_ = reflector_->Next();
    query_ = {step_.call.query.begin(), step_.call.query.end()};
  }
  // What is asked, in short.
  std::string Asked() {
    if (step_.call.verb == "list") {
      return query_.contains("continue") ? "next page" : query_.contains("limit") ? "page" : "list";
    }
    return query_.contains("sendInitialEvents") ? "stream" : "watch " + query_["resourceVersion"];
  }
  void Head() { reflector_->OnHead("application/json"); }
  absl::Status Body(const std::string& text) { return reflector_->OnBody(text); }
  void End(const absl::Status& status, int code = 200, absl::Duration retry_after = {}) {
    reflector_->OnEnd({status, code, retry_after});
    Ask();
  }
  // A whole answer that ends well, or with what is wrong in it.
  void Answer(const std::string& text) {
    Head();
    End(Body(text));
  }
  void Refuse(int code, absl::StatusCode status, absl::Duration retry_after = {}) {
    End(absl::Status(status, absl::StrCat("answers ", code)), code, retry_after);
  }
  void Break() { End(absl::UnavailableError("reset"), 0); }
  // To a watch from version 10 that runs for a minute, with `a` and `b` known.
  void MakeWatching() {
    Make();
    Head();
    ASSERT_TRUE(Body(Event("ADDED", "a", 5) + Event("ADDED", "b", 6) + InitialEnd("10")).ok());
    clock_.Advance(absl::Minutes(1));
    said_.clear();
  }
  const StreamStatus& status() const { return reflector_->status(); }

  FakeClock clock_;
  ReflectorOptions options_;
  std::unique_ptr<KubeReflector> reflector_;
  KubeReflector::Step step_;
  std::map<std::string, std::string> query_;
  std::vector<std::string> said_;
};

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

TEST_F(KubeReflectorTest, AServerWithoutProtobufIsAskedForJson) {
  Make();
  Refuse(406, absl::StatusCode::kUnimplemented);
  EXPECT_EQ(step_.call.accept, "application/json;stream=watch");
  EXPECT_EQ(Asked(), "stream");
  EXPECT_EQ(step_.wait, absl::ZeroDuration());
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

TEST_F(KubeReflectorTest, AWatchThatEndsWellIsASuccess) {
  MakeWatching();
  for (int i = 0; i < 5; ++i) Break();
  Head();
  clock_.Advance(absl::Minutes(5));
  End(absl::OkStatus());
  Break();
  EXPECT_LE(step_.wait, options_.retry_min);
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
    EXPECT_EQ(step_.wait, absl::Minutes(10));
  }
  Make();
  Refuse(404, absl::StatusCode::kNotFound);
  EXPECT_FALSE(status().absent);
  EXPECT_NE(status().error, "");
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

TEST_F(KubeReflectorTest, WatchesWithoutTheUsualBookmarksMeanANewList) {
  const auto be_silent = [&] {
    Head();
    reflector_->OnSilence();
    Ask();
  };
  // A server that never sent any is just quiet.
  MakeWatching();
  End(absl::OkStatus());
  for (int i = 0; i < 5; ++i) {
    be_silent();
    EXPECT_EQ(Asked(), "watch 10");
  }
  Head();
  EXPECT_TRUE(Body(Bookmark("11")).ok());
  reflector_->OnSilence();
  Ask();
  be_silent();
  EXPECT_EQ(Asked(), "watch 11");
  be_silent();
  EXPECT_EQ(Asked(), "stream");
  EXPECT_THAT(status().error, IsEmpty());
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

TEST_F(KubeReflectorTest, DeletionsOfWhatIsNotKnownAreNotSaid) {
  MakeWatching();
  EXPECT_TRUE(Body(Event("DELETED", "never", 11)).ok());
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
