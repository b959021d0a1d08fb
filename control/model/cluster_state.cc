// SPDX-License-Identifier: Apache-2.0
#include "control/model/cluster_state.h"

#include <utility>

#include "google/protobuf/util/message_differencer.h"

namespace sluice {
namespace {

using google::protobuf::util::MessageDifferencer;

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

// Stores `object`; says whether that changed anything but the epoch.
template <typename Entry, typename Object>
bool Store(Entry& entry, bool is_new, Object object, std::uint64_t epoch) {
  entry.epoch = epoch;
  if (!is_new && MessageDifferencer::Equals(entry.object, object)) return false;
  entry.object = std::move(object);
  return true;
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
  ObjectName name = NameOf(service);
  const auto [it, is_new] = services_.try_emplace(name);
  if (Store(it->second, is_new, std::move(service), epoch_)) {
    changes_.services.insert(std::move(name));
  }
}

void ClusterState::DeleteService(const ObjectName& name) {
  if (services_.erase(name) > 0) changes_.services.insert(name);
}

void ClusterState::SetEndpointSlice(model::EndpointSlice slice) {
  DropWhatSaysNothing(slice);
  const ObjectName name = NameOf(slice);
  const auto [it, is_new] = slices_.try_emplace(name);
  Entry<model::EndpointSlice>& entry = it->second;
  if (!is_new) {
    if (MessageDifferencer::Equals(entry.object, slice)) {
      entry.epoch = epoch_;
      return;
    }
    // The label may have moved it from one Service to another: both are touched.
    Unlink(name, entry.object);
  }
  entry.epoch = epoch_;
  entry.object = std::move(slice);
  Touch(entry.object);
  slices_of_[ServiceOf(entry.object)].insert(name.name);
}

void ClusterState::DeleteEndpointSlice(const ObjectName& name) {
  const auto it = slices_.find(name);
  if (it == slices_.end()) return;
  Unlink(name, it->second.object);
  slices_.erase(it);
}

void ClusterState::Touch(const model::EndpointSlice& slice) {
  ObjectName service = ServiceOf(slice);
  if (!service.name.empty()) changes_.services.insert(std::move(service));
}

void ClusterState::Unlink(const ObjectName& name, const model::EndpointSlice& slice) {
  Touch(slice);
  const auto of = slices_of_.find(ServiceOf(slice));
  if (of == slices_of_.end()) return;
  of->second.erase(name.name);
  if (of->second.empty()) slices_of_.erase(of);
}

void ClusterState::SetNode(model::Node node) {
  DropWhatSaysNothing(node);
  const std::string name = node.metadata().name();
  const auto [it, is_new] = nodes_.try_emplace(name);
  if (Store(it->second, is_new, std::move(node), epoch_)) TouchNode(name);
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
  return it == services_.end() ? nullptr : &it->second.object;
}

const model::Node* ClusterState::FindNode(const std::string& name) const {
  const auto it = nodes_.find(name);
  return it == nodes_.end() ? nullptr : &it->second.object;
}

std::vector<const model::EndpointSlice*> ClusterState::SlicesOf(const ObjectName& service) const {
  std::vector<const model::EndpointSlice*> slices;
  const auto of = slices_of_.find(service);
  if (of == slices_of_.end()) return slices;
  for (const std::string& name : of->second) {
    slices.push_back(&slices_.at({service.name_space, name}).object);
  }
  return slices;
}

void ClusterState::ForEachService(const std::function<void(const model::Service&)>& visit) const {
  for (const auto& [name, entry] : services_) visit(entry.object);
}

void ClusterState::ForEachEndpointSlice(
    const std::function<void(const model::EndpointSlice&)>& visit) const {
  for (const auto& [name, entry] : slices_) visit(entry.object);
}

void ClusterState::ForEachNode(const std::function<void(const model::Node&)>& visit) const {
  for (const auto& [name, entry] : nodes_) visit(entry.object);
}

}  // namespace sluice
