// SPDX-License-Identifier: Apache-2.0
#include "control/model/cluster_state.h"

#include <iterator>
#include <string_view>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"

#include "control/model/stable_bytes.h"

namespace sluice {
namespace {

template <typename Object>
ObjectName NameOf(const Object& object) {
  return {object.metadata().name_space(), object.metadata().name()};
}

// Copies of the manifest, times of changes: often longer than all the rest.
void DropAnnotationsOfOthers(model::ObjectMeta& metadata) {
  auto& annotations = *metadata.mutable_annotations();
  for (auto annotation = annotations.begin(); annotation != annotations.end();) {
    const bool kept = absl::StartsWith(annotation->first, kAnnotationPrefix);
    annotation = kept ? std::next(annotation) : annotations.erase(annotation);
  }
}

void Drop(model::ObjectMeta& metadata) {
  metadata.clear_resource_version();
  metadata.clear_uid();
  auto& labels = *metadata.mutable_labels();
  for (auto label = labels.begin(); label != labels.end();) {
    const bool kept = label->first == kServiceNameLabel || label->first == kHeadlessLabel ||
                      label->first == kProxyNameLabel;
    label = kept ? std::next(label) : labels.erase(label);
  }
}

// What is as it would be were it missing; see the message.
void DropDefaults(model::Endpoint& endpoint) {
  if (!endpoint.has_conditions()) return;
  model::EndpointConditions& conditions = *endpoint.mutable_conditions();
  const bool ready = !conditions.has_ready() || conditions.ready();
  if (!conditions.terminating()) conditions.clear_terminating();
  if (conditions.serving() == ready) conditions.clear_serving();
  if (ready) conditions.clear_ready();
  const bool says_more =
      conditions.has_ready() || conditions.has_serving() || conditions.has_terminating();
  if (!says_more) endpoint.clear_conditions();
}

void DropWhatSaysNothing(model::Service& service) {
  service.DiscardUnknownFields();
  Drop(*service.mutable_metadata());
  DropAnnotationsOfOthers(*service.mutable_metadata());
  model::ServiceSpec& spec = *service.mutable_spec();
  spec.clear_selector();
  spec.clear_ip_families();
  spec.clear_ip_family_policy();
  for (model::ServicePort& port : *spec.mutable_ports()) {
    port.clear_target_port();
    port.clear_app_protocol();
  }
}

void DropWhatSaysNothing(model::EndpointSlice& slice) {
  slice.DiscardUnknownFields();
  Drop(*slice.mutable_metadata());
  slice.mutable_metadata()->clear_annotations();
  slice.mutable_metadata()->clear_creation_timestamp();
  for (model::Endpoint& endpoint : *slice.mutable_endpoints()) {
    endpoint.clear_zone();
    DropDefaults(endpoint);
  }
  for (model::EndpointPort& port : *slice.mutable_ports()) port.clear_app_protocol();
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

std::size_t ClusterState::SliceHash::operator()(const SliceKey* key) const {
  return absl::HashOf(std::string_view(key->name_space), std::string_view(key->name));
}

std::size_t ClusterState::SliceHash::operator()(const ObjectName& name) const {
  return absl::HashOf(std::string_view(name.name_space), std::string_view(name.name));
}

void ClusterState::SetService(model::Service service) {
  DropWhatSaysNothing(service);
  const ObjectName name = NameOf(service);
  const auto [it, is_new] = services_.try_emplace(name);
  it->second.epoch = epoch_;
  service.mutable_metadata()->clear_name_space();
  service.mutable_metadata()->clear_name();
  std::string bytes = SerializeStable(service);
  if (!is_new && bytes == it->second.bytes) return;
  it->second.bytes = std::move(bytes);
  TouchService(name.name_space, name.name);
}

void ClusterState::Unpack(const ObjectName& name, const Packed& packed, model::Service& service) {
  service.ParseFromString(packed.bytes);  // our own bytes
  service.mutable_metadata()->set_name_space(name.name_space);
  service.mutable_metadata()->set_name(name.name);
}

void ClusterState::DeleteService(const ObjectName& name) {
  if (services_.erase(name) > 0) changes_.services.insert(name);
}

void ClusterState::SetEndpointSlice(model::EndpointSlice slice) {
  DropWhatSaysNothing(slice);
  const ObjectName name = NameOf(slice);
  const SliceKey key = {name.name_space, ServiceOf(slice).name, name.name};
  // The label may have moved it from one Service to another: both are touched.
  const auto before = slice_keys_.find(name);
  if (before != slice_keys_.end() && **before != key) DeleteEndpointSlice(name);
  const auto [it, is_new] = slices_.try_emplace(key);
  if (is_new) slice_keys_.insert(&it->first);
  it->second.epoch = epoch_;
  slice.mutable_metadata()->clear_name_space();
  slice.mutable_metadata()->clear_name();
  slice.mutable_metadata()->mutable_labels()->erase(kServiceNameLabel);
  std::string bytes = SerializeStable(slice);
  if (!is_new && bytes == it->second.bytes) return;
  it->second.bytes = std::move(bytes);
  TouchService(key.name_space, key.service);
}

void ClusterState::Unpack(const SliceKey& key, const Packed& packed, model::EndpointSlice& slice) {
  slice.ParseFromString(packed.bytes);  // our own bytes
  model::ObjectMeta& metadata = *slice.mutable_metadata();
  metadata.set_name_space(key.name_space);
  metadata.set_name(key.name);
  if (!key.service.empty()) (*metadata.mutable_labels())[kServiceNameLabel] = key.service;
}

void ClusterState::DeleteEndpointSlice(const ObjectName& name) {
  const auto it = slice_keys_.find(name);
  if (it == slice_keys_.end()) return;
  const auto slice = slices_.find(**it);
  slice_keys_.erase(it);
  TouchService(slice->first.name_space, slice->first.service);
  slices_.erase(slice);
}

void ClusterState::TouchService(const std::string& name_space, const std::string& name) {
  if (!name.empty()) changes_.services.insert({name_space, name});
}

void ClusterState::SetNode(model::Node node) {
  const std::string name = node.metadata().name();
  node.DiscardUnknownFields();
  node.mutable_metadata()->clear_resource_version();
  node.mutable_metadata()->clear_annotations();
  if (name != own_node_) {  // of others nothing but their addresses bears on traffic
    node.clear_metadata();
    node.clear_spec();
    node.mutable_metadata()->set_name(name);
  }
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
  // Addresses, zone and labels of this node bear on every Service.
  (name == own_node_ ? changes_.all : changes_.machines) = true;
}

void ClusterState::Synced() {
  for (const ObjectName& name : Stale(services_, epoch_)) DeleteService(name);
  for (const SliceKey& key : Stale(slices_, epoch_)) {
    DeleteEndpointSlice({key.name_space, key.name});
  }
  for (const std::string& name : Stale(nodes_, epoch_)) DeleteNode(name);
  synced_epoch_ = epoch_;
}

Changes ClusterState::TakeChanges() { return std::exchange(changes_, {}); }

const model::Service* ClusterState::FindService(const ObjectName& name) const {
  const auto it = services_.find(name);
  if (it == services_.end()) return nullptr;
  Unpack(name, it->second, found_service_);
  return &found_service_;
}

const model::Node* ClusterState::FindNode(const std::string& name) const {
  const auto it = nodes_.find(name);
  return it == nodes_.end() ? nullptr : &it->second.node;
}

auto ClusterState::EntriesOf(const ObjectName& service) const
    -> std::vector<const std::pair<const SliceKey, Packed>*> {
  std::vector<const std::pair<const SliceKey, Packed>*> entries;
  for (auto it = slices_.lower_bound({service.name_space, service.name, ""});
       it != slices_.end() && it->first.service == service.name &&
       it->first.name_space == service.name_space;
       ++it) {
    entries.push_back(&*it);
  }
  return entries;
}

std::vector<const model::EndpointSlice*> ClusterState::SlicesOf(const ObjectName& service) const {
  found_slices_.clear();
  std::vector<const model::EndpointSlice*> slices;
  for (const auto* entry : EntriesOf(service)) {
    auto slice = std::make_unique<model::EndpointSlice>();
    Unpack(entry->first, entry->second, *slice);
    slices.push_back(slice.get());
    found_slices_.push_back(std::move(slice));
  }
  return slices;
}

std::vector<std::string> ClusterState::PackedSlicesOf(const ObjectName& service) const {
  std::vector<std::string> packed;
  for (const auto* entry : EntriesOf(service)) packed.push_back(entry->second.bytes);
  return packed;
}

std::vector<std::string> ClusterState::SliceNamesOf(const ObjectName& service) const {
  std::vector<std::string> names;
  for (const auto* entry : EntriesOf(service)) names.push_back(entry->first.name);
  return names;
}

void ClusterState::ForEachService(const std::function<void(const model::Service&)>& visit) const {
  model::Service service;
  for (const auto& [name, packed] : services_) {
    Unpack(name, packed, service);
    visit(service);
  }
}

void ClusterState::ForEachEndpointSlice(
    const std::function<void(const model::EndpointSlice&)>& visit) const {
  model::EndpointSlice slice;
  for (const auto& [key, packed] : slices_) {
    Unpack(key, packed, slice);
    visit(slice);
  }
}

void ClusterState::ForEachNode(const std::function<void(const model::Node&)>& visit) const {
  for (const auto& [name, kept] : nodes_) visit(kept.node);
}

}  // namespace sluice
