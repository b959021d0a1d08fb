// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/api_client.h"

#include <algorithm>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "control/base/status_macros.h"
#include "control/kubernetes/answer_status.h"
#include "control/kubernetes/percent_encoding.h"

namespace sluice {
namespace {

constexpr std::size_t kMaxErrorBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxKeptBytes = std::size_t{1} << 20;

std::string HeaderOf(const HttpHead& head, const char* name) {
  const auto it = head.headers.find(name);
  return it == head.headers.end() ? "" : it->second;
}

bool IsSuccess(int code) { return code >= 200 && code < 300; }
// Whom a certificate was held against, for when it was refused.
std::string AuthoritiesOf(const ApiConfig& config) {
  if (!config.tls.ca_data.empty()) return "the certificate-authority-data of " + config.source;
  if (!config.tls.ca_file.empty()) return config.tls.ca_file;
  return "the system's authorities";
}

// Another server of the cluster may be better off.
bool IsTheServers(int code) { return code == 502 || code == 503 || code == 504; }

}  // namespace

// One request on its way, whichever server it is sent to.
class ApiClient::Exchange final : public HttpStream {
 public:
  Exchange(ApiClient& client, RequestId id, ApiCall what, ApiStream& to)
      : call(std::move(what)), client_(client), id_(id), stream_(&to) {}
  Exchange(ApiClient& client, RequestId id, ApiCall what, std::unique_ptr<ApiStream> to)
      : call(std::move(what)), client_(client), id_(id), stream_(to.get()), own_(std::move(to)) {}

  void OnHead(const HttpHead& head) override {
    code_ = head.code;
    content_type_ = HeaderOf(head, "content-type");
    int seconds = 0;
    if (absl::SimpleAtoi(HeaderOf(head, "retry-after"), &seconds)) {
      retry_after_ = absl::Seconds(std::max(seconds, 0));
    }
    if (IsSuccess(code_)) stream_->OnHead(content_type_);
  }

  absl::Status OnBody(std::string_view bytes) override {
    if (IsSuccess(code_)) return stream_->OnBody(bytes);
    error_body_.append(bytes.substr(0, kMaxErrorBytes - error_body_.size()));
    return absl::OkStatus();
  }

  void OnEnd(const absl::Status& status) override {
    if (!status.ok() && code_ == 0) {
      client_.LeaveServer(server);
      if (++tried_ < client_.config_.servers.size()) return client_.Begin(*this);
    } else if (IsTheServers(code_)) {
      client_.LeaveServer(server);
    }
    End(status);
  }

  void End(const absl::Status& status) {
    // Until the end of the function; the callback may start and cancel others.
    const auto self = client_.exchanges_.extract(id_);
    const std::string& address = client_.config_.servers[server];
    ApiEnd end;
    end.http_code = code_;
    end.retry_after = retry_after_;
    if (code_ != 0 && !IsSuccess(code_)) {
      const Answer answer = {code_, content_type_, error_body_};
      end.status = StatusOfAnswer(call.verb, call.resource, address, answer, end.retry_after);
    } else {
      end.status = StatusOfTransport(call.verb, call.resource, address, status);
      if (absl::IsFailedPrecondition(end.status) && code_ == 0) {
        end.status = absl::FailedPreconditionError(absl::StrCat(
            end.status.message(), " (believed: ", AuthoritiesOf(client_.config_), ")"));
      }
    }
    stream_->OnEnd(end);
  }

  const ApiCall call;
  std::size_t server = 0;  // asked last
  HttpClient::ExchangeId http = 0;
  EventLoop::TimerId timer = 0;  // of a failure before anything was sent

 private:
  ApiClient& client_;
  const RequestId id_;
  ApiStream* stream_;
  std::unique_ptr<ApiStream> own_;
  std::size_t tried_ = 0;
  int code_ = 0;
  std::string content_type_;
  absl::Duration retry_after_;
  std::string error_body_;
};

// Keeps an answer that is one object.
class ApiClient::Collector final : public ApiStream {
 public:
  explicit Collector(Done done) : done_(std::move(done)) {}
  void OnHead(std::string_view) override {}
  absl::Status OnBody(std::string_view bytes) override {
    if (body_.size() + bytes.size() > kMaxKeptBytes) {
      return absl::ResourceExhaustedError("the answer is longer than 1 MiB");
    }
    body_.append(bytes);
    return absl::OkStatus();
  }
  void OnEnd(const ApiEnd& end) override { done_(end, std::move(body_)); }

 private:
  Done done_;
  std::string body_;
};

ApiClient::ApiClient(ApiConfig config, const KubeOptions& options, HttpClient& http,
                     EventLoop& loop, const Clock& clock)
    : config_(std::move(config)),
      options_(options),
      http_(http),
      loop_(loop),
      clock_(clock),
      tokens_(std::max(options.burst, 1)),
      tokens_at_ns_(clock.MonotonicNs()) {}

ApiClient::~ApiClient() {
  loop_.Cancel(admit_timer_);
  for (const auto& [id, exchange] : exchanges_) {
    loop_.Cancel(exchange->timer);
    http_.Cancel(exchange->http);
  }
}

ApiClient::RequestId ApiClient::Open(ApiCall call, ApiStream& stream) {
  const RequestId id = ++last_id_;
  exchanges_[id] = std::make_unique<Exchange>(*this, id, std::move(call), stream);
  waiting_.push_back(id);
  Admit();
  return id;
}

ApiClient::RequestId ApiClient::Send(ApiCall call, Done done) {
  const RequestId id = ++last_id_;
  exchanges_[id] = std::make_unique<Exchange>(*this, id, std::move(call),
                                              std::make_unique<Collector>(std::move(done)));
  waiting_.push_back(id);
  Admit();
  return id;
}

void ApiClient::Cancel(RequestId id) {
  const auto it = exchanges_.find(id);
  if (it == exchanges_.end()) return;
  std::erase(waiting_, id);
  loop_.Cancel(it->second->timer);
  http_.Cancel(it->second->http);
  exchanges_.erase(it);
}

void ApiClient::GiveUp(RequestId id) {
  const auto it = exchanges_.find(id);
  if (it == exchanges_.end()) return;
  // One that still waits for the rate limit has asked no server.
  if (it->second->http != 0) LeaveServer(it->second->server);
  Cancel(id);
}

// Starts what the rate limit lets through, and comes back for the rest.
void ApiClient::Admit() {
  const std::uint64_t now_ns = clock_.MonotonicNs();
  const double seconds = static_cast<double>(now_ns - tokens_at_ns_) * 1e-9;
  const double qps = options_.qps > 0 ? options_.qps : 1e9;  // 0 or less: no limit
  tokens_ = std::min(tokens_ + seconds * qps, static_cast<double>(std::max(options_.burst, 1)));
  tokens_at_ns_ = now_ns;
  auto next = waiting_.begin();
  for (; next != waiting_.end() && tokens_ >= 1; ++next, --tokens_) Begin(*exchanges_.at(*next));
  waiting_.erase(waiting_.begin(), next);
  loop_.Cancel(admit_timer_);
  admit_timer_ = 0;
  if (waiting_.empty()) return;
  admit_timer_ = loop_.RunAfter(absl::Seconds((1 - tokens_) / qps), [this] {
    admit_timer_ = 0;
    Admit();
  });
}

std::string ApiClient::UrlOf(const ApiCall& call, const std::string& server) const {
  std::string url = server + call.path;
  char separator = '?';
  for (const auto& [name, value] : call.query) {
    absl::StrAppend(&url, std::string(1, separator), name, "=", PercentEncode(value));
    separator = '&';
  }
  return url;
}

void ApiClient::Begin(Exchange& exchange) {
  exchange.server = server_;
  const absl::StatusOr<std::string> authorization = Authorization(config_);
  if (!authorization.ok()) {
    exchange.timer = loop_.RunAfter(
        absl::ZeroDuration(), [&exchange, authorization] { exchange.End(authorization.status()); });
    return;
  }
  const ApiCall& call = exchange.call;
  HttpRequest request;
  request.method = MethodOf(call.verb);
  request.url = UrlOf(call, config_.servers[server_]);
  request.headers = {absl::StrCat("Accept: ", call.accept),
                     absl::StrCat("User-Agent: ", options_.user_agent)};
  if (!authorization->empty()) request.headers.push_back("Authorization: " + *authorization);
  if (!call.body.empty()) request.headers.push_back("Content-Type: " + call.content_type);
  request.body = call.body;
  request.tls = config_.tls;
  request.proxy_url = config_.proxy_url;
  request.total_timeout = call.total_timeout;
  request.fresh_connection = call.fresh_connection;
  exchange.http = http_.Start(std::move(request), exchange);
}

// The next request goes to the next server, unless that was decided already.
void ApiClient::LeaveServer(std::size_t server) {
  if (server == server_) server_ = (server_ + 1) % config_.servers.size();
}

}  // namespace sluice
