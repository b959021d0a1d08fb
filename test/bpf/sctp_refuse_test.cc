// SPDX-License-Identifier: Apache-2.0
// SCTP packets that nobody takes: what RFC 9260 section 8.4 has a host say to an association that
// it does not know, and of what it says nothing.
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "test/bpf/service_fixture.h"
#include "test/support/status_matchers.h"

namespace sluice::testing {
namespace {

class SctpRefuseTest : public ServiceTest {};
INSTANTIATE_TEST_SUITE_P(Flavors, SctpRefuseTest, ::testing::ValuesIn(SctpFlavors()),
                         FlavorCaseName);

Shape Chunk(SctpChunkType type) { return {.acknowledgment = 0xfeedbee5, .chunk = type}; }

TEST_P(SctpRefuseTest, AnInitToNobodyIsAbortedWithTheTagThatItAsksFor) {
  SetService(ClusterIp({}, 0));
  SetService(NodePort({}, 0));
  ExpectRejected(kFromPod1, Question(pod(), cluster_ip()), abi::SL_REASON_NO_BACKEND);
  ExpectRejected(kFromNet, Question(outside(), node_port()), abi::SL_REASON_NO_BACKEND);
}

TEST_P(SctpRefuseTest, AnAnswerIsLeftToTheDeviceWhereTheQuestionIs) {
  SetService(ClusterIp({}, 0));
  for (const Shape& shape : {Syn(), Chunk(kSctpData)}) {
    Packet packet = Question(pod(), cluster_ip(), shape);
    std::get<Sctp>(packet.back()).no_checksum = true;
    ExpectRejected(kFromPod1, packet,
                   shape.chunk ? abi::SL_REASON_NO_FLOW : abi::SL_REASON_NO_BACKEND);
  }
}

TEST_P(SctpRefuseTest, WhatIsOfNoFlowIsAbortedWithItsOwnTag) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  SetService(NodePort({Backend(addresses().pod2, true)}));
  for (const SctpChunkType type :
       {kSctpData, kSctpInitAck, kSctpShutdown, kSctpCookieEcho, kSctpShutdownAck}) {
    SCOPED_TRACE(int{type});
    ExpectRejected(kFromPod1, Question(pod(), cluster_ip(), Chunk(type)), abi::SL_REASON_NO_FLOW);
    ExpectRejected(kFromNet, Question(outside(), node_port(), Chunk(type)), abi::SL_REASON_NO_FLOW);
  }
}

// Else two hosts would answer each other for ever.
TEST_P(SctpRefuseTest, AnEndIsNotAnswered) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  for (const SctpChunkType type : {kSctpAbort, kSctpShutdownComplete, kSctpCookieAck}) {
    SCOPED_TRACE(int{type});
    ExpectDropped(kFromPod1, Question(pod(), cluster_ip(), Chunk(type)), abi::SL_REASON_NO_FLOW);
  }
}

// The other end's handshake came too late; any other error is of an association.
TEST_P(SctpRefuseTest, AStaleCookieIsNotAnswered) {
  SetService(ClusterIp({Backend(addresses().pod2, true)}));
  const auto error = [](char cause) {
    return Shape{.payload = std::string{'\0', cause, '\0', '\4'}, .chunk = kSctpError};
  };
  ExpectDropped(kFromPod1, Question(pod(), cluster_ip(), error(3)), abi::SL_REASON_NO_FLOW);
  ExpectRejected(kFromPod1, Question(pod(), cluster_ip(), error(2)), abi::SL_REASON_NO_FLOW);
  ExpectDropped(kFromPod1, Question(pod(), cluster_ip(), {.payload = "", .chunk = kSctpError}),
                abi::SL_REASON_NO_FLOW);
  // What is behind a chunk without a cause is another chunk.
  Packet bundle = Question(pod(), cluster_ip(), {.payload = "", .chunk = kSctpError});
  std::get<Sctp>(bundle.back()).chunks.push_back({.type = kSctpData, .flags = 3});
  ExpectRejected(kFromPod1, bundle, abi::SL_REASON_NO_FLOW);
}

TEST_P(SctpRefuseTest, NobodyIsAnsweredWhoCannotBe) {
  SetService(ClusterIp({}, 0));
  const End nobody{flavor().v6 ? "ff02::1" : "224.0.0.1", kClientPort};
  ExpectDropped(kFromPod1, Question(nobody, cluster_ip()), abi::SL_REASON_NO_BACKEND);
}

TEST_P(SctpRefuseTest, APortThatTheServiceDoesNotHaveIsAborted) {
  ServiceSpec address = ClusterIp({});
  address.port = 0;
  address.protocol = 0;
  address.kind = abi::SL_FRONTEND_ADDRESS;
  address.id = 0;
  SetService(address);
  ExpectRejected(kFromPod1, Question(pod(), cluster_ip()), abi::SL_REASON_NO_SUCH_PORT, 0);
  ExpectDropped(kFromNet, Question(outside(), cluster_ip()), abi::SL_REASON_EXTERNAL_DENIED, 0);
}

// An INIT that ends before the tag cannot be answered with it.
TEST_P(SctpRefuseTest, AnInitWithoutATagIsDropped) {
  SetService(ClusterIp({}, 0));
  Packet packet = Question(pod(), cluster_ip());
  std::get<Sctp>(packet.back()).chunks.front().value = "";
  ExpectDropped(kFromPod1, packet, abi::SL_REASON_NO_BACKEND);
}

// The port of a service is its protocol's alone.
TEST_P(SctpRefuseTest, AServiceOfAnotherProtocolIsNotMeant) {
  ServiceSpec other = ClusterIp({Backend(addresses().pod2, true)});
  other.protocol = 6;
  other.address = addresses().outside;
  SetService(other);
  EXPECT_TRUE(Untouched(kFromPod1, Question(pod(), {addresses().outside, kServicePort})));
}

}  // namespace
}  // namespace sluice::testing
