// SPDX-License-Identifier: Apache-2.0
#include "control/kubernetes/curl_client.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <mutex>
#include <regex>
#include <string>
#include <string_view>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

// A lost peer is noticed when nothing that was sent, probes included, was confirmed for so long.
constexpr unsigned kTcpUserTimeoutMs = 30'000;
constexpr long kKeepAliveIdleSeconds = 15;
constexpr long kKeepAliveIntervalSeconds = 5;
constexpr long kReadBufferBytes = 64 << 10;

curl_blob BlobOf(const std::string& bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size(), CURL_BLOB_COPY};
}

int SetSocketOptions(void*, curl_socket_t fd, curlsocktype) {
  // Where it cannot be set (a socket of another kind), the kernel's own patience counts.
  static_cast<void>(::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kTcpUserTimeoutMs,
                                 sizeof(kTcpUserTimeoutMs)));
  return CURL_SOCKOPT_OK;
}

void SetTls(CURL* easy, const TlsConfig& tls) {
  const auto set = [easy](CURLoption file_option, const std::string& file, CURLoption data_option,
                          const std::string& data) {
    if (!data.empty()) {
      curl_blob blob = BlobOf(data);
      curl_easy_setopt(easy, data_option, &blob);
    } else if (!file.empty()) {
      curl_easy_setopt(easy, file_option, file.c_str());
    }
  };
  set(CURLOPT_CAINFO, tls.ca_file, CURLOPT_CAINFO_BLOB, tls.ca_data);
  set(CURLOPT_SSLCERT, tls.cert_file, CURLOPT_SSLCERT_BLOB, tls.cert_data);
  set(CURLOPT_SSLKEY, tls.key_file, CURLOPT_SSLKEY_BLOB, tls.key_data);
  if (!tls.ca_file.empty() || !tls.ca_data.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr);  // not the system's authorities as well
  }
  // Files are replaced while we run; the cache would not look at them for a day.
  curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (tls.insecure) {
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
  }
}

absl::StatusCode CodeOf(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return absl::StatusCode::kDeadlineExceeded;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
      return absl::StatusCode::kFailedPrecondition;
    case CURLE_URL_MALFORMAT:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

// "Failed to connect to h port 1 after 3 ms: ...": the same failure must read the same each time.
std::string WithoutTimes(std::string text) {
  static const std::regex kTime(" after [0-9]+ (ms|milliseconds)");
  return std::regex_replace(text, kTime, "");
}

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string PartOf(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

// For a certificate that bears another name: the URL gets that name, and the connection goes to
// where the URL pointed before ("name:port:host:port", see CURLOPT_CONNECT_TO).
std::string Rename(std::string& url, const std::string& name) {
  const std::unique_ptr<CURLU, FreeUrl> parsed(curl_url());
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return "";
  const std::string host = PartOf(parsed.get(), CURLUPART_HOST);
  const std::string port = PartOf(parsed.get(), CURLUPART_PORT);
  curl_url_set(parsed.get(), CURLUPART_HOST, name.c_str(), 0);
  url = PartOf(parsed.get(), CURLUPART_URL);
  return absl::StrCat(name, ":", port, ":", host, ":", port);
}

}  // namespace

struct CurlClient::Exchange {
  CurlClient& client;
  ExchangeId id;
  HttpRequest request;
  HttpStream* stream;  // null: cancelled from within a callback
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  curl_slist* connect_to = nullptr;
  bool added = false;
  HttpHead head;
  absl::Status body_status;
  std::array<char, CURL_ERROR_SIZE> error{};

  Exchange(CurlClient& of, ExchangeId its_id, HttpRequest what, HttpStream& to)
      : client(of), id(its_id), request(std::move(what)), stream(&to) {}
  ~Exchange() {
    if (added) curl_multi_remove_handle(client.multi_, easy);
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    curl_slist_free_all(connect_to);
  }
  absl::Status StatusOf(CURLcode code) const {
    if (code == CURLE_OK) return absl::OkStatus();
    if (!body_status.ok()) return body_status;
    const char* text = error[0] != '\0' ? error.data() : curl_easy_strerror(code);
    return absl::Status(CodeOf(code), WithoutTimes(text));
  }
};

absl::StatusOr<std::unique_ptr<CurlClient>> CurlClient::Create(EventLoop& loop) {
  static std::once_flag once;
  static CURLcode started = CURLE_FAILED_INIT;
  std::call_once(once, [] { started = curl_global_init(CURL_GLOBAL_DEFAULT); });
  CURLM* multi = started == CURLE_OK ? curl_multi_init() : nullptr;
  if (multi == nullptr) return absl::InternalError("libcurl does not start");
  return absl::WrapUnique(new CurlClient(multi, loop));
}

CurlClient::CurlClient(CURLM* multi, EventLoop& loop) : multi_(multi), loop_(loop) {
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, OnSocketChange);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, OnTimerChange);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
}

CurlClient::~CurlClient() {
  exchanges_.clear();
  curl_multi_cleanup(multi_);
  for (const curl_socket_t fd : watched_) loop_.Unwatch(fd);
  loop_.Cancel(timer_);
}

HttpClient::ExchangeId CurlClient::Start(HttpRequest request, HttpStream& stream) {
  const ExchangeId id = ++last_id_;
  auto exchange = std::make_unique<Exchange>(*this, id, std::move(request), stream);
  Prepare(*exchange);
  Exchange& started = *exchange;
  exchanges_[id] = std::move(exchange);
  if (in_curl_) {
    to_add_.push_back(id);  // Settle() does it
  } else {
    Add(started);
  }
  return id;
}

void CurlClient::Add(Exchange& exchange) {
  exchange.added = curl_multi_add_handle(multi_, exchange.easy) == CURLM_OK;
}

void CurlClient::Cancel(ExchangeId id) {
  const auto it = exchanges_.find(id);
  if (it == exchanges_.end()) return;
  if (in_curl_) {
    it->second->stream = nullptr;
    to_cancel_.push_back(id);
  } else {
    Take(id);
  }
}

std::unique_ptr<CurlClient::Exchange> CurlClient::Take(ExchangeId id) {
  auto node = exchanges_.extract(id);
  if (node.empty()) return nullptr;
  Exchange& exchange = *node.mapped();
  if (exchange.added) curl_multi_remove_handle(multi_, exchange.easy);
  exchange.added = false;
  return std::move(node.mapped());
}

void CurlClient::Prepare(Exchange& exchange) {
  HttpRequest& request = exchange.request;
  CURL* easy = exchange.easy = curl_easy_init();
  const auto set = [easy](CURLoption option, auto value) { curl_easy_setopt(easy, option, value); };
  set(CURLOPT_PRIVATE, &exchange);
  set(CURLOPT_ERRORBUFFER, exchange.error.data());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // does not wait for a name that is being resolved
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  // Better the connection that is being opened than one more. Only where TLS tells at once whether
  // it can be shared: without, the next request would wait for the end of the first answer.
  set(CURLOPT_PIPEWAIT, request.url.rfind("https:", 0) == 0 ? 1L : 0L);
  set(CURLOPT_BUFFERSIZE, kReadBufferBytes);
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_TCP_KEEPIDLE, kKeepAliveIdleSeconds);
  set(CURLOPT_TCP_KEEPINTVL, kKeepAliveIntervalSeconds);
  set(CURLOPT_SOCKOPTFUNCTION, SetSocketOptions);
  set(CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(request.connect_timeout / absl::Milliseconds(1)));
  if (request.total_timeout != absl::InfiniteDuration()) {
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.total_timeout / absl::Milliseconds(1)));
  }
  if (request.fresh_connection) set(CURLOPT_FRESH_CONNECT, 1L);
  if (!request.proxy_url.empty()) set(CURLOPT_PROXY, request.proxy_url.c_str());
  if (!request.tls.server_name.empty()) {
    const std::string renamed = Rename(request.url, request.tls.server_name);
    exchange.connect_to = curl_slist_append(nullptr, renamed.c_str());
    set(CURLOPT_CONNECT_TO, exchange.connect_to);
  }
  set(CURLOPT_URL, request.url.c_str());
  SetTls(easy, request.tls);
  for (const std::string& header : request.headers) {
    exchange.headers = curl_slist_append(exchange.headers, header.c_str());
  }
  exchange.headers = curl_slist_append(exchange.headers, "Expect:");
  set(CURLOPT_HTTPHEADER, exchange.headers);
  if (!request.body.empty() || request.method == "POST") {
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_COPYPOSTFIELDS, request.body.c_str());
  }
  set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  set(CURLOPT_HEADERFUNCTION, OnHeader);
  set(CURLOPT_HEADERDATA, &exchange);
  set(CURLOPT_WRITEFUNCTION, OnBody);
  set(CURLOPT_WRITEDATA, &exchange);
}

int CurlClient::OnSocketChange(CURL*, curl_socket_t fd, int what, void* self, void*) {
  auto* client = static_cast<CurlClient*>(self);
  if (client->watched_.erase(fd) > 0) client->loop_.Unwatch(fd);
  if (what == CURL_POLL_REMOVE) return 0;
  const std::uint32_t events = (what != CURL_POLL_OUT ? std::uint32_t{EPOLLIN} : 0u) |
                               (what != CURL_POLL_IN ? std::uint32_t{EPOLLOUT} : 0u);
  const absl::Status watched = client->loop_.Watch(fd, events, [client, fd](std::uint32_t ready) {
    const int in = (ready & (EPOLLIN | EPOLLHUP)) != 0 ? CURL_CSELECT_IN : 0;
    const int out = (ready & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0;
    const int error = (ready & EPOLLERR) != 0 ? CURL_CSELECT_ERR : 0;
    client->Act(fd, in | out | error);
  });
  if (!watched.ok()) return -1;
  client->watched_.insert(fd);
  return 0;
}

int CurlClient::OnTimerChange(CURLM*, long timeout_ms, void* self) {
  auto* client = static_cast<CurlClient*>(self);
  client->loop_.Cancel(client->timer_);
  client->timer_ = 0;
  if (timeout_ms < 0) return 0;
  client->timer_ = client->loop_.RunAfter(absl::Milliseconds(timeout_ms), [client] {
    client->timer_ = 0;
    client->Act(CURL_SOCKET_TIMEOUT, 0);
  });
  return 0;
}

void CurlClient::Act(curl_socket_t fd, int events) {
  int running = 0;
  in_curl_ = true;
  curl_multi_socket_action(multi_, fd, events, &running);
  in_curl_ = false;
  Settle();
}

// Does what callbacks could not do, and tells of exchanges that have ended.
void CurlClient::Settle() {
  for (const ExchangeId id : std::exchange(to_cancel_, {})) Take(id);
  for (const ExchangeId id : std::exchange(to_add_, {})) {
    if (const auto it = exchanges_.find(id); it != exchanges_.end()) Add(*it->second);
  }
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Exchange* exchange = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &exchange);
    const std::unique_ptr<Exchange> ended = Take(exchange->id);
    ended->stream->OnEnd(ended->StatusOf(code));
  }
}

std::size_t CurlClient::OnHeader(char* bytes, std::size_t size, std::size_t count, void* to) {
  auto* exchange = static_cast<Exchange*>(to);
  const std::size_t length = size * count;
  if (exchange->stream == nullptr) return 0;
  const absl::string_view line =
      absl::StripTrailingAsciiWhitespace(absl::string_view(bytes, length));
  if (line.substr(0, 5) == "HTTP/") {
    exchange->head = {};
    const std::size_t space = line.find(' ');
    if (space != line.npos && !absl::SimpleAtoi(line.substr(space + 1, 3), &exchange->head.code)) {
      exchange->head.code = 0;
    }
    return length;
  }
  if (line.empty()) {
    if (exchange->head.code >= 200) exchange->stream->OnHead(exchange->head);  // 1xx: more comes
    return exchange->stream == nullptr ? 0 : length;
  }
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return length;
  exchange->head.headers[absl::AsciiStrToLower(line.substr(0, colon))] =
      std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
  return length;
}

std::size_t CurlClient::OnBody(char* bytes, std::size_t size, std::size_t count, void* to) {
  auto* exchange = static_cast<Exchange*>(to);
  const std::size_t length = size * count;
  if (exchange->stream == nullptr) return CURL_WRITEFUNC_ERROR;
  exchange->body_status = exchange->stream->OnBody(std::string_view(bytes, length));
  const bool go_on = exchange->body_status.ok() && exchange->stream != nullptr;
  return go_on ? length : CURL_WRITEFUNC_ERROR;
}

}  // namespace sluice
