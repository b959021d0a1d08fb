// SPDX-License-Identifier: Apache-2.0
// What the files of a folder say together: which file each object comes from, what a changed file
// changes, and what stays in force because its new text cannot be followed. Takes texts and gives
// changes; knows no file system and no time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "control/source/manifest.h"

namespace sluice {

// What becomes of an object that its file does not hold any more.
enum class Removals : std::uint8_t {
  kNow,
  // It stays for the time being: an editor may be at work. SetText or RemoveFile with kNow, once
  // it is quiet, removes it.
  kLater,
};

struct ManifestChanges {
  std::vector<ManifestObject> set;  // new or different
  std::vector<ObjectKey> removed;
  std::set<std::string> read_again;   // files that now own an object: SetText them, too
  std::set<std::string> problems_of;  // files whose Problems() may have changed
  bool removals_wait = false;         // by Removals::kLater
};

// An object that several files (or several documents of one) hold comes from the first, in the
// order of the files' names and of the lines; the others are reported. Each document that is the
// same as in the file's last text is not parsed again.
// Thread: loop only.
class ManifestSet {
 public:
  // The file's text is now `text`. Cost: hashing it, parsing the documents that changed, and
  // logarithmic in all objects for each of the file's.
  ManifestChanges SetText(const std::string& file, std::string_view text, Removals removals);
  // There is no such file any more.
  ManifestChanges RemoveFile(const std::string& file, Removals removals);

  // What is wrong in the file, in the order of its lines.
  std::vector<ManifestProblem> Problems(const std::string& file) const;
  // The file and line that `key` comes from; an empty name when nobody says it.
  std::pair<std::string, std::uint32_t> OriginOf(const ObjectKey& key) const;
  // Whether every document of every file could be followed.
  bool AllUnderstood() const;
  // Objects of other kinds that were passed over, by kind.
  std::map<std::string, std::size_t> Ignored() const;
  std::size_t object_count() const { return objects_.size(); }

 private:
  struct ChunkObject {
    ObjectKey key;
    std::uint32_t line = 0;  // in the file
    std::uint64_t hash = 0;  // of the message
  };
  // What one document was last parsed to, without the messages.
  struct Chunk {
    std::uint64_t hash = 0;  // of the text
    std::size_t size = 0;
    std::uint32_t first_line = 1;
    std::vector<ChunkObject> objects;
    std::vector<ObjectKey> rejected;
    std::vector<ManifestProblem> problems;
    std::map<std::string, std::size_t> ignored;
    bool has_unnamed_failure = false;
  };
  enum class ClaimState : std::uint8_t {
    kValid,
    kRejected,  // its document cannot be followed now: what it said before is in force
    kLeaving,   // not in the file any more (Removals::kLater)
  };
  struct Claim {
    ClaimState state = ClaimState::kValid;
    std::uint32_t line = 0;
    std::uint64_t hash = 0;  // of the message that the file has
  };
  struct File {
    std::vector<Chunk> chunks;
    std::vector<ManifestProblem> repeats;  // objects that this file holds more than once
    std::set<ObjectKey> claims;
  };
  struct Object {
    std::map<std::string, Claim> claims;  // by file
    std::string in_force;                 // the file whose version was given out; may be empty
    std::uint64_t hash = 0;               // of that version
  };
  // Messages that were parsed in this call, by key and line; the first of each.
  using Messages = std::map<std::pair<ObjectKey, std::uint32_t>, ManifestObject>;

  static Chunk Digest(const ManifestChunk& chunk, std::uint64_t hash, ManifestPart& part);
  static void Collect(ManifestPart& part, Messages& messages);
  static std::vector<Chunk> ReadChunks(std::vector<Chunk> old, std::string_view text,
                                       Messages& messages);
  static std::map<ObjectKey, Claim> ClaimsOf(File& file, const std::string& name);
  void Settle(const std::string& file, const std::map<ObjectKey, Claim>& claims,
              bool may_hide_objects, Removals removals, ManifestChanges& changes);
  void Drop(const std::string& file, const ObjectKey& key, ManifestChanges& changes);
  // The file that `object` has to come from, or empty.
  static std::string OwnerOf(const Object& object);
  void GiveOut(const std::string& file, std::string_view text, Messages& messages,
               ManifestChanges& changes);

  std::map<std::string, File> files_;
  std::map<ObjectKey, Object> objects_;
};

}  // namespace sluice
