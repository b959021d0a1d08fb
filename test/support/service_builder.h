// SPDX-License-Identifier: Apache-2.0
// Builders of Services and EndpointSlices for tests: only what a test says differs from a Service
// with one TCP port 80 named "http", of namespace "default", and from ready remote endpoints.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "control/model/cluster_state.h"

namespace sluice::testing {

class ServiceBuilder {
 public:
  explicit ServiceBuilder(const std::string& name = "web") {
    service_.mutable_metadata()->set_name_space("default");
    service_.mutable_metadata()->set_name(name);
    service_.mutable_spec()->set_type("ClusterIP");
  }
  ServiceBuilder& Label(const std::string& key, const std::string& value) {
    (*service_.mutable_metadata()->mutable_labels())[key] = value;
    return *this;
  }
  ServiceBuilder& Annotation(const std::string& key, const std::string& value) {
    (*service_.mutable_metadata()->mutable_annotations())[key] = value;
    return *this;
  }
  ServiceBuilder& Created(std::int64_t seconds) {
    service_.mutable_metadata()->mutable_creation_timestamp()->set_seconds(seconds);
    return *this;
  }
  ServiceBuilder& ClusterIp(const std::string& ip) {
    spec().add_cluster_ips(ip);
    return *this;
  }
  ServiceBuilder& Type(const std::string& type) {
    spec().set_type(type);
    return *this;
  }
  ServiceBuilder& Port(int port, const std::string& name = "http",
                       const std::string& protocol = "TCP", int node_port = 0) {
    model::ServicePort& entry = *spec().add_ports();
    entry.set_name(name);
    entry.set_protocol(protocol);
    entry.set_port(port);
    if (node_port != 0) entry.set_node_port(node_port);
    return *this;
  }
  ServiceBuilder& ExternalIp(const std::string& ip) {
    spec().add_external_ips(ip);
    return *this;
  }
  ServiceBuilder& Ingress(const std::string& ip, const std::string& mode = "") {
    model::LoadBalancerIngress& entry =
        *service_.mutable_status()->mutable_load_balancer()->add_ingress();
    entry.set_ip(ip);
    if (!mode.empty()) entry.set_ip_mode(mode);
    return *this;
  }
  ServiceBuilder& SourceRange(const std::string& range) {
    spec().add_load_balancer_source_ranges(range);
    return *this;
  }
  model::ServiceSpec& spec() { return *service_.mutable_spec(); }

  model::Service Build() const {
    model::Service service = service_;
    if (service.spec().ports_size() == 0) {
      model::ServicePort& port = *service.mutable_spec()->add_ports();
      port.set_name("http");
      port.set_port(80);
    }
    return service;
  }

 private:
  model::Service service_;
};

class SliceBuilder {
 public:
  explicit SliceBuilder(const std::string& service = "web", const std::string& suffix = "a",
                        const std::string& address_type = "IPv4") {
    slice_.mutable_metadata()->set_name_space("default");
    slice_.mutable_metadata()->set_name(absl::StrCat(service, "-", suffix));
    (*slice_.mutable_metadata()->mutable_labels())[kServiceNameLabel] = service;
    slice_.set_address_type(address_type);
  }
  SliceBuilder& Port(int port, const std::string& name = "http",
                     const std::string& protocol = "TCP") {
    model::EndpointPort& entry = *slice_.add_ports();
    entry.set_name(name);
    entry.set_protocol(protocol);
    entry.set_port(port);
    return *this;
  }
  // The endpoint stays open for the calls that follow.
  SliceBuilder& Endpoint(const std::string& address, const std::string& node = "other") {
    endpoint_ = slice_.add_endpoints();
    endpoint_->add_addresses(address);
    if (!node.empty()) endpoint_->set_node_name(node);
    return *this;
  }
  SliceBuilder& Ready(bool ready) {
    endpoint_->mutable_conditions()->set_ready(ready);
    return *this;
  }
  SliceBuilder& Serving(bool serving) {
    endpoint_->mutable_conditions()->set_serving(serving);
    return *this;
  }
  SliceBuilder& Terminating(bool terminating) {
    endpoint_->mutable_conditions()->set_terminating(terminating);
    return *this;
  }
  SliceBuilder& Zone(const std::string& zone) {
    endpoint_->mutable_hints()->add_for_zones()->set_name(zone);
    return *this;
  }
  SliceBuilder& Node(const std::string& node) {
    endpoint_->mutable_hints()->add_for_nodes()->set_name(node);
    return *this;
  }
  model::EndpointSlice& slice() { return slice_; }

  model::EndpointSlice Build() const {
    model::EndpointSlice slice = slice_;
    if (slice.ports_size() == 0) {
      model::EndpointPort& port = *slice.add_ports();
      port.set_name("http");
      port.set_port(8080);
    }
    return slice;
  }

 private:
  model::EndpointSlice slice_;
  model::Endpoint* endpoint_ = nullptr;
};

}  // namespace sluice::testing
