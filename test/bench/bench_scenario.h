// SPDX-License-Identifier: Apache-2.0
// A cluster for the benchmark: many services of ten backends each, established flows spread over
// them, and the frames of these flows with what must come out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "test/bench/bench_kernel.h"
#include "test/support/netns.h"

namespace sluice::bench {

inline constexpr std::uint32_t kBackendsPerService = 10;

struct End {
  std::string address;
  std::uint16_t port = 0;
};

// Who takes part in one flow.
struct FlowEnds {
  End client;
  End service;
  End backend;
  End seen_client;  // the client as the backend sees it
  std::uint32_t service_id = 0;
  std::uint32_t backend_id = 0;
};

// Pods' flows are routed by the stack; outside clients' have both ends rewritten.
enum class Side { kPod, kOutside };

// Devices and routes of the node that the programs run on.
absl::Status BuildNetwork(testing::NetNs& net);

class Scenario {
 public:
  Scenario(BenchKernel& kernel, bool v6, std::uint32_t services)
      : kernel_(kernel), v6_(v6), services_(services) {}

  // Puts services and backends into the datapath's tables, the counted one's, and the floor's.
  absl::Status WriteServices();
  // Puts flows [first, last) of both sides there, established.
  absl::Status WriteFlows(std::uint32_t first, std::uint32_t last);
  // Fills sl_flows to the last row with flows of nobody.
  absl::Status FillFlows();

  // Flow i, always the same one.
  FlowEnds Flow(Side side, std::uint32_t i) const;
  // A SYN or data frame of BENCH_FRAME_SIZE bytes.
  Bytes Frame(const End& from, const End& to, const std::string& flags, int hops = 0) const;
  // Frames for Turn::kNew: a SYN without a client, to the services in turn.
  std::vector<Bytes> NewFrames(Side side) const;
  std::vector<Bytes> NoServiceFrames(std::uint32_t count) const;

  // Packets counted for all services, both ways.
  absl::StatusOr<std::uint64_t> CountedPackets() const;

  bool v6() const { return v6_; }
  std::uint32_t services() const { return services_; }

 private:
  std::string Service(Side side, std::uint32_t service) const;
  std::string Backend(std::uint32_t backend) const;
  absl::Status WriteServicesTo(testing::DatapathTables& tables);

  BenchKernel& kernel_;
  bool v6_;
  std::uint32_t services_;
};

}  // namespace sluice::bench
