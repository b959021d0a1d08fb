// SPDX-License-Identifier: Apache-2.0
#include "control/model/cluster_state.h"

#include <utility>

#include "control/model/stable_bytes.h"

namespace sluice {
namespace {

// Holds the whole manifest once more, often longer than all the rest.
constexpr char kLastAppliedAnnotation[] = "kubectl.kubernetes.io/last-applied-configuration";

template <typename Object>
ObjectName NameOf(const Object& object) {
  return {object.metadata().name_space(), object.metadata().name()};
}

template <typename Object>
void DropWhatSaysNothing(Object& object) {
  object.DiscardUnknownFields();
  object.mutable_metadata()->clear_resource_version();
  object.mutable_metadata()->mutable_annotations()->erase(kLastAppliedAnnotation);
}

// The keys of entries that were not set in `epoch`.
template <typename Map>
std::vector<typename Map::key_type> Stale(const Map& map, std::uint64_t epoch) {
  std::vector<typename Map::key_type> stale;
  for (const auto& [key, entry] : map) {
    if (entry.epoch != epoch) stale.push_back(key);
  }
  return stale;
}

}  // namespace

ObjectName ServiceOf(const model::EndpointSlice& slice) {
  const auto label = slice.metadata().labels().find(kServiceNameLabel);
  return {slice.metadata().name_space(),
          label == slice.metadata().labels().end() ? std::string() : label->second};
}

void ClusterState::SetService(model::Service service) {
  DropWhatSaysNothing(service);
  const ObjectName name = NameOf(service);
  const auto [it, is_new] = services_.try_emplace(name);
  it->second.epoch = epoch_;
  std::string bytes = SerializeStable(service);
  if (!is_new && bytes == it->second.bytes) return;
  it->second.bytes = std::move(bytes);
  TouchService(name.name_space, name.name);
}

void ClusterState::DeleteService(const ObjectName& name) {
  if (services_.erase(name) > 0) changes_.services.insert(name);
}

void ClusterState::SetEndpointSlice(model::EndpointSlice slice) {
  DropWhatSaysNothing(slice);
  const ObjectName name = NameOf(slice);
  const auto [it, is_new] = slices_.try_emplace(name);
  PackedSlice& packed = it->second;
  packed.epoch = epoch_;
  std::string bytes = SerializeStable(slice);
  if (!is_new && bytes == packed.bytes) return;
  // The label may have moved it from one Service to another: both are touched.
  if (!is_new) Unlink(name, packed.service);
  packed.bytes = std::move(bytes);
  packed.service = ServiceOf(slice).name;
  Link(name, packed.service);
}

void ClusterState::DeleteEndpointSlice(const ObjectName& name) {
  const auto it = slices_.find(name);
  if (it == slices_.end()) return;
  Unlink(name, it->second.service);
  slices_.erase(it);
}

void ClusterState::TouchService(const std::string& name_space, const std::string& name) {
  changes_.services.insert({name_space, name});
}

void ClusterState::Link(const ObjectName& name, const std::string& service) {
  if (service.empty()) return;
  TouchService(name.name_space, service);
  slices_of_.insert({{name.name_space, service}, name.name});
}

void ClusterState::Unlink(const ObjectName& name, const std::string& service) {
  if (service.empty()) return;
  TouchService(name.name_space, service);
  slices_of_.erase({{name.name_space, service}, name.name});
}

void ClusterState::SetNode(model::Node node) {
  DropWhatSaysNothing(node);
  const std::string name = node.metadata().name();
  const auto [it, is_new] = nodes_.try_emplace(name);
  it->second.epoch = epoch_;
  if (!is_new && SerializeStable(it->second.node) == SerializeStable(node)) return;
  it->second.node = std::move(node);
  TouchNode(name);
}

void ClusterState::DeleteNode(const std::string& name) {
  if (nodes_.erase(name) > 0) TouchNode(name);
}

void ClusterState::TouchNode(const std::string& name) {
  // Addresses, zone and labels of this node bear on every Service; those of others on none.
  if (name == own_node_) changes_.all = true;
}

void ClusterState::Synced() {
  for (const ObjectName& name : Stale(services_, epoch_)) DeleteService(name);
  for (const ObjectName& name : Stale(slices_, epoch_)) DeleteEndpointSlice(name);
  for (const std::string& name : Stale(nodes_, epoch_)) DeleteNode(name);
  synced_epoch_ = epoch_;
}

Changes ClusterState::TakeChanges() { return std::exchange(changes_, {}); }

const model::Service* ClusterState::FindService(const ObjectName& name) const {
  const auto it = services_.find(name);
  if (it == services_.end()) return nullptr;
  found_service_.ParseFromString(it->second.bytes);  // our own bytes
  return &found_service_;
}

const model::Node* ClusterState::FindNode(const std::string& name) const {
  const auto it = nodes_.find(name);
  return it == nodes_.end() ? nullptr : &it->second.node;
}

std::vector<const model::EndpointSlice*> ClusterState::SlicesOf(const ObjectName& service) const {
  found_slices_.clear();
  std::vector<const model::EndpointSlice*> slices;
  for (auto link = slices_of_.lower_bound({service, std::string()});
       link != slices_of_.end() && link->first == service; ++link) {
    auto slice = std::make_unique<model::EndpointSlice>();
    slice->ParseFromString(slices_.at({service.name_space, link->second}).bytes);
    slices.push_back(slice.get());
    found_slices_.push_back(std::move(slice));
  }
  return slices;
}

void ClusterState::ForEachService(const std::function<void(const model::Service&)>& visit) const {
  model::Service service;
  for (const auto& [name, packed] : services_) {
    service.ParseFromString(packed.bytes);
    visit(service);
  }
}

void ClusterState::ForEachEndpointSlice(
    const std::function<void(const model::EndpointSlice&)>& visit) const {
  model::EndpointSlice slice;
  for (const auto& [name, packed] : slices_) {
    slice.ParseFromString(packed.bytes);
    visit(slice);
  }
}

void ClusterState::ForEachNode(const std::function<void(const model::Node&)>& visit) const {
  for (const auto& [name, kept] : nodes_) visit(kept.node);
}

}  // namespace sluice
