// SPDX-License-Identifier: Apache-2.0
#include "control/plan/planner.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "maps/names.h"

namespace sluice {
namespace {

using Families = std::array<FamilySets, abi::SL_FAMILY_COUNT>;

abi::service_key KeyOf(const BackendAddress& address) {
  return AddressKey(address.address, address.port, address.protocol);
}

std::uint32_t Size(const auto& container) { return static_cast<std::uint32_t>(container.size()); }

// What one service becomes: computed whole before the plan takes any of it over.
struct Draft {
  std::uint32_t service_id = 0;
  bool new_service = false;
  std::vector<std::uint32_t> backend_ids;  // of DesiredService::backends; 0: not given yet
  bool reused_service_id = false;
  // What the slots of the sets that are used hold: indices into DesiredService::backends.
  std::vector<std::size_t> layouts[abi::SL_FAMILY_COUNT][kBackendSetCount];
  std::vector<SlotRun> new_runs;
};

std::vector<std::uint32_t> IdsOf(const Draft& draft, const std::vector<std::size_t>& layout) {
  std::vector<std::uint32_t> ids;
  ids.reserve(layout.size());
  for (std::size_t index : layout) ids.push_back(draft.backend_ids[index]);
  return ids;
}

__u8 FlagsFor(const DesiredService& service, const DesiredBackend& backend,
              const FamilySets& family) {
  unsigned flags = abi::SL_BACKEND_PRESENT;
  if ((backend.in_cluster_set && family.used[kClusterSet]) ||
      (backend.in_local_set && family.used[kLocalSet])) {
    flags |= abi::SL_BACKEND_USABLE;
  }
  if (backend.local) flags |= abi::SL_BACKEND_LOCAL;
  if (service.algorithm == abi::SL_ALGORITHM_LEAST_CONNECTION) flags |= abi::SL_BACKEND_COUNTED;
  return static_cast<__u8>(flags);
}

// Collects the services of one plan, then orders what they need.
class PlanBuilder {
 public:
  PlanBuilder(const MapState& actual, const PlanOptions& options)
      : actual_(actual),
        options_(options),
        ledger_(actual),
        service_ids_(actual.service_id_allocator(), options.now_ns),
        new_backend_ids_(actual.backend_id_allocator(), options.now_ns),
        slots_(actual.slot_allocator()) {}

  void Remove(const ServicePortName& name) {
    if (const std::uint32_t id = actual_.ServiceId(name); id != 0) RemoveId(id);
  }
  void RemoveId(std::uint32_t id);
  absl::Status Set(const ServicePortName& name, const DesiredService& service);
  std::vector<CapacityShortage> Shortages() const { return ledger_.Shortages(); }
  MapPlan Finish();

 private:
  Draft StartDraft(const ServicePortName& name, const DesiredService& service,
                   const Families& families) const;
  Demand DemandOf(const Draft& draft, const DesiredService& service,
                  const Families& families) const;
  std::optional<abi::slot_range> FindRange(const Draft& draft,
                                           const std::vector<std::uint32_t>& ids) const;
  absl::Status GiveIds(Draft& draft, const DesiredService& service);
  absl::Status Place(Draft& draft, const std::vector<std::uint32_t>& ids, abi::slot_range& range);
  absl::Status PlaceSets(Draft& draft,
                         abi::slot_range (&places)[abi::SL_FAMILY_COUNT][kBackendSetCount]);
  void UndoIds(const Draft& draft, std::size_t backends);

  void TakeOverIds(const ServicePortName& name, const Draft& draft);
  void TakeOverRows(const DesiredService& service, const Draft& draft, const Families& families,
                    const abi::slot_range (&places)[abi::SL_FAMILY_COUNT][kBackendSetCount]);
  void TakeOverRanges(std::uint32_t service_id, const std::set<abi::source_range_key>& wanted);
  void TakeOverBackends(const DesiredService& service, const Draft& draft,
                        const Families& families);
  void ChangeName(const abi::service& row, int times);

  void FinishDeletes();
  void FinishBackends();
  void FinishSlots();

  const MapState& actual_;
  const PlanOptions& options_;
  CapacityLedger ledger_;
  IdAllocator::Lease service_ids_;
  IdAllocator::Lease new_backend_ids_;
  SlotAllocator slots_;

  absl::flat_hash_set<abi::service_key> written_keys_;  // of service rows; also those left as are
  std::vector<abi::service_key> unwanted_keys_;
  std::set<std::uint32_t> leaving_backends_;         // that no service of this plan wants any more
  absl::flat_hash_set<std::uint32_t> kept_orphans_;  // that have a service again
  absl::flat_hash_set<abi::service_key> new_addresses_;                 // of new backends
  std::map<std::pair<std::uint32_t, std::uint32_t>, int> range_names_;  // changes, by range

  ZeroServiceStats zero_service_stats_;
  ForgetAffinity forget_affinity_;
  WriteNames write_names_;
  ZeroBackendStats zero_backend_stats_;
  WriteBackends write_backends_;
  WriteSourceRanges write_ranges_;
  WriteSlots write_slots_;
  WriteServices write_services_;
  DeleteServices delete_services_;
  DeleteSourceRanges delete_ranges_;
  WriteBackends settle_backends_;
  ClearNames clear_names_;
  RetireBackends retire_backends_;
  FreeSlots free_slots_;
};

void PlanBuilder::RemoveId(std::uint32_t id) {
  for (const abi::service_key& key : actual_.KeysOf(id)) unwanted_keys_.push_back(key);
  TakeOverRanges(id, {});
  for (std::uint32_t backend_id : actual_.BackendsOf(id)) leaving_backends_.insert(backend_id);
  clear_names_.ids.push_back(id);
}

absl::Status PlanBuilder::Set(const ServicePortName& name, const DesiredService& service) {
  const Families families = SetsOf(service);
  Draft draft = StartDraft(name, service, families);
  if (absl::Status fits = ledger_.Take(DemandOf(draft, service, families)); !fits.ok()) return fits;
  const auto missing =
      static_cast<std::size_t>(std::count(draft.backend_ids.begin(), draft.backend_ids.end(), 0U));
  if (absl::Status given = GiveIds(draft, service); !given.ok()) return given;
  abi::slot_range places[abi::SL_FAMILY_COUNT][kBackendSetCount] = {};
  if (absl::Status placed = PlaceSets(draft, places); !placed.ok()) {
    for (const SlotRun& run : draft.new_runs) {
      slots_.Free({run.offset, Size(run.backend_ids)}, 0);
    }
    UndoIds(draft, missing);
    return placed;
  }
  TakeOverIds(name, draft);
  TakeOverRows(service, draft, families, places);
  TakeOverRanges(draft.service_id, SourceRangeKeys(service, draft.service_id, families));
  for (SlotRun& run : draft.new_runs) write_slots_.runs.push_back(std::move(run));

  TakeOverBackends(service, draft, families);
  return absl::OkStatus();
}

Draft PlanBuilder::StartDraft(const ServicePortName& name, const DesiredService& service,
                              const Families& families) const {
  Draft draft;
  draft.service_id = actual_.ServiceId(name);
  draft.new_service = draft.service_id == 0;
  for (const DesiredBackend& backend : service.backends) {
    draft.backend_ids.push_back(
        draft.new_service ? 0 : actual_.BackendId(draft.service_id, backend.address));
  }
  for (std::size_t family = 0; family < families.size(); ++family) {
    const auto& [sets, used, filtered] = families[family];
    auto& layouts = draft.layouts[family];
    if (used[kClusterSet]) {
      layouts[kClusterSet] = LayOut(service, sets[kClusterSet], actual_.limits().slots);
    }
    if (!used[kLocalSet]) continue;
    layouts[kLocalSet] = used[kClusterSet] && sets[kLocalSet] == sets[kClusterSet]
                             ? layouts[kClusterSet]
                             : LayOut(service, sets[kLocalSet], actual_.limits().slots);
  }
  return draft;
}

// A range that holds `ids`: one that the service's rows name, or one placed for it in this plan.
std::optional<abi::slot_range> PlanBuilder::FindRange(const Draft& draft,
                                                      const std::vector<std::uint32_t>& ids) const {
  for (const abi::service_key& key : actual_.KeysOf(draft.service_id)) {
    for (const abi::slot_range& range : actual_.FindService(key)->slots) {
      const std::span<const std::uint32_t> there = actual_.Slots(range);
      if (std::equal(there.begin(), there.end(), ids.begin(), ids.end())) return range;
    }
  }
  for (const SlotRun& run : draft.new_runs) {
    if (run.backend_ids == ids) return abi::slot_range{run.offset, Size(ids)};
  }
  return std::nullopt;
}

Demand PlanBuilder::DemandOf(const Draft& draft, const DesiredService& service,
                             const Families& families) const {
  Demand demand;
  demand.service_ids = draft.new_service ? 1 : 0;
  demand.backends = static_cast<std::uint32_t>(
      std::count(draft.backend_ids.begin(), draft.backend_ids.end(), 0U));
  for (const Frontend& frontend : service.frontends) {
    const abi::service_key key = ServiceKey(frontend);
    if (actual_.FindService(key) == nullptr && !written_keys_.contains(key)) ++demand.services;
  }
  const auto& ranges = actual_.SourceRangesOf(draft.service_id);
  for (const abi::source_range_key& key : SourceRangeKeys(service, draft.service_id, families)) {
    if (!ranges.contains(key)) ++demand.source_ranges;
  }
  for (const auto& layouts : draft.layouts) {
    const std::vector<std::size_t>* placed = nullptr;
    for (const std::vector<std::size_t>& layout : layouts) {
      if (layout.empty() || (placed && *placed == layout)) continue;
      const std::vector<std::uint32_t> ids = IdsOf(draft, layout);
      const bool is_new = std::count(ids.begin(), ids.end(), 0U) > 0 || !FindRange(draft, ids);
      if (is_new) demand.slots += Size(ids);
      placed = &layout;
    }
  }
  return demand;
}

void PlanBuilder::UndoIds(const Draft& draft, std::size_t backends) {
  if (draft.new_service) service_ids_.Return(1);
  new_backend_ids_.Return(backends);
}

absl::Status PlanBuilder::GiveIds(Draft& draft, const DesiredService& service) {
  const auto held_back = [&](const char* map) {
    return absl::UnavailableError(absl::StrCat(
        "map ", map, ": ids are free, but only just: service ", service.name.name_space, "/",
        service.name.name, " is planned again when they may be reused"));
  };
  if (draft.new_service) {
    const std::optional<IdAllocator::Given> given = service_ids_.Take();
    if (!given) return held_back(names::kServiceNames);
    draft.service_id = given->id;
    draft.reused_service_id = !given->fresh;
  }
  std::size_t taken = 0;
  for (std::uint32_t& id : draft.backend_ids) {
    if (id != 0) continue;
    const std::optional<IdAllocator::Given> given = new_backend_ids_.Take();
    if (!given) {
      UndoIds(draft, taken);
      return held_back(names::kBackends);
    }
    id = given->id;
    ++taken;
  }
  return absl::OkStatus();
}

absl::Status PlanBuilder::Place(Draft& draft, const std::vector<std::uint32_t>& ids,
                                abi::slot_range& range) {
  range = {};
  if (ids.empty()) return absl::OkStatus();
  if (const std::optional<abi::slot_range> found = FindRange(draft, ids)) {
    range = *found;
    return absl::OkStatus();
  }
  const std::optional<std::uint32_t> offset = slots_.Allocate(Size(ids), options_.now_ns);
  if (!offset) {
    return absl::UnavailableError(absl::StrCat("map ", names::kSlots, ": no run of ", ids.size(),
                                               " free slots that may be used already"));
  }
  range = {*offset, Size(ids)};
  draft.new_runs.push_back({*offset, ids});
  return absl::OkStatus();
}

absl::Status PlanBuilder::PlaceSets(
    Draft& draft, abi::slot_range (&places)[abi::SL_FAMILY_COUNT][kBackendSetCount]) {
  for (std::size_t family = 0; family < std::size(draft.layouts); ++family) {
    for (BackendSet set : {kClusterSet, kLocalSet}) {
      absl::Status placed =
          Place(draft, IdsOf(draft, draft.layouts[family][set]), places[family][set]);
      if (!placed.ok()) return placed;
    }
  }
  return absl::OkStatus();
}

void PlanBuilder::TakeOverIds(const ServicePortName& name, const Draft& draft) {
  if (!draft.new_service) return;
  zero_service_stats_.ids.push_back(draft.service_id);
  if (draft.reused_service_id) forget_affinity_.service_ids.push_back(draft.service_id);
  write_names_.rows.emplace_back(draft.service_id, NameRow(name));
}

void PlanBuilder::TakeOverRows(
    const DesiredService& service, const Draft& draft, const Families& families,
    const abi::slot_range (&places)[abi::SL_FAMILY_COUNT][kBackendSetCount]) {
  for (const Frontend& frontend : service.frontends) {
    const abi::sl_family family = FamilyOf(frontend.address);
    abi::service row = RowOf(service, frontend, families[family], options_.rows);
    row.id = draft.service_id;
    if (!abi::frontend_is_address(frontend.kind)) {
      for (abi::sl_scope scope : {abi::SL_SCOPE_INTERNAL, abi::SL_SCOPE_EXTERNAL}) {
        row.slots[scope] = places[family][SetFor(service, frontend.kind, scope)];
      }
    }
    const abi::service_key key = ServiceKey(frontend);
    written_keys_.insert(key);
    const abi::service* there = actual_.FindService(key);
    if (there != nullptr && *there == row) continue;
    if (there != nullptr) ChangeName(*there, -1);
    ChangeName(row, +1);
    write_services_.rows.emplace_back(key, row);
  }
  for (const abi::service_key& key : actual_.KeysOf(draft.service_id))
    unwanted_keys_.push_back(key);
}

void PlanBuilder::TakeOverRanges(std::uint32_t service_id,
                                 const std::set<abi::source_range_key>& wanted) {
  const std::set<abi::source_range_key>& there = actual_.SourceRangesOf(service_id);
  std::set_difference(wanted.begin(), wanted.end(), there.begin(), there.end(),
                      std::back_inserter(write_ranges_.keys));
  std::set_difference(there.begin(), there.end(), wanted.begin(), wanted.end(),
                      std::back_inserter(delete_ranges_.keys));
}

// A backend that stays has its old flags and its new ones until the service's rows lead to the new
// set, so that neither set ever names one that is not usable.
void PlanBuilder::TakeOverBackends(const DesiredService& service, const Draft& draft,
                                   const Families& families) {
  absl::flat_hash_set<std::uint32_t> kept;
  for (std::size_t i = 0; i < service.backends.size(); ++i) {
    const DesiredBackend& backend = service.backends[i];
    const std::uint32_t id = draft.backend_ids[i];
    const abi::backend there = actual_.Backend(id);
    const __u8 flags = FlagsFor(service, backend, families[FamilyOf(backend.address.address)]);
    kept.insert(id);
    abi::backend row = there;
    if (there.flags & abi::SL_BACKEND_ORPHAN) kept_orphans_.insert(id);
    if (there.flags == 0) {
      const abi::service_key key = KeyOf(backend.address);
      new_addresses_.insert(key);
      row = {};
      row.address = key.address;
      row.port = key.port;
      row.protocol = static_cast<__u8>(key.protocol);
      row.generation = there.generation + 1;
      row.service_id = draft.service_id;
      if (row.generation > 1) zero_backend_stats_.ids.push_back(id);
    }
    row.node = backend.node;
    row.flags = static_cast<__u8>((there.flags & ~unsigned{abi::SL_BACKEND_ORPHAN}) | flags);
    if (row != there) write_backends_.rows.emplace_back(id, row);
    if (row.flags == flags) continue;
    row.flags = flags;
    settle_backends_.rows.emplace_back(id, row);
  }
  for (std::uint32_t id : actual_.BackendsOf(draft.service_id)) {
    if (!kept.contains(id)) leaving_backends_.insert(id);
  }
}

void PlanBuilder::ChangeName(const abi::service& row, int times) {
  for (const abi::slot_range& range : row.slots) {
    if (range.count != 0) range_names_[{range.offset, range.count}] += times;
  }
}

void PlanBuilder::FinishDeletes() {
  std::sort(unwanted_keys_.begin(), unwanted_keys_.end());
  for (const abi::service_key& key : unwanted_keys_) {
    if (written_keys_.contains(key)) continue;  // still the service's, or another's by now
    ChangeName(*actual_.FindService(key), -1);
    delete_services_.keys.push_back(key);
  }
}

// What leaves a service while another has the endpoint stays for the connections that it carries,
// as does what has stayed so before; it goes with the last.
void PlanBuilder::FinishBackends() {
  const absl::flat_hash_set<std::uint32_t> gone(clear_names_.ids.begin(), clear_names_.ids.end());
  for (std::uint32_t id : actual_.orphans()) {
    if (!kept_orphans_.contains(id)) leaving_backends_.insert(id);
  }
  for (std::uint32_t id : leaving_backends_) {
    abi::backend row = actual_.Backend(id);
    const BackendIndex::Ids same = actual_.BackendsAt(row);
    const bool has_other = options_.more_follows || new_addresses_.contains(AddressOf(row)) ||
                           std::any_of(same.begin(), same.end(), [&](std::uint32_t other) {
                             return !leaving_backends_.contains(other) &&
                                    actual_.Backend(other).service_id != row.service_id;
                           });
    if (!has_other) {
      row.flags = 0;
      retire_backends_.rows.emplace_back(id, row);
      continue;
    }
    constexpr __u8 kOrphan = abi::SL_BACKEND_PRESENT | abi::SL_BACKEND_ORPHAN;
    const bool owner_gone = gone.contains(row.service_id);
    if (row.flags == kOrphan && !owner_gone) continue;
    row.flags = kOrphan;
    // The id will be another's, who must not take this for its own.
    if (owner_gone) row.service_id = 0;
    settle_backends_.rows.emplace_back(id, row);
  }
}

void PlanBuilder::FinishSlots() {
  for (const auto& [offset, count] : actual_.unnamed_ranges()) range_names_[{offset, count}];
  for (const auto& [key, change] : range_names_) {
    const abi::slot_range range{key.first, key.second};
    if (actual_.Slots(range).empty()) continue;  // made by this plan
    if (static_cast<std::int64_t>(actual_.TimesNamed(range)) + change == 0) {
      free_slots_.ranges.push_back(range);
    }
  }
}

MapPlan PlanBuilder::Finish() {
  FinishDeletes();
  FinishBackends();
  FinishSlots();
  clear_names_.freed_at_ns = options_.now_ns;
  retire_backends_.freed_at_ns = options_.now_ns;
  free_slots_.freed_at_ns = options_.now_ns;
  MapPlan plan;
  const auto add = [&plan](auto step) {
    MapStep next(std::move(step));
    if (RowCount(next) > 0) plan.steps.push_back(std::move(next));
  };
  // Make: nothing that a service row will name is missing when it is written.
  add(std::move(zero_service_stats_));
  add(std::move(forget_affinity_));
  add(std::move(write_names_));
  add(std::move(zero_backend_stats_));
  add(std::move(write_backends_));
  add(std::move(write_ranges_));
  add(std::move(write_slots_));
  add(std::move(write_services_));
  // Break: nothing goes before the last row that names it.
  add(std::move(delete_services_));
  add(std::move(delete_ranges_));
  add(std::move(settle_backends_));
  add(std::move(retire_backends_));
  // Last: by its name a service that is gone is found again, should the plan stop before here.
  add(std::move(clear_names_));
  add(std::move(free_slots_));
  return plan;
}

}  // namespace

PlannedUpdate PlanUpdate(const MapState& actual, std::span<const ServiceChange> changes,
                         const PlanOptions& options) {
  PlannedUpdate update;
  PlanBuilder builder(actual, options);
  for (const ServiceChange& change : changes) {
    if (change.desired == nullptr) {
      builder.Remove(change.name);
      continue;
    }
    absl::Status status = builder.Set(change.name, *change.desired);
    if (!status.ok()) update.refused.push_back({change.name, std::move(status)});
  }
  for (std::uint32_t id : actual.stray_service_ids()) builder.RemoveId(id);
  update.shortages = builder.Shortages();
  update.plan = builder.Finish();
  return update;
}

}  // namespace sluice
