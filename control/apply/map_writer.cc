// SPDX-License-Identifier: Apache-2.0
#include "control/apply/map_writer.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"

#include "maps/names.h"

namespace sluice {
namespace {

BatchResult All(std::size_t rows) { return {absl::OkStatus(), rows}; }

constexpr auto kServiceId = &abi::connection_stats_key::service_id;
constexpr auto kBackendId = &abi::connection_stats_key::backend_id;

// Rows of `ids` with all-zero values.
template <typename V>
BatchResult Zero(Table<std::uint32_t, V>& table, const std::vector<std::uint32_t>& ids) {
  std::vector<std::pair<std::uint32_t, V>> rows;
  rows.reserve(ids.size());
  for (std::uint32_t id : ids) rows.emplace_back(id, V{});
  return table.Update(rows);
}

}  // namespace

WriteResult MapWriter::Write(const MapPlan& plan, MapState& state) {
  WriteResult result;
  for (const MapStep& step : plan.steps) {
    BatchResult batch = std::visit([this](const auto& s) { return Step(s); }, step);
    state.Apply(step, batch.landed);
    if (!IsBookkeeping(step)) result.rows += batch.landed;
    if (std::holds_alternative<RetireBackends>(step)) result.retired_backends += batch.landed;
    if (!batch.status.ok()) {
      result.status = std::move(batch.status);
      return result;
    }
    ++result.steps;
  }
  return result;
}

absl::Status MapWriter::ForgetConnections(std::span<const std::uint32_t> ids,
                                          std::uint32_t abi::connection_stats_key::*which) {
  std::vector<abi::connection_stats_key> keys(ids.size());
  for (std::size_t i = 0; i < ids.size(); ++i) keys[i].*which = ids[i];
  return tables_.connection_stats->Delete(keys).status;
}

BatchResult MapWriter::Step(const ZeroServiceStats& step) {
  const absl::Status forgotten = ForgetConnections(step.ids, kServiceId);
  if (!forgotten.ok()) return {forgotten, 0};
  return Zero(*tables_.service_stats, step.ids);
}

BatchResult MapWriter::Step(const ZeroBackendStats& step) {
  const absl::Status forgotten = ForgetConnections(step.ids, kBackendId);
  if (!forgotten.ok()) return {forgotten, 0};
  for (std::uint32_t id : step.ids) tables_.loads->Clear(id);
  return Zero(*tables_.backend_stats, step.ids);
}

BatchResult MapWriter::Step(const ForgetAffinity& step) {
  absl::Status status = ForgetAffinityOf([&](std::uint32_t id) {
    return std::find(step.service_ids.begin(), step.service_ids.end(), id) !=
           step.service_ids.end();
  });
  if (!status.ok()) return {std::move(status), 0};
  return All(step.service_ids.size());
}

BatchResult MapWriter::Step(const WriteNames& step) {
  return tables_.service_names->Update(step.rows);
}

BatchResult MapWriter::Step(const ClearNames& step) {
  const absl::Status forgotten = ForgetConnections(step.ids, kServiceId);
  if (!forgotten.ok()) return {forgotten, 0};
  return Zero(*tables_.service_names, step.ids);
}

void MapWriter::CoverByFilter(const MapRows& rows) {
  for (const auto& [key, row] : rows.services) tables_.filter->Add(key);
  for (const auto& [id, row] : rows.backends) {
    if (row.flags != 0) tables_.filter->Add(row);
  }
}

BatchResult MapWriter::Step(const WriteBackends& step) {
  for (const auto& [id, row] : step.rows) tables_.filter->Add(row);
  return tables_.backends->Update(step.rows);
}

BatchResult MapWriter::Step(const RetireBackends& step) {
  BatchResult result = tables_.backends->Update(step.rows);
  // After the rows: what ends later finds its backend gone, and makes no new one.
  std::vector<std::uint32_t> ids;
  for (const auto& [id, row] : std::span(step.rows).first(result.landed)) ids.push_back(id);
  const absl::Status forgotten = ForgetConnections(ids, kBackendId);
  if (result.status.ok() && !forgotten.ok()) return {forgotten, 0};
  return result;
}

BatchResult MapWriter::Step(const WriteSourceRanges& step) {
  std::vector<std::pair<abi::source_range_key, abi::source_range>> rows;
  for (const abi::source_range_key& key : step.keys) rows.emplace_back(key, abi::source_range{1});
  return tables_.source_ranges->Update(rows);
}

BatchResult MapWriter::Step(const DeleteSourceRanges& step) {
  return tables_.source_ranges->Delete(step.keys);
}

BatchResult MapWriter::Step(const WriteSlots& step) {
  for (std::size_t i = 0; i < step.runs.size(); ++i) {
    if (!tables_.slots->Write(step.runs[i].offset, step.runs[i].backend_ids)) {
      return {absl::InternalError(absl::StrCat("map ", names::kSlots, ": slots ",
                                               step.runs[i].offset, " and on are outside of it")),
              i};
    }
  }
  return All(step.runs.size());
}

BatchResult MapWriter::Step(const FreeSlots& step) { return All(step.ranges.size()); }

BatchResult MapWriter::Step(const WriteServices& step) {
  for (const auto& [key, row] : step.rows) tables_.filter->Add(key);
  return tables_.services->Update(step.rows);
}

BatchResult MapWriter::Step(const DeleteServices& step) {
  return tables_.services->Delete(step.keys);
}

}  // namespace sluice
