// SPDX-License-Identifier: Apache-2.0
// A service by ClusterIP or NodePort, and what is expected of packets that it refuses.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/datapath_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {

inline constexpr std::uint32_t kService = 5;
inline constexpr std::uint16_t kPlain = abi::SL_SERVICE_HAS_ENDPOINTS;

class ServiceTest : public DatapathTest, public ::testing::WithParamInterface<Flavor> {
 protected:
  const Flavor& flavor() const { return GetParam(); }
  bool tcp() const { return flavor().tcp(); }
  const Addresses& addresses() const { return AddressesOf(flavor().v6); }

  End pod() const { return {addresses().pod1, kClientPort}; }
  End outside() const { return {addresses().outside, kClientPort}; }
  End cluster_ip() const { return {addresses().cluster_ip, kServicePort}; }
  End node_port() const { return {addresses().node, kNodePort}; }

  Packet Question(const End& from, const End& to, const Shape& shape = Syn()) const {
    return MakePacket(flavor(), from, to, shape);
  }

  std::uint32_t Backend(const std::string& address, bool local, std::uint16_t port = kBackendPort);

  ServiceSpec ClusterIp(std::vector<std::uint32_t> backends, std::uint16_t flags = kPlain) const;
  ServiceSpec NodePort(std::vector<std::uint32_t> backends, std::uint16_t flags = kPlain) const;

  // Two services with the one remote backend; returns where the second is reached.
  End TwoFrontendsOfOneBackend();

  void ExpectDropped(const Hook& hook, const Packet& packet, std::uint32_t reason,
                     std::uint32_t service_id = kService);

  // The refusal of `packet`, which TCP answers with a RST, SCTP with an ABORT and UDP with port
  // unreachable.
  void ExpectRejected(const Hook& hook, const Packet& packet, std::uint32_t reason,
                      std::uint32_t service_id = kService);

 private:
  // RFC 9293 3.10.7.1: with an ACK <SEQ=SEG.ACK><CTL=RST>, without one
  // <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>.
  void ExpectReset(const Packet& packet, const Bytes& answer);

  // RFC 9260 8.4: to an INIT with the tag that it asks for, to a SHUTDOWN ACK with a SHUTDOWN
  // COMPLETE, to all else with the packet's own tag and the T bit.
  void ExpectAbort(const Packet& packet, const Bytes& answer);

  // RFC 792, RFC 4443: the packet that is refused is quoted, at least its headers.
  void ExpectUnreachable(const Packet& packet, const Bytes& answer);

  // Ethernet and IP header of the answer to `packet`.
  Packet Turned(const Packet& packet) const;
};

class TcpServiceTest : public ServiceTest {};

}  // namespace sluice::testing
