// SPDX-License-Identifier: Apache-2.0
// A service whose packets nodes pass on to each other, seen from one of three nodes.
#pragma once

#include <arpa/inet.h>

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "maps/node.h"
#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {

inline constexpr std::uint32_t kNode2 = 2;  // indices in sl_nodes
inline constexpr std::uint32_t kNode3 = 3;
inline constexpr std::uint16_t kDsr = kPlain | abi::SL_SERVICE_DSR;
inline constexpr std::uint16_t kLocalRow =
    kPlain | abi::SL_SERVICE_LOCAL_INTERNAL | abi::SL_SERVICE_LOCAL_EXTERNAL;

class TunnelTest : public ServiceTest {
 protected:
  void SetUp() override {
    ServiceTest::SetUp();
    SetNode(kNode2, "192.0.2.20", "2001:db8::20", abi::SL_NODE_TUNNEL);
    SetNode(kNode3, "192.0.2.1", "2001:db8::1", abi::SL_NODE_TUNNEL);
  }
  void SetNode(std::uint32_t index, const std::string& v4, const std::string& v6,
               std::uint32_t flags) {
    abi::node row{};
    row.address[abi::SL_FAMILY_V4] = MapAddress(v4);
    row.address[abi::SL_FAMILY_V6] = MapAddress(v6);
    row.flags = flags;
    const std::pair<std::uint32_t, abi::node> node{index, row};
    ASSERT_THAT(tables().nodes.Update(std::span(&node, 1)).status, IsOk());
    for (const abi::addr& address : row.address) {
      const std::pair<abi::addr, std::uint32_t> id{address, index};
      ASSERT_THAT(tables().node_ids.Update(std::span(&id, 1)).status, IsOk());
    }
  }
  void UseTunnel(abi::sl_tunnel_kind kind, std::uint16_t mss = 0) {
    abi::node_config config = DefaultConfig();
    config.tunnel_kind = static_cast<__u8>(kind);
    config.tunnel_mss[0] = config.tunnel_mss[1] = mss;
    SetConfig(config);
    gue_ = kind == abi::SL_TUNNEL_GUE;
  }
  std::string node2() const { return flavor().v6 ? "2001:db8::20" : "192.0.2.20"; }
  std::string node3() const { return flavor().v6 ? "2001:db8::1" : "192.0.2.1"; }
  std::uint32_t Remote(const std::string& address, std::uint32_t node) {
    return AddBackend(
        {.address = address, .port = kBackendPort, .protocol = flavor().protocol, .node = node});
  }
  // What the network sees of a packet that `from` passes on to `to`.
  Packet Wrapped(const std::string& from, const std::string& to, const Packet& packet,
                 bool second = false) const {
    const Packet inner(packet.begin() + 1, packet.end());
    Packet wrapped{packet.front()};
    if (flavor().v6) {
      wrapped.push_back(
          Ipv6{.source = from, .destination = to, .flow_label = Label(packet) | second});
    } else {
      wrapped.push_back(Ipv4{.source = from,
                             .destination = to,
                             .id = static_cast<std::uint16_t>(second ? 0x8000 : 0),
                             .dont_fragment = true});
    }
    if (gue_) {
      Udp udp{.source_port = static_cast<std::uint16_t>(0xc000 | (Entropy(packet) & 0x3fff)),
              .destination_port = abi::SL_GUE_PORT,
              .no_checksum = true};
      const Bytes bytes = Build(inner);
      wrapped.push_back(udp);
      wrapped.push_back(Payload{std::string(bytes.begin(), bytes.end())});
      return wrapped;
    }
    return wrapped / inner;
  }
  // What tells flows apart on the way: only that it is the same for one flow matters.
  static std::uint32_t Entropy(const Packet& packet) {
    const Ports ports = PortsOf(packet);
    const std::uint32_t word =
        static_cast<std::uint32_t>(htons(ports.destination)) << 16 | htons(ports.source);
    const std::uint32_t hash =
        static_cast<std::uint32_t>(MapAddress(SourceOf(packet)).w[3]) ^ word * 0x9e3779b9U;
    return hash ^ hash >> 16;
  }
  static std::uint32_t Label(const Packet& packet) { return (Entropy(packet) & 0xffff) << 1; }

  // A service of which this node has no endpoint, or one for those who pass packets on.
  ServiceSpec External(std::vector<std::uint32_t> backends) const {
    ServiceSpec spec = NodePort(std::move(backends), kDsr);
    spec.kind = abi::SL_FRONTEND_LOAD_BALANCER;
    spec.address = addresses().cluster_ip2;
    return spec;
  }
  ServiceSpec Tunnelled(std::vector<std::uint32_t> backends) const {
    ServiceSpec spec = External(std::move(backends));
    spec.protocol |= abi::SL_PROTOCOL_TUNNELLED;
    spec.kind = abi::SL_FRONTEND_TUNNELLED;
    spec.flags = kLocalRow;
    return spec;
  }
  End frontend() const { return {addresses().cluster_ip2, kNodePort}; }
  Packet Asked(const Shape& shape = Syn()) const { return Question(outside(), frontend(), shape); }
  // One with tests of both ways to wrap.
  template <typename Test>
  void BothKinds(Test test) {
    for (const abi::sl_tunnel_kind kind : {abi::SL_TUNNEL_IPIP, abi::SL_TUNNEL_GUE}) {
      SCOPED_TRACE(kind);
      SetUp();
      UseTunnel(kind);
      test();
    }
  }
  bool gue_ = false;
};

}  // namespace sluice::testing
