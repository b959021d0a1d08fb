// SPDX-License-Identifier: Apache-2.0
#include "control/source/manifest_set.h"

#include <algorithm>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

std::uint64_t HashOf(std::string_view text) {
  return absl::HashOf(absl::string_view(text.data(), text.size()));
}

void Shift(std::uint32_t& line, std::uint32_t from, std::uint32_t to) { line += to - from; }

}  // namespace

ManifestSet::Chunk ManifestSet::Digest(const ManifestChunk& chunk, std::uint64_t hash,
                                       ManifestPart& part) {
  Chunk digest;
  digest.hash = hash;
  digest.size = chunk.text.size();
  digest.first_line = chunk.first_line;
  digest.rejected = std::move(part.rejected);
  digest.problems = std::move(part.problems);
  digest.ignored = std::move(part.ignored);
  digest.has_unnamed_failure = part.has_unnamed_failure;
  for (const ManifestObject& object : part.objects) {
    digest.objects.push_back({object.key, object.line, HashOf(object.bytes)});
  }
  return digest;
}

void ManifestSet::Collect(ManifestPart& part, Messages& messages) {
  for (ManifestObject& object : part.objects) {
    std::pair<ObjectKey, std::uint32_t> key(object.key, object.line);
    messages.try_emplace(std::move(key), std::move(object));
  }
}

// The chunks of `text`: those of `old` that are still the same, at their new lines, and the others
// parsed, their messages into `messages`.
std::vector<ManifestSet::Chunk> ManifestSet::ReadChunks(std::vector<Chunk> old,
                                                        std::string_view text, Messages& messages) {
  std::unordered_multimap<std::uint64_t, Chunk> known;
  for (Chunk& chunk : old) known.emplace(chunk.hash, std::move(chunk));
  std::vector<Chunk> chunks;
  for (const ManifestChunk& chunk : SplitManifest(text)) {
    const std::uint64_t hash = HashOf(chunk.text);
    const auto same = known.find(hash);
    if (same != known.end() && same->second.size == chunk.text.size()) {
      Chunk kept = std::move(same->second);
      known.erase(same);
      for (ChunkObject& object : kept.objects) {
        Shift(object.line, kept.first_line, chunk.first_line);
      }
      for (ManifestProblem& problem : kept.problems) {
        Shift(problem.line, kept.first_line, chunk.first_line);
      }
      kept.first_line = chunk.first_line;
      chunks.push_back(std::move(kept));
      continue;
    }
    ManifestPart part = ParseManifest(chunk);
    chunks.push_back(Digest(chunk, hash, part));
    Collect(part, messages);
  }
  return chunks;
}

// What the file's chunks claim; notes objects that they hold twice.
std::map<ObjectKey, ManifestSet::Claim> ManifestSet::ClaimsOf(File& file, const std::string& name) {
  std::map<ObjectKey, Claim> claims;
  file.repeats.clear();
  for (const Chunk& chunk : file.chunks) {
    for (const ChunkObject& object : chunk.objects) {
      const auto [first, is_new] =
          claims.try_emplace(object.key, Claim{ClaimState::kValid, object.line, object.hash});
      if (is_new) continue;
      file.repeats.push_back({ToString(object.key), object.line,
                              absl::StrCat("is already in ", name, ":", first->second.line,
                                           ", which counts: remove one of the two")});
    }
  }
  for (const Chunk& chunk : file.chunks) {
    for (const ObjectKey& key : chunk.rejected) {
      claims.try_emplace(key, Claim{ClaimState::kRejected, chunk.first_line, 0});
    }
  }
  return claims;
}

std::string ManifestSet::OwnerOf(const Object& object) {
  for (const auto& [file, claim] : object.claims) {
    if (claim.state == ClaimState::kValid) return file;
    if (claim.state == ClaimState::kRejected && object.in_force == file) return file;
  }
  // Only what is about to go is left.
  return object.claims.contains(object.in_force) ? object.in_force : std::string();
}

void ManifestSet::Drop(const std::string& file, const ObjectKey& key, ManifestChanges& changes) {
  files_[file].claims.erase(key);
  const auto it = objects_.find(key);
  if (it == objects_.end()) return;
  it->second.claims.erase(file);
  for (const auto& [other, claim] : it->second.claims) changes.problems_of.insert(other);
  const std::string owner = OwnerOf(it->second);
  if (!owner.empty()) {
    if (owner != it->second.in_force) changes.read_again.insert(owner);
    return;
  }
  if (!it->second.in_force.empty()) changes.removed.push_back(key);
  objects_.erase(it);
}

// Brings the claims of `file` to `claims`. `may_hide_objects`: a part of it cannot be told apart,
// so that what is missing may be there all the same.
void ManifestSet::Settle(const std::string& file, const std::map<ObjectKey, Claim>& claims,
                         bool may_hide_objects, Removals removals, ManifestChanges& changes) {
  const std::set<ObjectKey> before = files_[file].claims;
  for (const auto& [key, claim] : claims) {
    if (claim.state == ClaimState::kRejected && !before.contains(key)) continue;
    Object& object = objects_[key];
    // The line of a rejected document is kept, its hash is of the version in force.
    if (claim.state == ClaimState::kRejected) {
      if (object.in_force != file) continue;
      object.claims[file].state = ClaimState::kRejected;
      continue;
    }
    object.claims[file] = claim;
    files_[file].claims.insert(key);
    if (object.claims.size() > 1) {
      for (const auto& [other, unused] : object.claims) changes.problems_of.insert(other);
    }
  }
  for (const ObjectKey& key : before) {
    const auto claim = claims.find(key);
    const bool in_force = objects_[key].in_force == file;
    if (claim != claims.end() && (claim->second.state == ClaimState::kValid || in_force)) continue;
    if (may_hide_objects && in_force) {
      objects_[key].claims[file].state = ClaimState::kRejected;
    } else if (removals == Removals::kLater && in_force) {
      objects_[key].claims[file].state = ClaimState::kLeaving;
      changes.removals_wait = true;
      const std::string owner = OwnerOf(objects_[key]);
      if (owner != file) changes.read_again.insert(owner);
    } else {
      Drop(file, key, changes);
    }
  }
}

// Puts into `changes` the objects of `file` that have to come from it and are not in force as it
// has them.
void ManifestSet::GiveOut(const std::string& file, std::string_view text, Messages& messages,
                          ManifestChanges& changes) {
  std::vector<ManifestChunk> chunks;  // cut only when needed
  for (const Chunk& chunk : files_[file].chunks) {
    bool parsed_again = false;
    for (const ChunkObject& wanted : chunk.objects) {
      Object& object = objects_[wanted.key];
      const Claim& claim = object.claims[file];
      const bool counts = claim.line == wanted.line && claim.hash == wanted.hash;
      if (!counts || OwnerOf(object) != file) continue;
      if (!object.in_force.empty() && object.hash == wanted.hash) {
        object.in_force = file;
        continue;
      }
      const std::pair<ObjectKey, std::uint32_t> key(wanted.key, wanted.line);
      if (!messages.contains(key) && !parsed_again) {
        // The document is the old one, but it did not count until now.
        if (chunks.empty()) chunks = SplitManifest(text);
        const auto same = std::lower_bound(
            chunks.begin(), chunks.end(), chunk.first_line,
            [](const ManifestChunk& each, std::uint32_t line) { return each.first_line < line; });
        parsed_again = true;
        ManifestPart part = ParseManifest(*same);
        Collect(part, messages);
      }
      const auto message = messages.find(key);
      if (message == messages.end()) continue;
      object.in_force = file;
      object.hash = wanted.hash;
      changes.set.push_back(std::move(message->second));
      messages.erase(message);
    }
  }
}

ManifestChanges ManifestSet::SetText(const std::string& file, std::string_view text,
                                     Removals removals) {
  ManifestChanges changes;
  changes.problems_of.insert(file);
  File& record = files_[file];
  Messages messages;
  record.chunks = ReadChunks(std::move(record.chunks), text, messages);
  const std::map<ObjectKey, Claim> claims = ClaimsOf(record, file);
  const bool may_hide = std::any_of(record.chunks.begin(), record.chunks.end(),
                                    [](const Chunk& chunk) { return chunk.has_unnamed_failure; });
  Settle(file, claims, may_hide, removals, changes);
  GiveOut(file, text, messages, changes);
  changes.read_again.erase(file);
  return changes;
}

ManifestChanges ManifestSet::RemoveFile(const std::string& file, Removals removals) {
  ManifestChanges changes;
  changes.problems_of.insert(file);
  const auto it = files_.find(file);
  if (it == files_.end()) return changes;
  it->second.chunks.clear();
  it->second.repeats.clear();
  Settle(file, {}, /*may_hide_objects=*/false, removals, changes);
  changes.read_again.erase(file);
  if (!changes.removals_wait) files_.erase(file);
  return changes;
}

std::vector<ManifestProblem> ManifestSet::Problems(const std::string& file) const {
  std::vector<ManifestProblem> problems;
  const auto it = files_.find(file);
  if (it == files_.end()) return problems;
  for (const Chunk& chunk : it->second.chunks) {
    problems.insert(problems.end(), chunk.problems.begin(), chunk.problems.end());
  }
  problems.insert(problems.end(), it->second.repeats.begin(), it->second.repeats.end());
  for (const ObjectKey& key : it->second.claims) {
    const Object& object = objects_.at(key);
    if (object.claims.size() < 2) continue;
    const Claim& claim = object.claims.at(file);
    const std::string owner = OwnerOf(object);
    if (owner == file || claim.state != ClaimState::kValid) continue;
    problems.push_back({ToString(key), claim.line,
                        absl::StrCat("is already in ", owner, ":", object.claims.at(owner).line,
                                     ", which counts: remove one of the two")});
  }
  std::stable_sort(problems.begin(), problems.end(),
                   [](const auto& a, const auto& b) { return a.line < b.line; });
  return problems;
}

std::pair<std::string, std::uint32_t> ManifestSet::OriginOf(const ObjectKey& key) const {
  const auto it = objects_.find(key);
  if (it == objects_.end()) return {};
  const std::string owner = OwnerOf(it->second);
  if (owner.empty()) return {};
  return {owner, it->second.claims.at(owner).line};
}

bool ManifestSet::AllUnderstood() const {
  for (const auto& [name, file] : files_) {
    for (const Chunk& chunk : file.chunks) {
      if (chunk.has_unnamed_failure || !chunk.rejected.empty()) return false;
    }
  }
  return true;
}

std::map<std::string, std::size_t> ManifestSet::Ignored() const {
  std::map<std::string, std::size_t> ignored;
  for (const auto& [name, file] : files_) {
    for (const Chunk& chunk : file.chunks) {
      for (const auto& [kind, count] : chunk.ignored) ignored[kind] += count;
    }
  }
  return ignored;
}

}  // namespace sluice
