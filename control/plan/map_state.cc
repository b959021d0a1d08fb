// SPDX-License-Identifier: Apache-2.0
#include "control/plan/map_state.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace sluice {
namespace {

template <std::size_t N>
void CopyText(const std::string& text, char (&to)[N]) {
  // Longer names are no Kubernetes names; control/desired refuses them.
  std::memcpy(to, text.data(), std::min(text.size(), N - 1));
}

template <std::size_t N>
std::string Text(const char (&from)[N]) {
  return std::string(from, ::strnlen(from, N));
}

bool IsSet(abi::slot_range range) { return range.count != 0; }

}  // namespace

abi::service_key AddressKey(const IpAddress& address, std::uint16_t port, std::uint32_t protocol) {
  abi::service_key key = {};
  key.address = address.ToAbi();
  key.port = htons(port);
  key.protocol = protocol;
  return key;
}

abi::service_key ServiceKey(const Frontend& frontend) {
  return AddressKey(frontend.address, frontend.port, frontend.protocol);
}

abi::service_name NameRow(const ServicePortName& name) {
  abi::service_name row = {};
  CopyText(name.name_space, row.name_space);
  CopyText(name.name, row.name);
  CopyText(name.port_name, row.port_name);
  row.protocol = name.protocol;
  return row;
}

ServicePortName NameOf(const abi::service_name& row) {
  return {Text(row.name_space), Text(row.name), Text(row.port_name), row.protocol};
}

abi::source_range_key SourceRangeKey(std::uint32_t service_id, const IpPrefix& prefix) {
  constexpr std::uint32_t kServiceIdBits = 32;
  return {kServiceIdBits + prefix.length(), service_id, prefix.address().ToAbi()};
}

MapState::MapState(const MapLimits& limits)
    : limits_(limits),
      service_id_allocator_(limits.service_ids, IdAllocator::Order::kFreshFirst),
      backend_id_allocator_(limits.backends, IdAllocator::Order::kReuseFirst),
      slot_allocator_(limits.slots) {}

MapState MapState::FromRows(const MapLimits& limits, MapRows rows, std::uint64_t read_at_ns) {
  MapState state(limits);
  state.AdoptSlots(rows);
  state.AdoptServices(rows);
  state.AdoptBackends(rows, read_at_ns);
  state.AdoptNames(rows);
  return state;
}

void MapState::AdoptSlots(MapRows& rows) {
  std::set<RangeKey> named;
  for (const auto& [key, row] : rows.services) {
    for (const abi::slot_range& range : row.slots) {
      // One that ends outside of the map no agent wrote: it gets a new one, and takes up nothing.
      const std::uint64_t end = std::uint64_t{range.offset} + range.count;
      if (IsSet(range) && end <= rows.slots.size()) named.emplace(range.offset, range.count);
    }
  }
  // Ranges that share slots are nobody's: their rows get new ones, and the slots stay out of use.
  std::uint64_t end = 0;  // of the ranges before
  for (auto it = named.begin(); it != named.end(); ++it) {
    const auto& [offset, count] = *it;
    const std::uint64_t range_end = std::uint64_t{offset} + count;
    const auto next = std::next(it);
    const bool overlaps = offset < end || (next != named.end() && next->first < range_end);
    if (!overlaps) ranges_.emplace(*it, 0);
    slot_allocator_.Take({offset, count});
    end = std::max(end, range_end);
  }
  slots_ = std::move(rows.slots);
}

void MapState::AdoptServices(const MapRows& rows) {
  for (const auto& [key, row] : rows.services) SetServiceRow(key, row);
  for (const abi::source_range_key& key : rows.source_ranges) {
    if (source_ranges_[key.service_id].insert(key).second) ++source_range_count_;
  }
}

void MapState::AdoptNames(const MapRows& rows) {
  std::set<std::uint32_t> ids;
  for (const auto& [id, row] : rows.names) {
    if (const auto [it, is_new] = service_ids_.emplace(NameOf(row), id); is_new && id != 0) {
      names_.emplace(id, &it->first);
    } else {
      if (is_new) service_ids_.erase(it);
      stray_service_ids_.insert(id);
    }
    ids.insert(id);
  }
  for (const auto& [id, keys] : keys_by_id_) ids.insert(id);
  for (const auto& [id, ranges] : source_ranges_) ids.insert(id);
  for (const auto& [id, backends] : backends_of_) {
    const bool all_orphans = std::all_of(backends.begin(), backends.end(),
                                         [&](std::uint32_t one) { return orphans_.contains(one); });
    if (!all_orphans) ids.insert(id);
  }
  for (std::uint32_t id : ids) {
    if (!names_.contains(id)) stray_service_ids_.insert(id);
    service_id_allocator_.MarkUsed(id);
  }
}

void MapState::AdoptBackends(const MapRows& rows, std::uint64_t read_at_ns) {
  std::set<std::uint32_t> free;
  for (const auto& [id, row] : rows.backends) {
    if (id == 0 || id >= limits_.backends) continue;
    SetBackendRow(id, row);
    backend_id_allocator_.MarkUsed(id);
    if (row.flags == 0) free.insert(id);
  }
  // An id that rows still lead to, though no backend has it, is not free.
  for (const auto& [range, names] : ranges_) {
    for (std::uint32_t id : Slots({range.first, range.second})) free.erase(id);
  }
  for (std::uint32_t id : free)
    backend_id_allocator_.Free(id, std::max<std::uint64_t>(read_at_ns, 1));
}

void MapState::Apply(const MapStep& step, std::size_t landed) {
  std::visit([&](const auto& s) { Land(s, landed); }, step);
}

void MapState::Apply(const MapPlan& plan) {
  for (const MapStep& step : plan.steps) Apply(step, RowCount(step));
}

void MapState::Land(const WriteNames& step, std::size_t landed) {
  for (const auto& [id, row] : std::span(step.rows).first(landed)) {
    const auto it = service_ids_.insert_or_assign(NameOf(row), id).first;
    names_[id] = &it->first;
    service_id_allocator_.MarkUsed(id);
  }
}

void MapState::Land(const ClearNames& step, std::size_t landed) {
  for (std::uint32_t id : std::span(step.ids).first(landed)) {
    const auto name = names_.find(id);
    if (name != names_.end()) {
      service_ids_.erase(service_ids_.find(*name->second));
      names_.erase(name);
    }
    stray_service_ids_.erase(id);
    service_id_allocator_.Free(id, step.freed_at_ns);
  }
}

void MapState::Land(const WriteBackends& step, std::size_t landed) {
  for (const auto& [id, row] : std::span(step.rows).first(landed)) {
    SetBackendRow(id, row);
    backend_id_allocator_.MarkUsed(id);
  }
}

void MapState::Land(const RetireBackends& step, std::size_t landed) {
  for (const auto& [id, row] : std::span(step.rows).first(landed)) {
    SetBackendRow(id, row);
    backend_id_allocator_.Free(id, step.freed_at_ns);
  }
}

void MapState::Land(const WriteSourceRanges& step, std::size_t landed) {
  for (const abi::source_range_key& key : std::span(step.keys).first(landed)) {
    if (source_ranges_[key.service_id].insert(key).second) ++source_range_count_;
  }
}

void MapState::Land(const DeleteSourceRanges& step, std::size_t landed) {
  for (const abi::source_range_key& key : std::span(step.keys).first(landed)) {
    const auto ranges = source_ranges_.find(key.service_id);
    if (ranges == source_ranges_.end()) continue;
    if (ranges->second.erase(key) > 0) --source_range_count_;
    if (ranges->second.empty()) source_ranges_.erase(ranges);
  }
}

void MapState::Land(const WriteSlots& step, std::size_t landed) {
  for (const SlotRun& run : std::span(step.runs).first(landed)) {
    const auto count = static_cast<std::uint32_t>(run.backend_ids.size());
    if (slots_.size() < std::size_t{run.offset} + count) slots_.resize(run.offset + count);
    std::copy(run.backend_ids.begin(), run.backend_ids.end(), slots_.begin() + run.offset);
    slot_allocator_.Take({run.offset, count});
    ranges_.emplace(RangeKey(run.offset, count), 0);
    unnamed_ranges_.emplace(run.offset, count);
  }
}

void MapState::Land(const FreeSlots& step, std::size_t landed) {
  for (const abi::slot_range& range : std::span(step.ranges).first(landed)) {
    ranges_.erase(RangeKey(range.offset, range.count));
    unnamed_ranges_.erase(RangeKey(range.offset, range.count));
    slot_allocator_.Free(range, step.freed_at_ns);
  }
}

void MapState::Land(const WriteServices& step, std::size_t landed) {
  for (const auto& [key, row] : std::span(step.rows).first(landed)) SetServiceRow(key, row);
}

void MapState::Land(const DeleteServices& step, std::size_t landed) {
  for (const abi::service_key& key : std::span(step.keys).first(landed)) EraseServiceRow(key);
}

void MapState::SetServiceRow(const abi::service_key& key, const abi::service& row) {
  NameRanges(row, true);  // before the old row goes: a range that stays is never without a name
  EraseServiceRow(key);
  services_.emplace(key, row);
  keys_by_id_[row.id].push_back(key);
}

void MapState::EraseServiceRow(const abi::service_key& key) {
  const auto old = services_.find(key);
  if (old == services_.end()) return;
  NameRanges(old->second, false);
  const auto keys = keys_by_id_.find(old->second.id);
  std::erase(keys->second, key);
  if (keys->second.empty()) keys_by_id_.erase(keys);
  services_.erase(old);
}

void MapState::NameRanges(const abi::service& row, bool named) {
  for (const abi::slot_range& range : row.slots) {
    const auto it = ranges_.find(RangeKey(range.offset, range.count));
    if (it == ranges_.end()) continue;
    it->second = named ? it->second + 1 : it->second - 1;
    if (it->second == 0) {
      unnamed_ranges_.insert(it->first);
    } else {
      unnamed_ranges_.erase(it->first);
    }
  }
}

void MapState::SetBackendRow(std::uint32_t id, const abi::backend& row) {
  if (id >= backends_.size()) backends_.resize(id + 1);
  abi::backend& there = backends_[id];
  if (there.flags != 0) {
    backends_at_.Remove(backends_, id);
    const auto list = backends_of_.find(there.service_id);
    std::erase(list->second, id);
    if (list->second.empty()) backends_of_.erase(list);
    orphans_.erase(id);
  }
  there = row;
  if (row.flags == 0) return;
  backends_at_.Add(backends_, id);
  backends_of_[row.service_id].push_back(id);
  if (row.flags & abi::SL_BACKEND_ORPHAN) orphans_.insert(id);
}

const abi::service* MapState::FindService(const abi::service_key& key) const {
  const auto it = services_.find(key);
  return it == services_.end() ? nullptr : &it->second;
}

const std::vector<abi::service_key>& MapState::KeysOf(std::uint32_t service_id) const {
  static const std::vector<abi::service_key> kNone;
  const auto it = keys_by_id_.find(service_id);
  return it == keys_by_id_.end() ? kNone : it->second;
}

std::uint32_t MapState::ServiceId(const ServicePortName& name) const {
  const auto it = service_ids_.find(name);
  return it == service_ids_.end() ? 0 : it->second;
}

const std::set<abi::source_range_key>& MapState::SourceRangesOf(std::uint32_t service_id) const {
  static const std::set<abi::source_range_key> kNone;
  const auto it = source_ranges_.find(service_id);
  return it == source_ranges_.end() ? kNone : it->second;
}

std::uint32_t MapState::BackendId(std::uint32_t service_id, const BackendAddress& address) const {
  const abi::service_key key = AddressKey(address.address, address.port, address.protocol);
  for (std::uint32_t id : backends_at_.At(backends_, key)) {
    if (backends_[id].service_id == service_id) return id;
  }
  return 0;
}

abi::backend MapState::Backend(std::uint32_t backend_id) const {
  return backend_id < backends_.size() ? backends_[backend_id] : abi::backend{};
}

const std::vector<std::uint32_t>& MapState::BackendsOf(std::uint32_t service_id) const {
  static const std::vector<std::uint32_t> kNone;
  const auto it = backends_of_.find(service_id);
  return it == backends_of_.end() ? kNone : it->second;
}

std::span<const std::uint32_t> MapState::Slots(abi::slot_range range) const {
  if (!IsSet(range) || !ranges_.contains(RangeKey(range.offset, range.count))) return {};
  return std::span(slots_).subspan(range.offset, range.count);
}

std::uint32_t MapState::TimesNamed(abi::slot_range range) const {
  const auto it = ranges_.find(RangeKey(range.offset, range.count));
  return it == ranges_.end() ? 0 : it->second;
}

std::size_t MapState::CountDifferences(const MapState& other) const {
  std::size_t differences = 0;
  const auto compare = [&differences](const auto& mine, const auto& theirs) {
    for (const auto& [key, value] : mine) {
      const auto it = theirs.find(key);
      if (it == theirs.end() || !(it->second == value)) ++differences;
    }
    for (const auto& [key, value] : theirs) differences += !mine.contains(key);
  };
  compare(services_, other.services_);
  compare(service_ids_, other.service_ids_);
  compare(source_ranges_, other.source_ranges_);
  const std::size_t ids = std::max(backends_.size(), other.backends_.size());
  for (std::uint32_t id = 0; id < ids; ++id) differences += Backend(id) != other.Backend(id);
  for (const auto& [range, names] : ranges_) {
    if (names == 0) continue;  // in no row: not in the maps as far as anyone can tell
    const auto mine = Slots({range.first, range.second});
    const auto theirs = other.Slots({range.first, range.second});
    differences += !std::equal(mine.begin(), mine.end(), theirs.begin(), theirs.end());
  }
  return differences;
}

}  // namespace sluice
