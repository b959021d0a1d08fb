// SPDX-License-Identifier: Apache-2.0
#include "test/bench/bench_cases.h"

#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "test/support/packet.h"

namespace sluice::bench {
namespace {

constexpr int kNext = -1;
constexpr int kRedirect = 7;
constexpr std::uint32_t kChecked = 64;       // flows whose output is compared, of each case
constexpr std::uint32_t kFloorFlows = 1000;  // in turn, where the case itself has no fixed flows
constexpr std::uint32_t kPromotions = 4096;  // of 131,072 places: no bucket overflows

absl::Status Wrong(const Case& one, const std::string& what) {
  return absl::FailedPreconditionError(absl::StrCat(one.name, ": ", what));
}

}  // namespace

std::vector<Case> CaseRunner::EstablishedCases(std::uint32_t flows) const {
  Case forward{.name = "established, pod to service",
               .program = "sl_from_pod",
               .floor = "floor_next",
               .device = "pod",
               .verdict = kNext,
               .budget = 1.25};
  Case reply{.name = "established, reply to pod",
             .program = "sl_to_pod",
             .floor = "floor_next",
             .device = "pod",
             .verdict = kNext,
             .budget = 1.25};
  Case out{.name = "established, outside to remote backend",
           .program = "sl_from_net",
           .floor = "floor_redirect",
           .device = "uplink",
           .verdict = kRedirect,
           .budget = 1.25};
  Case out_reply = out;
  out_reply.name = "established, reply to outside";
  for (std::uint32_t i = 0; i < flows; ++i) {
    const FlowEnds pod = scenario_.Flow(Side::kPod, i);
    forward.frames.push_back(scenario_.Frame(pod.client, pod.service, "A"));
    reply.frames.push_back(scenario_.Frame(pod.backend, pod.seen_client, "A"));
    const FlowEnds outside = scenario_.Flow(Side::kOutside, i);
    out.frames.push_back(scenario_.Frame(outside.client, outside.service, "A"));
    out_reply.frames.push_back(scenario_.Frame(outside.backend, outside.seen_client, "A"));
    if (i >= kChecked) continue;
    forward.expected.push_back(scenario_.Frame(pod.seen_client, pod.backend, "A"));
    reply.expected.push_back(scenario_.Frame(pod.service, pod.client, "A"));
    out.expected.push_back(scenario_.Frame(outside.seen_client, outside.backend, "A", 1));
    out_reply.expected.push_back(scenario_.Frame(outside.service, outside.client, "A", 1));
  }
  Case none{.name = "no service, from pod",
            .program = "sl_from_pod",
            .floor = "floor_parse",
            .device = "pod",
            .frames = scenario_.NoServiceFrames(flows),
            .verdict = kNext,
            .counted = false};
  none.expected.assign(none.frames.begin(), none.frames.begin() + std::min(flows, kChecked));
  Case none_to = none;
  none_to.name = "no service, to pod";
  none_to.program = "sl_to_pod";
  std::vector<Case> cases;
  for (Case* one : {&forward, &reply, &out, &out_reply, &none, &none_to}) {
    cases.push_back(std::move(*one));
  }
  if (flows > 1) return cases;
  // The budget is of the whole run: parsing alone is less than what a wrapper's jitter is.
  for (std::size_t i : {4u, 5u}) {
    Case plain = cases[i];
    plain.name += ", no wrapper";
    plain.turn = Turn::kPlain;
    plain.budget = 1.5;
    cases.push_back(std::move(plain));
  }
  return cases;
}

std::vector<Case> CaseRunner::NewCases() const {
  Case pod{.name = "new flow, tables full, pod to service",
           .program = "sl_from_pod",
           .floor = "floor_next",
           .device = "pod",
           .turn = Turn::kNew,
           .frames = scenario_.NewFrames(Side::kPod),
           .verdict = kNext,
           .budget = 4};
  Case out{.name = "new flow, tables full, outside",
           .program = "sl_from_net",
           .floor = "floor_redirect",
           .device = "uplink",
           .turn = Turn::kNew,
           .frames = scenario_.NewFrames(Side::kOutside),
           .verdict = kRedirect,
           .budget = 4};
  for (std::uint32_t i = 0; i < kFloorFlows; ++i) {
    const FlowEnds ends = scenario_.Flow(Side::kPod, i);
    pod.floor_frames.push_back(scenario_.Frame(ends.client, ends.service, "A"));
    const FlowEnds outside = scenario_.Flow(Side::kOutside, i);
    out.floor_frames.push_back(scenario_.Frame(outside.client, outside.service, "A"));
  }
  return {std::move(pod), std::move(out)};
}

absl::Status CaseRunner::Check(const Case& one, std::uint32_t ifindex) {
  testing::RunContext context;
  context.ifindex = ifindex;
  const int program = kernel_.datapath_program(one.program);
  const std::size_t count = one.turn == Turn::kNew ? 1 : one.expected.size();
  for (std::size_t i = 0; i < count; ++i) {
    Bytes in = one.frames[i];
    if (one.turn == Turn::kNew) {  // as the wrapper does, with a client of the check's own
      const bool v6 = scenario_.v6();
      const End to{v6 ? testing::Find<testing::Ipv6>(*testing::Parse(in))->destination
                      : testing::Find<testing::Ipv4>(*testing::Parse(in))->destination,
                   80};
      in = scenario_.Frame({v6 ? "fd00:dddd::1" : "11.1.1.1", 4000}, to, "S");
    }
    ASSIGN_OR_RETURN(const testing::RunResult result, testing::RunProgram(program, in, context));
    if (result.verdict != one.verdict) {
      return Wrong(one, absl::StrCat("verdict ", result.verdict));
    }
    RETURN_IF_ERROR(Annotate(testing::VerifyChecksums(result.frame), one.name));
    if (one.turn == Turn::kNew) {
      const auto out = testing::Parse(result.frame);
      if (testing::Find<testing::Tcp>(*out)->destination_port != 8080) {
        return Wrong(one, "not sent to a backend");
      }
      continue;
    }
    const std::string difference = testing::Difference(one.expected[i], result.frame);
    if (!difference.empty()) return Wrong(one, difference);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::uint32_t> CaseRunner::PacketsFor(const Case& one, std::uint32_t ifindex) {
  // Every flow once at least: the first packet of a beat looks for its partner row too.
  const auto probe = std::max(std::uint32_t{20000}, static_cast<std::uint32_t>(one.frames.size()));
  ASSIGN_OR_RETURN(const double ns, kernel_.Time(one.turn, 0, kernel_.datapath_program(one.program),
                                                 ifindex, probe));
  // Every flow at least twice, or the larger sets would be measured half cold.
  const auto turns = static_cast<std::uint32_t>(2 * one.frames.size());
  return std::max(turns, static_cast<std::uint32_t>(effort_.milliseconds * 1e6 / ns));
}

absl::StatusOr<Measurement> CaseRunner::Run(const Case& one) {
  const std::uint32_t ifindex = if_nametoindex(one.device);
  RETURN_IF_ERROR(Check(one, ifindex));
  Measurement result{
      .row = one.name,
      .program = one.program,
      .family = scenario_.v6() ? "v6" : "v4",
      .flows = one.turn == Turn::kNew ? 0 : static_cast<std::uint32_t>(one.frames.size()),
      .services = scenario_.services(),
      .budget = one.budget};
  Bytes counted = one.frames.front();
  if (one.turn == Turn::kNew) {
    const FlowEnds ends =
        scenario_.Flow(one.program == "sl_from_net" ? Side::kOutside : Side::kPod, 0);
    counted =
        scenario_.Frame({scenario_.v6() ? "fd00:dddd::2" : "11.1.1.2", 4001}, ends.service, "S");
  }
  ASSIGN_OR_RETURN(result.calls, kernel_.Count(one.program, ifindex, counted));
  if (one.turn == Turn::kRepeat) {  // the first packet after a tick looks for its partner row too
    ASSIGN_OR_RETURN(result.calls, kernel_.Count(one.program, ifindex, counted));
  }

  RETURN_IF_ERROR(kernel_.SetFrames(0, one.frames));
  const bool own_floor_frames = !one.floor_frames.empty();
  if (own_floor_frames) RETURN_IF_ERROR(kernel_.SetFrames(1, one.floor_frames));
  ASSIGN_OR_RETURN(const std::uint32_t packets, PacketsFor(one, ifindex));
  const int program = kernel_.datapath_program(one.program);
  const int floor = kernel_.floor_program(one.floor);
  std::vector<double> ns, floor_ns, ratios, wrapper_ns;
  ASSIGN_OR_RETURN(const std::uint64_t before, scenario_.CountedPackets());
  for (int round = 0; round < effort_.rounds; ++round) {
    ASSIGN_OR_RETURN(const double wrapper,
                     kernel_.Time(one.turn, 0, BenchKernel::kWrapperAlone, ifindex, packets));
    double floor_wrapper = wrapper;
    if (own_floor_frames) {
      ASSIGN_OR_RETURN(floor_wrapper, kernel_.Time(Turn::kRepeat, 1, BenchKernel::kWrapperAlone,
                                                   ifindex, packets));
    }
    ASSIGN_OR_RETURN(const double least, kernel_.Time(Turn::kRepeat, own_floor_frames ? 1 : 0,
                                                      floor, ifindex, packets));
    ASSIGN_OR_RETURN(const double full, kernel_.Time(one.turn, 0, program, ifindex, packets));
    wrapper_ns.push_back(wrapper);
    ns.push_back(full - wrapper);
    floor_ns.push_back(least - floor_wrapper);
    ratios.push_back(ns.back() / floor_ns.back());
  }
  ASSIGN_OR_RETURN(const std::uint64_t after, scenario_.CountedPackets());
  const std::uint64_t timed = static_cast<std::uint64_t>(packets) * ns.size();
  if (after - before != (one.counted ? timed : 0)) {
    return Wrong(one, absl::StrCat(after - before, " of ", timed, " packets were counted"));
  }
  result.ns = SpreadOf(ns);
  result.floor_ns = SpreadOf(floor_ns);
  result.ratio = SpreadOf(ratios);
  result.wrapper_ns = SpreadOf(wrapper_ns).median;
  return result;
}

absl::StatusOr<Measurement> CaseRunner::RunPromotion() {
  // A service of one backend, so that the answers' frames are known before the flows are.
  Case one{.name = "promotion to established", .program = "sl_from_pod", .budget = 10};
  const std::uint32_t ifindex = if_nametoindex("pod");
  const FlowEnds ends = scenario_.Flow(Side::kPod, 0);
  testing::ServiceSpec spec{.address = scenario_.v6() ? "fd00:97::1" : "10.97.255.1",
                            .port = 80,
                            .protocol = IPPROTO_TCP};
  abi::service service{};
  service.id = 30000;
  service.flags = abi::SL_SERVICE_HAS_ENDPOINTS;
  service.kind = abi::SL_FRONTEND_CLUSTER_IP;
  for (abi::slot_range& range : service.slots) range = {0, 1};
  const std::pair<abi::service_key, abi::service> row(testing::ServiceKey(spec), service);
  kernel_.tables().filter().Add(row.first);
  kernel_.counted_tables().filter().Add(row.first);
  RETURN_IF_ERROR(kernel_.tables().services.Update(std::span(&row, 1)).status);
  RETURN_IF_ERROR(kernel_.counted_tables().services.Update(std::span(&row, 1)).status);
  const End to{spec.address, 80};

  std::vector<Bytes> acks, syns, answers;
  std::vector<abi::flow> keys;
  for (std::uint32_t i = 0; i < kPromotions; ++i) {
    const End client{scenario_.v6() ? absl::StrCat("fd00:aa::", 1 + i % 250)
                                    : absl::StrCat("10.65.0.", 1 + i % 250),
                     static_cast<std::uint16_t>(2000 + i)};
    syns.push_back(scenario_.Frame(client, to, "S"));
    answers.push_back(scenario_.Frame({ends.backend.address, 8080}, client, "SA"));
    acks.push_back(scenario_.Frame(client, to, "A"));
    keys.push_back(testing::FlowKey(client.address, client.port, to.address, 80, IPPROTO_TCP));
    keys.push_back(
        testing::FlowKey(ends.backend.address, 8080, client.address, client.port, IPPROTO_TCP));
  }
  std::vector<Bytes> floor_frames;
  for (std::uint32_t i = 0; i < kFloorFlows; ++i) {
    const FlowEnds flow = scenario_.Flow(Side::kPod, i);
    floor_frames.push_back(scenario_.Frame(flow.client, flow.service, "A"));
  }
  RETURN_IF_ERROR(kernel_.SetFrames(1, floor_frames));

  Measurement result{.row = one.name,
                     .program = one.program,
                     .family = scenario_.v6() ? "v6" : "v4",
                     .services = scenario_.services(),
                     .budget = one.budget};
  RETURN_IF_ERROR(kernel_.Count("sl_from_pod", ifindex, syns.front()).status());
  RETURN_IF_ERROR(kernel_.Count("sl_to_pod", ifindex, answers.front()).status());
  ASSIGN_OR_RETURN(result.calls, kernel_.Count("sl_from_pod", ifindex, acks.front()));
  const int from_pod = kernel_.datapath_program("sl_from_pod");
  const int to_pod = kernel_.datapath_program("sl_to_pod");
  std::vector<double> ns, floor_ns, ratios;
  for (int round = 0; round < effort_.rounds; ++round) {
    RETURN_IF_ERROR(kernel_.SetFrames(0, syns));
    RETURN_IF_ERROR(kernel_.Time(Turn::kRepeat, 0, from_pod, ifindex, kPromotions).status());
    RETURN_IF_ERROR(kernel_.SetFrames(0, answers));
    RETURN_IF_ERROR(kernel_.Time(Turn::kRepeat, 0, to_pod, ifindex, kPromotions).status());
    RETURN_IF_ERROR(kernel_.SetFrames(0, acks));
    ASSIGN_OR_RETURN(
        const double wrapper,
        kernel_.Time(Turn::kRepeat, 0, BenchKernel::kWrapperAlone, ifindex, kPromotions));
    ASSIGN_OR_RETURN(const double full,
                     kernel_.Time(Turn::kRepeat, 0, from_pod, ifindex, kPromotions));
    ASSIGN_OR_RETURN(const double floor_wrapper,
                     kernel_.Time(Turn::kRepeat, 1, BenchKernel::kWrapperAlone, ifindex, 200000));
    ASSIGN_OR_RETURN(
        const double least,
        kernel_.Time(Turn::kRepeat, 1, kernel_.floor_program("floor_next"), ifindex, 200000));
    std::size_t promoted = 0;
    for (const abi::flow& key : keys) {
      ASSIGN_OR_RETURN(const auto found, kernel_.tables().flows.Lookup(key));
      promoted += found ? 1 : 0;
    }
    if (promoted * 100 < keys.size() * 99) {
      return Wrong(one, absl::StrCat(promoted, " of ", keys.size(), " rows are there"));
    }
    RETURN_IF_ERROR(kernel_.tables().flows.Delete(keys).status);
    ns.push_back(full - wrapper);
    floor_ns.push_back(least - floor_wrapper);
    ratios.push_back(ns.back() / floor_ns.back());
  }
  result.ns = SpreadOf(ns);
  result.floor_ns = SpreadOf(floor_ns);
  result.ratio = SpreadOf(ratios);
  return result;
}

}  // namespace sluice::bench
