// SPDX-License-Identifier: Apache-2.0
// What the API server of a cluster would fill in, for manifests that no API server has seen: fields
// with fixed defaults, cluster addresses and node ports. Pure: no files, no clock, no randomness.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/model/cluster_state.h"
#include "control/model/endpoint_slice.pb.h"
#include "control/model/ip_address.h"
#include "control/model/service.pb.h"
#include "control/source/allocation_pool.h"
#include "control/source/allocation_store.h"

namespace sluice {

struct ServiceDefaultsConfig {
  // --service-cidr: at most one a family; the first is that of single-stack Services.
  std::vector<IpPrefix> service_cidrs;
  std::uint16_t min_node_port = 30000;
  std::uint16_t max_node_port = 32767;
};

// Fills in what is fixed in a slice: the protocol of its ports.
void FillEndpointSlice(model::EndpointSlice& slice);

// Completes Services. What a Service's manifest says itself always stands, also against another
// Service that was given the same value: that one is given another.
// Thread: loop only. Cost: Set and Remove logarithmic in the Services; Resolve linear in the
// Services set since the last one.
class ServiceDefaults {
 public:
  // `remembered`: what Services were given before the restart. It stays reserved until
  // ForgetAbsent.
  ServiceDefaults(ServiceDefaultsConfig config, Allocations remembered);

  // The Service as its manifest has it, replacing what was there under its name.
  void Set(const model::Service& service);
  void Remove(const ObjectName& name);
  // Gives back what is reserved for Services that are not there.
  void ForgetAbsent();

  struct Outcome {
    std::vector<model::Service> services;  // completed or completed differently, by name
    bool allocations_changed = false;      // since the last Resolve: they should be saved
  };
  // Completes what was set since the last call and whatever that displaced. The values depend only
  // on the names, the manifests and what was given before, not on the order of the calls of Set.
  Outcome Resolve();

  // What could not be given, with its reason; the rest of that Service stands.
  const std::map<ObjectName, std::string>& problems() const { return problems_; }
  const Allocations& allocations() const { return allocations_; }

 private:
  struct Entry {
    std::string wire;  // the Service as set, serialized: a fifth of the message's size
    std::vector<IpAddress> addresses;       // that it names itself
    std::vector<std::uint16_t> node_ports;  // that it names itself
  };
  struct Pool {
    IpPrefix prefix;
    AllocationPool places;
    bool exhausted = false;  // in this Resolve: not searched again
  };

  void Claim(const ObjectName& name, const Entry& entry);
  void Unclaim(const Entry& entry);
  void TakeFrom(const ObjectName& holder, const IpAddress& address);
  void TakeFrom(const ObjectName& holder, std::uint16_t port);
  void Free(const Allocation& allocation);
  void Reserve(const ObjectName& name, const Allocation& allocation);

  model::Service Complete(const ObjectName& name, const Entry& entry);
  void CompleteAddresses(const ObjectName& name, const Entry& entry, model::ServiceSpec& spec,
                         Allocation& given);
  void CompletePorts(const ObjectName& name, model::ServiceSpec& spec, Allocation& given);
  Pool* PoolOf(bool v4);
  const std::optional<IpAddress>& GiveAddress(const ObjectName& name, Pool& pool,
                                              Allocation& given);
  bool IsFreeNodePort(std::uint16_t port) const;
  // 0, with a problem, when there is none left.
  std::uint16_t ChooseNodePort(const ObjectName& name, const std::string& purpose);
  void Complain(const ObjectName& name, const std::string& message);

  ServiceDefaultsConfig config_;
  std::vector<Pool> pools_;
  AllocationPool port_pool_;
  bool ports_exhausted_ = false;
  std::map<ObjectName, Entry> services_;
  std::set<ObjectName> dirty_;
  Allocations allocations_;
  bool allocations_changed_ = false;
  std::map<ObjectName, std::string> problems_;

  struct AddressHash {
    std::size_t operator()(const IpAddress& address) const;
  };
  std::unordered_map<IpAddress, std::uint32_t, AddressHash> named_addresses_;  // -> Services
  std::unordered_map<IpAddress, ObjectName, AddressHash> given_addresses_;
  std::unordered_map<std::uint16_t, std::uint32_t> named_ports_;  // -> times named
  std::unordered_map<std::uint16_t, ObjectName> given_ports_;
};

}  // namespace sluice
