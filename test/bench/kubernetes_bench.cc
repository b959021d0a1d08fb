// SPDX-License-Identifier: Apache-2.0
// A node's agent on a large cluster: a real sluiced, over HTTPS from the API server for tests, into
// real maps. How long and how much it takes to sync, and how long a changed endpoint takes from the
// last byte of its event on the wire to the row of the map.
//
// usage: kubernetes_bench [SERVICES [ENDPOINTS [CHANGES [PER_SECOND]]]]    (10000 10 1000 100)
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "control/datapath/loader.h"
#include "control/model/ip_address.h"
#include "control/plan/map_state.h"
#include "maps/map_set.h"
#include "test/bench/bench_cluster.h"
#include "test/support/fake_api_server.h"
#include "test/support/netns.h"
#include "test/support/test_certificates.h"

namespace sluice::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr char kNode[] = "worker-node-1";
constexpr std::chrono::seconds kLimit{120};
// Between two looks at the maps, so that looking leaves the processors to those that are measured;
// it is in every figure of a change.
constexpr std::chrono::microseconds kLook{100};

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "kubernetes_bench: %s\n", what.c_str());
  std::exit(1);
}

// Waits without a processor.
void Pause(std::chrono::microseconds time) {
  std::mutex lock;
  std::unique_lock<std::mutex> held(lock);
  std::condition_variable never;
  never.wait_for(held, time, [] { return false; });
}

// When the server had written which version to the watch of endpoint slices.
class FrameTimes {
 public:
  void Add(std::string_view resource, std::uint64_t version) {
    const std::lock_guard<std::mutex> held(lock_);
    if (resource == "endpointslices") written_[version] = Clock::now();
  }
  std::optional<Clock::time_point> Of(std::uint64_t version) const {
    const std::lock_guard<std::mutex> held(lock_);
    const auto found = written_.find(version);
    return found == written_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  mutable std::mutex lock_;
  std::map<std::uint64_t, Clock::time_point> written_;
};

// A process's own figures, from /proc.
struct Usage {
  double cpu_ms = 0;
  long resident_kb = 0;
  long peak_kb = 0;
  long anonymous_kb = 0;
  long maps_kb = 0;  // of resident_kb: what it has mapped of BPF maps, and is theirs
};

// Of /proc/PID/smaps: a line for each mapping, which names what is mapped, and lines "Rss: 12 kB"
// about it.
long ResidentMapsKb(const std::string& folder) {
  std::ifstream lines(folder + "/smaps");
  std::string line;
  long sum_kb = 0;
  for (bool of_map = false; std::getline(lines, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.empty()) continue;
    if (!words[0].ends_with(':')) of_map = absl::StrContains(line, "bpf-map");
    if (!of_map || words[0] != "Rss:") continue;
    long kb = 0;
    if (!absl::SimpleAtoi(words[1], &kb)) Fail(line);
    sum_kb += kb;
  }
  return sum_kb;
}

Usage UsageOf(pid_t pid) {
  Usage usage;
  const std::string folder = absl::StrCat("/proc/", pid);
  std::string line;
  std::getline(std::ifstream(folder + "/stat"), line);
  const std::vector<std::string> fields =
      absl::StrSplit(line.substr(line.rfind(')') + 1), ' ', absl::SkipEmpty());
  long user = 0;
  long system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    Fail("sluiced has ended");
  }
  usage.cpu_ms =
      1000.0 * static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  std::ifstream status(folder + "/status");
  while (std::getline(status, line)) {
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(":\t "), absl::SkipEmpty());
    if (words.size() < 2) continue;
    long* const field = words[0] == "VmRSS"     ? &usage.resident_kb
                        : words[0] == "VmHWM"   ? &usage.peak_kb
                        : words[0] == "RssAnon" ? &usage.anonymous_kb
                                                : nullptr;
    if (field != nullptr && !absl::SimpleAtoi(words[1], field)) Fail(line);
  }
  usage.maps_kb = ResidentMapsKb(folder);
  return usage;
}

// sluiced with folders of its own, ended and cleaned away by the destructor.
class AgentProcess {
 public:
  AgentProcess(const std::string& folder, const std::string& kubeconfig)
      : bpffs_(absl::StrCat("/sys/fs/bpf/sluice-bench-", ::getpid())) {
    std::vector<std::string> words = {SLUICED,
                                      "--kubeconfig",
                                      kubeconfig,
                                      "--bpffs",
                                      bpffs_,
                                      "--state-dir",
                                      folder + "/state",
                                      "--hostname-override",
                                      kNode,
                                      "--socket-lb",
                                      "off"};  // this machine's sockets are no part of it
    std::filesystem::create_directory(folder + "/state");
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const std::string log = folder + "/sluiced.log";
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT, 0600);
    ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
    const int error = ::posix_spawn(&pid_, SLUICED, &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) Fail(absl::StrCat("cannot start ", SLUICED));
  }
  ~AgentProcess() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
    std::error_code ignored;  // what is left is in /sys/fs/bpf until the next boot
    std::filesystem::remove_all(bpffs_, ignored);
  }
  AgentProcess(const AgentProcess&) = delete;
  AgentProcess& operator=(const AgentProcess&) = delete;

  Usage usage() const { return UsageOf(pid_); }
  std::string pins() const { return PinFolder(bpffs_); }

 private:
  const std::string bpffs_;
  pid_t pid_ = -1;
};

// The usable backends of a service, as its row in the maps leads to them.
std::set<std::string> BackendsInMaps(const MapSet& maps, const std::string& cluster_ip) {
  std::set<std::string> found;
  const auto row =
      maps.services().Lookup(AddressKey(*IpAddress::Parse(cluster_ip), 80, IPPROTO_TCP));
  if (!row.ok() || !row->has_value()) return found;
  const abi::slot_range range = (*row)->slots[abi::SL_SCOPE_INTERNAL];
  for (std::uint32_t i = 0; i < range.count; ++i) {
    const auto backend = maps.backends().Lookup(maps.slots().Read(range.offset + i));
    if (!backend.ok() || !backend->has_value()) continue;
    if (((*backend)->flags & abi::SL_BACKEND_USABLE) == 0) continue;
    found.insert(IpAddress::FromAbi((*backend)->address).ToString());
  }
  return found;
}

class Bench {
 public:
  Bench(const Cluster& cluster, FakeApiServer& server, const FrameTimes& frames,
        const AgentProcess& agent, Clock::time_point started)
      : cluster_(cluster), server_(server), frames_(frames), agent_(agent), started_(started) {}

  void Sync() {
    while (!maps_.has_value()) {
      CheckTime(started_, "the agent pins no maps");
      Pause(std::chrono::milliseconds(5));
      absl::StatusOr<MapSet> maps = MapSet::OpenPinned(agent_.pins());
      if (maps.ok()) maps_.emplace(*std::move(maps));
    }
    const double pinned_ms = MillisecondsSince(started_);
    for (int service = 0; service < cluster_.services;) {
      CheckTime(started_, "the agent does not sync");
      if (IsInMaps(service, 0)) {
        ++service;
      } else {
        Pause(std::chrono::milliseconds(5));
      }
    }
    const double synced_ms = MillisecondsSince(started_);
    const Usage usage = agent_.usage();
    std::printf("sync: %.0f ms from start to the last row, %.0f of them until maps are pinned\n",
                synced_ms, pinned_ms);
    std::printf("processor time until then: %.0f ms\n", usage.cpu_ms);
    PrintMemory(usage);
  }

  // `count` slices get another first endpoint, at regular intervals.
  void Changes(int count, int per_second) {
    const Usage before = agent_.usage();
    const Clock::time_point begin = Clock::now();
    for (int made = 0; made < count || !open_.empty();) {
      const Clock::time_point due =
          begin + std::chrono::microseconds(1'000'000LL * made / per_second);
      if (made < count && Clock::now() >= due) {
        ++made;
        // Each of its own service, spread over them all, so that none waits for another's row.
        const int service = static_cast<int>(7919LL * made % cluster_.services);
        const auto version = static_cast<std::uint32_t>(made);
        open_.push_back({service, version, server_.Set(cluster_.Slice(service, version))});
      }
      LookAtOpen();
      CheckTime(begin + std::chrono::seconds(count / per_second), "changes do not arrive");
      Pause(kLook);
    }
    const double took_ms = MillisecondsSince(begin);
    const Usage after = agent_.usage();
    std::sort(times_ms_.begin(), times_ms_.end());
    const auto percentile = [&](std::size_t p) {
      return times_ms_[(times_ms_.size() - 1) * p / 100];
    };
    std::printf("change, wire to row, %d at %d/s: p50 %.2f ms, p99 %.2f ms, worst %.2f ms\n", count,
                per_second, percentile(50), percentile(99), times_ms_.back());
    std::printf("processor while they came: %.1f %% of one\n",
                100 * (after.cpu_ms - before.cpu_ms) / took_ms);
    PrintMemory(after);
  }

 private:
  struct OpenChange {
    int service = 0;
    std::uint32_t version = 0;
    std::uint64_t resource_version = 0;
  };

  static double MillisecondsSince(Clock::time_point begin) {
    return Milliseconds(Clock::now() - begin).count();
  }

  static void CheckTime(Clock::time_point begin, const char* what) {
    if (Clock::now() - begin > kLimit) Fail(what);
  }

  bool IsInMaps(int service, std::uint32_t version) const {
    std::set<std::string> wanted;
    for (int i = 0; i < cluster_.endpoints; ++i) {
      wanted.insert(cluster_.EndpointIp(cluster_.EndpointNumber(service, i, version)));
    }
    return BackendsInMaps(*maps_, cluster_.ClusterIp(service)) == wanted;
  }

  void LookAtOpen() {
    std::erase_if(open_, [this](const OpenChange& change) {
      const std::optional<Clock::time_point> written = frames_.Of(change.resource_version);
      if (!written.has_value() || !IsInMaps(change.service, change.version)) return false;
      times_ms_.push_back(MillisecondsSince(*written));
      return true;
    });
  }

  // The agent's budget is of the first figure.
  static void PrintMemory(const Usage& usage) {
    const auto mib = [](long kb) { return static_cast<double>(kb) / 1024; };
    std::printf(
        "resident: %.1f MiB (%.1f anonymous), and %.1f MiB of maps apart; with them %.1f MiB at "
        "the peak\n",
        mib(usage.resident_kb - usage.maps_kb), mib(usage.anonymous_kb), mib(usage.maps_kb),
        mib(usage.peak_kb));
  }

  const Cluster& cluster_;
  FakeApiServer& server_;
  const FrameTimes& frames_;
  const AgentProcess& agent_;
  const Clock::time_point started_;
  std::optional<MapSet> maps_;
  std::vector<OpenChange> open_;
  std::vector<double> times_ms_;
};

std::string WriteKubeconfig(const std::string& folder, const std::string& url,
                            const TestCertificates& files) {
  const std::string path = folder + "/kubeconfig";
  std::ofstream(path) << "apiVersion: v1\nkind: Config\ncurrent-context: x\n"
                      << "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
                      << "clusters: [{name: c, cluster: {server: \"" << url
                      << "\", certificate-authority: " << files.ca << "}}]\n"
                      << "users: [{name: u, user: {client-certificate: " << files.client.certificate
                      << ", client-key: " << files.client.key << "}}]\n";
  return path;
}

void Run(const Cluster& cluster, int changes, int per_second, const std::string& folder) {
  const auto space = testing::NetNs::Create();  // the agent attaches to no interface of the machine
  if (!space.ok()) Fail(space.status().ToString());
  const absl::StatusOr<TestCertificates> files = MakeTestCertificates(folder);
  if (!files.ok()) Fail(files.status().ToString());
  FrameTimes frames;
  FakeApiOptions options;
  options.certificate_file = files->server.certificate;
  options.key_file = files->server.key;
  options.client_ca_file = files->ca;
  options.on_frame_written = [&frames](std::string_view resource, std::uint64_t version) {
    frames.Add(resource, version);
  };
  const auto server = FakeApiServer::Start(std::move(options));
  if (!server.ok()) Fail(server.status().ToString());
  std::size_t bytes = 0;
  for (int service = 0; service < cluster.services; ++service) {
    const model::Service object = cluster.Service(service);
    const model::EndpointSlice slice = cluster.Slice(service, 0);
    bytes += object.ByteSizeLong() + slice.ByteSizeLong();
    (*server)->Set(object);
    (*server)->Set(slice);
  }
  (*server)->Set(cluster.Node(kNode));
  model::ServiceCidr cidr;
  cidr.mutable_metadata()->set_name("kubernetes");
  cidr.mutable_spec()->add_cidrs("10.96.0.0/16");
  (*server)->Set(cidr);
  std::printf("%d services of %d endpoints, %.1f MB in protobuf\n", cluster.services,
              cluster.endpoints, static_cast<double>(bytes) / 1e6);
  const std::string kubeconfig = WriteKubeconfig(folder, (*server)->url(), *files);
  const Clock::time_point started = Clock::now();
  const AgentProcess agent(folder, kubeconfig);
  Bench bench(cluster, **server, frames, agent, started);
  bench.Sync();
  bench.Changes(changes, per_second);
}

int Main(int argc, char** argv) {
  Cluster cluster;
  int changes = 1000;
  int per_second = 100;
  if (argc > 1) cluster.services = std::atoi(argv[1]);
  if (argc > 2) cluster.endpoints = std::atoi(argv[2]);
  if (argc > 3) changes = std::atoi(argv[3]);
  if (argc > 4) per_second = std::atoi(argv[4]);
  if (cluster.services < changes || cluster.endpoints <= 0 || changes <= 0 || per_second <= 0 ||
      cluster.services * cluster.endpoints + changes > 200000) {
    std::fprintf(stderr, "usage: kubernetes_bench [SERVICES [ENDPOINTS [CHANGES [PER_SECOND]]]]\n");
    return 2;
  }
  std::string folder = std::filesystem::temp_directory_path() / "sluice-bench-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) Fail("no temporary folder");
  Run(cluster, changes, per_second, folder);
  std::error_code ignored;  // what is left is in the folder for temporary files
  std::filesystem::remove_all(folder, ignored);
  return 0;
}

}  // namespace
}  // namespace sluice::bench

int main(int argc, char** argv) { return sluice::bench::Main(argc, argv); }
