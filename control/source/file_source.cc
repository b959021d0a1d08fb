// SPDX-License-Identifier: Apache-2.0
#include "control/source/file_source.h"

#include <malloc.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"

#include "control/base/errno_status.h"
#include "control/base/status_macros.h"

namespace sluice {
namespace {

constexpr char kAllocationsFile[] = "/allocations.json";
// A file's time stamps move on in steps of the kernel's tick, and slower on some file systems: two
// writes within this may leave the same stamp.
constexpr absl::Duration kStampResolution = absl::Milliseconds(100);
// The most problems of one file that are told; the rest is a number.
constexpr std::size_t kMaxReports = 100;
constexpr std::size_t kManyBytes = std::size_t{1} << 20;
// How many times `quiet` a stream of changes can hold a deletion up.
constexpr int kMaxQuietTimes = 10;

bool IsManifestName(std::string_view name) {
  constexpr std::array<std::string_view, 3> kEndings = {".yaml", ".yml", ".json"};
  if (name.starts_with('.')) return false;  // hidden, or an editor's own
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [name](std::string_view ending) { return name.ends_with(ending); });
}

std::string FolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string NameIn(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// A reading that failed for a reason that lies in the file itself, and not on the way to it.
bool IsOfTheFile(const absl::Status& status) {
  return absl::IsOutOfRange(status) || absl::IsFailedPrecondition(status);
}

absl::Status CheckConfig(const FileSourceOptions& options) {
  if (options.path.empty()) return absl::InvalidArgumentError("the path of the manifests is empty");
  const ServiceDefaultsConfig& defaults = options.defaults;
  if (defaults.min_node_port == 0 || defaults.min_node_port > defaults.max_node_port) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no range of node ports: ", defaults.min_node_port, "-", defaults.max_node_port));
  }
  const std::vector<IpPrefix>& cidrs = defaults.service_cidrs;
  if (cidrs.size() > 2 || (cidrs.size() == 2 && cidrs[0].is_v4() == cidrs[1].is_v4())) {
    return absl::InvalidArgumentError("service CIDRs: at most one a family");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileSource>> FileSource::Create(FileSourceOptions options,
                                                               EventLoop& loop,
                                                               const Clock& clock) {
  RETURN_IF_ERROR(CheckConfig(options));
  while (options.path.size() > 1 && options.path.back() == '/') options.path.pop_back();
  ASSIGN_OR_RETURN(FolderWatch watch, FolderWatch::Create());
  LoadedAllocations remembered;
  if (!options.state_dir.empty()) {
    remembered = LoadAllocations(options.state_dir + kAllocationsFile);
  }
  return std::unique_ptr<FileSource>(
      new FileSource(std::move(options), loop, clock, std::move(watch), std::move(remembered)));
}

FileSource::FileSource(FileSourceOptions options, EventLoop& loop, const Clock& clock,
                       FolderWatch watch, LoadedAllocations remembered)
    : options_(std::move(options)),
      loop_(loop),
      clock_(clock),
      watch_(std::move(watch)),
      defaults_(options_.defaults, std::move(remembered.allocations)),
      remembered_status_(std::move(remembered.status)) {}

FileSource::~FileSource() { Stop(); }

absl::Status FileSource::Start(ClusterSink& sink) {
  sink_ = &sink;
  RETURN_IF_ERROR(loop_.Watch(watch_.fd(), EPOLLIN, [this](std::uint32_t) { OnEvents(); }));
  PublishStore();
  OnRescan();
  return absl::OkStatus();
}

void FileSource::Stop() {
  if (sink_ == nullptr) return;
  loop_.Unwatch(watch_.fd());
  loop_.Cancel(quiet_timer_);
  loop_.Cancel(rescan_timer_);
  sink_ = nullptr;
}

std::string FileSource::PathOf(const std::string& name) const {
  return (is_folder_ ? options_.path : FolderOf(options_.path)) + "/" + name;
}

bool FileSource::IsBeingWritten(const std::string& file) const {
  const auto it = writing_.find(file);
  if (it == writing_.end()) return false;
  const auto age = static_cast<std::int64_t>(clock_.MonotonicNs() - it->second);
  return absl::Nanoseconds(age) < options_.write_timeout;
}

// Whether there was one that concerns us.
bool FileSource::TakeEvents() {
  const FolderEvents events = watch_.Drain();
  bool any = events.folder_changed || events.rescan;
  arm_ |= events.folder_changed;
  rescan_ |= events.rescan || events.folder_changed;
  const auto concerns = [this](const std::string& name) {
    return is_folder_ ? IsManifestName(name) : name == NameIn(options_.path);
  };
  for (const std::string& name : events.writing) {
    if (!concerns(name)) continue;
    writing_[PathOf(name)] = clock_.MonotonicNs();
    any = true;
  }
  for (const std::string& name : events.touched) {
    if (!concerns(name)) continue;
    writing_.erase(PathOf(name));
    to_read_.insert(PathOf(name));
    // Of a single file's path, it is the scan that tells gone from moved.
    rescan_ |= !is_folder_;
    any = true;
  }
  return any;
}

void FileSource::OnEvents() {
  TakeEvents();
  Turn(Removals::kLater);
}

void FileSource::OnQuiet() {
  quiet_timer_ = 0;
  const bool quiet = !TakeEvents();
  for (const auto& [name, when] : writing_) {
    if (!IsBeingWritten(name)) to_read_.insert(name);
  }
  std::erase_if(writing_, [this](const auto& entry) { return !IsBeingWritten(entry.first); });
  if (!quiet && !WaitedTooLong()) return Turn(Removals::kLater);  // waits again
  waiting_since_ns_ = 0;
  for (const auto& [name, file] : files_) {
    if (file.removals_wait) to_read_.insert(name);
  }
  Turn(Removals::kNow);
}

bool FileSource::WaitedTooLong() const {
  const auto waited = static_cast<std::int64_t>(clock_.MonotonicNs() - waiting_since_ns_);
  return absl::Nanoseconds(waited) > options_.quiet * kMaxQuietTimes;
}

void FileSource::OnRescan() {
  TakeEvents();
  rescan_ = true;
  Turn(Removals::kLater);
  rescan_timer_ = loop_.RunAfter(options_.rescan_interval, [this] { OnRescan(); });
}

void FileSource::Refresh() {
  if (sink_ == nullptr) return;
  TakeEvents();
  rescan_ = true;
  for (auto& [name, file] : files_) {
    if (file.removals_wait) to_read_.insert(name);
  }
  Turn(Removals::kNow);
}

// Which files there are. Errors: what keeps the path from being read.
absl::StatusOr<std::set<std::string>> FileSource::List() {
  struct stat status {};
  if (::stat(options_.path.c_str(), &status) != 0) {
    return ErrnoStatus(errno, "stat " + options_.path);
  }
  is_folder_ = S_ISDIR(status.st_mode);
  if (!is_folder_) return std::set<std::string>{options_.path};
  std::set<std::string> found;
  std::error_code error;
  std::filesystem::directory_iterator entries(options_.path, error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (IsManifestName(name)) found.insert(options_.path + "/" + name);
  }
  if (error) return ErrnoStatus(error.value(), "list " + options_.path);
  return found;
}

// Puts into to_read_ whatever differs from what was read. False when the path cannot be read.
bool FileSource::Scan() {
  absl::StatusOr<std::set<std::string>> listed = List();
  const std::string folder = is_folder_ ? options_.path : FolderOf(options_.path);
  if (arm_ || armed_folder_ != folder) {
    // Before the files are read: what changes after this is told. A watch that cannot be had (the
    // path is not there, or no watches are left) is tried again at each scan.
    arm_ = !watch_.Arm(folder).ok();
    armed_folder_ = folder;
    listed = List();  // what came in between
  }
  path_status_ = listed.status();
  if (!listed.ok()) return false;
  // An event may have named what is neither there nor known: a folder, when a file was expected.
  std::erase_if(to_read_, [&](const std::string& file) {
    return !listed->contains(file) && !files_.contains(file);
  });
  for (const std::string& file : *listed) {
    const auto known = files_.find(file);
    const absl::StatusOr<FileStamp> stamp = StampOf(file);
    const bool same = known != files_.end() && known->second.status.ok() &&
                      !known->second.stamp_is_recent && stamp.ok() && *stamp == known->second.stamp;
    if (!same) to_read_.insert(file);
  }
  for (const auto& [file, unused] : files_) {
    if (!listed->contains(file)) to_read_.insert(file);
  }
  return true;
}

// Takes in what is known to have changed, and tells the sink.
void FileSource::Turn(Removals removals) {
  if (sink_ == nullptr) return;
  const bool look = std::exchange(rescan_, false) || !path_status_.ok();
  if (look && !Scan()) {
    // Nothing is known of any file: all stays as it is.
    to_read_.clear();
    if (Publish(
            options_.path,
            {{options_.path, absl::StrCat("cannot be read: ", path_status_.message(),
                                          "; what it said before stays in force until it can")}})) {
      ++generation_;
    }
    return;
  }
  Batch batch;
  batch.problems_of.insert(options_.path);
  batch.read_again = std::exchange(to_read_, {});
  while (!batch.read_again.empty()) {
    const std::string file = *batch.read_again.begin();
    batch.read_again.erase(batch.read_again.begin());
    if (!IsBeingWritten(file)) ReadOne(file, removals, batch);
  }
  if (Apply(batch)) ++generation_;
  batch.objects.clear();
  // What was read takes several times the memory of what is kept of it, in pieces too small for
  // free() to give back.
  if (batch.bytes_read >= kManyBytes) ::malloc_trim(0);
  MaybeSync();
  ArmQuietTimer();
}

void FileSource::ReadOne(const std::string& file, Removals removals, Batch& batch) {
  absl::StatusOr<FileText> text = options_.read(file, options_.max_file_bytes);
  if (absl::IsNotFound(text.status())) {
    ManifestChanges changes = manifests_.RemoveFile(file, removals);
    if (changes.removals_wait) {
      files_[file].removals_wait = true;
      files_[file].stamp = {};
    } else {
      files_.erase(file);
    }
    return Merge(std::move(changes), batch);
  }
  if (absl::IsUnavailable(text.status())) {
    writing_[file] = clock_.MonotonicNs();  // again when it is complete
    return;
  }
  File& record = files_[file];
  record.status = text.status();
  batch.problems_of.insert(file);
  if (!text.ok()) return;  // what it said before stays
  batch.bytes_read += text->text.size();
  record.stamp = text->stamp;
  const absl::Time modified =
      absl::FromUnixNanos(std::max(text->stamp.modified_ns, text->stamp.changed_ns));
  record.stamp_is_recent = clock_.Now() - modified < kStampResolution;
  ManifestChanges changes = manifests_.SetText(file, text->text, removals);
  record.removals_wait = changes.removals_wait;
  Merge(std::move(changes), batch);
}

// A file that is read twice in a turn may say two things: the last one counts.
void FileSource::Merge(ManifestChanges changes, Batch& batch) {
  for (ObjectKey& key : changes.removed) batch.objects[std::move(key)] = std::nullopt;
  for (ManifestObject& object : changes.set) {
    ObjectKey key = object.key;
    batch.objects[std::move(key)] = std::move(object);
  }
  batch.problems_of.merge(changes.problems_of);
  batch.read_again.merge(changes.read_again);
}

// Says everything in `batch` to the sink; whether there was anything.
bool FileSource::Apply(Batch& batch) {
  bool changed = !batch.objects.empty();
  for (const auto& [key, object] : batch.objects) {
    if (object.has_value()) {
      SayObject(Unpack(*object));
    } else {
      SayDeleted(key);
    }
  }
  changed |= SayServices();
  CollectComplaints(batch);
  for (const std::string& file : batch.problems_of) changed |= Publish(file, ReportsOf(file));
  return changed;
}

void FileSource::SayObject(ObjectMessage message) {
  if (auto* slice = std::get_if<model::EndpointSlice>(&message)) {
    FillEndpointSlice(*slice);
    sink_->SetEndpointSlice(std::move(*slice));
  } else if (auto* node = std::get_if<model::Node>(&message)) {
    sink_->SetNode(std::move(*node));
  } else {
    defaults_.Set(std::get<model::Service>(message));  // said by SayServices
  }
}

void FileSource::SayDeleted(const ObjectKey& key) {
  switch (key.kind) {
    case ObjectKind::kService:
      defaults_.Remove({key.name_space, key.name});
      return sink_->DeleteService(key.name_space, key.name);
    case ObjectKind::kEndpointSlice:
      return sink_->DeleteEndpointSlice(key.name_space, key.name);
    case ObjectKind::kNode:
      return sink_->DeleteNode(key.name);
  }
}

// Sets Services, completed. What they were given is on disk before anyone hears of it.
bool FileSource::SayServices() {
  if (!forgot_absent_ && path_status_.ok() && manifests_.AllUnderstood() &&
      std::all_of(files_.begin(), files_.end(),
                  [](const auto& file) { return file.second.status.ok(); })) {
    // Everything that there is has been understood: who is missing now is gone for good.
    defaults_.ForgetAbsent();
    forgot_absent_ = true;
  }
  ServiceDefaults::Outcome outcome = defaults_.Resolve();
  bool changed = !outcome.services.empty();
  if (outcome.allocations_changed || !save_status_.ok()) changed |= SaveAllocations();
  for (model::Service& service : outcome.services) sink_->SetService(std::move(service));
  return changed;
}

// Sorts what could not be given by file, and notes whose reports that changes.
void FileSource::CollectComplaints(Batch& batch) {
  for (const auto& [file, reports] : complaints_) batch.problems_of.insert(file);
  complaints_.clear();
  for (const auto& [name, message] : defaults_.problems()) {
    const ObjectKey key{ObjectKind::kService, name.name_space, name.name};
    const auto [file, line] = manifests_.OriginOf(key);
    complaints_[file].push_back({ToString(key), absl::StrCat(file, ":", line, ": ", message)});
    batch.problems_of.insert(file);
  }
}

// Whether that changed what is reported of the store.
bool FileSource::SaveAllocations() {
  if (options_.state_dir.empty()) return false;
  save_status_ =
      sluice::SaveAllocations(options_.state_dir + kAllocationsFile, defaults_.allocations());
  return PublishStore();
}

bool FileSource::PublishStore() {
  const std::string path = options_.state_dir + kAllocationsFile;
  std::vector<Report> reports;
  if (!remembered_status_.ok()) {
    reports.push_back({path, std::string(remembered_status_.message())});
  }
  if (!save_status_.ok()) {
    reports.push_back(
        {path, absl::StrCat("given cluster addresses and node ports cannot be kept: ",
                            save_status_.message(), "; some may change with the next restart")});
  }
  return Publish(path, std::move(reports));
}

std::vector<FileSource::Report> FileSource::ReportsOf(const std::string& file) const {
  std::vector<Report> reports;
  const auto known = files_.find(file);
  if (known != files_.end() && !known->second.status.ok()) {
    reports.push_back({file, absl::StrCat("cannot be read: ", known->second.status.message(),
                                          "; what it said before stays in force")});
  }
  const std::vector<ManifestProblem> problems = manifests_.Problems(file);
  for (const ManifestProblem& problem : problems) {
    if (reports.size() >= kMaxReports) {
      reports.push_back(
          {file, absl::StrCat("has ", problems.size() - kMaxReports, " more problems")});
      break;
    }
    reports.push_back({problem.object.empty() ? file : problem.object,
                       absl::StrCat(file, ":", problem.line, ": ", problem.message)});
  }
  const auto complaints = complaints_.find(file);
  if (complaints != complaints_.end()) {
    reports.insert(reports.end(), complaints->second.begin(), complaints->second.end());
  }
  return reports;
}

// Makes `reports` all that is reported of `origin`; whether that is a change.
bool FileSource::Publish(const std::string& origin, std::vector<Report> reports) {
  const auto known = published_.find(origin);
  const bool had_any = known != published_.end();
  if (had_any ? known->second == reports : reports.empty()) return false;
  if (had_any) sink_->ClearProblems(origin);
  for (const Report& report : reports) sink_->ReportProblem(origin, report.object, report.message);
  if (reports.empty()) {
    published_.erase(known);
  } else {
    published_[origin] = std::move(reports);
  }
  return true;
}

void FileSource::MaybeSync() {
  if (synced_) return;
  // A file that could not be read may hold anything: programming without it would delete that.
  const bool whole =
      writing_.empty() && std::all_of(files_.begin(), files_.end(), [](const auto& file) {
        return file.second.status.ok() || IsOfTheFile(file.second.status);
      });
  if (!whole) return;
  synced_ = true;
  sink_->Synced();
}

void FileSource::ArmQuietTimer() {
  const bool waits =
      !writing_.empty() || std::any_of(files_.begin(), files_.end(),
                                       [](const auto& file) { return file.second.removals_wait; });
  if (!waits) return;
  if (waiting_since_ns_ == 0) waiting_since_ns_ = clock_.MonotonicNs();
  if (quiet_timer_ != 0 && WaitedTooLong()) return;  // let it fire
  loop_.Cancel(quiet_timer_);
  quiet_timer_ = loop_.RunAfter(options_.quiet, [this] { OnQuiet(); });
}

}  // namespace sluice
