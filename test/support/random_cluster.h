// SPDX-License-Identifier: Apache-2.0
// RandomCluster: Services and EndpointSlices that change at random, from a seed. Addresses, ports
// and names come from small pools, so that Services share endpoints and compete for frontends.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

#include "control/source/cluster_source.h"

namespace sluice::testing {

class RandomCluster {
 public:
  explicit RandomCluster(std::uint32_t seed, int services = 12) : random_(seed) {
    for (int i = 0; i < services; ++i) services_.push_back(absl::StrCat("svc-", i));
  }

  // One change of one object, said to `sink`.
  void Change(ClusterSink& sink) {
    const std::string& name = services_[Pick(static_cast<int>(services_.size()))];
    const int what = Pick(10);
    if (what < 3) {
      sink.SetService(Service(name));
    } else if (what == 3) {
      sink.DeleteService("default", name);
    } else if (what == 4) {
      sink.DeleteEndpointSlice("default", absl::StrCat(name, "-", Pick(3)));
    } else {
      sink.SetEndpointSlice(Slice(name));
    }
  }

  int Pick(int below) { return static_cast<int>(random_() % static_cast<std::uint32_t>(below)); }
  bool Chance(int percent) { return Pick(100) < percent; }

 private:
  model::Service Service(const std::string& name) {
    model::Service service;
    service.mutable_metadata()->set_name(name);
    service.mutable_metadata()->set_name_space("default");
    service.mutable_metadata()->mutable_creation_timestamp()->set_seconds(1000 + Pick(5));
    model::ServiceSpec& spec = *service.mutable_spec();
    const int pool = Pick(14);
    spec.add_cluster_ips(absl::StrCat("10.96.0.", 1 + pool));
    if (Chance(60)) spec.add_cluster_ips(absl::StrCat("fd00:96::", 1 + pool));
    const char* kTypes[] = {"ClusterIP", "NodePort", "LoadBalancer"};
    spec.set_type(kTypes[Pick(3)]);
    if (Chance(30)) spec.set_internal_traffic_policy("Local");
    if (Chance(40)) spec.set_external_traffic_policy("Local");
    if (Chance(30)) spec.set_session_affinity("ClientIP");
    const char* kAlgorithms[] = {"random", "maglev", "least-connection"};
    if (Chance(40)) {
      (*service.mutable_metadata()->mutable_annotations())["sluice.io/algorithm"] =
          kAlgorithms[Pick(3)];
    }
    const char* kForwardings[] = {"snat", "dsr", "hybrid"};
    if (Chance(30)) {
      (*service.mutable_metadata()->mutable_annotations())["sluice.io/forwarding"] =
          kForwardings[Pick(3)];
    }
    if (Chance(30)) spec.add_external_ips(absl::StrCat("192.0.2.", 1 + Pick(3)));
    if (Chance(20)) spec.add_load_balancer_source_ranges(absl::StrCat("198.51.", Pick(9), ".0/24"));
    if (Chance(20)) spec.add_load_balancer_source_ranges("2001:db8::/32");
    if (Chance(10)) spec.add_load_balancer_source_ranges("0.0.0.0/0");
    if (Chance(50)) {
      service.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip(
          absl::StrCat("203.0.113.", 1 + Pick(3)));
    }
    const int ports = 1 + Pick(2);
    for (int i = 0; i < ports; ++i) {
      model::ServicePort& port = *spec.add_ports();
      port.set_name(absl::StrCat("p", i));
      port.set_protocol(Chance(70) ? "TCP" : Chance(70) ? "UDP" : "SCTP");
      port.set_port(80 + i);
      port.set_node_port(30000 + Pick(8));
    }
    return service;
  }

  model::EndpointSlice Slice(const std::string& service) {
    model::EndpointSlice slice;
    slice.mutable_metadata()->set_name(absl::StrCat(service, "-", Pick(3)));
    slice.mutable_metadata()->set_name_space("default");
    (*slice.mutable_metadata()->mutable_labels())["kubernetes.io/service-name"] = service;
    const bool v4 = Chance(60);
    slice.set_address_type(v4 ? "IPv4" : "IPv6");
    for (int i = 0; i < 2; ++i) {
      model::EndpointPort& port = *slice.add_ports();
      port.set_name(absl::StrCat("p", i));
      port.set_protocol(Chance(70) ? "TCP" : Chance(70) ? "UDP" : "SCTP");
      port.set_port(8080 + Pick(2));
    }
    const int endpoints = Pick(6);
    for (int i = 0; i < endpoints; ++i) {
      model::Endpoint& endpoint = *slice.add_endpoints();
      const int host = 1 + Pick(12);
      endpoint.add_addresses(v4 ? absl::StrCat("10.1.0.", host) : absl::StrCat("fd00:1::", host));
      endpoint.set_node_name(absl::StrCat("node-", host % 3));
      if (Chance(40)) {
        endpoint.mutable_conditions()->set_ready(Chance(50));
        endpoint.mutable_conditions()->set_serving(Chance(70));
        endpoint.mutable_conditions()->set_terminating(Chance(50));
      }
      if (Chance(50)) {
        endpoint.mutable_hints()->add_for_zones()->set_name(Chance(50) ? "zone-a" : "zone-b");
      }
    }
    return slice;
  }

  std::mt19937 random_;
  std::vector<std::string> services_;
};

}  // namespace sluice::testing
