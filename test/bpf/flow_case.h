// SPDX-License-Identifier: Apache-2.0
// The kinds of flow that the datapath knows, each as the way its packets take through the hooks, so
// that every test of a flow runs for all kinds, families and protocols, there and back.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "test/bpf/datapath_fixture.h"

namespace sluice::testing {

struct FlowKind {
  const char* name;
  bool snat;  // the backend sees the node's address
  const std::string Addresses::*client;
  const std::string Addresses::*service;
  const std::string Addresses::*backend;
  std::uint16_t service_port;
  std::uint8_t frontend;  // enum sl_frontend_kind
  std::uint16_t service_flags;
  std::uint8_t backend_flags;  // besides present and usable
  Hook translates;             // the forward packet
  int verdict;
  std::vector<Hook> then;          // see the translated packet and must leave it alone
  std::vector<Hook> reply_before;  // see the backend's reply and must leave it alone
  Hook reply_translates;
  int reply_verdict;
  std::vector<Hook> reply_then;
};
const std::vector<FlowKind>& FlowKinds();

struct FlowCase {
  FlowKind kind;
  Flavor flavor;
};
void PrintTo(const FlowCase& flow_case, std::ostream* os);
std::string FlowCaseName(const ::testing::TestParamInfo<FlowCase>& info);

inline constexpr std::uint32_t kServiceId = 7;

// One flow of the case: a service with one backend, and packets in both directions of it.
class FlowTest : public DatapathTest, public ::testing::WithParamInterface<FlowCase> {
 protected:
  void SetUp() override;

  const FlowKind& kind() const { return GetParam().kind; }
  const Flavor& flavor() const { return GetParam().flavor; }
  const Addresses& addresses() const { return AddressesOf(flavor().v6); }
  bool tcp() const { return flavor().tcp(); }

  End client() const { return {addresses().*kind().client, client_port_}; }
  End service() const { return {addresses().*kind().service, kind().service_port}; }
  End backend() const { return {addresses().*kind().backend, kBackendPort}; }
  // The client as the backend sees it: known after the first forward packet of a SNATed flow.
  End seen_client() const { return kind().snat ? End{addresses().node, snat_port_} : client(); }
  ServiceSpec Service() const;

  // Sends a packet the whole way and checks every hook on it; returns whether all went well.
  // The first forward packet of a SNATed flow tells its port.
  bool Forward(const Shape& shape = {});
  bool Reply(const Shape& shape = {});
  // The packets as they start.
  Packet ForwardPacket(const Shape& shape = {}) const;
  Packet ReplyPacket(const Shape& shape = {}) const;

  // Brings the flow to sl_flows: TCP's handshake, UDP's question, answer and next question.
  void Establish();

  // Starts over: empty maps, then the flow up to the backend's answer, or established.
  void Begin(bool established);
  // A RST made by the datapath: its own window, MACs exchanged.
  Packet ResetPacket(const End& from, const End& to, Shape shape) const;

  // Gives the service another backend and no more its old one; returns the other's id.
  std::uint32_t MoveServiceTo(const std::string& address, std::uint16_t port);
  // The same when the old one's endpoint is gone: its id then stands for another endpoint.
  std::uint32_t ReplaceBackend();
  // Only these flags, but for SL_BACKEND_LOCAL, which stays.
  void SetBackendFlags(std::uint8_t flags);
  // The next forward packet goes to backend `id`, which MoveServiceTo has made.
  void ExpectMovedTo(std::uint32_t id);

  // `frame` is the ICMP error about `about`, made by the datapath and sent back to who sent it.
  void ExpectError(const Packet& about, const Bytes& frame, int type, int code,
                   std::uint32_t rest) const;

  abi::flow ForwardKey() const;
  abi::flow ReplyKey() const;

  std::uint32_t backend_id_ = 0;
  std::uint16_t client_port_ = kClientPort;
  std::uint16_t snat_port_ = 0;
  End moved_to_;
};

}  // namespace sluice::testing
