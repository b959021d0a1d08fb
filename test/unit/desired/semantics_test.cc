// SPDX-License-Identifier: Apache-2.0
// The table of test/data/semantics against the desired state: its manifests go through the reader
// of manifests and what fills them in, as with an agent, and each flow is asked of the outcome. No
// kernel. The same table is run by e2e.semantics_trace and e2e.semantics_packets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/names.h"
#include "control/datapath/node_addresses.h"
#include "control/desired/desired_tracker.h"
#include "control/source/manifest.h"
#include "control/source/service_defaults.h"
#include "test/support/flow_evaluation.h"
#include "test/support/semantics_table.h"

namespace sluice::testing {

// Found by GoogleTest for failures.
void PrintTo(const FlowAnswer& answer, std::ostream* out) {
  *out << VerdictName(answer.verdict);
  if (answer.reason != abi::SL_REASON_NONE) *out << " " << ReasonName(answer.reason);
  for (const auto& [backend, seen] : answer.endpoints) {
    *out << " " << backend.address.ToString() << ":" << backend.port << " (sees " << seen.ToString()
         << ")";
  }
  if (answer.affinity_s != 0) *out << " affinity " << answer.affinity_s << " s";
}

namespace {

using ::testing::IsEmpty;

constexpr char kNodeName[] = "node-a";
constexpr int kUplink = 2;

const SemanticsTable& Table() {
  static const SemanticsTable& table = *new SemanticsTable(ReadSemanticsTable(SLUICE_TEST_TABLE));
  return table;
}

// What the agent's flags say, as far as the table uses them.
struct Flags {
  std::vector<IpPrefix> service_cidrs;
  AddressFlags addresses;
  RowOptions rows;
};

Flags ReadFlags(const std::vector<std::string>& words) {
  Flags flags;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--allow-external-cluster-ip") {
      flags.rows.allow_external_cluster_ip = true;
    } else if (words[i] == "--no-service-echo") {
      flags.rows.service_echo = false;
    } else if (words[i] == "--service-cidr") {
      flags.service_cidrs = ParseCidrs(words.at(++i)).value();
    } else if (words[i] == "--nodeport-addresses") {
      flags.addresses.node_port = ParseNodePortFlag(words.at(++i)).value();
    } else {
      ADD_FAILURE() << "this test does not know the flag " << words[i];
    }
  }
  return flags;
}

// A setup of the table as the agent of node-a would understand it.
class LoadedSetup {
 public:
  explicit LoadedSetup(const SemanticsSetup& setup) : cluster_(kNodeName) {
    const Flags flags = ReadFlags(setup.flags);
    LoadManifests(setup.manifests, flags.service_cidrs);
    NodeConfig config;
    config.node_name = kNodeName;
    const model::Node& node = *cluster_.own_node();
    config.zone = node.metadata().labels().at("topology.kubernetes.io/zone");
    const NodeAddresses addresses = FindAddresses(node, flags);
    config.node_port_addresses = addresses.node_ports;
    config.machine_addresses = addresses.local;
    cluster_.ForEachNode([&](const model::Node& machine) {
      for (const model::NodeAddress& address : machine.status().addresses()) {
        config.machine_addresses.insert(IpAddress::Parse(address.address()).value());
      }
    });
    setting_.service_cidrs = flags.service_cidrs;
    setting_.rows = flags.rows;
    for (const abi::sl_family family : {abi::SL_FAMILY_V4, abi::SL_FAMILY_V6}) {
      setting_.address[family] = addresses.source[family].value();
    }
    DesiredTracker tracker(std::move(config));
    std::set<ServicePortName> changed;
    tracker.UpdateAll(cluster_, changed);
    state_.services = tracker.services();
    for (const Problem& conflict : tracker.Conflicts()) {
      ADD_FAILURE() << conflict.object << ": " << conflict.message;
    }
  }

  FlowAnswer Evaluate(const FlowQuestion& question) const {
    return EvaluateFlow(state_, setting_, question);
  }

 private:
  void LoadManifests(const std::string& text, const std::vector<IpPrefix>& service_cidrs) {
    ServiceDefaultsConfig config;
    config.service_cidrs = service_cidrs;
    ServiceDefaults defaults(config, {});
    for (const ManifestChunk& chunk : SplitManifest(text)) {
      const ManifestPart part = ParseManifest(chunk);
      for (const ManifestProblem& problem : part.problems) {
        // A slice of a Service that the case leaves out is in order.
        if (problem.message.find("so no Service uses") == std::string::npos) {
          ADD_FAILURE() << problem.object << ": " << problem.message;
        }
      }
      for (const ManifestObject& object : part.objects) Take(Unpack(object), defaults);
    }
    for (const model::Service& service : defaults.Resolve().services) cluster_.SetService(service);
    EXPECT_THAT(defaults.problems(), IsEmpty());
  }

  void Take(ObjectMessage message, ServiceDefaults& defaults) {
    if (auto* service = std::get_if<model::Service>(&message)) {
      defaults.Set(*service);
    } else if (auto* slice = std::get_if<model::EndpointSlice>(&message)) {
      FillEndpointSlice(*slice);
      cluster_.SetEndpointSlice(std::move(*slice));
    } else {
      cluster_.SetNode(std::get<model::Node>(std::move(message)));
    }
  }

  // The node holds all its addresses on its one uplink.
  static NodeAddresses FindAddresses(const model::Node& node, const Flags& flags) {
    NetworkState network;
    std::vector<IpAddress> named;
    for (const model::NodeAddress& address : node.status().addresses()) {
      named.push_back(IpAddress::Parse(address.address()).value());
    }
    for (const IpAddress& address : Table().node_addresses) {
      network.addresses.push_back({kUplink, address, true, true});
    }
    Interface uplink;
    uplink.link.ifindex = kUplink;
    uplink.role = Role::kUplink;
    return FindNodeAddresses(network, {uplink}, flags.addresses, named);
  }

  ClusterState cluster_;
  DesiredState state_;
  NodeSetting setting_;
};

struct Param {
  const SemanticsSetup* setup = nullptr;
  const SemanticsCase* one = nullptr;
};

void PrintTo(const Param& param, std::ostream* out) { *out << param.setup->name; }

std::vector<Param> AllCases() {
  std::vector<Param> all;
  for (const SemanticsSetup& setup : Table().setups) {
    for (const SemanticsCase& one : setup.cases) all.push_back({&setup, &one});
  }
  return all;
}

class SemanticsTest : public ::testing::TestWithParam<Param> {};

TEST_P(SemanticsTest, HoldsForEveryFlow) {
  static std::map<const SemanticsSetup*, LoadedSetup>& loaded =
      *new std::map<const SemanticsSetup*, LoadedSetup>();
  const LoadedSetup& setup = loaded.try_emplace(GetParam().setup, *GetParam().setup).first->second;
  ASSERT_FALSE(GetParam().one->flows.empty());
  for (const SemanticsFlow& flow : GetParam().one->flows) {
    EXPECT_EQ(setup.Evaluate(flow.question), flow.expected) << flow.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, SemanticsTest, ::testing::ValuesIn(AllCases()),
                         [](const auto& param) { return param.param.one->name; });

TEST(SemanticsTableTest, HasAllItsFlows) {
  std::size_t flows = 0;
  for (const Param& param : AllCases()) flows += param.one->flows.size();
  EXPECT_EQ(flows, Table().flow_count);
  std::cout << AllCases().size() << " cases, " << flows << " flows\n";
}

}  // namespace
}  // namespace sluice::testing
