// SPDX-License-Identifier: Apache-2.0
// A Kubernetes API server for tests: a real server on a port of its own, with the wire formats that
// test/samples/wire has recorded, over objects that the test changes, and with faults on demand.
//
// It serves list (with pages), get and watch (streaming lists, bookmarks, 410) of Services,
// EndpointSlices, Nodes and ServiceCIDRs, in protobuf and JSON, and takes in Events. It grants what
// the ClusterRole system:node-proxier does, nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"
#include "control/model/service_cidr.pb.h"

namespace sluice {

struct FakeApiOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  // 0: a free one

  // PEM files. With both of the first, HTTPS; else HTTP. Clients with a certificate that the CA
  // signed are users by its CN; a client needs none.
  std::string certificate_file = {};
  std::string key_file = {};
  std::string client_ca_file = {};
  // Bearer token -> user. If this is empty and there is no client_ca_file, everyone may come;
  // otherwise 401 for whom neither knows. Changed while running by SetTokens().
  std::map<std::string, std::string> tokens = {};

  // What servers of different ages do with sendInitialEvents: serve it, answer 422 (no feature
  // gate), or not know the word and begin with what changed.
  enum class StreamingList { kServed, kRefused, kUnknown } streaming_list = StreamingList::kServed;
  bool protobuf = true;       // false: 406 for whom takes nothing but protobuf
  bool service_cidrs = true;  // false: 404, as before Kubernetes 1.31
  // A plain watch from a version that has not come yet: silence until it has, as of a real server,
  // or 504 at once.
  bool refuses_future_watches = false;
  std::uint64_t first_version = 1000;  // resourceVersion before the first object
  absl::Duration bookmark_interval = absl::Minutes(1);
  // Called when the last byte of a watch's frame went into the socket, on a thread of the server.
  std::function<void(std::string_view resource, std::uint64_t version)> on_frame_written = {};
};

// Something that goes wrong. Of the faults that fit, the oldest one with times left is used.
struct ApiFault {
  // "services", "endpointslices", "nodes", "servicecidrs", "events"; "": all.
  std::string resource = {};
  // "list", "watch" (its answer from the first byte), "get", "create", "patch"; "event": the next
  // frame of a watch, also of one that runs already (bookmarks count); "": all but "event".
  std::string verb = {};
  int times = 1;  // < 0: until ClearFaults()

  enum class Kind {
    kStatus,      // answers `code` with a Status (in an event: an ERROR event with it)
    kText,        // answers `code` with `text` as text/html, as what is no Kubernetes does
    kCut,         // closes the connection after `after` bytes of the body or frame
    kSilence,     // says nothing after `after` bytes and leaves the connection open
    kSlow,        // `bytes_per_second` from here on
    kGarbage,     // overwrites what comes after `after` bytes of the body or frame with 0xff
    kOldVersion,  // "event": the object has resourceVersion 1
  } kind = Kind::kStatus;

  int code = 500;
  std::string reason = {};   // of the Status; "": what Kubernetes says for the code
  std::string message = {};  // likewise
  std::optional<int> retry_after_seconds = {};  // sent as the header Retry-After
  std::string text = {};
  std::size_t after = 0;
  std::size_t bytes_per_second = 1000;
};

// A request as it came in, and what it was answered.
struct ApiRequest {
  absl::Time at;
  std::string method;
  std::string path;
  std::map<std::string, std::string> query;
  std::string user;  // "" if nobody
  std::string accept;
  std::string user_agent;
  std::string content_type;
  std::string body;
  std::string verb;  // "list", "watch", "get", "create", "patch"; "" if none of these
  std::string resource;
  int code = 0;
};

// Thread: any, for all methods.
class FakeApiServer {
 public:
  // Listens and serves when this returns. Errors: UNAVAILABLE for a port that is taken,
  // INVALID_ARGUMENT for certificates that cannot be read.
  static absl::StatusOr<std::unique_ptr<FakeApiServer>> Start(FakeApiOptions options);
  ~FakeApiServer();
  FakeApiServer(const FakeApiServer&) = delete;
  FakeApiServer& operator=(const FakeApiServer&) = delete;

  std::uint16_t port() const;
  std::string url() const;  // "https://127.0.0.1:6443"

  // Ends every connection in the middle of what it says and refuses new ones, as a killed server
  // does; Restart() listens on the same port again, with the same objects.
  void Kill();
  absl::Status Restart();

  // Objects. Creates or replaces, sets uid, creationTimestamp and resourceVersion and tells the
  // watches; returns the resourceVersion. Fields unknown to the messages are kept and sent.
  std::uint64_t Set(const model::Service& service);
  std::uint64_t Set(const model::EndpointSlice& slice);
  std::uint64_t Set(const model::Node& node);
  std::uint64_t Set(const model::ServiceCidr& cidr);
  // Returns the deletion's resourceVersion, or nullopt if there was no such object.
  std::optional<std::uint64_t> DeleteService(const std::string& name_space,
                                             const std::string& name);
  std::optional<std::uint64_t> DeleteEndpointSlice(const std::string& name_space,
                                                   const std::string& name);
  std::optional<std::uint64_t> DeleteNode(const std::string& name);
  std::optional<std::uint64_t> DeleteServiceCidr(const std::string& name);
  std::uint64_t version() const;

  // Forgets the past, as etcd's compaction: a watch from an older version gets 410 in an ERROR
  // event, a page of an older list 410.
  void Compact();
  // Goes on from the given version, as a cluster that was restored from a backup does: what is
  // there stays, `version` may be lower than what clients have seen.
  void RestoreTo(std::uint64_t version);
  // Sends a bookmark on every watch that allows it.
  void SendBookmarks();
  // Ends running watches: in good order (as a server's timeout does), or by closing connections.
  void EndWatches();
  void CutWatches();

  void AddFault(ApiFault fault);
  void ClearFaults();  // slow ones return to speed, silent ones end by closing

  void SetTokens(std::map<std::string, std::string> tokens);
  // Takes a right away from everyone, e.g. ("list", "services"): 403, as Kubernetes words it.
  void Forbid(const std::string& verb, const std::string& resource);
  void AllowAll();  // undoes Forbid()

  std::vector<ApiRequest> requests() const;
  void ForgetRequests();
  // Watches that run now (initial events sent or not); "" counts all.
  int watches(std::string_view resource = "") const;
  // Waits until `condition` holds, looked at after each request and each begin or end of a watch.
  // False if it does not within `limit`.
  bool Await(const std::function<bool(const FakeApiServer&)>& condition,
             absl::Duration limit = absl::Seconds(20)) const;

  class Impl;

 private:
  explicit FakeApiServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
