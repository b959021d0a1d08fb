// SPDX-License-Identifier: Apache-2.0
// What a request to an API server is about, who may make it, and what a watch says: the parts of
// the API server for tests that need no connection.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

#include "test/support/api/object_store.h"
#include "test/support/api/wire_format.h"

namespace sluice::api {

using Query = std::map<std::string, std::string>;

// As RBAC sees a request.
struct Target {
  std::string verb;  // "list", "watch", "get", "create", "patch"; else the method in small letters
  std::string resource;  // "" for a path that is no resource
  std::string group;
  std::optional<std::string> name_space;
  std::string name;
};

Target ParseTarget(std::string_view method, std::string_view path, const Query& query);

// Whether the ClusterRole system:node-proxier allows it.
bool NodeProxierMay(const Target& target);

// `nodes "a" is forbidden: User "x" cannot get resource "nodes" in API group "" at the cluster
// scope`
std::string ForbiddenMessage(const Target& target, std::string_view user);

// The encoding for what a client accepts, or nullopt for 406.
std::optional<Format> Negotiate(std::string_view accept, bool protobuf);
std::string_view ContentType(Format format);

struct Page {
  std::uint64_t limit = 0;    // 0: all
  std::uint64_t version = 0;  // of the first page; 0: this is the first
  ObjectName after;           // begin past it
};

std::string ContinueToken(std::uint64_t version, const ObjectName& last);
// Errors: INVALID_ARGUMENT with the message of Kubernetes.
absl::StatusOr<Page> ParsePage(const Query& query);

// One thing that a watch says.
struct WatchEvent {
  std::string type;
  std::uint64_t version = 0;
  std::string object;  // its message's bytes
};

// Reads a store as a watch sees it. The resource must outlive it.
class WatchCursor {
 public:
  // Begins with what is there now as ADDED events, or with what happens after `version`.
  WatchCursor(const Resource& resource, Selector selector, const ObjectStore& store);
  WatchCursor(const Resource& resource, Selector selector, std::uint64_t version);

  // The next event, if there is one.
  std::optional<WatchEvent> Next(const ObjectStore& store);
  bool initial_events_said() const { return next_initial_ == initial_.size(); }
  // A bookmark for all that was said, with the mark that ends the initial events or without.
  WatchEvent Bookmark(bool ends_initial_events) const;
  // Counts what came to pass and was of no concern as said.
  void SkipTo(std::uint64_t version) { version_ = std::max(version_, version); }
  std::uint64_t version() const { return version_; }
  const Resource& resource() const { return resource_; }

 private:
  const Resource& resource_;
  Selector selector_;
  std::vector<ObjectPtr> initial_;
  std::size_t next_initial_ = 0;
  std::uint64_t version_;
};

// The name of the Event that a request's body creates. Errors: INVALID_ARGUMENT, as Kubernetes
// words it, for a body that is no Event of that namespace.
absl::StatusOr<std::string> EventName(std::string_view content_type, std::string_view body,
                                      std::string_view name_space);

// The event's object with resourceVersion `version`.
void SetVersion(WatchEvent& event, const Resource& resource, std::uint64_t version);

}  // namespace sluice::api
