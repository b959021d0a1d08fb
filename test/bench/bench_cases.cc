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
constexpr std::uint32_t kPromotions = 4096;  // of 131,072 places: no bucket overflows

absl::Status Wrong(const Case& one, const std::string& what) {
  return absl::FailedPreconditionError(absl::StrCat(one.name, ": ", what));
}

absl::Status Compare(const Case& one, const Bytes& expected, Bytes found) {
  // The flow label that it is passed on with may be any: test/bpf/tunnel_test.cc says which.
  if (one.passed_on && found.size() > 17 && found[12] == 0x86) {
    found[15] &= 0xf0;
    found[16] = found[17] = 0;
  }
  const std::string difference = testing::Difference(expected, found);
  return difference.empty() ? absl::OkStatus() : Wrong(one, difference);
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
           .side = Side::kOutside,
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
           .side = Side::kOutside,
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

End CaseRunner::NextClient() {
  return {scenario_.shape().v6 ? "fd00:dddd::1" : "11.1.1.1", next_port_++};
}

// As the wrapper does it, with a client of the check's own.
absl::Status CaseRunner::CheckNew(const Case& one, const TimedRun& run) {
  const testing::Packet packet = *testing::Parse(one.frames.front());
  const End from = NextClient();
  const End to{testing::DestinationOf(packet), testing::PortsOf(packet).destination};
  ASSIGN_OR_RETURN(const testing::RunResult result,
                   kernel_.Once(run, scenario_.Frame(from, to, "S")));
  if (result.verdict != one.verdict) {
    return Wrong(one, absl::StrCat("verdict ", result.verdict));
  }
  if (one.passed_on) {
    const Bytes expected =
        Scenario::Sent(scenario_.Wrapped(scenario_.Frame(from, to, "S", 1)), kOtherNode);
    return Compare(one, expected, result.frame);
  }
  RETURN_IF_ERROR(Annotate(testing::VerifyChecksums(result.frame), one.name));
  const auto out = testing::Parse(result.frame);
  if (!out.ok() || testing::PortsOf(*out).destination != 8080) {
    return Wrong(one, "not sent to a backend");
  }
  return absl::OkStatus();
}

absl::Status CaseRunner::CheckFloor(const Case& one, std::uint32_t ifindex) {
  const TimedRun run{.hook = one.hook, .program = kernel_.program(one.floor), .ifindex = ifindex};
  const auto& frames = one.floor_frames.empty() ? one.frames : one.floor_frames;
  ASSIGN_OR_RETURN(const testing::RunResult result, kernel_.Once(run, frames.front()));
  if (result.verdict != one.verdict) {
    return Wrong(one, absl::StrCat("verdict of the floor ", result.verdict));
  }
  return Annotate(testing::VerifyChecksums(result.frame), one.floor);
}

absl::Status CaseRunner::Check(const Case& one, std::uint32_t ifindex) {
  RETURN_IF_ERROR(CheckFloor(one, ifindex));
  const TimedRun run{.hook = one.hook, .program = kernel_.program(one.program), .ifindex = ifindex};
  if (one.turn == Turn::kNew) return CheckNew(one, run);
  for (std::size_t i = 0; i < one.expected.size(); ++i) {
    ASSIGN_OR_RETURN(const testing::RunResult result, kernel_.Once(run, one.frames[i]));
    if (result.verdict != one.verdict) {
      return Wrong(one, absl::StrCat("verdict ", result.verdict));
    }
    RETURN_IF_ERROR(Annotate(testing::VerifyChecksums(result.frame), one.name));
    RETURN_IF_ERROR(Compare(one, one.expected[i], result.frame));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::uint32_t> CaseRunner::PacketsFor(const Case& one, std::uint32_t ifindex) {
  // Every flow once at least: the first packet of a beat looks for its partner row too.
  const auto probe = std::max(std::uint32_t{20000}, static_cast<std::uint32_t>(one.frames.size()));
  ASSIGN_OR_RETURN(const double ns, kernel_.Time({.hook = one.hook,
                                                  .turn = one.turn,
                                                  .program = kernel_.program(one.program),
                                                  .ifindex = ifindex,
                                                  .verdict = one.verdict},
                                                 probe));
  // Every flow at least twice, or the larger sets would be measured half cold.
  const auto turns = static_cast<std::uint32_t>(2 * one.frames.size());
  return std::max(turns, static_cast<std::uint32_t>(effort_.milliseconds * 1e6 / ns));
}

// Of several clients the usual: sl_clients may have one by chance, which is then looked for.
absl::StatusOr<Calls> CaseRunner::CountNew(const Case& one, std::uint32_t ifindex) {
  std::vector<Calls> all(9);
  for (Calls& calls : all) {
    const Bytes frame = scenario_.Frame(NextClient(), scenario_.Flow(one.side, 0).service, "S");
    ASSIGN_OR_RETURN(calls, kernel_.Count(one.hook, one.program, ifindex, frame));
  }
  const auto middle = all.begin() + 4;
  std::nth_element(all.begin(), middle, all.end(),
                   [](const Calls& a, const Calls& b) { return a.hash_lookups < b.hash_lookups; });
  return *middle;
}

absl::StatusOr<Calls> CaseRunner::Count(const Case& one, std::uint32_t ifindex) {
  if (one.turn == Turn::kNew) return CountNew(one, ifindex);
  const Bytes& frame = one.frames.front();
  ASSIGN_OR_RETURN(Calls calls, kernel_.Count(one.hook, one.program, ifindex, frame));
  if (one.turn == Turn::kRepeat) {  // the first packet after a tick looks for its partner row too
    ASSIGN_OR_RETURN(calls, kernel_.Count(one.hook, one.program, ifindex, frame));
  }
  return calls;
}

absl::Status CaseRunner::Time(const Case& one, std::uint32_t ifindex, std::uint32_t packets,
                              Measurement& result) {
  const TimedRun program{.hook = one.hook,
                         .turn = one.turn,
                         .program = kernel_.program(one.program),
                         .ifindex = ifindex,
                         .verdict = one.verdict};
  TimedRun wrapper = program;
  wrapper.program = BenchKernel::kWrapperAlone;
  TimedRun floor = program;
  floor.program = kernel_.program(one.floor);
  const bool own_floor_frames = !one.floor_frames.empty();
  if (own_floor_frames) floor.set = 1;
  if (one.turn == Turn::kNew) floor.turn = Turn::kRepeat;
  TimedRun floor_wrapper = floor;
  floor_wrapper.program = BenchKernel::kWrapperAlone;
  std::vector<double> ns, floor_ns, ratios, wrapper_ns;
  for (int round = 0; round < effort_.rounds; ++round) {
    ASSIGN_OR_RETURN(const double around, kernel_.Time(wrapper, packets));
    double around_floor = around;
    if (own_floor_frames) {
      ASSIGN_OR_RETURN(around_floor, kernel_.Time(floor_wrapper, packets));
    }
    ASSIGN_OR_RETURN(const double least, kernel_.Time(floor, packets));
    ASSIGN_OR_RETURN(const double full, kernel_.Time(program, packets));
    wrapper_ns.push_back(around);
    ns.push_back(full - around);
    floor_ns.push_back(least - around_floor);
    ratios.push_back(ns.back() / floor_ns.back());
  }
  result.ns = SpreadOf(ns);
  result.floor_ns = SpreadOf(floor_ns);
  result.ratio = SpreadOf(ratios);
  result.wrapper_ns = SpreadOf(wrapper_ns).median;
  return absl::OkStatus();
}

absl::StatusOr<Measurement> CaseRunner::Run(const Case& one) {
  const std::uint32_t ifindex = if_nametoindex(one.device);
  RETURN_IF_ERROR(Check(one, ifindex));
  Measurement result{
      .row = one.name,
      .program = one.program,
      .family = scenario_.shape().v6 ? "v6" : "v4",
      .flows = one.turn == Turn::kNew ? 0 : static_cast<std::uint32_t>(one.frames.size()),
      .services = scenario_.shape().services,
      .backends = scenario_.shape().backends,
      .budget = one.budget};
  ASSIGN_OR_RETURN(result.calls, Count(one, ifindex));
  RETURN_IF_ERROR(kernel_.SetFrames(0, one.frames));
  if (!one.floor_frames.empty()) RETURN_IF_ERROR(kernel_.SetFrames(1, one.floor_frames));
  ASSIGN_OR_RETURN(const std::uint32_t packets, PacketsFor(one, ifindex));
  ASSIGN_OR_RETURN(const std::uint64_t before, scenario_.CountedPackets());
  RETURN_IF_ERROR(Time(one, ifindex, packets, result));
  ASSIGN_OR_RETURN(const std::uint64_t after, scenario_.CountedPackets());
  const std::uint64_t timed = std::uint64_t{packets} * static_cast<std::uint32_t>(effort_.rounds);
  if (after - before != (one.counted ? timed : 0)) {
    return Wrong(one, absl::StrCat(after - before, " of ", timed, " packets were counted"));
  }
  return result;
}

absl::StatusOr<Measurement> CaseRunner::RunPromotion() {
  // A service of one backend, so that the answers' frames are known before the flows are.
  Case one{.name = "promotion to established", .program = "sl_from_pod", .budget = 10};
  const std::uint32_t ifindex = if_nametoindex("pod");
  const FlowEnds ends = scenario_.Flow(Side::kPod, 0);
  testing::ServiceSpec spec{.address = scenario_.shape().v6 ? "fd00:97::1" : "10.97.255.1",
                            .port = 80,
                            .protocol = IPPROTO_TCP};
  abi::service service{};
  service.id = 30000;
  service.flags = abi::SL_SERVICE_HAS_ENDPOINTS;
  service.kind = abi::SL_FRONTEND_CLUSTER_IP;
  for (abi::slot_range& range : service.slots) range = {0, 1};
  const std::pair<abi::service_key, abi::service> row(testing::ServiceKey(spec), service);
  kernel_.tables().filter().Add(row.first);
  RETURN_IF_ERROR(kernel_.tables().services.Update(std::span(&row, 1)).status);
  const End to{spec.address, 80};

  std::vector<Bytes> acks, syns, answers;
  std::vector<abi::flow> keys;
  for (std::uint32_t i = 0; i < kPromotions; ++i) {
    const End client{scenario_.shape().v6 ? absl::StrCat("fd00:aa::", 1 + i % 250)
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
                     .family = scenario_.shape().v6 ? "v6" : "v4",
                     .services = scenario_.shape().services,
                     .backends = scenario_.shape().backends,
                     .budget = one.budget};
  const auto count = [&](const char* program, const Bytes& frame) {
    return kernel_.Count(Hook::kTc, program, ifindex, frame);
  };
  RETURN_IF_ERROR(count("sl_from_pod", syns.front()).status());
  RETURN_IF_ERROR(count("sl_to_pod", answers.front()).status());
  ASSIGN_OR_RETURN(result.calls, count("sl_from_pod", acks.front()));
  RETURN_IF_ERROR(kernel_.tables().flows.Delete(std::span(keys).first(2)).status);
  TimedRun from_pod{
      .program = kernel_.program("sl_from_pod"), .ifindex = ifindex, .verdict = kNext};
  TimedRun to_pod = from_pod;
  to_pod.program = kernel_.program("sl_to_pod");
  TimedRun wrapper = from_pod;
  wrapper.program = BenchKernel::kWrapperAlone;
  TimedRun floor = from_pod;
  floor.program = kernel_.program("floor_next");
  floor.set = 1;
  TimedRun floor_wrapper = wrapper;
  floor_wrapper.set = 1;
  std::vector<double> ns, floor_ns, ratios;
  for (int round = 0; round < effort_.rounds; ++round) {
    RETURN_IF_ERROR(kernel_.SetFrames(0, syns));
    RETURN_IF_ERROR(kernel_.Time(from_pod, kPromotions).status());
    RETURN_IF_ERROR(kernel_.SetFrames(0, answers));
    RETURN_IF_ERROR(kernel_.Time(to_pod, kPromotions).status());
    RETURN_IF_ERROR(kernel_.SetFrames(0, acks));
    ASSIGN_OR_RETURN(const double around, kernel_.Time(wrapper, kPromotions));
    ASSIGN_OR_RETURN(const double full, kernel_.Time(from_pod, kPromotions));
    ASSIGN_OR_RETURN(const double around_floor, kernel_.Time(floor_wrapper, 200000));
    ASSIGN_OR_RETURN(const double least, kernel_.Time(floor, 200000));
    std::size_t promoted = 0;
    for (const abi::flow& key : keys) {
      ASSIGN_OR_RETURN(const auto found, kernel_.tables().flows.Lookup(key));
      promoted += found ? 1 : 0;
    }
    if (promoted * 100 < keys.size() * 99) {
      return Wrong(one, absl::StrCat(promoted, " of ", keys.size(), " rows are there"));
    }
    RETURN_IF_ERROR(kernel_.tables().flows.Delete(keys).status);
    ns.push_back(full - around);
    floor_ns.push_back(least - around_floor);
    ratios.push_back(ns.back() / floor_ns.back());
  }
  result.ns = SpreadOf(ns);
  result.floor_ns = SpreadOf(floor_ns);
  result.ratio = SpreadOf(ratios);
  return result;
}

}  // namespace sluice::bench
