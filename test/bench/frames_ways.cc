// SPDX-License-Identifier: Apache-2.0
#include "test/bench/frames_ways.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"
#include "test/bench/this_cpu.h"
#include "test/support/command.h"
#include "test/support/packet.h"

namespace sluice::bench {
namespace {

// As many as a driver hands over at a time; a veth holds 256.
constexpr __u32 kBatch = 64;

// Sets of frames: to services; to backends, or for a moment the answers.
constexpr std::uint32_t kFrames = 0;
constexpr std::uint32_t kOtherFrames = 1;

}  // namespace

absl::StatusOr<LoadedCluster> LoadedCluster::Create(const Shape& shape) {
  LoadedCluster cluster;
  ASSIGN_OR_RETURN(cluster.kernel, BenchKernel::Create(SizesFor(shape)));
  cluster.scenario = std::make_unique<Scenario>(*cluster.kernel, shape);
  RETURN_IF_ERROR(cluster.scenario->WriteServices());
  return cluster;
}

absl::StatusOr<std::unique_ptr<Ways>> Ways::Create(std::uint32_t services) {
  std::unique_ptr<Ways> ways(new Ways());
  Shape shape{.services = services, .pods = false};
  ASSIGN_OR_RETURN(ways->snat_, LoadedCluster::Create(shape));
  shape.dsr = true;
  ASSIGN_OR_RETURN(ways->dsr_, LoadedCluster::Create(shape));
  ASSIGN_OR_RETURN(ways->end_, FarEnd::Load());
  RETURN_IF_ERROR(ways->AddNodes());
  ways->AddWays();
  return ways;
}

absl::Status Ways::AddNode(std::unique_ptr<Node>& node, bool xdp) {
  ASSIGN_OR_RETURN(node, Node::Create());
  RETURN_IF_ERROR(node->Enter());
  return xdp ? node->TakeAtXdp(*end_) : node->TakeAtTc(*end_);
}

absl::Status Ways::AddNodes() {
  RETURN_IF_ERROR(AddNode(early_, true));
  RETURN_IF_ERROR(snat_.kernel->SetUplink(early_->uplink()));
  RETURN_IF_ERROR(dsr_.kernel->SetUplink(early_->uplink()));
  RETURN_IF_ERROR(AddNode(tc_snat_, false));
  RETURN_IF_ERROR(tc_snat_->AttachToUplink(snat_.kernel->program("sl_from_net")));
  RETURN_IF_ERROR(AddNode(tc_dsr_, false));
  RETURN_IF_ERROR(tc_dsr_->AttachToUplink(dsr_.kernel->program("sl_from_net")));
  RETURN_IF_ERROR(AddNode(routed_, false));
  RETURN_IF_ERROR(AddNode(nftables_, false));
  ASSIGN_OR_RETURN(std::string rules, Rules("nftables"));
  RETURN_IF_ERROR(nftables_->Nftables(rules));
  RETURN_IF_ERROR(AddNode(iptables_, false));
  ASSIGN_OR_RETURN(rules, Rules("iptables"));
  return iptables_->Iptables(rules);
}

void Ways::AddWays() {
  const auto early = [this](const char* name, Kind kind, LoadedCluster& cluster, int program) {
    return Way{
        .name = name, .kind = kind, .cluster = &cluster, .node = early_.get(), .program = program};
  };
  ways_.push_back(early("XDP: sent back as it is", Kind::kAsItIs, snat_, end_->back()));
  ways_.push_back(
      early("XDP: floor, rewritten", Kind::kFloor, snat_, snat_.kernel->program("floor_xdp_send")));
  ways_.push_back(
      early("XDP: floor, wrapped", Kind::kFloor, dsr_, dsr_.kernel->program("floor_xdp_wrap")));
  ways_.push_back(
      early("XDP: sl_xdp, snat", Kind::kRewritten, snat_, snat_.kernel->program("sl_xdp")));
  ways_.push_back(early("XDP: sl_xdp, dsr", Kind::kPassedOn, dsr_, dsr_.kernel->program("sl_xdp")));
  ways_.push_back({.name = "TC: sl_from_net, snat",
                   .kind = Kind::kRewritten,
                   .cluster = &snat_,
                   .node = tc_snat_.get()});
  ways_.push_back({.name = "TC: sl_from_net, dsr",
                   .kind = Kind::kPassedOn,
                   .cluster = &dsr_,
                   .node = tc_dsr_.get()});
  for (Way& way : ways_) {
    way.sluice = way.kind == Kind::kRewritten || way.kind == Kind::kPassedOn;
    way.opens = way.sluice;
  }
  ways_.push_back({.name = "stack: routed, no service",
                   .kind = Kind::kRouted,
                   .cluster = &snat_,
                   .node = routed_.get()});
  for (auto [name, node] : {std::pair{"stack: kube-proxy's nftables", nftables_.get()},
                            std::pair{"stack: kube-proxy's iptables", iptables_.get()}}) {
    ways_.push_back(
        {.name = name, .kind = Kind::kMasqueraded, .cluster = &snat_, .node = node, .opens = true});
  }
}

absl::StatusOr<std::string> Ways::Rules(const std::string& mode) const {
  const Shape& shape = snat_.scenario->shape();
  nlohmann::json services = nlohmann::json::array();
  for (std::uint32_t i = 0; i < shape.services; ++i) {
    const End service = snat_.scenario->Flow(Side::kOutside, i).service;
    nlohmann::json endpoints = nlohmann::json::array();
    for (std::uint32_t k = 0; k < shape.backends; ++k) {
      const End backend = snat_.scenario->Flow(Side::kOutside, i + k * shape.services).backend;
      endpoints.push_back({backend.address, backend.port, false});
    }
    services.push_back({{"name", absl::StrCat("bench/service-", i, ":main")},
                        {"protocol", "tcp"},
                        {"ip", service.address},
                        {"port", service.port},
                        {"endpoints", std::move(endpoints)}});
  }
  const nlohmann::json cluster = {{"podCidr", "10.64.0.0/10"},
                                  {"serviceCidr", "10.96.0.0/16"},
                                  {"nodeAddress", "192.0.2.10"},
                                  {"services", std::move(services)}};
  return testing::RunCommand(
      {"python3", "-B", SLUICE_SOURCE_DIR "/test/e2e/kube_proxy_rules.py", mode, "4"},
      cluster.dump());
}

absl::Status Ways::Establish(std::uint32_t flows) {
  for (LoadedCluster* cluster : {&snat_, &dsr_}) {
    RETURN_IF_ERROR(cluster->scenario->WriteFlows(flows_, flows));
  }
  flows_ = flows;
  turn_ = Turn::kRepeat;
  const std::vector<Bytes> frames = Frames(false);
  for (LoadedCluster* cluster : {&snat_, &dsr_}) {
    RETURN_IF_ERROR(cluster->kernel->SetFrames(kFrames, frames));
  }
  for (const Way& way : ways_) {
    if (way.kind == Kind::kMasqueraded) RETURN_IF_ERROR(Annotate(Answer(way), way.name));
  }
  return snat_.kernel->SetFrames(kOtherFrames, Frames(true));
}

absl::Status Ways::Open() {
  turn_ = Turn::kNew;
  for (LoadedCluster* cluster : {&snat_, &dsr_}) {
    RETURN_IF_ERROR(
        cluster->kernel->SetFrames(kFrames, cluster->scenario->NewFrames(Side::kOutside)));
  }
  return absl::OkStatus();
}

// The kernel takes up connections in their middle, and takes one for established once it has seen
// an answer and a packet after that.
absl::Status Ways::Answer(const Way& way) {
  RETURN_IF_ERROR(way.node->Enter());
  RETURN_IF_ERROR(way.node->ForgetConnections());
  end_->Keep(flows_);
  RETURN_IF_ERROR(Send(way, flows_).status());
  ASSIGN_OR_RETURN(const std::vector<Bytes> seen, end_->Kept());
  std::vector<Bytes> answers;
  for (const Bytes& frame : seen) {
    ASSIGN_OR_RETURN(const testing::Packet packet, testing::Parse(frame));
    const testing::Ports ports = testing::PortsOf(packet);
    answers.push_back(
        way.cluster->scenario->Frame({testing::DestinationOf(packet), ports.destination},
                                     {testing::SourceOf(packet), ports.source}, "A"));
  }
  if (answers.size() != flows_) {
    return absl::FailedPreconditionError(absl::StrCat(answers.size(), " of ", flows_, " arrived"));
  }
  RETURN_IF_ERROR(way.cluster->kernel->SetFrames(kOtherFrames, answers));
  RETURN_IF_ERROR(SendFrames(way, kOtherFrames, flows_).status());
  RETURN_IF_ERROR(Send(way, flows_).status());
  ASSIGN_OR_RETURN(const std::uint32_t answered, way.node->AnsweredConnections());
  if (answered == flows_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(answered, " of ", flows_, " connections are established"));
}

// Of all flows, to their services, or straight to their backends.
std::vector<Bytes> Ways::Frames(bool routed) const {
  std::vector<Bytes> frames;
  for (std::uint32_t i = 0; i < flows_; ++i) {
    const FlowEnds ends = snat_.scenario->Flow(Side::kOutside, i);
    frames.push_back(snat_.scenario->Frame(ends.client, routed ? ends.backend : ends.service, "A"));
  }
  return frames;
}

std::vector<Bytes> Ways::Expected(const Way& way) const {
  const Scenario& scenario = *way.cluster->scenario;
  std::vector<Bytes> frames;
  if (turn_ == Turn::kNew) return frames;
  for (std::uint32_t i = 0; i < std::min(flows_, kChecked); ++i) {
    const FlowEnds ends = scenario.Flow(Side::kOutside, i);
    Bytes frame;
    switch (way.kind) {
      case Kind::kAsItIs:
        frames.push_back(scenario.Frame(ends.client, ends.service, "A"));
        continue;
      case Kind::kRewritten:
        frame = scenario.Frame(ends.seen_client, ends.backend, "A", 1);
        break;
      case Kind::kPassedOn:
        frame = scenario.Wrapped(scenario.Frame(ends.client, ends.service, "A", 1));
        break;
      case Kind::kRouted:
        frame = scenario.Frame(ends.client, ends.backend, "A", 1);
        break;
      case Kind::kFloor:
      case Kind::kMasqueraded:
        return {};
    }
    frames.push_back(Scenario::Sent(frame, kOtherNode));
  }
  return frames;
}

absl::Status Ways::CheckPart(const Way& way, const Bytes& frame) const {
  RETURN_IF_ERROR(testing::VerifyChecksums(frame));
  ASSIGN_OR_RETURN(const testing::Packet packet, testing::Parse(frame));
  const bool wrapped = testing::DestinationOf(packet) == "192.0.2.20";
  const bool from_node = testing::SourceOf(packet) == "192.0.2.10";
  const bool to_backend = testing::PortsOf(packet).destination == 8080;
  const bool right = way.kind == Kind::kFloor      ? wrapped || to_backend
                     : way.kind == Kind::kPassedOn ? wrapped && from_node
                                                   : to_backend && from_node;
  return right ? absl::OkStatus()
               : absl::FailedPreconditionError("what comes out is not for a backend");
}

absl::StatusOr<double> Ways::Send(const Way& way, std::uint32_t packets) {
  return SendFrames(way, way.kind == Kind::kRouted ? kOtherFrames : kFrames, packets);
}

absl::StatusOr<double> Ways::SendFrames(const Way& way, std::uint32_t set, std::uint32_t packets) {
  const TimedRun run{.hook = Hook::kXdp, .turn = turn_, .set = set, .program = way.program};
  ASSIGN_OR_RETURN(const int program, way.cluster->kernel->Prepare(run));
  ASSIGN_OR_RETURN(const SoftIrqThread rest, SoftIrqThread::OfThisCpu());
  RETURN_IF_ERROR(way.node->Enter());
  const Bytes& frame = way.cluster->kernel->first_frame(set);
  xdp_md context{};
  context.data_end = static_cast<__u32>(frame.size());
  context.ingress_ifindex = way.node->uplink();
  LIBBPF_OPTS(bpf_test_run_opts, opts);
  opts.data_in = frame.data();
  opts.data_size_in = static_cast<__u32>(frame.size());
  opts.ctx_in = &context;
  opts.ctx_size_in = sizeof(context);
  opts.repeat = static_cast<int>(packets);
  opts.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
  opts.batch_size = kBatch;
  const double start = ThreadNs() + rest.Ns();
  const int error = bpf_prog_test_run_opts(program, &opts);
  const double end = ThreadNs() + rest.Ns();
  if (error != 0) return ErrnoStatus(-error, "live frames");
  return end - start;
}

}  // namespace sluice::bench
