// SPDX-License-Identifier: Apache-2.0
#include "control/source/kube_source.h"

#include <malloc.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "control/model/service_cidr.pb.h"

namespace sluice {
namespace {

using google::protobuf::Message;

// As kube-proxy: headless Services do not come at all, nor do their slices, which bear the labels
// of their Service. Services of other proxies do come, as those do that name us; who serves which
// is decided once for all sources, by the desired state.
constexpr char kSelector[] = "!service.kubernetes.io/headless";
constexpr char kDefaultServiceCidr[] = "kubernetes";
// Places in `followers_`.
enum { kServices, kEndpointSlices, kNodes, kServiceCidrs };
constexpr char kNodeOrigin[] = "API node";
constexpr char kAddressOrigin[] = "API address";

std::string OriginOf(const ResourceKind& kind) { return absl::StrCat("API ", kind.resource); }

std::string Title(const char* kind, const ObjectName& name) {
  return name.name_space.empty() ? absl::StrCat(kind, " ", name.name)
                                 : absl::StrCat(kind, " ", name.name_space, "/", name.name);
}

}  // namespace

// Carries out what the reflector of one kind asks for.
class KubeSource::Follower final : public ApiStream, public ObjectSink {
 public:
  Follower(KubeSource& source, Handler handler, std::uint64_t seed)
      : source_(source),
        handler_(std::move(handler)),
        reflector_(handler_.kind, source.options_.reflector, *this, source.clock_, seed) {}
  ~Follower() override {
    source_.loop_.Cancel(timer_);
    source_.loop_.Cancel(silence_timer_);
    source_.api_.Cancel(request_);
  }

  void Proceed() {
    step_ = reflector_.Next();
    if (step_.wait == absl::ZeroDuration()) return Ask();
    timer_ = source_.loop_.RunAfter(step_.wait, [this] { Ask(); });
  }
  void Hurry() {
    if (timer_ == 0 || status().absent) return;
    source_.loop_.Cancel(timer_);
    Ask();
  }

  void OnHead(std::string_view content_type) override {
    reflector_.OnHead(content_type);
    ArmSilence();
    source_.OnProgress(*this);
  }
  absl::Status OnBody(std::string_view bytes) override {
    const absl::Status taken = reflector_.OnBody(bytes);
    source_.OnProgress(*this);
    return taken;
  }
  void OnEnd(const ApiEnd& end) override {
    request_ = 0;
    source_.loop_.Cancel(silence_timer_);
    reflector_.OnEnd(end);
    source_.OnProgress(*this);
    Proceed();
  }

  void SetObject(Message& object) override { source_.OnSet(handler_, object); }
  void DeleteObject(const ObjectName& name) override {
    ++source_.generation_;
    source_.ClearSkip(handler_, name);
    handler_.remove(name);
  }
  void SkipObject(const ObjectName& name, const std::string& why) override {
    source_.OnSkip(handler_, name, why);
  }

  const StreamStatus& status() const { return reflector_.status(); }
  const ResourceKind& kind() const { return reflector_.kind(); }

 private:
  void Ask() {
    timer_ = 0;
    asked_ns_ = source_.clock_.MonotonicNs();
    request_ = source_.api_.Open(std::move(step_.call), *this);
    ArmSilence();
  }
  void ArmSilence() {
    source_.loop_.Cancel(silence_timer_);
    const std::uint64_t heard_ns = std::max(asked_ns_, reflector_.last_heard_ns());
    const absl::Duration silent =
        absl::Nanoseconds(static_cast<std::int64_t>(source_.clock_.MonotonicNs() - heard_ns));
    const absl::Duration left = reflector_.SilenceLimit() - silent;
    silence_timer_ = source_.loop_.RunAfter(std::max(left, absl::ZeroDuration()), [this, left] {
      if (left > absl::ZeroDuration()) return ArmSilence();
      source_.api_.GiveUp(std::exchange(request_, 0));
      reflector_.OnSilence();
      source_.OnProgress(*this);
      Proceed();
    });
  }

  KubeSource& source_;
  const Handler handler_;
  KubeReflector reflector_;
  KubeReflector::Step step_;
  ApiClient::RequestId request_ = 0;
  EventLoop::TimerId timer_ = 0;          // until the next request
  EventLoop::TimerId silence_timer_ = 0;  // of the running one
  std::uint64_t asked_ns_ = 0;
};

KubeSource::KubeSource(KubeSourceOptions options, ApiClient& api, EventLoop& loop,
                       const Clock& clock)
    : options_(std::move(options)), api_(api), loop_(loop), clock_(clock) {}

KubeSource::~KubeSource() { Stop(); }

std::vector<KubeSource::Handler> KubeSource::Handlers() {
  std::vector<Handler> handlers;
  handlers.push_back(
      {{"services", "/api/v1/services", "Service", kSelector, "",
        &model::Service::default_instance()},
       "Service",
       [this](Message& object) {
         auto& service = static_cast<model::Service&>(object);
         CheckApiAddress(service);
         sink_->SetService(std::move(service));
       },
       [this](const ObjectName& name) { sink_->DeleteService(name.name_space, name.name); }});
  handlers.push_back(
      {{"endpointslices", "/apis/discovery.k8s.io/v1/endpointslices", "EndpointSlice", kSelector,
        "", &model::EndpointSlice::default_instance()},
       "EndpointSlice",
       [this](Message& object) {
         sink_->SetEndpointSlice(std::move(static_cast<model::EndpointSlice&>(object)));
       },
       [this](const ObjectName& name) { sink_->DeleteEndpointSlice(name.name_space, name.name); }});
  handlers.push_back(
      {{"nodes", "/api/v1/nodes", "Node", "", "", &model::Node::default_instance()},
       "Node",
       [this](Message& object) { SetNode(std::move(static_cast<model::Node&>(object))); },
       [this](const ObjectName& name) { DeleteNode(name.name); }});
  handlers.push_back({{"servicecidrs", "/apis/networking.k8s.io/v1/servicecidrs", "ServiceCIDR", "",
                       "", &model::ServiceCidr::default_instance(), /*optional=*/true},
                      "ServiceCIDR",
                      [this](Message& object) {
                        const auto& cidr = static_cast<model::ServiceCidr&>(object);
                        SetServiceCidr(cidr.metadata().name(), &cidr);
                      },
                      [this](const ObjectName& name) { SetServiceCidr(name.name, nullptr); }});
  return handlers;
}

absl::Status KubeSource::Start(ClusterSink& sink) {
  sink_ = &sink;
  std::uint64_t seed = options_.seed;
  for (Handler& handler : Handlers()) {
    followers_.push_back(std::make_unique<Follower>(*this, std::move(handler), ++seed));
  }
  for (const auto& follower : followers_) follower->Proceed();
  return absl::OkStatus();
}

void KubeSource::Stop() {
  followers_.clear();
  sink_ = nullptr;
}

void KubeSource::Refresh() {
  for (const auto& follower : followers_) follower->Hurry();
}

SourceStatus KubeSource::Status() const {
  SourceStatus status;
  status.server = api_.server();
  for (const auto& follower : followers_) {
    status.streams.push_back(follower->status());
    status.away_since = std::min(status.away_since, follower->status().failing_since);
  }
  return status;
}

const StreamStatus& KubeSource::StreamOf(std::size_t place) const {
  return followers_[place]->status();
}

void KubeSource::OnSet(const Handler& handler, Message& object) {
  ++generation_;
  if (!skipped_.empty()) {
    const auto* field = object.GetDescriptor()->FindFieldByNumber(1);
    const auto& metadata =
        static_cast<const model::ObjectMeta&>(object.GetReflection()->GetMessage(object, field));
    ClearSkip(handler, {metadata.name_space(), metadata.name()});
  }
  handler.set(object);
}

void KubeSource::OnSkip(const Handler& handler, const ObjectName& name, const std::string& why) {
  const std::string title = Title(handler.title, name);
  const std::string origin = absl::StrCat(OriginOf(handler.kind), ": ", title);
  skipped_.insert(origin);
  Report(origin, title, why);
}

void KubeSource::ClearSkip(const Handler& handler, const ObjectName& name) {
  const std::string origin = absl::StrCat(OriginOf(handler.kind), ": ", Title(handler.title, name));
  if (skipped_.erase(origin) > 0) Report(origin, "", "");
}

// After each step of a follower: what it says of itself, and whether all is there.
void KubeSource::OnProgress(const Follower& follower) {
  const std::string origin = OriginOf(follower.kind());
  const std::string& error = follower.status().error;
  const bool failed = reported_.contains(origin);
  if (failed && error.empty()) {
    options_.on_recovery(
        absl::StrCat(follower.kind().resource, " are followed again, by ", api_.server()));
  }
  Report(origin, absl::StrCat("the API's ", follower.kind().resource), error);
  ReportNode();
  MaybeSync();
}

// Says each thing once. An empty message: it is over.
void KubeSource::Report(const std::string& origin, const std::string& object,
                        const std::string& message) {
  const auto it = reported_.find(origin);
  if (it == reported_.end() ? message.empty() : it->second == message) return;
  sink_->ClearProblems(origin);
  if (message.empty()) {
    reported_.erase(origin);
    return;
  }
  reported_[origin] = message;
  sink_->ReportProblem(origin, object, message);
}

void KubeSource::SetNode(model::Node node) {
  if (node.metadata().name() == options_.node_name) {
    node_seen_ = true;
    node_gone_ = false;
  }
  sink_->SetNode(std::move(node));
}

// This Node's last addresses and zone stay in force: traffic goes on through a node whose object
// somebody deleted.
void KubeSource::DeleteNode(const std::string& name) {
  if (name == options_.node_name) {
    node_gone_ = true;
  } else {
    sink_->DeleteNode(name);
  }
}

void KubeSource::ReportNode() {
  std::string message;
  if (node_gone_) {
    message = "the Node was deleted: its last addresses and zone stay in force";
  } else if (!node_seen_ && StreamOf(kNodes).synced) {
    message =
        "there is no Node of this name: nothing is programmed before there is; if the name is "
        "wrong, give the right one with --hostname-override or NODE_NAME";
  }
  Report(kNodeOrigin, Title("Node", {"", options_.node_name}), message);
}

// The API's own Service: reaching the API through its ClusterIP works until the next restart of
// the node, and then nothing does.
void KubeSource::CheckApiAddress(const model::Service& service) {
  const model::ObjectMeta& metadata = service.metadata();
  if (metadata.name() != "kubernetes" || metadata.name_space() != "default") return;
  std::string message;
  for (const std::string& ip : service.spec().cluster_ips()) {
    const std::string host = absl::StrContains(ip, ':') ? absl::StrCat("[", ip, "]") : ip;
    const std::string& server = api_.server();
    const std::size_t at = server.find("://");
    const std::string rest = at == server.npos ? server : server.substr(at + 3);
    const bool same =
        absl::StartsWith(rest, host) && (rest.size() == host.size() || rest[host.size()] == ':');
    if (!same) continue;
    message = absl::StrCat("the API is reached through its ClusterIP ", ip,
                           ", which this program itself has to set up on a node that starts: give "
                           "the servers' own addresses with --master");
  }
  Report(kAddressOrigin, "Service default/kubernetes", message);
}

// A ServiceCIDR that is being deleted counts on: there are Services in it as long as it is there.
void KubeSource::SetServiceCidr(const std::string& name, const model::ServiceCidr* cidr) {
  service_cidrs_.erase(name);
  if (cidr == nullptr) return;
  for (const std::string& text : cidr->spec().cidrs()) {
    const auto prefix = IpPrefix::Parse(text);
    if (prefix.ok()) service_cidrs_[name].push_back(*prefix);
  }
}

// One range a family: that of the cluster's first ServiceCIDR, else the first by name.
void KubeSource::TellServiceCidrs() {
  std::vector<IpPrefix> chosen;
  const auto choose = [&chosen](const std::vector<IpPrefix>& prefixes) {
    for (const IpPrefix& prefix : prefixes) {
      const bool has_family = std::any_of(chosen.begin(), chosen.end(), [&](const IpPrefix& other) {
        return other.is_v4() == prefix.is_v4();
      });
      if (!has_family) chosen.push_back(prefix);
    }
  };
  if (const auto first = service_cidrs_.find(kDefaultServiceCidr); first != service_cidrs_.end()) {
    choose(first->second);
  }
  for (const auto& [name, prefixes] : service_cidrs_) choose(prefixes);
  if (chosen == told_cidrs_) return;
  told_cidrs_ = chosen;
  options_.on_service_cidrs(std::move(chosen));
}

void KubeSource::MaybeSync() {
  if (StreamOf(kServiceCidrs).synced) TellServiceCidrs();
  if (synced_) return;
  const StreamStatus& cidrs = StreamOf(kServiceCidrs);
  const bool cidrs_settled = cidrs.synced || cidrs.absent || cidrs.failures > 0;
  synced_ =
      StreamOf(kServices).synced && StreamOf(kEndpointSlices).synced && node_seen_ && cidrs_settled;
  if (!synced_) return;
  ++generation_;
  sink_->Synced();
  ::malloc_trim(0);  // what the lists took while they were read
}

}  // namespace sluice
