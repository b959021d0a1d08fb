// SPDX-License-Identifier: Apache-2.0
// The cluster as the source last told it: Services, EndpointSlices and Nodes by name, and which
// Services a change concerns, so that only those are computed anew. Values only; nothing here
// judges an object's content.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"

#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"

namespace sluice {

// The labels that bear on traffic; others are not kept.
// By this a slice names its Service.
inline constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";
// A Service, or its slices, that no proxy serves, whatever the value.
inline constexpr char kHeadlessLabel[] = "service.kubernetes.io/headless";
// A Service that the proxy of that name serves, and no other.
inline constexpr char kProxyNameLabel[] = "service.kubernetes.io/service-proxy-name";

// Annotations of a Service that bear on traffic have this before their names.
inline constexpr char kAnnotationPrefix[] = "sluice.io/";

struct ObjectName {
  std::string name_space;
  std::string name;

  friend auto operator<=>(const ObjectName&, const ObjectName&) = default;
};

// The Service that `slice` belongs to, whether or not it exists; an empty name when it has no
// label.
ObjectName ServiceOf(const model::EndpointSlice& slice);

// Which Services have to be computed anew.
struct Changes {
  bool all = false;               // this node changed: every Service, whether listed or not
  bool machines = false;          // addresses of other Nodes
  std::set<ObjectName> services;  // set, changed or deleted, or with such slices

  bool empty() const { return !all && !machines && services.empty(); }
};

// Objects are stored without what says nothing about traffic (unknown fields, versions, other
// labels, annotations of others, zones of endpoints; DESIGN.md has the list): an object that
// differs only there is no change. Services and slices are kept serialized, an eighth of the size
// that they have as messages (DESIGN.md has the figures), and made into messages when asked for.
// Thread: loop only, also for const functions. Cost: logarithmic in the objects, and linear in the
// size of those that are set or handed out, unless said.
class ClusterState {
 public:
  // `own_node`: the name of the Node that this agent runs on.
  explicit ClusterState(std::string own_node) : own_node_(std::move(own_node)) {}

  // Sets the object of that namespace and name, replacing what was there.
  void SetService(model::Service service);
  void SetEndpointSlice(model::EndpointSlice slice);
  void SetNode(model::Node node);
  // Deletes it; nothing happens when there is none.
  void DeleteService(const ObjectName& name);
  void DeleteEndpointSlice(const ObjectName& name);
  void DeleteNode(const std::string& name);

  // The source starts over: at the next Synced() whatever was not set since is deleted.
  void Reset() { ++epoch_; }
  // The source has said everything. Cost: linear in the objects.
  void Synced();
  // Whether there has been a Synced() and no Reset() after it.
  bool synced() const { return synced_epoch_ == epoch_; }
  // Whether there has ever been a Synced(): before it the state is half known, and nothing may be
  // programmed from it.
  bool ever_synced() const { return synced_epoch_ != 0; }

  // What was touched since the last call.
  Changes TakeChanges();

  // Null when there is none. Holds until the next call of FindService.
  const model::Service* FindService(const ObjectName& name) const;
  // Null when there is none. Holds until the next call of a function that is not const.
  const model::Node* FindNode(const std::string& name) const;
  const model::Node* own_node() const { return FindNode(own_node_); }
  const std::string& own_node_name() const { return own_node_; }
  // The slices whose label names `service`, in the order of their names. Holds until the next call
  // of SlicesOf.
  std::vector<const model::EndpointSlice*> SlicesOf(const ObjectName& service) const;

  // Copies of the same as they are kept, for who has time to parse them: without the names of
  // Service, slice and namespace. Cost: far below that of making messages of them.
  std::vector<std::string> PackedSlicesOf(const ObjectName& service) const;

  // Their names, in the order of PackedSlicesOf.
  std::vector<std::string> SliceNamesOf(const ObjectName& service) const;

  // In the order of namespace and name, slices in that of namespace, Service and name. `visit` must
  // not change the state.
  void ForEachService(const std::function<void(const model::Service&)>& visit) const;
  void ForEachEndpointSlice(const std::function<void(const model::EndpointSlice&)>& visit) const;
  void ForEachNode(const std::function<void(const model::Node&)>& visit) const;

  std::size_t service_count() const { return services_.size(); }
  std::size_t slice_count() const { return slices_.size(); }
  std::size_t node_count() const { return nodes_.size(); }

 private:
  struct Packed {
    std::string bytes;        // serialized, without what the key says; equal for equal objects
    std::uint64_t epoch = 0;  // of the last Set
  };
  // A slice's place: with those of the Service that its label names.
  struct SliceKey {
    std::string name_space;
    std::string service;  // empty: no Service's
    std::string name;

    friend auto operator<=>(const SliceKey&, const SliceKey&) = default;
  };
  // Finds the place by namespace and name alone.
  struct SliceHash {
    using is_transparent = void;
    std::size_t operator()(const SliceKey* key) const;
    std::size_t operator()(const ObjectName& name) const;
  };
  struct SliceEqual {
    using is_transparent = void;
    bool operator()(const SliceKey* a, const SliceKey* b) const { return a == b; }
    bool operator()(const SliceKey* a, const ObjectName& b) const {
      return a->name == b.name && a->name_space == b.name_space;
    }
  };
  struct KeptNode {
    model::Node node;
    std::uint64_t epoch = 0;
  };

  std::vector<const std::pair<const SliceKey, Packed>*> EntriesOf(const ObjectName& service) const;
  static void Unpack(const ObjectName& name, const Packed& packed, model::Service& service);
  static void Unpack(const SliceKey& key, const Packed& packed, model::EndpointSlice& slice);
  void TouchService(const std::string& name_space, const std::string& name);
  void TouchNode(const std::string& name);

  std::string own_node_;
  std::uint64_t epoch_ = 1;
  std::uint64_t synced_epoch_ = 0;
  std::map<ObjectName, Packed> services_;
  std::map<SliceKey, Packed> slices_;
  absl::flat_hash_set<const SliceKey*, SliceHash, SliceEqual> slice_keys_;  // into slices_
  std::map<std::string, KeptNode> nodes_;
  Changes changes_;
  // The last answers.
  mutable model::Service found_service_;
  mutable std::vector<std::unique_ptr<model::EndpointSlice>> found_slices_;
};

}  // namespace sluice
