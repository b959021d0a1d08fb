// SPDX-License-Identifier: Apache-2.0
// Valid manifests with random damage, from a fixed seed: nothing crashes (the sanitizer build runs
// this, too), every document that was not touched is taken, and none is ever lost by damage to
// another.
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "control/source/manifest_set.h"

namespace sluice {
namespace {

constexpr int kRounds = 1000;

std::vector<std::string> Documents() {
  std::ifstream file(std::string(SLUICE_TEST_SAMPLES) + "/manifests/applied.yaml");
  std::stringstream text;
  text << file.rdbuf();
  std::vector<std::string> documents;
  const std::string all = text.str();
  for (const ManifestChunk& chunk : SplitManifest(all)) {
    std::string document(chunk.text);
    if (!document.starts_with("---")) document = "---\n" + document;
    documents.push_back(std::move(document));
  }
  return documents;
}

std::string Damaged(std::string text, std::mt19937& random) {
  static constexpr std::string_view kPieces[] = {"[",
                                                 "]",
                                                 "{",
                                                 "}",
                                                 ":",
                                                 ": ",
                                                 "\n",
                                                 "\n  ",
                                                 "\n---x",
                                                 "- ",
                                                 "#",
                                                 "\"",
                                                 "'",
                                                 "|",
                                                 ">",
                                                 "&a ",
                                                 "*a ",
                                                 "<<: ",
                                                 "\t",
                                                 "\0",
                                                 "\xff",
                                                 "~",
                                                 "null",
                                                 "true",
                                                 "-1",
                                                 "0x1",
                                                 "1e400",
                                                 "!!str ",
                                                 "!x ",
                                                 "%",
                                                 "@",
                                                 "`",
                                                 "\xef\xbb\xbf",
                                                 "99999999999999999999"};
  const auto pick = [&](std::size_t below) { return random() % std::max<std::size_t>(below, 1); };
  const std::size_t body = 4;  // the separator stays: the text is still this one document
  for (std::size_t times = 1 + pick(4); times > 0; --times) {
    const std::size_t at = body + pick(text.size() - body);
    switch (pick(5)) {
      case 0:
        text.erase(at, 1 + pick(20));
        break;
      case 1:
        text.insert(at, kPieces[pick(std::size(kPieces))]);
        break;
      case 2:
        text[at] = static_cast<char>(random());
        break;
      case 3:
        text.resize(at);
        break;
      default:
        text.insert(at, text.substr(body + pick(text.size() - body), pick(60)));
        break;
    }
    if (text.size() <= body) return text;
  }
  return text;
}

// Whether `text` is still one document to SplitManifest: damage may make a separator of its own, or
// cut off the newline before the next.
bool IsOneChunk(const std::string& text) {
  return SplitManifest(text).size() <= 1 && (text.empty() || text.back() == '\n');
}

TEST(ManifestMutationTest, DamageLosesNoOtherDocument) {
  const std::vector<std::string> documents = Documents();
  ASSERT_EQ(documents.size(), 14u);
  std::string whole;
  for (const std::string& document : documents) whole += document;
  std::mt19937 random(20261123);
  int damaged_rounds = 0;
  std::size_t rejected = 0;
  for (int round = 0; round < kRounds; ++round) {
    ManifestSet set;
    const ManifestChanges before = set.SetText("f", whole, Removals::kNow);
    ASSERT_EQ(before.set.size(), documents.size());
    const std::size_t victim = random() % documents.size();
    std::string bad = Damaged(documents[victim], random);
    if (bad.empty() || bad.back() != '\n') bad += '\n';
    if (!IsOneChunk(bad)) continue;
    ++damaged_rounds;
    std::string text;
    for (std::size_t i = 0; i < documents.size(); ++i) text += i == victim ? bad : documents[i];
    const ManifestChanges changes = set.SetText("f", text, Removals::kNow);
    // Whatever the damage did: the others were neither said anew nor removed.
    const ObjectKey& touched = before.set[victim].key;
    for (const ObjectKey& removed : changes.removed) {
      EXPECT_EQ(ToString(removed), ToString(touched)) << bad;
    }
    std::set<std::string> known;
    for (const ManifestObject& object : before.set) known.insert(ToString(object.key));
    for (const ManifestObject& object : changes.set) {
      const bool is_other = object.key != touched && known.contains(ToString(object.key));
      EXPECT_FALSE(is_other) << ToString(object.key) << "\n" << bad;
    }
    rejected += set.AllUnderstood() ? 0 : 1;
    // And a fresh start with the damaged text takes all the others.
    ManifestSet fresh;
    EXPECT_GE(fresh.SetText("f", text, Removals::kNow).set.size(), documents.size() - 1) << bad;
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(damaged_rounds, kRounds / 2);
  EXPECT_GT(rejected, static_cast<std::size_t>(kRounds / 4));
}

TEST(ManifestMutationTest, NoiseIsSurvived) {
  std::mt19937 random(7);
  static constexpr std::string_view kAlphabet = "{}[]:,-#&*!|>'\"%@ \n\t~abkind0123456789<";
  for (int round = 0; round < kRounds; ++round) {
    std::string text(random() % 300, ' ');
    for (char& c : text) c = kAlphabet[random() % kAlphabet.size()];
    for (const ManifestChunk& chunk : SplitManifest(text)) {
      const ManifestPart part = ParseManifest(chunk);
      EXPECT_TRUE(part.objects.empty());
    }
  }
}

}  // namespace
}  // namespace sluice
