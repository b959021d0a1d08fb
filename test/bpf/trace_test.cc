// SPDX-License-Identifier: Apache-2.0
// maps/trace.h: questions put to the loaded programs.
#include "maps/trace.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

class TraceTest : public ServiceTest {
 protected:
  RunResult Trace(const Hook& hook, const Packet& packet) {
    RunContext context;
    context.cb[0] = abi::SL_TRACE_CB0;
    context.cb[1] = abi::SL_TRACE_CB1;
    return Run(hook, Build(packet), context);
  }
  void ExpectAnswer(const RunResult& result, std::uint32_t service, std::uint32_t reason,
                    std::uint32_t verdict, std::uint32_t frontend) {
    EXPECT_EQ(result.cb[abi::SL_TRACE_SERVICE_ID], service);
    EXPECT_EQ(result.cb[abi::SL_TRACE_REASON] & 0xffff, reason);
    EXPECT_EQ(result.cb[abi::SL_TRACE_REASON] >> 16, verdict);
    EXPECT_EQ(result.cb[abi::SL_TRACE_FRONTEND], frontend);
  }
  void ExpectNoTrace() {
    EXPECT_EQ(OpeningCount(), 0u);
    EXPECT_EQ(FlowCount(), 0u);
    EXPECT_EQ(AllDrops(), 0u);
    EXPECT_EQ(tables().affinity.Dump()->size(), 0u);
    const abi::service_stats stats = ServiceStats(kService);
    EXPECT_EQ(stats.opened + stats.packets_in + stats.rejected + stats.dropped, 0u);
    for (std::uint32_t id = 1; id < 4; ++id) EXPECT_EQ(BackendStats(id).opened, 0u);
  }
};
INSTANTIATE_TEST_SUITE_P(Flavors, TraceTest, ::testing::ValuesIn(AllFlavors()), FlavorCaseName);

TEST_P(TraceTest, SaysWhereAPacketWouldGoAndLeavesNothing) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}, kPlain | abi::SL_SERVICE_AFFINITY));
  SetService(NodePort({Backend(addresses().remote, false)}));
  RunResult result = Trace(kFromPod1, Question(pod(), cluster_ip()));
  ExpectAnswer(result, kService, 0, abi::SL_VERDICT_FORWARD, abi::SL_FRONTEND_CLUSTER_IP);
  EXPECT_EQ(Difference(Build(Question(pod(), {addresses().pod2, kBackendPort})), result.frame), "");
  result = Trace(kFromNet, Question(outside(), node_port()));
  ExpectAnswer(result, kService, 0, abi::SL_VERDICT_FORWARD, abi::SL_FRONTEND_NODE_PORT);
  const auto parsed = Parse(result.frame);
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(flavor().v6 ? Find<Ipv6>(*parsed)->source : Find<Ipv4>(*parsed)->source,
            addresses().node);
  ExpectNoTrace();
}

TEST_P(TraceTest, SaysWhyAPacketWouldNotGo) {
  SetService(ClusterIp({}, 0));
  ExpectAnswer(Trace(kFromPod1, Question(pod(), cluster_ip())), kService, abi::SL_REASON_NO_BACKEND,
               abi::SL_VERDICT_REJECT, abi::SL_FRONTEND_CLUSTER_IP);
  ExpectAnswer(Trace(kFromNet, Question(outside(), cluster_ip())), kService,
               abi::SL_REASON_EXTERNAL_DENIED, abi::SL_VERDICT_DROP, abi::SL_FRONTEND_CLUSTER_IP);
  ExpectAnswer(Trace(kFromPod1, Question(pod(), {addresses().remote, 1})), 0, 0,
               abi::SL_VERDICT_NONE, 0);
  ExpectNoTrace();
}

}  // namespace
}  // namespace sluice::testing
