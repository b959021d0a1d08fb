// SPDX-License-Identifier: Apache-2.0
// The API server's side of HTTP: listens, tells who is asking, and answers from the shared state.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"

#include "test/support/api/request.h"
#include "test/support/api/server_state.h"

namespace httplib {
class Server;
struct Request;
struct Response;
}  // namespace httplib

namespace sluice::api {

class HttpFront {
 public:
  // Listens where state.options says. `state` must outlive the front. Errors: UNAVAILABLE for a
  // port that is taken, INVALID_ARGUMENT for certificates that cannot be used.
  static absl::StatusOr<std::unique_ptr<HttpFront>> Listen(ServerState& state);
  // Closes every connection, whatever it was about to say.
  ~HttpFront();
  HttpFront(const HttpFront&) = delete;
  HttpFront& operator=(const HttpFront&) = delete;

  std::uint16_t port() const { return port_; }

 private:
  struct Answer;

  HttpFront(ServerState& state, std::unique_ptr<httplib::Server> server, std::uint16_t port);
  void Serve();
  void CloseConnections() const;

  void Handle(const httplib::Request& request, httplib::Response& response);
  void LogRequest(ApiRequest record, int code);
  // The answer of everything but a watch. Require: the lock is held.
  Answer Respond(const ApiRequest& record, const Target& target, Format format);
  Answer List(const Resource& resource, const Target& target, const Query& query, Format format);
  Answer GetOne(const Resource& resource, const Target& target, Format format);
  Answer TakeEvent(const ApiRequest& record, const Target& target, Format format);
  Answer Refusal(Format format, Status status) const;
  std::optional<Answer> Admit(const ApiRequest& record, const Target& target, Format format) const;
  static void Send(const Answer& answer, httplib::Response& response);
  void SendWithFault(const Answer& answer, const TakenFault& fault, httplib::Response& response);

  ServerState& state_;
  const std::unique_ptr<httplib::Server> server_;
  const std::uint16_t port_;
  std::thread thread_;
};

}  // namespace sluice::api
