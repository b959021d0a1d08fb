// SPDX-License-Identifier: Apache-2.0
// A cluster for the benchmark: many services of some backends each, established flows spread over
// them, and the frames of these flows with what must come out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "test/bench/bench_kernel.h"
#include "test/support/netns.h"

namespace sluice::bench {

// How large the cluster is, and how it takes clients in.
struct Shape {
  bool v6 = false;
  std::uint32_t services = 1;
  std::uint32_t backends = 10;  // of each service, all on another node
  bool pods = true;             // services have a ClusterIP too, and pods have flows to it
  bool dsr = false;             // packets from outside are passed on to the backend's node
};
// Of the datapath's maps that must be larger than they are by default.
testing::MapSizes SizesFor(const Shape& shape);

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

// The MAC addresses of the node's neighbours.
inline constexpr char kRouter[] = "02:00:00:00:01:01";
inline constexpr char kOtherNode[] = "02:00:00:00:01:20";  // that of all backends

// Devices and routes of the node that the programs run on.
absl::Status BuildNetwork(testing::NetNs& net);

class Scenario {
 public:
  Scenario(BenchKernel& kernel, const Shape& shape) : kernel_(kernel), shape_(shape) {}

  // Puts services and backends into the datapath's tables and the floor's.
  absl::Status WriteServices();
  // Puts flows [first, last) of both sides there, established.
  absl::Status WriteFlows(std::uint32_t first, std::uint32_t last);
  // Fills sl_flows to the last row with flows of nobody, whose clients are marked.
  absl::Status FillFlows();

  // Flow i, always the same one.
  FlowEnds Flow(Side side, std::uint32_t i) const;
  // A SYN or data frame of BENCH_FRAME_SIZE bytes.
  Bytes Frame(const End& from, const End& to, const std::string& flags, int hops = 0) const;
  // The same frame as the uplink sends it to a neighbour.
  static Bytes Sent(const Bytes& frame, const std::string& neighbour);
  // The same frame as it is passed on to the node of a backend.
  Bytes Wrapped(const Bytes& frame) const;
  // Frames for Turn::kNew: a SYN without a client, to the services in turn.
  std::vector<Bytes> NewFrames(Side side) const;
  std::vector<Bytes> NoServiceFrames(std::uint32_t count) const;

  // Packets counted for all services, both ways.
  absl::StatusOr<std::uint64_t> CountedPackets() const;

  const Shape& shape() const { return shape_; }

 private:
  std::string Service(Side side, std::uint32_t service) const;
  std::string Backend(std::uint32_t backend) const;
  std::uint32_t BackendCount() const { return shape_.services * shape_.backends; }
  std::vector<Side> Sides() const;
  absl::Status WriteBackends();
  void MarkRow(const abi::flow& key, const abi::flow_entry& entry);

  BenchKernel& kernel_;
  Shape shape_;
};

}  // namespace sluice::bench
