// SPDX-License-Identifier: Apache-2.0
#include "control/plan/capacity.h"

#include <string_view>

#include "absl/strings/str_cat.h"

#include "maps/names.h"

namespace sluice {
namespace {

struct SizeFlag {
  const char* map;
  const char* flag;
};

// The flags of sluiced that set max_entries.
constexpr SizeFlag kSizeFlags[] = {
    {names::kServices, "--max-frontends"},
    {names::kServiceNames, "--max-services"},
    {names::kSlots, "--max-slots"},
    {names::kBackends, "--max-backends"},
};

}  // namespace

std::string ToString(const CapacityShortage& shortage) {
  std::string text = absl::StrCat("map ", shortage.map, ": ", shortage.need,
                                  " rows needed, the limit is ", shortage.limit);
  for (const SizeFlag& size : kSizeFlags) {
    if (shortage.map == size.map) absl::StrAppend(&text, " (raise ", size.flag, ")");
  }
  return text;
}

CapacityLedger::CapacityLedger(const MapState& actual) {
  const MapLimits& limits = actual.limits();
  const auto open = [](const char* map, std::uint64_t limit, std::uint64_t used) {
    return Account{map, limit, used, used};
  };
  // Id 0 is nobody's.
  accounts_ = {
      open(names::kServices, limits.services, actual.services().size()),
      open(names::kServiceNames, actual.service_id_allocator().capacity(),
           actual.service_id_allocator().used()),
      open(names::kSourceRanges, limits.source_ranges, actual.source_range_count()),
      open(names::kSlots, limits.slots, actual.slot_allocator().used()),
      open(names::kBackends, actual.backend_id_allocator().capacity(),
           actual.backend_id_allocator().used()),
  };
}

absl::Status CapacityLedger::Take(const Demand& demand) {
  const std::array<std::uint32_t, kMaps> rows = {
      demand.services, demand.service_ids, demand.source_ranges, demand.slots, demand.backends};
  absl::Status status;
  for (std::size_t i = 0; i < kMaps; ++i) {
    Account& account = accounts_[i];
    account.asked += rows[i];
    if (rows[i] == 0 || account.used + rows[i] <= account.limit) continue;
    account.short_of = true;
    if (status.ok()) {
      status = absl::ResourceExhaustedError(
          ToString(CapacityShortage{account.map, account.used + rows[i], account.limit}));
    }
  }
  if (!status.ok()) return status;
  for (std::size_t i = 0; i < kMaps; ++i) accounts_[i].used += rows[i];
  return status;
}

std::vector<CapacityShortage> CapacityLedger::Shortages() const {
  std::vector<CapacityShortage> shortages;
  for (const Account& account : accounts_) {
    if (account.short_of) shortages.push_back({account.map, account.asked, account.limit});
  }
  return shortages;
}

}  // namespace sluice
