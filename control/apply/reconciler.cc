// SPDX-License-Identifier: Apache-2.0
#include "control/apply/reconciler.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"

namespace sluice {
namespace {

constexpr char kZoneLabel[] = "topology.kubernetes.io/zone";

// Of the first plan of all, so that it is never held in memory whole.

std::uint64_t Ns(absl::Duration duration) {
  return static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(duration));
}

std::string NoRoomForNodes(std::size_t left_out) {
  return absl::StrCat("map sl_nodes has room for ", abi::SL_NODES - 1, " nodes: ", left_out,
                      " more are reached by SNAT, and take nothing from here encapsulated");
}

// Those that do not parse are no machine's.
void AddNodeAddresses(const ClusterState& cluster, std::set<IpAddress>& addresses) {
  cluster.ForEachNode([&](const model::Node& node) {
    for (const model::NodeAddress& address : node.status().addresses()) {
      const absl::StatusOr<IpAddress> parsed = IpAddress::Parse(address.address());
      if (parsed.ok()) addresses.insert(*parsed);
    }
  });
}

}  // namespace

Reconciler::Reconciler(Setup setup, const Clock& clock, const ReconcilerOptions& options)
    : setup_(std::move(setup)),
      clock_(clock),
      options_(options),
      writer_(setup_.tables),
      node_rows_(setup_.tables.nodes, setup_.tables.node_ids),
      cluster_(setup_.node_name),
      tracker_(AskNodeConfig()),
      retry_delay_(options.retry_min) {}

absl::Status Reconciler::Start() {
  ASSIGN_OR_RETURN(MapRows rows, ReadMaps(setup_.tables));
  writer_.CoverByFilter(rows);
  state_ = MapState::FromRows(setup_.tables.Limits(), std::move(rows), Now());
  ASSIGN_OR_RETURN(const auto nodes, node_rows_.Start());
  nodes_.Adopt(nodes);
  // Whom clients were bound to under ids that no service has any more must not pass to the next
  // service with the id.
  std::set<std::uint32_t> named;
  for (const auto& [name, id] : state_->service_ids()) named.insert(id);
  return Annotate(writer_.ForgetAffinityOf([&](std::uint32_t id) { return !named.contains(id); }),
                  "forget the affinity of services that are gone");
}

NodeConfig Reconciler::AskNodeConfig() const {
  const model::Node* node = cluster_.own_node();
  NodeConfig config = setup_.node_config(node);
  if (config.node_name.empty()) config.node_name = cluster_.own_node_name();
  if (config.zone.empty() && node != nullptr) {
    const auto zone = node->metadata().labels().find(kZoneLabel);
    if (zone != node->metadata().labels().end()) config.zone = zone->second;
  }
  AddNodeAddresses(cluster_, config.machine_addresses);
  config.nodes = &nodes_;
  return config;
}

void Reconciler::SetService(model::Service service) {
  cluster_.SetService(std::move(service));
  Event();
}

void Reconciler::DeleteService(const std::string& name_space, const std::string& name) {
  cluster_.DeleteService({name_space, name});
  Event();
}

void Reconciler::SetEndpointSlice(model::EndpointSlice slice) {
  cluster_.SetEndpointSlice(std::move(slice));
  Event();
}

void Reconciler::DeleteEndpointSlice(const std::string& name_space, const std::string& name) {
  cluster_.DeleteEndpointSlice({name_space, name});
  Event();
}

void Reconciler::SetNode(model::Node node) {
  cluster_.SetNode(std::move(node));
  Event();
}

void Reconciler::DeleteNode(const std::string& name) {
  cluster_.DeleteNode(name);
  Event();
}

void Reconciler::Synced() {
  cluster_.Synced();
  if (sync_state_ == SyncState::kAwaiting) sync_state_ = SyncState::kSyncing;
  Event();
}

void Reconciler::Reset() { cluster_.Reset(); }

void Reconciler::ReportProblem(const std::string& origin, const std::string& object,
                               const std::string& message) {
  source_problems_[origin].push_back({origin, object, message});
  spdlog::warn("{}: {}: {}", origin, object, message);
}

void Reconciler::ClearProblems(const std::string& origin) { source_problems_.erase(origin); }

void Reconciler::NodeChanged() {
  NodeConfig config = AskNodeConfig();
  if (config == tracker_.node()) return;
  std::set<ServicePortName> changed;
  // What comes and goes most, and concerns few Services.
  std::set<IpAddress> machines =
      std::exchange(config.machine_addresses, tracker_.node().machine_addresses);
  if (config == tracker_.node()) {
    tracker_.SetMachineAddresses(std::move(machines), cluster_, changed);
  } else {
    config.machine_addresses = std::move(machines);
    tracker_.SetNode(std::move(config));
    tracker_.UpdateAll(cluster_, changed);
  }
  dirty_.merge(changed);
  Event();
}

void Reconciler::Event() {
  ++counters_.events;
  events_pending_ = true;
  if (sync_state_ == SyncState::kAwaiting) return;
  RequestRun(std::max(Now(), last_round_ns_ + Ns(options_.min_interval)));
}

void Reconciler::RequestRun(std::uint64_t at_ns) {
  at_ns = std::max(at_ns, blocked_until_ns_);
  if (at_ns >= run_at_ns_) return;
  run_at_ns_ = at_ns;
  Arm();
}

void Reconciler::Arm() {
  const std::uint64_t next = std::min({run_at_ns_, retry_refused_at_ns_, verify_at_ns_});
  if (next == kNever) return;
  const std::uint64_t now = Now();
  setup_.wake(absl::Nanoseconds(static_cast<std::int64_t>(next > now ? next - now : 0)));
}

bool Reconciler::HasChanges() const { return events_pending_ || plan_all_ || !dirty_.empty(); }

void Reconciler::Run() {
  if (sync_state_ == SyncState::kAwaiting || !state_) return;
  const std::uint64_t now = Now();
  if (now >= retry_refused_at_ns_ && now >= blocked_until_ns_) {
    for (const auto& [name, status] : refused_) dirty_.insert(name);
    retry_refused_at_ns_ = kNever;
    run_at_ns_ = now;
  }
  if (now >= run_at_ns_) {
    run_at_ns_ = kNever;
    Reconcile();
  } else if (now >= verify_at_ns_ && !HasWork()) {
    Verify();
  }
  if (now >= verify_at_ns_) verify_at_ns_ = now + Ns(options_.verify_interval);
  Arm();
}

void Reconciler::TakeChanges() {
  const Changes changes = cluster_.TakeChanges();
  events_pending_ = false;
  std::set<ServicePortName> changed;
  FollowNodes(changes, changed);
  if (changes.all) {
    tracker_.SetNode(AskNodeConfig());
    tracker_.UpdateAll(cluster_, changed);
  } else {
    if (changes.machines) {
      NodeConfig config = AskNodeConfig();
      tracker_.SetMachineAddresses(std::move(config.machine_addresses), cluster_, changed);
    }
    for (const ObjectName& service : changes.services) tracker_.Update(service, cluster_, changed);
  }
  dirty_.merge(changed);
  if (!plan_all_) return;
  for (const auto& [name, service] : tracker_.services()) dirty_.insert(name);
  for (const auto& [name, id] : state_->service_ids()) dirty_.insert(name);
}

// A node that has come or gone concerns the Services whose packets are passed on to it.
void Reconciler::FollowNodes(const Changes& changes, std::set<ServicePortName>& changed) {
  if (!changes.all && !changes.machines && !plan_all_ &&
      !changes.services.contains(setup_.node_service)) {
    return;
  }
  const std::size_t left_out = nodes_.left_out();
  if (!nodes_.Update(cluster_, setup_.node_service)) return;
  if (nodes_.left_out() > left_out) {
    spdlog::error("{}", NoRoomForNodes(nodes_.left_out()));
  }
  std::set<ObjectName> concerned;
  for (const auto& [name, service] : tracker_.services()) {
    if (service.dsr) concerned.insert({name.name_space, name.name});
  }
  for (const ObjectName& name : concerned) tracker_.Update(name, cluster_, changed);
}

void Reconciler::Reconcile() {
  const std::uint64_t generation = setup_.source_generation();
  TakeChanges();
  last_round_ns_ = Now();
  // What is one change stays one plan. Of a round in parts, services that are gone come last: by
  // then who has taken over their frontends and endpoints is in the maps.
  const std::size_t per_plan = plan_all_ ? options_.services_per_plan : dirty_.size();
  std::vector<const ServicePortName*> order;
  for (const ServicePortName& name : dirty_) order.push_back(&name);
  std::stable_partition(order.begin(), order.end(), [this](const ServicePortName* name) {
    return tracker_.services().contains(*name);
  });
  Round round;
  std::vector<ServicePortName> names;
  round.status = node_rows_.Write(nodes_.rows());
  for (std::size_t next = 0; round.status.ok() && (next < order.size() || round.plans == 0);) {
    names.clear();
    for (; next < order.size() && names.size() < per_plan; ++next) names.push_back(*order[next]);
    PlanAndWrite(names, next < order.size(), round);
  }
  if (round.status.ok() && round.plans > 1 && !round.refused.empty()) {
    // Once more together, so that the need that is reported is that of all.
    names.clear();
    for (const RefusedService& refused : round.refused) names.push_back(refused.name);
    round.refused.clear();
    round.shortages.clear();
    PlanAndWrite(names, false, round);
  }
  if (round.status.ok()) round.status = node_rows_.Remove(nodes_.rows());
  ++counters_.rounds;
  if (round.rows == 0) ++counters_.empty_rounds;
  counters_.rows_written += round.rows;
  AfterRound(round);
  if (round.status.ok()) handled_generation_ = generation;
  if (round.status.ok() && refused_.empty()) applied_generation_ = generation;
  setup_.on_change();
}

void Reconciler::PlanAndWrite(const std::vector<ServicePortName>& names, bool more_follows,
                              Round& round) {
  std::vector<ServiceChange> changes;
  changes.reserve(names.size());
  for (const ServicePortName& name : names) {
    const auto it = tracker_.services().find(name);
    changes.push_back({name, it == tracker_.services().end() ? nullptr : &it->second});
  }
  PlannedUpdate update =
      PlanUpdate(*state_, changes,
                 {.rows = options_.rows, .now_ns = last_round_ns_, .more_follows = more_follows});
  WriteResult result = writer_.Write(update.plan, *state_);
  ++round.plans;
  round.rows += result.rows;
  counters_.backends_retired += result.retired_backends;
  round.status = std::move(result.status);
  std::move(update.refused.begin(), update.refused.end(), std::back_inserter(round.refused));
  round.shortages = std::move(update.shortages);
}

void Reconciler::AfterRound(const Round& round) {
  write_status_ = round.status;
  if (!round.status.ok()) {
    ++counters_.write_failures;
    spdlog::error("writing to the maps: {}; tried again in {}", std::string(round.status.message()),
                  absl::FormatDuration(retry_delay_));
    blocked_until_ns_ = Now() + Ns(retry_delay_);
    retry_delay_ = std::min(retry_delay_ * 2, options_.retry_max);
    RequestRun(blocked_until_ns_);
    return;
  }
  std::map<ServicePortName, absl::Status> refused_before;
  for (const ServicePortName& name : dirty_) {
    if (auto before = refused_.extract(name)) refused_before.insert(std::move(before));
  }
  dirty_.clear();
  if (plan_all_ && verify_at_ns_ == kNever) verify_at_ns_ = Now() + Ns(options_.verify_interval);
  plan_all_ = false;
  if (round.refused.empty() && refused_.empty()) {
    shortages_.clear();
    retry_delay_ = options_.retry_min;
    retry_refused_at_ns_ = kNever;
    sync_state_ = SyncState::kSynced;
    return;
  }
  sync_state_ = SyncState::kSynced;  // all that fits is there: degraded() tells of the rest
  counters_.refused_services += round.refused.size();
  for (const RefusedService& refused : round.refused) {
    refused_.insert_or_assign(refused.name, refused.status);
    if (!refused_before.contains(refused.name)) {
      spdlog::error("service {}/{}: {}; it stays as it was", refused.name.name_space,
                    refused.name.name, std::string(refused.status.message()));
    }
  }
  for (const CapacityShortage& shortage : round.shortages) {
    std::erase_if(shortages_, [&](const CapacityShortage& s) { return s.map == shortage.map; });
    shortages_.push_back(shortage);
  }
  // What a plan frees may be used after the grace time: then there may be room.
  const bool freed = round.rows > 0;
  retry_refused_at_ns_ = Now() + std::max(Ns(retry_delay_), freed ? kReuseGraceNs : 0);
  retry_delay_ = freed ? options_.retry_min : std::min(retry_delay_ * 2, options_.retry_max);
}

void Reconciler::Verify() {
  ++counters_.verifications;
  absl::StatusOr<MapRows> rows = ReadMaps(setup_.tables);
  if (!rows.ok()) {
    spdlog::warn("the maps cannot be read, nothing is concluded: {}",
                 std::string(rows.status().message()));
    return;
  }
  if (const auto nodes = node_rows_.Start(); nodes.ok()) {
    absl::Status mended = node_rows_.Write(nodes_.rows());
    if (mended.ok()) mended = node_rows_.Remove(nodes_.rows());
    if (!mended.ok()) spdlog::warn("the nodes' rows: {}", std::string(mended.message()));
  }
  writer_.CoverByFilter(*rows);
  MapState found = MapState::FromRows(setup_.tables.Limits(), *std::move(rows), Now());
  const std::size_t differences = state_->CountDifferences(found);
  if (differences == 0) {
    ++counters_.confirmations;
    setup_.on_change();
    return;
  }
  counters_.rows_drifted += differences;
  spdlog::error("{} rows of the maps are not what was written to them: put right", differences);
  state_ = std::move(found);
  plan_all_ = true;
  RequestRun(Now());
}

// A source's generation also grows with changes that concern no object: there is no round for them.
std::uint64_t Reconciler::GenerationOf(bool busy, std::uint64_t round) const {
  const bool idle = sync_state_ == SyncState::kSynced && !busy && write_status_.ok();
  return idle ? setup_.source_generation() : round;
}

std::uint64_t Reconciler::applied_generation() const {
  return GenerationOf(HasWork(), applied_generation_);
}

std::uint64_t Reconciler::handled_generation() const {
  return GenerationOf(HasChanges(), handled_generation_);
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> Reconciler::CountedBackends() const {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> counted;
  for (const auto& [name, service] : tracker_.services()) {
    if (service.algorithm != abi::SL_ALGORITHM_LEAST_CONNECTION) continue;
    for (std::uint32_t id : state_->BackendsOf(state_->ServiceId(name))) {
      counted.emplace_back(id, state_->Backend(id).generation);
    }
  }
  return counted;
}

bool Reconciler::HasEndpoint(const BackendAddress& address) const {
  abi::backend row{};
  const abi::service_key key = AddressKey(address.address, address.port, address.protocol);
  row.address = key.address;
  row.port = key.port;
  row.protocol = static_cast<std::uint8_t>(key.protocol);
  const BackendIndex::Ids ids = state_->BackendsAt(row);
  return ids.begin() != ids.end();
}

std::vector<std::string> Reconciler::degraded() const {
  std::vector<std::string> reasons;
  if (!write_status_.ok()) {
    reasons.push_back(absl::StrCat("the maps cannot be written: ", write_status_.message()));
  }
  for (const CapacityShortage& shortage : shortages_) {
    reasons.push_back(absl::StrCat(ToString(shortage), "; ", refused_.size(),
                                   " service port(s) stay as they were"));
  }
  if (nodes_.left_out() > 0) reasons.push_back(NoRoomForNodes(nodes_.left_out()));
  if (shortages_.empty() && !refused_.empty()) {
    reasons.push_back(std::string(refused_.begin()->second.message()));
  }
  return reasons;
}

std::vector<ReportedProblem> Reconciler::problems() const {
  std::vector<ReportedProblem> all;
  for (const auto& [origin, problems] : source_problems_) {
    all.insert(all.end(), problems.begin(), problems.end());
  }
  for (Problem& problem : tracker_.ObjectProblems()) {
    all.push_back({"", std::move(problem.object), std::move(problem.message)});
  }
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace sluice
