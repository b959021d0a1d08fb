// SPDX-License-Identifier: Apache-2.0
#include "control/plan/planner.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "control/plan/service_rows.h"
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
  std::vector<SlotRun> new_runs;
};

std::vector<std::uint32_t> IdsOf(const Draft& draft, const std::vector<std::size_t>& set) {
  std::vector<std::uint32_t> ids;
  ids.reserve(set.size());
  for (std::size_t index : set) ids.push_back(draft.backend_ids[index]);
  return ids;
}

// Uses of both, by id; a flag is set when it is in either.
std::vector<BackendUse> Union(const std::vector<BackendUse>& a, const std::vector<BackendUse>& b) {
  std::vector<BackendUse> merged;
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(merged));
  std::vector<BackendUse> unique;
  for (const BackendUse& use : merged) {
    if (!unique.empty() && unique.back().backend_id == use.backend_id) {
      unique.back().flags |= use.flags;
    } else {
      unique.push_back(use);
    }
  }
  return unique;
}

__u8 FlagsFor(const MapState::Holders& holders) {
  unsigned flags = holders.present > 0 ? abi::SL_BACKEND_PRESENT : 0;
  if (holders.usable > 0) flags |= abi::SL_BACKEND_USABLE;
  if (holders.local > 0) flags |= abi::SL_BACKEND_LOCAL;
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
  void ReleaseAdopted() { ChangeUses(0, {}); }
  std::vector<CapacityShortage> Shortages() const { return ledger_.Shortages(); }
  MapPlan Finish();

 private:
  // Changes of a backend's holders while old and new sets are both in force, and after.
  struct HolderChange {
    MapState::Holders hold;
    MapState::Holders final;
  };

  Draft StartDraft(const ServicePortName& name, const DesiredService& service) const;
  Demand DemandOf(const Draft& draft, const DesiredService& service,
                  const Families& families) const;
  std::optional<abi::slot_range> FindRange(const Draft& draft,
                                           const std::vector<std::uint32_t>& ids) const;
  absl::Status GiveIds(Draft& draft, const DesiredService& service);
  absl::Status Place(Draft& draft, const std::vector<std::uint32_t>& ids, abi::slot_range& range);
  absl::Status PlaceSets(Draft& draft, const Families& families,
                         abi::slot_range (&places)[abi::SL_FAMILY_COUNT][kBackendSetCount]);
  void UndoIds(const Draft& draft, std::size_t backends);

  void TakeOverIds(const ServicePortName& name, const DesiredService& service, const Draft& draft);
  void TakeOverRows(const DesiredService& service, const Draft& draft, const Families& families,
                    const abi::slot_range (&places)[abi::SL_FAMILY_COUNT][kBackendSetCount]);
  void TakeOverRanges(std::uint32_t service_id, const std::set<abi::source_range_key>& wanted);
  void ChangeUses(std::uint32_t service_id, std::vector<BackendUse> uses);
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

  absl::flat_hash_map<abi::service_key, std::uint32_t> new_backends_;  // by address
  absl::flat_hash_map<std::uint32_t, abi::backend> new_rows_;          // by id, flags 0
  absl::flat_hash_set<abi::service_key> written_keys_;  // of service rows; also those left as are
  std::vector<abi::service_key> unwanted_keys_;
  absl::btree_map<std::uint32_t, HolderChange> holder_changes_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, int> range_names_;  // changes, by range

  ZeroServiceStats zero_service_stats_;
  ForgetAffinity forget_affinity_;
  WriteNames write_names_;
  ZeroBackendStats zero_backend_stats_;
  SetUses hold_uses_;
  WriteBackends write_backends_;
  WriteSourceRanges write_ranges_;
  WriteSlots write_slots_;
  WriteServices write_services_;
  DeleteServices delete_services_;
  DeleteSourceRanges delete_ranges_;
  WriteBackends settle_backends_;
  SetUses settle_uses_;
  ClearNames clear_names_;
  RetireBackends retire_backends_;
  FreeSlots free_slots_;
};

void PlanBuilder::RemoveId(std::uint32_t id) {
  for (const abi::service_key& key : actual_.KeysOf(id)) unwanted_keys_.push_back(key);
  TakeOverRanges(id, {});
  if (id != 0) ChangeUses(id, {});
  clear_names_.ids.push_back(id);
}

absl::Status PlanBuilder::Set(const ServicePortName& name, const DesiredService& service) {
  const Families families = SetsOf(service);
  Draft draft = StartDraft(name, service);
  if (absl::Status fits = ledger_.Take(DemandOf(draft, service, families)); !fits.ok()) return fits;
  const auto missing =
      static_cast<std::size_t>(std::count(draft.backend_ids.begin(), draft.backend_ids.end(), 0U));
  if (absl::Status given = GiveIds(draft, service); !given.ok()) return given;
  abi::slot_range places[abi::SL_FAMILY_COUNT][kBackendSetCount] = {};
  if (absl::Status placed = PlaceSets(draft, families, places); !placed.ok()) {
    for (const SlotRun& run : draft.new_runs) {
      slots_.Free({run.offset, Size(run.backend_ids)}, 0);
    }
    UndoIds(draft, missing);
    return placed;
  }
  TakeOverIds(name, service, draft);
  TakeOverRows(service, draft, families, places);
  TakeOverRanges(draft.service_id, SourceRangeKeys(service, draft.service_id, families));
  for (SlotRun& run : draft.new_runs) write_slots_.runs.push_back(std::move(run));

  std::vector<BackendUse> uses;
  for (std::size_t i = 0; i < service.backends.size(); ++i) {
    const DesiredBackend& backend = service.backends[i];
    const FamilySets& family = families[FamilyOf(backend.address.address)];
    const bool usable = (backend.in_cluster_set && family.used[kClusterSet]) ||
                        (backend.in_local_set && family.used[kLocalSet]);
    // Looked at even if its holders stay: a plan that failed may have got no further than them.
    holder_changes_[draft.backend_ids[i]];
    uses.push_back({draft.backend_ids[i], (usable ? std::uint32_t{abi::SL_BACKEND_USABLE} : 0) |
                                              (backend.local ? abi::SL_BACKEND_LOCAL : 0)});
  }
  std::sort(uses.begin(), uses.end());
  ChangeUses(draft.service_id, std::move(uses));
  return absl::OkStatus();
}

Draft PlanBuilder::StartDraft(const ServicePortName& name, const DesiredService& service) const {
  Draft draft;
  draft.service_id = actual_.ServiceId(name);
  draft.new_service = draft.service_id == 0;
  for (const DesiredBackend& backend : service.backends) {
    std::uint32_t id = actual_.BackendId(backend.address);
    if (id == 0) {
      const auto planned = new_backends_.find(KeyOf(backend.address));
      if (planned != new_backends_.end()) id = planned->second;
    }
    draft.backend_ids.push_back(id);
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
  for (const FamilySets& family : families) {
    const std::vector<std::size_t>* placed = nullptr;
    for (BackendSet set : {kClusterSet, kLocalSet}) {
      const std::vector<std::size_t>& members = family.sets[set];
      if (!family.used[set] || members.empty() || (placed && *placed == members)) continue;
      const std::vector<std::uint32_t> ids = IdsOf(draft, members);
      const bool is_new = std::count(ids.begin(), ids.end(), 0U) > 0 || !FindRange(draft, ids);
      if (is_new) demand.slots += Size(ids);
      placed = &members;
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
    Draft& draft, const Families& families,
    abi::slot_range (&places)[abi::SL_FAMILY_COUNT][kBackendSetCount]) {
  for (std::size_t family = 0; family < families.size(); ++family) {
    for (BackendSet set : {kClusterSet, kLocalSet}) {
      if (!families[family].used[set]) continue;
      absl::Status placed =
          Place(draft, IdsOf(draft, families[family].sets[set]), places[family][set]);
      if (!placed.ok()) return placed;
    }
  }
  return absl::OkStatus();
}

void PlanBuilder::TakeOverIds(const ServicePortName& name, const DesiredService& service,
                              const Draft& draft) {
  if (draft.new_service) {
    zero_service_stats_.ids.push_back(draft.service_id);
    if (draft.reused_service_id) forget_affinity_.service_ids.push_back(draft.service_id);
    write_names_.rows.emplace_back(draft.service_id, NameRow(name));
  }
  for (std::size_t i = 0; i < service.backends.size(); ++i) {
    const BackendAddress& address = service.backends[i].address;
    const std::uint32_t id = draft.backend_ids[i];
    if (actual_.BackendId(address) != 0 || !new_backends_.emplace(KeyOf(address), id).second) {
      continue;
    }
    abi::backend row = {};
    row.address = address.address.ToAbi();
    row.port = htons(address.port);
    row.protocol = static_cast<__u8>(address.protocol);
    row.generation = actual_.Backend(id).generation + 1;
    if (row.generation > 1) zero_backend_stats_.ids.push_back(id);
    new_rows_.emplace(id, row);
  }
}

void PlanBuilder::TakeOverRows(
    const DesiredService& service, const Draft& draft, const Families& families,
    const abi::slot_range (&places)[abi::SL_FAMILY_COUNT][kBackendSetCount]) {
  for (const Frontend& frontend : service.frontends) {
    const abi::sl_family family = FamilyOf(frontend.address);
    abi::service row =
        RowOf(service, frontend, families[family], options_.allow_external_cluster_ip);
    row.id = draft.service_id;
    if (frontend.kind != abi::SL_FRONTEND_ADDRESS) {
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

void PlanBuilder::ChangeUses(std::uint32_t service_id, std::vector<BackendUse> uses) {
  const std::vector<BackendUse>& old = actual_.UsesOf(service_id);
  if (uses == old) return;
  const auto count = [](MapState::Holders& holders, const BackendUse& use, std::uint32_t one) {
    holders.present += one;
    if (use.flags & abi::SL_BACKEND_USABLE) holders.usable += one;
    if (use.flags & abi::SL_BACKEND_LOCAL) holders.local += one;
  };
  constexpr std::uint32_t kMinusOne = ~0U;
  std::vector<BackendUse> both = Union(old, uses);
  for (const BackendUse& use : old) {
    HolderChange& change = holder_changes_[use.backend_id];
    count(change.hold, use, kMinusOne);
    count(change.final, use, kMinusOne);
  }
  for (const BackendUse& use : both) count(holder_changes_[use.backend_id].hold, use, 1);
  for (const BackendUse& use : uses) count(holder_changes_[use.backend_id].final, use, 1);
  const bool settled = both == uses;
  if (both != old) hold_uses_.services.push_back({service_id, std::move(both)});
  if (!settled) settle_uses_.services.push_back({service_id, std::move(uses)});
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

void PlanBuilder::FinishBackends() {
  for (std::uint32_t id : actual_.unheld_backends()) holder_changes_[id];
  const auto sum = [](MapState::Holders a, const MapState::Holders& b) {
    return MapState::Holders{a.present + b.present, a.usable + b.usable, a.local + b.local};
  };
  for (const auto& [id, change] : holder_changes_) {
    const abi::backend there = actual_.Backend(id);
    const auto added = new_rows_.find(id);
    // Held, but its row never came about: a plan that failed left that behind.
    if (added == new_rows_.end() && there.flags == 0) continue;
    const MapState::Holders holders = actual_.HoldersOf(id);
    abi::backend row = added != new_rows_.end() ? added->second : there;
    row.flags = FlagsFor(sum(holders, change.hold));
    if (row.flags != 0 && row != there) write_backends_.rows.emplace_back(id, row);
    const __u8 final_flags = FlagsFor(sum(holders, change.final));
    if (final_flags == 0) {
      row.flags = 0;
      retire_backends_.rows.emplace_back(id, row);
    } else if (final_flags != row.flags) {
      row.flags = final_flags;
      settle_backends_.rows.emplace_back(id, row);
    }
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
  add(std::move(hold_uses_));
  add(std::move(write_backends_));
  add(std::move(write_ranges_));
  add(std::move(write_slots_));
  add(std::move(write_services_));
  // Break: nothing goes before the last row that names it.
  add(std::move(delete_services_));
  add(std::move(delete_ranges_));
  add(std::move(settle_backends_));
  add(std::move(settle_uses_));
  add(std::move(clear_names_));
  add(std::move(retire_backends_));
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
  if (options.release_adopted && update.refused.empty()) builder.ReleaseAdopted();
  update.shortages = builder.Shortages();
  update.plan = builder.Finish();
  return update;
}

}  // namespace sluice
