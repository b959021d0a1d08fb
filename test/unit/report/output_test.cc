// SPDX-License-Identifier: Apache-2.0
#include "control/report/output.h"

#include "gtest/gtest.h"
#include "yaml-cpp/yaml.h"

namespace sluice::report {
namespace {

TEST(TextTableTest, AlignsColumnsAndTrimsLines) {
  TextTable table({{"NAME"}, {"COUNT", TextTable::Align::kRight}, {"NOTE"}});
  table.AddRow({"a", "12345", "x"});
  table.AddRow({"longer", "1", ""});
  table.AddRow({"[2001:db8::1]:80", "", "last"});
  EXPECT_EQ(table.Render(),
            "NAME              COUNT  NOTE\n"
            "a                 12345  x\n"
            "longer                1  -\n"
            "[2001:db8::1]:80      -  last\n");
}

TEST(TextTableTest, RowsThatEndInBlanksAreTrimmed) {
  TextTable table({{"A"}, {"LONG TITLE"}});
  table.AddRow({"1", "x"});
  EXPECT_EQ(table.Render(), "A  LONG TITLE\n1  x\n");
}

TEST(HumanTest, CountsHaveThreeDigits) {
  EXPECT_EQ(HumanCount(0), "0");
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(1000), "1.00k");
  EXPECT_EQ(HumanCount(12345), "12.3k");
  EXPECT_EQ(HumanCount(999949), "1000k");
  EXPECT_EQ(HumanCount(1234567), "1.23M");
  EXPECT_EQ(HumanCount(18446744073709551615u), "18.4E");
}

TEST(HumanTest, BytesAreBinary) {
  EXPECT_EQ(HumanBytes(1023), "1023B");
  EXPECT_EQ(HumanBytes(1024), "1.00KiB");
  EXPECT_EQ(HumanBytes(100 << 20), "100MiB");
}

TEST(HumanTest, SecondsShowTwoUnits) {
  EXPECT_EQ(HumanSeconds(59), "59s");
  EXPECT_EQ(HumanSeconds(312), "5m12s");
  EXPECT_EQ(HumanSeconds(3 * 3600 + 7 * 60 + 59), "3h07m");
  EXPECT_EQ(HumanSeconds(2 * 86400 + 4 * 3600), "2d04h");
}

TEST(RenderJsonTest, KeepsFieldOrderAndReplacesBadUtf8) {
  const Json value = {{"z", 1}, {"a", "\xff"}};
  EXPECT_EQ(RenderJson(value), "{\n  \"z\": 1,\n  \"a\": \"\xef\xbf\xbd\"\n}\n");
}

TEST(RenderYamlTest, ReadsBackAsTheSameTypes) {
  const Json value = {{"text", "plain words"},
                      {"digits", "8080"},
                      {"truth", "true"},
                      {"no", "no"},
                      {"nothing", ""},
                      {"tilde", "~"},
                      {"address", "2001:db8::1"},
                      {"number", 42},
                      {"flag", true},
                      {"null", nullptr},
                      {"empty", Json::array()},
                      {"none", Json::object()},
                      {"list", {{{"a", 1}, {"b", "x"}}, {{"a", 2}}}}};
  EXPECT_EQ(RenderYaml(value),
            "text: plain words\n"
            "digits: \"8080\"\n"
            "truth: \"true\"\n"
            "no: \"no\"\n"
            "nothing: \"\"\n"
            "tilde: \"~\"\n"
            "address: 2001:db8::1\n"
            "number: 42\n"
            "flag: true\n"
            "\"null\": ~\n"
            "empty: []\n"
            "none: {}\n"
            "list:\n"
            "  - a: 1\n"
            "    b: x\n"
            "  - a: 2\n");
}

TEST(RenderYamlTest, LinesAndColonsSurvive) {
  const std::string text = "first: line\nsecond # line";
  const YAML::Node node = YAML::Load(RenderYaml({{"message", text}}));
  EXPECT_EQ(node["message"].as<std::string>(), text);
}

}  // namespace
}  // namespace sluice::report
