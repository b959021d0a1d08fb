// SPDX-License-Identifier: Apache-2.0
// The node that the packet tests run on: the loaded programs, empty maps before each test, and a
// namespace with devices and routes so that the FIB answers. Loaded once a process.
//
//   outside ---- uplink [ node ] pod1, pod2           node 2 and its pods are behind uplink
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "maps/uplink.h"
#include "test/support/netns.h"
#include "test/support/packet.h"
#include "test/support/prog_runner.h"

namespace sluice::testing {

using Program = ProgRunner::Program;

// TC verdicts. Next: the stack and other programs go on with the packet.
inline constexpr int kNext = -1;
inline constexpr int kDrop = 2;
inline constexpr int kRedirect = 7;
// XDP's are told in the same terms; this one sends the packet out of where it came in.
inline constexpr int kSent = 100;

// A family and a protocol: every behaviour is tested with all four, and where a handshake or an
// end has to do with it, with SCTP too.
struct Flavor {
  bool v6 = false;
  std::uint8_t protocol = 6;
  bool tcp() const { return protocol == 6; }
  bool sctp() const { return protocol == 132; }
};
std::vector<Flavor> AllFlavors();
std::vector<Flavor> SctpFlavors();
std::string FlavorName(const Flavor& flavor);  // "V4Tcp"
std::string FlavorCaseName(const ::testing::TestParamInfo<Flavor>& test);
void PrintTo(const Flavor& flavor, std::ostream* os);

struct End {
  std::string address;
  std::uint16_t port = 0;

  friend auto operator<=>(const End&, const End&) = default;
};

// Who is who, of one family.
struct Addresses {
  std::string pod1;
  std::string pod2;
  std::string remote;   // a pod of node 2
  std::string remote2;  // another
  std::string narrow;   // a pod behind a path whose MTU is kNarrowMtu
  std::string nowhere;  // no route leads there
  std::string outside;
  std::string node;
  std::string cluster_ip;
  std::string cluster_ip2;
  std::string unallocated;  // in the service range, of no service
};
const Addresses& AddressesOf(bool v6);

inline constexpr std::uint32_t kNarrowMtu = 1300;
inline constexpr std::uint16_t kSnatMin = 50000;
inline constexpr std::uint16_t kSnatMax = 50999;
inline constexpr std::uint16_t kClientPort = 40000;  // outside the SNAT range
inline constexpr std::uint16_t kServicePort = 80;
inline constexpr std::uint16_t kNodePort = 30080;
inline constexpr std::uint16_t kBackendPort = 8080;

// A program at a device.
struct Hook {
  Program program;
  const char* device;
};
std::string HookName(const Hook& hook);

// What varies between the packets of a flow. Flags, sequence and acknowledgment are TCP's; the
// numbers are those of a client that has sent Syn() and got SynAck(). SCTP says the same in its own
// words: of the flags S is an INIT, SA an INIT ACK, FA a SHUTDOWN, R an ABORT, else a DATA; the
// acknowledgment is the tag that the packet carries, the sequence, and one, that which it asks for.
struct Shape {
  std::string flags = "A";
  std::uint32_t sequence = 1001;
  std::uint32_t acknowledgment = 7001;
  std::string payload = "payload";
  std::optional<std::uint8_t> chunk = {};  // SCTP: another type than that of the flags
};
inline Shape Syn() { return {.flags = "S", .sequence = 1000, .acknowledgment = 0, .payload = ""}; }
inline Shape SynAck() {
  return {.flags = "SA", .sequence = 7000, .acknowledgment = 1001, .payload = ""};
}

enum SctpChunkType : std::uint8_t {
  kSctpData = 0,
  kSctpInit = 1,
  kSctpInitAck = 2,
  kSctpAbort = 6,
  kSctpShutdown = 7,
  kSctpShutdownAck = 8,
  kSctpError = 9,
  kSctpCookieEcho = 10,
  kSctpCookieAck = 11,
  kSctpShutdownComplete = 14,
};

// A frame from one end to the other. The Ethernet addresses are always the same.
Packet MakePacket(const Flavor& flavor, const End& from, const End& to, const Shape& shape = {});
// The packet after one more hop.
Packet Hop(Packet packet);

// As "02:00:00:00:00:01".
std::string MacOf(const std::string& device);
// To sl_xdp, frames of a device to `mac`, with the tag or without one, are the interface's. Before
// each test those of "uplink" to its own address are its.
void SetUplink(ProgRunner& runner, const abi::uplink_key& key, std::uint32_t ifindex,
               const std::string& mac);

class DatapathTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite();
  void SetUp() override;

  // Runs the program and compares all that comes out with what is expected: verdict, bytes.
  ::testing::AssertionResult Becomes(const Hook& hook, const Bytes& in, int verdict,
                                     const Bytes& out);
  ::testing::AssertionResult Becomes(const Hook& hook, const Packet& in, int verdict,
                                     const Packet& out) {
    return Becomes(hook, Build(in), verdict, Build(out));
  }
  ::testing::AssertionResult Untouched(const Hook& hook, const Packet& packet) {
    return Becomes(hook, packet, kNext, packet);
  }
  RunResult Run(const Hook& hook, const Bytes& frame, RunContext context = {});
  RunResult Run(const Hook& hook, const Packet& packet) { return Run(hook, Build(packet)); }

  std::uint32_t Ifindex(const std::string& device);
  NetNs& net();
  ProgRunner& runner();
  DatapathTables& tables() { return runner().tables(); }
  DatapathWriter& writer() { return *writer_; }

  // Adds one backend or service; fails the test where the kernel refuses.
  std::uint32_t AddBackend(const BackendSpec& spec);
  void SetService(const ServiceSpec& spec);

  abi::service_stats ServiceStats(std::uint32_t id);
  abi::backend_stats BackendStats(std::uint32_t id);
  std::uint64_t Drops(std::uint32_t reason, std::uint32_t service_id);
  std::uint64_t AllDrops();
  // Rows of sl_flows: all, or one.
  std::size_t FlowCount();
  std::optional<abi::flow_entry> FlowRow(const abi::flow& key);
  std::size_t OpeningCount();
  // Changes every row of sl_flows: what only time could do otherwise.
  template <typename Change>
  void ChangeFlows(Change change) {
    auto rows = tables().flows.Dump();
    ASSERT_TRUE(rows.ok()) << rows.status();
    for (auto& [key, entry] : *rows) change(key, entry);
    ASSERT_TRUE(tables().flows.Update(*rows).status.ok());
  }
  template <typename Change>
  void ChangeOpening(Change change) {
    auto rows = tables().opening.Dump();
    ASSERT_TRUE(rows.ok()) << rows.status();
    for (auto& [index, bucket] : *rows) change(bucket);
    ASSERT_TRUE(tables().opening.Update(*rows).status.ok());
  }

  void SetConfig(const abi::node_config& config);
  static abi::node_config DefaultConfig();

  // Of sl_flows, in this process; to be set before the first test suite.
  static inline std::uint32_t flow_rows_ = 1024;

 private:
  std::unique_ptr<DatapathWriter> writer_;
};

inline constexpr Hook kFromPod1{Program::kFromPod, "pod1"};
inline constexpr Hook kToPod1{Program::kToPod, "pod1"};
inline constexpr Hook kFromPod2{Program::kFromPod, "pod2"};
inline constexpr Hook kToPod2{Program::kToPod, "pod2"};
inline constexpr Hook kFromNet{Program::kFromNet, "uplink"};
inline constexpr Hook kToNet{Program::kToNet, "uplink"};
inline constexpr Hook kXdp{Program::kXdp, "uplink"};

}  // namespace sluice::testing
