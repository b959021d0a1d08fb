// SPDX-License-Identifier: Apache-2.0
// Where the cluster's objects come from, and what they are told to.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "control/model/endpoint_slice.pb.h"
#include "control/model/node.pb.h"
#include "control/model/service.pb.h"
#include "control/source/source_status.h"

namespace sluice {

// Takes what a source says, in the order it says it. Thread: loop only.
class ClusterSink {
 public:
  virtual ~ClusterSink() = default;

  virtual void SetService(model::Service service) = 0;
  virtual void DeleteService(const std::string& name_space, const std::string& name) = 0;
  virtual void SetEndpointSlice(model::EndpointSlice slice) = 0;
  virtual void DeleteEndpointSlice(const std::string& name_space, const std::string& name) = 0;
  virtual void SetNode(model::Node node) = 0;
  virtual void DeleteNode(const std::string& name) = 0;

  // All that the source knows has been said once: from here on the datapath may be programmed.
  virtual void Synced() = 0;
  // The source starts over: what it does not say again before the next Synced() is deleted then,
  // and nothing before.
  virtual void Reset() = 0;

  // `object` ("Service default/web", or a file) cannot be followed as it is; `message` names file
  // and line. Cleared by ClearProblems(origin), where `origin` is the file or stream it came from.
  virtual void ReportProblem(const std::string& origin, const std::string& object,
                             const std::string& message) = 0;
  virtual void ClearProblems(const std::string& origin) = 0;
};

// Thread: loop only.
class ClusterSource {
 public:
  virtual ~ClusterSource() = default;
  // Begins to feed `sink`, which must outlive the source; may already do so before it returns.
  // Errors: only such as make the source useless for good, e.g. INVALID_ARGUMENT for a path that
  // can never be read.
  virtual absl::Status Start(ClusterSink& sink) = 0;
  virtual void Stop() = 0;
  // A number that grows with every change that the source has taken in; what `sluicectl sync`
  // waits for.
  virtual std::uint64_t Generation() const = 0;
  // Looks for changes now rather than at the next event, so that a caller that has just written
  // a file finds it taken in afterwards. Cost: a scan of the source.
  virtual void Refresh() = 0;
  // How well it follows. Cost: a copy of some numbers.
  virtual SourceStatus Status() const { return {}; }
};

}  // namespace sluice
