// SPDX-License-Identifier: Apache-2.0
// Builds what the pinned maps would hold, for tests of reports.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "control/report/pinned_state.h"

namespace sluice::report {

// Requires: `text` is an address.
inline IpAddress Address(const std::string& text) { return IpAddress::Parse(text).value(); }

class PinnedStateBuilder {
 public:
  PinnedStateBuilder& Service(std::uint32_t id, const std::string& name_space,
                              const std::string& name, const std::string& port_name,
                              std::uint32_t protocol = IPPROTO_TCP) {
    state_.names[id] = {name_space, name, port_name, protocol};
    return *this;
  }

  PinnedStateBuilder& Frontend(std::uint32_t service_id, const std::string& address,
                               std::uint16_t port, abi::sl_frontend_kind kind) {
    abi::service_key key{};
    key.address = Address(address).ToAbi();
    key.port = htons(port);
    key.protocol = port == 0 ? 0 : state_.names.at(service_id).protocol;
    abi::service service{};
    service.id = service_id;
    service.kind = static_cast<std::uint8_t>(kind);
    state_.frontends.emplace_back(key, service);
    return *this;
  }

  PinnedStateBuilder& Backend(std::uint32_t id, std::uint32_t service_id,
                              const std::string& address, std::uint16_t port, int flags,
                              std::uint32_t generation = 1) {
    abi::backend backend{};
    backend.address = Address(address).ToAbi();
    backend.port = htons(port);
    backend.flags = static_cast<std::uint8_t>(flags);
    backend.protocol = static_cast<std::uint8_t>(state_.names.at(service_id).protocol);
    backend.generation = generation;
    backend.service_id = service_id;
    state_.backends[id] = backend;
    return *this;
  }

  // Both rows of a flow whose client's address is kept.
  PinnedStateBuilder& Flow(const std::string& client, std::uint16_t client_port,
                           const std::string& service, std::uint16_t service_port,
                           std::uint32_t service_id, std::uint32_t backend_id, int flags = 0) {
    const abi::backend& backend = state_.backends.at(backend_id);
    abi::flow key{};
    key.source = Address(client).ToAbi();
    key.destination = Address(service).ToAbi();
    key.source_port = htons(client_port);
    key.destination_port = htons(service_port);
    key.protocol = state_.names.at(service_id).protocol;
    abi::flow_entry entry{};
    entry.new_source = key.source;
    entry.new_source_port = key.source_port;
    entry.new_destination = backend.address;
    entry.new_destination_port = backend.port;
    entry.service_id = service_id;
    entry.backend_id = backend_id;
    entry.backend_generation = backend.generation;
    entry.flags = static_cast<std::uint8_t>(flags | abi::SL_FLOW_FORWARD);
    state_.flows.emplace_back(key, entry);
    abi::flow_entry reply = entry;
    reply.new_source = key.destination;
    reply.new_source_port = key.destination_port;
    reply.new_destination = key.source;
    reply.new_destination_port = key.source_port;
    reply.flags = static_cast<std::uint8_t>(flags);
    state_.flows.emplace_back(PartnerKey(state_.flows.back()), reply);
    return *this;
  }

  PinnedState& state() { return state_; }

 private:
  PinnedState state_;
};

// Services "default/web:http" (1) and "kube-system/dns" over UDP (2), four endpoints of which one
// is gone, three flows of web and one of dns.
inline PinnedStateBuilder ExampleState() {
  constexpr int kUsable = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_USABLE;
  PinnedStateBuilder builder;
  builder.Service(1, "default", "web", "http")
      .Service(2, "kube-system", "dns", "", IPPROTO_UDP)
      .Frontend(1, "192.0.2.10", 30080, abi::SL_FRONTEND_NODE_PORT)
      .Frontend(1, "2001:db8::a", 80, abi::SL_FRONTEND_CLUSTER_IP)
      .Frontend(1, "198.51.100.1", 80, abi::SL_FRONTEND_CLUSTER_IP)
      .Frontend(1, "198.51.100.1", 0, abi::SL_FRONTEND_ADDRESS)
      .Frontend(2, "198.51.100.2", 53, abi::SL_FRONTEND_CLUSTER_IP)
      .Backend(1, 1, "203.0.113.1", 8080, kUsable | abi::SL_BACKEND_LOCAL)
      .Backend(2, 1, "203.0.113.2", 8080, kUsable)
      .Backend(3, 1, "203.0.113.3", 8080, abi::SL_BACKEND_PRESENT)
      .Backend(4, 1, "203.0.113.4", 8080, 0, 5)
      .Backend(5, 2, "203.0.113.1", 5353, kUsable | abi::SL_BACKEND_LOCAL)
      .Flow("203.0.113.50", 4001, "198.51.100.1", 80, 1, 1)
      .Flow("203.0.113.50", 4002, "198.51.100.1", 80, 1, 1, abi::SL_FLOW_FIN_CLIENT)
      .Flow("203.0.113.51", 4003, "198.51.100.1", 80, 1, 3)
      .Flow("203.0.113.51", 4004, "198.51.100.2", 53, 2, 5);
  builder.state().service_stats[1] = {10, 1000, 9, 90000, 4, 3, 2, 1};
  builder.state().backend_stats[1] = {7, 1};
  return builder;
}

}  // namespace sluice::report
