// SPDX-License-Identifier: Apache-2.0
// A network namespace, a folder of pins and a state folder of the test's own, gone afterwards.
#pragma once

#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "control/datapath/classify.h"
#include "control/datapath/rtnetlink.h"
#include "test/support/netns.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {

class NodeFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    libbpf_set_print(nullptr);  // what it says is in the statuses
    absl::StatusOr<std::unique_ptr<NetNs>> netns = NetNs::Create();
    ASSERT_THAT(netns, IsOk());
    netns_ = *std::move(netns);
    // bpffs allows no dots and every test its own folder, so that they may run side by side.
    const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
    const std::string name = absl::StrCat("sluice-agent-", ::getpid(), "-", test->line());
    bpffs_ = absl::StrCat("/sys/fs/bpf/", name);
    state_dir_ = absl::StrCat(::testing::TempDir(), name);
    std::filesystem::create_directories(state_dir_);
  }

  void TearDown() override {
    std::error_code error;
    std::filesystem::remove_all(bpffs_, error);
    EXPECT_FALSE(error) << error.message();
    std::filesystem::remove_all(state_dir_, error);
    EXPECT_FALSE(error) << error.message();
  }

  static InterfaceFlags Patterns(std::vector<std::string> uplinks,
                                 std::vector<std::string> pod_interfaces) {
    InterfaceFlags flags;
    flags.uplinks = std::move(uplinks);
    flags.pod_interfaces = std::move(pod_interfaces);
    return flags;
  }

  // The interfaces of the namespace that have a role, as the flags say.
  std::vector<Interface> Find(const InterfaceFlags& flags) {
    const absl::StatusOr<NetworkState> network = ReadNetworkState();
    EXPECT_THAT(network, IsOk());
    return network.ok() ? Classify(*network, flags, {}) : std::vector<Interface>{};
  }

  std::unique_ptr<NetNs> netns_;
  std::string bpffs_;
  std::string state_dir_;
};

}  // namespace sluice::testing
