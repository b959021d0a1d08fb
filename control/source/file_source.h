// SPDX-License-Identifier: Apache-2.0
// The cluster out of manifest files: a file or a folder of Kubernetes YAML or JSON, followed while
// it changes. Stands in for an API server: what manifests leave open is filled in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/source/cluster_source.h"
#include "control/source/file_reader.h"
#include "control/source/folder_watch.h"
#include "control/source/manifest_set.h"
#include "control/source/service_defaults.h"

namespace sluice {

struct FileSourceOptions {
  // A file, or a folder of which *.yaml, *.yml and *.json are read that are not hidden.
  std::string path;
  // Where given addresses and ports are kept (allocations.json); empty: nowhere.
  std::string state_dir;
  ServiceDefaultsConfig defaults;
  std::size_t max_file_bytes = std::size_t{64} << 20;
  // How long nothing must have changed before an object that its file lacks is deleted. Covers
  // editors that move a file away and write it anew.
  absl::Duration quiet = absl::Milliseconds(200);
  // How long a file may stay open after a write before it is read as it is.
  absl::Duration write_timeout = absl::Seconds(1);
  // Looks at everything anew, for what inotify does not tell: network file systems, targets of
  // links, errors that went away.
  absl::Duration rescan_interval = absl::Seconds(10);
  // How files are read; tests put failures here.
  std::function<absl::StatusOr<FileText>(const std::string& path, std::size_t max_bytes)> read =
      ReadFile;
};

// Failures are reported to the sink and never lose more than what they concern:
//  - a document that cannot be followed: the objects it named before stay as they were;
//  - a file that cannot be read or is too long: all it said before stays;
//  - the path itself gone: everything stays, until it is there again.
// An object is deleted when its file was read whole, or is gone, and does not hold it.
// Synced() is said once everything could be read; bad documents do not hold it up.
// Thread: loop only.
class FileSource final : public ClusterSource {
 public:
  // Requires: `loop` and `clock` outlive the source. Errors: INVALID_ARGUMENT for a configuration
  // that cannot be right; else as inotify_init1(2).
  static absl::StatusOr<std::unique_ptr<FileSource>> Create(FileSourceOptions options,
                                                            EventLoop& loop, const Clock& clock);
  ~FileSource() override;

  absl::Status Start(ClusterSink& sink) override;
  void Stop() override;
  std::uint64_t Generation() const override { return generation_; }
  // Also deletes at once what would else wait for `quiet`.
  void Refresh() override;

  std::size_t file_count() const { return files_.size(); }
  // Objects of Kubernetes kinds that say nothing about services, by kind.
  std::map<std::string, std::size_t> Ignored() const { return manifests_.Ignored(); }

 private:
  struct File {
    FileStamp stamp;
    bool stamp_is_recent = false;  // a later change may leave it the same: do not rely on it
    absl::Status status;           // of the last reading
    bool removals_wait = false;
  };
  struct Report {
    std::string object;
    std::string message;
    friend bool operator==(const Report&, const Report&) = default;
  };
  // What one turn does to the cluster.
  struct Batch {
    std::map<ObjectKey, std::optional<ManifestObject>> objects;  // nothing: deleted
    std::set<std::string> problems_of;
    std::set<std::string> read_again;
    std::size_t bytes_read = 0;
  };

  FileSource(FileSourceOptions options, EventLoop& loop, const Clock& clock, FolderWatch watch,
             LoadedAllocations remembered);

  void OnEvents();
  bool TakeEvents();
  void OnQuiet();
  bool WaitedTooLong() const;
  void OnRescan();
  void Turn(Removals removals);
  bool Scan();
  absl::StatusOr<std::set<std::string>> List();
  void ReadOne(const std::string& file, Removals removals, Batch& batch);
  static void Merge(ManifestChanges changes, Batch& batch);
  bool Apply(Batch& batch);
  void SayObject(ObjectMessage message);
  void SayDeleted(const ObjectKey& key);
  bool SayServices();
  void CollectComplaints(Batch& batch);
  bool SaveAllocations();
  bool PublishStore();
  bool Publish(const std::string& origin, std::vector<Report> reports);
  std::vector<Report> ReportsOf(const std::string& file) const;
  void MaybeSync();
  bool IsBeingWritten(const std::string& file) const;
  void ArmQuietTimer();
  std::string PathOf(const std::string& name) const;

  FileSourceOptions options_;
  EventLoop& loop_;
  const Clock& clock_;
  FolderWatch watch_;
  ClusterSink* sink_ = nullptr;
  ManifestSet manifests_;
  ServiceDefaults defaults_;
  absl::Status remembered_status_;
  absl::Status save_status_;

  bool is_folder_ = false;
  absl::Status path_status_ = absl::UnavailableError("not looked at yet");  // of the last scan
  std::string armed_folder_;
  std::map<std::string, File> files_;
  std::set<std::string> to_read_;
  std::map<std::string, std::uint64_t> writing_;  // file -> when it was last written to, ns
  bool rescan_ = true;
  bool arm_ = true;
  std::map<std::string, std::vector<Report>> published_;   // by origin
  std::map<std::string, std::vector<Report>> complaints_;  // what could not be given, by file
  EventLoop::TimerId quiet_timer_ = 0;
  std::uint64_t waiting_since_ns_ = 0;  // for it to fire; 0: nothing waits
  EventLoop::TimerId rescan_timer_ = 0;
  bool synced_ = false;
  bool forgot_absent_ = false;
  std::uint64_t generation_ = 0;
};

}  // namespace sluice
