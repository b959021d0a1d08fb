// SPDX-License-Identifier: Apache-2.0
#include "control/report/endpoint_text.h"

#include <netinet/in.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/support/status_matchers.h"

namespace sluice::report {
namespace {

using ::sluice::testing::IsOkAndHolds;
using ::sluice::testing::StatusIs;
using ::testing::HasSubstr;

EndpointText Endpoint(const std::string& address, std::optional<std::uint16_t> port) {
  return {IpAddress::Parse(address).value(), port};
}

TEST(FormatEndpointTest, PutsIpv6InBrackets) {
  EXPECT_EQ(FormatEndpoint(Endpoint("192.0.2.1", {}).address, 80), "192.0.2.1:80");
  EXPECT_EQ(FormatEndpoint(Endpoint("2001:db8::1", {}).address, 80), "[2001:db8::1]:80");
}

TEST(ParseEndpointTest, ReadsEveryForm) {
  EXPECT_THAT(ParseEndpoint("192.0.2.1"), IsOkAndHolds(Endpoint("192.0.2.1", {})));
  EXPECT_THAT(ParseEndpoint("192.0.2.1:80"), IsOkAndHolds(Endpoint("192.0.2.1", 80)));
  EXPECT_THAT(ParseEndpoint("2001:db8::1"), IsOkAndHolds(Endpoint("2001:db8::1", {})));
  EXPECT_THAT(ParseEndpoint("[2001:db8::1]"), IsOkAndHolds(Endpoint("2001:db8::1", {})));
  EXPECT_THAT(ParseEndpoint("[2001:db8::1]:65535"), IsOkAndHolds(Endpoint("2001:db8::1", 65535)));
}

TEST(ParseEndpointTest, RefusesWhatIsNone) {
  for (const char* text :
       {"", ":80", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.1:+80", "192.0.2.1: 80",
        "192.0.2.1:http", "192.0.2.300", "[192.0.2.1]:80", "[2001:db8::1", "[2001:db8::1]80",
        "[2001:db8::1]:", "[]:80", "web:80"}) {
    EXPECT_THAT(ParseEndpoint(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  EXPECT_THAT(ParseEndpoint("192.0.2.1:99999"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("99999")));
}

TEST(ServiceFilterTest, MatchesOnePortOrAll) {
  const ServicePortName http{"default", "web", "http", IPPROTO_TCP};
  const ServicePortName unnamed{"default", "web", "", IPPROTO_TCP};
  EXPECT_EQ(ServiceLabel(http), "default/web:http");
  EXPECT_EQ(ServiceLabel(unnamed), "default/web");
  EXPECT_TRUE(ParseServiceFilter("default/web")->Matches(http));
  EXPECT_TRUE(ParseServiceFilter("default/web")->Matches(unnamed));
  EXPECT_TRUE(ParseServiceFilter("default/web:http")->Matches(http));
  EXPECT_FALSE(ParseServiceFilter("default/web:http")->Matches(unnamed));
  EXPECT_FALSE(ParseServiceFilter("default/we")->Matches(http));
  EXPECT_FALSE(ParseServiceFilter("other/web")->Matches(http));
}

TEST(ServiceFilterTest, RefusesOtherText) {
  for (const char* text : {"", "web", "/web", "default/", "default/web/x", "a:b/c", "default/:x"}) {
    EXPECT_THAT(ParseServiceFilter(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

}  // namespace
}  // namespace sluice::report
