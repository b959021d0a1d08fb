// SPDX-License-Identifier: Apache-2.0
#include "test/support/fake_api_server.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "control/base/status_macros.h"
#include "test/support/api/http_front.h"
#include "test/support/api/server_state.h"

namespace sluice {

class FakeApiServer::Impl {
 public:
  explicit Impl(FakeApiOptions options) : state(std::move(options)) {}

  std::optional<std::uint64_t> Delete(const char* resource, const api::ObjectName& name) {
    const std::lock_guard<std::mutex> held(state.lock);
    const std::optional<std::uint64_t> version =
        state.store.Delete(*api::FindResource(resource), name);
    state.Changed();
    return version;
  }

  std::uint64_t Set(const google::protobuf::Message& object) {
    const std::lock_guard<std::mutex> held(state.lock);
    const std::uint64_t version = state.store.Set(object);
    state.Changed();
    return version;
  }

  void ForWatches(const std::function<void(api::WatchControl&)>& change) {
    const std::lock_guard<std::mutex> held(state.lock);
    for (api::WatchControl* watch : state.watches) change(*watch);
    state.Changed();
  }

  api::ServerState state;
  std::unique_ptr<api::HttpFront> front;  // null while killed
};

absl::StatusOr<std::unique_ptr<FakeApiServer>> FakeApiServer::Start(FakeApiOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  ASSIGN_OR_RETURN(impl->front, api::HttpFront::Listen(impl->state));
  impl->state.options.port = impl->front->port();
  return absl::WrapUnique(new FakeApiServer(std::move(impl)));
}

FakeApiServer::FakeApiServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

FakeApiServer::~FakeApiServer() { Kill(); }

std::uint16_t FakeApiServer::port() const { return impl_->state.options.port; }

std::string FakeApiServer::url() const {
  const FakeApiOptions& options = impl_->state.options;
  const bool v6 = options.address.find(':') != std::string::npos;
  return absl::StrCat(options.certificate_file.empty() ? "http" : "https", "://", v6 ? "[" : "",
                      options.address, v6 ? "]" : "", ":", options.port);
}

void FakeApiServer::Kill() { impl_->front.reset(); }

absl::Status FakeApiServer::Restart() {
  Kill();
  ASSIGN_OR_RETURN(impl_->front, api::HttpFront::Listen(impl_->state));
  return absl::OkStatus();
}

std::uint64_t FakeApiServer::Set(const model::Service& service) { return impl_->Set(service); }
std::uint64_t FakeApiServer::Set(const model::EndpointSlice& slice) { return impl_->Set(slice); }
std::uint64_t FakeApiServer::Set(const model::Node& node) { return impl_->Set(node); }
std::uint64_t FakeApiServer::Set(const model::ServiceCidr& cidr) { return impl_->Set(cidr); }

std::optional<std::uint64_t> FakeApiServer::DeleteService(const std::string& name_space,
                                                          const std::string& name) {
  return impl_->Delete("services", {name_space, name});
}

std::optional<std::uint64_t> FakeApiServer::DeleteEndpointSlice(const std::string& name_space,
                                                                const std::string& name) {
  return impl_->Delete("endpointslices", {name_space, name});
}

std::optional<std::uint64_t> FakeApiServer::DeleteNode(const std::string& name) {
  return impl_->Delete("nodes", {"", name});
}

std::optional<std::uint64_t> FakeApiServer::DeleteServiceCidr(const std::string& name) {
  return impl_->Delete("servicecidrs", {"", name});
}

std::uint64_t FakeApiServer::version() const {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  return impl_->state.store.version();
}

void FakeApiServer::Compact() {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  impl_->state.store.Compact();
  impl_->state.snapshots.clear();
}

void FakeApiServer::RestoreTo(std::uint64_t version) {
  CutWatches();  // their versions mean nothing any more
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  impl_->state.store.RestoreTo(version);
  impl_->state.snapshots.clear();
}

void FakeApiServer::SendBookmarks() {
  impl_->ForWatches([](api::WatchControl& watch) { watch.bookmark = true; });
}

void FakeApiServer::EndWatches() {
  impl_->ForWatches([](api::WatchControl& watch) { watch.end = true; });
}

void FakeApiServer::CutWatches() {
  impl_->ForWatches([](api::WatchControl& watch) { watch.cut = true; });
}

void FakeApiServer::AddFault(ApiFault fault) {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  impl_->state.faults.push_back(std::move(fault));
}

void FakeApiServer::ClearFaults() {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  impl_->state.faults.clear();
  ++impl_->state.fault_epoch;
  impl_->state.Changed();
}

void FakeApiServer::SetTokens(std::map<std::string, std::string> tokens) {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  impl_->state.options.tokens = std::move(tokens);
}

void FakeApiServer::Forbid(const std::string& verb, const std::string& resource) {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  impl_->state.forbidden.emplace(verb, resource);
}

void FakeApiServer::AllowAll() {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  impl_->state.forbidden.clear();
}

std::vector<ApiRequest> FakeApiServer::requests() const {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  return impl_->state.requests;
}

void FakeApiServer::ForgetRequests() {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  impl_->state.requests.clear();
}

int FakeApiServer::watches(std::string_view resource) const {
  const std::lock_guard<std::mutex> held(impl_->state.lock);
  int count = 0;
  for (const api::WatchControl* watch : impl_->state.watches) {
    // One that was told to end, and has not come to it yet, is nobody's any more.
    if (watch->end || watch->cut) continue;
    if (resource.empty() || watch->resource == resource) ++count;
  }
  return count;
}

bool FakeApiServer::Await(const std::function<bool(const FakeApiServer&)>& condition,
                          absl::Duration limit) const {
  const std::chrono::steady_clock::time_point deadline =
      std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(limit);
  while (true) {
    std::unique_lock<std::mutex> held(impl_->state.lock);
    const std::uint64_t seen = impl_->state.changes;
    held.unlock();
    if (condition(*this)) return true;
    held.lock();
    if (!impl_->state.changed.wait_until(held, deadline,
                                         [&] { return impl_->state.changes != seen; })) {
      return false;
    }
  }
}

}  // namespace sluice
