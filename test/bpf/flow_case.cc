// SPDX-License-Identifier: Apache-2.0
#include "test/bpf/flow_case.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace sluice::testing {

const std::vector<FlowKind>& FlowKinds() {
  using A = Addresses;
  constexpr std::uint16_t kPlain = abi::SL_SERVICE_HAS_ENDPOINTS;
  static const std::vector<FlowKind> kinds = {
      {"PodToLocal",
       false,
       &A::pod1,
       &A::cluster_ip,
       &A::pod2,
       kServicePort,
       abi::SL_FRONTEND_CLUSTER_IP,
       kPlain | abi::SL_SERVICE_DENY_EXTERNAL,
       abi::SL_BACKEND_LOCAL,
       kFromPod1,
       kNext,
       {kToPod2},
       {kFromPod2},
       kToPod1,
       kNext,
       {}},
      {"PodToRemote",
       false,
       &A::pod1,
       &A::cluster_ip,
       &A::remote,
       kServicePort,
       abi::SL_FRONTEND_CLUSTER_IP,
       kPlain | abi::SL_SERVICE_DENY_EXTERNAL,
       0,
       kFromPod1,
       kNext,
       {kToNet},
       {kFromNet},
       kToPod1,
       kNext,
       {}},
      {"OutsideToLocal",
       false,
       &A::outside,
       &A::node,
       &A::pod2,
       kNodePort,
       abi::SL_FRONTEND_NODE_PORT,
       kPlain,
       abi::SL_BACKEND_LOCAL,
       kFromNet,
       kNext,
       {kToPod2},
       {kFromPod2},
       kToNet,
       kNext,
       {}},
      {"OutsideToRemote",
       true,
       &A::outside,
       &A::node,
       &A::remote,
       kNodePort,
       abi::SL_FRONTEND_NODE_PORT,
       kPlain,
       0,
       kFromNet,
       kRedirect,
       {kToNet},
       {},
       kFromNet,
       kRedirect,
       {kToNet}},
      {"Hairpin",
       true,
       &A::pod1,
       &A::cluster_ip,
       &A::pod1,
       kServicePort,
       abi::SL_FRONTEND_CLUSTER_IP,
       kPlain | abi::SL_SERVICE_DENY_EXTERNAL,
       abi::SL_BACKEND_LOCAL,
       kFromPod1,
       kRedirect,
       {kToPod1},
       {},
       kFromPod1,
       kRedirect,
       {kToPod1}},
      {"Masquerade",
       true,
       &A::outside,
       &A::cluster_ip,
       &A::pod2,
       kServicePort,
       abi::SL_FRONTEND_CLUSTER_IP,
       kPlain | abi::SL_SERVICE_MASQUERADE,
       abi::SL_BACKEND_LOCAL,
       kFromNet,
       kRedirect,
       {kToPod2},
       {},
       kFromPod2,
       kRedirect,
       {kToNet}},
  };
  return kinds;
}

void PrintTo(const FlowCase& flow_case, std::ostream* os) {
  *os << flow_case.kind.name << FlavorName(flow_case.flavor);
}

std::string FlowCaseName(const ::testing::TestParamInfo<FlowCase>& info) {
  return absl::StrCat(info.param.kind.name, FlavorName(info.param.flavor));
}

void FlowTest::SetUp() {
  DatapathTest::SetUp();
  backend_id_ =
      AddBackend({.address = backend().address,
                  .port = kBackendPort,
                  .protocol = flavor().protocol,
                  .flags = static_cast<std::uint8_t>(
                      abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE | kind().backend_flags)});
  SetService(Service());
}

ServiceSpec FlowTest::Service() const {
  return {.id = kServiceId,
          .address = service().address,
          .port = service().port,
          .protocol = flavor().protocol,
          .kind = kind().frontend,
          .flags = kind().service_flags,
          .backends = {backend_id_}};
}

Packet FlowTest::ForwardPacket(const Shape& shape) const {
  return MakePacket(flavor(), client(), service(), shape);
}

Packet FlowTest::ReplyPacket(const Shape& shape) const {
  return MakePacket(flavor(), backend(), seen_client(), shape);
}

bool FlowTest::Forward(const Shape& shape) {
  const Bytes start = Build(ForwardPacket(shape));
  const RunResult result = Run(kind().translates, start);
  if (kind().snat && snat_port_ == 0) {
    const absl::StatusOr<Packet> parsed = Parse(result.frame);
    EXPECT_TRUE(parsed.ok());
    if (!parsed.ok()) return false;
    snat_port_ = PortsOf(*parsed).source;
    EXPECT_GE(snat_port_, kSnatMin);
    EXPECT_LE(snat_port_, kSnatMax);
  }
  Packet expected = MakePacket(flavor(), seen_client(), backend(), shape);
  if (kind().snat) expected = Hop(std::move(expected));
  const std::string difference = Difference(Build(expected), result.frame);
  EXPECT_EQ(difference, "") << HookName(kind().translates) << " forward " << shape.flags;
  EXPECT_EQ(result.verdict, kind().verdict) << HookName(kind().translates);
  bool ok = difference.empty() && result.verdict == kind().verdict;
  for (const Hook& hook : kind().then) {
    const auto untouched = Untouched(hook, expected);
    EXPECT_TRUE(untouched) << "forward, after translation";
    ok = ok && untouched;
  }
  return ok;
}

bool FlowTest::Reply(const Shape& shape) {
  bool ok = true;
  for (const Hook& hook : kind().reply_before) {
    const auto untouched = Untouched(hook, ReplyPacket(shape));
    EXPECT_TRUE(untouched) << "reply, before translation";
    ok = ok && untouched;
  }
  Packet expected = MakePacket(flavor(), service(), client(), shape);
  if (kind().snat) expected = Hop(std::move(expected));
  const auto becomes =
      Becomes(kind().reply_translates, ReplyPacket(shape), kind().reply_verdict, expected);
  EXPECT_TRUE(becomes) << "reply " << shape.flags;
  ok = ok && becomes;
  for (const Hook& hook : kind().reply_then) {
    const auto untouched = Untouched(hook, expected);
    EXPECT_TRUE(untouched) << "reply, after translation";
    ok = ok && untouched;
  }
  return ok;
}

void FlowTest::Establish() {
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
  ASSERT_TRUE(Forward());
  ASSERT_EQ(FlowCount(), 2u);
}

void FlowTest::Begin(bool established) {
  SetUp();
  snat_port_ = 0;
  if (established) {
    Establish();
    return;
  }
  ASSERT_TRUE(Forward(Syn()));
  ASSERT_TRUE(Reply(SynAck()));
}

Packet FlowTest::ResetPacket(const End& from, const End& to, Shape shape) const {
  shape.payload = "";
  if (shape.flags.find('A') == std::string::npos) shape.acknowledgment = 0;
  Packet packet = MakePacket(flavor(), from, to, shape);
  auto& ethernet = std::get<Ethernet>(packet.front());
  std::swap(ethernet.source, ethernet.destination);
  std::get<Tcp>(packet.back()).window = 0;
  return packet;
}

std::uint32_t FlowTest::MoveServiceTo(const std::string& address, std::uint16_t port) {
  const std::uint32_t other =
      AddBackend({.address = address, .port = port, .protocol = flavor().protocol});
  ServiceSpec moved = Service();
  moved.backends = {other};
  SetService(moved);
  moved_to_ = {address, port};
  return other;
}

std::uint32_t FlowTest::ReplaceBackend() {
  const std::uint32_t other = MoveServiceTo(addresses().remote, 4242);
  EXPECT_TRUE(writer()
                  .SetBackend(backend_id_, {.address = addresses().remote2,
                                            .port = 9,
                                            .protocol = flavor().protocol,
                                            .generation = 2})
                  .ok());
  return other;
}

void FlowTest::SetBackendFlags(std::uint8_t flags) {
  EXPECT_TRUE(writer()
                  .SetBackend(backend_id_,
                              {.address = backend().address,
                               .port = kBackendPort,
                               .protocol = flavor().protocol,
                               .flags = static_cast<std::uint8_t>(flags | kind().backend_flags)})
                  .ok());
}

void FlowTest::ExpectMovedTo(std::uint32_t id) {
  const RunResult result = Run(kind().translates, ForwardPacket());
  const absl::StatusOr<Packet> parsed = Parse(result.frame);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(VerifyChecksums(result.frame).ok()) << VerifyChecksums(result.frame);
  EXPECT_EQ(DestinationOf(*parsed), moved_to_.address);
  EXPECT_EQ(PortsOf(*parsed).destination, moved_to_.port);
  EXPECT_EQ(BackendStats(id).opened, 1u);
  EXPECT_EQ(AllDrops(), 0u);
}

void FlowTest::ExpectError(const Packet& about, const Bytes& frame, int type, int code,
                           std::uint32_t rest) const {
  const absl::StatusOr<Packet> error = Parse(frame);
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_TRUE(VerifyChecksums(frame).ok()) << VerifyChecksums(frame);
  const auto* icmp = Find<Icmp>(*error);
  ASSERT_NE(icmp, nullptr);
  EXPECT_EQ(icmp->type, type);
  EXPECT_EQ(icmp->code, code);
  EXPECT_EQ(icmp->rest, rest);
  EXPECT_EQ(flavor().v6 ? Find<Ipv6>(*error)->destination : Find<Ipv4>(*error)->destination,
            flavor().v6 ? Find<Ipv6>(about)->source : Find<Ipv4>(about)->source);
  EXPECT_EQ(Find<Ethernet>(*error)->destination, Find<Ethernet>(about)->source);
  const std::size_t header = (flavor().v6 ? 40u : 20u);
  const Bytes whole = Build(about);
  const Bytes quote(frame.begin() + static_cast<std::ptrdiff_t>(14 + header + 8), frame.end());
  ASSERT_GE(quote.size(), header + 8);
  ASSERT_LE(quote.size(), whole.size() - 14);
  EXPECT_EQ(quote, Bytes(whole.begin() + 14,
                         whole.begin() + 14 + static_cast<std::ptrdiff_t>(quote.size())));
}

abi::flow FlowTest::ForwardKey() const {
  return FlowKey(client().address, client().port, service().address, service().port,
                 flavor().protocol);
}

abi::flow FlowTest::ReplyKey() const {
  return FlowKey(backend().address, backend().port, seen_client().address, seen_client().port,
                 flavor().protocol);
}

}  // namespace sluice::testing
