// SPDX-License-Identifier: Apache-2.0
#include "test/bpf/service_fixture.h"

namespace sluice::testing {

void ServiceTest::ExpectDropped(const Hook& hook, const Packet& packet, std::uint32_t reason,
                                std::uint32_t service_id) {
  const std::uint64_t before = Drops(reason, service_id);
  const std::uint64_t dropped = ServiceStats(service_id).dropped;
  EXPECT_TRUE(Becomes(hook, packet, kDrop, packet));
  EXPECT_EQ(Drops(reason, service_id), before + 1);
  if (service_id != 0) {
    EXPECT_EQ(ServiceStats(service_id).dropped, dropped + 1);
  }
  EXPECT_EQ(OpeningCount(), 0u);
  EXPECT_EQ(FlowCount(), 0u);
}

void ServiceTest::ExpectRejected(const Hook& hook, const Packet& packet, std::uint32_t reason,
                                 std::uint32_t service_id) {
  const std::uint64_t before = Drops(reason, service_id);
  const std::uint64_t rejected = ServiceStats(service_id).rejected;
  const RunResult result = Run(hook, packet);
  EXPECT_EQ(result.verdict, kRedirect) << "the answer goes back out of the same device";
  EXPECT_EQ(Drops(reason, service_id), before + 1);
  if (service_id != 0) {
    EXPECT_EQ(ServiceStats(service_id).rejected, rejected + 1);
  }
  EXPECT_THAT(VerifyChecksums(result.frame), IsOk());
  if (flavor().sctp()) {
    ExpectAbort(packet, result.frame);
  } else {
    tcp() ? ExpectReset(packet, result.frame) : ExpectUnreachable(packet, result.frame);
  }
  EXPECT_EQ(OpeningCount(), 0u);
  EXPECT_EQ(FlowCount(), 0u);
}

void ServiceTest::ExpectReset(const Packet& packet, const Bytes& answer) {
  const auto& in = *Find<Tcp>(packet);
  const auto has = [&in](char flag) { return in.flags.find(flag) != std::string::npos; };
  const auto* payload = Find<Payload>(packet);
  Tcp reset{.source_port = in.destination_port, .destination_port = in.source_port, .window = 0};
  if (has('A')) {
    reset.flags = "R";
    reset.sequence = in.acknowledgment;
  } else {
    reset.flags = "RA";
    reset.acknowledgment = in.sequence +
                           static_cast<std::uint32_t>(payload ? payload->bytes.size() : 0) +
                           (has('S') ? 1u : 0u) + (has('F') ? 1u : 0u);
  }
  Packet expected = Turned(packet);
  expected.push_back(reset);
  EXPECT_EQ(Difference(Build(expected), answer), "");
}

void ServiceTest::ExpectAbort(const Packet& packet, const Bytes& answer) {
  const auto& in = *Find<Sctp>(packet);
  constexpr std::uint8_t kTagReflected = 1;  // the T bit
  SctpChunk chunk{.type = kSctpAbort, .flags = kTagReflected};
  std::uint32_t tag = in.tag;
  if (in.chunks.front().type == kSctpInit) {
    tag = 0;
    for (int i = 0; i < 4; ++i) {
      tag = tag << 8 | static_cast<std::uint8_t>(in.chunks.front().value.at(i));
    }
    chunk.flags = 0;
  } else if (in.chunks.front().type == kSctpShutdownAck) {
    chunk.type = kSctpShutdownComplete;
  }
  Packet expected = Turned(packet);
  expected.push_back(Sctp{.source_port = in.destination_port,
                          .destination_port = in.source_port,
                          .tag = tag,
                          .chunks = {chunk},
                          .no_checksum = in.no_checksum});
  EXPECT_EQ(Difference(Build(expected), answer), "");
}

void ServiceTest::ExpectUnreachable(const Packet& packet, const Bytes& answer) {
  const absl::StatusOr<Packet> parsed = Parse(answer);
  ASSERT_THAT(parsed, IsOk());
  const auto* icmp = Find<Icmp>(*parsed);
  ASSERT_NE(icmp, nullptr);
  EXPECT_EQ(icmp->type, flavor().v6 ? 1 : 3);
  EXPECT_EQ(icmp->code, flavor().v6 ? 4 : 3);
  EXPECT_EQ(icmp->rest, 0u);
  Packet expected_front = Turned(packet);
  const std::size_t header = flavor().v6 ? 14 + 40 : 14 + 20;
  const Bytes question = Build(packet);
  const std::size_t quoted = answer.size() - header - 8;
  EXPECT_GE(quoted, (flavor().v6 ? 40u : 20u) + 8u);
  ASSERT_LE(quoted, question.size() - 14);
  EXPECT_EQ(
      Bytes(answer.begin() + static_cast<std::ptrdiff_t>(header) + 8, answer.end()),
      Bytes(question.begin() + 14, question.begin() + 14 + static_cast<std::ptrdiff_t>(quoted)));
  if (flavor().v6) {
    EXPECT_EQ(Find<Ipv6>(*parsed)->source, Find<Ipv6>(packet)->destination);
    EXPECT_EQ(Find<Ipv6>(*parsed)->destination, Find<Ipv6>(packet)->source);
  } else {
    EXPECT_EQ(Find<Ipv4>(*parsed)->source, Find<Ipv4>(packet)->destination);
    EXPECT_EQ(Find<Ipv4>(*parsed)->destination, Find<Ipv4>(packet)->source);
  }
  EXPECT_EQ(Find<Ethernet>(*parsed)->source, Find<Ethernet>(packet)->destination);
  EXPECT_EQ(Find<Ethernet>(*parsed)->destination, Find<Ethernet>(packet)->source);
}

Packet ServiceTest::Turned(const Packet& packet) const {
  const auto& link = *Find<Ethernet>(packet);
  const Ethernet turned{.source = link.destination, .destination = link.source};
  if (flavor().v6) {
    const auto& in = *Find<Ipv6>(packet);
    return turned / Ipv6{.source = in.destination, .destination = in.source};
  }
  const auto& in = *Find<Ipv4>(packet);
  return turned / Ipv4{.source = in.destination, .destination = in.source, .id = in.id};
}

std::uint32_t ServiceTest::Backend(const std::string& address, bool local, std::uint16_t port) {
  return AddBackend(
      {.address = address,
       .port = port,
       .protocol = flavor().protocol,
       .flags = static_cast<std::uint8_t>(abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE |
                                          (local ? abi::SL_BACKEND_LOCAL : 0))});
}

End ServiceTest::TwoFrontendsOfOneBackend() {
  const std::uint32_t only = Backend(addresses().remote, false);
  SetService(ClusterIp({only}));
  ServiceSpec second = ClusterIp({only});
  second.id = kService + 1;
  second.address = addresses().cluster_ip2;
  SetService(second);
  return {addresses().cluster_ip2, kServicePort};
}

ServiceSpec ServiceTest::ClusterIp(std::vector<std::uint32_t> backends, std::uint16_t flags) const {
  return {.id = kService,
          .address = cluster_ip().address,
          .port = cluster_ip().port,
          .protocol = flavor().protocol,
          .kind = abi::SL_FRONTEND_CLUSTER_IP,
          .flags = static_cast<std::uint16_t>(flags | abi::SL_SERVICE_DENY_EXTERNAL),
          .backends = std::move(backends)};
}

ServiceSpec ServiceTest::NodePort(std::vector<std::uint32_t> backends, std::uint16_t flags) const {
  ServiceSpec spec = ClusterIp(std::move(backends));
  spec.address = node_port().address;
  spec.port = node_port().port;
  spec.kind = abi::SL_FRONTEND_NODE_PORT;
  spec.flags = flags;
  return spec;
}

}  // namespace sluice::testing
