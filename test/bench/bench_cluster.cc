// SPDX-License-Identifier: Apache-2.0
#include "test/bench/bench_cluster.h"

#include "absl/strings/str_cat.h"
#include "google/protobuf/unknown_field_set.h"

namespace sluice::bench {
namespace {

constexpr int kManagedFields = 17;  // of ObjectMeta
constexpr int kTargetRef = 4;       // of Endpoint
constexpr std::uint32_t kNodes = 100;

// What the API server keeps of who wrote which field: about half of a small object.
constexpr char kSliceManagers[] =
    R"({"f:addressType":{},"f:endpoints":{},"f:metadata":{"f:annotations":{".":{},)"
    R"("f:endpoints.kubernetes.io/last-change-trigger-time":{}},"f:generateName":{},)"
    R"("f:labels":{".":{},"f:endpointslice.kubernetes.io/managed-by":{},)"
    R"("f:kubernetes.io/service-name":{}},"f:ownerReferences":{".":{},)"
    R"("k:{\"uid\":\"5d6f7a9c-60c5-4b6d-8f0e-0b1d3f5a7c9e\"}":{}}},"f:ports":{}})";
constexpr char kServiceManagers[] =
    R"({"f:metadata":{"f:annotations":{".":{},)"
    R"("f:kubectl.kubernetes.io/last-applied-configuration":{}}},"f:spec":)"
    R"({"f:internalTrafficPolicy":{},"f:ports":{".":{},"k:{\"port\":80,\"protocol\":\"TCP\"}":)"
    R"({".":{},"f:name":{},"f:port":{},"f:protocol":{},"f:targetPort":{}}},"f:selector":{},)"
    R"("f:sessionAffinity":{},"f:type":{}}})";

std::string ServiceName(int service) { return absl::StrCat("service-", service); }

void AddUnread(google::protobuf::Message& message, int number, const std::string& bytes) {
  message.GetReflection()->MutableUnknownFields(&message)->AddLengthDelimited(number, bytes);
}

}  // namespace

std::string Cluster::ClusterIp(int service) const {
  return absl::StrCat("10.96.", service / 250, ".", 1 + service % 250);
}

std::string Cluster::EndpointIp(std::uint32_t number) const {
  return absl::StrCat("10.", 128 + (number >> 16), ".", (number >> 8) & 255, ".", number & 255);
}

std::uint32_t Cluster::EndpointNumber(int service, int endpoint, std::uint32_t version) const {
  if (endpoint == 0 && version > 0) {
    return static_cast<std::uint32_t>(services * endpoints) + version;
  }
  return static_cast<std::uint32_t>(service * endpoints + endpoint);
}

model::Service Cluster::Service(int service) const {
  model::Service object;
  object.mutable_metadata()->set_name(ServiceName(service));
  object.mutable_metadata()->set_name_space("bench");
  AddUnread(*object.mutable_metadata(), kManagedFields, kServiceManagers);
  model::ServiceSpec& spec = *object.mutable_spec();
  spec.set_type("ClusterIP");
  spec.set_cluster_ip(ClusterIp(service));
  spec.add_cluster_ips(ClusterIp(service));
  spec.add_ip_families("IPv4");
  spec.set_ip_family_policy("SingleStack");
  spec.set_session_affinity("None");
  spec.set_internal_traffic_policy("Cluster");
  (*spec.mutable_selector())["app"] = ServiceName(service);
  model::ServicePort& port = *spec.add_ports();
  port.set_name("http");
  port.set_protocol("TCP");
  port.set_port(80);
  port.mutable_target_port()->set_int_val(8080);
  return object;
}

model::EndpointSlice Cluster::Slice(int service, std::uint32_t version) const {
  model::EndpointSlice slice;
  model::ObjectMeta& meta = *slice.mutable_metadata();
  meta.set_name(absl::StrCat(ServiceName(service), "-x7k2p"));
  meta.set_name_space("bench");
  (*meta.mutable_labels())["kubernetes.io/service-name"] = ServiceName(service);
  (*meta.mutable_labels())["endpointslice.kubernetes.io/managed-by"] =
      "endpointslice-controller.k8s.io";
  AddUnread(meta, kManagedFields, kSliceManagers);
  slice.set_address_type("IPv4");
  model::EndpointPort& port = *slice.add_ports();
  port.set_name("http");
  port.set_protocol("TCP");
  port.set_port(8080);
  for (int i = 0; i < endpoints; ++i) {
    const std::uint32_t number = EndpointNumber(service, i, version);
    model::Endpoint& endpoint = *slice.add_endpoints();
    endpoint.add_addresses(EndpointIp(number));
    endpoint.set_node_name(absl::StrCat("worker-node-", number % kNodes));
    endpoint.set_zone("zone-a");
    endpoint.mutable_conditions()->set_ready(true);
    endpoint.mutable_conditions()->set_serving(true);
    endpoint.mutable_conditions()->set_terminating(false);
    AddUnread(endpoint, kTargetRef,
              absl::StrCat("\x0a\x03Pod\x12\x05", "bench\x1a\x1b", ServiceName(service),
                           "-6d4cf56db6-", 10000 + i, "0bd1a2f0-5c1b-4b4e-9d59-3f1f7c2f8e11"));
  }
  return slice;
}

model::Node Cluster::Node(const std::string& name) const {
  model::Node node;
  node.mutable_metadata()->set_name(name);
  (*node.mutable_metadata()->mutable_labels())["topology.kubernetes.io/zone"] = "zone-a";
  model::NodeAddress& address = *node.mutable_status()->add_addresses();
  address.set_type("InternalIP");
  address.set_address("192.0.2.1");
  return node;
}

}  // namespace sluice::bench
