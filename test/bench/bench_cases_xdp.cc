// SPDX-License-Identifier: Apache-2.0
// The cases of sl_xdp: packets of outside clients that leave the node again, rewritten or passed
// on.
#include <algorithm>
#include <utility>

#include "test/bench/bench_cases.h"

namespace sluice::bench {
namespace {

constexpr int kSent = 3;  // XDP_TX
constexpr int kRedirect = 7;

Case EarlyCase(const char* name, bool passed_on) {
  return {.name = name,
          .hook = Hook::kXdp,
          .program = "sl_xdp",
          .floor = passed_on ? "floor_xdp_wrap" : "floor_xdp_send",
          .device = "uplink",
          .side = Side::kOutside,
          .passed_on = passed_on,
          .verdict = kSent};
}

// The same packets through the program at TC.
Case AtTc(const Case& early) {
  Case one = early;
  one.hook = Hook::kTc;
  one.program = "sl_from_net";
  one.floor = "floor_redirect";
  one.verdict = kRedirect;
  return one;
}

}  // namespace

std::vector<Case> CaseRunner::EarlyCases(std::uint32_t flows) const {
  const bool dsr = scenario_.shape().dsr;
  Case out = EarlyCase(
      dsr ? "established, passed on to a node" : "established, outside to remote backend", dsr);
  Case reply = EarlyCase("established, reply to outside", false);
  Case out_tc = AtTc(out), reply_tc = AtTc(reply);
  for (std::uint32_t i = 0; i < flows; ++i) {
    const FlowEnds ends = scenario_.Flow(Side::kOutside, i);
    out.frames.push_back(scenario_.Frame(ends.client, ends.service, "A"));
    reply.frames.push_back(scenario_.Frame(ends.backend, ends.seen_client, "A"));
    if (i >= kChecked) continue;
    if (dsr) {
      const Bytes inner = scenario_.Frame(ends.client, ends.service, "A", 1);
      out.expected.push_back(Scenario::Sent(scenario_.Wrapped(inner), kOtherNode));
      continue;
    }
    out_tc.expected.push_back(scenario_.Frame(ends.seen_client, ends.backend, "A", 1));
    reply_tc.expected.push_back(scenario_.Frame(ends.service, ends.client, "A", 1));
    out.expected.push_back(Scenario::Sent(out_tc.expected.back(), kOtherNode));
    reply.expected.push_back(Scenario::Sent(reply_tc.expected.back(), kRouter));
  }
  if (dsr) return {std::move(out)};
  out_tc.frames = out.frames;
  reply_tc.frames = reply.frames;
  return {std::move(out), std::move(out_tc), std::move(reply), std::move(reply_tc)};
}

std::vector<Case> CaseRunner::EarlyNewCases() const {
  const bool dsr = scenario_.shape().dsr;
  Case out =
      EarlyCase(dsr ? "new flow, tables full, passed on" : "new flow, tables full, outside", dsr);
  out.turn = Turn::kNew;
  out.frames = scenario_.NewFrames(Side::kOutside);
  for (std::uint32_t i = 0; i < kFloorFlows; ++i) {
    const FlowEnds ends = scenario_.Flow(Side::kOutside, i);
    out.floor_frames.push_back(scenario_.Frame(ends.client, ends.service, "A"));
  }
  if (dsr) return {std::move(out)};
  Case out_tc = AtTc(out);
  return {std::move(out), std::move(out_tc)};
}

}  // namespace sluice::bench
