// SPDX-License-Identifier: Apache-2.0
// Health checks of this node: /healthz and /livez, and a port for each Service that asks for one
// (healthCheckNodePort). On a thread of its own, so that a check is answered at once whatever the
// agent's loop does.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "control/base/clock.h"
#include "control/base/event_loop.h"
#include "control/base/unique_fd.h"
#include "control/health/answer_server.h"
#include "control/health/keeper_channel.h"
#include "control/health/proxy_health.h"
#include "control/model/cluster_state.h"
#include "control/model/ip_address.h"

namespace sluice {

// A Service with a healthCheckNodePort.
struct ServiceHealth {
  std::uint16_t port = 0;
  LocalEndpoints local;

  friend bool operator==(const ServiceHealth&, const ServiceHealth&) = default;
};

struct HealthRequests {
  std::uint64_t healthz_ok = 0, healthz_failed = 0;  // answered with 200, with 503
  std::uint64_t livez_ok = 0, livez_failed = 0;
};

struct HealthServerOptions {
  std::string state_dir;
  bool keeper = true;         // hand the sockets to a keeper, if there is one
  bool start_keeper = false;  // start one when there is none: this program must know how to be it
  // How long the proxy counts as healthy without a word of its loop.
  absl::Duration loop_silence = absl::Seconds(6);
  absl::Duration open_retry = absl::Seconds(5);  // of ports that are in use
  // Between looks at the keeper and at ports that could not be opened.
  absl::Duration tick = absl::Seconds(1);
};

// Functions may be called from any thread, unless said.
class HealthServer {
 public:
  // A Service's port could not be opened, told once for each reason; or was opened after all
  // or is no longer asked for (`status` OK). The proxy's own has no name, and its first failure is
  // told by ListenProxy alone. Called on the server's thread.
  using PortSink = std::function<void(const ObjectName& service, std::uint16_t port,
                                      const absl::Status& status)>;
  // For people. Called on the server's thread.
  using WarningSink = std::function<void(const std::string& message)>;

  // Asks a keeper for the sockets of an earlier agent; what goes wrong with it is a warning.
  // `clock` must outlive the server. Errors: as EventLoop::Create.
  static absl::StatusOr<std::unique_ptr<HealthServer>> Create(HealthServerOptions options,
                                                              const Clock& clock, PortSink ports,
                                                              WarningSink warnings);
  // Stops answering; a keeper takes over.
  ~HealthServer();

  // Opens the socket of /healthz and /livez. Before Start(), on the thread that calls it. Errors:
  // as ListenSocket; a port that cannot be opened is tried again then, as Services' are.
  absl::Status ListenProxy(const std::string& host, std::uint16_t port);
  // Starts the thread. To be called once.
  void Start();

  // What checks are answered from here on. Until the first that says `synced`, a keeper that still
  // answers for an earlier agent is left to do so.
  void SetProxy(ProxyHealth proxy);
  // All Services that have a port, and the addresses that it is opened on (not set: every one).
  void SetServices(std::optional<std::vector<IpAddress>> addresses,
                   std::map<ObjectName, ServiceHealth> services);

  HealthRequests requests() const;

 private:
  struct Port {
    ObjectName service;  // empty: the proxy's own
    UniqueFd listener;   // beside that of `server`: to open it again, and for the keeper
    std::unique_ptr<AnswerServer> server;
    LocalEndpoints local;
    bool with_keeper = false;
    KeptAnswers kept;  // as the keeper has them
  };
  struct Wanted {
    ObjectName service;
    std::string host;
    ServiceHealth health;
  };

  struct Failure {
    ObjectName service;
    std::uint16_t port = 0;
    std::string why;
  };

  HealthServer(HealthServerOptions options, const Clock& clock, PortSink ports,
               WarningSink warnings);
  static std::string ProxyKey(const std::string& host, std::uint16_t port);

  bool TryKeeper();
  absl::Status TakeOver();
  void StartKeeper();
  void Tick();
  void OnKeeper();
  void LoseKeeper(const std::string& why);
  void TellKeeper();
  void TellKeeper(const std::string& key, Port& port);
  void TakeSockets();
  void Serve(Port& port);
  absl::StatusOr<UniqueFd> OpenOrInherit(const std::string& key, const std::string& host,
                                         std::uint16_t port);
  void OpenWanted();
  void DropFailures();
  void SayOpen(const ObjectName& service, std::uint16_t port);
  void Close(const std::string& key);
  ProxyHealth CurrentProxy() const;
  HealthAnswer Answer(const Port& port, const HealthQuestion& question) const;
  HealthAnswer Count(const Port& port, const HealthQuestion& question);
  KeptAnswers AnswersToKeep(const Port& port) const;

  const HealthServerOptions options_;
  const Clock& clock_;
  const PortSink port_sink_;
  const WarningSink warnings_;
  std::unique_ptr<EventLoop> loop_;
  ProxyHealth proxy_;
  std::uint64_t proxy_said_ns_ = 0;
  std::map<std::string, Port> ports_;          // by key
  std::map<std::string, Wanted> wanted_;       // the proxy's and Services' ports, by key
  std::map<std::string, Failure> failures_;    // of wanted ports, by key
  std::map<std::string, UniqueFd> inherited_;  // that nobody has asked for yet
  bool serving_ = true;                        // else a keeper answers for an earlier agent
  bool services_said_ = false;
  UniqueFd keeper_;
  int keeper_pid_ = 0;  // of one that was started here; 0: none runs
  std::uint64_t keeper_retry_ns_ = 0;
  bool keeper_warned_ = false;
  EventLoop::TimerId tick_ = 0;
  std::uint64_t next_open_ns_ = 0;
  std::array<std::atomic<std::uint64_t>, 4> requests_{};
  std::thread thread_;
};

}  // namespace sluice
