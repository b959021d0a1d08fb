// SPDX-License-Identifier: Apache-2.0
#include "control/source/manifest_set.h"

#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A document with a Service; `port` is what two versions of it differ in.
std::string Service(const std::string& name, int port = 80) {
  return absl::StrCat("---\napiVersion: v1\nkind: Service\nmetadata: {name: ", name,
                      "}\nspec: {ports: [{port: ", port, "}]}\n");
}
std::string BadService(const std::string& name) {
  return absl::StrCat("---\napiVersion: v1\nkind: Service\nmetadata: {name: ", name,
                      "}\nspec: {ports: [{port: x}]}\n");
}
constexpr char kUnreadable[] = "---\nkind: [\n";
constexpr int kServiceLines = 5;

// What a change sets, as "web:80", and removes.
std::vector<std::string> SetBy(const ManifestChanges& changes) {
  std::vector<std::string> set;
  for (const ManifestObject& object : changes.set) {
    const auto service = std::get<model::Service>(Unpack(object));
    set.push_back(absl::StrCat(object.key.name, ":", service.spec().ports(0).port()));
  }
  return set;
}
std::vector<std::string> RemovedBy(const ManifestChanges& changes) {
  std::vector<std::string> removed;
  for (const ObjectKey& key : changes.removed) removed.push_back(key.name);
  return removed;
}

ObjectKey Key(const std::string& name) { return {ObjectKind::kService, "default", name}; }

TEST(ManifestSetTest, SaysOnlyWhatChanged) {
  ManifestSet set;
  EXPECT_THAT(SetBy(set.SetText("f", Service("a") + Service("b"), Removals::kNow)),
              ElementsAre("a:80", "b:80"));
  const ManifestChanges same = set.SetText("f", Service("a") + Service("b"), Removals::kNow);
  EXPECT_THAT(same.set, IsEmpty());
  EXPECT_THAT(same.removed, IsEmpty());
  const ManifestChanges one =
      set.SetText("f", "# moved down\n" + Service("b", 81) + Service("a"), Removals::kNow);
  EXPECT_THAT(SetBy(one), ElementsAre("b:81"));
  EXPECT_EQ(set.OriginOf(Key("a")), std::make_pair(std::string("f"), 3u + kServiceLines));
  const ManifestChanges comment = set.SetText(
      "f", Service("b", 81) + "# another text, the same object\n" + Service("a"), Removals::kNow);
  EXPECT_THAT(comment.set, IsEmpty());
}

TEST(ManifestSetTest, RemovesWhatAFileThatWasReadWholeDoesNotHold) {
  ManifestSet set;
  set.SetText("f", Service("a") + Service("b"), Removals::kNow);
  set.SetText("g", Service("c"), Removals::kNow);
  EXPECT_THAT(RemovedBy(set.SetText("f", Service("b"), Removals::kNow)), ElementsAre("a"));
  EXPECT_THAT(RemovedBy(set.RemoveFile("f", Removals::kNow)), ElementsAre("b"));
  EXPECT_THAT(RemovedBy(set.RemoveFile("f", Removals::kNow)), IsEmpty());
  EXPECT_EQ(set.object_count(), 1u);
}

TEST(ManifestSetTest, ABadDocumentKeepsWhatItSaidBefore) {
  ManifestSet set;
  set.SetText("f", Service("a") + Service("b"), Removals::kNow);
  const ManifestChanges bad = set.SetText("f", BadService("a"), Removals::kNow);
  EXPECT_THAT(bad.set, IsEmpty());
  EXPECT_THAT(RemovedBy(bad), ElementsAre("b"));  // "a" is named, so that b is known to be gone
  EXPECT_FALSE(set.AllUnderstood());
  EXPECT_THAT(set.Problems("f"), SizeIs(1));
  // Still kept while the bad text stays, also when it is read again.
  EXPECT_THAT(set.SetText("f", BadService("a"), Removals::kNow).removed, IsEmpty());
  // Repaired to what it was: nothing to say.
  EXPECT_THAT(set.SetText("f", Service("a"), Removals::kNow).set, IsEmpty());
  EXPECT_TRUE(set.AllUnderstood());
  // And gone for good when it is not mentioned at all.
  EXPECT_THAT(RemovedBy(set.SetText("f", "", Removals::kNow)), ElementsAre("a"));
}

TEST(ManifestSetTest, ADocumentThatCannotBeNamedKeepsAllThatIsMissing) {
  ManifestSet set;
  set.SetText("f", Service("a") + Service("b") + Service("c"), Removals::kNow);
  const ManifestChanges changes = set.SetText("f", Service("a", 81) + kUnreadable, Removals::kNow);
  EXPECT_THAT(SetBy(changes), ElementsAre("a:81"));
  EXPECT_THAT(changes.removed, IsEmpty());
  EXPECT_EQ(set.object_count(), 3u);
  EXPECT_THAT(RemovedBy(set.SetText("f", Service("a", 81), Removals::kNow)), ElementsAre("b", "c"));
}

TEST(ManifestSetTest, AMisspeltKindKeepsWhatItIsMeantToBe) {
  ManifestSet set;
  set.SetText("f", Service("a") + Service("b"), Removals::kNow);
  std::string misspelt = Service("a");
  misspelt.replace(misspelt.find("Service"), 7, "Servcie");
  EXPECT_THAT(RemovedBy(set.SetText("f", misspelt, Removals::kNow)), ElementsAre("b"));
}

TEST(ManifestSetTest, AKindOfOthersWithTheSameNameKeepsNothing) {
  ManifestSet set;
  set.SetText("f", Service("a"), Removals::kNow);
  EXPECT_THAT(
      RemovedBy(set.SetText("f", "kind: ServiceMonitor\nmetadata: {name: a}\n", Removals::kNow)),
      ElementsAre("a"));
}

TEST(ManifestSetTest, ABadDocumentThatNeverWasGoodSaysNothing) {
  ManifestSet set;
  EXPECT_THAT(set.SetText("f", BadService("a"), Removals::kNow).set, IsEmpty());
  EXPECT_EQ(set.object_count(), 0u);
  EXPECT_THAT(SetBy(set.SetText("g", Service("a"), Removals::kNow)), ElementsAre("a:80"));
}

TEST(ManifestSetTest, TheFirstDocumentOfAFileWinsAndTheOtherIsReported) {
  ManifestSet set;
  EXPECT_THAT(SetBy(set.SetText("f", Service("a", 1) + Service("a", 2), Removals::kNow)),
              ElementsAre("a:1"));
  ASSERT_THAT(set.Problems("f"), SizeIs(1));
  EXPECT_EQ(set.Problems("f")[0].line, 2u + kServiceLines);
  EXPECT_THAT(set.Problems("f")[0].message, HasSubstr("is already in f:2, which counts"));
  // With the first gone the second counts, though its text is the old one.
  EXPECT_THAT(SetBy(set.SetText("f", Service("a", 2), Removals::kNow)), ElementsAre("a:2"));
  // A first one put before it takes over.
  EXPECT_THAT(SetBy(set.SetText("f", Service("a", 3) + Service("a", 2), Removals::kNow)),
              ElementsAre("a:3"));
}

TEST(ManifestSetTest, DifferentObjectsOnOneLineAreToldApart) {
  ManifestSet set;
  const std::string item =
      R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":)";
  const std::string text = absl::StrCat(R"({"apiVersion":"v1","kind":"List","items":[)", item,
                                        "1}]}},", item, "2}]}}]}");
  EXPECT_THAT(SetBy(set.SetText("f", text, Removals::kNow)), ElementsAre("a:1"));
  EXPECT_THAT(set.SetText("f", text, Removals::kNow).set, IsEmpty());
}

TEST(ManifestSetTest, TheFirstFileByNameWinsWhateverCameFirst) {
  ManifestSet set;
  set.SetText("g", Service("a", 2), Removals::kNow);
  const ManifestChanges changes = set.SetText("f", Service("a", 1), Removals::kNow);
  EXPECT_THAT(SetBy(changes), ElementsAre("a:1"));
  EXPECT_THAT(changes.problems_of, ElementsAre("f", "g"));
  EXPECT_THAT(set.Problems("f"), IsEmpty());
  ASSERT_THAT(set.Problems("g"), SizeIs(1));
  EXPECT_EQ(set.Problems("g")[0].object, "Service default/a");
  EXPECT_THAT(set.Problems("g")[0].message, HasSubstr("is already in f:2, which counts"));
  // A change of the one that does not count changes nothing.
  EXPECT_THAT(set.SetText("g", Service("a", 3), Removals::kNow).set, IsEmpty());
}

TEST(ManifestSetTest, TheSecondFileTakesOverWithoutADeletion) {
  ManifestSet set;
  set.SetText("f", Service("a", 1), Removals::kNow);
  set.SetText("g", Service("a", 2), Removals::kNow);
  const ManifestChanges gone = set.RemoveFile("f", Removals::kNow);
  EXPECT_THAT(gone.removed, IsEmpty());
  EXPECT_THAT(gone.read_again, ElementsAre("g"));
  EXPECT_THAT(SetBy(set.SetText("g", Service("a", 2), Removals::kNow)), ElementsAre("a:2"));
  EXPECT_THAT(set.Problems("g"), IsEmpty());
  EXPECT_EQ(set.OriginOf(Key("a")).first, "g");
}

TEST(ManifestSetTest, AFileThatIsRenamedChangesNothing) {
  ManifestSet set;
  set.SetText("f", Service("a"), Removals::kNow);
  EXPECT_TRUE(set.RemoveFile("f", Removals::kLater).removals_wait);
  const ManifestChanges moved = set.SetText("g", Service("a"), Removals::kLater);
  EXPECT_THAT(moved.set, IsEmpty());
  EXPECT_EQ(set.OriginOf(Key("a")).first, "g");
  EXPECT_THAT(set.RemoveFile("f", Removals::kNow).removed, IsEmpty());
  EXPECT_THAT(RemovedBy(set.RemoveFile("g", Removals::kNow)), ElementsAre("a"));
}

TEST(ManifestSetTest, LaterRemovalsWaitAndAreTakenBackByTheNextText) {
  ManifestSet set;
  set.SetText("f", Service("a") + Service("b"), Removals::kNow);
  const ManifestChanges half = set.SetText("f", Service("a"), Removals::kLater);
  EXPECT_TRUE(half.removals_wait);
  EXPECT_THAT(half.removed, IsEmpty());
  const ManifestChanges whole = set.SetText("f", Service("a") + Service("b"), Removals::kLater);
  EXPECT_FALSE(whole.removals_wait);
  EXPECT_THAT(whole.set, IsEmpty());
  set.SetText("f", Service("a"), Removals::kLater);
  EXPECT_THAT(RemovedBy(set.SetText("f", Service("a"), Removals::kNow)), ElementsAre("b"));
}

TEST(ManifestSetTest, ABadFirstFileKeepsItsObjectFromTheSecond) {
  ManifestSet set;
  set.SetText("f", Service("a", 1), Removals::kNow);
  set.SetText("g", Service("a", 2), Removals::kNow);
  const ManifestChanges bad = set.SetText("f", BadService("a"), Removals::kNow);
  EXPECT_THAT(bad.set, IsEmpty());
  EXPECT_THAT(bad.read_again, IsEmpty());
  EXPECT_THAT(set.SetText("g", Service("a", 3), Removals::kNow).set, IsEmpty());
  EXPECT_EQ(set.OriginOf(Key("a")).first, "f");
}

TEST(ManifestSetTest, AnUnreadableFirstFileThatNeverHadItLeavesItToTheSecond) {
  ManifestSet set;
  set.SetText("f", kUnreadable, Removals::kNow);
  EXPECT_THAT(SetBy(set.SetText("g", Service("a", 2), Removals::kNow)), ElementsAre("a:2"));
  EXPECT_THAT(SetBy(set.SetText("f", Service("a", 1), Removals::kNow)), ElementsAre("a:1"));
}

TEST(ManifestSetTest, ProblemsMoveWithTheirLines) {
  ManifestSet set;
  set.SetText("f", BadService("a"), Removals::kNow);
  EXPECT_EQ(set.Problems("f").at(0).line, 5u);
  set.SetText("f", "# one\n# more\n" + BadService("a"), Removals::kNow);
  EXPECT_EQ(set.Problems("f").at(0).line, 7u);
}

TEST(ManifestSetTest, CountsTheKindsThatArePassedOver) {
  ManifestSet set;
  set.SetText("f", "kind: Pod\n---\nkind: Pod\n", Removals::kNow);
  set.SetText("g", "kind: Pod\n", Removals::kNow);
  EXPECT_THAT(set.Ignored(), ElementsAre(::testing::Pair("Pod", 3)));
  set.RemoveFile("f", Removals::kNow);
  EXPECT_THAT(set.Ignored(), ElementsAre(::testing::Pair("Pod", 1)));
}

TEST(ManifestSetTest, TakingOverTenThousandObjectsStaysFast) {
  std::string text;
  for (int i = 0; i < 10'000; ++i) text += Service(absl::StrCat("s", i));
  ManifestSet set;
  set.SetText("f", text, Removals::kNow);
  set.SetText("g", text + " ", Removals::kNow);
  EXPECT_THAT(set.Problems("g"), SizeIs(10'000));
  EXPECT_THAT(set.RemoveFile("f", Removals::kNow).removed, IsEmpty());
  EXPECT_THAT(set.SetText("g", text + " ", Removals::kNow).set, IsEmpty());
  EXPECT_THAT(set.Problems("g"), IsEmpty());
}

}  // namespace
}  // namespace sluice
