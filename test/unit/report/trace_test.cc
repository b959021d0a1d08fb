// SPDX-License-Identifier: Apache-2.0
#include "control/report/trace.h"

#include <netinet/in.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/status_matchers.h"

namespace sluice::report {
namespace {

using ::sluice::testing::IsOk;
using ::sluice::testing::StatusIs;
using ::testing::HasSubstr;

TraceArguments Arguments() { return {"pod", "192.0.2.1", "198.51.100.1:80", "tcp", 1, ""}; }

TEST(ParseTraceArgumentsTest, ReadsBothFamilies) {
  auto request = ParseTraceArguments({"net", "192.0.2.1:4000", "198.51.100.1:80", "UDP", 5, ""});
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->hook, TraceHook::kNet);
  EXPECT_EQ(request->source, ParseEndpoint("192.0.2.1:4000").value());
  EXPECT_EQ(request->destination, ParseEndpoint("198.51.100.1:80").value());
  EXPECT_EQ(request->protocol, std::uint32_t{IPPROTO_UDP});
  EXPECT_EQ(request->count, 5u);
  request = ParseTraceArguments({"pod", "2001:db8::1", "[2001:db8::2]:80", "tcp", 1, ""});
  ASSERT_THAT(request, IsOk());
  EXPECT_EQ(request->hook, TraceHook::kPod);
  EXPECT_FALSE(request->source.port.has_value());
}

TEST(ParseTraceArgumentsTest, SaysWhatIsWrong) {
  const auto with = [](auto change) {
    TraceArguments arguments = Arguments();
    change(arguments);
    return ParseTraceArguments(arguments).status();
  };
  const auto bad = absl::StatusCode::kInvalidArgument;
  ASSERT_THAT(ParseTraceArguments(Arguments()), IsOk());
  EXPECT_THAT(with([](auto& a) { a.hook = "xdp"; }), StatusIs(bad, HasSubstr("--hook \"xdp\"")));
  for (const char* hook : {"pod", "net", "host"}) {
    EXPECT_THAT(with([&](auto& a) { a.hook = hook; }), IsOk()) << hook;
  }
  EXPECT_THAT(with([](auto& a) { a.protocol = "icmp"; }), StatusIs(bad, HasSubstr("--protocol")));
  EXPECT_THAT(with([](auto& a) { a.protocol = "icmp"; }), StatusIs(bad, HasSubstr("--protocol")));
  EXPECT_THAT(with([](auto& a) { a.source = "web"; }), StatusIs(bad, HasSubstr("--src: \"web\"")));
  EXPECT_THAT(with([](auto& a) { a.destination = "1.2.3"; }), StatusIs(bad, HasSubstr("--dst")));
  EXPECT_THAT(with([](auto& a) { a.destination = "192.0.2.9"; }),
              StatusIs(bad, HasSubstr("needs a port")));
  EXPECT_THAT(with([](auto& a) { a.destination = "[2001:db8::1]:80"; }),
              StatusIs(bad, HasSubstr("one is IPv4, the other IPv6")));
  EXPECT_THAT(with([](auto& a) { a.count = 0; }), StatusIs(bad, HasSubstr("--count 0")));
  EXPECT_THAT(with([](auto& a) { a.count = 100001; }), StatusIs(bad, HasSubstr("--count")));
}

TEST(ChooseTraceInterfaceTest, WithoutAnyTheLoopbackStandsIn) {
  const auto chosen = ChooseTraceInterface("", TraceHook::kPod, {});
  ASSERT_THAT(chosen, IsOk());
  EXPECT_EQ(chosen->name, "");
  EXPECT_EQ(chosen->ifindex, 0u);
}

TEST(ChooseTraceInterfaceTest, TakesTheOneNamedOrOneOfTheRole) {
  // Only names that exist can be opened: `lo` does everywhere.
  const std::vector<InterfaceReport> attached = {{"none-a", 8, "uplink", {}, "tcx", ""},
                                                 {"lo", 1, "pod", {}, "tcx", ""}};
  const auto of_role = ChooseTraceInterface("", TraceHook::kPod, attached);
  ASSERT_THAT(of_role, IsOk());
  EXPECT_EQ(of_role->name, "lo");
  EXPECT_EQ(of_role->ifindex, 1u);
  EXPECT_THAT(ChooseTraceInterface("", TraceHook::kNet, attached),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none-a")));
  EXPECT_THAT(ChooseTraceInterface("none-b", TraceHook::kPod, attached),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("none-b")));
  const std::vector<InterfaceReport> uplinks = {{"lo", 1, "uplink", {}, "tcx", ""}};
  const auto of_any = ChooseTraceInterface("", TraceHook::kPod, uplinks);
  ASSERT_THAT(of_any, IsOk());
  EXPECT_EQ(of_any->name, "lo");
}

TEST(TraceReportTest, JsonIsAsPromised) {
  const std::vector<TraceAnswer> answers = {{"forward",
                                             "default/web:http",
                                             "NodePort",
                                             "[2001:db8::9]:8080",
                                             "[2001:db8::1]:20001",
                                             "",
                                             {}},
                                            {"none", "", "", "", "192.0.2.1:40000", "", {}}};
  EXPECT_EQ(TraceToJson(answers), Json::parse(R"([
    {"verdict": "forward", "service": "default/web:http", "frontendKind": "NodePort",
     "backend": "[2001:db8::9]:8080", "source": "[2001:db8::1]:20001", "reason": ""},
    {"verdict": "none", "service": "", "frontendKind": "", "backend": "",
     "source": "192.0.2.1:40000", "reason": ""}])"));
}

}  // namespace
}  // namespace sluice::report
