// SPDX-License-Identifier: Apache-2.0
#include "test/support/api/http_front.h"

#include <dirent.h>
#include <httplib.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "test/support/api/watch_stream.h"

namespace sluice::api {
namespace {

constexpr std::size_t kThreads = 48;  // a watch takes one

std::unique_ptr<httplib::Server> NewServer(const FakeApiOptions& options) {
  if (options.certificate_file.empty()) return std::make_unique<httplib::Server>();
  return std::make_unique<httplib::SSLServer>([&options](SSL_CTX& context) {
    SSL_CTX_set_min_proto_version(&context, TLS1_2_VERSION);
    if (SSL_CTX_use_certificate_chain_file(&context, options.certificate_file.c_str()) != 1 ||
        SSL_CTX_use_PrivateKey_file(&context, options.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
      return false;
    }
    if (options.client_ca_file.empty()) return true;
    const char* ca = options.client_ca_file.c_str();
    SSL_CTX_set_client_CA_list(&context, SSL_load_client_CA_file(ca));
    // As Kubernetes: whom the certificate does not identify may still have a token.
    SSL_CTX_set_verify(&context, SSL_VERIFY_PEER, [](int, X509_STORE_CTX*) { return 1; });
    return SSL_CTX_load_verify_locations(&context, ca, nullptr) == 1;
  });
}

// The CN of a client's certificate that the CA signed, else "".
std::string CertificateUser(const SSL* connection) {
  if (connection == nullptr || SSL_get_verify_result(connection) != X509_V_OK) return "";
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      SSL_get_peer_certificate(connection), X509_free);
  if (certificate == nullptr) return "";
  char name[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name,
                            sizeof(name));
  return name;
}

// Who is asking; nullopt for nobody that is known. Requires: the lock is held.
std::optional<std::string> Authenticate(const FakeApiOptions& options,
                                        const httplib::Request& request) {
  if (const std::string user = CertificateUser(request.ssl); !user.empty()) return user;
  std::string token = request.get_header_value("Authorization");
  const auto found = absl::StartsWith(token, "Bearer ") ? options.tokens.find(token.substr(7))
                                                        : options.tokens.end();
  if (found != options.tokens.end()) return found->second;
  const bool open = options.tokens.empty() && options.client_ca_file.empty();
  return open ? std::optional<std::string>("system:anonymous") : std::nullopt;
}

ApiRequest RecordOf(const httplib::Request& request) {
  ApiRequest record;
  record.at = absl::Now();
  record.method = request.method;
  record.path = request.path;
  record.query = {request.params.begin(), request.params.end()};
  record.accept = request.get_header_value("Accept");
  record.user_agent = request.get_header_value("User-Agent");
  record.content_type = request.get_header_value("Content-Type");
  record.body = request.body;
  return record;
}

std::string Get(const Query& query, const std::string& key) {
  const auto found = query.find(key);
  return found == query.end() ? "" : found->second;
}

// The local port that `socket` has accepted its connection on, or 0.
int AcceptedOn(int socket) {
  int listening = 0;
  socklen_t size = sizeof(listening);
  if (::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening != 0) {
    return 0;
  }
  sockaddr_in6 address{};  // the port is where sockaddr_in has it
  size = sizeof(address);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.sin6_family != AF_INET && address.sin6_family != AF_INET6) return 0;
  return ntohs(address.sin6_port);
}

}  // namespace

struct HttpFront::Answer {
  int code = 200;
  std::string content_type;
  std::string body;
  std::optional<int> retry_after_seconds;
};

absl::StatusOr<std::unique_ptr<HttpFront>> HttpFront::Listen(ServerState& state) {
  const FakeApiOptions& options = state.options;
  std::unique_ptr<httplib::Server> server = NewServer(options);
  if (!server->is_valid()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot serve with certificate ", options.certificate_file, ", key ",
                     options.key_file, ", client CA ", options.client_ca_file));
  }
  server->new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server->set_tcp_nodelay(true);
  server->set_keep_alive_timeout(300);  // the destructor closes idle connections itself
  server->set_keep_alive_max_count(1'000'000);
  server->set_write_timeout(60);
  server->set_socket_options([](socket_t socket) {
    const int on = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  int port = options.port;
  if (port == 0) {
    port = server->bind_to_any_port(options.address);
  } else if (!server->bind_to_port(options.address, port)) {
    port = -1;
  }
  if (port < 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options.address, " port ", options.port));
  }
  auto front =
      absl::WrapUnique(new HttpFront(state, std::move(server), static_cast<std::uint16_t>(port)));
  front->Serve();
  return front;
}

HttpFront::HttpFront(ServerState& state, std::unique_ptr<httplib::Server> server,
                     std::uint16_t port)
    : state_(state), server_(std::move(server)), port_(port) {}

void HttpFront::Serve() {
  const auto handler = [this](const httplib::Request& request, httplib::Response& response) {
    Handle(request, response);
  };
  server_->Get(".*", handler);
  server_->Post(".*", handler);
  server_->Put(".*", handler);
  server_->Patch(".*", handler);
  server_->Delete(".*", handler);
  {
    const std::lock_guard<std::mutex> held(state_.lock);
    state_.stopping = false;
  }
  auto ended = std::make_shared<std::atomic<bool>>(false);  // shared with the thread
  thread_ = std::thread([this, ended] {
    server_->listen_after_bind();
    *ended = true;
    const std::lock_guard<std::mutex> held(state_.lock);
    state_.Changed();
  });
  // stop() has no effect on a server that does not run yet, and would leave the thread for good.
  while (!server_->is_running() && !*ended) std::this_thread::yield();
}

HttpFront::~HttpFront() {
  {
    const std::lock_guard<std::mutex> held(state_.lock);
    state_.stopping = true;
    state_.Changed();
  }
  server_->stop();
  std::atomic<bool> joined{false};
  // Its threads wait for the next request of idle connections: these are ended until all are gone.
  std::thread closer([&] {
    while (!joined) {
      CloseConnections();
      std::unique_lock<std::mutex> held(state_.lock);
      state_.changed.wait_for(held, std::chrono::milliseconds(5));
    }
  });
  thread_.join();
  joined = true;
  closer.join();
}

// httplib does not tell its connections; those of this process with our port are ours.
void HttpFront::CloseConnections() const {
  DIR* const folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return;
  while (const dirent* entry = ::readdir(folder)) {
    int descriptor = -1;
    if (!absl::SimpleAtoi(entry->d_name, &descriptor)) continue;
    if (AcceptedOn(descriptor) == port_) ::shutdown(descriptor, SHUT_RDWR);
  }
  ::closedir(folder);
}

void HttpFront::LogRequest(ApiRequest record, int code) {
  record.code = code;
  state_.requests.push_back(std::move(record));
  state_.Changed();
}

HttpFront::Answer HttpFront::Refusal(Format format, Status status) const {
  status = WithDefaults(std::move(status));
  return {status.code, std::string(ContentType(format)), StatusBody(format, status),
          status.retry_after_seconds};
}

// The refusal of a request that may not be made. Requires: the lock is held.
std::optional<HttpFront::Answer> HttpFront::Admit(const ApiRequest& record, const Target& target,
                                                  Format format) const {
  if (target.resource.empty()) return std::nullopt;
  if (!NodeProxierMay(target) || state_.forbidden.count({target.verb, target.resource}) > 0) {
    return Refusal(format, {403, "", ForbiddenMessage(target, record.user), {}});
  }
  return std::nullopt;
}

void HttpFront::Handle(const httplib::Request& request, httplib::Response& response) {
  ApiRequest record = RecordOf(request);
  const Target target = ParseTarget(record.method, record.path, record.query);
  record.verb = target.resource.empty() ? "" : target.verb;
  record.resource = target.resource;

  std::unique_lock<std::mutex> held(state_.lock);
  const std::optional<Format> accepted = Negotiate(record.accept, state_.options.protobuf);
  const Format format = accepted.value_or(Format::kJson);
  const std::optional<std::string> user = Authenticate(state_.options, request);
  record.user = user.value_or("");

  std::optional<Answer> answer;
  std::optional<TakenFault> fault;
  std::unique_ptr<WatchStream> watch;
  if (!user.has_value()) {
    answer = Refusal(format, {401, "", "", {}});
  } else if ((fault = state_.TakeFault(target.resource, target.verb)).has_value() &&
             fault->kind == ApiFault::Kind::kStatus) {
    answer =
        Refusal(format, {fault->code, fault->reason, fault->message, fault->retry_after_seconds});
  } else if (fault.has_value() && fault->kind == ApiFault::Kind::kText) {
    answer = Answer{fault->code, "text/html", fault->text, fault->retry_after_seconds};
  } else if ((answer = Admit(record, target, format)).has_value()) {
  } else if (!accepted.has_value()) {
    answer = Refusal(format, {406, "", "", {}});
  } else if (const Resource* resource = FindResource(target.resource);
             target.verb == "watch" && resource != nullptr &&
             (resource->name != "servicecidrs" || state_.options.service_cidrs)) {
    auto begun = WatchStream::Begin(state_, *resource, target, record.query, format);
    if (const Status* refused = std::get_if<Status>(&begun)) {
      answer = Refusal(format, *refused);
    } else {
      watch = std::move(std::get<std::unique_ptr<WatchStream>>(begun));
    }
  } else {
    answer = Respond(record, target, format);
  }
  LogRequest(std::move(record), answer.has_value() ? answer->code : 200);
  held.unlock();

  if (watch != nullptr) {
    if (fault.has_value()) watch->SetFault(*fault);
    std::string type(ContentType(format));
    // httplib would hold back what it compresses; Kubernetes does not compress watches.
    type +=
        format == Format::kProtobuf || request.has_header("Accept-Encoding") ? ";stream=watch" : "";
    response.set_chunked_content_provider(
        type, [stream = std::shared_ptr<WatchStream>(std::move(watch))](std::size_t,
                                                                        httplib::DataSink& sink) {
          const auto end = stream->Turn(
              [&sink](std::string_view bytes) { return sink.write(bytes.data(), bytes.size()); },
              [&sink] { return sink.is_writable(); });
          if (end == WatchStream::End::kInOrder) sink.done();
          return end != WatchStream::End::kCut;
        });
  } else if (fault.has_value()) {
    SendWithFault(*answer, *fault, response);
  } else {
    Send(*answer, response);
  }
}

void HttpFront::Send(const Answer& answer, httplib::Response& response) {
  response.status = answer.code;
  if (answer.retry_after_seconds.has_value()) {
    response.set_header("Retry-After", absl::StrCat(*answer.retry_after_seconds));
  }
  response.set_content(answer.body, answer.content_type);
}

void HttpFront::SendWithFault(const Answer& answer, const TakenFault& fault,
                              httplib::Response& response) {
  if (fault.kind == ApiFault::Kind::kStatus || fault.kind == ApiFault::Kind::kText) {
    Send(answer, response);
    return;
  }
  response.status = answer.code;
  response.set_content_provider(
      answer.body.size(), answer.content_type,
      [this, fault, body = answer.body](std::size_t, std::size_t, httplib::DataSink& sink) {
        return WriteBytes(
            state_, body, fault,
            [&sink](std::string_view bytes) { return sink.write(bytes.data(), bytes.size()); },
            [&sink] { return sink.is_writable(); });
      });
}

HttpFront::Answer HttpFront::Respond(const ApiRequest& record, const Target& target,
                                     Format format) {
  if (record.path == "/version") {
    return {200,
            "application/json",
            R"({"major":"1","minor":"36","gitVersion":"v1.36.0","platform":"linux/amd64"})",
            {}};
  }
  if (target.resource == "events") return TakeEvent(record, target, format);
  const Resource* resource = FindResource(target.resource);
  const bool served =
      resource != nullptr && (resource->name != "servicecidrs" || state_.options.service_cidrs);
  if (!served && !target.resource.empty()) return Refusal(format, {404, "", "", {}});
  if (!served) return {404, "text/plain", "404 page not found\n", {}};
  return target.verb == "get" ? GetOne(*resource, target, format)
                              : List(*resource, target, record.query, format);
}

HttpFront::Answer HttpFront::GetOne(const Resource& resource, const Target& target, Format format) {
  const auto& objects = state_.store.objects(resource);
  const auto found = objects.find({target.name_space.value_or(""), target.name});
  if (found == objects.end()) {
    return Refusal(
        format,
        {404, "NotFound", absl::StrCat(resource.name, " \"", target.name, "\" not found"), {}});
  }
  return {200,
          std::string(ContentType(format)),
          ObjectBody(format, resource.type(), found->second->bytes, *resource.prototype),
          {}};
}

HttpFront::Answer HttpFront::List(const Resource& resource, const Target& target,
                                  const Query& query, Format format) {
  absl::StatusOr<Selector> selector =
      Selector::Parse(Get(query, "labelSelector"), Get(query, "fieldSelector"));
  absl::StatusOr<Page> page = ParsePage(query);
  for (const absl::Status& status : {selector.status(), page.status()}) {
    if (!status.ok()) return Refusal(format, {400, "", std::string(status.message()), {}});
  }
  std::uint64_t asked = 0;
  if (absl::SimpleAtoi(Get(query, "resourceVersion"), &asked) && asked > state_.store.version()) {
    return Refusal(format, TooLarge(asked, state_.store.version()));
  }
  if (target.name_space.has_value()) selector->SetNamespace(*target.name_space);
  const bool first = page->version == 0;
  const std::uint64_t version = first ? state_.store.version() : page->version;
  const auto snapshot = state_.snapshots.find({resource.index, version});
  if (!first && snapshot == state_.snapshots.end()) {
    return Refusal(format,
                   {410,
                    "Expired",
                    "The provided continue parameter is too old to display a consistent list "
                    "result. You can start a new list without the continue parameter.",
                    {}});
  }
  const ObjectStore::Objects& objects = first ? state_.store.objects(resource) : snapshot->second;
  ListHeader header{version, "", std::nullopt};
  std::vector<std::string_view> picked;
  ObjectName last;
  auto object = first ? objects.begin() : objects.upper_bound(page->after);
  for (; object != objects.end(); ++object) {
    if (!selector->Matches(*object->second)) continue;
    if (page->limit > 0 && picked.size() == page->limit) break;
    picked.push_back(object->second->bytes);
    last = object->first;
  }
  if (object != objects.end()) {
    header.next = ContinueToken(version, last);
    if (Get(query, "labelSelector").empty() && Get(query, "fieldSelector").empty()) {
      header.remaining = std::distance(object, objects.end());
    }
    state_.snapshots.try_emplace({resource.index, version}, state_.store.objects(resource));
  }
  return {200,
          std::string(ContentType(format)),
          ListBody(format, resource.list_type(), header, picked, *resource.prototype),
          {}};
}

// Keeps no events but their paths; the bodies are in the log of requests.
HttpFront::Answer HttpFront::TakeEvent(const ApiRequest& record, const Target& target,
                                       Format format) {
  if (!target.name_space.has_value()) {
    return Refusal(format, {404, "", "", {}});
  }
  if (target.verb == "patch") {
    const bool known = state_.events.count(record.path) > 0;
    if (!known) {
      return Refusal(format,
                     {404, "NotFound", absl::StrCat("events \"", target.name, "\" not found"), {}});
    }
    return {200, "application/json", R"({"kind":"Event","apiVersion":"v1"})", {}};
  }
  absl::StatusOr<std::string> name =
      EventName(record.content_type, record.body, *target.name_space);
  if (!name.ok()) return Refusal(format, {400, "", std::string(name.status().message()), {}});
  if (!state_.events.insert(absl::StrCat(record.path, "/", *name)).second) {
    return Refusal(format, {409, "", absl::StrCat("events \"", *name, "\" already exists"), {}});
  }
  return {201, record.content_type, record.body, {}};
}

}  // namespace sluice::api
