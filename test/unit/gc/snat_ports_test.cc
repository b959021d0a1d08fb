// SPDX-License-Identifier: Apache-2.0
#include "control/gc/snat_ports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <vector>

#include "control/model/ip_address.h"
#include "maps/row_compare.h"
#include "test/support/fake_clock.h"
#include "test/support/fake_table.h"
#include "test/support/status_matchers.h"

namespace sluice {
namespace {

using ::testing::ElementsAre;
using testing::FakeClock;
using testing::FakeFaults;
using testing::FakeKind;
using testing::FakeTable;
using ::testing::IsEmpty;
using testing::IsOk;

constexpr std::uint16_t kFirst = 5000;
constexpr std::uint32_t kCount = 1000;

SnatPath Path(const std::string& destination) {
  SnatPath path{};
  path.source = IpAddress::Parse("192.0.2.1")->ToAbi();
  path.destination = IpAddress::Parse(destination)->ToAbi();
  path.destination_port = htons(8080);
  path.protocol = IPPROTO_TCP;
  return path;
}

std::uint32_t TableOf(const SnatPath& path) {
  return abi::snat_table(&path.source, &path.destination, path.destination_port, path.protocol);
}

std::vector<std::uint16_t> Ports(std::uint32_t count) {
  std::vector<std::uint16_t> ports;
  for (std::uint32_t i = 0; i < count; ++i) {
    ports.push_back(static_cast<std::uint16_t>(kFirst + i));
  }
  return ports;
}

class SnatPortsTest : public ::testing::Test {
 protected:
  // As a program does.
  void Take(const SnatPath& path, std::uint16_t port) {
    abi::snat_ports& row = memory_[TableOf(path)];
    const std::uint32_t place = std::uint32_t{port} - kFirst;
    row.touched = 1;
    row.used[place / 64] |= std::uint64_t{1} << place % 64;
    if (~row.used[place / 64] == 0)
      row.full[place / 64 / 64] |= std::uint64_t{1} << place / 64 % 64;
  }
  bool Taken(const SnatPath& path, std::uint16_t port) {
    const std::uint32_t place = std::uint32_t{port} - kFirst;
    return (memory_[TableOf(path)].used[place / 64] >> place % 64 & 1) != 0;
  }
  void Open(const SnatPath& path, std::uint16_t port, std::uint32_t age = 0) {
    abi::opening_bucket& row = opening_.rows()[port % 16];
    row.tag[0] = 1;
    row.last_seen[0] = static_cast<std::uint32_t>(clock_.MonotonicNs() >> abi::SL_TICK_SHIFT) - age;
    row.flows[0].key.protocol = path.protocol;
    row.flows[0].entry.flags = abi::SL_FLOW_FORWARD | abi::SL_FLOW_SNAT;
    row.flows[0].entry.new_source = path.source;
    row.flows[0].entry.new_source_port = htons(port);
    row.flows[0].entry.new_destination = path.destination;
    row.flows[0].entry.new_destination_port = path.destination_port;
  }

  const SnatPath one_ = Path("10.0.0.1");
  const SnatPath other_ = Path("10.0.0.2");
  FakeClock clock_;
  FakeFaults faults_;
  FakeTable<std::uint32_t, abi::opening_bucket> opening_{"sl_opening", FakeKind::kArray, 16,
                                                         faults_};
  std::vector<abi::snat_ports> memory_ = std::vector<abi::snat_ports>(abi::SL_SNAT_TABLES);
  SnatArray array_{memory_};
  SnatPorts ports_{array_, opening_, clock_, kFirst, kCount};
};

TEST_F(SnatPortsTest, PortsOfFlowsThatAreOverAreGivenBack) {
  for (const std::uint16_t port : std::initializer_list<std::uint16_t>{5000, 5001, 5999})
    Take(one_, port);
  Take(other_, 5000);
  ASSERT_THAT(ports_.Finish({{one_, {5001}}}), IsOk());
  EXPECT_FALSE(Taken(one_, 5000));
  EXPECT_TRUE(Taken(one_, 5001));
  EXPECT_FALSE(Taken(one_, 5999));
  EXPECT_FALSE(Taken(other_, 5000));
  EXPECT_TRUE(array_.Touched(TableOf(one_)));
  EXPECT_FALSE(array_.Touched(TableOf(other_)));
  EXPECT_THAT(ports_.use(), ElementsAre(SnatUse{one_, 1}));
}

TEST_F(SnatPortsTest, AWordThatWasFullIsLookedAtAgain) {
  for (std::uint16_t port = 5064; port < 5128; ++port) Take(one_, port);
  ASSERT_EQ(memory_[TableOf(one_)].full[0], 2u);
  ASSERT_THAT(ports_.Finish({{one_, Ports(127)}}), IsOk());
  EXPECT_EQ(memory_[TableOf(one_)].full[0], 0u);
  EXPECT_FALSE(Taken(one_, 5127));
  EXPECT_TRUE(Taken(one_, 5126));
}

TEST_F(SnatPortsTest, AWordThatIsFullOnlyByNameIsLookedAtAgain) {
  Take(one_, 5000);
  memory_[TableOf(one_)].full[0] = 1;
  ASSERT_THAT(ports_.Finish({{one_, {5000, 5007}}}), IsOk());
  EXPECT_EQ(memory_[TableOf(one_)].full[0], 0u);
  EXPECT_TRUE(Taken(one_, 5007)) << "a bit that was lost is put back";
}

TEST_F(SnatPortsTest, PortsOfAnotherRangeAreNotCounted) {
  Take(one_, 5001);
  ASSERT_THAT(ports_.Finish({{one_, {4999, 5001, 6000}}}), IsOk());
  EXPECT_THAT(ports_.use(), ElementsAre(SnatUse{one_, 1}));
}

TEST_F(SnatPortsTest, FlowsThatAreBeingOpenedKeepTheirPorts) {
  Take(one_, 5003);
  Take(one_, 5004);
  Open(one_, 5003);
  Open(one_, 5004, abi::SL_OPENING_TICKS + 1);
  ASSERT_THAT(ports_.Finish({{one_, {5003}}}), IsOk());
  EXPECT_TRUE(Taken(one_, 5003));
  EXPECT_FALSE(Taken(one_, 5004)) << "it has been silent for too long";
  EXPECT_THAT(ports_.use(), ElementsAre(SnatUse{one_, 1})) << "counted once";
}

TEST_F(SnatPortsTest, AFailedReadChangesNothing) {
  Take(one_, 5003);
  opening_.read_status = absl::InternalError("broken");
  EXPECT_FALSE(ports_.Finish({}).ok());
  EXPECT_TRUE(Taken(one_, 5003));
}

TEST_F(SnatPortsTest, NearlyFullFromEightyPercentUntilBelowSeventy) {
  Take(one_, 5000);
  const auto full_at = [&](std::uint32_t used) {
    EXPECT_THAT(ports_.Finish({{one_, Ports(used)}, {other_, Ports(100)}}), IsOk());
    return ports_.nearly_full().contains(one_);
  };
  EXPECT_FALSE(full_at(799));
  EXPECT_TRUE(full_at(800));
  EXPECT_TRUE(full_at(700));
  EXPECT_FALSE(full_at(699));
  EXPECT_FALSE(full_at(799));
  EXPECT_THAT(ports_.use(), ElementsAre(SnatUse{one_, 799}, SnatUse{other_, 100}));
  ASSERT_THAT(ports_.Finish({}), IsOk());
  EXPECT_THAT(ports_.use(), IsEmpty());
}

TEST_F(SnatPortsTest, WhatIsSaidNamesBothEnds) {
  EXPECT_THAT(NearlyFullText(one_, 800, kCount),
              ::testing::StartsWith("SNAT: 800 of 1000 source ports of 192.0.2.1 towards "
                                    "10.0.0.1:8080/TCP are taken"));
}

}  // namespace
}  // namespace sluice
