// SPDX-License-Identifier: Apache-2.0
#include "control/source/value_tree.h"

#include <initializer_list>
#include <string_view>

#include "gtest/gtest.h"

namespace sluice {
namespace {

void ExpectKind(ValueKind kind, std::initializer_list<std::string_view> texts) {
  for (const std::string_view text : texts) {
    EXPECT_EQ(ResolvePlainScalar(text), kind) << '"' << text << '"';
  }
}

// What go-yaml makes of them, and so kubectl.
TEST(ResolvePlainScalarTest, FollowsGoYaml) {
  ExpectKind(ValueKind::kNull, {"", "~", "null", "Null", "NULL"});
  ExpectKind(ValueKind::kBool, {"true", "True", "FALSE", "yes", "No", "on", "OFF", "y", "N"});
  ExpectKind(ValueKind::kInteger, {"0", "80", "-1", "+7", "0x1F", "0o17", "0b101", "1_000", "007"});
  ExpectKind(ValueKind::kFloat,
             {"1.5", ".5", "1.", "1e3", "1E-3", "-2.5e+10", ".inf", "-.Inf", ".NaN"});
  ExpectKind(
      ValueKind::kString,
      {"a",   "nul",    "tRue", "yesterday", "10.96.0.1", "1.2.3",        "fd00::1",
       "::",  "80/TCP", "0x",   "0xg",       "1e",        "e3",           "-",
       "+",   ".",      "-a",   "_1",        "1-2",       "192.0.2.0/24", "2026-11-23T10:00:00Z",
       "1:20"});
}

TEST(BoolOfTest, KnowsBothSides) {
  for (const std::string_view text : {"true", "Yes", "ON", "y"}) EXPECT_TRUE(BoolOf(text));
  for (const std::string_view text : {"false", "No", "OFF", "n"}) EXPECT_FALSE(BoolOf(text));
}

TEST(ValueTreeTest, FindsByKeyAndFollowsAliases) {
  ValueTree tree;
  const ValueTree::Id root = tree.Add(ValueTree::kNone, ValueKind::kMapping, {1, 1});
  tree.AddScalar(root, ValueKind::kString, {1, 1}, "a");
  const ValueTree::Id list = tree.Add(root, ValueKind::kSequence, {2, 3});
  const ValueTree::Id first = tree.AddScalar(list, ValueKind::kString, {2, 5}, "first");
  tree.AddScalar(list, ValueKind::kInteger, {3, 5}, "2");
  tree.AddScalar(root, ValueKind::kString, {4, 1}, "b");
  tree.AddAlias(root, {4, 4}, list);
  const ValueTree::Id alias = tree.Find(root, "b");
  EXPECT_EQ(tree.Find(root, "a"), list);
  EXPECT_EQ(tree.Find(root, "c"), ValueTree::kNone);
  EXPECT_EQ(tree.Find(list, "a"), ValueTree::kNone);
  EXPECT_EQ(tree.kind(alias), ValueKind::kSequence);
  EXPECT_EQ(tree.line(alias), 4u);
  EXPECT_EQ(tree.first_child(alias), first);
  EXPECT_EQ(tree.text(tree.first_child(alias)), "first");
  EXPECT_EQ(tree.text(tree.next(tree.first_child(alias))), "2");
  EXPECT_EQ(tree.next(tree.next(tree.first_child(alias))), ValueTree::kNone);
}

}  // namespace
}  // namespace sluice
