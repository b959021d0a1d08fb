// SPDX-License-Identifier: Apache-2.0
#include "test/support/semantics_table.h"

#include <netinet/in.h>

#include "absl/strings/str_cat.h"
#include <yaml-cpp/yaml.h>

#include "control/base/names.h"

namespace sluice::testing {
namespace {

std::string Text(const YAML::Node& node) { return node.as<std::string>(); }
IpAddress Address(const YAML::Node& node) { return IpAddress::Parse(Text(node)).value(); }

template <typename Enum>
Enum Named(const std::string& name, std::string_view (*name_of)(std::uint32_t), unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    if (name_of(i) == name) return static_cast<Enum>(i);
  }
  throw YAML::Exception(YAML::Mark::null_mark(), absl::StrCat("unknown name ", name));
}

SemanticsFlow ReadFlow(const YAML::Node& node) {
  SemanticsFlow flow;
  FlowQuestion& question = flow.question;
  question.source = Address(node["source"]);
  question.destination = Address(node["destination"]);
  question.port = node["port"].as<std::uint16_t>();
  const std::string protocol = Text(node["protocol"]);
  question.protocol =
      protocol == "ICMP" ? std::uint32_t{IPPROTO_ICMP} : ProtocolNumber(protocol).value();
  question.scope =
      Text(node["from"]) == "outside" ? abi::SL_SCOPE_EXTERNAL : abi::SL_SCOPE_INTERNAL;
  flow.name = absl::StrCat(Text(node["client"]), ", ", protocol, " to ", Text(node["destination"]),
                           " ", question.port);
  FlowAnswer& expected = flow.expected;
  const std::string verdict = Text(node["verdict"]);
  if (verdict == "answered") {
    expected.verdict = abi::SL_VERDICT_FORWARD;
    return flow;
  }
  expected.verdict = Named<abi::sl_verdict>(verdict, &VerdictName, abi::SL_VERDICT_REJECT + 1);
  if (const std::string reason = Text(node["reason"]); !reason.empty()) {
    expected.reason = Named<abi::sl_reason>(reason, &ReasonName, abi::SL_REASON_COUNT);
  }
  // Who answers what no service takes is not the desired state's to say.
  if (expected.verdict != abi::SL_VERDICT_FORWARD) return flow;
  expected.affinity_s = node["affinity"].as<std::uint32_t>();
  for (const YAML::Node& endpoint : node["endpoints"]) {
    const BackendAddress backend{Address(endpoint["address"]), endpoint["port"].as<std::uint16_t>(),
                                 question.protocol};
    expected.endpoints[backend] = Address(endpoint["sees"]);
  }
  return flow;
}

SemanticsSetup ReadSetup(const YAML::Node& node) {
  SemanticsSetup setup;
  setup.name = Text(node["name"]);
  setup.flags = node["flags"].as<std::vector<std::string>>();
  setup.manifests = Text(node["manifests"]);
  for (const YAML::Node& flow : node["flows"]) {
    const std::string name = Text(flow["case"]);
    if (setup.cases.empty() || setup.cases.back().name != name) setup.cases.push_back({name, {}});
    setup.cases.back().flows.push_back(ReadFlow(flow));
  }
  return setup;
}

}  // namespace

SemanticsTable ReadSemanticsTable(const std::string& path) {
  const YAML::Node root = YAML::LoadFile(path);
  SemanticsTable table;
  for (const YAML::Node& setup : root["setups"]) table.setups.push_back(ReadSetup(setup));
  for (const YAML::Node& address : root["machines"]["node-a"]) {
    table.node_addresses.push_back(Address(address));
  }
  table.flow_count = root["flow_count"]["desired"].as<std::size_t>();
  return table;
}

}  // namespace sluice::testing
